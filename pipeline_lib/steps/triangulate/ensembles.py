"""Smooth the points of a session by how far the members of an ensemble agree in each view."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import SessionError
from pipeline_lib.kernels.geometry.sessions.matching import NO_SLOT
from pipeline_lib.kernels.geometry.sessions.moments import NO_FRAME
from pipeline_lib.kernels.geometry.sessions.random_walk import choose_motion, smooth_walk
from pipeline_lib.kernels.geometry.triangulation import (
    find_noise,
    measure_precision,
    triangulate,
)
from pipeline_lib.steps.triangulate.points import Points, observe
from pipeline_lib.steps.triangulate.smoothing import Smoothable, measure_again

Floats = NDArray[np.float64]

# Moments whose covariances are measured at a time.
_BLOCK = 1000
# Moments from which usual spread and noise are estimated, evenly spread.
_SAMPLE = 4000
# Standard errors of a coordinate on which all members agree that are tried; see `_Scale`.
_FLOORS = (0.1, 0.2, 0.4, 0.8, 1.6, 6.0)


def smooth_by_spread(
    session: Smoothable, points: Points, threads: int
) -> tuple[Points, dict[str, Any]]:
    """Smooth the points of every individual with the ensemble Kalman smoother.

    The variance of a coordinate in a view is proportional to ``floor^2 + spread^2 / usual^2``, over
    its confidence. Reprojection errors tell the floor, and how large the variance is in px^2.

    Parameters
    ----------
    session
        What was triangulated.
    points
        Triangulated points, which are not changed.
    threads
        Number of threads; the result is the same for any.

    Returns
    -------
    tuple
        Points with new positions, reprojection errors and uncertainties (those after smoothing); a
        JSON-like record. Points that were not triangulated are still missing.

    Raises
    ------
    SessionError
        If the poses of a view are not those of an ensemble.
    """
    for view in session.rig.views:
        if view.poses.spread is None:
            raise SessionError(
                f"camera {view.camera}: its poses have no `spread`, which "
                "`triangulation.smoothing.method: ensemble-kalman` needs: set "
                "`training.ensemble` to 2 or more and run again, or choose another method"
            )
    scale = _find_scale(session, points, threads)
    position, uncertainty = points.position.copy(), points.uncertainty.copy()
    motions = []
    for individual in range(position.shape[1]):
        blocks = list(_weigh_views(session, points, individual, scale, threads))
        before, covariance = (np.concatenate(one) for one in zip(*blocks, strict=True))
        motion = choose_motion(before, covariance)
        path = smooth_walk(before, covariance, motion)
        there = np.asarray(np.isfinite(points.position[:, individual]).all(axis=-1))
        position[:, individual] = np.where(there[..., None], path.mean, np.nan)
        total = np.trace(path.covariance, axis1=-2, axis2=-1)
        uncertainty[:, individual] = np.where(there, np.sqrt(total), np.nan)
        motions.append([None if np.isnan(one) else float(one) for one in motion])
    moved = replace(
        points,
        position=position,
        uncertainty=uncertainty,
        error=points.error.copy(),
        camera_error=points.camera_error.copy(),
    )
    measure_again(session, moved)
    off = np.linalg.norm(position - points.position, axis=-1)
    return moved, {
        "method": "ensemble-kalman",
        "usual_spread": scale.usual,
        "floor": scale.floor,
        "noise": scale.noise,
        "motion": motions,
        "median_shift": float(np.nanmedian(off)) if np.isfinite(off).any() else None,
    }


class _Scale(NamedTuple):
    """Tell how the spread of a view becomes the variance of its coordinates.

    Attributes
    ----------
    usual
        Median spread, px.
    floor
        Standard error of a coordinate on which all members agree, as a share of that of one with
        the usual spread.
    noise
        Standard error in px of a coordinate of weight 1.
    """

    usual: float
    floor: float
    noise: float


def _find_scale(session: Smoothable, points: Points, threads: int) -> _Scale:
    """Estimate the scale from reprojection errors, by maximum likelihood."""
    part = np.arange(0, len(points.position), max(1, -(-len(points.position) // _SAMPLE)))
    spread = _observe_spread(session, part)
    seen = observe(session.rig, session.moments, session.slots, part, session.cut)
    confidence = seen.confidence * points.used[part]
    known = np.isfinite(spread) & (confidence > 0)
    usual = float(np.median(spread[known])) if known.any() else 0.0
    usual = usual if usual > 0 else 1.0
    cameras, best, least = session.rig.calibration.cameras, _FLOORS[-1], np.inf
    for floor in _FLOORS:
        weights = _weigh(confidence, spread, _Scale(usual, floor, 1.0))
        found = triangulate(cameras, seen.pixels, weights, gate=None, noise=1.0, threads=threads)
        square = (found.errors**2)[found.used & known]
        weight = weights[found.used & known]
        if not len(square):
            continue
        surprise = float(np.log(np.mean(square * weight)) - np.mean(np.log(weight)))
        if surprise < least:
            best, least = floor, surprise
    weights = _weigh(confidence, spread, _Scale(usual, best, 1.0))
    noise = find_noise(cameras, seen.pixels, weights, gate=None, threads=threads)
    return _Scale(usual, best, noise)


def _weigh_views(
    session: Smoothable, points: Points, individual: int, scale: _Scale, threads: int
) -> Iterator[tuple[Floats, Floats]]:
    """Yield the points of an individual by weighted views, and their covariances, in blocks."""
    cameras = session.rig.calibration.cameras
    for start in range(0, len(points.position), _BLOCK):
        part = slice(start, start + _BLOCK)
        seen = observe(session.rig, session.moments, session.slots, part, session.cut)
        spread = _observe_spread(session, part)
        weights = _weigh(seen.confidence * points.used[part], spread, scale)[:, :, individual]
        pixels = seen.pixels[:, :, individual]
        found = triangulate(
            cameras, pixels, weights, gate=None, noise=scale.noise, threads=threads
        ).points
        yield found, _invert(measure_precision(cameras, pixels, weights, found) / scale.noise**2)


def _weigh(confidence: Floats, spread: Floats, scale: _Scale) -> Floats:
    """Return the weights of coordinates; one without a spread counts as usual."""
    share = np.where(np.isfinite(spread), spread / scale.usual, 1.0)
    return confidence * (1.0 + scale.floor**2) / (scale.floor**2 + share**2)


def _invert(information: Floats) -> Floats:
    """Return covariances; NaN where the information is not positive definite."""
    good = np.asarray(np.isfinite(information).all(axis=(-1, -2)))
    safe = np.where(good[..., None, None], information, np.eye(3))
    lowest = np.linalg.eigvalsh(safe)
    good &= lowest[..., 0] > 1e-12 * np.maximum(lowest[..., -1], 1e-300)
    inverse = np.linalg.inv(np.where(good[..., None, None], safe, np.eye(3)))
    return np.where(good[..., None, None], inverse, np.nan)


def _observe_spread(session: Smoothable, part: slice | NDArray[np.intp]) -> Floats:
    """Return the spread of what each camera saw, shape (moment, camera, individual, keypoint)."""
    rig = session.rig
    frames, own = session.moments.frames[part], session.slots[part]
    spread = np.full((*own.shape, len(rig.bodyparts)), np.nan)
    for camera, view in enumerate(rig.views):
        has = (own[:, camera] != NO_SLOT) & (frames[:, camera] != NO_FRAME)[:, None]
        moment, individual = np.nonzero(has)
        parts = np.flatnonzero(rig.keypoints[camera] >= 0)
        assert view.poses.spread is not None  # noqa: S101 - checked for the whole session
        found = view.poses.spread[frames[moment, camera], own[moment, camera, individual]]
        where = (moment[:, None], camera, individual[:, None], parts[None])
        spread[where] = found[:, rig.keypoints[camera][parts]]
    return spread
