"""The true frames of a video: which packet shows when, found without decoding.

A container's frame count, frame rate and seek table are hints. What is sure are the packets:
one pass over them gives the order in which they are decoded, the order in which they are
shown, and where decoding may begin.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.decode import decode_first_picture, decode_order
from pipeline_lib.io.video.gaps import Steps, find_breaks, judge_steps
from pipeline_lib.io.video.packets import NO_PTS, Packets, read_packets

# AVI counts the frames of a video, those included that its recorder dropped.
_COUNTING_CONTAINER = "avi"
# Streams without a container: nothing but the pictures themselves tells of a loss.
_BARE_CONTAINERS = ("h264",)
_LEAST_MISSING = 1000
# Others say only when a frame is shown.
_CONTAINERS_WITH_DTS = ("mov", "mpegts", "flv")
# No codec shows a frame more than 16 frames after it was decoded.
_MOST_REORDERED = 16
_NEVER = 2**31 - 1
_COPY = "`ffmpeg -i VIDEO -c copy NEW`"
_CONVERT = (
    "record it again, or make its frame rate constant with `ffmpeg -i VIDEO -fps_mode cfr NEW`"
)
# The header's frame rate is taken where the timestamps agree with it so well.
_RATE_TOLERANCE = 0.01


@dataclass(frozen=True)
class VideoFacts:
    """What a video is, as shown: after edit lists and rotation.

    Attributes
    ----------
    frames
        True frames: packets that are shown, and frames that the file lacks.
    fps
        Frames per second; of a variable frame rate, the mean. NaN if nothing tells it.
    width, height
        Of the frames as shown, in px.
    duration
        From the start of the first frame to the end of the last, in seconds.
    codec, pixel_format
        FFmpeg's names.
    variable_frame_rate
        Whether frames come at unequal intervals; see `pipeline_lib.io.video.gaps`.
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
        Shape (frames,), int32: position of the packet that shows each frame; -1: the file
        lacks it.
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
    breaks
        Shape (losses,), int32: ascending positions. From each of these packets on, packets may
        refer to something that the file lacks.
    corrupt
        Shape (packets lost in part,), int32: ascending positions of packets that the container
        gives as damaged.
    strict
        Whether each picture must be decoded without any error, as of codecs that do not tell.
    damage
        Why the container is not whole, or no frame of it sure of its place; empty if it is.
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
    breaks: NDArray[np.int32]
    corrupt: NDArray[np.int32]
    strict: bool = False
    damage: str = ""

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Shape (frames,): whether the file lacks a frame."""
        return self.order < 0

    def find_packets(self, start: int, stop: int) -> NDArray[np.int32]:
        """Return the positions of the packets that show frames [start, stop), in this order."""
        order = self.order[start:stop]
        return order[order >= 0]

    def describe_gaps(self) -> str:
        """Say how many frames the file lacks, and where; empty if none."""
        missing = np.flatnonzero(self.missing)
        if not len(missing):
            return ""
        places = 1 + int(np.count_nonzero(np.diff(missing) > 1))
        return (
            f"the file lacks {len(missing)} frames at {places} places (frame {missing[0]} first): "
            "rows without poses"
        )

    def find_entry(self, start: int, stop: int) -> int:
        """Return the position where decoding must begin to show frames [start, stop).

        It is the last keyframe that comes no later than their first packet and is shown no
        later than `start`: what follows a keyframe on the screen does not need what precedes
        it. At a keyframe that is not clean (H.264 with intra refresh) the picture is still
        building up, so decoding begins one keyframe earlier. One of the frames must be there.
        """
        first = int(self.find_packets(start, stop).min())
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
    shown_pts = pts[order] if timed else None
    steps = _judge_steps(packets, shown_pts)
    places = _place(packets, order, keyframes, steps)
    frames = int(places.frame[-1]) + 1
    timing = _measure(packets, shown_pts, places.frame, steps)
    facts = VideoFacts(
        frames=frames,
        fps=timing.fps,
        width=picture.width,
        height=picture.height,
        duration=timing.duration,
        codec=packets.codec,
        pixel_format=picture.pixel_format,
        variable_frame_rate=timing.variable,
    )
    rows = np.full(frames, -1, np.int32)
    rows[places.frame] = order
    shown = np.full(len(pts), -1, np.int32)
    shown[order] = places.frame
    return VideoIndex(
        facts=facts,
        times=timing.times,
        shown=shown,
        order=rows,
        offsets=np.frombuffer(packets.offsets, dtype=np.int64),
        keyframes=keyframes,
        keyframe_pts=pts[keyframes],
        clean=np.frombuffer(packets.clean, dtype=np.int8).astype(bool),
        misplaced=_find_misplaced(rows, keyframes, np.append(failed, places.unsure)),
        breaks=np.unique(places.breaks).astype(np.int32),
        corrupt=np.frombuffer(packets.corrupt, dtype=np.int32),
        strict=picture.strict,
        damage=packets.damage or _find_loss(packets, pts if timed else None, steps, places),
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


class _Places(NamedTuple):
    """Index of each frame that is there, and what is known of those that are not.

    `breaks` are the first packets that may refer to missing ones. The place of a packet in
    `unsure`, and of those near it, is a guess. `lost` tells how many are missing before a packet,
    where packets are counted.
    """

    frame: NDArray[np.int64]
    breaks: NDArray[np.int64]
    unsure: NDArray[np.int64]
    lost: Mapping[int, int] = MappingProxyType({})


def _judge_steps(packets: Packets, pts: NDArray[np.int64] | None) -> Steps | None:
    """Judge the steps between frames; None if there are none, or no timestamps."""
    if pts is None or len(pts) < 2 or pts[0] == pts[-1]:
        return None
    return judge_steps(pts, counted=packets.container == _COUNTING_CONTAINER)


def _place(
    packets: Packets,
    order: NDArray[np.int32],
    keyframes: NDArray[np.int32],
    steps: Steps | None,
) -> _Places:
    """Give every frame that is there its index, leaving room for those that are not."""
    none = np.empty(0, np.int64)
    frame = np.arange(len(order))
    if steps is None:
        if packets.container == _COUNTING_CONTAINER and packets.reorders:
            return _place_counted(packets, order, keyframes)
        return _Places(frame, none, none)
    if not steps.missing.any() or steps.missing.sum() > _most_missing(len(order)):
        return _Places(frame, none, none)
    frame[1:] += np.cumsum(steps.missing)
    breaks = find_breaks(order, frame, keyframes, reorders=packets.reorders)
    if packets.numbers is not None:
        breaks = _confirm_breaks(packets, breaks, steps.missing[steps.missing > 0], keyframes)
    return _Places(frame, breaks, none)


def _most_missing(frames: int) -> int:
    """Return how many frames may be missing: timestamps that say more are damaged."""
    return max(_LEAST_MISSING, frames)


def _confirm_breaks(
    packets: Packets,
    breaks: NDArray[np.int64],
    missing: NDArray[np.int64],
    keyframes: NDArray[np.int32],
) -> NDArray[np.int64]:
    """Keep, of H.264, the breaks at which a picture is missing that others refer to.

    A recorder that drops a frame encodes the next one without it: the numbers of the pictures
    go on. They would do so too where as many pictures are lost as it takes to begin anew.
    """
    jumps = packets.numbers.find_jumps() if packets.numbers is not None else None
    if jumps is None or packets.numbers is None:
        return breaks
    again = min(int(np.diff(keyframes).min(initial=_NEVER)), packets.numbers.numbers_in_use)
    return np.concatenate([breaks[missing >= again], jumps])


def _place_counted(
    packets: Packets, order: NDArray[np.int32], keyframes: NDArray[np.int32]
) -> _Places:
    """Place the frames of an AVI that are shown in another order than they are counted in.

    A missing one belongs to the group of pictures in which it is counted; its place in there
    is unknown, and with it that of the others.
    """
    lost = np.diff(np.frombuffer(packets.dts, np.int64)) - 1
    lost = np.where(lost > 0, lost, 0)
    positions = np.flatnonzero(lost) + 1
    if lost.sum() > _most_missing(len(order)):
        positions = positions[:0]
    shown = np.zeros(len(lost) + 1, np.int64)
    shown[order] = np.arange(len(order))
    extra = np.zeros(len(order) + 1, np.int64)
    for position in positions.tolist():
        # All that is lost before a keyframe is shown before what comes from it on.
        at = shown[position:].min() if position in keyframes else shown[position - 1] + 1
        extra[at] += lost[position - 1]
    frame = np.arange(len(order)) + np.cumsum(extra)[: len(order)]
    known = {position: int(lost[position - 1]) for position in positions.tolist()}
    return _Places(frame, positions, positions - 1, known)


def _find_loss(
    packets: Packets,
    pts: NDArray[np.int64] | None,
    steps: Steps | None,
    places: _Places,
) -> str:
    """Say why frames may be lost without being missed; empty if nothing shows it."""
    keyframes = np.frombuffer(packets.keyframes, np.int32)
    if len(keyframes) and keyframes[0] > 0:
        return (
            "damaged: it does not begin with a keyframe, so that frames are lost before the first "
            f"one that can be decoded; keep what follows with {_COPY}"
        )
    if pts is not None and not _is_ascending(pts, keyframes, reorders=packets.reorders):
        return "damaged: its timestamps go backwards, so that no frame is sure of its place"
    if pts is not None and _wait_too_long(packets, pts):
        return "damaged: its timestamps put frames far from where they are decoded"
    if steps is not None and steps.constant:
        return _find_doubt(steps, len(places.frame))
    return _find_untold_loss(packets, places, timed=pts is not None)


def _find_doubt(steps: Steps, frames: int) -> str:
    """Say why the timestamps of a constant frame rate cannot be right; empty if they can."""
    if steps.doubtful:
        return (
            "damaged: next to missing frames there are two at one time, so that no frame is sure "
            "of its place"
        )
    missing = int(steps.missing.sum())
    if missing > _most_missing(frames):
        return (
            f"damaged: its timestamps leave room for {missing} frames more than the {frames} that "
            "are there"
        )
    return ""


def _find_untold_loss(packets: Packets, places: _Places, *, timed: bool) -> str:
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
    keyframe = keyframes[np.searchsorted(keyframes, np.arange(len(pts)), side="right") - 1]
    later = known & (keyframe > 0)
    return bool((pts[later] >= highest[keyframe[later] - 1]).all())


class _Timing(NamedTuple):
    """Times of the frames and the length of the video in s, and its frame rate."""

    times: NDArray[np.float64]
    duration: float
    fps: float
    variable: bool


def _measure(
    packets: Packets,
    pts: NDArray[np.int64] | None,
    frame: NDArray[np.int64],
    steps: Steps | None,
) -> _Timing:
    """Time the frames by their ascending timestamps; by the header's rate where there are none.

    A missing frame has its time in proportion between its neighbours.
    """
    rate, frames = packets.rate, int(frame[-1]) + 1
    if pts is None or steps is None:
        times = np.arange(frames) / rate if pts is None else np.zeros(frames)
        return _Timing(times, frames / rate, rate, variable=False)
    times = (pts - pts[0]) * packets.time_base
    if frames > len(frame):
        times = np.interp(np.arange(frames), frame, times)
    measured = float((frames - 1) / times[-1])
    agrees = abs(rate - measured) <= _RATE_TOLERANCE * measured
    known = agrees and not steps.variable and frames == len(frame)
    fps = rate if known else measured
    last = packets.last_duration * packets.time_base
    if not last or frames > len(frame):
        last = 1 / fps
    return _Timing(times, float(times[-1] + last), fps, steps.variable)
