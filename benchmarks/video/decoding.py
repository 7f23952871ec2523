"""Measure the cost of reading a video, and whether readers in threads slow each other down.

Within one run it compares FFmpeg's decoding alone, with RGB conversion, our reader, and OpenCV's.
"""

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.projects import PROJECTS, locate_project
from pipeline_lib.io.video.index_file import read_index, write_index
from pipeline_lib.io.video.reader import Picture, VideoIndex, VideoReader, index_video
from pipeline_lib.kernels.stillness import (
    count_blocks,
    estimate_limits,
    find_changed,
    measure_change,
)
from pipeline_lib.models.inference.preprocessing import FrameFit, fit_frame

_SHORT = 60  # frames
_HELD = 60  # pictures in memory


def decode(path: Path, frames: int) -> None:
    """Decode the first frames of a video with one thread, without conversion."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _ in zip(range(frames), container.decode(stream), strict=False):
            pass


def decode_and_convert(path: Path, frames: int) -> None:
    """Decode with one thread, and convert with PyAV's defaults."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _, frame in zip(range(frames), container.decode(stream), strict=False):
            frame.to_ndarray(format="rgb24")


def read(path: Path, index: VideoIndex | None, frames: int) -> None:
    """Read with our reader, one thread."""
    for _ in VideoReader(path, index=index).read(0, frames):
        pass


def read_with_opencv(path: Path, frames: int) -> None:
    """Read with OpenCV, one thread, and reorder the channels."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    for _ in range(frames):
        cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)


def measure(
    ways: dict[str, Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Return the median seconds of each way; they take turns after a warm-up round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 1):
        for name, way in ways.items():
            begin = clock()
            way()
            seconds[name].append(clock() - begin)
    return {name: statistics.median(each[1:]) for name, each in seconds.items()}


def run_twice(pool: Executor, path: Path, index: VideoIndex, frames: int) -> None:
    """Read a video in two workers of a pool at the same time."""
    for future in [pool.submit(read, path, index, frames) for _ in range(2)]:
        future.result()


def count_beside(pool: Executor, path: Path, index: VideoIndex, frames: int) -> float:
    """Return how far per second this thread counts while a worker of a pool reads."""
    counted, begin = 0, time.perf_counter()
    future = pool.submit(read, path, index, frames)
    while not future.done():
        counted += 1
    return counted / (time.perf_counter() - begin)


def print_costs(path: Path, frames: int, repeats: int) -> None:
    """Print milliseconds of CPU per frame of each way of reading."""
    index = index_video(path)
    seconds = measure(
        {
            "FFmpeg decodes": lambda: decode(path, frames),
            "and PyAV converts to RGB": lambda: decode_and_convert(path, frames),
            "VideoReader, RGB": lambda: read(path, index, frames),
            "OpenCV, RGB": lambda: read_with_opencv(path, frames),
        },
        repeats,
    )
    facts = index.facts
    print(f"{facts.codec} {facts.pixel_format}, {facts.width} x {facts.height}, {frames} frames")
    for name, each in seconds.items():
        ratio = each / seconds["VideoReader, RGB"]
        print(f"  {name:26}{1000 * each / frames:7.3f} ms per frame{ratio:7.2f} of ours")


def compare_pictures(pictures: Sequence[Picture]) -> None:
    """Compare each picture with the first one, as for still frames."""
    reference = pictures[0].read_planes()
    limits = [estimate_limits((), count_blocks(plane)) for plane in reference]
    for picture in pictures:
        for plane, before, most in zip(picture.read_planes(), reference, limits, strict=True):
            find_changed(measure_change(plane, before), most)


def convert_pictures(pictures: Sequence[Picture], part: float) -> None:
    """Convert the middle of each picture; `part` is the share of its sides."""
    height, width = pictures[0].read_planes()[0].shape
    (x1, x2), (y1, y2) = (
        (round(side * (1 - part) / 2), round(side * (1 + part) / 2)) for side in (width, height)
    )
    for picture in pictures:
        picture.convert(None if part == 1 else (x1, x2, y1, y2))


def shrink_images(images: Sequence[NDArray[np.uint8]], scale: float) -> None:
    """Shrink and pad images for a network."""
    fit = FrameFit.of(*images[0].shape[:2], scale)
    for image in images:
        fit_frame(image, fit)


def read_shrunk(reader: VideoReader, frames: int, scale: float) -> None:
    """Decode, and shrink and convert in one call of swscale."""
    for _ in reader.read(0, frames, width=round(scale * reader.facts.width)):
        pass


def read_planes(reader: VideoReader, frames: int) -> None:
    """Decode without conversion."""
    for _ in reader.read_pictures(0, frames):
        pass


def print_shares(path: Path, frames: int, repeats: int) -> None:
    """Print milliseconds of CPU per frame of each step from a packet to the network's input."""
    reader, count = VideoReader(path), min(frames, _HELD)
    pictures = [each for _, each in reader.read_pictures(0, count) if each is not None]
    images = [picture.convert() for picture in pictures]
    seconds = measure(
        {
            "decode": lambda: read_planes(reader, count),
            "compare with a frame (still)": lambda: compare_pictures(pictures),
            "convert to RGB": lambda: convert_pictures(pictures, 1),
            "convert a crop of half the sides": lambda: convert_pictures(pictures, 0.5),
            "shrink and pad, scale 0.5": lambda: shrink_images(images, 0.5),
            "shrink and pad, scale 0.25": lambda: shrink_images(images, 0.25),
            "decode, swscale to 0.5": lambda: read_shrunk(reader, count, 0.5),
            "decode, swscale to 0.25": lambda: read_shrunk(reader, count, 0.25),
        },
        repeats,
    )
    print("from a packet to the network's input")
    for name, each in seconds.items():
        print(f"  {name:34}{1000 * each / count:7.3f} ms per frame")


