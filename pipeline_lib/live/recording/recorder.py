"""Record the frames and poses of a camera in takes."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.core.settings.outputs.live import RecordingSettings
from pipeline_lib.io.video.encode import CLOCK, LiveVideoWriter
from pipeline_lib.live.priorities import lower_priority
from pipeline_lib.live.recording.events import Events
from pipeline_lib.live.recording.log import FrameRecord, LogWriter, PoseRecord, TakeHead
from pipeline_lib.live.sources.frames import Frame, Image

LOG_ENDING = ".live"
VIDEO_ENDING = ".part.mp4"
# Seconds after which a recording that failed is tried again.
_RETRY = 2.0
# Repeats are cheap, but an encoder that stands still must not fill the memory with them.
_MOST_REPEATS = 100_000

Describe = Callable[[int, int, tuple[int, int]], TakeHead]


@dataclass(eq=False)
class Take:
    """Hold the open files of a take."""

    head: TakeHead
    log: LogWriter | None
    video: Path | None
    began: float
    failed: bool = False
    last_ticks: int = -1


class Recorder:
    """Record a camera: frames from the thread that captures, poses from the one that predicts.

    A third thread encodes the video. Nobody waits for it: where it is behind, the video repeats
    its last picture, so that row N of the poses is always frame N of the video.

    Parameters
    ----------
    folder
        Receives the files; it is made.
    camera
        Name of the camera.
    settings
        What is recorded.
    describe
        Makes the head of a take from its number, its first row and the size of its frames.
    events
        Is told of problems.
    polite
        Encode with lower priority: whoever predicts has none of real time, and comes first.
    """

    def __init__(  # noqa: PLR0913 - what it joins
        self,
        folder: Path,
        camera: str,
        settings: RecordingSettings,
        describe: Describe,
        events: Events,
        *,
        polite: bool = True,
    ) -> None:
        self._polite = polite
        self._folder, self._camera, self._settings = folder, camera, settings
        self._describe, self._events = describe, events
        self._take: Take | None = None
        self._next_take = _find_next(folder, camera)
        self._retry_at = 0.0
        self.unrecorded = self.repeated = 0
        self._queue: deque[tuple[Take, int, Image | None]] = deque()
        self._images = 0
        self._ready = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._encode, name=f"video-{camera}", daemon=True)
        if settings.video:
            self._thread.start()

    def add_frame(self, row: int, frame: Frame) -> Take | None:
        """Record a frame; return its take, to which its poses belong.

        None if nothing can be recorded at present, which was told.
        """
        size = (frame.image.shape[0], frame.image.shape[1])
        take = self._take
        if take is None or take.failed or self._is_over(take, size, frame.captured):
            # However many there are: files are open for one.
            self._leave_take()
            take = self._begin(row, size, frame.captured)
        if take is None:
            self.unrecorded += 1
            return None
        repeated = self._is_behind(take)
        if take.log is not None:
            record = FrameRecord(row, frame.number, frame.captured, frame.stamp, repeated)
            try:
                take.log.write_frame(record)
            except OSError as error:
                self._fail(take, error)
                self.unrecorded += 1
                return None
        # After the log: a kill then leaves no picture without a row.
        self._queue_image(take, frame, repeated=repeated)
        return take

    def add_poses(self, take: Take, poses: PoseRecord) -> None:
        """Record the poses of a frame of a take."""
        if take.log is None or take.failed:
            return
        try:
            take.log.write_poses(poses)
        except OSError as error:
            self._fail(take, error)

    def close(self) -> None:
        """Wait until everything is written."""
        with self._ready:
            self._ended = True
            self._ready.notify()
        if self._settings.video:
            self._thread.join()
        self._leave_take()

    def _leave_take(self) -> None:
        """Close the log of the last take; poses of its last frames may come still."""
        if self._take is not None and self._take.log is not None:
            self._take.log.close()
        self._take = None

    def _is_over(self, take: Take, size: tuple[int, int], captured: float) -> bool:
        if size != take.head.size:
            text = f"frames are now {size[1]} x {size[0]}, not {take.head.size[1]} x "
            self._events.tell(
                self._camera, "resolution", f"{text}{take.head.size[0]}: a new video begins"
            )
            return True
        return captured - take.began >= 60.0 * self._settings.minutes

    def _begin(self, row: int, size: tuple[int, int], captured: float) -> Take | None:
        if time.monotonic() < self._retry_at:
            return None
        number = self._next_take
        base = self._folder / f"{self._camera}-{number:04d}"
        video = base.with_name(base.name + VIDEO_ENDING) if self._settings.video else None
        head = self._describe(number, row, size)
        log = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if self._settings.poses:
                log = LogWriter(base.with_name(base.name + LOG_ENDING), head)
        except OSError as error:
            self._tell_full(error)
            return None
        self._next_take += 1
        self._take = Take(head, log, video, captured)
        return self._take

    def _is_behind(self, take: Take) -> bool:
        """Tell whether the video must repeat its last picture instead of a frame."""
        with self._ready:
            behind = self._images >= self._settings.queue and take.last_ticks >= 0
        if behind and take.video is not None:
            self.repeated += 1
            self._events.tell(
                self._camera,
                "repeated",
                f"the encoder is {self._settings.queue} frames behind: the video repeats pictures; "
                "record fewer or smaller frames, or set live.recording.video to false",
            )
        return behind and take.video is not None

    def _queue_image(self, take: Take, frame: Frame, *, repeated: bool) -> None:
        """Hand a frame, or a repetition of the last one, to the encoder."""
        if take.video is None:
            return
        ticks = max(take.last_ticks + 1, round((frame.captured - take.began) * CLOCK))
        take.last_ticks = ticks
        with self._ready:
            if len(self._queue) >= _MOST_REPEATS:
                take.failed = True
                return
            self._queue.append((take, ticks, None if repeated else frame.image))
            self._images += not repeated
            self._ready.notify()

    def _encode(self) -> None:
        if self._polite:
            lower_priority()
        writer: LiveVideoWriter | None = None
        current: Take | None = None
        while True:
            with self._ready:
                while not self._queue and not self._ended:
                    self._ready.wait()
                if not self._queue:
                    break
                take, ticks, image = self._queue.popleft()
                self._images -= image is not None
            if take is not current:
                self._close_video(writer, current)
                current, writer = take, self._open_video(take, image)
            if writer is None or take.failed:
                continue
            try:
                writer.write(ticks, image)
            except (OSError, ValueError) as error:
                self._fail(take, error)
        self._close_video(writer, current)

    def _open_video(self, take: Take, image: Any) -> LiveVideoWriter | None:  # noqa: ANN401
        if take.video is None or image is None:
            return None
        try:
            return LiveVideoWriter(take.video, take.head.size, self._settings.quality)
        except (OSError, ValueError) as error:
            self._fail(take, error)
            return None

    def _close_video(self, writer: LiveVideoWriter | None, take: Take | None) -> None:
        if writer is None or take is None:
            return
        try:
            writer.close()
        except (OSError, ValueError) as error:
            self._fail(take, error)

    def _fail(self, take: Take, error: Exception) -> None:
        """Note that a take cannot go on; what it holds stays, and another one is tried later."""
        if not take.failed:
            take.failed = True
            self._tell_full(error)

    def _tell_full(self, error: Exception) -> None:
        self._retry_at = time.monotonic() + _RETRY
        reason = getattr(error, "strerror", None) or str(error)
        self._events.tell(
            self._camera,
            "recording",
            f"recording failed ({reason}): what was recorded stays; it is tried again every "
            f"{_RETRY:g} s, in a new file: make room on the disk",
        )


def _find_next(folder: Path, camera: str) -> int:
    """Return the number of the next take of a camera in a folder."""
    numbers = [0]
    for path in folder.glob(f"{camera}-*"):
        text = path.name[len(camera) + 1 :].partition(".")[0]
        if text.isascii() and text.isdecimal():
            numbers.append(int(text))
    return max(numbers) + 1
