"""Measure how long kinematics take: videos of 10,000 frames, two processes.

    python benchmarks/results/kinematics.py [--videos 100] [--frames 10000] [--processes 2]

Poses are random walks of eight bodyparts with gaps, in a temporary folder; each process works on a
shard of its own, as jobs of Snakemake do.
"""

import argparse
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import PROBE_COLUMNS, STAGE_COLUMNS
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.kinematics.run import run_kinematics

BODYPARTS = tuple("abcdefgh")
SETTINGS = {
    "enabled": True,
    "heading": ["a", "b"],
    "speeds": ["a"],
    "distances": [["a", "b"], ["c", "d"]],
    "angles": {"joint": ["a", "b", "c"]},
    "regions": [{"name": "middle", "polygon": [[200, 200], [400, 200], [400, 400], [200, 400]]}],
    "still_speed": 20,
    "bin_seconds": 60,
}


def make_poses(frames: int, seed: int) -> Poses:
    """Return a random walk; 2 % of the points are missing."""
    rng = np.random.default_rng(seed)
    shape = (frames, 1, len(BODYPARTS))
    position = 300 + np.cumsum(rng.normal(size=(*shape, 2)), axis=0).astype(np.float32)
    position[rng.random(shape) < 0.02] = np.nan
    return Poses(
        position.astype(np.float32),
        np.ones(shape, np.float32),
        np.zeros(frames, np.uint8),
        np.arange(frames) / 30,
        BODYPARTS,
        ("animal",),
        {"key": f"key-{seed}"},
    )


def write_cohort(videos: int, frames: int, shards: int) -> list[str]:
    """Write sheet, poses and tables of a cohort; return the names of the shards."""
    names = [f"v{number}" for number in range(videos)]
    lines = "".join(f"{name}\t{name}.mp4\tcontrol\n" for name in names)
    Path("cohort.tsv").write_text(f"video\tpath\tgroup\n{lines}", encoding="utf-8")
    results = Results(Path("results"))
    for number, name in enumerate(names):
        write_poses(results.filtered("pose", name), make_poses(frames, number))
    for number in range(shards):
        files, here = results.shard(f"{number:05d}"), names[number::shards]
        rows = [{"video": name, "status": "done", "key": "k"} for name in here]
        write_table(files.filter("pose"), STAGE_COLUMNS, rows)
        rows = [{"video": name, "width": 640, "height": 480} for name in here]
        write_table(files.probe, PROBE_COLUMNS, rows)
    return [f"{number:05d}" for number in range(shards)]


def configure() -> Config:
    """Return the settings of the run."""
    return parse_config({"cohort": "cohort.tsv", "labels": [{"path": "p"}], "kinematics": SETTINGS})


def run(shard: str) -> None:
    """Measure the videos of a shard."""
    run_kinematics(configure(), Results(Path("results")), shard)


def main() -> None:
    """Print seconds, and those of 1,000 videos at the same rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        shards = write_cohort(asked.videos, asked.frames, asked.processes)
        start = time.perf_counter()
        with ProcessPoolExecutor(asked.processes, get_context("spawn")) as pool:
            list(pool.map(run, shards))
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in Path("results/kinematics").rglob("*.parquet"))
        os.chdir("/")
    print(f"{asked.videos} videos of {asked.frames} frames: {seconds:.1f} s")
    print(f"1,000 such videos: {seconds / asked.videos * 1000:.0f} s")
    print(f"{size / asked.videos / asked.frames:.0f} bytes per frame")


if __name__ == "__main__":
    main()
