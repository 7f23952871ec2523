"""What a worker keeps from one segment to the next: the network, and indices of videos."""

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

# Frames that go through a network together that several decoders share.
SHARED_BATCH = 32

# Dask looks every 0.1 s at the memory of its workers.
_SECONDS_TO_MEASURE = 0.5

_LOADING = threading.Lock()


def recall_index(task: VideoTask, *, share: bool) -> VideoIndex:
    """Return the index of a video: kept, read from beside its segments, or made.

    Parameters
    ----------
    task
        The video.
    share
        Whether other workers need it as well: it is put beside the segments.

    Raises
    ------
    VideoError
        If the video cannot be indexed.
    """
    return _index_once(task.path, task.size, task.modified, task.segments, share)


def warm_predictor(task: NetworkTask) -> PosePredictor:
    """Return the worker's predictor, loaded once and kept warm across videos.

    Raises
    ------
    ModelError
        If the model is missing or cannot be loaded.
    """
    files = ModelFiles(Path(task.folder))
    written = tuple(
        path.stat().st_mtime_ns for path in (files.card, files.locator.card) if path.exists()
    )
    with _LOADING:
        return _load_once(task, written)


def warm_up(task: NetworkTask) -> None:
    """Load the network as `warm_predictor`, and live with it for long enough to be measured."""
    warm_predictor(task)
    time.sleep(_SECONDS_TO_MEASURE)


class FileChangedError(VideoError):
    """The file is not the one that was probed."""


class FileGoneError(VideoError):
    """The file that was probed is not there; it may come back."""


def check_unchanged(path: str, size: int, modified: int) -> None:
    """See that a file is still the one whose fingerprint the probe took.

    Raises
    ------
    FileChangedError, FileGoneError
        If it has another size or time of change, or is gone.
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


# Of the video whose segments this worker is at, and of the one before: long videos have large ones.
@functools.lru_cache(maxsize=2)
def _index_once(path: str, size: int, modified: int, segments: str, share: bool) -> VideoIndex:
    file = SegmentFolder(Path(segments)).index
    try:
        return read_index(file)
    except StoreError:
        index = index_video(Path(path))
    # The index of another file must not wait for the right one to come back.
    check_unchanged(path, size, modified)
    if share:
        write_index(file, index)
    return index


@functools.lru_cache(maxsize=1)
def _load_once(task: NetworkTask, written: tuple[int, ...]) -> PosePredictor:
    del written  # part of the cache's key: a retrained network is another one
    predictor = load_pose_predictor(
        ModelFiles(Path(task.folder)), task.options, task.locating, task.assembly
    )
    if task.decoders == 1:
        return predictor
    return SharedPredictor(predictor, task.options.batch_size or SHARED_BATCH)
