"""Read videos frame by frame, exactly; check and fingerprint them."""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import av.error
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.codecs.colours import ColourTags, read_tags
from pipeline_lib.io.video.codecs.planes import convert_picture, cut_picture, read_planes
from pipeline_lib.io.video.containers.files import check_readable, open_bytes
from pipeline_lib.io.video.containers.opening import open_video
from pipeline_lib.io.video.decode import (
    choose_decoder,
    count_quarter_turns,
    decode_packets,
    number_packets,
)
from pipeline_lib.io.video.index import VideoFacts, VideoIndex, index_video
from pipeline_lib.io.video.reorder import DamageError, FrameSequence
from pipeline_lib.io.video.seek import PacketsDifferError, open_at

__all__ = [
    "Picture",
    "VideoFacts",
    "VideoIndex",
    "VideoReader",
    "check_video",
    "describe_oddities",
    "fingerprint_file",
    "index_video",
    "probe_video",
]

Image = NDArray[np.uint8]
Region = tuple[int, int, int, int]
Item = TypeVar("Item")

# Recorders hide some frames before the first one on purpose.
_MOST_HIDDEN = 0.1
# Seconds.
_SAME_TIME = 1e-4


def probe_video(path: Path) -> VideoFacts:
    """Check that a video is whole and can be decoded, and count its true frames.

    Raises
    ------
    VideoError
        As `check_video`.
    """
    return check_video(path).facts


def check_video(path: Path) -> VideoIndex:
    """Index a video, and check that it is whole and can be decoded.

    Raises
    ------
    VideoError
        With the reason: missing, not a regular file, no permission, empty, no container that is
        read, no video stream, truncated, damaged, no frames, or no picture from its codec.
    """
    index = index_video(path)
    if index.damage:
        raise VideoError(index.damage)
    return index


def describe_oddities(path: Path, index: VideoIndex) -> str:
    """Report oddities of a usable video that its maker may not know of; empty if none.

    It tells of gaps, of doubts about rows and times, and of frames that the file holds and does
    not show: an edit list, or damaged times, hide them from every player.

    Parameters
    ----------
    path
        The video.
    index
        Its index.
    """
    with open_video(path) as (container, stream):
        held, counts_missing = int(stream.frames), container.format.name == "avi"
    shown = index.facts.frames - (0 if counts_missing else int(index.missing.sum()))
    said = [index.describe_gaps(), index.doubt]
    if held > shown and not (held - shown <= _MOST_HIDDEN * held and _hides_start(path, index)):
        said.append(
            f"the file holds {held} frames and shows {shown}: its edit list or its times hide the "
            "others, which have no rows"
        )
    return "; ".join(filter(None, said))


def _hides_start(path: Path, index: VideoIndex) -> bool:
    """Tell whether all frames that an MP4 hides come before those that it shows."""
    with open_video(path, hide=False) as (container, stream):
        packets = (packet for _, packet in number_packets(path, container.demux(stream)))
        times = np.sort([packet.pts for packet in packets if packet.pts is not None])
        times = times * float(stream.time_base)
    shown = index.times[~index.missing]
    times = times[-len(shown) :]
    return len(times) == len(shown) and np.allclose(times - times[0], shown, atol=_SAME_TIME)


