"""Infer a segment of a video on a Dask worker, and join segments into a pose file."""

import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core import versions
from pipeline_lib.core.errors import StoreError, VideoError
from pipeline_lib.core.poses import find_decoded
from pipeline_lib.core.tables import FrameStatus, VideoStatus
from pipeline_lib.io.poses.read import count_frames, read_pose_key
from pipeline_lib.io.poses.segments import SegmentFolder, SegmentPoses, Timings
from pipeline_lib.io.poses.write import create_poses
from pipeline_lib.io.video.reader import VideoIndex, VideoReader
from pipeline_lib.models.inference.decoding import Located, name_slots
from pipeline_lib.models.inference.locating.blocks import begins_block, mark_blocks
from pipeline_lib.models.inference.predictor import (
    PosePredictor,
    allocate_located,
    store_located,
)
from pipeline_lib.steps.infer.frames.read_ahead import ReadAhead, explain_stall
from pipeline_lib.steps.infer.frames.still_frames import (
    Choice,
    StillCounts,
    choose_frames,
    find_first,
    follow_noise,
)
from pipeline_lib.steps.infer.tasks import Totals, Verdict, VideoTask
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
# Most frames of a group, of which few may go to the network: progress is told after each.
_MOST_GROUP_FRAMES = 1000

Image = NDArray[np.uint8]
Group = list[Choice]
Item = TypeVar("Item")


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
    counts = count_frames(output)
    return Totals(counts.frames, counts.undecodable, Timings(), counts.still)


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
        # Poses of frames in which nothing moved are those of earlier ones, at most so far back.
        **({"still_frames": task.still_frames} if task.still_frames else {}),
    }
    if task.network.options.precision != "float32":
        attributes["precision"] = task.network.options.precision
    undecodable, still, timings, counts = 0, 0, Timings(), StillCounts()
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
            undecodable += int((~find_decoded(one.frame_status)).sum())
            still += int((one.frame_status == FrameStatus.STILL).sum())
            timings += one.timings
            counts += StillCounts.of(one.decisions)
    SegmentFolder(Path(task.segments)).remove()
    return Totals(task.frames, undecodable, timings, still, counts.explain())


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
    predict = functools.partial(_predict_images, task, predictor)
    # Before the segment there may be frames that poses of its first ones depend on.
    first = find_first(start, task)
    found = allocate_located(
        predictor.card, stop - first, predictor.surplus, spread=task.network.members > 1
    )
    missing = index.missing[first:stop]
    status = np.where(missing, FrameStatus.MISSING, FrameStatus.UNDECODABLE).astype(np.uint8)
    reader = VideoReader(Path(task.path), index=index)
    _check_frames(task, reader)
    total, counts = Timings(), StillCounts()
    choices = guard_decoding(_choose(reader, task, start, stop, counts))
    groups = _group(choices, _count_group(reader, task), task)
    ahead = ReadAhead(groups, depth=2, patience=task.patience, progress=lambda: reader.packets_read)
    with closing(ahead), explain_stall(task.patience):
        for group in ahead:
            began = time.perf_counter()
            _fill_in(found, status, group, first, predict)
            network = time.perf_counter() - began
            decode, wait = ahead.take_times()
            timings = Timings(0.0, decode, network, wait)
            total += timings
            if note is not None:
                note(sum(choice.frame >= start for choice in group), timings)
    found, status = found.take(slice(start - first, None)), status[start - first :]
    if task.crop is not None:
        x1, _, y1, _ = task.crop
        found.position[:] += np.array([x1, y1], np.float32)
    return SegmentPoses(
        start,
        found.position,
        found.confidence,
        status,
        total,
        found.identity,
        found.spread,
        counts.pack() if task.still_frames else None,
    )


def _choose(
    reader: VideoReader, task: VideoTask, start: int, stop: int, counts: StillCounts
) -> Iterator[Choice]:
    """Yield what to do with each frame, and the images to compute."""
    if task.still_frames:
        pictures = reader.read_pictures(find_first(start, task), stop)
        limits = follow_noise(task, share=stop - start < task.frames)
        yield from choose_frames(pictures, start, task, limits, counts)
        return
    for frame, picture in reader.read_pictures(find_first(start, task), stop):
        if picture is None:
            yield Choice(frame, None, -1)
        else:
            yield Choice(frame, picture.convert(task.crop), frame)


def _predict_images(task: VideoTask, predictor: PosePredictor, images: dict[int, Image]) -> Located:
    """Predict images by frame, of which the first begins a block."""
    every = task.network.locating.every
    begins = mark_blocks(list(images), every, task.still_frames) if every > 1 else None
    return predictor.predict(list(images.values()), begins)


def _fill_in(
    found: Located,
    status: NDArray[np.uint8],
    group: Group,
    first: int,
    predict: Callable[[dict[int, Image]], Located],
) -> None:
    """Predict the images of a group, and copy the poses of its still frames."""
    images = {choice.frame: choice.image for choice in group if choice.image is not None}
    if images:
        rows = [frame - first for frame in images]
        store_located(found, rows, predict(images))
        status[rows] = FrameStatus.DECODED
    still = [choice for choice in group if choice.image is None and choice.source >= 0]
    if still:
        rows = [choice.frame - first for choice in still]
        sources = np.array([choice.source - first for choice in still])
        store_located(found, rows, found.take(sources))
        status[rows] = FrameStatus.STILL


def guard_decoding(items: Iterator[Item]) -> Iterator[Item]:
    """Yield what a decoder gives; any failure of it is an error of its video alone.

    Raises
    ------
    VideoError
        If the video cannot be read to its end.
    OSError, MemoryError
        If the machine fails, which says nothing about the video.
    """
    try:
        yield from items
    except (VideoError, OSError, MemoryError):
        raise
    except Exception as error:
        logger.exception("decoding failed")
        raise VideoError(f"unexpected {type(error).__name__} while decoding: {error}") from error


def _group(choices: Iterator[Choice], size: int, task: VideoTask) -> Iterator[Group]:
    """Yield groups of N images or a few more, and the frames between them that need none.

    No group ends within a block of frames through which animals are followed.
    """
    every, most = task.network.locating.every, max(size, _MOST_GROUP_FRAMES)
    group: Group = []
    images = 0
    for choice in choices:
        full = images >= size or len(group) >= most
        if full and begins_block(group[-1].frame, choice.frame, every, task.still_frames):
            yield group
            group, images = [], 0
        group.append(choice)
        images += choice.image is not None
    if group:
        yield group


def _count_group(reader: VideoReader, task: VideoTask) -> int:
    frame_bytes = 3 * reader.facts.height * reader.facts.width
    wanted = task.network.options.batch_size or SHARED_BATCH
    return max(1, min(max(wanted, 8), _MOST_GROUP_BYTES // frame_bytes))


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
