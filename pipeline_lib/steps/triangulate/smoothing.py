"""Optimise the points of a session over space and time, one individual at a time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.settings.cameras import SmoothingSettings
from pipeline_lib.kernels.geometry.projection import measure_errors
from pipeline_lib.kernels.geometry.sessions.moments import Moments
from pipeline_lib.kernels.geometry.sessions.spacetime import (
    Motion,
    Weights,
    estimate_motion,
    find_overlap,
    optimise_points,
)
from pipeline_lib.kernels.geometry.triangulation import measure_precision
from pipeline_lib.steps.triangulate.points import Points, average_errors, observe
from pipeline_lib.steps.triangulate.views import Rig

# Moments of a window without its overlap.
_WINDOW = 1000
# Moments from which movement and lengths are estimated: runs of them, evenly spread.
_RUN, _RUNS = 500, 200


class Smoothable(NamedTuple):
    """Hold a session; `cut` is the confidence below which keypoints do not count, `noise` px."""

    rig: Rig
    moments: Moments
    slots: NDArray[np.int16]
    cut: float
    noise: float


def smooth_points(
    session: Smoothable,
    points: Points,
    edges: Sequence[tuple[int, int]],
    settings: SmoothingSettings,
    threads: int,
) -> tuple[Points, dict[str, Any]]:
    """Optimise the points of every individual.

    Parameters
    ----------
    session
        What was triangulated.
    points
        Triangulated points, which are not changed.
    edges
        Pairs of keypoints whose distance is nearly constant.
    settings
        Section `triangulation.smoothing`.
    threads
        Number of threads; the result is the same for any.

    Returns
    -------
    tuple
        Points with new positions, reprojection errors and uncertainties (those after smoothing); a
        JSON-like record. Points that were not triangulated are still missing.
    """
    weights = Weights(settings.smoothness, settings.bone_length)
    individuals = points.position.shape[1]
    motions = [_estimate(points, individual, edges) for individual in range(individuals)]
    overlap = max(find_overlap(motion, weights) for motion in motions)
    position, uncertainty = points.position.copy(), points.uncertainty.copy()

    def solve(start: int) -> None:
        core = slice(start, min(start + _WINDOW, len(position)))
        wide = slice(max(0, start - overlap), core.stop + overlap)
        seen = observe(session.rig, session.moments, session.slots, wide, session.cut)
        before = points.position[wide].astype(np.float64)
        precision = measure_precision(
            session.rig.calibration.cameras,
            seen.pixels,
            seen.confidence * points.used[wide],
            before,
        )
        precision /= session.noise**2
        inner = slice(core.start - wide.start, core.stop - wide.start)
        for individual, motion in enumerate(motions):
            best, spread = optimise_points(
                before[:, individual], precision[:, individual], edges, motion, weights
            )
            position[core, individual] = best[inner]
            uncertainty[core, individual] = spread[inner]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(solve, range(0, len(position), _WINDOW)))
    moved = replace(
        points,
        position=position,
        uncertainty=uncertainty,
        error=points.error.copy(),
        camera_error=points.camera_error.copy(),
    )
    measure_again(session, moved)
    off = np.linalg.norm(position - points.position, axis=-1)
    report = {
        "smoothness": settings.smoothness,
        "bone_length": settings.bone_length,
        "overlap": overlap,
        "median_shift": float(np.nanmedian(off)) if np.isfinite(off).any() else None,
        "lengths": [motion.lengths.tolist() for motion in motions],
    }
    return moved, report


def _estimate(points: Points, individual: int, edges: Sequence[tuple[int, int]]) -> Motion:
    count = len(points.position)
    if count > _RUN * _RUNS:
        starts = np.linspace(0, count - _RUN, _RUNS).astype(int)
        some = np.unique((starts[:, None] + np.arange(_RUN)).ravel())
    else:
        some = np.arange(count)
    return estimate_motion(
        points.position[some, individual], points.uncertainty[some, individual], edges
    )


def measure_again(session: Smoothable, points: Points) -> None:
    """Measure reprojection errors again, in place."""
    for start in range(0, len(points.position), _WINDOW):
        part = slice(start, start + _WINDOW)
        seen = observe(session.rig, session.moments, session.slots, part, session.cut)
        errors = measure_errors(
            session.rig.calibration.cameras, points.position[part].astype(np.float64), seen.pixels
        )
        points.camera_error[part] = errors
        points.error[part] = average_errors(errors, points.used[part])
