"""Pair the poses of two frames and measure how ambiguous each pair is; many frames at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def pair_frames(similarity: Floats, least: float) -> NDArray[np.int64]:
    """Pair the poses of two frames so that the sum of their similarities is largest.

    Parameters
    ----------
    similarity
        Shape (frame, n, m), 0..1.
    least
        Pairs below this similarity are not made.

    Returns
    -------
    ndarray
        Shape (frame, n), int64, index of each pose's partner among the m; -1: none.
    """
    frames, rows, columns = similarity.shape
    if rows == 0 or columns == 0:
        return np.full((frames, rows), -1)
    allowed = (similarity >= least) & (similarity > 0.0)
    gain = np.where(allowed, similarity, 0.0)
    best = np.where(allowed.any(-1), gain.argmax(-1), -1)
    # Where no two poses have the same best partner, that is nearly always, the sum is largest.
    wanted = (best[..., None] == np.arange(columns)).sum(1)
    disputed = np.flatnonzero((wanted > 1).any(-1))
    if disputed.size:
        # SciPy takes longer to load than a job without work takes.
        from pipeline_lib.kernels.metrics.matching import assign_pairs  # noqa: PLC0415

        turned = np.swapaxes(similarity[disputed], 1, 2)
        best[disputed] = assign_pairs(turned, np.swapaxes(allowed[disputed], 1, 2))
    return best


def measure_ambiguity(similarity: Floats, partner: NDArray[np.int64]) -> NDArray[np.float64]:
    """Measure how good the second-best choice is for each pair.

    Three kinds of changes are compared: the pose takes a free partner, the partner takes a free
    pose, or two pairs exchange their partners.

    Parameters
    ----------
    similarity
        Shape (frame, n, m), 0..1.
    partner
        Shape (frame, n), each pose's partner; -1: none.

    Returns
    -------
    ndarray
        Shape (frame, n), float64, second-best ratio: similarity after the best change as a share
        of the similarity before; 0 for poses without a partner, above 1 where `partner` is not
        the best choice.
    """
    frames, rows, columns = similarity.shape
    if rows == 0 or columns == 0:
        return np.zeros((frames, rows))
    paired = partner >= 0
    chosen = np.maximum(partner, 0)
    own = np.where(paired, np.take_along_axis(similarity, chosen[..., None], 2)[..., 0], 0.0)
    # [f, a, b]: pose a with the partner of pose b.
    column = np.broadcast_to(chosen[:, None], (frames, rows, rows))
    taken = np.take_along_axis(similarity, column, 2)
    taken = np.where(paired[:, None], taken, 0.0)
    # If b has no partner, it takes the one of a, who is left with none.
    exchanged = taken + np.swapaxes(taken, 1, 2)
    before = own[:, :, None] + own[:, None, :]
    share = np.divide(exchanged, before, out=np.zeros_like(before), where=before > 0.0)
    share[:, np.arange(rows), np.arange(rows)] = 0.0
    free = ~(partner[..., None] == np.arange(columns)).any(1)
    other = np.where(free[:, None], similarity, 0.0).max(-1)
    best = np.maximum(share.max(-1), np.divide(other, own, out=np.zeros_like(own), where=own > 0.0))
    return np.where(paired, best, 0.0)
