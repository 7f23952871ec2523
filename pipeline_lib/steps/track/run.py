"""Run the verb `track`: track the individuals of every video of a shard."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.core import versions
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.settings.individuals import IndividualSettings, TrackingSettings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import (
    MOST_ANIMALS,
    STAGE_COLUMNS,
    SURPLUS_FRAMES,
    UNIQUE_INDIVIDUAL,
    TrackStatus,
)
from pipeline_lib.io.poses.read import read_pose_key, read_poses, read_times, require_pose_key
from pipeline_lib.io.poses.write import PoseWriter, create_poses, write_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.kernels.metrics.keypoints import find_individuals
from pipeline_lib.kernels.tracking.detections import Detections
from pipeline_lib.kernels.tracking.track import Followed, TrackRules, cut_video, follow_individuals
from pipeline_lib.kernels.tracking.tracks import arrange_poses, arrange_values
from pipeline_lib.steps.runs.outcomes import end_videos, record_poses
from pipeline_lib.steps.runs.plan import keep_planned
from pipeline_lib.steps.runs.result_keys import tracking_key

TRACK_COLUMNS = (*STAGE_COLUMNS, MOST_ANIMALS, SURPLUS_FRAMES)
# Attribute of poses: number of individuals beyond `individuals.max`.
_SURPLUS = "surplus"

_log = logging.getLogger(__name__)


def run_track(config: Config, results: Results, shard: str) -> None:
    """Track the individuals of each inferred video of a shard.

    A video that fails is recorded with its reason, and the others are processed. A video that
    failed in an earlier stage keeps its status and reason. Tracks whose key is unchanged are not
    computed again.

    Parameters
    ----------
    config
        Settings of the run: `tracking`, `individuals`, and the model's name.
    results
        The results folder.
    shard
        Name of the shard.

    Raises
    ------
    StoreError
        If the shard's table of inference is missing.
    """
    model, files = config.training.name, results.shard(shard)
    source, target = partial(results.poses, model), partial(results.tracked, model)

    def track(video: str) -> dict[str, str]:
        settings = config.for_video(video).tracking
        key = track_file(source(video), target(video), config.individuals, settings)
        return {"key": key, **_describe_surplus(video, target(video))}

    rows = keep_planned(read_table(files.infer(model), STAGE_COLUMNS), results, shard)
    ended = end_videos(f"track {shard}", rows, track)
    # Before the table: a job killed in between is repeated.
    record = files.checksums("track", model)
    record_poses(record, results, ended, ("poses", source), ("tracked", target))
    write_table(files.track(model), TRACK_COLUMNS, ended)


def _describe_surplus(video: str, target: Path) -> dict[str, str]:
    """Return the cells that count the animals; warn if there were too many."""
    found = read_poses(target, 0, 0)
    most, frames = (found.attributes[name] for name in (MOST_ANIMALS, SURPLUS_FRAMES))
    if frames:
        _log.warning(
            "%s: %d frames show more animals than %d (up to %d); those are kept that are best over "
            "the whole video: set individuals.max higher to keep them all",
            video,
            frames,
            sum(name != UNIQUE_INDIVIDUAL for name in found.individuals),
            most,
        )
    return {MOST_ANIMALS: str(most), SURPLUS_FRAMES: str(frames)}


def track_file(
    source: Path, target: Path, individuals: IndividualSettings, settings: TrackingSettings
) -> str:
    """Track the individuals of one pose file unless its tracks are up to date.

    Unique bodyparts, which are the last individual, are passed through. The attributes of the
    tracks give the largest number of animals in a frame (`MOST_ANIMALS`) and the number of frames
    that show more animals than are kept (`SURPLUS_FRAMES`). Poses that another tool tracked remain
    as they are.

    Parameters
    ----------
    source
        The poses as the network gave them.
    target
        Receives the tracks, with the settings among their attributes.
    individuals, settings
        Number and names of individuals, and the settings of tracking.

    Returns
    -------
    str
        Key of the tracks.

    Raises
    ------
    StoreError
        If the source is missing, damaged or has no key, or if `individuals.names` gives another
        number of names than the source has individuals.
    """
    source_key = require_pose_key(source)
    key = tracking_key(source_key, individuals, settings)
    if read_pose_key(target) == key:
        return key
    times = read_times(source)
    head = read_poses(source, 0, 0)
    attributes = {
        **{name: value for name, value in head.attributes.items() if name != _SURPLUS},
        "key": key,
        "source_key": source_key,
        "tracking": settings.result_settings(),
        "versions": {**head.attributes.get("versions", {}), "track": versions.TRACK},
    }
    if head.track_status is not None:
        _keep_tracks(source, target, attributes)
        return key
    names = name_individuals(head, individuals)
    segments = cut_video(len(times), settings.segment_frames)
    rules = make_track_rules(settings)

    def read(start: int, stop: int) -> Detections:
        return _detect(read_poses(source, start, stop))

    with ThreadPoolExecutor(count_cores()) as pool:
        followed = follow_individuals(read, segments, len(names), rules, pool.map)
    attributes[MOST_ANIMALS] = int(followed.animals.max(initial=0))
    attributes[SURPLUS_FRAMES] = int((followed.animals > len(names)).sum())
    unique = head.individuals[_count_animals(head) :]
    with create_poses(
        target,
        times,
        head.bodyparts,
        (*names, *unique),
        attributes,
        tracked=True,
        identities=attributes.get("identities", ()) if head.identity is not None else (),
        spread=head.spread is not None,
    ) as writer:
        for start, stop in segments:
            _write_tracks(writer, start, read_poses(source, start, stop), followed, len(names))
    return key


def _keep_tracks(source: Path, target: Path, attributes: dict[str, Any]) -> None:
    """Publish the tracks of another tool."""
    poses = read_poses(source)
    animals = np.isfinite(_detect(poses).position).all(axis=-1).any(axis=-1).sum(axis=1)
    counts = {MOST_ANIMALS: int(animals.max(initial=0)), SURPLUS_FRAMES: 0}
    write_poses(target, replace(poses, attributes={**attributes, **counts}))


def make_track_rules(settings: TrackingSettings) -> TrackRules:
    """Return the rules of the kernels from the settings of tracking."""
    return TrackRules(
        similarity=settings.similarity,
        motion=settings.motion,
        min_similarity=settings.min_similarity,
        max_ambiguity=settings.max_ambiguity,
        max_gap=settings.max_gap,
        min_length=settings.min_length,
        max_stitch_gap=settings.max_stitch_gap,
    )


def name_individuals(poses: Poses, individuals: IndividualSettings) -> tuple[str, ...]:
    """Return the names of the individuals of tracks.

    They are those of the labelled individuals if the network recognises them and there are as
    many of them; otherwise those of the settings; otherwise individuals are numbered.

    Raises
    ------
    StoreError
        If the settings name another number of individuals than the poses have.
    """
    count = _count_animals(poses) - poses.attributes.get(_SURPLUS, 0)
    identities = tuple(poses.attributes.get("identities", ()))
    if poses.identity is not None and len(identities) == count:
        return identities
    if individuals.names:
        if len(individuals.names) != count:
            raise StoreError(
                f"individuals.names has {len(individuals.names)} names, but the poses have slots "
                f"for {count} individuals: name as many as `individuals.max`"
            )
        return individuals.names
    return tuple(f"individual{number}" for number in range(1, count + 1))


def _count_animals(poses: Poses) -> int:
    """Count the animals along the individual axis, including those beyond `individuals.max`."""
    return sum(name != UNIQUE_INDIVIDUAL for name in poses.individuals)


def _detect(poses: Poses) -> Detections:
    """Return the animals, without the unique bodyparts."""
    animals = _count_animals(poses)
    return Detections(
        poses.position[:, :animals],
        poses.confidence[:, :animals],
        None if poses.identity is None else poses.identity[:, :animals],
    )


def _write_tracks(
    writer: PoseWriter, start: int, poses: Poses, followed: Followed, individuals: int
) -> None:
    """Write a block of frames with each individual in its slot."""
    block = slice(start, start + len(poses.time))
    slot = followed.slot[block]
    detections = _detect(poses)
    position, confidence = arrange_poses(detections, slot, individuals)
    animals = _count_animals(poses)
    status, identity = followed.status[block], None
    if detections.identity is not None:
        identity = arrange_values(detections.identity, slot, individuals, np.nan)
    spread = None
    if poses.spread is not None:
        moved = arrange_values(poses.spread[:, :animals], slot, individuals, np.nan)
        spread = np.concatenate([moved, poses.spread[:, animals:]], axis=1)
    if len(poses.individuals) > animals:
        # Unique bodyparts cannot be exchanged: they are found or not.
        found = find_individuals(poses.position[:, animals:])
        single = np.where(found, TrackStatus.FOLLOWED, TrackStatus.ABSENT).astype(np.uint8)
        status = np.concatenate([status, single], axis=1)
        if identity is not None:
            unknown = np.full_like(identity[:, :1], np.nan)
            identity = np.concatenate([identity, unknown], axis=1)
    writer.write(
        start,
        np.concatenate([position, poses.position[:, animals:]], axis=1),
        np.concatenate([confidence, poses.confidence[:, animals:]], axis=1),
        poses.frame_status,
        track_status=status,
        identity=identity,
        spread=spread,
    )
