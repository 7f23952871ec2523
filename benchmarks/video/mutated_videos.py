"""Damage copies of videos and check that no row holds another frame than it names.

Copies of videos in several containers are damaged (bits flipped, bytes overwritten, cut out or
cut off, packets lost), probed, and read as in a run. Every frame shows its number with a checksum,
so that damaged pixels are not taken for another number. The benchmark prints the outcomes of the
copies; the exit status is 1 if a copy hung, crashed, or gave a frame under another number.

A *stale* row is counted apart: a single row whose packet was changed in place and decodes without
an error to the picture of a frame that it refers to. The row is right, its pixels are damaged, and
no decoder reports it. Videos for which the ledger says that frames may be missing in a regular
pattern are counted apart, too.

Example: ``python benchmarks/video/mutated_videos.py --copies 300``
"""

import argparse
import functools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.reader import VideoReader, describe_oddities, index_video
from pipeline_lib.steps.apart import Limits, Lost, examine_apart

FRAMES = 96
_WIDTH, _HEIGHT, _SQUARE = 128, 96, 16
_BITS = 16
# Frames from one keyframe to the next.
_GROUP = 12
_HANG_SECONDS = 10.0
_DARK, _BRIGHT = 80, 175
# Of the copies that lose packets, those that lose them in a regular pattern.
_REGULAR_SHARE = 0.25
# Said of a video whose times alone do not tell whether frames are lost.
_SAID = "rows count the frames in the file"
UNREADABLE = -1

Mutation = Callable[[Path, Path, np.random.Generator], str]


def _make_codes() -> NDArray[np.uint16]:
    """Return a code word of 16 bits for each frame; any two differ in at least 5 bits."""
    codes: list[int] = []
    for word in np.random.default_rng(7).permutation(2**_BITS).tolist():
        if all((word ^ other).bit_count() >= 5 for other in codes):
            codes.append(word)
        if len(codes) == FRAMES:
            break
    return np.array(codes, np.uint16)


_CODES = _make_codes()


def draw_frame(number: int) -> NDArray[np.uint8]:
    """Draw a frame that shows its number in two rows of black and white squares."""
    image = np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)
    image[...] = np.arange(_WIDTH)[None, :, None]
    x = (number * 3) % (_WIDTH - 16)
    image[8:24, x : x + 16] = (250, 20, 20)
    bits = (int(_CODES[number]) >> np.arange(_BITS)) & 1
    squares = np.kron(bits.reshape(2, 8), np.ones((_SQUARE, _SQUARE)))
    image[-2 * _SQUARE :] = 255 * squares[:, :, None].astype(np.uint8)
    return image


def read_number(image: NDArray[np.uint8]) -> int:
    """Read the number shown in a frame; `UNREADABLE` if its pixels are damaged."""
    squares = image[-2 * _SQUARE :].mean(axis=2).reshape(2, _SQUARE, 8, _SQUARE)
    means = squares[:, 4:12, :, 4:12].mean(axis=(1, 3)).ravel()
    if ((means > _DARK) & (means < _BRIGHT)).any():
        return UNREADABLE
    code = int(((means > 127) << np.arange(_BITS)).sum())
    found = np.flatnonzero(code == _CODES)
    return int(found[0]) if len(found) else UNREADABLE


@dataclass(frozen=True)
class Source:
    """Describe a video to damage: container, codec and encoder options."""

    suffix: str
    codec: str
    pixel_format: str = "yuv420p"
    b_frames: int = 0
    options: tuple[tuple[str, str], ...] = ()
    file_format: str | None = None
    movflags: str = ""

    @property
    def name(self) -> str:
        """Return a description of the video."""
        return f"{self.suffix[1:]}-{self.codec}"


_X264 = (("x264-params", "keyint=12:min-keyint=12:scenecut=0:b-adapt=0:threads=1:bframes=3"),)
_X265 = (
    (
        "x265-params",
        "keyint=12:min-keyint=12:b-adapt=0:bframes=3:log-level=none:pools=none:frame-threads=1",
    ),
)
_VP9 = (("deadline", "realtime"), ("cpu-used", "8"))
SOURCES = (
    Source(".mp4", "libx264", options=_X264, b_frames=3),
    Source(".mp4", "libx264", options=_X264, b_frames=3, movflags="frag_keyframe+empty_moov"),
    Source(".mp4", "libx265", options=_X265, b_frames=3),
    Source(".mkv", "libx264", options=_X264, b_frames=3),
    Source(".mkv", "mpeg4", b_frames=2),
    Source(".avi", "mpeg4"),
    Source(".avi", "mpeg4", b_frames=2),
    Source(".avi", "mjpeg", "yuvj420p"),
    Source(".avi", "libx264", options=_X264, b_frames=3),
    Source(".ts", "libx264", options=_X264, b_frames=3),
    Source(".ts", "mpeg2video", b_frames=2),
    Source(".mov", "mjpeg", "yuvj420p"),
    Source(".mov", "libx264", options=_X264, b_frames=3),
    Source(".webm", "libvpx-vp9", options=_VP9),
    Source(".flv", "libx264", options=_X264, b_frames=3),
    Source(".flv", "flv"),
    Source(".h264", "libx264", options=_X264, b_frames=3, file_format="h264"),
)


