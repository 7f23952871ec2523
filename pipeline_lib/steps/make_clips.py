"""Run the verb `make-clips`: store clips of videos without labels, which training learns from."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core import versions
from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.settings.training.unsupervised import UnsupervisedSettings
from pipeline_lib.core.tables import PROBE_COLUMNS, VideoStatus
from pipeline_lib.io.chosen_settings import resolve_settings
from pipeline_lib.io.publish import publish_folder
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.io.targets.clips import write_clips
from pipeline_lib.kernels.pose_subspace import spread_clips
from pipeline_lib.models.inference.preprocessing import FrameFit, fit_frame
from pipeline_lib.steps.infer.frames.read_ahead import explain_stall
from pipeline_lib.steps.runs.plan import keep_planned, read_plan
from pipeline_lib.steps.runs.result_keys import identify_content
from pipeline_lib.steps.select_frames import PatientReader

_LOG = logging.getLogger(__name__)

Clip = NDArray[np.uint8]


@dataclass(frozen=True)
class _Video:
    """Name a good video: its file, size, number of frames, and the hash of its content."""

    name: str
    path: Path
    fit: FrameFit
    frames: int
    content: str


def run_make_clips(config: Config, results: Results) -> None:
    """Publish the store of clips: evenly spread over the videos, and within each.

    Frames are read one clip after the other, so that memory holds one. A clip with a frame that
    cannot be decoded is left out.

    Parameters
    ----------
    config, results
        The run; settings that are `auto` have the values that import-labels chose.

    Raises
    ------
    StoreError
        If a named video is not in the cohort, or no clip can be read.
    """
    config = resolve_settings(config, results)
    settings = config.training.unsupervised
    videos = _list_videos(settings, results, config.targets.scale)
    key = hash_settings(
        settings.clip_settings(),
        {"scale": config.targets.scale},
        {"videos": [[video.name, video.content] for video in videos]},
        versions.MAKE_CLIPS,
    )
    chosen = spread_clips(
        [video.frames for video in videos], settings.frames // settings.clip, settings.clip
    )
    sizes = [videos[number].fit.padded_size for number, _ in chosen]
    if not chosen:
        raise StoreError(
            f"training.unsupervised: none of {len(videos)} good videos has {settings.clip} frames: "
            "name others in `videos`, or set the weights to 0"
        )
    rows, columns = (max(lengths) for lengths in zip(*sizes, strict=True))
    shape = (settings.clip, rows, columns, 3)
    with publish_folder(results.clips) as part:
        clips = _read_clips(videos, chosen, settings.clip, config.reading.seconds_per_frame)
        number = write_clips(part, clips, shape, key)
        if not number:
            raise StoreError("training.unsupervised: no clip of the videos can be decoded")
    _LOG.info("%d clips of %d frames of %d videos", number, settings.clip, len(videos))


def _list_videos(settings: UnsupervisedSettings, results: Results, scale: float) -> list[_Video]:
    """Return the good videos to take clips from, in the order of their names."""
    plan = read_plan(results)
    wanted = None if settings.videos is None else set(settings.videos)
    shards = plan.shards
    if wanted is not None:
        strange = sorted(wanted - plan.shard_of.keys())
        if strange:
            raise StoreError(f"training.unsupervised.videos: the sheet has no video {strange[0]!r}")
        shards = tuple(sorted({plan.shard_of[name] for name in wanted}))
    found = []
    for shard in shards:
        for row in keep_planned(
            read_table(results.shard(shard).probe, PROBE_COLUMNS), results, shard
        ):
            if row["status"] != VideoStatus.DONE or (wanted and row["video"] not in wanted):
                continue
            fit = FrameFit.of(int(row["height"]), int(row["width"]), scale)
            content = identify_content(row)
            found.append(_Video(row["video"], Path(row["path"]), fit, int(row["frames"]), content))
    return sorted(found, key=lambda video: video.name)


def _read_clips(
    videos: list[_Video], chosen: list[tuple[int, int]], length: int, patience: float
) -> Iterator[Clip | None]:
    """Yield the chosen clips in network px; None for one that cannot be read."""
    for number, video in enumerate(videos):
        starts = [start for other, start in chosen if other == number]
        read = 0
        try:
            with explain_stall(patience), PatientReader(video.path, patience) as reader:
                for start in starts:
                    clip = _read_clip(reader, start, length, video.fit)
                    read += 1
                    yield clip
        except CohortposeError as error:
            _LOG.warning("%s: its other clips are left out: %s", video.name, error)
            yield from [None] * (len(starts) - read)


def _read_clip(reader: PatientReader, start: int, length: int, fit: FrameFit) -> Clip | None:
    frames = [image for _, image in reader.read(start, start + length)]
    if len(frames) < length or any(image is None for image in frames):
        _LOG.warning("%s: frames %d to %d are left out", reader.path, start, start + length - 1)
        return None
    return np.stack([fit_frame(image, fit) for image in frames if image is not None])
