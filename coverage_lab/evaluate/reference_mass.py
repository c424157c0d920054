"""Reference mass that leaves an account's own family of corpora out.

A reference mass that holds an account's own corpus makes the account look ordinary for having trained the
map. Harvests are never in it, so a model that learns from such features learns the leak.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coverage_lab.atlas import Atlas, reference_masses


@dataclass(frozen=True, eq=False)
class ReferenceMass:
    """How each family of ordinary corpora lies on an atlas; every family counts the same.

    Attributes
    ----------
    atlas : Atlas
    families : tuple of str (G,)
    shares : float64 (G, K)
        Share of the family's contents in each fine cell.
    """

    atlas: Atlas
    families: tuple[str, ...]
    shares: NDArray[np.float64]

    def whole(self) -> Atlas:
        """The atlas with the mass of all families."""
        return self.without(())

    def without(self, families: Iterable[str]) -> Atlas:
        """The atlas with the mass of all families but these; of all where none would be left.

        The id stays the atlas': these masses are for features of accounts that the atlas was fitted on.
        """
        out = set(families)
        kept = np.array([family not in out for family in self.families])
        share = self.shares[kept if kept.any() else slice(None)].mean(axis=0)
        return replace(self.atlas, masses=reference_masses(share, self.atlas.parents, self.atlas.sizes))


def reference_mass(atlas: Atlas, fine: NDArray[np.int32], family: NDArray[np.str_]) -> ReferenceMass:
    """Count the families' contents.

    Parameters
    ----------
    fine : int32 (n,)
        Fine cell of each reference content.
    family : str array (n,)
        Whose it is.
    """
    names, which = np.unique(family, return_inverse=True)
    cells = atlas.sizes[-1]
    counts = np.bincount(which * cells + fine, minlength=len(names) * cells).reshape(len(names), cells)
    return ReferenceMass(
        atlas, tuple(str(name) for name in names), counts / counts.sum(axis=1, keepdims=True)
    )
