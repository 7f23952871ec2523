"""Cache the network and the indices of videos in a worker, from one segment to the next."""

import functools
import threading
import time
from pathlib import Path

from pipeline_lib.core.errors import StoreError, VideoError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.io.poses.segments import SegmentFolder
from pipeline_lib.io.video.index_file import read_index, write_index
from pipeline_lib.io.video.reader import VideoIndex, index_video
from pipeline_lib.models.inference.coarse_to_fine import load_pose_predictor
from pipeline_lib.models.inference.predictor import PosePredictor
from pipeline_lib.models.inference.shared import SharedPredictor
from pipeline_lib.steps.infer.tasks import NetworkTask, VideoTask

# Frames per forward pass of a network that several decoders share.
SHARED_BATCH = 32

# Dask measures the memory of its workers every 0.1 s.
_SECONDS_TO_MEASURE = 0.5

_LOADING = threading.Lock()


def load_index(task: VideoTask, *, share: bool) -> VideoIndex:
    """Return the index of a video: from the cache, from the file beside its segments, or new.

    Parameters
    ----------
    task
        The video.
    share
        Whether to write a new index beside the segments, for other workers.

    Raises
    ------
    VideoError
        If the video cannot be indexed.
    """
    return _index_once(task.path, task.size, task.modified, task.segments, share)


def load_warm_predictor(task: NetworkTask) -> PosePredictor:
    """Return the worker's predictor, loaded once and kept across videos.

    Raises
    ------
    ModelError
        If the model is missing or cannot be loaded.
    """
    files = ModelFiles(Path(task.folder))
    networks = (*files.list_members(task.members), files.locator)
    told = [path for one in networks for path in (one.card, one.quantised)]
    written = tuple(path.stat().st_mtime_ns for path in told if path.exists())
    with _LOADING:
        return _load_once(task, written)


def warm_up(task: NetworkTask) -> None:
    """Load the network, and wait until Dask has measured the memory that it takes."""
    load_warm_predictor(task)
    time.sleep(_SECONDS_TO_MEASURE)


class FileChangedError(VideoError):
    """Report that a file has changed since it was probed."""


class FileGoneError(VideoError):
    """Report that a probed file is gone; it may come back."""


def check_unchanged(path: str, size: int, modified: int) -> None:
    """Check that a file has not changed since the probe computed its fingerprint.

    Parameters
    ----------
    path
        The file.
    size
        Its size in bytes when it was probed.
    modified
        Its modification time in ns when it was probed.

    Raises
    ------
    FileChangedError
        If its size or modification time differs.
    FileGoneError
        If it is gone or cannot be reached.
    """
    try:
        now = Path(path).stat()
    except FileNotFoundError:
        raise FileGoneError("the file has disappeared since it was probed") from None
    except (NotADirectoryError, PermissionError) as error:
        raise FileGoneError(
            f"the file cannot be reached any more: {error.strerror or error}"
        ) from None
    if (now.st_size, now.st_mtime_ns) != (size, modified):
        raise FileChangedError("the file has changed since it was probed: run again")


# The current video and the previous one only: the index of a long video is large.
@functools.lru_cache(maxsize=2)
def _index_once(path: str, size: int, modified: int, segments: str, share: bool) -> VideoIndex:
    file = SegmentFolder(Path(segments)).index
    try:
        return read_index(file)
    except StoreError:
        index = index_video(Path(path))
    # A changed file must not leave its index in the cache.
    check_unchanged(path, size, modified)
    if share:
        write_index(file, index)
    return index


@functools.lru_cache(maxsize=1)
def _load_once(task: NetworkTask, written: tuple[int, ...]) -> PosePredictor:
    del written  # part of the cache key: a network that was trained again is another one
    files = ModelFiles(Path(task.folder))
    predictor = load_pose_predictor(
        files, task.options, task.locating, task.assembly, files.list_members(task.members)
    )
    if task.decoders == 1:
        return predictor
    return SharedPredictor(predictor, task.options.batch_size or SHARED_BATCH)
