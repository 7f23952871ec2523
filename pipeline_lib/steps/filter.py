"""Run the verb `filter`: clean the trajectories of every video of a shard."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core import versions
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.settings.videos import FilteringSettings
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import STAGE_COLUMNS, UNIQUE_INDIVIDUAL
from pipeline_lib.io.poses.read import read_pose_key, read_poses, read_times, require_pose_key
from pipeline_lib.io.poses.write import create_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.kernels.filters import filter_poses, measure_reach
from pipeline_lib.steps.ensemble_filter import EnsembleSmoother
from pipeline_lib.steps.runs.outcomes import end_videos, record_poses
from pipeline_lib.steps.runs.plan import keep_planned
from pipeline_lib.steps.runs.result_keys import filtering_key

# Frames cleaned at a time, so that memory stays flat however long the video is.
_BLOCK_FRAMES = 2**16
# The Kalman smoother holds several arrays of double precision.
_KALMAN_FRAMES = 2**12


def run_filter(config: Config, results: Results, shard: str) -> None:
    """Clean the poses of each video of a shard that has been inferred, or tracked.

    With several individuals, tracked poses are cleaned: each index of the individual axis must
    mean the same animal in all frames. A video that fails is recorded with its
    reason, and the others are processed. A video that failed in an earlier stage keeps its status
    and reason. Cleaned poses whose key is unchanged are not computed again.

    Parameters
    ----------
    config
        Settings of the run: `filtering`, and the model's name.
    results
        The results folder.
    shard
        Name of the shard.

    Raises
    ------
    StoreError
        If the table of the stage before is missing.
    """
    model, files = config.training.name, results.shard(shard)
    several = config.individuals.max > 1
    rows = read_table(files.correct(model) if several else files.infer(model), STAGE_COLUMNS)
    rows = keep_planned(rows, results, shard)
    source, target = partial(locate_unfiltered, config, results), partial(results.filtered, model)
    ended = end_videos(
        f"filter {shard}",
        rows,
        lambda video: {
            "key": filter_file(source(video), target(video), config.for_video(video).filtering)
        },
    )
    # Before the table: a job killed in between is repeated.
    record = files.checksums("filter", model)
    kind = "tracked" if several else "poses"
    record_poses(record, results, ended, (kind, source), ("filtered", target))
    write_table(files.filter(model), STAGE_COLUMNS, ended)


def filter_file(source: Path, target: Path, settings: FilteringSettings) -> str:
    """Clean one pose file unless its cleaned poses are up to date.

    Each individual (an animal, or the unique bodyparts) is cleaned separately. Confidence, frame
    status, track status and identity stay unchanged. Frames that could not be decoded and frames
    in which an individual was not found are gaps like others; their status still distinguishes them
    after the gap was interpolated.

    Parameters
    ----------
    source
        The poses as the network gave them, or tracked.
    target
        Receives the cleaned poses, with the settings among their attributes.
    settings
        How to clean.

    Returns
    -------
    str
        Key of the cleaned poses.

    Raises
    ------
    StoreError
        If the source is missing, damaged or has no key, or has several animals that were not
        tracked.
    """
    source_key = require_pose_key(source)
    key = filtering_key(source_key, settings)
    if read_pose_key(target) == key:
        return key
    times = read_times(source)
    head = read_poses(source, 0, 0)
    _require_tracks(source, head)
    attributes = _extend_attributes(head.attributes, settings, source_key=source_key, key=key)
    block = _KALMAN_FRAMES if settings.method == "ensemble-kalman" else _BLOCK_FRAMES
    clean = _choose_method(source, len(times), settings, block)
    with create_poses(
        target,
        times,
        head.bodyparts,
        head.individuals,
        attributes,
        tracked=head.track_status is not None,
        identities=() if head.identity is None else head.attributes["identities"],
        spread=head.spread is not None,
    ) as writer:
        for number, start in enumerate(range(0, len(times), block)):
            poses = read_poses(source, start, start + block)
            writer.write(
                start,
                clean(number),
                poses.confidence,
                poses.frame_status,
                poses.track_status,
                poses.identity,
                poses.spread,
            )
    return key


def _choose_method(
    source: Path, frames: int, settings: FilteringSettings, block: int
) -> Callable[[int], NDArray[np.floating]]:
    """Return a function that returns the cleaned positions of a block by its number."""
    if settings.method == "ensemble-kalman":
        return EnsembleSmoother(source, frames, settings, block).smooth
    method, reach = settings.method, measure_reach(settings.max_gap, settings.window)

    def clean(number: int) -> NDArray[np.floating]:
        start = number * block
        first = max(0, start - reach)
        around = read_poses(source, first, start + block + reach)
        cleaned = filter_poses(
            around.position,
            around.confidence,
            pcutoff=settings.pcutoff,
            max_gap=settings.max_gap,
            method=method,
            window=settings.window,
            order=settings.order,
        )
        return cleaned[start - first :][:block]

    return clean


def _require_tracks(source: Path, head: Poses) -> None:
    """Raise `StoreError` if the order of the individuals may change from frame to frame."""
    animals = [name for name in head.individuals if name != UNIQUE_INDIVIDUAL]
    if len(animals) > 1 and head.track_status is None:
        raise StoreError(
            f"{source}: {len(animals)} individuals that were not tracked, so that their order "
            "may change from frame to frame; run the verb `track` before"
        )


def locate_unfiltered(config: Config, results: Results, video: str) -> Path:
    """Return the pose file to clean: of several individuals the corrected or the tracked one."""
    stage = STAGES["correct" if config.individuals.max > 1 else "infer"]
    return stage.find_poses(config, results, video)


def _extend_attributes(
    attributes: Mapping[str, Any], settings: FilteringSettings, *, source_key: str, key: str
) -> dict[str, Any]:
    return {
        **attributes,
        "key": key,
        "source_key": source_key,
        "filtering": settings.result_settings(),
        "versions": {**attributes.get("versions", {}), "filter": versions.FILTER},
    }
