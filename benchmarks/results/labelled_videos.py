"""Measure how many frames a second are drawn, beside DeepLabCut and sleap-io.

    python benchmarks/results/labelled_videos.py [--frames 3000] [--cores 2]

The video is noise that moves, 640 x 480 at 30 frames/s, with eight keypoints and their edges.
DeepLabCut's ``CreateVideo``, which ``create_labeled_video(fastmode=True)`` calls, draws trails
of 30 frames in the environment whose Python COHORTPOSE_DEEPLABCUT names, if any. sleap-io's
renderer runs here. The seconds of processor time tell of a busy machine what the frames per
second do not.
"""

import argparse
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.process import limit_cores
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import PROBE_COLUMNS, STAGE_COLUMNS
from pipeline_lib.demo.video import write_video
from pipeline_lib.io.exports.registry import write_export
from pipeline_lib.io.exports.source import ExportSource
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.render.run import run_render

WIDTH, HEIGHT, FPS = 640, 480, 30
BODYPARTS = tuple(f"part{number}" for number in range(8))
EDGES = [list(pair) for pair in pairwise(BODYPARTS)]

DEEPLABCUT = """
import sys, time
from deeplabcut.utils.make_labeled_video import CreateVideo
from deeplabcut.utils import auxiliaryfunctions
from deeplabcut.utils.video_processor import VideoProcessorCV as Clip
import pandas as pd
video, table, target, edges = sys.argv[1:]
frame = pd.read_hdf(table)
names = list(frame.columns.get_level_values("bodyparts").unique())
start = time.perf_counter()
clip = Clip(fname=video, sname=target, codec="mp4v")
CreateVideo(clip, frame, 0.4, 4, "rainbow", names, 30, False, 0, clip.width, 0, clip.height,
            [[i, i + 1] for i in range(len(names) - 1)], "white", True, False, "bodypart")
print("SECONDS", time.perf_counter() - start)
"""


def make_frames(frames: int) -> Iterator[NDArray[np.uint8]]:
    """Yield a blurred picture of noise that moves."""
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 255, (HEIGHT, 2 * WIDTH, 3), np.uint8)
    wide = np.asarray(cv2.GaussianBlur(wide, (0, 0), 3), np.uint8)
    for frame in range(frames):
        start = frame % WIDTH
        yield np.ascontiguousarray(wide[:, start : start + WIDTH])


def make_poses(frames: int) -> Poses:
    """Return eight points that move around."""
    time_ = np.arange(frames) / FPS
    phase = np.linspace(0, 3, len(BODYPARTS))
    x = 320 + 200 * np.sin(time_[:, None] + phase)
    y = 240 + 150 * np.cos(0.7 * time_[:, None] + phase)
    position = np.stack([x, y], axis=-1)[:, None].astype(np.float32)
    confidence = np.full((frames, 1, len(BODYPARTS)), 0.9, np.float32)
    status = np.zeros(frames, np.uint8)
    facts = {"key": "key", "fps": float(FPS)}
    return Poses(position, confidence, status, time_, BODYPARTS, ("animal",), facts)


def time_ours(video: Path, frames: int, cores: int) -> float:
    """Return the seconds of the verb on one video."""
    results = Results(Path("results"))
    write_poses(results.filtered("pose", "v"), make_poses(frames))
    files = results.shard("00001")
    write_table(files.filter("pose"), STAGE_COLUMNS, [{"video": "v", "status": "done", "key": "k"}])
    write_table(files.probe, PROBE_COLUMNS, [{"video": "v", "path": video}])
    limit_cores(cores)
    rendering = {"enabled": True, "worst_seconds": 0, "segment_seconds": frames / FPS / cores + 0.1}
    skeleton = {"bodyparts": BODYPARTS, "edges": EDGES}
    config = parse_config(
        {"cohort": "c.tsv", "labels": [{"path": "p"}], "skeleton": skeleton, "rendering": rendering}
    )
    start = time.perf_counter()
    run_render(config, results, "00001")
    seconds = time.perf_counter() - start
    (row,) = read_table(files.table("render", "pose"), STAGE_COLUMNS)
    if row["status"] != "done":
        raise SystemExit(row["reason"])
    return seconds


def export(name: str) -> Path:
    """Write the poses for another tool."""
    path = Path(f"v.{name}").absolute()
    skeleton = parse_config(
        {"cohort": "c.tsv", "skeleton": {"bodyparts": BODYPARTS, "edges": EDGES}}
    ).skeleton
    source = ExportSource(
        Results(Path("results")).filtered("pose", "v"),
        "net",
        skeleton,
        video=Path("v.mp4").absolute(),
        width=WIDTH,
        height=HEIGHT,
    )
    write_export(name, path, source)
    return path


def time_sleap() -> float:
    """Return the seconds of sleap-io's renderer."""
    import sleap_io  # noqa: PLC0415

    labels = sleap_io.load_slp(str(export("slp")))
    start = time.perf_counter()
    sleap_io.render_video(labels, "sleap.mp4", show_progress=False)
    return time.perf_counter() - start


def time_deeplabcut(python: str, video: Path) -> float:
    """Return the seconds of DeepLabCut's labelled video."""
    table = export("h5")
    command = [python, "-c", DEEPLABCUT, str(video), str(table), "deeplabcut.mp4", ""]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(said.rpartition("SECONDS")[2])


def measure_work() -> float:
    """Return the seconds of processor time of this process and those that it waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    """Print frames per second of each tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--cores", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        video = Path("v.mp4").absolute()
        write_video(video, make_frames(asked.frames), FPS)
        tools = {
            f"cohortpose, {asked.cores} cores": lambda: time_ours(video, asked.frames, asked.cores),
            "sleap-io": time_sleap,
        }
        if python := os.environ.get("COHORTPOSE_DEEPLABCUT"):
            tools["DeepLabCut"] = lambda: time_deeplabcut(python, video)
        for name, call in tools.items():
            before = measure_work()
            seconds = call()
            work = 1000 * (measure_work() - before) / asked.frames
            rate = asked.frames / seconds
            print(
                f"{name}: {rate:.0f} frames/s, {work:.1f} ms of processor time a frame", flush=True
            )
        os.chdir("/")


if __name__ == "__main__":
    main()
