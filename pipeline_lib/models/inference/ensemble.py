"""Predict with the members of an ensemble: each frame is decoded once, and all see it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.kernels.ensembles.members import (
    arrange_members,
    combine_members,
    leave_out_weak,
    take_individuals,
)
from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.predictor import Image, Predictor

# Cells of a score map up to which animals of a single bodypart are the same.
_CELLS = 4


class Ensemble:
    """Predict with several networks, and combine what they predict; see `combine_members`.

    The result of a frame depends on that frame alone. Several threads may call `predict`.

    Parameters
    ----------
    members
        Networks of the same bodyparts and individuals.
    assembly
        Of several animals, a keypoint below ``pcutoff`` counts only where no member has a certain
        one, and one below ``min_confidence`` is left out. None: the defaults.

    Attributes
    ----------
    card, surplus, batch_size
        Of the first member.
    """

    def __init__(
        self, members: Sequence[Predictor], assembly: AssemblySettings | None = None
    ) -> None:
        self._members, self._assembly = tuple(members), assembly or AssemblySettings()
        self.card, self.surplus = members[0].card, members[0].surplus
        self.batch_size = members[0].batch_size

    def predict(self, frames: Sequence[Image], first: Sequence[bool] | None = None) -> Located:
        """Locate keypoints; see `pipeline_lib.models.inference.predictor.Predictor.predict`."""
        del first  # frames are seen as a whole
        found = [member.predict(frames) for member in self._members]
        position = np.stack([one.position for one in found])
        confidence = np.stack([one.confidence for one in found])
        identity = _stack_identities(found)
        if self.card.animals > 1:
            position, confidence, identity = self._arrange(position, confidence, identity)
            weak = confidence < self._assembly.pcutoff
            position = np.where((weak & ~weak.all(axis=0))[..., None], np.nan, position)
        combined = combine_members(position, confidence)
        if self.card.animals > 1:
            combined = leave_out_weak(combined, self._assembly.lowest_confidence)
        mean = None if identity is None else _average(identity)
        return Located(combined.position, combined.confidence, mean, combined.spread)

    def _arrange(
        self,
        position: NDArray[np.floating],
        confidence: NDArray[np.floating],
        identity: NDArray[np.floating] | None,
    ) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating] | None]:
        """Return arrays of members in which each slot has the same animal of all members."""
        # The slot of unique bodyparts is the same in all.
        animals = self.card.animals + self.surplus
        arranged = arrange_members(
            position[:, :, :animals],
            confidence[:, :, :animals],
            max_distance=_CELLS * self.card.stride / self.card.scale,
        )

        def move(values: NDArray[np.floating], missing: float) -> NDArray[np.floating]:
            moved = take_individuals(values[:, :, :animals], arranged, missing)
            return np.concatenate([moved, values[:, :, animals:]], axis=2)

        told = None if identity is None else move(identity, np.nan)
        return move(position, np.nan), move(confidence, 0.0), told


def _stack_identities(found: Sequence[Located]) -> NDArray[np.floating] | None:
    known = [one.identity for one in found if one.identity is not None]
    return np.stack(known) if len(known) == len(found) else None


def _average(identity: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the mean over the members that found the individual; NaN if none did."""
    count = np.isfinite(identity).sum(axis=0)
    total = np.nansum(identity, axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
