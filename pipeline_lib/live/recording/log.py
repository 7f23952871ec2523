"""Write and read logs of takes: append-only files of what was captured and predicted.

A log begins with a line of JSON that describes the take. Records follow, each written by one call
and checked by a CRC, so that a kill costs at most the record that was being written, and a disk
that was full for a while costs what it could not take. A record is: two bytes `_MARK`, the kind,
the CRC-32 of kind and content, and the content, whose length the kind and the head tell.
"""

import json
import os
import struct
import threading
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.untrusted.regular_files import require_regular_file

FORMAT = "cohortpose live log"
FORMAT_VERSION = 1
_MARK = b"\xc0\xde"
_PREFIX = struct.Struct("<2scI")
_FRAME = struct.Struct("<qqdddB")
_POSES = struct.Struct("<qdddd4iB6f")
_REPEATED = 1
_NO_WINDOW = (-1, -1, -1, -1)
_MOST_HEAD = 2**20
_MOST_BYTES = 2**36

# Parts of a latency, in the order of time.
PARTS = ("wait", "preprocess", "network", "decode", "ahead", "trigger")


@dataclass(frozen=True)
class TakeHead:
    """Describe a take: frames of one size of one camera.

    Attributes
    ----------
    camera
        Its name.
    take
        Number of the take, from 1.
    first_row
        Number of its first frame among all of the camera.
    size
        Height and width of the frames, px.
    bodyparts, individuals
        Names along the axes of the poses.
    network
        Where the network comes from.
    started
        Time of day at which the recording began, ISO 8601 with zone.
    clock
        Monotonic time at that moment, s; times of frames are of this clock.
    settings
        What else is to be recorded.
    """

    camera: str
    take: int
    first_row: int
    size: tuple[int, int]
    bodyparts: tuple[str, ...]
    individuals: tuple[str, ...]
    network: str
    started: str
    clock: float
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FrameRecord:
    """Record that a frame was captured.

    Attributes
    ----------
    row
        Number among all frames of the camera.
    number, stamp
        Number and time that the source gave it.
    captured
        Monotonic time, s.
    repeated
        Whether the video repeats the last picture instead, as its encoder was behind.
    """

    row: int
    number: int
    captured: float
    stamp: float
    repeated: bool


@dataclass(frozen=True, eq=False)
class PoseRecord:
    """Record what was predicted of a frame.

    Attributes
    ----------
    row
        As in `FrameRecord`.
    started, done
        Monotonic times at which its prediction began and its last action was done, s.
    triggered
        Monotonic time at which the first action of the frame was sent, s; NaN: none was.
    ahead
        Seconds by which rules saw points ahead.
    window
        x, y, width, height, px; None: the whole frame.
    lost
        Whether the window lost the animals.
    parts
        Seconds of each of `PARTS`.
    position, confidence
        As in `LivePoses`.
    """

    row: int
    started: float
    done: float
    triggered: float
    ahead: float
    window: tuple[int, int, int, int] | None
    lost: bool
    parts: tuple[float, ...]
    position: NDArray[np.float32]
    confidence: NDArray[np.float32]


