"""Inferring one video: what a Dask worker does."""

import functools
import itertools
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core import versions
from pipeline_lib.core.errors import VideoError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL, FrameStatus, VideoStatus
from pipeline_lib.io.poses import PoseWriter, create_poses, read_frame_status, read_pose_key
from pipeline_lib.io.video import VideoReader
from pipeline_lib.models.prediction import Predictor, load_predictor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class InferenceTask:
    """One video to infer, in words that travel to any worker."""

    video: str
    path: str
    frames: int
    fps: float
    fingerprint: str
    output: str
    model: str
    key: str
    runtime: Literal["onnx", "torch"]
    threads: int
    batch_size: int


@dataclass(frozen=True)
class Outcome:
    """How a video ended: a row of the shard's table."""

    video: str
    status: VideoStatus
    reason: str = ""
    seconds: float | None = None
    key: str = ""
    frames: int | None = None
    undecodable: int | None = None

    @classmethod
    def of_finished(cls, task: InferenceTask, seconds: float = 0.0) -> "Outcome":
        """Return the outcome of a video whose pose file is there."""
        status = read_frame_status(Path(task.output))
        return cls(
            video=task.video,
            status=VideoStatus.DONE,
            seconds=seconds,
            key=task.key,
            frames=len(status),
            undecodable=int((status != FrameStatus.DECODED).sum()),
        )


def is_inferred(task: InferenceTask) -> bool:
    """Tell whether the pose file of exactly this task is there."""
    return read_pose_key(Path(task.output)) == task.key


def infer_video(task: InferenceTask) -> Outcome:
    """Predict every frame of a video and publish its pose file.

    A video that cannot be read is an outcome; whatever else fails, fails the task.
    """
    begin = time.perf_counter()
    predictor = _warm_predictor(task)
    try:
        with VideoReader(Path(task.path)) as reader:
            _write_poses(task, predictor, reader)
    except VideoError as error:
        return Outcome(task.video, VideoStatus.QUARANTINED, str(error))
    return Outcome.of_finished(task, time.perf_counter() - begin)


def _warm_predictor(task: InferenceTask) -> Predictor:
    """Return the worker's predictor, loaded once and kept warm across videos."""
    written = ModelFiles(Path(task.model)).card.stat().st_mtime_ns
    return _load_once(task.model, written, task.runtime, task.threads)


@functools.lru_cache(maxsize=1)
def _load_once(
    model: str, written: int, runtime: Literal["onnx", "torch"], threads: int
) -> Predictor:
    del written  # part of the cache's key: a retrained network is another one
    return load_predictor(ModelFiles(Path(model)), runtime, threads)


def _write_poses(task: InferenceTask, predictor: Predictor, reader: VideoReader) -> None:
    bodyparts = predictor.card.skeleton.bodyparts
    attributes = {
        "video": task.video,
        "fps": task.fps,
        "key": task.key,
        "fingerprint": task.fingerprint,
        "model": predictor.card.name,
        "model_key": predictor.card.key,
        "versions": {"infer": versions.INFER, **predictor.card.versions},
    }
    output = Path(task.output)
    individuals = (SINGLE_INDIVIDUAL,)
    with create_poses(output, reader.times, bodyparts, individuals, attributes) as writer:
        for batch in _batches(read_frames(reader), task.batch_size):
            _write_batch(writer, predictor, batch)


def read_frames(reader: VideoReader) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
    """Yield every frame of a video; whatever its decoder stumbles on is this video's fate alone.

    Raises
    ------
    VideoError
        If the video cannot be read to its end.
    OSError, MemoryError
        If the machine fails: no verdict on the video.
    """
    try:
        yield from reader.read()
    except (VideoError, OSError, MemoryError):
        raise
    except Exception as error:
        logger.exception("decoding failed")
        raise VideoError(f"unexpected {type(error).__name__} while decoding: {error}") from error


def _batches(
    frames: Iterator[tuple[int, NDArray[np.uint8] | None]], size: int
) -> Iterator[list[tuple[int, NDArray[np.uint8] | None]]]:
    while batch := list(itertools.islice(frames, size)):
        yield batch


def _write_batch(
    writer: PoseWriter, predictor: Predictor, batch: list[tuple[int, NDArray[np.uint8] | None]]
) -> None:
    """Predict the frames that could be decoded; the others are rows of NaN with their status."""
    keypoints = len(predictor.card.skeleton.bodyparts)
    position = np.full((len(batch), 2, keypoints, 1), np.nan, np.float32)
    confidence = np.full((len(batch), keypoints, 1), np.nan, np.float32)
    status = np.full(len(batch), FrameStatus.UNDECODABLE, np.uint8)
    images = [image for _, image in batch if image is not None]
    if images:
        decoded = np.array([image is not None for _, image in batch])
        position[decoded], confidence[decoded] = predictor.predict(images)
        status[decoded] = FrameStatus.DECODED
    writer.write(batch[0][0], position, confidence, status)
