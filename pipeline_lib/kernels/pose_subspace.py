"""Find the subspace that plausible poses lie in: principal components of labelled ones.

References
----------
.. [1] Biderman et al., Lightning Pose: improved animal pose estimation via semi-supervised
   learning, Bayesian ensembling and cloud-native open-source tools, Nature Methods 2024.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Share of the labelled poses that cost nothing.
_TOLERATED = 0.9


@dataclass(frozen=True)
class Subspace:
    """Describe a subspace and how far labelled poses lie off it.

    Attributes
    ----------
    mean
        Shape (feature,): a point of it.
    basis
        Shape (component, feature): orthonormal directions.
    tolerance
        Distance of a point in the plane of an image, in the unit of the poses, that nine in ten
        of the labelled points keep.
    """

    mean: NDArray[np.float64]
    basis: NDArray[np.float64]
    tolerance: float


def fit_subspace(
    poses: NDArray[np.floating], *, variance: float = 1.0, most: int | None = None
) -> Subspace:
    """Fit principal components to poses.

    Parameters
    ----------
    poses
        Shape (pose, point, 2), finite, at least two poses.
    variance
        Share of the variance that the components explain together; as few are kept as do.
    most
        Most components to keep.

    Returns
    -------
    Subspace
        Its features are x and y of each point in turn.
    """
    flat = np.asarray(poses, np.float64).reshape(len(poses), -1)
    mean = flat.mean(axis=0)
    _, scale, basis = np.linalg.svd(flat - mean, full_matrices=False)
    power = scale**2
    # Rounding must not ask for a component more.
    kept = int(np.searchsorted(np.cumsum(power), variance * power.sum() * (1 - 1e-12))) + 1
    kept = min(kept, int(np.count_nonzero(power > power[0] * 1e-20)), most or len(power))
    basis = basis[:kept]
    off = (flat - mean) - (flat - mean) @ basis.T @ basis
    distance = np.linalg.norm(off.reshape(poses.shape), axis=-1)
    return Subspace(mean, basis, float(np.quantile(distance, _TOLERATED)))


def spread_clips(frames: list[int], number: int, length: int) -> list[tuple[int, int]]:
    """Choose clips evenly over videos, and evenly within each.

    Parameters
    ----------
    frames
        Number of frames of each video.
    number
        Number of clips, of all videos together.
    length
        Frames per clip. Videos that are shorter get none; clips of a video do not overlap.

    Returns
    -------
    list
        Position of the video and first frame (0-based) of each clip, in order.
    """
    long = [video for video, count in enumerate(frames) if count >= length]
    chosen: list[tuple[int, int]] = []
    for place, video in enumerate(long):
        share = number // len(long) + (place < number % len(long))
        share = min(share, frames[video] // length)
        # The middles of equal parts, each as long as a clip or longer.
        part = frames[video] / max(share, 1)
        chosen += [(video, int((n + 0.5) * part - length / 2)) for n in range(share)]
    return chosen