def fingerprint_file(path: Path) -> str:
    """Return the SHA-256 of all the bytes of a file, as 64 hexadecimal digits.

    Raises
    ------
    VideoError
        If the file is missing, a folder, empty, or not permitted.
    """
    check_readable(path)
    with open_bytes(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class VideoReader:
    """Read the true frames of a video exactly, from any frame on.

    Parameters
    ----------
    path
        The video.
    index
        Its index, if it is known already: indexing reads the whole file once.
    threads
        Decoder threads.

    Attributes
    ----------
    index
        Which packet shows when; hand it to other readers of the same file.
    packets_read
        How many packets have been given to the decoder: whoever waits for a frame sees that
        something goes on.

    Raises
    ------
    VideoError
        If the video cannot be read at all. A truncated one is read as far as it goes:
        `probe_video` is what refuses it.
    """

    def __init__(
        self, path: str | PathLike[str], *, index: VideoIndex | None = None, threads: int = 1
    ) -> None:
        self.path = Path(path)
        self.index = index_video(self.path) if index is None else index
        self.threads = threads
        self.packets_read = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Each pass of `read` owns its container and closes it.
        return

    @property
    def facts(self) -> VideoFacts:
        """Return the facts of the video."""
        return self.index.facts

    @property
    def times(self) -> NDArray[np.float64]:
        """Return seconds after the first frame; shape (frames,)."""
        return self.index.times

    def read(
        self, start: int = 0, stop: int | None = None, *, step: int = 1, width: int | None = None
    ) -> Iterator[tuple[int, Image | None]]:
        """Yield frames start, start + step, ... below stop, each exactly once and in order.

        Parameters
        ----------
        start, stop
            Frame indices; None: to the end. Both are clipped to the video.
        step
            Frames between are decoded but not converted.
        width
            Shrink frames to this width in px, keeping their proportions; wider: as they are.

        Yields
        ------
        tuple
            Frame index and RGB image, shape (height, width, 3), uint8. None in place of an
            image that cannot be decoded, and of those that depend on it: after damage, all
            packets before the next keyframe.

        Raises
        ------
        VideoError
            If a frame has another size than the first one, or if the file has changed since
            it was indexed.
        """
        convert = _Converter(self.facts, _shrink(self.facts, width))
        yield from self._read(self._choose(start, stop, step), convert)

    def read_pictures(
        self, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, "Picture | None"]]:
        """Yield frames as `read` does, but before their conversion to RGB.

        Parameters
        ----------
        start, stop
            As in `read`.

        Yields
        ------
        tuple
            Frame index and `Picture`; None in place of a picture that cannot be decoded. Whoever
            keeps one keeps the decoder's memory.

        Raises
        ------
        VideoError
            As `read`.
        """
        convert = _Converter(self.facts, (self.facts.width, self.facts.height))

        def wrap(picture: Any, frame: int) -> Picture:  # noqa: ANN401 - PyAV's
            convert.check_size(picture, frame)
            return Picture(picture, frame, convert)

        yield from self._read(self._choose(start, stop, 1), wrap)

    def read_tags(self) -> ColourTags:
        """Return how planes of pictures are meant, by the first one that can be decoded."""
        with open_video(self.path) as (_, stream):
            for _, picture in self.read_pictures():
                if picture is not None:
                    return picture.read_tags(stream.codec_context)
        return ColourTags()

    def _choose(self, start: int, stop: int | None, step: int) -> range:
        frames = self.facts.frames
        return range(max(start, 0), frames if stop is None else min(stop, frames), step)

    def _read(
        self, wanted: range, convert: "Callable[[Any, int], Item]"
    ) -> Iterator[tuple[int, "Item | None"]]:
        if not wanted:
            return
        manner, step, stop = _Manner(self.threads), wanted.step, wanted.stop
        while wanted:
            # What a decoder makes of damaged packets depends on what it was given before, also
            # in other groups of pictures. So the rest of such a group is decoded anew from its
            # keyframe, as a reader does that begins there; and by one thread, because among
            # several a failure cannot be told to its packet.
            part = wanted
            if manner.damaged:
                end = self.index.find_group_end(wanted.start)
                part = range(wanted.start, min(stop, end), step)
            try:
                for index, image in self._read_once(part, convert, manner):
                    wanted = wanted[1:]
                    yield index, image
            except DamageError:
                manner = manner._replace(damaged=True)
            except PacketsDifferError:
                # A seek in a damaged container may find other packets than reading on does.
                if manner.from_start:
                    raise
                manner = manner._replace(from_start=True)
            else:
                manner = manner._replace(damaged=False)

    def _read_once(
        self, wanted: range, convert: "Callable[[Any, int], Item]", manner: "_Manner"
    ) -> Iterator[tuple[int, "Item | None"]]:
        index, threads = self.index, 1 if manner.damaged else manner.threads
        span = (wanted[0], wanted[-1] + 1)
        there = index.find_packets(*span)
        if not len(there):
            yield from ((frame, None) for frame in wanted)
            return
        last = int(there.max())
        entry = 0 if manner.from_start else index.find_entry(*span)
        with ExitStack() as stack:
            opened = stack.enter_context(open_at(self.path, index, entry))
            strict = not manner.damaged and len(index.keyframes) < len(index.shown)
            sequence = FrameSequence[Item](index, wanted, opened.first, strict=strict)
            needed = self._count(itertools.takewhile(lambda one: one[0] <= last, opened.packets))
            pictures = decode_packets(
                choose_decoder(opened.stream),
                needed,
                threads,
                opened.primer,
                strict=index.strict,
            )
            decoded = stack.enter_context(closing(pictures))
            for position, picture in decoded:
                if picture is None and threads != 1:
                    raise DamageError
                if picture is None or picture.is_corrupt:
                    sequence.fail(position)
                else:
                    frame = int(index.shown[position])
                    sequence.add(position, convert(picture, frame) if frame in wanted else None)
                yield from sequence.release()
        yield from sequence.finish()

    def _count(self, packets: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        for item in packets:
            self.packets_read += 1
            yield item


class Picture:
    """Hold a picture as its decoder gave it, and convert it when asked.

    Parameters
    ----------
    picture
        PyAV's.
    frame
        Index of the frame.
    convert
        Conversion to an image.
    """

    def __init__(self, picture: Any, frame: int, convert: "_Converter") -> None:  # noqa: ANN401
        self._picture, self._frame, self._convert = picture, frame, convert

    def convert(self, region: Region | None = None) -> Image:
        """Return the upright RGB image, shape (height, width, 3), uint8: that of `read`.

        Parameters
        ----------
        region
            Part of the image to return: x1, x2, y1, y2 in px; x2 and y2 excluded.
        """
        if region is None:
            return self._convert(self._picture, self._frame)
        return self._convert.convert_region(self._picture, self._frame, region)

    def read_planes(self) -> tuple[Image, ...]:
        """Return the upright planes: brightness (luma), and colour (chroma) unless it is gray.

        Returns
        -------
        tuple of ndarray
            Each of shape (rows, columns), uint8: views of the decoder's memory where it has 8
            bits. Planes of colour may have fewer rows and columns.
        """
        turns = count_quarter_turns(self._picture)
        planes = read_planes(self._picture)
        return tuple(np.rot90(plane, turns) if turns else plane for plane in planes)

    def read_tags(self, context: Any) -> ColourTags:  # noqa: ANN401 - PyAV's
        """Return how these planes are meant, given the codec context of the stream."""
        return read_tags(self._picture, context)


class _Manner(NamedTuple):
    """Hold how packets are decoded: number of threads, through damage, from the first packet."""

    threads: int
    damaged: bool = False
    from_start: bool = False


class _Converter:
    """Turn FFmpeg's pictures into upright RGB images of one size."""

    def __init__(self, facts: VideoFacts, size: tuple[int, int]) -> None:
        self._shown = (facts.width, facts.height)
        self._size = size
        self._reformatter = VideoReformatter()

    def check_size(self, picture: Any, frame: int) -> int:  # noqa: ANN401 - PyAV's
        """Check that a picture has the size of the video; return its quarter turns."""
        turns = count_quarter_turns(picture)
        found = (picture.width, picture.height)
        if turns % 2:
            found = found[::-1]
        if found != self._shown:
            raise VideoError(
                f"frame {frame} is {found[0]} x {found[1]} px, the first one "
                f"{self._shown[0]} x {self._shown[1]} px: re-encode the video to one size"
            )
        return turns

    def __call__(self, picture: Any, frame: int) -> Image:  # noqa: ANN401 - PyAV's
        """Return the image of a picture, shape (height, width, 3), uint8."""
        turns, (width, height) = self.check_size(picture, frame), self._size
        if turns % 2:
            width, height = height, width
        image = self._convert(picture, frame, width, height)
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image

    def convert_region(self, picture: Any, frame: int, region: Region) -> Image:  # noqa: ANN401
        """Return a part of the image of a picture that is not shrunk, without the rest of it."""
        x1, x2, y1, y2 = region
        turned = self.check_size(picture, frame)
        part = None if turned else cut_picture(picture, region)
        if part is None:
            return self(picture, frame)[y1:y2, x1:x2]
        whole = self._convert(part.picture, frame, part.picture.width, part.picture.height)
        return whole[part.above : part.above + y2 - y1, part.left : part.left + x2 - x1]

    def _convert(self, picture: Any, frame: int, width: int, height: int) -> Image:  # noqa: ANN401
        try:
            return convert_picture(picture, (width, height), self._reformatter)
        except av.error.FFmpegError as error:
            name = picture.format.name
            raise VideoError(f"frame {frame}: no RGB from {name} ({error.strerror})") from None


def _shrink(facts: VideoFacts, width: int | None) -> tuple[int, int]:
    if width is None or width >= facts.width:
        return facts.width, facts.height
    return width, max(1, round(facts.height * width / facts.width))
