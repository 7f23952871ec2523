"""Run a simulated camera for long, kill the run, and compare what is left with the camera's count.

    python benchmarks/live/soak.py [--minutes 60] [--rate 50] [--keep FOLDER]

The camera, the light and the network are those of `latency.py`; poses and video are recorded, in
two videos. The run is a process of its own. The camera counts the frames that it gives in a file
mapped into memory, which outlives that process. After the time the process is killed (SIGKILL) in
the middle of its work; another process then makes ordinary files of what it left.

Printed for each tenth of the time are the memory of the process (lowest and highest of six
readings), its counts and the load of the machine, and at the end what the recording has: frames,
poses and dropped frames beside the counts of the camera and of the run; latencies of each tenth and
their trend; the frames of the videos, and how many of the last pictures show what the camera gave.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inference.networks import write_model
from benchmarks.live.latency import (
    BACKBONES,
    REGION,
    ROUND,
    SIZE,
    Led,
    SimulatedCamera,
    SteeredPredictor,
    render,
)
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.settings.outputs.live import LiveSettings
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.live.recording.finish import finish_recordings
from pipeline_lib.live.run import CameraRun, LiveRequest, run_live
from pipeline_lib.live.sources.frames import Frame

PARTS = 10
READINGS = 6
# Pictures before the kill that are compared with what the camera gave.
PICTURES = 500
# Of 255: how far a compressed picture is from its frame on average, and from another frame.
ALIKE = 6.0


class CountingCamera(SimulatedCamera):
    """Count the frames that are given where a kill leaves the count."""

    def __init__(self, count: Path, *values: Any) -> None:  # noqa: ANN401 - those of the camera
        super().__init__(*values)
        self._count = np.memmap(count, np.int64, "w+", shape=(1,))

    def rewind(self) -> None:
        """Begin now."""
        super().rewind()
        self._count[0] = 0

    def read(self, timeout: float) -> Frame | None:
        """Wait for the next frame."""
        frame = super().read(timeout)
        self._count[0] = self.given
        return frame


def read_memory() -> float:
    """Return the resident memory of this process in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def read_counts(run: CameraRun) -> dict[str, int]:
    """Return counts at a moment at which no frame waits or is being predicted."""
    while True:
        captured = run.capture.counts.captured
        predicted, dropped = run.loop.counts.predicted, run.capture.newest.dropped
        if captured == predicted + dropped and captured == run.capture.counts.captured:
            return {"captured": captured, "predicted": predicted, "dropped": dropped}
        time.sleep(0.001)


def sample(run: CameraRun, camera: CountingCamera, minutes: float, end: threading.Event) -> None:
    """Print memory and counts of each part of the time, as JSON."""
    run.capture.ready.wait()
    pause = 60 * minutes / PARTS / READINGS
    due = time.monotonic()
    for _ in range(PARTS):
        memory = []
        for _ in range(READINGS):
            due += pause
            if end.wait(max(0.0, due - time.monotonic())):
                return
            memory.append(read_memory())
        told = {
            "memory": [round(min(memory), 1), round(max(memory), 1)],
            **read_counts(run),
            "given": camera.given,
            "unrecorded": run.recorder.unrecorded if run.recorder else 0,
            "repeated": run.recorder.repeated if run.recorder else 0,
            "load": os.getloadavg()[0],
        }
        print(json.dumps(told), flush=True)


def run_child(place: Path, minutes: float, rate: float) -> None:
    """Run the camera until somebody kills this process."""
    frames, truth = render()
    led = Led()
    inside = truth[:, 0, 0] > REGION[0][0]
    camera = CountingCamera(place / "count", frames, inside, rate, led)
    known = {id(image): one for image, one in zip(camera.all, [*truth, *truth], strict=True)}
    settings = LiveSettings.model_validate(
        {
            "cameras": [{"name": "top", "source": "camera:0"}],
            "prediction": {"cropping": 256},
            "recording": {"minutes": minutes / 2},
        }
    )

    @contextlib.contextmanager
    def watch(runs: list[CameraRun]) -> Iterator[None]:
        end = threading.Event()
        values = runs[0], camera, minutes, end
        threading.Thread(target=sample, args=values, daemon=True).start()
        yield
        end.set()

    files = ModelFiles(place / "lite0")
    write_model(files, BACKBONES["lite0"], "none")
    predictor = SteeredPredictor(files, 256, known)
    predictor.warm_up(SIZE)
    request = LiveRequest(settings, "lite0", place / "live")
    run_live(request, sources={"top": camera}, predictors=[predictor], watch=watch)


def watch_child(arguments: argparse.Namespace, place: Path) -> list[dict[str, Any]]:
    """Run the child for the time, kill it, and return what it told."""
    values = "--minutes", str(arguments.minutes), "--rate", str(arguments.rate)
    child = subprocess.Popen(
        [sys.executable, __file__, "--child", str(place), *values],
        stdout=subprocess.PIPE,
        text=True,
    )
    told: list[dict[str, Any]] = []
    try:
        for line in child.stdout or ():
            told.append(json.loads(line))
            print(f"{len(told)}/{PARTS}: {told[-1]}", flush=True)
            if len(told) == PARTS:
                # Some more frames, so that the last count is not that of the kill.
                time.sleep(1.2345)
                break
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    return told


