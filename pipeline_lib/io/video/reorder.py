"""Put pictures from a decoder into the order of the video's frames, skipping none."""

from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.index import VideoIndex

Image = TypeVar("Image")

# No codec holds back more pictures than this to put them in order.
_MOST_REORDERED = 16
# Codecs that encode a frame like the one before as a packet of which FFmpeg makes no picture.
_REPEATING_CODECS = ("mpeg4",)


class DamageError(Exception):
    """Report that a packet that others may refer to cannot be decoded."""


class FrameSequence(Generic[Image]):
    """Collect pictures by packet position, judge damage, and release frames in order.

    A packet that fails spoils every later packet up to the next keyframe, and also those that
    follow this keyframe but are shown before it: they may refer to what was lost. FFmpeg
    conceals such errors and gives pictures that look right; they are withheld. A frame is
    therefore released only when all packets decoded before its own have been heard of.

    What the file lacks spoils packets in the same way, from `VideoIndex.breaks` on.

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
    strict
        Raise `DamageError` at the first failure; what was released before is sure.
    """

    def __init__(
        self, index: VideoIndex, wanted: range, first: int, *, strict: bool = False
    ) -> None:
        self._index = index
        self._wanted = wanted
        self._strict = strict
        self._repeats = index.facts.codec in _REPEATING_CODECS
        self._entry_shown = int(index.shown[first])
        last = int(index.find_packets(wanted.start, wanted[-1] + 1).max())
        self._clean = _find_keyframes(index, first, last)
        self._breaks = set(_select(index.breaks, first, last))
        self._corrupt = set(_select(index.corrupt, first, last))
        self._next_position = first
        self._heard: dict[int, Image | None] = {}
        self._failed: set[int] = set()
        self._ready: dict[int, Image | None] = {}
        self._released = 0
        self._broken = False
        self._recovering = False
        # Frames shown before this one are spoilt although they follow a keyframe: at the start of
        # a video, too, where it was cut out of a longer one.
        self._spoilt_before = self._entry_shown if first == 0 else -1
        # When the decoder put each picture out, and when the last one that was released.
        self._output: dict[int, int] = {}
        self._outputs = self._latest = 0

    def add(self, position: int, image: Image | None) -> None:
        """Take the picture of a packet; None if its frame is not wanted."""
        # A damaged packet may give a picture more, when it has been judged already.
        if position >= self._next_position and position not in self._heard:
            self._heard[position] = image
            self._outputs += 1
            if image is not None:
                self._output[position] = self._outputs

    def fail(self, position: int) -> None:
        """Take note that a packet could not be decoded, or not without errors."""
        if self._strict and self._is_needed(position):
            raise DamageError
        if position >= self._next_position:
            self._heard[position] = None
            self._failed.add(position)

    def release(self) -> Iterator[tuple[int, Image | None]]:
        """Yield the wanted frames that are certain by now.

        Raises
        ------
        VideoError
            If timestamps contradict the order in which the decoder shows frames.
        """
        while self._heard:
            position = self._next_position
            known = position in self._heard or self._index.shown[position] < 0
            if not known and len(self._heard) <= _MOST_REORDERED:
                break
            self._judge(position)
        while self._released < len(self._wanted):
            frame = self._wanted[self._released]
            if frame not in self._ready and not self._index.missing[frame]:
                return
            self._released += 1
            yield frame, self._take(frame)

    def finish(self) -> Iterator[tuple[int, Image | None]]:
        """Yield the rest of the wanted frames; no more pictures come."""
        while self._heard:
            self._judge(self._next_position)
        rest = self._wanted[self._released :]
        there = (frame for frame in rest if not self._index.missing[frame])
        if self._strict and not self._repeats and any(one not in self._ready for one in there):
            raise DamageError
        for frame in rest:
            yield frame, self._take(frame)

    def _take(self, frame: int) -> Image | None:
        """Return the image of the next frame.

        Raises
        ------
        VideoError
            If the decoder showed an earlier frame after it: the timestamps are wrong.
        """
        image = self._ready.pop(frame, None)
        output = self._output.pop(int(self._index.order[frame]), 0)
        if image is None:
            return None
        if output < self._latest:
            raise VideoError(
                f"damaged: by its timestamps frame {frame} comes after another one, but its "
                "decoder shows it before that"
            )
        self._latest = output
        return image

    def _judge(self, position: int) -> None:
        self._next_position += 1
        shown = int(self._index.shown[position])
        silent = position not in self._heard and shown >= self._wanted.start
        if silent and self._strict and not self._repeats:
            raise DamageError
        image = self._heard.pop(position, None)
        if position in self._breaks:
            self._broken, self._recovering = True, False
        if self._broken and position in self._clean:
            self._recover(shown, clean=self._clean[position])
        if position in self._failed or position in self._corrupt:
            self._failed.discard(position)
            if self._is_needed(position):
                self._broken, self._recovering = True, False
            image = None
        if shown in self._wanted:
            spoilt = self._broken or shown < self._spoilt_before or self._index.misplaced[shown]
            self._ready[shown] = None if spoilt else image

    def _is_needed(self, position: int) -> bool:
        """Tell whether frames from the entry on may refer to a packet.

        They do not to those that are decoded after the keyframe but shown before it. Such
        packets lack references where decoding begins at the keyframe, and fail without harm.
        """
        shown = int(self._index.shown[position])
        return shown < 0 or shown >= self._entry_shown

    def _recover(self, shown: int, *, clean: bool) -> None:
        """Pass a keyframe after damage; by intra refresh it takes until the next to recover."""
        if clean or self._recovering:
            self._broken, self._recovering, self._spoilt_before = False, False, shown
        else:
            self._recovering = True


def _select(positions: NDArray[np.int32], first: int, last: int) -> list[int]:
    start, stop = np.searchsorted(positions, (first, last + 1))
    return [int(position) for position in positions[start:stop]]


def _find_keyframes(index: VideoIndex, first: int, last: int) -> dict[int, bool]:
    """Map the keyframes at positions first to last to whether they are clean."""
    start, stop = np.searchsorted(index.keyframes, (first, last + 1))
    keyframes, clean = index.keyframes[start:stop], index.clean[start:stop]
    return dict(zip(keyframes.tolist(), clean.tolist(), strict=True))
