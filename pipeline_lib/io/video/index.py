"""Index the true frames of a video, without decoding them.

A container's frame count, frame rate and seek table are hints; its packets are facts. One pass over
the packets gives the order of decoding, the order of display, and the places where decoding may
begin.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.decode import Picture, decode_first_picture, decode_order
from pipeline_lib.io.video.losses import describe_doubts, find_loss, find_shared_loss
from pipeline_lib.io.video.packets import NO_PTS, Packets, read_packets
from pipeline_lib.io.video.places import choose_times, judge_packets, place_frames
from pipeline_lib.io.video.timing import measure

# AVI stores no timestamps.
_UNTIMED_CONTAINER = "avi"
_ENDS_OPEN = (
    "it lacks frames before the one that is shown last, which is without poses: its row is unknown"
)


@dataclass(frozen=True)
class VideoFacts:
    """Describe a video as it is shown: after edit lists and rotation.

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
    """Index the packets of one video; readers of the same file may share or pickle it.

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
    doubt
        Why rows or times of a usable video may not be what they seem; empty if nothing does.
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
    doubt: str = ""

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
    timed = _tells_order(packets, (pts == NO_PTS) & ~hidden)
    order, failed = _order_packets(path, packets, timed=timed, strict=picture.strict)
    order = order[~hidden[order]]
    if not len(order):
        raise VideoError("no frames: an edit list hides every one")
    shown_pts = choose_times(packets, pts)[order] if timed else None
    steps = judge_packets(packets, order, shown_pts)
    places = place_frames(packets, order, keyframes, steps)
    frames = int(places.frame[-1]) + 1
    timing = measure(packets, shown_pts, places.frame, steps)
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
    headless = _is_headless(picture, packets)
    rows = np.full(frames, -1, np.int32)
    rows[places.frame] = order
    misplaced = _find_misplaced(rows, keyframes, np.append(failed, places.unsure))
    # Only where nothing but the decoder tells the order on the screen.
    ends_open = packets.reorders and _ends_open(packets, order, timed=timed)
    misplaced[-1] |= ends_open
    doubts = [describe_doubts(packets, order, steps, timing), _ENDS_OPEN if ends_open else ""]
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
        misplaced=misplaced,
        breaks=np.unique(places.breaks).astype(np.int32),
        corrupt=np.frombuffer(packets.corrupt, dtype=np.int32),
        strict=picture.strict,
        damage=packets.damage
        or find_loss(packets, pts if timed else None, steps, places, headless=headless)
        or find_shared_loss(packets, steps, failed=len(failed) > 0),
        doubt="; ".join(filter(None, doubts)),
    )


def _ends_open(packets: Packets, order: NDArray[np.int32], *, timed: bool) -> bool:
    """Tell whether MPEG-4 lacks pictures before the last one, of which no time tells."""
    if packets.shares_times and packets.stamps is not None and packets.stamps.times is not None:
        return packets.stamps.times.ends_open(order)
    times = packets.picture_times
    return times is not None and not timed and times.ends_open(order)


def _is_headless(picture: Picture, packets: Packets) -> bool:
    """Tell whether the first picture refers to another one, which the file lacks.

    A picture that builds up by intra refresh refers to others, too, and so may one that is shown
    before the first keyframe.
    """
    if picture.intra:
        return False
    if not packets.keyframes:
        return True
    return picture.intra is False and picture.position == 0 and bool(packets.clean[0])


def _read_frames(path: Path) -> Packets:
    """Read the packets of a video; raise if there are none."""
    packets = read_packets(path)
    if not packets.pts:
        raise VideoError(packets.damage or "no frames: its video stream is empty")
    return packets


def _order_packets(
    path: Path, packets: Packets, *, timed: bool, strict: bool
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return positions in order of display, and those of packets whose place is a guess."""
    failed = np.empty(0, np.int64)
    if timed:
        order = np.argsort(np.frombuffer(packets.pts, np.int64), kind="stable")
    elif packets.reorders:
        order, failed = decode_order(path, len(packets.pts), strict=strict)
    else:
        order = np.arange(len(packets.pts))
    return order.astype(np.int32), failed


def _tells_order(packets: Packets, untimed: NDArray[np.bool_]) -> bool:
    """Tell whether timestamps give the order on the screen.

    AVI stores none. Those that FFmpeg makes up for it are wrong for reordered H.264, and for
    MPEG-4 next to a damaged packet.
    """
    made_up = packets.container == _UNTIMED_CONTAINER and packets.reorders
    return not made_up and not untimed.any()


def _find_misplaced(
    order: NDArray[np.int32], keyframes: NDArray[np.int32], failed: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell which frames lie between the same keyframes as a packet that failed."""
    if not len(failed):
        return np.zeros(len(order), bool)
    group = np.searchsorted(keyframes, order, side="right")
    return np.isin(group, np.searchsorted(keyframes, failed, side="right"))
