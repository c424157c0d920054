"""The frozen map of the capability surface: fit, save, load, assign, label, describe."""

from coverage_lab.atlas.describe import LevelSummary, describe
from coverage_lab.atlas.fit import fit_atlas
from coverage_lab.atlas.model import Atlas
from coverage_lab.atlas.probe import PROBE, check_encoder
from coverage_lab.atlas.store import default_atlas, load_atlas, save_atlas

__all__ = [
    "PROBE",
    "Atlas",
    "LevelSummary",
    "check_encoder",
    "default_atlas",
    "describe",
    "fit_atlas",
    "load_atlas",
    "save_atlas",
]