class LogWriter:
    """Append records to the log of a take.

    Parameters
    ----------
    path
        File to make; it must not exist.
    head
        Describes the take.
    """

    def __init__(self, path: Path, head: TakeHead) -> None:
        self._path = path
        self._lock = threading.Lock()
        text = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(head)}
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        self._file: int | None = os.open(path, flags, 0o666)
        try:
            self._append((json.dumps(text) + "\n").encode())
        except OSError:
            self.close()
            path.unlink(missing_ok=True)
            raise

    def write_frame(self, frame: FrameRecord) -> None:
        """Append a frame; `OSError` if the disk takes no more."""
        content = _FRAME.pack(
            *(frame.row, frame.number, frame.captured, frame.stamp, 0.0),
            _REPEATED if frame.repeated else 0,
        )
        self._write(b"F", content)

    def write_poses(self, poses: PoseRecord) -> None:
        """Append poses; `OSError` if the disk takes no more."""
        content = _POSES.pack(
            *(poses.row, poses.started, poses.done, poses.triggered, poses.ahead),
            *(poses.window or _NO_WINDOW),
            poses.lost,
            *poses.parts,
        )
        points = [np.ascontiguousarray(poses.position, "<f4"), poses.confidence.astype("<f4")]
        self._write(b"P", content + b"".join(one.tobytes() for one in points))

    def close(self) -> None:
        """Close the file; what comes late still opens it again."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
            self._file = None

    def _write(self, kind: bytes, content: bytes) -> None:
        self._append(_PREFIX.pack(_MARK, kind, zlib.crc32(kind + content)) + content)

    def _append(self, content: bytes) -> None:
        # One call: records of two threads do not mix, and a kill leaves whole ones.
        with self._lock:
            file = self._file
            own = os.open(self._path, os.O_WRONLY | os.O_APPEND) if file is None else file
            try:
                written = os.write(own, content)
            finally:
                if file is None:
                    os.close(own)
        if written != len(content):
            raise OSError(28, "No space left on device")


@dataclass(frozen=True, eq=False)
class TakeLog:
    """Hold what a log tells.

    Attributes
    ----------
    head
        Describes the take.
    frames
        Frames in the order of their rows.
    poses
        Poses by row.
    damaged
        Bytes that were not whole records.
    """

    head: TakeHead
    frames: list[FrameRecord]
    poses: dict[int, PoseRecord]
    damaged: int


def read_log(path: Path) -> TakeLog:
    """Read a log, of a take that ended or was killed.

    Raises
    ------
    StoreError
        If it is no log, or its head is not whole.
    """
    try:
        require_regular_file(path)
        if path.stat().st_size > _MOST_BYTES:
            raise StoreError(f"{path}: is larger than any log")
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None
    line, found, _ = content[:_MOST_HEAD].partition(b"\n")
    head = _parse_head(line) if found else None
    if head is None:
        raise StoreError(f"{path}: is no log of a live recording, or was killed as it began")
    frames: dict[int, FrameRecord] = {}
    poses: dict[int, PoseRecord] = {}
    damaged = 0
    place = len(line) + 1
    while place < len(content):
        record, length = _parse_record(content, place, head)
        if record is None:
            following = content.find(_MARK, place + 1)
            following = len(content) if following < 0 else following
            damaged += following - place
            place = following
            continue
        if isinstance(record, FrameRecord):
            frames[record.row] = record
        else:
            poses[record.row] = record
        place += length
    return TakeLog(head, [frames[row] for row in sorted(frames)], poses, damaged)


def _parse_head(line: bytes) -> TakeHead | None:
    try:
        values = json.loads(line)
        if values.pop("format") != FORMAT or values.pop("format_version") != FORMAT_VERSION:
            return None
        for name in ("size", "bodyparts", "individuals"):
            values[name] = tuple(values[name])
        head = TakeHead(**values)
        texts = (head.camera, head.network, head.started, *head.bodyparts, *head.individuals)
        good = all(isinstance(one, str) for one in texts) and len(head.size) == 2
        good = good and all(type(one) is int and 0 < one < 2**16 for one in head.size)
        return head if good and isinstance(head.settings, dict) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _parse_record(
    content: bytes, place: int, head: TakeHead
) -> tuple[FrameRecord | PoseRecord | None, int]:
    """Return the record at a place and its length; None if there is no whole one."""
    if place + _PREFIX.size > len(content):
        return None, 0
    mark, kind, checksum = _PREFIX.unpack_from(content, place)
    points = len(head.individuals) * len(head.bodyparts)
    sizes = {b"F": _FRAME.size, b"P": _POSES.size + 12 * points}
    if mark != _MARK or kind not in sizes:
        return None, 0
    start = place + _PREFIX.size
    body = content[start : start + sizes[kind]]
    if len(body) != sizes[kind] or zlib.crc32(kind + body) != checksum:
        return None, 0
    length = _PREFIX.size + len(body)
    if kind == b"F":
        row, number, captured, stamp, _, flags = _FRAME.unpack(body)
        return FrameRecord(row, number, captured, stamp, bool(flags & _REPEATED)), length
    values = _POSES.unpack_from(body)
    window = None if values[5:9] == _NO_WINDOW else values[5:9]
    numbers = np.frombuffer(body, "<f4", offset=_POSES.size)
    shape = len(head.individuals), len(head.bodyparts)
    position = numbers[: 2 * points].reshape(*shape, 2)
    confidence = numbers[2 * points :].reshape(shape)
    return (
        PoseRecord(
            *(values[0], values[1], values[2], values[3], values[4]),
            *(window, bool(values[9]), values[10:], position, confidence),
        ),
        length,
    )
