"""Show the progress of an inference: videos, frames per second, time left, and load."""

import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.io.poses.segments import SegmentFolder
from pipeline_lib.kernels.segments import find_gaps
from pipeline_lib.steps.infer.schedule import PROGRESS_TOPIC
from pipeline_lib.steps.infer.tasks import Outcome, VideoTask

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 60.0


@dataclass
class InferenceProgress:
    """Sum up the events of the workers; safe to use from several threads.

    Attributes
    ----------
    videos, frames
        Number of videos and frames to infer.
    workers
        Number of networks that can run at the same time.
    """

    videos: int
    frames: int
    workers: int

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._ended: dict[VideoStatus, int] = dict.fromkeys(VideoStatus, 0)
        self._frames = 0
        self._decode = self._network = 0.0

    def add_event(self, event: tuple[float, Any]) -> None:
        """Add an event of a worker: frames inferred and seconds spent since its last event."""
        message = event[1]
        with self._lock:
            self._frames += int(message["frames"])
            self._decode += float(message["decode"])
            self._network += float(message["network"])

    def add_outcome(self, outcome: Outcome) -> None:
        """Add the outcome of a video."""
        with self._lock:
            self._ended[outcome.status] += 1

    @property
    def frames_done(self) -> int:
        """Return the frames inferred so far; some count twice after the death of a worker."""
        return min(self._frames, self.frames)

    def describe(self, seconds: float | None = None) -> str:
        """Return the progress as one line of text.

        Parameters
        ----------
        seconds
            Time in s since the start; None reads the clock.
        """
        with self._lock:
            passed = time.monotonic() - self._began if seconds is None else seconds
            ended = sum(self._ended.values())
            bad = ended - self._ended[VideoStatus.DONE]
            rate = self.frames_done / passed if passed else 0.0
            left = (self.frames - self.frames_done) / rate if rate else None
            busy = passed * self.workers or 1.0
            decode, network = self._decode / busy, self._network / busy
        return (
            f"{ended}/{self.videos} videos{f' ({bad} not done)' if bad else ''}, "
            f"{self.frames_done}/{self.frames} frames, {rate:.1f} frames/s, "
            f"{_format_duration(left)} left, busy: network {network:.0%}, decoding {decode:.0%}"
        )


@contextmanager
def follow_progress(client: Client, tasks: Sequence[VideoTask]) -> Iterator[InferenceProgress]:
    """Show the progress of an inference: a live bar on a terminal, else one line per minute.

    Parameters
    ----------
    client
        Client of the cluster whose workers send events.
    tasks
        Videos to infer; finished segments do not count.
    """
    missing = sum(_count_missing(task) for task in tasks)
    progress = InferenceProgress(len(tasks), missing, max(1, len(client.nthreads())))
    client.subscribe_topic(PROGRESS_TOPIC, progress.add_event)
    with ExitStack() as stack:
        stack.callback(client.unsubscribe_topic, PROGRESS_TOPIC)
        show = _open_bar(stack, progress) if sys.stderr.isatty() else _log_line
        stopped = threading.Event()
        wait = 0.5 if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES

        def refresh() -> None:
            while not stopped.wait(wait):
                show(progress)

        thread = threading.Thread(target=refresh, name="progress", daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(stopped.set)
        yield progress
    logger.info("%s", progress.describe())


def _open_bar(stack: ExitStack, progress: InferenceProgress):  # type: ignore[no-untyped-def]  # noqa: ANN202
    bar = stack.enter_context(
        Progress(
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
    )
    task = bar.add_task(progress.describe(), total=max(1, progress.frames))

    def show(now: InferenceProgress) -> None:
        bar.update(task, completed=now.frames_done, description=now.describe())

    return show


def _log_line(progress: InferenceProgress) -> None:
    logger.info("%s", progress.describe())


def _count_missing(task: VideoTask) -> int:
    finished = SegmentFolder(Path(task.segments)).list_finished()
    return sum(stop - start for start, stop in find_gaps(task.frames, finished))


def _format_duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown time"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
