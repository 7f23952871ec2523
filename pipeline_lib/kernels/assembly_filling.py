"""Filling gaps of assembled individuals with peaks that no one has."""

import numpy as np

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
        fit = _measure_fit(member[at], peaks.affinity[at], graph, int(bodypart))
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


def _measure_fit(member: IntArray, affinity: FloatArray, graph: Graph, bodypart: int) -> FloatArray:
    """Return the mean affinity (frame, individual, peak) of a bodypart's peaks to individuals.

    -inf where an individual has no keypoint that an edge joins with the bodypart.
    """
    frames, individuals, _ = member.shape
    total = np.zeros((frames, individuals, affinity.shape[2]), np.float32)
    number = np.zeros((frames, individuals, 1), np.float32)
    frame = np.arange(frames)[:, None]
    for edge in np.flatnonzero((graph.first == bodypart) | (graph.second == bodypart)):
        is_first = graph.first[edge] == bodypart
        other = member[:, :, graph.second[edge] if is_first else graph.first[edge]]
        values = affinity[:, edge].swapaxes(1, 2) if is_first else affinity[:, edge]
        is_there = (other >= 0)[..., None]
        total += np.where(is_there, values[frame, other], 0)
        number += is_there
    return np.where(number > 0, total / np.maximum(number, 1), -np.inf)


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
