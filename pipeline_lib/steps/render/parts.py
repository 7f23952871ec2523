"""Draw several parts of a video at the same time, one on each core."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from pipeline_lib.core.process import count_cores
from pipeline_lib.io.publish import publish_file
from pipeline_lib.io.video.encode import join_parts

T = TypeVar("T")

# FFmpeg and OpenCV release Python's lock for most of the time, so a few threads hardly wait for
# each other. Processes do not wait at all, but each of them takes a second to start.
_MOST_THREADS = 4


class Workers:
    """Draw parts of one video after the other; what was started stays for the next.

    Use it as a context: leaving it ends threads and processes.
    """

    def __init__(self) -> None:
        self._pool: Executor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def draw(
        self, path: Path, segments: Sequence[T], key: str, draw: Callable[[T, Path], int]
    ) -> None:
        """Draw segments, several at a time, and publish them as one video.

        Parameters
        ----------
        path
            The video.
        segments
            Its parts, in order.
        key
            Key that the video is given.
        draw
            Writes a part, and returns when it begins in ticks of `CLOCK`.
        """
        with publish_file(path) as part, _make_folder(part.with_suffix(".parts")) as folder:
            parts = [folder / f"{number}.mp4" for number in range(len(segments))]
            begins = self._draw_all(segments, parts, draw)
            join_parts(part, list(zip(parts, begins, strict=True)), key)

    def _draw_all(
        self, segments: Sequence[T], parts: Sequence[Path], draw: Callable[[T, Path], int]
    ) -> list[int]:
        if min(count_cores(), len(segments)) < 2:
            return list(map(draw, segments, parts))
        if self._pool is None:
            self._pool = _start(count_cores())
        try:
            return list(self._pool.map(draw, segments, parts))
        except BrokenExecutor:
            # Some process was killed: what comes next needs others.
            self._end()
            raise

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _start(cores: int) -> Executor:
    if cores <= _MOST_THREADS:
        return ThreadPoolExecutor(cores)
    # They are started one by one, as there are parts that none of them draws yet.
    return ProcessPoolExecutor(cores, get_context("spawn"))


@contextmanager
def _make_folder(path: Path) -> Iterator[Path]:
    """Make a folder for a while; `tidy` finds by its name what a kill leaves."""
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
