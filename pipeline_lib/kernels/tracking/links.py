"""Links between poses: the rules by which they are made, and what they are."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.tracking.motion import MEMORY
from pipeline_lib.kernels.tracking.similarity import Measure


@dataclass(frozen=True)
class LinkRules:
    """When two poses are one animal beyond doubt.

    Attributes
    ----------
    tolerance
        px; see `pipeline_lib.kernels.tracking.similarity.compare_poses`.
    similarity
        What is compared.
    motion
        Where an animal is expected: ``kalman``, by its velocity, or ``none``, where it was.
    min_similarity
        Poses that are less alike are not linked.
    max_rival
        They are neither where another choice is more than this share as good.
    max_gap
        Frames between linked poses at most.
    """

    tolerance: float
    similarity: Measure = "oks"
    motion: Literal["kalman", "none"] = "kalman"
    min_similarity: float = 0.6
    max_rival: float = 0.7
    max_gap: int = 5

    @property
    def reach(self) -> int:
        """How many frames on either side decide on the links of a frame."""
        # Each round looks as far as the rounds before it, and over its own gap; the review beyond
        # the longest one on either side.
        return MEMORY + 2 + sum(range(1, self.max_gap + 2)) + 2 * (self.max_gap + 1)


@dataclass(frozen=True)
class Links:
    """For each pose the next one of its tracklet.

    Attributes
    ----------
    step
        Shape (frame, individual), int32, frames to the next pose; 0: the tracklet ends.
    place
        Shape (frame, individual), int32, its place on the individual axis; -1: none.
    """

    step: NDArray[np.int32]
    place: NDArray[np.int32]

    @classmethod
    def none(cls, shape: tuple[int, int]) -> "Links":
        """Return as many ends."""
        return cls(np.zeros(shape, np.int32), np.full(shape, -1, np.int32))

    def cut(self, start: int, stop: int) -> "Links":
        """Return the links of some frames."""
        return Links(self.step[start:stop], self.place[start:stop])


@dataclass(frozen=True)
class OpenEnds:
    """Poses that may still be linked.

    Attributes
    ----------
    may_end, may_start
        Shape (frame, individual), bool: whether it may be linked onward, and back.
    """

    may_end: NDArray[np.bool_]
    may_start: NDArray[np.bool_]
