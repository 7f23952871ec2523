"""Filling gaps of assembled individuals with peaks that no one has."""

import numpy as np

from pipeline_lib.kernels.assembly_exchange import add_up_affinity
from pipeline_lib.kernels.assembly_links import BoolArray, FloatArray, Graph, IntArray, Peaks


def fill_gaps(member: IntArray, peaks: Peaks, graph: Graph, min_affinity: float) -> IntArray:
    """Give individuals missing keypoints from the peaks left over.

    A peak fits an individual if its affinity to the individual's keypoints, the mean over all
    edges to them, is high enough. Those that fit best are given first.

    Parameters
    ----------
    member
        Shape (frame, individual, bodypart), int64: the peak of each; -1: none. An individual
        without any keypoint stays so.
    peaks
        All peaks that may be used.
    graph
        The edges.
    min_affinity
        Least mean affinity.

    Returns
    -------
    ndarray
        As ``member``.
    """
    free = _find_free(member, peaks)
    missing = (member < 0) & np.any(member >= 0, axis=2, keepdims=True)
    open_ = np.any(missing, axis=1) & np.any(free, axis=2)
    frame = np.flatnonzero(open_.any(axis=1))
    filled = member.copy()
    if not frame.size:
        return filled
    for bodypart in np.flatnonzero(open_.any(axis=0)):
        at = frame[open_[frame, bodypart]]
        support = add_up_affinity(member[at], peaks.affinity[at], graph, int(bodypart))
        mean = support.total / np.maximum(support.edges, 1)
        fit = np.where(support.edges > 0, mean, -np.inf)
        possible = missing[at, :, bodypart, None] & free[at, None, bodypart]
        fit = np.where(possible & (fit >= min_affinity), fit, -np.inf)
        filled[at, :, bodypart] = _give(fit, member[at, :, bodypart])
    return filled


def _find_free(member: IntArray, peaks: Peaks) -> BoolArray:
    """Return which peaks (frame, bodypart, peak) are there and no one's."""
    free = np.isfinite(peaks.confidence)
    frame, individual, bodypart = np.nonzero(member >= 0)
    free[frame, bodypart, member[frame, individual, bodypart]] = False
    return free


def _give(fit: FloatArray, member: IntArray) -> IntArray:
    """Give peaks to individuals (frame, individual, peak), the best fit first."""
    given = member.copy()
    count = fit.shape[2]
    for _ in range(min(fit.shape[1:])):
        best = fit.reshape(len(fit), -1).argmax(axis=1)
        individual, peak = best // count, best % count
        frame = np.arange(len(fit))
        going = fit[frame, individual, peak] > -np.inf
        if not going.any():
            break
        frame, individual, peak = frame[going], individual[going], peak[going]
        given[frame, individual] = peak
        fit[frame, individual] = -np.inf
        fit[frame, :, peak] = -np.inf
    return given
