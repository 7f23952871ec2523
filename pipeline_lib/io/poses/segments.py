"""Store the finished segments of videos in progress, so that a killed job resumes.

A segment is one ``.npz`` file named by its range of frames, in a folder named by the key of
the video's result. It is temporary: once a video is complete, its segments are joined into the
pose file and removed.
"""

import contextlib
import errno
import fcntl
import logging
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.poses.format import order_for_file, order_for_memory
from pipeline_lib.io.publish import publish_file

logger = logging.getLogger(__name__)

_NAME = re.compile(r"(\d{9,})-(\d{9,})\.npz")
# Exceptions that zipfile and NumPy raise for damaged bytes.
_DAMAGE = (
    ArithmeticError,
    EOFError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}


@dataclass(frozen=True)
class Timings:
    """Hold the processing times of frames, in seconds of one worker.

    Attributes
    ----------
    seconds
        Total time.
    decode
        Time spent decoding.
    network
        Time spent in the network.
    wait
        Time that the network waited for frames.
    """

    seconds: float = 0.0
    decode: float = 0.0
    network: float = 0.0
    wait: float = 0.0

    def __add__(self, other: "Timings") -> "Timings":
        """Return the sum of both."""
        return Timings(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, eq=False)
class SegmentPoses:
    """Hold poses of consecutive frames; arrays as in `pipeline_lib.core.poses.Poses`.

    Attributes
    ----------
    start
        Index of the first frame.
    position
        Shape (frame, individual, keypoint, 2), float32, px.
    confidence
        Shape (frame, individual, keypoint), float32, 0..1.
    frame_status
        Shape (frame,), uint8.
    timings
        Processing time.
    identity
        Shape (frame, individual, identity), float32, 0..1; None: the network did not learn it.
    spread
        Shape (frame, individual, keypoint), float32, px; None: there is one network.
    decisions
        Counts of the frames that were computed and of those that were still, uint32, for a
        message; None: every frame was computed.
    """

    start: int
    position: NDArray[np.float32]
    confidence: NDArray[np.float32]
    frame_status: NDArray[np.uint8]
    timings: Timings
    identity: NDArray[np.float32] | None = None
    spread: NDArray[np.float32] | None = None
    decisions: NDArray[np.uint32] | None = None

    @property
    def stop(self) -> int:
        """One past the index of the last frame."""
        return self.start + len(self.frame_status)


class SegmentFolder:
    """Manage the finished segments of one video.

    Parameters
    ----------
    path
        The folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def index(self) -> Path:
        """Path of the video's index, which all workers on its segments read."""
        return self.path / "index.npz"

    def list_finished(self) -> list[tuple[int, int]]:
        """Return the ranges of the finished segments, ascending."""
        try:
            names = [_NAME.fullmatch(file.name) for file in self.path.iterdir()]
        except FileNotFoundError:
            return []
        return sorted((int(name[1]), int(name[2])) for name in names if name)

    def write(self, segment: SegmentPoses) -> None:
        """Publish a segment; it is kept if the job is killed afterwards."""
        arrays: dict[str, Any] = {
            **{
                name: np.ascontiguousarray(order_for_file(name, getattr(segment, name)))
                for name in ("position", "confidence")
            },
            "frame_status": segment.frame_status,
            "work": np.array(astuple(segment.timings)),
        }
        if segment.identity is not None:
            arrays["identity"] = segment.identity
        if segment.spread is not None:
            arrays["spread"] = np.ascontiguousarray(order_for_file("spread", segment.spread))
        if segment.decisions is not None:
            arrays["decisions"] = segment.decisions
        with publish_file(self._file(segment.start, segment.stop)) as part, part.open("wb") as file:
            np.savez(file, **arrays)

    def read(self, start: int, stop: int) -> SegmentPoses:
        """Read a finished segment.

        Raises
        ------
        StoreError
            If the file is damaged; it is removed, so that the next run computes it again.
        """
        path = self._file(start, stop)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                segment = SegmentPoses(
                    start=start,
                    position=order_for_memory("position", arrays["position"]),
                    confidence=order_for_memory("confidence", arrays["confidence"]),
                    frame_status=arrays["frame_status"],
                    timings=Timings(*arrays["work"].tolist()),
                    identity=arrays.get("identity"),
                    spread=order_for_memory("spread", arrays["spread"])
                    if "spread" in arrays
                    else None,
                    decisions=arrays.get("decisions"),
                )
        except OSError as error:
            # A seek to an impossible offset; other errors are those of the file system.
            if error.errno != errno.EINVAL:
                raise
            raise self._discard(path, error) from None
        except _DAMAGE as error:
            raise self._discard(path, error) from None
        if segment.stop != stop:
            path.unlink(missing_ok=True)
            raise StoreError(f"{path}: holds frames up to {segment.stop}, removed; run again")
        return segment

    def read_joined(self) -> Iterator[SegmentPoses]:
        """Yield the segments in order, without the frames that an earlier one has.

        Raises
        ------
        StoreError
            If a segment is damaged, or missing between others.
        """
        done = 0
        for start, stop in self.list_finished():
            if stop <= done:
                continue
            if start > done:
                raise StoreError(f"{self.path}: frames {done} to {start - 1} missing; run again")
            segment, skipped = self.read(start, stop), max(0, done - start)
            yield SegmentPoses(
                start=start + skipped,
                position=segment.position[skipped:],
                confidence=segment.confidence[skipped:],
                frame_status=segment.frame_status[skipped:],
                timings=segment.timings,
                identity=None if segment.identity is None else segment.identity[skipped:],
                spread=None if segment.spread is None else segment.spread[skipped:],
                decisions=segment.decisions,
            )
            done = stop

    def _discard(self, path: Path, error: Exception) -> StoreError:
        path.unlink(missing_ok=True)
        reason = str(error) or type(error).__name__
        return StoreError(f"{path}: damaged segment ({reason}), removed; run again")

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _file(self, start: int, stop: int) -> Path:
        return self.path / f"{start:09d}-{stop:09d}.npz"


class KeyLock:
    """Lock one result; the operating system releases the lock when the process dies.

    Parameters
    ----------
    path
        File that is locked, made and removed with the lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def try_acquire(self) -> bool:
        """Acquire the lock unless another process holds it."""
        while True:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                file = self._path.open("a")
            except FileNotFoundError:
                # The last owner of another lock has removed the folder meanwhile.
                continue
            except FileExistsError:
                if self._path.parent.exists():
                    raise
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return False
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    file.close()
                    raise
                logger.warning(
                    "%s: the file system has no locks: see that no two runs share it", self._path
                )
            if _is_at(file, self._path):
                self._file = file
                return True
            # Its last owner removed it between our opening and locking.
            file.close()

    def release(self) -> None:
        """Release the lock."""
        if self._file is not None:
            # A folder that became read-only keeps the file, which is no lock by itself.
            with contextlib.suppress(OSError):
                self._path.unlink()
                # Unless there are other locks or segments in it.
                self._path.parent.rmdir()
            self._file.close()
            self._file = None


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False
