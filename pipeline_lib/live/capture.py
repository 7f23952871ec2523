"""Capture the frames of a camera in a thread of its own, whatever happens to the camera."""

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.settings.outputs.live import CameraSettings
from pipeline_lib.live.newest import Newest
from pipeline_lib.live.priorities import CAPTURE, raise_priority
from pipeline_lib.live.recording.events import Events
from pipeline_lib.live.recording.recorder import Recorder, Take
from pipeline_lib.live.sources.frames import (
    Frame,
    FrameError,
    Image,
    LiveError,
    Source,
    SourceError,
    now,
)

logger = logging.getLogger("pipeline_lib.live")

_READ = 0.1
_REOPEN = 0.5
# A source whose numbers stay below the last one for this long has begun anew.
_ANEW = 1.0
# A source that has given nothing but frames that cannot be used for this long is opened again.
_BROKEN = 2.0
_MOST_NUMBER = 2**63


@dataclass
class CaptureCounts:
    """Count frames of a camera.

    Attributes
    ----------
    captured
        Frames that came.
    missed
        Frames that the source lost, by its numbers.
    repeated, late
        Frames with the number of the last one, or with a lower one; both are left out.
    broken
        Frames that came and could not be used. Where the source numbers its frames by itself, they
        are among those that it missed.
    outages
        How often the camera was gone.
    """

    captured: int = 0
    missed: int = 0
    repeated: int = 0
    late: int = 0
    broken: int = 0
    outages: int = 0


@dataclass(frozen=True, eq=False)
class Captured:
    """Hold a captured frame, its number among all of the camera, and the take that records it."""

    row: int
    frame: Frame
    take: Take | None


class Capture(threading.Thread):
    """Read a source until it ends or the run stops; a source that is gone is opened again.

    Parameters
    ----------
    settings
        Settings of the camera.
    source
        Its source.
    recorder
        Records the frames; None: nobody does.
    events
        Is told what happens.
    stop
        Is set at the end of the run.
    real_time
        Ask for real-time priority, so that the times of frames are those of their arrival.
    """

    def __init__(  # noqa: PLR0913 - what it joins
        self,
        settings: CameraSettings,
        source: Source,
        recorder: Recorder | None,
        events: Events,
        stop: threading.Event,
        *,
        real_time: bool = False,
    ) -> None:
        super().__init__(name=f"capture-{settings.name}", daemon=True)
        self._real_time = real_time
        self._settings, self._source, self._recorder = settings, source, recorder
        self._events, self._stopped = events, stop
        self.newest: Newest[Captured] = Newest()
        # Frames before networks are ready; they are neither counted nor recorded.
        self.first: Newest[Image] = Newest()
        self.ready = threading.Event()
        self.counts = CaptureCounts()
        self.error: Exception | None = None
        self._last: int | None = None
        self._good_at = self._used_at = 0.0
        self._gone = False
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        """Return whether no more frames come."""
        return self._ended.is_set()

    def run(self) -> None:
        """Capture until the end."""
        if self._real_time:
            raise_priority(CAPTURE)
        try:
            while not self._stopped.is_set() and not self._source.ended:
                self._capture()
        except Exception as error:  # noqa: BLE001 - the run tells it and ends
            self.error = error
            if self.counts.captured:
                self._events.tell(self._settings.name, "camera failed", f"{error}: it ends")
        finally:
            self._close()
            self._ended.set()

    def _capture(self) -> None:
        """Open the source and read it until it is gone."""
        name = self._settings.name
        try:
            self._source.open()
            self._used_at = now()
            # A camera that was opened again counts from the start.
            self._last = None
            if not self.ready.is_set():
                self._wait_until_ready()
            while not self._stopped.is_set() and not self._source.ended:
                self._step(self._accept)
        except Exception as error:
            # What cannot begin ends the run; once it runs, little that a camera does shall.
            known = self.ready.is_set() and not isinstance(error, LiveError)
            if not (known or isinstance(error, SourceError)):
                raise
            said = isinstance(error, CohortposeError)
            text = str(error) if said else f"{type(error).__name__}: {error}"
            self.counts.outages += 1
            self._gone = True
            self._events.tell(name, "camera gone", f"{text}; it is tried again until it is back")
            self._close()
            self._stopped.wait(_REOPEN)

    def _close(self) -> None:
        """Close the source; one that is broken may not let itself be closed."""
        try:
            self._source.close()
        except Exception as error:  # noqa: BLE001 - of the system or of another package
            logger.warning("%s: cannot be closed (%s)", self._settings.name, error)

    def _step(self, use: Callable[[Frame], None]) -> None:
        """Read a frame, if one comes in time, and use it; one that cannot be used is left out."""
        try:
            frame = self._source.read(_READ)
            if frame is not None:
                use(_check(frame))
                self._used_at = now()
        except FrameError as error:
            self.counts.broken += 1
            if now() - self._used_at > _BROKEN:
                raise
            self._events.tell(self._settings.name, "frame broken", f"{error}: left out")

    def _wait_until_ready(self) -> None:
        """Give frames to whoever makes the networks ready, until they are."""
        while not (self.ready.is_set() or self._stopped.is_set()):
            if self._source.ended:
                self.ready.wait(_READ)
            else:
                self._step(lambda frame: self.first.put(self._cut(frame).image))
        self._source.rewind()
        self.counts.broken = 0

    def _accept(self, frame: Frame) -> None:
        if not self._is_next(frame):
            return
        frame = self._cut(frame)
        row = self.counts.captured
        if self._gone and row:
            name = self._settings.name
            self._events.tell(name, "camera back", "the camera is back", level=logging.INFO)
        self._gone = False
        self.counts.captured += 1
        take = None if self._recorder is None else self._recorder.add_frame(row, frame)
        self.newest.put(Captured(row, frame, take))
        if self._settings.every_frame:
            while not self._stopped.is_set() and not self.newest.wait_until_taken(_READ):
                pass

    def _cut(self, frame: Frame) -> Frame:
        """Return the region of a frame that is asked for."""
        crop = self._settings.crop
        if crop is None:
            return frame
        x1, x2, y1, y2 = crop
        height, width = frame.image.shape[:2]
        if x2 > width or y2 > height:
            # A camera may change its resolution, and change it back.
            kind = FrameError if self.ready.is_set() else LiveError
            raise kind(
                f"{self._settings.name}: `crop` {list(crop)} lies beyond the frames of "
                f"{width} x {height} px"
            )
        return replace(frame, image=np.ascontiguousarray(frame.image[y1:y2, x1:x2]))

    def _is_next(self, frame: Frame) -> bool:
        """Tell whether a frame is a new one; count those that are not, and those that are lost."""
        last, counts = self._last, self.counts
        name = self._settings.name
        if last is not None and frame.number <= last and frame.captured - self._good_at < _ANEW:
            if frame.number == last:
                counts.repeated += 1
                self._events.tell(name, "frame repeated", f"frame {last} came again: left out")
            else:
                counts.late += 1
                self._events.tell(
                    name, "frame late", f"frame {frame.number} came after {last}: left out"
                )
            return False
        if last is not None and frame.number > last + 1:
            counts.missed += frame.number - last - 1
        self._last, self._good_at = frame.number, frame.captured
        return True


def _check(frame: Frame) -> Frame:
    """Return a frame that can be recorded; programs may number and time theirs as they like."""
    if not -_MOST_NUMBER <= frame.number < _MOST_NUMBER:
        raise FrameError(f"gave a frame with the number {frame.number}, which has no 64 bits")
    if not math.isfinite(frame.captured):
        raise FrameError(f"gave a frame that was captured at {frame.captured}")
    return frame
