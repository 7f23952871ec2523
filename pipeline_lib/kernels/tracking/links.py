"""Define links between poses of consecutive frames, and the rules by which they are made."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.tracking.motion import MEMORY
from pipeline_lib.kernels.tracking.similarity import Measure


@dataclass(frozen=True)
class LinkRules:
    """Rules by which two poses are linked into one tracklet.

    Attributes
    ----------
    tolerance
        px; see `pipeline_lib.kernels.tracking.similarity.compare_poses`.
    similarity
        Measure of similarity.
    motion
        Motion model that predicts the next pose: ``kalman`` (by velocity) or ``none`` (where the
        animal was).
    min_similarity
        0..1; poses below this similarity are not linked.
    max_ambiguity
        0..1; poses are not linked if the second-best assignment reaches more than this share of
        the similarity of the best one.
    max_gap
        Largest number of frames without a pose between two linked poses.
    """

    tolerance: float
    similarity: Measure
    motion: Literal["kalman", "none"]
    min_similarity: float
    max_ambiguity: float
    max_gap: int

    @property
    def reach(self) -> int:
        """Number of frames on either side on which the links of a frame depend."""
        # Each round looks as far as the rounds before it plus its own gap; the final review looks
        # beyond the longest gap on either side.
        return MEMORY + 2 + sum(range(1, self.max_gap + 2)) + 2 * (self.max_gap + 1)


@dataclass(frozen=True)
class Links:
    """The next pose of its tracklet, for each pose.

    Attributes
    ----------
    step
        Shape (frame, individual), int32, frames to the next pose; 0: the tracklet ends.
    partner
        Shape (frame, individual), int32, index of the next pose on the individual axis; -1: none.
    """

    step: NDArray[np.int32]
    partner: NDArray[np.int32]

    @classmethod
    def none(cls, shape: tuple[int, int]) -> "Links":
        """Return links of a number of poses none of which is linked."""
        return cls(np.zeros(shape, np.int32), np.full(shape, -1, np.int32))

    def cut(self, start: int, stop: int) -> "Links":
        """Return the links of frames `start` to `stop` - 1."""
        return Links(self.step[start:stop], self.partner[start:stop])


@dataclass(frozen=True)
class OpenEnds:
    """Poses that have no link yet and may get one.

    Attributes
    ----------
    may_end, may_start
        Shape (frame, individual), bool: whether the pose may be linked to a later, or to an
        earlier one.
    """

    may_end: NDArray[np.bool_]
    may_start: NDArray[np.bool_]
