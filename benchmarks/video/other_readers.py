"""Compare our reader with TorchCodec's, row by row and in processor time.

    make peers NAME=torchcodec
    python benchmarks/video/other_readers.py [VIDEO]

TorchCodec needs FFmpeg's libraries on the system. Videos of several containers and codecs show the
number of each frame, with a checksum. They are read by row: as they are, with one packet
overwritten, and without three packets. Then the processor time of all frames of VIDEO is
taken by turns, with one thread; the default is the open field's.
"""

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from benchmarks.projects import PROJECTS, exit_with, locate_project
from benchmarks.video.mutated_videos import (
    FRAMES,
    SOURCES,
    UNREADABLE,
    Source,
    read_number,
    write_source,
)
from pipeline_lib.core.errors import CohortposeError, VideoError
from pipeline_lib.io.video.reader import VideoReader, check_video

CHECKOUT = Path(__file__).parents[2]
PROGRAM = CHECKOUT / "benchmarks" / "peer_programs" / "torchcodec_program.py"
DAMAGED = 40
LOST = frozenset({50, 51, 52})
ROUNDS = 3

# The number that each row shows; None: no image.
Shown = list[int | None]


def find_python() -> Path:
    """Return the Python of TorchCodec's environment; COHORTPOSE_TORCHCODEC wins."""
    stated = os.environ.get("COHORTPOSE_TORCHCODEC")
    own = CHECKOUT / "build" / "peers" / "torchcodec" / "bin" / "python"
    path = Path(stated) if stated else own
    if not path.exists():
        raise CohortposeError(f"{path}: not there; run `make peers NAME=torchcodec`")
    return path


def overwrite_packet(path: Path, number: int) -> None:
    """Overwrite two thirds of a packet, by its place in the file."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        start, size = packets[number].pos, packets[number].size
    data = bytearray(path.read_bytes())
    noise = np.random.default_rng(number).integers(0, 256, size - size // 3, np.uint8)
    data[start + size // 3 : start + size] = noise.tobytes()
    path.write_bytes(data)


def list_videos(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Write the videos; yield the name of each, what was done to it, and its path."""
    for place, source in enumerate(SOURCES):
        for change in ("whole", "one packet overwritten", "three packets lost"):
            path = folder / f"{place}-{change.replace(' ', '-')}{source.suffix}"
            write_source(source, path, LOST if change.startswith("three") else frozenset())
            if change.startswith("one"):
                if not _has_positions(source):
                    continue
                overwrite_packet(path, DAMAGED)
            yield source.name, change, path


def _has_positions(source: Source) -> bool:
    """Tell whether FFmpeg says where packets lie, and they lie there in one piece."""
    return source.suffix not in (".ts", ".h264")


def read_ours(path: Path) -> Shown | None:
    """Read a video as in a run; None if it is quarantined."""
    try:
        index = check_video(path)
        rows = VideoReader(path, index=index).read()
        return [None if image is None else read_number(image) for _, image in rows]
    except VideoError:
        return None


def read_theirs(python: Path, path: Path) -> Shown | None:
    """Read a video with TorchCodec; None if it is refused."""
    output = path.with_suffix(".npz")
    done = subprocess.run([python, PROGRAM, "read", output, path], capture_output=True, check=False)
    if done.returncode:
        return None
    with np.load(output) as read:
        images, given = read["image"], read["given"].tolist()
    output.unlink()
    return [
        read_number(image) if there else None for image, there in zip(images, given, strict=True)
    ]


def describe(shown: Shown | None) -> str:
    """Return rows, and how many have no image, another frame, or damaged pixels."""
    if shown is None:
        return "refused"
    empty = shown.count(None)
    damaged = shown.count(UNREADABLE)
    others = sum(number not in (None, UNREADABLE, row) for row, number in enumerate(shown))
    return f"{len(shown)} rows, {empty} empty, {others} another frame, {damaged} damaged"


def time_ours(path: Path) -> float:
    """Return processor milliseconds per frame."""
    reader = VideoReader(path)
    began = time.process_time()
    frames = sum(1 for _ in reader.read())
    return 1000 * (time.process_time() - began) / frames


def time_theirs(python: Path, path: Path) -> float:
    """Return processor milliseconds per frame of TorchCodec."""
    done = subprocess.run(
        [python, PROGRAM, "time", path], capture_output=True, check=True, text=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    """Print a table of rows, and the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", nargs="?", type=Path)
    given = parser.parse_args()
    try:
        python = find_python()
        video = given.video or locate_project(PROJECTS["openfield"]) / "videos/m3v1mp4.mp4"
    except CohortposeError as error:
        raise exit_with(error) from None
    print(f"| video | of {FRAMES} frames | ours | TorchCodec |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, change, path in list_videos(Path(folder)):
            ours, theirs = describe(read_ours(path)), describe(read_theirs(python, path))
            print(f"| {name} | {change} | {ours} | {theirs} |", flush=True)
    for _ in range(ROUNDS):
        own, other = time_ours(video), time_theirs(python, video)
        print(f"ours {own:.2f} ms per frame, TorchCodec {other:.2f} ms: {other / own:.2f} times")


if __name__ == "__main__":
    main()
