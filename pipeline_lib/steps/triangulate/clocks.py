"""Set the clocks of the cameras of a session by a light that they see, or a sound."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.basics import find_alike
from pipeline_lib.core.errors import SessionError, VideoError
from pipeline_lib.core.settings.run import Config
from pipeline_lib.io.video.signals import SOUND_RATE, read_brightness, read_energy
from pipeline_lib.kernels.geometry.sessions.moments import find_period
from pipeline_lib.kernels.geometry.sessions.signals import (
    Edges,
    Shift,
    find_edges,
    match_edges,
    match_sounds,
    measure_onsets,
)
from pipeline_lib.steps.infer.frames.read_ahead import explain_stall
from pipeline_lib.steps.select_frames import PatientReader
from pipeline_lib.steps.triangulate.views import View

Floats = NDArray[np.float64]

# How well another shift may fit, as a share of the best: above, it is told; above, it is refused.
_DOUBTFUL, _UNKNOWN = 0.6, 0.85
# Share of the expected edges that should coincide.
_FEW = 0.7


def add_signal(view: View, video: Path | None, config: Config) -> View:
    """Return a view with the signal that its clock is set by, read from its video.

    Raises
    ------
    SessionError
        If there is no video, it has no such signal, or no rectangle is named for the camera.
    """
    settings = config.triangulation.synchronisation
    if settings.method not in ("light", "sound"):
        return view
    if video is None:
        raise SessionError(
            f"camera {view.camera}: has poses and no video, which would tell its {settings.method}"
        )
    try:
        if settings.method == "light":
            place = find_alike(view.camera, tuple(settings.light))
            if place is None:
                raise SessionError(
                    f"`triangulation.synchronisation.light` has no camera {view.camera}; it has "
                    f"{', '.join(settings.light)}"
                )
            patience = config.reading.seconds_per_frame
            with explain_stall(patience), PatientReader(video, patience) as reader:
                return replace(view, brightness=read_brightness(reader, settings.light[place]))
        energy, start = read_energy(video)
        return replace(view, sound=(measure_onsets(energy), start))
    except VideoError as error:
        raise SessionError(f"camera {view.camera}: {video}: {error}") from None


def set_clocks(views: Sequence[View], method: str) -> tuple[list[View], dict[str, Any], list[str]]:
    """Give all views times of one clock.

    Parameters
    ----------
    views
        Each with its signal.
    method
        Which signal: `light` or `sound`.

    Returns
    -------
    tuple
        Views with timestamps; a JSON-like record by camera: seconds by which its clock was later
        than that of the reference, edges that coincide and that were expected, how well the next
        best shift fits, drift; doubts in words.

    Raises
    ------
    SessionError
        If a camera has no signal, or several shifts fit equally well.
    """
    times = [
        np.asarray(view.poses.time if view.timestamps is None else view.timestamps, np.float64)
        for view in views
    ]
    if method == "light":
        reference, shifts = _match_lights(views, times)
    else:
        reference, shifts = _match_sounds(views)
    record, doubts = {}, list[str]()
    for place, (view, shift) in enumerate(zip(views, shifts, strict=True)):
        if place == reference:
            continue
        tolerance = _find_tolerance(times[reference], times[place])
        doubts += _judge(view.camera, views[reference].camera, shift, method, tolerance)
        record[view.camera] = {
            "later_s": float(np.round(shift.seconds, 6)),
            "coincide": shift.matched,
            "expected": shift.expected,
            "next_best": float(np.round(shift.rival, 3)),
            "drift_s": float(np.round(shift.drift, 6)),
        }
    moved = [
        replace(view, timestamps=own - shift.seconds)
        for view, own, shift in zip(views, times, shifts, strict=True)
    ]
    return moved, {"reference": views[reference].camera, "cameras": record}, doubts


def _match_lights(views: Sequence[View], times: Sequence[Floats]) -> tuple[int, list[Shift]]:
    edges: list[Edges] = []
    for view, own in zip(views, times, strict=True):
        if view.brightness is None or view.brightness.shape != own.shape:
            found = 0 if view.brightness is None else len(view.brightness)
            raise SessionError(
                f"camera {view.camera}: {found} frames of its video and {len(own)} of its poses or "
                "times; expected one for each"
            )
        edges.append(find_edges(view.brightness, own))
        if not len(edges[-1].time):
            raise SessionError(
                f"camera {view.camera}: the light in its rectangle is never switched on or off: "
                "look at `triangulation.synchronisation.light`"
            )
    reference = int(np.argmax([len(one.time) for one in edges]))
    return reference, [
        match_edges(edges[reference], one, _find_tolerance(times[reference], own))
        for one, own in zip(edges, times, strict=True)
    ]


def _match_sounds(views: Sequence[View]) -> tuple[int, list[Shift]]:
    sounds = [view.sound for view in views]
    shifts = []
    for view, sound in zip(views, sounds, strict=True):
        first = sounds[0]
        if sound is None or first is None or not sound[0].any():
            raise SessionError(f"camera {view.camera}: its sound is silent")
        shift = match_sounds(first[0], sound[0], SOUND_RATE)
        shifts.append(shift._replace(seconds=shift.seconds + sound[1] - first[1]))
    return 0, shifts


def _find_tolerance(reference: Floats, other: Floats) -> float:
    """Return half the sum of the times between frames: a switch shows in the next frame."""
    return (find_period(reference) + find_period(other)) / 2


def _judge(camera: str, reference: str, shift: Shift, method: str, tolerance: float) -> list[str]:
    """Return doubts about a shift; refuse one that is no better than another.

    Raises
    ------
    SessionError
        If it is.
    """
    pair = f"camera {camera} and camera {reference}"
    if not np.isfinite(shift.seconds) or shift.rival > _UNKNOWN:
        raise SessionError(
            f"{pair}: their {method} fits equally well at several differences of their clocks: use "
            "one that changes irregularly, or `timestamps`"
        )
    doubts = []
    if shift.rival > _DOUBTFUL:
        doubts.append(
            f"{pair}: the clocks differ by {shift.seconds:.3f} s by their {method}, but another "
            f"difference fits {100 * shift.rival:.0f} % as well"
        )
    if shift.matched < _FEW * shift.expected:
        doubts.append(f"{pair}: {shift.matched} of {shift.expected} switches of the light coincide")
    if abs(shift.drift) > tolerance:
        doubts.append(f"{pair}: their clocks drift apart by {shift.drift:.3f} s: use `timestamps`")
    return doubts