def print_threads(path: Path, frames: int, repeats: int) -> None:
    """Print the cost of Python's lock: readers in threads against readers in processes."""
    index = index_video(path)
    task = (path, index, frames)
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2) as processes:
        pools: dict[str, Executor] = {"threads": threads, "processes": processes}
        seconds = measure(
            {name: functools.partial(run_twice, pool, *task) for name, pool in pools.items()},
            repeats,
            time.perf_counter,
        )
        rounds = [
            {name: count_beside(pool, *task) for name, pool in pools.items()}
            for _ in range(repeats)
        ]
    rate = seconds["processes"] / seconds["threads"]
    beside = statistics.median(each["threads"] / each["processes"] for each in rounds)
    print("in threads, as a share of what it is in processes")
    print(f"  frames/s of two readers   {rate:7.2f}")
    print(f"  other Python code beside  {beside:7.2f}")


def print_overhead(path: Path, folder: Path, repeats: int) -> None:
    """Print the overhead of a file with few frames."""
    short, stored = folder / "short.mp4", folder / "index.npz"
    with av.open(str(path)) as source, av.open(str(short), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for _, packet in zip(range(_SHORT), source.demux(video=0), strict=False):
            packet.stream = stream
            target.mux(packet)
    index = index_video(short)
    write_index(stored, index)
    seconds = measure(
        {
            "index": lambda: index_video(short),
            "index from its file": lambda: read_index(stored),
            "open and read 1": lambda: read(short, index, 1),
            f"open and read {_SHORT}": lambda: read(short, index, _SHORT),
        },
        10 * repeats,
    )
    print(f"a file of {_SHORT} frames")
    for name, each in seconds.items():
        print(f"  {name:26}{1000 * each:7.2f} ms")


def main() -> None:
    """Print the tables for a video, by default that of the open field."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path, nargs="?", help="default: that of the open field")
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    project = PROJECTS["openfield"]
    video = given.video or locate_project(project) / project.video[1]
    cv2.setNumThreads(1)
    print_costs(video, given.frames, given.repeats)
    print_shares(video, given.frames, given.repeats)
    print_threads(video, given.frames, given.repeats)
    with tempfile.TemporaryDirectory() as folder:
        print_overhead(video, Path(folder), given.repeats)


if __name__ == "__main__":
    main()
