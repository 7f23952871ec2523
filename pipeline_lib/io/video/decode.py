"""Decode packets, and tell which packet each picture came from."""

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.error
import numpy as np
from av.video.frame import PictureType
from numpy.typing import NDArray

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.codecs.checking import CHECKING_DECODERS
from pipeline_lib.io.video.containers.opening import check_system, open_video

# A codec that gives no picture within so many packets is taken to be broken.
_PACKETS_TO_FIRST_PICTURE = 300
# The first one gives its picture when no more follow; else a decoder waits for frames in between.
_TRIALS = (1, _PACKETS_TO_FIRST_PICTURE)


# Nobody films larger frames; a decoder would take memory for them on the word of a header.
_OPTIONS = {"max_pixels": str(2**28)}
# Of these, FFmpeg gives damaged pictures without a word: in place of what it cannot decode they
# show an earlier frame, since memory is used again.
_REFERRING = (PictureType.P, PictureType.B, PictureType.S)
_SILENT_CODECS = frozenset({"hevc", "mjpeg", "mjpegb", "ljpeg", "ffv1", "huffyuv", "ffvhuff"})


# Start of scan (ITU-T T.81, B.2.3). FFmpeg takes an image without one for a whole one, and shows
# what its memory held before.
_JPEG_SCAN = b"\xff\xda"


class Picture(NamedTuple):
    """Describe the first picture of a video, as FFmpeg decodes it.

    ``turns`` are quarter turns counter-clockwise that show it upright; width and height, in
    px, are those after turning. ``strict`` says whether it was decoded without any error, of a
    codec whose damaged pictures are not told; ``intra`` whether it refers to no other
    picture, None if that is unknown;
    ``position`` is that of its packet.
    """

    width: int
    height: int
    pixel_format: str
    turns: int
    strict: bool
    intra: bool | None
    position: int


class _Tag:
    """Wrap a position in an object of its own.

    PyAV keeps what is attached to packets under its address in one table for all readers, and
    Python has every small number once only: two readers would remove each other's.
    """

    __slots__ = ("position",)

    def __init__(self, position: int) -> None:
        self.position = position


def choose_decoder(stream: Any) -> Any:  # noqa: ANN401 - PyAV's
    """Return a decoder that tells damaged pictures; FFmpeg's own if there is no other."""
    context = stream.codec_context
    name = CHECKING_DECODERS.get(context.name)
    if name is None:
        return context
    try:
        chosen = av.CodecContext.create(name, "r")
    except ValueError:
        # An FFmpeg that was built without it.
        return context
    chosen.extradata = context.extradata
    return chosen


def decode_packets(
    decoder: Any,  # noqa: ANN401 - PyAV's
    packets: Iterable[tuple[int, Any]],
    threads: int = 1,
    primer: Any = None,  # noqa: ANN401
    *,
    strict: bool = False,
) -> Generator[tuple[int, Any], None, None]:
    """Decode packets, each with its position; yield pictures with their packet's position.

    FFmpeg carries a packet's position to its picture (``copy_opaque``), so that the pairing
    holds where timestamps are missing, repeated or made up.

    Parameters
    ----------
    decoder
        PyAV's; see `choose_decoder`.
    packets
        Positions and packets.
    threads
        Decoder threads.
    primer
        A packet to show the decoder before; see `pipeline_lib.io.video.seek.Opened`.
    strict
        Take a picture with any error for one that cannot be decoded.

    Yields
    ------
    tuple
        Position and picture, in the decoder's order of output; None in place of a picture
        where decoding failed. With several threads the position of a failure is that of a
        packet sent somewhat later, and pictures may be lost besides.
    """
    decoder.copy_opaque = True
    decoder.thread_type = "AUTO"
    decoder.thread_count = threads
    decoder.options = _OPTIONS | ({"err_detect": "explode"} if strict else {})
    try:
        if primer is not None:
            with contextlib.suppress(av.error.FFmpegError):
                decoder.decode(primer)
            decoder.flush_buffers()
        yield from _decode(decoder, packets)
    finally:
        # Ends the work of FFmpeg's threads while Python's lock is free: they need it to drop
        # tags, and freeing the decoder would wait for them with the lock held.
        decoder.flush_buffers()


