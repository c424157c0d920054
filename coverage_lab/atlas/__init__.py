"""The frozen map of the capability surface: fit, save, load, assign, label."""

from coverage_lab.atlas.fit import fit_atlas, reference_masses
from coverage_lab.atlas.layout import lay_out, save_layout
from coverage_lab.atlas.model import Atlas
from coverage_lab.atlas.names import save_names
from coverage_lab.atlas.probe import PROBE, check_encoder
from coverage_lab.atlas.store import default_atlas, load_atlas, save_atlas

__all__ = [
    "PROBE",
    "Atlas",
    "check_encoder",
    "default_atlas",
    "fit_atlas",
    "lay_out",
    "load_atlas",
    "reference_masses",
    "save_atlas",
    "save_layout",
    "save_names",
]
