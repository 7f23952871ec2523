"""Keep each animal in its slot from frame to frame, where a network finds several."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.tracking.pairing import pair_frames
from pipeline_lib.kernels.tracking.similarity import compare_poses, measure_sizes

Floats = NDArray[np.floating[Any]]

_LEAST = 0.05
# Keypoints at this share of an animal's size from where they are expected are 0.61 alike.
_TOLERANCE = 0.5


class Slots:
    """Assign the poses of a frame to slots by where their animals are expected.

    Nothing is known of later frames, so animals may be exchanged where they meet; the tracking of
    the recorded poses sees both sides of a meeting.

    Parameters
    ----------
    count
        Number of slots.
    """

    def __init__(self, count: int) -> None:
        self._last_seen = np.zeros(count, np.int64)
        self._frame = 0

    def assign(self, position: Floats, expected: Floats) -> NDArray[np.int64]:
        """Return the row of `position` that each slot gets; each row is used once.

        Parameters
        ----------
        position
            Shape (individual, keypoint, 2), px, as many as there are slots; NaN where nothing was
            found.
        expected
            Shape (slot, keypoint, 2), px; NaN for slots that were never used.
        """
        self._frame += 1
        count = len(self._last_seen)
        there: NDArray[np.bool_] = np.asarray(np.isfinite(position).all(axis=-1).any(axis=-1))
        size = np.nan_to_num(np.fmax(measure_sizes(position), 1.0), nan=1.0)
        alike = compare_poses(expected[:, None], position[None], _TOLERANCE * size[None, :], "oks")
        alike[:, ~there] = 0.0
        partner = pair_frames(np.nan_to_num(alike)[None], _LEAST)[0]
        result = np.full(count, -1, np.int64)
        result[partner >= 0] = partner[partner >= 0]
        new = [row for row in range(count) if row not in set(partner.tolist())]
        # Those that were found first, into the slots that were not used for the longest time.
        new.sort(key=lambda row: not there[row])
        free = sorted(np.flatnonzero(result < 0).tolist(), key=lambda slot: self._last_seen[slot])
        for slot, row in zip(free, new, strict=True):
            result[slot] = row
        self._last_seen[there[result]] = self._frame
        return result
