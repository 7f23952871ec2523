"""Inferring segments of videos: what a Dask worker does."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core import versions
from pipeline_lib.core.errors import StoreError, VideoError
from pipeline_lib.core.tables import FrameStatus, VideoStatus
from pipeline_lib.io.poses.read import read_frame_status, read_pose_key
from pipeline_lib.io.poses.segments import SegmentFolder, SegmentPoses, Work
from pipeline_lib.io.poses.write import create_poses
from pipeline_lib.io.video.reader import VideoIndex, VideoReader
from pipeline_lib.models.inference.decoding import name_places
from pipeline_lib.models.inference.predictor import make_room, put_located
from pipeline_lib.steps.infer.read_ahead import ReadAhead, explain_stall
from pipeline_lib.steps.infer.tasks import Crop, Totals, Verdict, VideoTask
from pipeline_lib.steps.infer.worker_cache import (
    SHARED_BATCH,
    FileChangedError,
    FileGoneError,
    check_unchanged,
    recall_index,
    warm_predictor,
)

logger = logging.getLogger(__name__)

# What frames that go to the network together may weigh: two such groups wait in memory.
_MOST_GROUP_BYTES = 32 * 2**20

Image = NDArray[np.uint8]
Group = list[tuple[int, Image | None]]


def infer_segment(
    task: VideoTask, start: int, stop: int, note: Callable[[int, Work], None] | None = None
) -> Totals | Verdict | None:
    """Predict frames start to stop (excluded) of a video and publish them.

    They become a segment, to be joined with others by `finish_video`; if they are the whole
    video, its pose file, the same one that joined segments make.

    Parameters
    ----------
    task
        The video.
    start, stop
        Frame indices.
    note
        Told now and then how many frames were done since the last time, and their work.

    Returns
    -------
    Totals
        If that was the whole video.
    Verdict
        If the video cannot be read; whatever else fails is raised.
    None
        If further segments are to come.
    """
    began = time.perf_counter()
    whole = stop - start == task.frames
    folder = SegmentFolder(Path(task.segments))
    # A worker may have died after it had published, before it could tell; or it is the orphan of
    # a run that was killed.
    if whole and (known := _recall_totals(task)) is not None:
        return known
    if (start, stop) in folder.list_finished():
        return None
    try:
        check_unchanged(task.path, task.size, task.modified)
        try:
            index = recall_index(task, share=not whole)
            segment = _predict_segment(task, index, start, stop, note)
        finally:
            check_unchanged(task.path, task.size, task.modified)
    except VideoError as error:
        return _judge(error)
    seconds = time.perf_counter() - began
    segment = replace(segment, work=segment.work + Work(seconds=seconds))
    if whole:
        return _publish_video(task, index, [segment])
    folder.write(segment)
    return None


def finish_video(task: VideoTask) -> Totals | Verdict:
    """Join the segments of a video into its pose file, publish it and remove them.

    Returns
    -------
    Totals or Verdict
        The latter if the video has to be indexed again and cannot be.

    Raises
    ------
    StoreError
        If a segment is damaged or missing.
    """
    folder = SegmentFolder(Path(task.segments))
    if (known := _recall_totals(task)) is not None:
        return known
    try:
        index = recall_index(task, share=True)
    except VideoError as error:
        return _judge(error)
    if index.facts.frames != task.frames:
        raise StoreError(f"{folder.index}: {index.facts.frames} frames, expected {task.frames}")
    return _publish_video(task, index, folder.read_joined())


def _recall_totals(task: VideoTask) -> Totals | None:
    """Return what a video came to whose pose file is there; what it took is not known."""
    output = Path(task.output)
    if read_pose_key(output) != task.key:
        return None
    SegmentFolder(Path(task.segments)).remove()
    status = read_frame_status(output)
    return Totals(task.frames, int((status != FrameStatus.DECODED).sum()), Work())


def _publish_video(task: VideoTask, index: VideoIndex, segments: Iterable[SegmentPoses]) -> Totals:
    """Publish the pose file of a video from all of its segments, in order; remove their files."""
    predictor = warm_predictor(task.network)
    card = predictor.card
    attributes: dict[str, Any] = {
        "video": task.video,
        "fps": task.fps,
        "key": task.key,
        "fingerprint": task.fingerprint,
        "model": card.name,
        "model_key": card.key,
        "versions": {"infer": versions.INFER, **card.versions},
        # Individuals beyond `individuals.max`, which tracking chooses from.
        **({"surplus": predictor.surplus} if predictor.surplus else {}),
    }
    undecodable, work = 0, Work()
    with create_poses(
        Path(task.output),
        index.times,
        card.skeleton.bodyparts,
        name_places(card, predictor.surplus),
        attributes,
        identities=card.identities,
    ) as writer:
        for one in segments:
            writer.write(
                one.start, one.position, one.confidence, one.frame_status, identity=one.identity
            )
            undecodable += int((one.frame_status != FrameStatus.DECODED).sum())
            work += one.work
    SegmentFolder(Path(task.segments)).remove()
    return Totals(task.frames, undecodable, work)


def _judge(error: VideoError) -> Verdict:
    if isinstance(error, FileGoneError):
        return Verdict(VideoStatus.FAILED, str(error), keep_segments=True)
    if isinstance(error, FileChangedError):
        return Verdict(VideoStatus.FAILED, str(error))
    return Verdict(VideoStatus.QUARANTINED, str(error))


def _predict_segment(
    task: VideoTask,
    index: VideoIndex,
    start: int,
    stop: int,
    note: Callable[[int, Work], None] | None,
) -> SegmentPoses:
    predictor = warm_predictor(task.network)
    found = make_room(predictor.card, stop - start, predictor.surplus)
    missing = index.missing[start:stop]
    status = np.where(missing, FrameStatus.MISSING, FrameStatus.UNDECODABLE).astype(np.uint8)
    reader = VideoReader(Path(task.path), index=index)
    _check_frames(task, reader)
    total = Work()
    groups = _group(read_frames(reader, start, stop), _count_group(reader, task))
    ahead = ReadAhead(groups, depth=2, patience=task.patience, progress=lambda: reader.packets_read)
    with closing(ahead), explain_stall(task.patience):
        for group in ahead:
            rows = [frame - start for frame, image in group if image is not None]
            images = [_crop(image, task.crop) for _, image in group if image is not None]
            began = time.perf_counter()
            if images:
                put_located(found, rows, predictor.predict(images))
                status[rows] = FrameStatus.DECODED
            network = time.perf_counter() - began
            decode, wait = ahead.take_times()
            work = Work(0.0, decode, network, wait)
            total += work
            if note is not None:
                note(len(group), work)
    if task.crop is not None:
        x1, _, y1, _ = task.crop
        found.position[:] += np.array([x1, y1], np.float32)
    return SegmentPoses(start, found.position, found.confidence, status, total, found.identity)


def read_frames(
    reader: VideoReader, start: int, stop: int
) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
    """Yield frames of a video; whatever its decoder stumbles on is this video's fate alone.

    Raises
    ------
    VideoError
        If the video cannot be read to its end.
    OSError, MemoryError
        If the machine fails: no verdict on the video.
    """
    try:
        yield from reader.read(start, stop)
    except (VideoError, OSError, MemoryError):
        raise
    except Exception as error:
        logger.exception("decoding failed")
        raise VideoError(f"unexpected {type(error).__name__} while decoding: {error}") from error


def _group(frames: Iterator[tuple[int, Image | None]], size: int) -> Iterator[Group]:
    group: Group = []
    for item in frames:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _count_group(reader: VideoReader, task: VideoTask) -> int:
    frame_bytes = 3 * reader.facts.height * reader.facts.width
    wanted = task.network.options.batch_size or SHARED_BATCH
    return max(1, min(max(wanted, 8), _MOST_GROUP_BYTES // frame_bytes))


def _crop(image: Image, crop: Crop | None) -> Image:
    if crop is None:
        return image
    x1, x2, y1, y2 = crop
    return image[y1:y2, x1:x2]


def _check_frames(task: VideoTask, reader: VideoReader) -> None:
    facts = reader.facts
    if facts.frames != task.frames:
        raise VideoError(
            f"{facts.frames} frames now, {task.frames} when it was probed: the file has changed"
        )
    if task.crop is not None and (task.crop[1] > facts.width or task.crop[3] > facts.height):
        raise VideoError(
            f"inference.crop {list(task.crop)} does not fit into frames of {facts.width} x "
            f"{facts.height} px"
        )
