"""Run the verb `render`: draw poses on every video of a shard."""

import logging
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import PROBE_COLUMNS, STAGE_COLUMNS, VideoStatus
from pipeline_lib.io.poses.read import read_poses, read_times, require_pose_key
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.io.video.encode import read_video_key
from pipeline_lib.io.video.reader import VideoFacts, VideoReader, index_video
from pipeline_lib.kernels.drawing.poses import Style, choose_radius
from pipeline_lib.steps.multiqc.decisions import read_decisions
from pipeline_lib.steps.provenance.checksums import Published, record_checksums
from pipeline_lib.steps.render.parts import Workers
from pipeline_lib.steps.render.segment import Segment, draw_segment
from pipeline_lib.steps.render.worst import WorstSeconds, list_findings
from pipeline_lib.steps.runs.outcomes import end_videos
from pipeline_lib.steps.runs.plan import keep_planned

_log = logging.getLogger(__name__)

_CLIP = "worst seconds"


def run_render(config: Config, results: Results, shard: str) -> None:
    """Draw the filtered poses on each video of a shard.

    Parts of a video are drawn at the same time, by a process for each core. A video that fails is
    recorded with its reason, and the others are processed. Videos whose key is unchanged stay; a
    clip is drawn again, too, if the decisions (``qc.tsv``) name other seconds than before.

    Parameters
    ----------
    config
        Settings of the run: `rendering`, `skeleton.edges`, and the model's name.
    results
        The results folder.
    shard
        Name of the shard.

    Raises
    ------
    StoreError
        If the table of `filter` or of the probe is missing.
    """
    stage, before = STAGES["render"], STAGES["filter"]
    rows = read_table(before.find_table(config, results, shard), STAGE_COLUMNS)
    rows = keep_planned(rows, results, shard)
    files = results.shard(shard)
    probed = {row["video"]: Path(row["path"]) for row in read_table(files.probe, PROBE_COLUMNS)}
    videos = stage.videos
    if videos is None or videos.key is None:
        raise ValueError("the stage render makes no results")
    make_key, locate = videos.key, partial(videos.locate, config, results)
    decisions = read_decisions(results.quality) if config.rendering.worst_seconds else {}

    def work(workers: Workers, video: str) -> Mapping[str, str]:
        poses = before.find_poses(config, results, video)
        key = make_key(config, require_pose_key(poses))
        worst = WorstSeconds(poses, list_findings(decisions.get(video)))
        keys = {**dict.fromkeys(locate(video), key), _CLIP: worst.make_key(key)}
        targets = {kind: (path, keys[kind]) for kind, path in locate(video).items()
                   if read_video_key(path) != keys[kind]}  # fmt: skip
        if targets:
            if video not in probed or not probed[video].is_file():
                raise StoreError(f"video {video}: its file is not there, so nothing is drawn on it")
            _draw_video(config, probed[video], worst, targets, workers)
        return {"key": key}

    with Workers() as workers:
        ended = end_videos(f"render {shard}", rows, partial(work, workers))
    published = [
        Published(kind, path, row["video"], row["key"])
        for row in ended
        if row["status"] == VideoStatus.DONE
        for kind, path in locate(row["video"]).items()
    ]
    record_checksums(files.checksums("render", config.training.name), results.root, published)
    write_table(stage.find_table(config, results, shard), STAGE_COLUMNS, ended)


def _draw_video(
    config: Config,
    video: Path,
    worst: WorstSeconds,
    targets: Mapping[str, tuple[Path, str]],
    workers: Workers,
) -> None:
    """Write the labelled videos of one video, each with its key: the whole, the clip, or both."""
    settings, index, poses = config.rendering, index_video(video), worst.poses
    head = read_poses(poses, 0, 0)
    frames, known = index.facts.frames, len(read_times(poses))
    if known != frames:
        raise StoreError(f"{poses}: has {known} frames, and {video} has {frames}")
    rate = find_rate(index.times)
    style = _make_style(config, head.bodyparts, head.individuals, index.facts)
    trail = round(settings.trail * rate)
    tags = VideoReader(video, index=index).read_tags()

    def cut(start: int, stop: int) -> list[Segment]:
        step = max(1, round(settings.segment_seconds * rate))
        edges = [*range(start, stop, step), stop]
        return [
            Segment(video, index, poses, first, last, trail, style, settings.quality, tags)
            for first, last in pairwise(edges)
        ]

    if "rendered" in targets:
        path, key = targets["rendered"]
        workers.draw(path, cut(0, frames), key, draw_segment)
    if _CLIP in targets:
        count = min(frames, max(1, round(settings.worst_seconds * rate)))
        start, why = worst.find(count)
        _log.info("%s: worst seconds from %.1f s: %s", video.stem, index.times[start], why)
        path, key = targets[_CLIP]
        workers.draw(path, cut(start, start + count), key, draw_segment)


def _make_style(
    config: Config, bodyparts: tuple[str, ...], individuals: tuple[str, ...], facts: VideoFacts
) -> Style:
    settings = config.rendering
    known = [pair for pair in config.skeleton.edges if set(pair) <= set(bodyparts)]
    edges = tuple((bodyparts.index(one), bodyparts.index(other)) for one, other in known)
    return Style(
        settings.radius or choose_radius(facts.width, facts.height),
        settings.pcutoff,
        edges if settings.edges else (),
        individuals if settings.names and len(individuals) > 1 else (),
    )


def find_rate(times: NDArray[np.float64]) -> float:
    """Return the frames per second; 1 for a single frame."""
    steps = np.diff(times)
    step = float(np.median(steps)) if len(steps) else 0.0
    return 1 / step if step > 0 else 1.0
