"""Say why a video may lack frames that are not rows, or why its times may be wrong.

A *loss* is sure and refuses the video; a *doubt* is a remark on a video that is read.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.io.video.codecs.mpeg4 import PictureTimes
from pipeline_lib.io.video.gaps import Steps, fit_periods
from pipeline_lib.io.video.packets import NO_PTS, Packets
from pipeline_lib.io.video.places import Places, most_missing
from pipeline_lib.io.video.timing import Timing

# Streams without a container: nothing but the pictures themselves tells of a loss.
_BARE_CONTAINERS = ("h264",)
_COUNTING_CONTAINER = "avi"
# Others say only when a frame is shown.
_CONTAINERS_WITH_DTS = ("mov", "mpegts", "flv")
# No codec shows a frame more than 16 frames after it was decoded.
_MOST_REORDERED = 16
_COPY = "`ffmpeg -i VIDEO -c copy NEW`"
_CONVERT = (
    "record it again, or make its frame rate constant with `ffmpeg -i VIDEO -fps_mode cfr NEW`"
)
# A header's rate is more than the true one by a whole number up to this where frames are lost;
# more than that, one of the two is wrong.
_MOST_TIMES = 8
# Of frames that share a time, whole groups may be lost in any pattern.
_LEAST_TIMES = 1.2
_RATE_TOLERANCE = 0.01
# A few steps of several periods are dropped frames of a variable rate.
_LEAST_LOST = 0.1
_TELECINED = ("mpeg1video", "mpeg2video", "vc1")
# Frames per second that a camera may have, of those that headers state by mistake; and that any
# video may have.
_CAMERAS = 240.0
_SLOWEST, _FASTEST = 2e-4, 2000.0
_HALF = 0.6
# Of a period; and units of which a period must have more than a few to be told from rounding.
_LEAST_STEP, _FEW_UNITS = 0.02, 4.0


def find_loss(
    packets: Packets,
    pts: NDArray[np.int64] | None,
    steps: Steps | None,
    places: Places,
    *,
    headless: bool,
) -> str:
    """Say why frames are lost without being missed; empty if nothing shows it.

    Parameters
    ----------
    packets
        Of the video.
    pts
        Shape (packets,): timestamps; None if they do not tell the order on the screen.
    steps, places
        Of its frames.
    headless
        Whether its first picture refers to another one.
    """
    keyframes = np.frombuffer(packets.keyframes, np.int32)
    if len(keyframes) and keyframes[0] > 0:
        return (
            "damaged: it does not begin with a keyframe, so that frames are lost before the first "
            f"one that can be decoded; keep what follows with {_COPY}"
        )
    if headless:
        return (
            "damaged: its first frame is no keyframe, whatever the file says, so that frames are "
            "lost before the first one that can be decoded"
        )
    if pts is not None and not _is_ascending(pts, keyframes, reorders=packets.reorders):
        return "damaged: its timestamps go backwards, so that no frame is sure of its place"
    if pts is not None and _wait_too_long(packets, pts):
        return "damaged: its timestamps put frames far from where they are decoded"
    if steps is not None and steps.constant:
        return _find_doubt(packets, steps, len(places.frame))
    return _find_untold_loss(packets, places, timed=pts is not None)


def find_shared_loss(packets: Packets, steps: Steps | None, *, failed: bool) -> str:
    """Say why frames are lost that share one time with others; empty if nothing shows it.

    Some transport streams have several frames in a packet of the container (PES).

    Parameters
    ----------
    packets
        Of the video.
    steps
        Between its frames; None without timestamps.
    failed
        Whether a frame cannot be decoded, where only the decoder tells their order.
    """
    if not packets.shares_times:
        return ""
    if len(packets.corrupt):
        return (
            f"damaged: data are lost at {len(packets.corrupt)} places, and several frames share "
            f"one time: nothing tells which are lost: {_CONVERT}"
        )
    missing = sum(number for _, number in packets.guesses.missing)
    # Where pictures have no numbers, the order in which a decoder shows them needs all of them.
    if packets.numbers is None and NO_PTS in packets.pts and (missing or failed):
        lost = f"{missing} frames are lost" if missing else "frames cannot be decoded"
        return f"damaged: {lost}, and several share one time: nothing tells which: {_CONVERT}"
    times = packets.stamps.times if packets.stamps is not None else None
    if times is not None and _contradict(packets, steps, times):
        return f"damaged: its pictures state other times than its container: {_CONVERT}"
    return ""


def _contradict(packets: Packets, steps: Steps | None, times: PictureTimes) -> bool:
    """Tell whether MPEG-4 pictures state other times than a container, or a loss it does not."""
    if steps is None:
        return bool(times.count_missing().any())
    seconds = times.list_seconds()
    if not len(seconds):
        return False
    guessed = [np.arange(first, stop) for first, stop in packets.guesses.intervals]
    differences = np.delete(
        np.frombuffer(packets.pts, np.int64) * packets.time_base - seconds,
        np.concatenate([np.empty(0, np.int64), *guessed]),
    )
    most = _HALF * steps.period * packets.time_base
    return len(differences) > 0 and bool(np.ptp(differences) > most)


def _find_doubt(packets: Packets, steps: Steps, frames: int) -> str:
    """Say why the timestamps of a constant frame rate cannot be right; empty if they can."""
    if len(packets.corrupt) and (steps.lengths < steps.period / 2).any():
        return (
            f"damaged: data are lost at {len(packets.corrupt)} places, and two frames come at one "
            "time: a frame may have been read as two"
        )
    if steps.doubtful:
        return (
            "damaged: next to missing frames there are two at one time, so that no frame is sure "
            "of its place"
        )
    missing = int(steps.missing.sum())
    if missing > most_missing(frames):
        return (
            f"damaged: its timestamps leave room for {missing} frames more than the {frames} that "
            "are there"
        )
    return ""


def _find_untold_loss(packets: Packets, places: Places, *, timed: bool) -> str:
    """Say what shows a loss where no timestamps tell how many frames are lost; empty if none."""
    if len(packets.corrupt):
        return (
            f"damaged: data are lost at {len(packets.corrupt)} places, and nothing tells how many "
            f"frames: {_CONVERT}"
        )
    if packets.numbers is not None:
        bare = packets.container in _BARE_CONTAINERS
        if loss := packets.numbers.describe_loss(places.lost, timed=timed, regular=bare):
            return f"damaged: frames are lost ({loss}), and nothing tells where: {_CONVERT}"
    return ""


def _wait_too_long(packets: Packets, pts: NDArray[np.int64]) -> bool:
    """Tell whether frames wait longer from decoding to display than any codec lets them."""
    if not any(name in packets.container for name in _CONTAINERS_WITH_DTS):
        return False
    dts = np.frombuffer(packets.dts, np.int64)
    if len(dts) < 2 or (dts == NO_PTS).any() or (pts == NO_PTS).any():
        return False
    waits, steps = pts - dts, np.diff(dts)
    return bool(waits.max() - waits.min() > (_MOST_REORDERED + 1) * int(steps.max()) + 1)


def _is_ascending(pts: NDArray[np.int64], keyframes: NDArray[np.int32], *, reorders: bool) -> bool:
    """Tell whether timestamps ascend as packets do; reordered ones from keyframe to keyframe.

    What is decoded before a keyframe is shown before all that is decoded from it on.
    """
    known = pts != NO_PTS
    if not reorders:
        return bool((np.diff(pts[known]) >= 0).all())
    highest = np.maximum.accumulate(np.where(known, pts, NO_PTS))
    if not len(keyframes):
        return True
    keyframe = keyframes[np.searchsorted(keyframes, np.arange(len(pts)), side="right") - 1]
    later = known & (keyframe > 0)
    return bool((pts[later] >= highest[keyframe[later] - 1]).all())


def describe_doubts(
    packets: Packets, order: NDArray[np.int32], steps: Steps | None, timing: Timing
) -> str:
    """Say why rows or times of a usable video may not be what they seem; empty if nothing does.

    Parameters
    ----------
    packets
        Of the video.
    order
        Shape (frames there,): position of each frame's packet, in order of display.
    steps
        Between its frames; None without timestamps.
    timing
        Of its frames.
    """
    doubts = [_doubt_times(packets, steps, timing), _doubt_end(packets)]
    if steps is None and packets.shares_times:
        doubts.append(_doubt_shared_times(packets))
    if steps is None and packets.container in _BARE_CONTAINERS and packets.numbers is not None:
        doubts.append(packets.numbers.describe_holes())
    if steps is not None and not steps.missing.any():
        doubts.append(_doubt_numbers(packets))
    if steps is not None:
        doubts.append(_doubt_rate(packets, order, steps))
    return "; ".join(filter(None, doubts))


def _doubt_shared_times(packets: Packets) -> str:
    """Say that the times of some frames do not tell whether the others are there."""
    period = packets.guesses.period
    if not period:
        return (
            "several of its frames share one time, and these times do not agree with each other, "
            "or are few: frames may be lost; rows count the frames in the file"
        )
    measured = 1 / (period * packets.time_base)
    for rate in packets.stated:
        if _LEAST_TIMES * measured < rate <= _CAMERAS:
            return (
                f"its header states {rate:.6g} frames per second, its times say {measured:.6g}: "
                "one of them is wrong, or frames are lost; rows count the frames in the file"
            )
    return ""


def _doubt_end(packets: Packets) -> str:
    lost, intervals = packets.guesses.lost, packets.guesses.intervals
    if not lost:
        return ""
    return (
        f"it lacks at least {lost} frames after its last time (packet {intervals[-1][0]}), which "
        "have no rows: the rows from there on have no poses"
    )


def _doubt_times(packets: Packets, steps: Steps | None, timing: Timing) -> str:
    if timing.flat:
        return f"all its frames have one time: its frame rate is taken to be {timing.fps:.6g}"
    if timing.absurd:
        return (
            f"its times are damaged, or its recorder paused: {timing.absurd} than all the other "
            f"frames together; its frame rate, {timing.fps:.6g}, is that of the others"
        )
    short = 0
    if steps is not None and steps.period >= _FEW_UNITS:
        short = int((steps.lengths < _LEAST_STEP * steps.period).sum())
    if short:
        return (
            f"its times may be damaged: {short} frames come at the same time as the one before, "
            "or next to it"
        )
    return _doubt_fps(packets, steps, timing.fps)


def _doubt_fps(packets: Packets, steps: Steps | None, fps: float) -> str:
    rates = [rate for rate in packets.stated if rate > 0]
    contradicted = [rate for rate in rates if fps > _MOST_TIMES * rate]
    if steps is not None and not steps.variable:
        # Where times vary, encoders state the unit of their times, such as 1 ms.
        contradicted += [rate for rate in rates if _CAMERAS >= rate > _MOST_TIMES * fps]
    if contradicted:
        return (
            f"its times give {fps:.6g} frames per second, its header states "
            f"{contradicted[0]:.6g}: one of them is wrong"
        )
    if fps < _SLOWEST or fps > _FASTEST:
        return f"its times give {fps:.6g} frames per second: they may be damaged"
    return ""


def _doubt_numbers(packets: Packets) -> str:
    jumps = packets.numbers.list_jumps() if packets.numbers is not None else None
    if jumps is None or not len(jumps):
        return ""
    return (
        f"the numbers of its pictures jump at {len(jumps)} places (packet {jumps[0]} first): "
        "frames were damaged, or lost before its times were written; rows count the frames in "
        "the file"
    )


def _doubt_rate(packets: Packets, order: NDArray[np.int32], steps: Steps) -> str:
    """Say that frames may be missing in a regular pattern, by the rate that the header states."""
    doubt = _doubt_constant_rate(packets, steps) if steps.constant else _doubt_steps(packets, steps)
    if doubt and packets.numbers is not None:
        # Encoded without them: none is lost, but for those that are rows of their own.
        mostly = bool(steps.missing.any())
        if packets.numbers.follow_each_other(order, mostly=mostly):
            return ""
    return doubt


def _doubt_steps(packets: Packets, steps: Steps) -> str:
    stated = [1 / (rate * packets.time_base) for rate in packets.stated if rate > 0]
    shortest = float(steps.lengths.min())
    # No two frames may follow each other. Telecine, of MPEG-2, shows frames for 2 and 3 fields.
    halves = [] if packets.codec in _TELECINED else [shortest / 2]
    for period in (*stated, shortest, *halves):
        periods = fit_periods(steps.lengths, period)
        if periods is None or periods.max() > 2 * _MOST_TIMES:
            continue
        lost = int((periods - 1).sum())
        if lost >= _LEAST_LOST * len(periods):
            return (
                f"its frames come 1 to {periods.max()} periods of {period * packets.time_base:.4g} "
                f"s after each other: its frame rate varies, or it lacks {lost} frames; rows "
                "count the frames in the file"
            )
    return ""


def _doubt_constant_rate(packets: Packets, steps: Steps) -> str:
    if packets.container == _COUNTING_CONTAINER:
        # It would count those that are missing, too.
        return ""
    seconds = steps.period * packets.time_base
    rates = [(rate, _MOST_TIMES) for rate in packets.stated if rate > 0]
    if "mov" in packets.container and packets.numbers is None and packets.last_duration > 0:
        # MP4 states how long its last frame lasts, the others by when the next one comes. A rate
        # that no camera has is that of an encoder that gives the last frame one unit of time.
        rate = 1 / (packets.last_duration * packets.time_base)
        rates.append((rate, round(_CAMERAS / _SLOWEST) if rate <= _CAMERAS else _MOST_TIMES))
    for rate, most in rates:
        times = rate * seconds
        whole = round(times)
        if 2 <= whole <= most and abs(times - whole) <= _RATE_TOLERANCE * whole:
            return (
                f"its header states {rate:.6g} frames per second, its times say {1 / seconds:.6g}: "
                f"one of them is wrong, or {whole - 1} of {whole} frames are lost; rows count "
                "the frames in the file"
            )
    return ""
