"""The criterion `pose`: a posture that the cohort's animals rarely have.

Poses are shifted and turned onto the usual pose. Principal components of the sample's inner three
quarters describe what is usual; they are found by the concentration steps of the minimum
covariance determinant (Rousseeuw and Van Driessen, Technometrics 1999). The score is Mahalanobis'
distance from the centre.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.refinement.blocks import (
    CONTEXT,
    PoseBlock,
    PoseNames,
    Scored,
    take_worst,
)

_FEWEST_KEYPOINTS = 3
_FEWEST_POSES = 50
_MOST_POSES = 20_000
_INNER_SHARE = 0.75
_STEPS = 10
_NOISE = 1.0  # px^2, variance of a coordinate that every pose has


class UsualPoses(NamedTuple):
    """Hold the usual poses; complex numbers are x + i y.

    Attributes
    ----------
    shape
        Shape (keypoint,), complex px: the median of aligned poses.
    centre
        Shape (2 keypoint,), px: mean of aligned poses.
    whitening
        Shape (2 keypoint, component): a pose less the centre, times this, has a covariance of 1.
        None: there are too few poses or keypoints to tell.
    """

    shape: NDArray[np.complex128]
    centre: NDArray[np.float64]
    whitening: NDArray[np.float64] | None


def fit(blocks: Sequence[PoseBlock], names: PoseNames, shrinkage: float = 0.0) -> UsualPoses:
    """Describe the poses of a sample of the cohort.

    Parameters
    ----------
    blocks, names
        The sample.
    shrinkage
        Share of the mean variance that every component has at least; above 0 for few poses, of
        which most directions are unknown.
    """
    number = len(names.bodyparts)
    poses = np.concatenate(
        [_to_complex(block.position[CONTEXT:]).reshape(-1, number) for block in blocks]
    )
    poses = poses[_has_enough(poses)]
    unknown = UsualPoses(np.zeros(number, np.complex128), np.zeros(2 * number), None)
    if len(poses) < _FEWEST_POSES:
        return unknown
    poses = poses[:: -(-len(poses) // _MOST_POSES)]
    # The most complete pose is the first to turn the others onto; the earliest of equals.
    shape = _centre(poses[np.isfinite(poses).sum(axis=1).argmax()])
    for _ in range(_STEPS):
        shape = _take_median(_align(poses, shape))
    aligned = _to_real(_align(poses, shape))
    centre, whitening = _concentrate(aligned, shrinkage)
    return UsualPoses(shape, centre, whitening)


def score(block: PoseBlock, usual: UsualPoses) -> Scored:
    """Return Mahalanobis' distance of the least usual individual.

    Keypoints that were not found are taken to be where they usually are. An individual with
    fewer than three keypoints, or less than half of all, has no score. The culprit is the index
    of the individual.
    """
    position = block.position[CONTEXT:]
    distance = np.full(position.shape[:2], np.nan)
    poses = _to_complex(position)
    enough = _has_enough(poses)
    if usual.whitening is not None and enough.any():
        aligned = _to_real(_align(poses[enough], usual.shape))
        distance[enough] = np.linalg.norm((aligned - usual.centre) @ usual.whitening, axis=1)
    return take_worst(distance)


def explain(value: float, culprit: int, names: PoseNames) -> str:
    """Describe a score in words."""
    return f"unusual posture{names.name_owner(culprit)} (Mahalanobis distance {value:.3g})"


def _to_complex(position: NDArray[np.float32]) -> NDArray[np.complex128]:
    return position[..., 0].astype(np.float64) + 1j * position[..., 1]


def _to_real(poses: NDArray[np.complex128]) -> NDArray[np.float64]:
    return np.concatenate([poses.real, poses.imag], axis=-1)


def _has_enough(poses: NDArray[np.complex128]) -> NDArray[np.bool_]:
    enough: NDArray[np.bool_] = np.isfinite(poses).sum(axis=-1) >= max(
        _FEWEST_KEYPOINTS, poses.shape[-1] / 2
    )
    return enough


def _centre(pose: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return a pose around 0; its missing keypoints lie there."""
    found = np.isfinite(pose)
    return np.where(found, pose - pose[found].mean(), 0.0)


def _align(poses: NDArray[np.complex128], shape: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return poses shifted and turned onto a shape by least squares, and completed from it.

    The keypoints that a pose has are compared with the same ones of the shape.
    """
    found = np.isfinite(poses)
    number = found.sum(axis=1, keepdims=True)
    there = np.where(found, poses, 0.0)
    usual = np.where(found, shape, 0.0)
    middle = usual.sum(axis=1, keepdims=True) / number
    there = np.where(found, there - there.sum(axis=1, keepdims=True) / number, 0.0)
    turn = (np.conj(there) * (usual - middle)).sum(axis=1, keepdims=True)
    size = np.abs(turn)
    turned = there * np.where(size > 0, turn / np.where(size > 0, size, 1.0), 1.0) + middle
    return np.where(found, turned, shape)


def _take_median(aligned: NDArray[np.complex128]) -> NDArray[np.complex128]:
    median = np.median(aligned.real, axis=0) + 1j * np.median(aligned.imag, axis=0)
    middle: NDArray[np.complex128] = median - median.mean()
    return middle


def _concentrate(
    aligned: NDArray[np.float64], shrinkage: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centre and the whitening of the inner share of some points."""
    centre = np.median(aligned, axis=0)
    distance = np.abs(aligned - centre).max(axis=1)
    inner = max(2, int(_INNER_SHARE * len(aligned)))
    whitening = np.eye(aligned.shape[1])
    for _ in range(_STEPS):
        kept = aligned[np.argsort(distance, kind="stable")[:inner]]
        centre = kept.mean(axis=0)
        values, axes = np.linalg.eigh(np.cov(kept, rowvar=False))
        whitening = axes / np.sqrt(np.maximum(values, 0.0) + _NOISE + shrinkage * values.mean())
        distance = np.linalg.norm((aligned - centre) @ whitening, axis=1)
    return centre, whitening
