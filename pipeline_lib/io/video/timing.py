"""Measure the times of the frames of a video, its length and its frame rate."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.io.video.gaps import Steps
from pipeline_lib.io.video.packets import Packets

# The header's frame rate is taken where the timestamps agree with it so well.
_RATE_TOLERANCE = 0.01
# A step so much longer than a period, and than all the others together, is no pause.
_ABSURD_PERIODS = 1000


class Timing(NamedTuple):
    """Hold the times of the frames and the length of the video in s, and its frame rate.

    `absurd` says what is longer than the rest of the video; the frame rate is that of the other
    frames then. `flat` tells that all frames have one time, so that the header's rate counts.
    """

    times: NDArray[np.float64]
    duration: float
    fps: float
    variable: bool
    absurd: str = ""
    flat: bool = False


def measure(
    packets: Packets,
    pts: NDArray[np.int64] | None,
    frame: NDArray[np.int64],
    steps: Steps | None,
) -> Timing:
    """Time the frames by their ascending timestamps; by the header's rate where there are none.

    A missing frame has its time in proportion between its neighbours.
    """
    rate, frames = packets.rate, int(frame[-1]) + 1
    if pts is None or steps is None:
        flat = pts is not None and frames > 1
        if flat and packets.stated:
            # The codec's: the container's is made of these times.
            rate = packets.stated[-1]
        return Timing(np.arange(frames) / rate, frames / rate, rate, variable=False, flat=flat)
    times = (pts - pts[0]) * packets.time_base
    if frames > len(frame):
        times = np.interp(np.arange(frames), frame, times)
    measured = float((frames - 1) / times[-1])
    absurd = _find_absurd(packets, pts, steps)
    if absurd:
        measured = 1 / (steps.period * packets.time_base)
    agrees = abs(rate - measured) <= _RATE_TOLERANCE * measured
    known = agrees and not steps.variable and frames == len(frame)
    fps = rate if known else measured
    last = packets.last_duration * packets.time_base
    if not last or frames > len(frame) or absurd:
        last = 1 / fps
    return Timing(times, float(times[-1] + last), fps, steps.variable, absurd)


def _find_absurd(packets: Packets, pts: NDArray[np.int64], steps: Steps) -> str:
    """Say which step, or the last frame, is longer than the rest of the video; empty if none."""
    longest = int(steps.lengths.argmax())
    length, rest = int(steps.lengths[longest]), int(pts[-1] - pts[0])
    least = _ABSURD_PERIODS * steps.period
    if len(steps.lengths) > 1 and length > max(least, rest - length):
        seconds = length * packets.time_base
        return f"a frame comes {seconds:.6g} s after the one before it, which is longer"
    if packets.last_duration > max(least, rest):
        return f"its last frame lasts {packets.last_duration * packets.time_base:.6g} s, longer"
    return ""
