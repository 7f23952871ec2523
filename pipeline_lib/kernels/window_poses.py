"""Poses of windows around animals: which of them stand, where windows overlap."""

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.pose_similarity import measure_sizes
from pipeline_lib.kernels.similarity import object_keypoint_similarity

# Of two views of one animal a keypoint differs by less than this share of the animal's size.
_SAME_POSE = 0.3
# OKS from which two windows have found the same animal.
_SAME_ANIMAL = 0.5


def choose_poses(
    position: NDArray[np.floating],
    confidence: NDArray[np.floating],
    *,
    pcutoff: float,
    min_keypoints: int,
    least_size: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Keep what is certain of the poses that windows gave, and each animal once.

    A frame's result depends on that frame alone, and on the order of its poses only where two
    are equally good.

    Parameters
    ----------
    position
        Shape (frame, individual, keypoint, 2), px; NaN where there was no window.
    confidence
        Shape (frame, individual, keypoint), 0..1.
    pcutoff
        Confidence from which a keypoint is there.
    min_keypoints
        A pose of fewer keypoints is left out; at most all keypoints are asked for.
    least_size
        px, what a pose is taken for that has no size of its own.

    Returns
    -------
    position, confidence
        float32 in the same shapes, the poses of a frame best first (by the sum of their
        confidences); NaN and 0 where there is no keypoint or no individual.
    """
    certain = (confidence >= pcutoff) & np.isfinite(position).all(-1)
    wanted = max(1, min(min_keypoints, confidence.shape[-1]))
    certain &= (certain.sum(-1) >= wanted)[..., None]
    position = np.where(certain[..., None], position, np.nan).astype(np.float32)
    confidence = np.where(certain, confidence, 0.0).astype(np.float32)
    order = np.argsort(-confidence.sum(-1, dtype=np.float64), axis=-1, kind="stable")
    position, confidence = _reorder(position, confidence, order)
    copy = find_copies(position, least_size)
    position[copy], confidence[copy] = np.nan, 0.0
    return _reorder(position, confidence, np.argsort(copy, axis=-1, kind="stable"))


def find_copies(position: NDArray[np.floating], least_size: float) -> NDArray[np.bool_]:
    """Tell which poses show an animal that a better pose of the frame shows already.

    Only the keypoints of the worse pose count, so that a part of an animal is a copy, too.

    Parameters
    ----------
    position
        Shape (frame, individual, keypoint, 2), px, best first; NaN where missing.
    least_size
        px, what a pose is taken for that has no size of its own.

    Returns
    -------
    ndarray
        Shape (frame, individual), bool; False for those that are not there.
    """
    size = np.fmax(measure_sizes(position), least_size)
    # With half of it as sigma, OKS is exp(-d^2 / (2 * (share * size)^2)).
    alike = object_keypoint_similarity(
        position[:, None], position[:, :, None], size[:, None] ** 2, _SAME_POSE / 2
    )
    same = alike >= _SAME_ANIMAL  # (frame, worse, better); False for NaN
    copy = np.zeros(position.shape[:2], np.bool_)
    for place in range(1, position.shape[1]):
        copy[:, place] = (same[:, place, :place] & ~copy[:, :place]).any(-1)
    return copy


def _reorder(
    position: NDArray[np.float32], confidence: NDArray[np.float32], order: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Put the poses of each frame into another order."""
    return (
        np.take_along_axis(position, order[..., None, None], axis=1),
        np.take_along_axis(confidence, order[..., None], axis=1),
    )