def _decode(
    context: Any,  # noqa: ANN401 - PyAV's
    packets: Iterable[tuple[int, Any]],
) -> Iterator[tuple[int, Any]]:
    position, is_jpeg = -1, context.name == "mjpeg"
    for position, packet in packets:
        if is_jpeg and _JPEG_SCAN not in memoryview(packet).tobytes():
            yield position, None
            continue
        packet.opaque = _Tag(position)
        try:
            pictures = context.decode(packet)
        except av.error.FFmpegError:
            yield position, None
            continue
        yield from _name(pictures)
    try:
        pictures = context.decode(None)
    except av.error.FFmpegError:
        yield position, None
        return
    yield from _name(pictures)


def _name(pictures: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    for picture in pictures:
        # A picture that a decoder made up for one that is missing has no packet.
        if picture.opaque is not None:
            yield picture.opaque.position, picture


def number_packets(path: Path, packets: Iterable[Any], first: int = 0) -> Iterator[tuple[int, Any]]:
    """Yield packets that hold data with their numbers, up to where the container is broken.

    Raises
    ------
    OSError
        If the file system fails, which says nothing about the video.
    """
    position = first
    try:
        for packet in packets:
            if packet.size:
                yield position, packet
                position += 1
    except av.error.FFmpegError as error:
        check_system(path, error)
    except IndexError:
        # PyAV meets a packet of a stream that the container did not announce.
        return


def decode_first_picture(path: Path) -> Picture:
    """Decode until there is a picture, which proves that the codec works.

    Raises
    ------
    VideoError
        If the file cannot be opened or gives no picture.
    """
    codec = ""
    for strict, packets in itertools.product((True, False), _TRIALS):
        with open_video(path) as (container, stream):
            codec = stream.codec_context.name
            if strict and codec not in _SILENT_CODECS:
                continue
            numbered = number_packets(path, container.demux(stream))
            limited = itertools.islice(numbered, packets)
            # FFmpeg's own decoders tell whether a picture refers to others.
            with closing(decode_packets(stream.codec_context, limited, strict=strict)) as decoded:
                for position, picture in decoded:
                    if picture is not None:
                        return _describe(picture, position, strict=strict)
    raise VideoError(f"no frame can be decoded: its {codec} stream gives no picture")


def _describe(picture: Any, position: int, *, strict: bool) -> Picture:  # noqa: ANN401 - PyAV's
    turns = count_quarter_turns(picture)
    size = (picture.width, picture.height)
    width, height = size[::-1] if turns % 2 else size
    intra = None if picture.pict_type == PictureType.NONE else picture.pict_type not in _REFERRING
    intra = picture.key_frame or intra
    return Picture(width, height, picture.format.name, turns, strict, intra, position)


def count_quarter_turns(picture: Any) -> int:  # noqa: ANN401 - PyAV's
    """Return the counter-clockwise quarter turns that show a picture upright."""
    return round(float(picture.rotation) / 90) % 4


def decode_order(
    path: Path, packets: int, *, strict: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Decode a whole video to learn in which order its packets are shown.

    Returns
    -------
    order
        Shape (packets,): positions in order of display. A packet that gives no picture takes
        the place after the packet before it.
    failed
        Positions of packets that could not be decoded, whose place is thus a guess.
    """
    rank = np.full(packets, np.nan)
    failed, seen = [], 0
    with open_video(path) as (container, stream):
        numbered = number_packets(path, container.demux(stream))
        for position, picture in decode_packets(choose_decoder(stream), numbered, strict=strict):
            if picture is None:
                failed.append(position)
            elif np.isnan(rank[position]):
                rank[position] = seen
                seen += 1
    known = np.where(np.isnan(rank), -1, np.arange(packets))
    before = np.maximum.accumulate(known)
    filled = np.where(before >= 0, rank[before], -1.0)
    return np.lexsort((np.arange(packets), filled)), np.array(failed, np.int64)
