"""Run the verb `correct`: apply decisions about tracks to every video of a shard."""

import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.core import versions
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import ADDED_INDIVIDUALS, Poses
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import STAGE_COLUMNS, VideoStatus
from pipeline_lib.core.track_decisions import TrackDecision
from pipeline_lib.io.corrections.files import format_time
from pipeline_lib.io.poses.read import (
    read_pose_key,
    read_poses,
    read_times,
    read_track_status,
    require_pose_key,
)
from pipeline_lib.io.poses.write import PoseWriter, create_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.kernels.proofreading.corrections import (
    Arrangement,
    Outcome,
    Result,
    determine_status,
    rearrange,
)
from pipeline_lib.steps.correct.decisions import (
    VideoDecisions,
    arrange_tracks,
    correction_key,
    count_animals,
    describe_arrangement,
    name_slots,
)
from pipeline_lib.steps.provenance.checksums import Published, record_checksums
from pipeline_lib.steps.runs.decision_tables import DECISIONS_HASH
from pipeline_lib.steps.runs.outcomes import end_videos
from pipeline_lib.steps.runs.plan import keep_planned

# Columns that count the decisions by outcome.
COUNTS = {
    Outcome.APPLIED: "applied",
    Outcome.RIGHT: "already_right",
    Outcome.REPLACED: "replaced",
    Outcome.IMPOSSIBLE: "not_applicable",
}
CORRECT_COLUMNS = (*STAGE_COLUMNS, "source_key", DECISIONS_HASH, *COUNTS.values())
# One row per decision.
OUTCOME_COLUMNS = (
    "video",
    "what",
    "first_frame",
    "last_frame",
    "individual",
    "other",
    "author",
    "time",
    "outcome",
    "reason",
)

# Frames moved at a time, so that memory does not grow with the length of the video.
_BLOCK_FRAMES = 2**15

_log = logging.getLogger(__name__)

Row = dict[str, Any]


def run_correct(config: Config, results: Results, shard: str) -> None:
    """Apply the decisions about the tracks of each tracked video of a shard.

    A video whose decisions change nothing, or about which nobody decided, has no file of its own
    and keeps the key of its tracks. Decisions that cannot be applied are listed. A video whose
    table of decisions is damaged is recorded as failed, and the others are processed.

    Parameters
    ----------
    config
        Settings of the run: `corrections`, and the model's name.
    results
        The results folder.
    shard
        Name of the shard.

    Raises
    ------
    StoreError
        If the shard's table of tracking is missing.
    LabelError
        If links or other files stand among the tables of decisions.
    """
    model, files = config.training.name, results.shard(shard)
    source, target = partial(results.tracked, model), partial(results.corrected, model)
    decided = VideoDecisions(config)
    # What is wrong with the folder is no fault of any video.
    decided.list_videos()
    outcomes: list[Row] = []

    def correct(video: str) -> Row:
        # Hashed before reading: a table that changes in between is read again by the next run.
        digest = decided.hash(video)
        decisions = decided.read(video)
        key, made = correct_file(source(video), target(video), decisions)
        outcomes.extend(_list_outcomes(decisions, made))
        _warn_of_unapplied(video, decisions, made)
        counts = Counter(result.outcome for result in made)
        return {
            "key": key,
            "source_key": require_pose_key(source(video)),
            DECISIONS_HASH: digest,
            **{column: counts[outcome] for outcome, column in COUNTS.items()},
        }

    rows = keep_planned(read_table(files.track(model), STAGE_COLUMNS), results, shard)
    ended = end_videos(f"correct {shard}", rows, correct)
    # Before the table: a job killed in between is repeated.
    write_table(files.decisions(model), OUTCOME_COLUMNS, outcomes)
    published = [
        Published("corrected", target(row["video"]), row["video"], row["key"])
        for row in ended
        if row["status"] == VideoStatus.DONE and row["key"] != row["source_key"]
    ]
    record_checksums(files.checksums("correct", model), results.root, published)
    write_table(files.correct(model), CORRECT_COLUMNS, ended)