def write_source(source: Source, path: Path, lost: frozenset[int] = frozenset()) -> None:
    """Encode a source without the packets at these positions in decoding order."""
    options = {"movflags": source.movflags} if source.movflags else {}
    with av.open(path, "w", format=source.file_format, options=options) as container:
        stream = container.add_stream(source.codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, source.pixel_format
        stream.codec_context.gop_size = _GROUP
        stream.codec_context.max_b_frames = source.b_frames
        stream.codec_context.thread_count = 1
        stream.options = dict(source.options)
        for number, packet in enumerate(_encode(stream)):
            if number not in lost:
                container.mux(packet)


def _encode(stream: av.VideoStream) -> Iterator[av.Packet]:
    for number in range(FRAMES):
        yield from stream.encode(av.VideoFrame.from_ndarray(draw_frame(number)))
    yield from stream.encode(None)


def lose_packets(draw: np.random.Generator, source: Source) -> frozenset[int]:
    """Draw the packets to lose: some runs anywhere, also at the start and at the end.

    In some copies they form a regular pattern instead: every second, third or fourth packet, or all
    others.

    None is lost at the start of an AVI, because FFmpeg writes the first packet as frame 0, nor at
    the end of an AVI with B-frames, which has no timestamps (ADR 11).
    """
    first = int(source.suffix == ".avi")
    last = FRAMES - _GROUP * (source.suffix == ".avi" and source.b_frames > 0)
    lost: set[int] = set()
    if draw.random() < _REGULAR_SHARE:
        # As a recorder or a network that is too slow all the time.
        every = int(draw.integers(2, 5))
        lost = set(range(first + int(draw.integers(every)), last, every))
        return frozenset(lost if draw.random() < 0.5 else set(range(first, last)) - lost)
    for _ in range(int(draw.integers(1, 4))):
        length = int(draw.choice([1, 1, 2, 3, 5, 12, 13]))
        places = draw.integers(first, last - length, 6)
        start = int(draw.choice([first, last - length, *places]))
        lost |= set(range(start, start + length))
    return frozenset(lost)


def flip_bits(data: bytearray, draw: np.random.Generator) -> str:
    """Flip some bits at random positions."""
    number = int(draw.choice([1, 3, 10, 30]))
    for at in draw.integers(0, 8 * len(data), number).tolist():
        data[at // 8] ^= 1 << at % 8
    return f"{number} bits flipped"


def overwrite_bytes(data: bytearray, draw: np.random.Generator) -> str:
    """Overwrite a run of bytes with zeros or noise."""
    start, length = _draw_span(data, draw)
    noise = draw.integers(0, 256, length, dtype=np.uint8).tobytes()
    data[start : start + length] = noise if draw.random() < 0.5 else bytes(length)
    return f"bytes {start} to {start + length} overwritten"


def cut_out_bytes(data: bytearray, draw: np.random.Generator) -> str:
    """Remove a run of bytes; from a transport stream, whole packets of it."""
    start, length = _draw_span(data, draw)
    if data[0] == data[188] == data[376] == 0x47:
        start, length = start // 188 * 188, max(1, length // 188) * 188
    del data[start : start + length]
    return f"bytes {start} to {start + length} cut out"


def cut_off(data: bytearray, draw: np.random.Generator) -> str:
    """Remove the end."""
    keep = int(len(data) * draw.uniform(0.05, 1))
    del data[keep:]
    return f"cut off after {keep} bytes"


def _draw_span(data: bytearray, draw: np.random.Generator) -> tuple[int, int]:
    length = min(int(draw.choice([1, 20, 200, 1000, 3000])), len(data) // 2)
    return int(draw.integers(0, len(data) - length)), length


_DAMAGES = (flip_bits, overwrite_bytes, cut_out_bytes, cut_off)


@dataclass(frozen=True)
class Copy:
    """Describe a damaged copy and its damage."""

    path: Path
    source: str
    damage: str
    in_place: bool


def write_copies(folder: Path, copies: int, seed: int) -> list[Copy]:
    """Write damaged copies of every source in turn."""
    written = []
    originals = {}
    for number, source in enumerate(SOURCES):
        originals[source] = folder / f"original-{number}{source.suffix}"
        write_source(source, originals[source])
    for number in range(copies):
        draw = np.random.default_rng((seed, number))
        source = SOURCES[number % len(SOURCES)]
        path = folder / f"{number:04d}{source.suffix}"
        # A third loses packets, as a bad network or a busy recorder does.
        if number // len(SOURCES) % 3 == 0:
            lost = lose_packets(draw, source)
            write_source(source, path, lost)
            damage = f"packets lost: {sorted(lost)}"
        else:
            data = bytearray(originals[source].read_bytes())
            damage = _DAMAGES[int(draw.integers(len(_DAMAGES)))](data, draw)
            path.write_bytes(data)
        in_place = "flipped" in damage or "overwritten" in damage
        written.append(Copy(path, source.name, damage, in_place))
    return written


@dataclass(frozen=True)
class Ending:
    """Hold the outcome of a copy: its message, and the number in each row (None: no image)."""

    status: str
    reason: str
    numbers: tuple[int | None, ...] = ()
    seconds: float = 0.0


def read_copy(path: str) -> Ending:
    """Probe a video as in a run, and read it to its end."""
    began = time.perf_counter()
    try:
        index = index_video(Path(path))
        if index.damage:
            return Ending("quarantined", index.damage, seconds=time.perf_counter() - began)
        reader = VideoReader(Path(path), index=index)
        numbers = tuple(None if image is None else read_number(image) for _, image in reader.read())
    except (VideoError, MemoryError) as error:
        # As a probe takes it, which runs within the same limits.
        return Ending("quarantined", str(error), seconds=time.perf_counter() - began)
    return Ending(
        "done", describe_oddities(Path(path), index), numbers, time.perf_counter() - began
    )


def find_wrong(numbers: tuple[int | None, ...]) -> list[tuple[int, int]]:
    """Return row and number of each row that shows another frame than it names.

    Rows are counted from the first frame in the file: a file that lost its start begins at a
    later keyframe.
    """
    known = [(row, number) for row, number in enumerate(numbers) if number not in (None, -1)]
    offset = known[0][1] - known[0][0] if known else 0
    return [(row, number) for row, number in known if number != row + max(offset, 0)]


def is_stale(numbers: tuple[int | None, ...], row: int) -> bool:
    """Return whether a wrong row lies alone between right ones and repeats a nearby frame."""
    wrong = {one for one, _ in find_wrong(numbers)}
    near = range(max(0, row - _GROUP), min(len(numbers), row + _GROUP + 1))
    around = [one for one in near if numbers[one] not in (None, UNREADABLE) and one not in wrong]
    return bool(around) and min(around) < row and numbers[row] in (numbers[one] for one in around)


def judge(copy: Copy, ending: Ending | Lost) -> str:
    """Return the outcome of a copy in one word."""
    if isinstance(ending, Lost):
        return "hung" if "more than" in ending.reason else "crashed"
    if ending.seconds > _HANG_SECONDS:
        return "hung"
    if ending.status != "done":
        return ending.status
    if wrong := find_wrong(ending.numbers):
        stale = copy.in_place and all(is_stale(ending.numbers, row) for row, _ in wrong)
        if _SAID in ending.reason and not copy.in_place:
            return "done, a loss suspected and said"
        return "stale" if stale else "wrong"
    return "done, some rows empty" if None in ending.numbers else "done, every row"


def run(copies: list[Copy], processes: int) -> Iterator[tuple[Copy, Ending | Lost]]:
    """Read each copy in its own process."""
    paths = [str(one.path) for one in copies]
    limits = Limits(seconds=_HANG_SECONDS + 5, gigabytes=2.0)
    endings = examine_apart(paths, read_copy, processes=processes, limits=limits)
    yield from zip(copies, endings, strict=True)


def main() -> int:
    """Print the outcomes of damaged copies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--verbose", action="store_true", help="print every copy")
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    tell = functools.partial(print, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        copies = write_copies(Path(folder), arguments.copies, arguments.seed)
        for copy, ending in run(copies, arguments.processes):
            word = judge(copy, ending)
            counts[word] += 1
            if arguments.verbose or word in ("hung", "crashed", "wrong", "stale"):
                tell(f"{copy.path.name} {copy.source}: {word}: {ending.reason} ({copy.damage})")
            if word == "wrong" and isinstance(ending, Ending):
                tell("    rows and what they show:", find_wrong(ending.numbers)[:20])
    for word, count in sorted(counts.items()):
        tell(f"{count:5d}  {word}")
    return int(any(counts[word] for word in ("hung", "crashed", "wrong")))


if __name__ == "__main__":
    sys.exit(main())
