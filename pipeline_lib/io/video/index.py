"""The true frames of a video: which packet shows when, found without decoding.

A container's frame count, frame rate and seek table are hints. What is sure are the packets:
one pass over them gives the order in which they are decoded, the order in which they are
shown, and where decoding may begin.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.decode import decode_first_picture, decode_order
from pipeline_lib.io.video.packets import NO_PTS, Packets, read_packets

# An interval this much longer or shorter than the median one makes a frame rate variable.
_INTERVAL_TOLERANCE = 0.1
# The header's frame rate is taken where the timestamps agree with it so well.
_RATE_TOLERANCE = 0.01


@dataclass(frozen=True)
class VideoFacts:
    """What a video is, as shown: after edit lists and rotation.

    Attributes
    ----------
    frames
        True frames: packets that are shown.
    fps
        Frames per second; of a variable frame rate, the mean. NaN if nothing tells it.
    width, height
        Of the frames as shown, in px.
    duration
        From the start of the first frame to the end of the last, in seconds.
    codec, pixel_format
        FFmpeg's names.
    variable_frame_rate
        Whether an interval between frames differs from the median one by over 10 %.
    """

    frames: int
    fps: float
    width: int
    height: int
    duration: float
    codec: str
    pixel_format: str
    variable_frame_rate: bool


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """Packets of one video; it can be pickled, and shared by readers of the same file.

    A packet's *position* is its place in the file, which is decoding order; a frame's *index*
    is its place on the screen.

    Attributes
    ----------
    facts
        What the video is.
    times
        Shape (frames,), float64: seconds after the first frame.
    shown
        Shape (packets,), int32: index of the frame that each packet shows; -1: none
        (an edit list hides it).
    order
        Shape (frames,), int32: position of the packet that shows each frame.
    offsets
        Shape (packets,), int64: byte offsets, which tell packets apart after a seek; -1: unknown.
    keyframes
        Shape (keyframes,), int32: ascending positions of the packets flagged as keyframes.
    keyframe_pts
        Shape (keyframes,), int64: their timestamps in stream units, to seek by.
    clean
        Shape (keyframes,), bool: whether nothing shown after that keyframe refers to what was
        decoded before it.
    misplaced
        Shape (frames,), bool: whether a frame's place is a guess, as next to damage in a
        container without timestamps.
    damage
        Why the container is not whole; empty if it is.
    """

    facts: VideoFacts
    times: NDArray[np.float64]
    shown: NDArray[np.int32]
    order: NDArray[np.int32]
    offsets: NDArray[np.int64]
    keyframes: NDArray[np.int32]
    keyframe_pts: NDArray[np.int64]
    clean: NDArray[np.bool_]
    misplaced: NDArray[np.bool_]
    damage: str = ""

    def find_entry(self, start: int, stop: int) -> int:
        """Return the position where decoding must begin to show frames [start, stop).

        It is the last keyframe that comes no later than their first packet and is shown no
        later than `start`: what follows a keyframe on the screen does not need what precedes
        it. At a keyframe that is not clean (H.264 with intra refresh) the picture is still
        building up, so decoding begins one keyframe earlier.
        """
        first = int(self.order[start:stop].min())
        entry = int(np.searchsorted(self.keyframes, first, side="right")) - 1
        while entry > 0 and self.shown[self.keyframes[entry]] > start:
            entry -= 1
        if entry > 0 and not self.clean[entry]:
            entry -= 1
        return int(self.keyframes[entry]) if entry > 0 else 0

    def find_group_end(self, frame: int) -> int:
        """Return the index of the next keyframe's frame, or the number of frames.

        Decoding begins at the same packet for all frames from one keyframe to the next.
        """
        keyframes = self.shown[self.keyframes]
        return int(keyframes[keyframes > frame].min(initial=self.facts.frames))


def index_video(path: Path) -> VideoIndex:
    """Index every frame of a video; the file is read once, not decoded.

    Only a file whose timestamps do not tell the order on the screen (B-frames in an AVI or in
    a bare stream) is decoded once to learn it.

    Raises
    ------
    VideoError
        If the file cannot be opened, holds no video stream or no frame, or if its codec does
        not give a picture. A container that is cut short is *not* an error here, but noted in
        `VideoIndex.damage`.
    """
    try:
        # Before packets are held: to open a file, FFmpeg takes memory for each of its frames.
        picture = decode_first_picture(path)
    except VideoError:
        # What is wrong with the container says more.
        _read_frames(path)
        raise
    packets = _read_frames(path)
    pts = np.frombuffer(packets.pts, dtype=np.int64)
    keyframes = np.frombuffer(packets.keyframes, dtype=np.int32)
    hidden = np.frombuffer(packets.hidden, dtype=np.int8).astype(bool)
    timed, failed = _tells_order(packets, (pts == NO_PTS) & ~hidden), np.empty(0, np.int64)
    if timed:
        order = np.argsort(pts, kind="stable")
    elif packets.reorders:
        order, failed = decode_order(path, len(pts))
    else:
        order = np.arange(len(pts))
    order = order.astype(np.int32)
    order = order[~hidden[order]]
    if not len(order):
        raise VideoError("no frames: an edit list hides every one")
    shown = np.full(len(pts), -1, np.int32)
    shown[order] = np.arange(len(order), dtype=np.int32)
    timing = _measure(packets, pts[order] if timed else None, len(order))
    facts = VideoFacts(
        frames=len(order),
        fps=timing.fps,
        width=picture.width,
        height=picture.height,
        duration=timing.duration,
        codec=packets.codec,
        pixel_format=picture.pixel_format,
        variable_frame_rate=timing.variable,
    )
    return VideoIndex(
        facts=facts,
        times=timing.times,
        shown=shown,
        order=order,
        offsets=np.frombuffer(packets.offsets, dtype=np.int64),
        keyframes=keyframes,
        keyframe_pts=pts[keyframes],
        clean=np.frombuffer(packets.clean, dtype=np.int8).astype(bool),
        misplaced=_find_misplaced(order, keyframes, failed),
        damage=packets.damage,
    )


def _read_frames(path: Path) -> Packets:
    """Read the packets of a video; raise if there are none."""
    packets = read_packets(path)
    if not packets.pts:
        raise VideoError(packets.damage or "no frames: its video stream is empty")
    return packets


def _tells_order(packets: Packets, untimed: NDArray[np.bool_]) -> bool:
    """Tell whether timestamps give the order on the screen.

    AVI stores none. Those that FFmpeg makes up for it are wrong for reordered H.264, and for
    MPEG-4 next to a damaged packet.
    """
    made_up = packets.container == "avi" and packets.reorders
    return not made_up and not untimed.any()


def _find_misplaced(
    order: NDArray[np.int32], keyframes: NDArray[np.int32], failed: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell which frames lie between the same keyframes as a packet that failed."""
    if not len(failed):
        return np.zeros(len(order), bool)
    group = np.searchsorted(keyframes, order, side="right")
    return np.isin(group, np.searchsorted(keyframes, failed, side="right"))


class _Timing(NamedTuple):
    """Times of the frames and the length of the video in s, and its frame rate."""

    times: NDArray[np.float64]
    duration: float
    fps: float
    variable: bool


def _measure(packets: Packets, pts: NDArray[np.int64] | None, frames: int) -> _Timing:
    """Time the frames by their ascending timestamps; by the header's rate where there are none."""
    rate = packets.rate
    if pts is None:
        return _Timing(np.arange(frames) / rate, frames / rate, rate, variable=False)
    times = (pts - pts[0]) * packets.time_base
    if not times[-1]:
        return _Timing(times, frames / rate, rate, variable=False)
    intervals = np.diff(pts)
    median = float(np.median(intervals))
    # Containers round timestamps to their unit, Matroska to whole milliseconds.
    tolerance = max(1.5, _INTERVAL_TOLERANCE * median)
    furthest = max(float(intervals.max()) - median, median - float(intervals.min()))
    variable = furthest > tolerance
    measured = float((frames - 1) / times[-1])
    agrees = abs(rate - measured) <= _RATE_TOLERANCE * measured
    fps = rate if agrees and not variable else measured
    last = packets.last_duration * packets.time_base or 1 / fps
    return _Timing(times, float(times[-1] + last), fps, variable)
