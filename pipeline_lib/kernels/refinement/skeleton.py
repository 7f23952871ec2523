"""The criterion `skeleton`: a bone is longer or shorter than bones of its kind are."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.refinement.blocks import (
    CONTEXT,
    PoseBlock,
    PoseNames,
    Scored,
    measure_usual,
    take_worst,
)

_SMALLEST_SPREAD = 0.02  # of the logarithm: 2 % of the length


class UsualBones(NamedTuple):
    """Hold the usual logarithm of the length of each bone: shape (edge,)."""

    edges: NDArray[np.int64]
    median: NDArray[np.float64]
    spread: NDArray[np.float64]


def fit(blocks: Sequence[PoseBlock], names: PoseNames) -> UsualBones:
    """Measure the usual length of each bone in a sample of the cohort."""
    edges = np.array(names.edges, dtype=np.int64).reshape(-1, 2)
    lengths = [
        _measure_bones(block, edges).reshape(
            math.prod(block.position[CONTEXT:].shape[:2]), len(edges)
        )
        for block in blocks
    ]
    return UsualBones(edges, *measure_usual(np.concatenate(lengths), _SMALLEST_SPREAD))


def score(block: PoseBlock, usual: UsualBones) -> Scored:
    """Return how far the logarithm of a bone's length is from the usual one.

    It is in robust standard deviations; the largest of all bones with two keypoints that were
    found counts. The culprit is the index on (individual, edge), flattened.
    """
    lengths = _measure_bones(block, usual.edges)
    return take_worst(np.abs(lengths - usual.median) / usual.spread)


def explain(value: float, culprit: int, names: PoseNames) -> str:
    """Describe a score in words."""
    individual, edge = divmod(culprit, len(names.edges))
    first, second = (names.bodyparts[place] for place in names.edges[edge])
    return (
        f"the bone {first}-{second}{names.name_owner(individual)} has a length {value:.3g} times "
        "the usual spread away from the usual one"
    )


def _measure_bones(block: PoseBlock, edges: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the logarithm of the lengths in px, plus 1; shape (frame, individual, edge)."""
    position = block.position[CONTEXT:]
    bone = position[:, :, edges[:, 0]] - position[:, :, edges[:, 1]]
    lengths: NDArray[np.float32] = np.log1p(np.hypot(bone[..., 0], bone[..., 1]))
    return lengths