def read_rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of all tables of times, in the order of time."""
    rows: list[dict[str, str]] = []
    for path in sorted(folder.glob("*.times.tsv")):
        head, *lines = path.read_text(encoding="utf-8").splitlines()
        names = head.split("\t")
        rows += (dict(zip(names, line.split("\t"), strict=True)) for line in lines)
    return rows


def print_counts(folder: Path, told: dict[str, Any], given: int) -> None:
    """Compare the recording with the counts of the camera and of the run."""
    rows = [row for row in read_rows(folder) if row["status"] != "missing"]
    numbers = [int(row["number"]) for row in rows]
    whole = numbers == list(range(1, len(numbers) + 1))
    print(f"camera gave {given} frames; recorded {len(rows)}, numbers without a gap: {whole}")
    dropped = [row["status"] == "dropped" for row in rows]
    count = told["captured"]
    found = {"predicted": count - sum(dropped[:count]), "dropped": sum(dropped[:count])}
    print(f"at frame {count}: run counted {told}")
    print(f"at frame {count}: recording has {found}; after it {sum(dropped[count:])} dropped")
    poses = [read_poses(path) for path in sorted(folder.glob("*.zarr.zip"))]
    there = sum(int(np.isfinite(one.position).any(axis=(1, 2, 3)).sum()) for one in poses)
    print(f"pose files: {len(poses)}, frames with poses {there}, of {len(rows) - sum(dropped)}")
    print_latency(rows)


def print_latency(rows: Sequence[dict[str, str]]) -> None:
    """Print latencies of each part of the time, and how they change."""
    latency = np.array([float(row["latency_ms"]) for row in rows])
    captured = np.array([float(row["captured"]) for row in rows])
    for part, one in enumerate(np.array_split(latency, PARTS)):
        p50, p99 = np.nanquantile(one, [0.5, 0.99])
        lost = int(np.isnan(one).sum())
        print(f"{part + 1}/{PARTS}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, dropped {lost}")
    pieces = np.array_split(np.arange(len(latency)), 6 * PARTS)
    pieces = [piece for piece in pieces if np.isfinite(latency[piece]).any()]
    medians = [float(np.nanmedian(latency[piece])) for piece in pieces]
    hours = [float(captured[piece].mean()) / 3600 for piece in pieces]
    slope = float(np.polyfit(hours, medians, 1)[0])
    spread = np.quantile(medians, [0.0, 0.5, 1.0])
    print(f"medians of {len(pieces)} pieces: lowest, middle, highest {spread.round(2)} ms")
    print(f"trend of the medians: {slope:+.3f} ms in an hour")


def print_videos(folder: Path) -> None:
    """Compare videos with tables and, at the end, pictures with frames."""
    frames, _ = render()
    for path in sorted(folder.glob("*.mp4")):
        times = path.with_name(path.name.removesuffix(".mp4") + ".times.tsv")
        lines = times.read_text(encoding="utf-8").splitlines()[1:]
        with VideoReader(path) as reader:
            count = len(reader.times)
            print(f"{path.name}: {count} frames, {len(lines)} rows of the table")
            shown = [
                None if image is None else find_frame(image, frames)
                for _, image in reader.read(max(0, count - PICTURES), count)
            ]
        wanted = []
        for line in lines[max(0, count - PICTURES) : count]:
            number = line.split("\t")[2]
            wanted.append((int(number) - 1) % ROUND if number else None)
        good = sum(one == two for one, two in zip(shown, wanted, strict=True))
        print(f"{path.name}: {good} of the last {len(shown)} pictures show the row's own frame")


def find_frame(image: Any, frames: Sequence[Any]) -> int | None:  # noqa: ANN401 - a picture
    """Return which frame of the round a picture shows; None: none."""
    small = image[30:, ::4][::4].astype(np.int16)
    far = [float(np.abs(small - one[30:, ::4][::4]).mean()) for one in frames]
    best = int(np.argmin(far))
    return best if far[best] < ALIKE else None


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--keep", type=Path, help="Folder that keeps everything; it must be new.")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        run_child(arguments.child, arguments.minutes, arguments.rate)
        return
    with contextlib.ExitStack() as stack:
        if arguments.keep is None:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            arguments.keep.mkdir(parents=True)
            place = arguments.keep
        told = watch_child(arguments, place)
        given = int(np.memmap(place / "count", np.int64, "r", shape=(1,))[0])
        memory = np.array([one["memory"] for one in told[1:]])
        if len(memory):
            middle, half = (memory.max() + memory.min()) / 2, np.ptp(memory) / 2
            print(f"memory after the first tenth: {middle:.1f} MiB ± {100 * half / middle:.2f} %")
        print("left:", sorted(path.name for path in (place / "live").iterdir()))
        start = time.monotonic()
        made = finish_recordings(place / "live")
        print(f"made in {time.monotonic() - start:.1f} s:", [path.name for path in made])
        print_counts(place / "live", told[-1], given)
        print_videos(place / "live")


if __name__ == "__main__":
    main()
