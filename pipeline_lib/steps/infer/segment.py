"""Infer a segment of a video on a Dask worker, and join segments into a pose file."""

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
from pipeline_lib.io.poses.segments import SegmentFolder, SegmentPoses, Timings
from pipeline_lib.io.poses.write import create_poses
from pipeline_lib.io.video.reader import VideoIndex, VideoReader
from pipeline_lib.models.inference.decoding import name_slots
from pipeline_lib.models.inference.predictor import allocate_located, store_located
from pipeline_lib.steps.infer.read_ahead import ReadAhead, explain_stall
from pipeline_lib.steps.infer.tasks import Crop, Totals, Verdict, VideoTask
from pipeline_lib.steps.infer.worker_cache import (
    SHARED_BATCH,
    FileChangedError,
    FileGoneError,
    check_unchanged,
    load_index,
    load_warm_predictor,
)

logger = logging.getLogger(__name__)

# Most bytes of the frames that go to the network together; two such groups wait in memory.
_MOST_GROUP_BYTES = 32 * 2**20

Image = NDArray[np.uint8]
Group = list[tuple[int, Image | None]]


def infer_segment(
    task: VideoTask, start: int, stop: int, note: Callable[[int, Timings], None] | None = None
) -> Totals | Verdict | None:
    """Predict frames start to stop (excluded) of a video and publish them.

    Part of a video becomes a segment file, which `finish_video` joins with the others. A whole
    video becomes a pose file, byte for byte the one that joined segments give.

    Parameters
    ----------
    task
        The video.
    start, stop
        Frame indices.
    note
        Called with the number of frames inferred since the last call, and their timings.

    Returns
    -------
    Totals
        If the segment was the whole video.
    Verdict
        If the video cannot be read. Other failures are raised.
    None
        If the segment was published and others are missing.
    """
    began = time.perf_counter()
    whole = stop - start == task.frames
    folder = SegmentFolder(Path(task.segments))
    # The result may exist: a worker may have died after publishing it, or have outlived its run.
    if whole and (known := _find_published(task)) is not None:
        return known
    if (start, stop) in folder.list_finished():
        return None
    try:
        check_unchanged(task.path, task.size, task.modified)
        try:
            index = load_index(task, share=not whole)
            segment = _predict_segment(task, index, start, stop, note)
        finally:
            check_unchanged(task.path, task.size, task.modified)
    except VideoError as error:
        return _make_verdict(error)
    seconds = time.perf_counter() - began
    segment = replace(segment, timings=segment.timings + Timings(seconds=seconds))
    if whole:
        return _publish_video(task, index, [segment])
    folder.write(segment)
    return None


def finish_video(task: VideoTask) -> Totals | Verdict:
    """Join the segments of a video into its pose file, publish it and remove the segments.

    Returns
    -------
    Totals or Verdict
        A verdict if the video has to be indexed again and cannot be.

    Raises
    ------
    StoreError
        If a segment is damaged or missing.
    """
    folder = SegmentFolder(Path(task.segments))
    if (known := _find_published(task)) is not None:
        return known
    try:
        index = load_index(task, share=True)
    except VideoError as error:
        return _make_verdict(error)
    if index.facts.frames != task.frames:
        raise StoreError(f"{folder.index}: {index.facts.frames} frames, expected {task.frames}")
    return _publish_video(task, index, folder.read_joined())


def _find_published(task: VideoTask) -> Totals | None:
    """Return the totals of a video whose pose file exists, without timings; else None."""
    output = Path(task.output)
    if read_pose_key(output) != task.key:
        return None
    SegmentFolder(Path(task.segments)).remove()
    status = read_frame_status(output)
    return Totals(task.frames, int((status != FrameStatus.DECODED).sum()), Timings())


def _publish_video(task: VideoTask, index: VideoIndex, segments: Iterable[SegmentPoses]) -> Totals:
    """Publish the pose file of a video from all its segments, in order; remove their files."""
    predictor = load_warm_predictor(task.network)
    card = predictor.card
    attributes: dict[str, Any] = {
        "video": task.video,
        "fps": task.fps,
        "key": task.key,
        "fingerprint": task.fingerprint,
        "model": card.name,
        "model_key": card.key,
        "versions": {"infer": versions.INFER, **card.versions},
        # Slots beyond `individuals.max`, from which tracking chooses.
        **({"surplus": predictor.surplus} if predictor.surplus else {}),
        **({"members": task.network.members} if task.network.members > 1 else {}),
    }
    if task.network.options.precision != "float32":
        attributes["precision"] = task.network.options.precision
    undecodable, timings = 0, Timings()
    with create_poses(
        Path(task.output),
        index.times,
        card.skeleton.bodyparts,
        name_slots(card, predictor.surplus),
        attributes,
        identities=card.identities,
        spread=task.network.members > 1,
    ) as writer:
        for one in segments:
            writer.write(
                one.start,
                one.position,
                one.confidence,
                one.frame_status,
                identity=one.identity,
                spread=one.spread,
            )
            undecodable += int((one.frame_status != FrameStatus.DECODED).sum())
            timings += one.timings
    SegmentFolder(Path(task.segments)).remove()
    return Totals(task.frames, undecodable, timings)


def _make_verdict(error: VideoError) -> Verdict:
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
    note: Callable[[int, Timings], None] | None,
) -> SegmentPoses:
    predictor = load_warm_predictor(task.network)
    found = allocate_located(
        predictor.card, stop - start, predictor.surplus, spread=task.network.members > 1
    )
    missing = index.missing[start:stop]
    status = np.where(missing, FrameStatus.MISSING, FrameStatus.UNDECODABLE).astype(np.uint8)
    reader = VideoReader(Path(task.path), index=index)
    _check_frames(task, reader)
    total = Timings()
    groups = _group(read_frames(reader, start, stop), _count_group(reader, task))
    ahead = ReadAhead(groups, depth=2, patience=task.patience, progress=lambda: reader.packets_read)
    with closing(ahead), explain_stall(task.patience):
        for group in ahead:
            rows = [frame - start for frame, image in group if image is not None]
            images = [_crop(image, task.crop) for _, image in group if image is not None]
            began = time.perf_counter()
            if images:
                store_located(found, rows, predictor.predict(images))
                status[rows] = FrameStatus.DECODED
            network = time.perf_counter() - began
            decode, wait = ahead.take_times()
            timings = Timings(0.0, decode, network, wait)
            total += timings
            if note is not None:
                note(len(group), timings)
    if task.crop is not None:
        x1, _, y1, _ = task.crop
        found.position[:] += np.array([x1, y1], np.float32)
    return SegmentPoses(
        start, found.position, found.confidence, status, total, found.identity, found.spread
    )


def read_frames(
    reader: VideoReader, start: int, stop: int
) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
    """Yield frames of a video; any failure of its decoder is an error of this video alone.

    Parameters
    ----------
    reader
        Reader of the video.
    start, stop
        First frame, and one past the last.

    Yields
    ------
    frame : int
        Index of the frame.
    image : ndarray or None
        Shape (height, width, 3), uint8, RGB; None if the frame was not decoded.

    Raises
    ------
    VideoError
        If the video cannot be read to its end.
    OSError, MemoryError
        If the machine fails, which says nothing about the video.
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
