"""Find the moments of a session by the method in its settings; report frames without a partner."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import SessionError
from pipeline_lib.core.poses import find_decoded
from pipeline_lib.core.settings.cameras import SynchronisationSettings
from pipeline_lib.core.tables import FrameStatus
from pipeline_lib.kernels.geometry.sessions.moments import (
    NO_FRAME,
    Moments,
    align_by_number,
    align_by_time,
    find_period,
)
from pipeline_lib.steps.triangulate.clocks import set_clocks
from pipeline_lib.steps.triangulate.views import View

Floats = NDArray[np.float64]

# Relative difference of frame rates above which frames of one number drift apart.
_RATES = 0.001


class Synchronised(NamedTuple):
    """Hold the moments of a session.

    Attributes
    ----------
    moments
        With times in seconds from the first moment.
    status
        Shape (moment,), uint8, as in `pipeline_lib.core.cameras.session_poses.SessionPoses`.
    fps
        Moments per second; None if unknown in all views.
    report
        JSON-like: method, tolerance and, for each camera, its numbers of frames, of moments
        without a frame and of frames that are not used, and how far its frames are from their
        moments in s, median and most (null: times are not compared); doubts in words.
    """

    moments: Moments
    status: NDArray[np.uint8]
    fps: float | None
    report: dict[str, Any]


def synchronise(views: Sequence[View], settings: SynchronisationSettings) -> Synchronised:
    """Find the moments of a session.

    Raises
    ------
    SessionError
        If an offset or the times of a camera cannot be used, or no moment has two cameras.
    """
    by_number = settings.method == "frames"
    tolerance: float | None = None
    doubts: list[str] = []
    clocks: dict[str, Any] = {}
    times: list[Floats] | None = None
    if by_number:
        moments, fps = _align_by_number(views)
        doubts = _find_doubts(views)
    else:
        if settings.method != "timestamps":
            views, clocks, doubts = set_clocks(views, settings.method)
        times = _read_times(views)
        moments, fps, tolerance = _align_by_time(views, times, settings.tolerance)
    if not ((moments.frames != NO_FRAME).sum(axis=1) > 1).any():
        raise SessionError(
            "no two of its cameras have a frame of the same moment: look at offsets and times"
        )
    cameras = {}
    for place, view in enumerate(views):
        frames = moments.frames[:, place]
        used = np.flatnonzero(frames != NO_FRAME)
        cameras[view.camera] = {
            "frames": len(view.poses.time),
            "moments_without_frame": int(len(frames) - len(used)),
            "frames_not_used": int(len(view.poses.time) - len(used)),
            "first_moment": int(used[0]) if len(used) else None,
            "last_moment": int(used[-1]) if len(used) else None,
            "frames_not_decoded": int((~find_decoded(view.poses.frame_status)).sum()),
            "apart_s": None if times is None else _measure_apart(moments, place, times[place]),
        }
    report = {
        "method": settings.method,
        "tolerance_s": tolerance,
        "moments": len(moments.time),
        "moments_of_two_cameras": int(((moments.frames != NO_FRAME).sum(axis=1) > 1).sum()),
        "cameras": cameras,
        "doubts": doubts,
        **({"clocks": clocks} if clocks else {}),
    }
    first = float(moments.time[0]) if times is not None else 0.0
    moments = Moments(moments.time - first, moments.frames)
    return Synchronised(moments, find_status(views, moments), fps, report)


def _align_by_number(views: Sequence[View]) -> tuple[Moments, float | None]:
    for view in views:
        if not float(view.offset).is_integer():
            raise SessionError(
                f"the offset of camera {view.camera} is {view.offset:g}; expected a whole number "
                "of frames, or `triangulation.synchronisation.method: timestamps`"
            )
    counts = [len(view.poses.time) for view in views]
    moments = align_by_number(counts, [int(view.offset) for view in views])
    rates = [rate for view in views if (rate := _find_rate(view)) is not None]
    fps = float(np.median(rates)) if rates else None
    return Moments(moments.time / (fps or 1.0), moments.frames), fps


def _read_times(views: Sequence[View]) -> list[Floats]:
    """Return the times of the frames of each view, on one clock."""
    times = []
    for view in views:
        own = view.poses.time if view.timestamps is None else view.timestamps
        if own.shape != view.poses.time.shape:
            raise SessionError(
                f"camera {view.camera} has {len(view.poses.time):,} frames and {len(own):,} "
                "timestamps; expected one for each frame"
            )
        times.append(np.asarray(own, np.float64) + view.offset)
    return times


def _align_by_time(
    views: Sequence[View], times: Sequence[Floats], tolerance: float | None
) -> tuple[Moments, float | None, float]:
    shortest = min(find_period(one) for one in times)
    if not np.isfinite(shortest):
        raise SessionError(
            "no camera has two frames with different times: correct the times, or set "
            "`triangulation.synchronisation.method: frames`"
        )
    chosen = shortest / 2 if tolerance is None else tolerance
    try:
        moments = align_by_time(times, chosen, [view.camera for view in views])
    except ValueError as error:
        raise SessionError(f"{error}: expected times of one clock in the order of frames") from None
    return moments, 1 / shortest, chosen


def _measure_apart(moments: Moments, camera: int, times: Floats) -> dict[str, float] | None:
    """Return how far the frames of a camera are from their moments, in s: median and most."""
    used = moments.frames[:, camera] != NO_FRAME
    if not used.any():
        return None
    apart = np.abs(times[moments.frames[used, camera]] - moments.time[used])
    return {
        "median": float(np.round(np.median(apart), 6)),
        "most": float(np.round(apart.max(), 6)),
    }


def _find_rate(view: View) -> float | None:
    """Return the frame rate that a view states, or that of its times."""
    told = view.poses.attributes.get("fps")
    if isinstance(told, int | float) and np.isfinite(told) and told > 0:
        return float(told)
    period = find_period(view.poses.time)
    return 1 / period if np.isfinite(period) else None


def _find_doubts(views: Sequence[View]) -> list[str]:
    rates = {view.camera: rate for view in views if (rate := _find_rate(view)) is not None}
    if not rates or max(rates.values()) <= (1 + _RATES) * min(rates.values()):
        return []
    slow, fast = min(rates, key=rates.__getitem__), max(rates, key=rates.__getitem__)
    doubt = (
        f"camera {slow} has {rates[slow]:g} frames per second and camera {fast} {rates[fast]:g}: "
        "frames of the same number show different moments; use `timestamps`"
    )
    return [doubt]


def find_status(views: Sequence[View], moments: Moments) -> NDArray[np.uint8]:
    """Return the status of each moment: decoded if two cameras have a decoded frame, else worst."""
    status = np.full(moments.frames.shape, FrameStatus.MISSING, np.uint8)
    for place, view in enumerate(views):
        has = moments.frames[:, place] != NO_FRAME
        status[has, place] = view.poses.frame_status[moments.frames[has, place]]
    decoded = find_decoded(status)
    worst = np.where(decoded, np.uint8(FrameStatus.DECODED), status).max(axis=1)
    several = decoded.sum(axis=1) > 1
    return np.where(several, np.uint8(FrameStatus.DECODED), worst).astype(np.uint8)
