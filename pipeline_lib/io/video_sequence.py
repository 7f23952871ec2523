"""From pictures in a decoder's order to frames in the video's order, none skipped."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from pipeline_lib.io.video_index import VideoIndex

Image = TypeVar("Image")

# No codec holds back more pictures than this to put them in order.
_MOST_REORDERED = 16


class FrameSequence(Generic[Image]):
    """Collects pictures by packet position, judges damage, and releases frames in order.

    A packet that fails spoils every later packet up to the next keyframe, and also those that
    follow this keyframe but are shown before it: they may refer to what was lost. FFmpeg
    conceals such errors and gives pictures that look right; they are withheld. A frame is
    therefore released only when all packets decoded before its own have been heard of.

    A packet that gives neither a picture nor an error was meant so (a frame that repeats the
    one before); it is None and spoils nothing.

    Parameters
    ----------
    index
        Of the video.
    wanted
        Frames to release.
    first
        Position of the first packet that is decoded.
    """

    def __init__(self, index: VideoIndex, wanted: range, first: int) -> None:
        self._index = index
        self._wanted = wanted
        self._entry_shown = int(index.shown[first])
        self._clean = dict(zip(index.keyframes.tolist(), index.clean.tolist(), strict=True))
        self._next_position = first
        self._heard: dict[int, Image | None] = {}
        self._failed: set[int] = set()
        self._ready: dict[int, Image | None] = {}
        self._released = 0
        self._broken = False
        self._recovering = False
        # Frames shown before this one are spoilt although they follow a keyframe.
        self._spoilt_before = -1

    def add(self, position: int, image: Image | None) -> None:
        """Take the picture of a packet; None if its frame is not wanted."""
        self._heard[position] = image

    def fail(self, position: int) -> None:
        """Take note that a packet could not be decoded, or not without errors."""
        self._heard[position] = None
        self._failed.add(position)

    def release(self) -> Iterator[tuple[int, Image | None]]:
        """Yield the wanted frames that are certain by now."""
        while self._heard:
            position = self._next_position
            known = position in self._heard or self._index.shown[position] < 0
            if not known and len(self._heard) <= _MOST_REORDERED:
                break
            self._judge(position)
        while self._released < len(self._wanted):
            frame = self._wanted[self._released]
            if frame not in self._ready:
                return
            self._released += 1
            yield frame, self._ready.pop(frame)

    def finish(self) -> Iterator[tuple[int, Image | None]]:
        """Yield the rest of the wanted frames; no more pictures come."""
        while self._heard:
            self._judge(self._next_position)
        for frame in self._wanted[self._released :]:
            yield frame, self._ready.pop(frame, None)

    def _judge(self, position: int) -> None:
        self._next_position += 1
        image = self._heard.pop(position, None)
        shown = int(self._index.shown[position])
        if self._broken and position in self._clean:
            self._recover(shown, clean=self._clean[position])
        if position in self._failed:
            self._failed.remove(position)
            # Pictures shown before the first keyframe lack references; they are not wanted.
            if shown >= self._entry_shown:
                self._broken, self._recovering = True, False
            image = None
        if shown in self._wanted:
            spoilt = self._broken or shown < self._spoilt_before or self._index.misplaced[shown]
            self._ready[shown] = None if spoilt else image

    def _recover(self, shown: int, *, clean: bool) -> None:
        """Pass a keyframe after damage; by intra refresh it takes until the next to recover."""
        if clean or self._recovering:
            self._broken, self._recovering, self._spoilt_before = False, False, shown
        else:
            self._recovering = True
