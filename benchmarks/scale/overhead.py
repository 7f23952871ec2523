"""Measure the overhead of Snakemake and Dask on a shard of real videos."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.inference.figures import NETWORKS, Figure
from benchmarks.inference.networks import call_apart, write_model
from benchmarks.inference.videos import copy_video
from benchmarks.scale.cohort import Cohort, keep_rows, write_template
from benchmarks.scale.measures import measure_command
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.tables import STAGE_COLUMNS, VideoStatus
from pipeline_lib.demo.write import DemoSettings, write_demo
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.infer.workers import count_workers

_TARGET = 0.03
_SIZE = (640, 480)


@dataclass(frozen=True)
class Shard:
    """Describe the shard to infer.

    Attributes
    ----------
    videos, frames
        Number of videos, and of frames in each.
    backbone
        Backbone of the untrained network.
    """

    videos: int = 64
    frames: int = 300
    backbone: str = "tf_efficientnet_lite0"


def measure_overhead(folder: Path, shard: Shard) -> list[Figure]:
    """Time the inference of a shard through Snakemake, and return its overhead.

    All time in which a worker processes no segment counts as overhead: Snakemake's start and
    planning, Python, Dask, loading the network, and workers that wait at the end.
    """
    cohort = _lay_out(folder, shard)
    files = cohort.results.shard("00001")
    model = cohort.config.training.name
    probe, infer = (
        str(path.relative_to(cohort.folder)) for path in (files.probe, files.infer(model))
    )
    measure_command(cohort.snakemake(probe, "--quiet", "all"), cohort.folder)
    taken = measure_command(cohort.snakemake(infer, "--quiet", "all"), cohort.folder)
    rows = read_table(files.infer(model), (*STAGE_COLUMNS, "frames"))
    bad = [row for row in rows if row["status"] != VideoStatus.DONE]
    if bad or len(rows) != shard.videos:
        raise CohortposeError(f"{files.infer(model)}: {len(rows)} rows, not done: {bad[:1]}")
    workers = count_workers(cohort.config.inference)
    overhead = compute_overhead(taken.seconds, [float(row["seconds"]) for row in rows], workers)
    frames = sum(int(row["frames"]) for row in rows)
    return [
        Figure("overhead of the engine, share", overhead / taken.seconds, _TARGET, at_most=True),
        Figure("overhead of the engine (s)", overhead, _TARGET * taken.seconds, at_most=True),
        Figure(f"seconds of the run, {frames} frames", taken.seconds, 0.0),
    ]


def compute_overhead(seconds: float, busy: list[float], workers: int) -> float:
    """Return the mean seconds of a run in which a worker processed no segment.

    Parameters
    ----------
    seconds
        Duration of the whole run in s.
    busy
        Seconds that a worker spent on each video.
    workers
        Number of parallel workers.
    """
    return seconds - sum(busy) / workers


def _lay_out(folder: Path, shard: Shard) -> Cohort:
    template = write_template(folder / "template")
    cohort = Cohort(folder / "overhead")
    if cohort.folder.exists():
        shutil.rmtree(cohort.folder)
    shutil.copytree(template.folder, cohort.folder)
    shutil.rmtree(cohort.results.shards)
    source = _render(folder / "source", shard.frames)
    paths = copy_video(source, cohort.folder / "videos", shard.videos, shard.frames)
    rows = [{"video": path.stem, "path": path} for path in paths]
    write_table(cohort.folder / "cohort.tsv", ("video", "path"), rows)
    weights = NETWORKS[shard.backbone]
    files = cohort.results.model(cohort.config.training.name)
    call_apart(write_model, files, shard.backbone, weights)
    return cohort


def _render(folder: Path, frames: int) -> Path:
    """Return a rendered video of N frames in a common camera size."""
    path = folder / "videos" / "mouse-01.mp4"
    if not path.exists():
        width, height = _SIZE
        settings = DemoSettings(
            videos=1, frames=frames, width=width, height=height, labelled_frames=1
        )
        write_demo(folder, settings)
        keep_rows(folder / "cohort.tsv", {path.stem})
    return path
