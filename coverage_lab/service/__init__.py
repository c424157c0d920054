"""Scoring over HTTP: the same answers as the main job's."""

from coverage_lab.service.app import create_app
from coverage_lab.service.scoring import Scoring
from coverage_lab.service.serve import serve_forever

__all__ = ["Scoring", "create_app", "serve_forever"]
