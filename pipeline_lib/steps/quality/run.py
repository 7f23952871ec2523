"""Run the verb `quality`: measure every video of a shard."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import PROBE_COLUMNS, STAGE_COLUMNS, VideoStatus
from pipeline_lib.io.poses.read import require_pose_key
from pipeline_lib.io.quality_records import read_record_key, write_record
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.correct.proofreading import make_doubt_rules
from pipeline_lib.steps.provenance.checksums import (
    Published,
    is_changed,
    read_checksums,
    record_checksums,
)
from pipeline_lib.steps.quality.measure import Measuring, measure_video
from pipeline_lib.steps.runs.outcomes import end_videos
from pipeline_lib.steps.runs.plan import keep_planned

_log = logging.getLogger(__name__)

# Doubts of a smaller probability are not counted.
_LEAST_PROBABILITY = 0.05


def run_quality(config: Config, results: Results, shard: str) -> None:
    """Measure each video of a shard that has poses; `judge` decides by these measures.

    A video that fails is recorded with its reason, and the others are processed. Records whose key
    is unchanged stay, unless they were damaged on the disk.

    Parameters
    ----------
    config
        Settings of the run: `quality`, `skeleton`, and the model's name.
    results
        The results folder.
    shard
        Name of the shard.

    Raises
    ------
    StoreError
        If the table of the stage before, or of the probe, is missing.
    """
    stage = STAGES["quality"]
    videos = stage.videos
    if videos is None or videos.key is None:
        raise ValueError("the stage quality makes no results")
    before, model = STAGES[videos.source(config)], config.training.name
    rows = read_table(before.find_table(config, results, shard), STAGE_COLUMNS)
    rows = keep_planned(rows, results, shard)
    files = results.shard(shard)
    probed = {row["video"]: row for row in read_table(files.probe, PROBE_COLUMNS)}

    recorded = read_checksums(files.checksums("quality", model))

    def work(video: str) -> Mapping[str, str]:
        if is_changed(locate(video), results.root, recorded):
            _log.warning("%s: is not as it was written; it is measured anew", locate(video))
            locate(video).unlink(missing_ok=True)
        return {"key": keep_measured(config, results, video, probed.get(video, {}))}

    def locate(video: str) -> Path:
        return results.video_quality(model, video)

    ended = end_videos(f"quality {shard}", rows, work)
    published = [
        Published("quality", locate(row["video"]), row["video"], row["key"])
        for row in ended
        if row["status"] == VideoStatus.DONE
    ]
    record_checksums(files.checksums("quality", model), results.root, published)
    write_table(stage.find_table(config, results, shard), STAGE_COLUMNS, ended)


def keep_measured(config: Config, results: Results, video: str, facts: Mapping[str, str]) -> str:
    """Measure a video unless its record is there and has the present key; return the key.

    Parameters
    ----------
    config, results
        The run.
    video
        Name of the video.
    facts
        Its row of the probe's table; empty: there is none.

    Raises
    ------
    StoreError
        If the poses are missing or damaged.
    """
    videos = STAGES["quality"].videos
    if videos is None or videos.key is None:
        raise ValueError("the stage quality makes no results")
    poses = STAGES[videos.source(config)].find_poses(config, results, video)
    path = results.video_quality(config.training.name, video)
    key = videos.key(config, require_pose_key(poses))
    if read_record_key(path) != key:
        seen, diagonal = _find_video(config, facts), _measure_diagonal(facts)
        write_record(path, measure_video(poses, seen, diagonal, _make_measuring(config), key))
    return key


def _make_measuring(config: Config) -> Measuring:
    rules = make_doubt_rules(config.corrections, config.tracking)
    return Measuring(
        config.quality,
        config.skeleton.edges,
        frozenset(config.skeleton.unique_bodyparts),
        # The setting of doubts is for people who proofread.
        type(rules)(_LEAST_PROBABILITY, rules.near, rules.max_gap),
        config.reading.seconds_per_frame,
    )


def _find_video(config: Config, facts: Mapping[str, str]) -> Path | None:
    """Return the video whose frames are looked at; None: there is none, or none is wanted."""
    if not config.quality.samples or not facts.get("fingerprint"):
        return None
    path = Path(facts["path"])
    return path if path.is_file() else None


def _measure_diagonal(facts: Mapping[str, str]) -> float:
    sides = [facts.get(name) or "" for name in ("width", "height")]
    return math.hypot(*map(float, sides)) if all(side.isdecimal() for side in sides) else 0.0