def correct_file(
    source: Path, target: Path, decisions: tuple[TrackDecision, ...]
) -> tuple[str, tuple[Result, ...]]:
    """Write the corrected tracks of a video unless they are up to date.

    Parameters
    ----------
    source
        The tracks.
    target
        Receives the corrected tracks, with what was exchanged among their attributes. It is
        removed where the decisions change nothing.
    decisions
        All decisions about the video.

    Returns
    -------
    key, results
        Key of the corrected tracks, and what became of each decision.

    Raises
    ------
    StoreError
        If the tracks are missing, damaged or have no key.
    """
    source_key = require_pose_key(source)
    if not decisions:
        target.unlink(missing_ok=True)
        return source_key, ()
    arrangement = arrange_tracks(source, decisions)
    key = correction_key(source_key, arrangement)
    if arrangement.changes_nothing:
        target.unlink(missing_ok=True)
    elif read_pose_key(target) != key:
        _write_corrected(source, target, arrangement, key)
    return key, arrangement.results


def _write_corrected(source: Path, target: Path, arrangement: Arrangement, key: str) -> None:
    times = read_times(source)
    head = read_poses(source, 0, 0)
    attributes = {
        **head.attributes,
        "key": key,
        "source_key": require_pose_key(source),
        "correction": describe_arrangement(arrangement),
        "versions": {**head.attributes.get("versions", {}), "correct": versions.CORRECT},
    }
    animals = count_animals(head)
    names = name_slots(head, arrangement.source.shape[1])
    if added := [name for name in names if name not in head.individuals]:
        attributes[ADDED_INDIVIDUALS] = added
    sources = arrangement.list_sources(0, len(times))
    status = determine_status(read_track_status(source)[:, :animals], sources)
    with create_poses(
        target,
        times,
        head.bodyparts,
        names,
        attributes,
        tracked=True,
        identities=head.attributes["identities"] if head.identity is not None else (),
        spread=head.spread is not None,
    ) as writer:
        for start in range(0, len(times), _BLOCK_FRAMES):
            block = slice(start, start + _BLOCK_FRAMES)
            poses = read_poses(source, start, start + _BLOCK_FRAMES)
            _write_block(writer, start, poses, sources[block], status[block])


def _write_block(
    writer: PoseWriter, start: int, poses: Poses, sources: np.ndarray, status: np.ndarray
) -> None:
    """Write a block of frames with each animal in its slot; unique bodyparts stay the last."""
    animals = count_animals(poses)

    def move(values: np.ndarray, missing: float) -> np.ndarray:
        moved = rearrange(values[:, :animals], sources, missing)
        return np.concatenate([moved, values[:, animals:]], axis=1)

    confidence = move(poses.confidence, 0.0)
    # In a frame that was not decoded, the confidence of every animal is unknown.
    confidence[np.isnan(poses.confidence).all((1, 2))] = np.nan
    assert poses.track_status is not None  # noqa: S101 - tracks have it
    writer.write(
        start,
        move(poses.position, np.nan),
        confidence,
        poses.frame_status,
        np.concatenate([status, poses.track_status[:, animals:]], axis=1),
        None if poses.identity is None else move(poses.identity, np.nan),
        None if poses.spread is None else move(poses.spread, np.nan),
    )


def _list_outcomes(decisions: Sequence[TrackDecision], results: Sequence[Result]) -> list[Row]:
    return [
        {
            "video": one.video,
            "what": str(one.what),
            "first_frame": one.first_frame,
            "last_frame": one.last_frame,
            "individual": one.individual,
            "other": one.other,
            "author": one.author,
            "time": format_time(one.time),
            "outcome": str(result.outcome),
            "reason": result.reason,
        }
        for one, result in zip(decisions, results, strict=True)
    ]


def _warn_of_unapplied(
    video: str, decisions: Sequence[TrackDecision], results: Sequence[Result]
) -> None:
    """Log the decisions that were not applied."""
    for one, result in zip(decisions, results, strict=True):
        if result.outcome in (Outcome.REPLACED, Outcome.IMPOSSIBLE):
            _log.warning(
                "%s: the decision `%s` of %s at frame %d is %s: %s",
                video,
                one.what,
                one.author,
                one.first_frame,
                result.outcome,
                result.reason,
            )
