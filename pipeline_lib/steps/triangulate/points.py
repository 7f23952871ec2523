"""Triangulate the matched individuals of a session, block by block of moments."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.settings.cameras import TriangulationSettings
from pipeline_lib.kernels.geometry.sessions.matching import NO_SLOT
from pipeline_lib.kernels.geometry.sessions.moments import NO_FRAME, Moments
from pipeline_lib.kernels.geometry.triangulation import (
    find_gate,
    find_noise,
    triangulate,
)
from pipeline_lib.steps.triangulate.views import Rig

Floats = NDArray[np.float64]

# Moments that are triangulated at a time, so that hours of video need little memory.
_MOMENTS = 4096
# Moments from which the gate is estimated, evenly spread.
_GATE_MOMENTS = 4000


@dataclass(frozen=True)
class Observed:
    """Hold what the cameras saw at some moments, individuals in one order.

    Attributes
    ----------
    pixels
        Shape (moment, camera, individual, keypoint, 2), in px; NaN: not seen.
    confidence
        Shape (moment, camera, individual, keypoint); 0 where not seen, or below pcutoff.
    """

    pixels: Floats
    confidence: Floats


@dataclass(frozen=True)
class Points:
    """Hold triangulated points; see `pipeline_lib.core.cameras.session_poses.SessionPoses`.

    `used`, shape (moment, camera, individual, keypoint), are the views that count.
    """

    position: NDArray[np.float32]
    confidence: NDArray[np.float32]
    error: NDArray[np.float32]
    views: NDArray[np.uint8]
    uncertainty: NDArray[np.float32]
    camera_error: NDArray[np.float32]
    used: NDArray[np.bool_]


def observe(
    rig: Rig, moments: Moments, slots: NDArray[np.int16], part: slice | NDArray[np.intp], cut: float
) -> Observed:
    """Gather what the cameras saw at some moments.

    Parameters
    ----------
    rig, moments
        The session.
    slots
        Shape (moment, camera, individual), see `pipeline_lib.steps.triangulate.individuals`.
    part
        Which moments.
    cut
        Confidence below which a keypoint counts as not seen.
    """
    frames, own = moments.frames[part], slots[part]
    shape = (*own.shape, len(rig.bodyparts))
    pixels, confidence = np.full((*shape, 2), np.nan), np.zeros(shape)
    for camera, view in enumerate(rig.views):
        has = (own[:, camera] != NO_SLOT) & (frames[:, camera] != NO_FRAME)[:, None]
        moment, individual = np.nonzero(has)
        frame, slot = frames[moment, camera], own[moment, camera, individual]
        parts = np.flatnonzero(rig.keypoints[camera] >= 0)
        there = rig.keypoints[camera][parts]
        found = view.poses.position[frame, slot][:, there].astype(np.float64)
        sure = view.poses.confidence[frame, slot][:, there].astype(np.float64)
        # Tools without confidences store NaN beside positions.
        sure = np.where(np.isnan(sure), 1.0, sure)
        bad = ~np.isfinite(found).all(-1) | (sure < cut) | (sure <= 0)
        found[bad], sure[bad] = np.nan, 0.0
        where = (moment[:, None], camera, individual[:, None], parts[None])
        pixels[where], confidence[where] = found, sure
    return Observed(pixels, confidence)


def find_scale(
    rig: Rig,
    moments: Moments,
    slots: NDArray[np.int16],
    settings: TriangulationSettings,
    threads: int,
) -> tuple[float | None, float]:
    """Return the gate in px (None: all views are used) and the noise of a coordinate in px."""
    step = max(1, -(-len(moments.time) // _GATE_MOMENTS))
    seen = observe(rig, moments, slots, slice(0, None, step), settings.pcutoff)
    cameras = rig.calibration.cameras
    gate: float | None = None
    if settings.choose_views:
        gate = settings.gate if settings.gate != "auto" else None
        if gate is None:
            gate = find_gate(cameras, seen.pixels, seen.confidence, threads=threads)
    noise = find_noise(cameras, seen.pixels, seen.confidence, gate=gate, threads=threads)
    return gate, noise


def triangulate_moments(  # noqa: PLR0913 - the session, the choice of views, and the threads
    rig: Rig,
    moments: Moments,
    slots: NDArray[np.int16],
    *,
    cut: float,
    gate: float | None,
    noise: float,
    threads: int,
) -> Points:
    """Triangulate every individual at every moment.

    Parameters
    ----------
    rig, moments, slots
        The session; see `observe`.
    cut
        Confidence below which a keypoint counts as not seen.
    gate, noise, threads
        As for `pipeline_lib.kernels.geometry.triangulation.triangulate`.
    """
    points = _make_empty(slots.shape, len(rig.bodyparts))
    for part in _divide(len(moments.time)):
        seen = observe(rig, moments, slots, part, cut)
        found = triangulate(
            rig.calibration.cameras,
            seen.pixels,
            seen.confidence,
            gate=gate,
            noise=noise,
            threads=threads,
        )
        count = found.used.sum(axis=1)
        with np.errstate(all="ignore"):
            confidence = np.where(found.used, seen.confidence, 0.0).sum(axis=1) / count
        points.position[part] = found.points
        points.confidence[part] = confidence
        points.error[part] = average_errors(found.errors, found.used)
        points.views[part] = count
        points.uncertainty[part] = found.uncertainty
        points.camera_error[part] = found.errors
        points.used[part] = found.used
    return points


def average_errors(errors: Floats, used: NDArray[np.bool_]) -> Floats:
    """Return root mean squares over the views that count; NaN where there is none."""
    square = np.where(used, errors, 0.0) ** 2
    with np.errstate(all="ignore"):
        return np.asarray(np.sqrt(square.sum(axis=1) / used.sum(axis=1)))


def _make_empty(shape: tuple[int, ...], keypoints: int) -> Points:
    moments, cameras, individuals = shape
    points = (moments, individuals, keypoints)

    def fill(*shape: int) -> NDArray[np.float32]:
        return np.full(shape, np.nan, np.float32)

    return Points(
        fill(*points, 3),
        fill(*points),
        fill(*points),
        np.zeros(points, np.uint8),
        fill(*points),
        fill(moments, cameras, individuals, keypoints),
        np.zeros((moments, cameras, individuals, keypoints), bool),
    )


def _divide(count: int) -> Iterator[slice]:
    for start in range(0, count, _MOMENTS):
        yield slice(start, min(start + _MOMENTS, count))
