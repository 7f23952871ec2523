"""Find the frames of a video in which nothing moves, before they are converted or computed.

A frame is compared with the one before, from which motion stands out against little noise, and with
the last computed one, so that slow motion adds up. Every N frames, on a fixed grid of frame
indices, a pose is computed whatever the picture shows. What is decided about a frame therefore
depends on the frames since the grid's last point, and on the noise, which is measured in the part
of the video around it: not on where segments begin.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.io.video.reader import Picture
from pipeline_lib.kernels.stillness import (
    BLOCK,
    ChangeLimits,
    count_blocks,
    find_changed,
    measure_change,
)
from pipeline_lib.steps.infer.frames.camera_noise import (
    Limits,
    Planes,
    assume_no_noise,
    cut_planes,
    follow_noise,
)
from pipeline_lib.steps.infer.tasks import VideoTask

__all__ = ["Choice", "StillCounts", "choose_frames", "find_first", "follow_noise"]

Image = NDArray[np.uint8]

# Where each frame is compared with the one before, slow motion is looked for every so many frames.
_SLOW_EVERY = 4
# A change in more of the blocks is one of the light or of the camera.
_WHOLE = 0.5
# A place that changes in so many of the computed frames is named, if it keeps so many from
# being still.
_ALWAYS, _FEW_STILL = 0.8, 0.5


class Choice(NamedTuple):
    """Tell what is done with a frame.

    Attributes
    ----------
    frame
        Index of the frame.
    image
        Image to compute; None: nothing to compute.
    source
        Frame whose pose it has: its own index, that of an earlier frame if it is still, -1 if it
        could not be decoded.
    """

    frame: int
    image: Image | None
    source: int


@dataclass
class StillCounts:
    """Count what was decided, and why.

    Attributes
    ----------
    still
        Frames in which nothing moved.
    regular
        Frames computed because N frames had passed, or after damage.
    moved, whole
        Frames computed because part of the picture had changed, or more than half of it.
    noisy
        Frames computed because noise was too strong.
    unmeasured
        Frames compared without knowing the noise.
    places
        Shape (rows, columns) of blocks: how often each had changed; None: nothing was compared.
    """

    still: int = 0
    regular: int = 0
    moved: int = 0
    whole: int = 0
    noisy: int = 0
    unmeasured: int = 0
    places: NDArray[np.uint32] | None = None

    @property
    def numbers(self) -> tuple[int, ...]:
        """Return the counts in the order of the attributes."""
        return (self.still, self.regular, self.moved, self.whole, self.noisy, self.unmeasured)

    @property
    def frames(self) -> int:
        """Return the number of decoded frames."""
        return self.still + self.regular + self.moved + self.whole + self.noisy

    @classmethod
    def of(cls, packed: NDArray[np.uint32] | None) -> "StillCounts":
        """Return counts from what `pack` gave; none from None."""
        if packed is None:
            return cls()
        number = len(cls().numbers)
        counts, (rows, columns) = packed[:number].tolist(), packed[number : number + 2].tolist()
        places = packed[number + 2 :].reshape(rows, columns) if rows else None
        still, regular, moved, whole, noisy, unmeasured = counts
        return cls(still, regular, moved, whole, noisy, unmeasured, places)

    def pack(self) -> NDArray[np.uint32]:
        """Return the counts in one array."""
        places = np.zeros((0, 0), np.uint32) if self.places is None else self.places
        return np.concatenate([self.numbers, places.shape, places.ravel()]).astype(np.uint32)

    def add_places(self, places: NDArray[np.integer] | NDArray[np.bool_] | None) -> None:
        """Add blocks that have changed."""
        if places is not None:
            counted = np.asarray(places, np.uint32)
            self.places = counted if self.places is None else self.places + counted

    def __add__(self, other: "StillCounts") -> "StillCounts":
        """Return the sum of both."""
        still, regular, moved, whole, noisy, unmeasured = (
            one + two for one, two in zip(self.numbers, other.numbers, strict=True)
        )
        total = StillCounts(still, regular, moved, whole, noisy, unmeasured)
        total.add_places(self.places)
        total.add_places(other.places)
        return total

    def explain(self) -> str:
        """Explain in words why few frames were still; empty if many were."""
        if not self.frames or self.still >= _FEW_STILL * self.frames:
            return ""
        for count, reason in (
            (self.noisy, "the camera's noise would hide small motions"),
            (
                self.whole,
                "the whole picture changes (flickering light, stronger noise, a moving camera)",
            ),
        ):
            if count > _FEW_STILL * self.frames:
                return f"{reason} in {count / self.frames:.0%} of the frames"
        if place := self._name_place():
            return place
        if self.unmeasured > _FEW_STILL * self.frames:
            return "without two keyframes to compare, noise is not known and counts as motion"
        return ""

    def _name_place(self) -> str:
        if self.places is None or self.moved <= _FEW_STILL * self.frames:
            return ""
        often = self.places >= _ALWAYS * (self.moved + self.whole)
        rows, columns = np.nonzero(often)
        if not len(rows):
            return ""
        (y1, y2), (x1, x2) = ((side.min(), side.max() + 1) for side in (rows, columns))
        return (
            f"the picture changes at x {x1 * BLOCK} to {x2 * BLOCK}, y {y1 * BLOCK} to "
            f"{y2 * BLOCK} in nearly every frame (a timestamp, a lamp, an animal that never "
            "rests); leave it out by `inference.crop`"
        )


def choose_frames(
    pictures: Iterator[tuple[int, Picture | None]],
    start: int,
    task: VideoTask,
    find_limits: Callable[[int], Limits | None],
    counts: StillCounts,
) -> Iterator[Choice]:
    """Choose the frames to compute; convert only these.

    Parameters
    ----------
    pictures
        Frames of the video from `find_first` on.
    start
        First frame that is wanted.
    task
        The video.
    find_limits
        Return the limits of changes by the frame; None if noise could not be measured.
    counts
        Count of the decisions about wanted frames, changed in place.

    Yields
    ------
    Choice
        For every frame from `start` on; before them, for an earlier frame that a still one has its
        pose from, or for all that must be followed through.
    """
    watch = _Watch(task, find_limits)
    wanted = find_first(start, task) if task.network.locating.every > 1 else start
    held: Picture | None = None
    for frame, picture in pictures:
        still = picture is not None and watch.is_still(
            frame, picture, counts if frame >= start else StillCounts()
        )
        if frame < wanted:
            if picture is not None and not still:
                held = picture
            continue
        if picture is None:
            yield Choice(frame, None, -1)
        elif still:
            if watch.source < wanted and held is not None:
                yield Choice(watch.source, held.convert(task.crop), watch.source)
            held = None
            yield Choice(frame, None, watch.source)
        else:
            held = None
            yield Choice(frame, picture.convert(task.crop), frame)


def find_first(start: int, task: VideoTask) -> int:
    """Return the frame from which a segment must be read.

    On the grid of frames that are always computed blocks begin anew.
    """
    grid = task.still_frames or task.network.locating.every
    return start // grid * grid


class _Watch:
    """Compare each frame with the one before, and with the last one that was computed."""

    def __init__(self, task: VideoTask, find_limits: Callable[[int], Limits | None]) -> None:
        self._every, self._crop, self._find_limits = task.still_frames, task.crop, find_limits
        self._reference: Planes = ()
        self._before: Planes = ()
        self._seen = -1
        self._limits = Limits((), (), (), np.zeros(0, np.int32))
        self._until = 0
        self.source = -1

    def is_still(self, frame: int, picture: Picture, counts: StillCounts) -> bool:
        """Tell whether a frame has the pose of the last computed one, and count why."""
        planes = cut_planes(picture.read_planes(), self._crop)
        if frame >= self._until:
            first = frame // self._every * self._every
            self._until, self._reference = first + self._every, ()
            self._limits = self._find_limits(first) or assume_no_noise(planes)
        still = self._decide(frame, planes, counts)
        if not still:
            # Views that keep the decoder's picture: at most this one and the one before.
            self._reference = planes
            self.source = frame
        self._before, self._seen = planes, frame
        return still

    def _decide(self, frame: int, planes: Planes, counts: StillCounts) -> bool:
        if not _are_alike(planes, self._reference, self._limits.apart):
            counts.regular += 1
            return False
        if any(limits.too_noisy for limits in self._limits.apart):
            counts.noisy += 1
            return False
        counts.unmeasured += int(np.isnan(self._limits.apart[0].noise))
        found = self._find_moved(frame, planes)
        if found is None:
            counts.still += 1
            return True
        if found.mean() > _WHOLE:
            counts.whole += 1
        else:
            counts.moved += 1
        counts.add_places(found)
        return False

    def _find_moved(self, frame: int, planes: Planes) -> NDArray[np.bool_] | None:
        """Return the blocks in which something moved; None if there are none."""
        limits = self._limits
        if not self._follows(frame, planes):
            return _find_changed(planes, self._reference, limits.apart)
        if self.source == frame - 1:
            # The frame before is the last computed one.
            return _find_changed(planes, self._reference, limits.restless)
        if _find_changed(planes, self._before, limits.steps) is not None:
            return _find_changed(planes, self._reference, limits.restless)
        if frame % _SLOW_EVERY == 0:
            return _find_changed(planes, self._reference, limits.apart)
        return None

    def _follows(self, frame: int, planes: Planes) -> bool:
        """Tell whether a frame can be compared with the one before: noise jumps at keyframes."""
        return (
            self._seen == frame - 1
            and _are_alike(planes, self._before, self._limits.steps)
            and not self._limits.is_keyframe(frame)
        )


def _find_changed(
    planes: Planes, others: Planes, limits: tuple[ChangeLimits, ...]
) -> NDArray[np.bool_] | None:
    """Return the changed blocks of the first plane that has any, as blocks of brightness."""
    for plane, other, each in zip(planes, others, limits, strict=True):
        changed = find_changed(measure_change(plane, other), each)
        if changed.any():
            return _spread(changed, count_blocks(planes[0]))
    return None


def _are_alike(planes: Planes, others: Planes, limits: tuple[ChangeLimits, ...]) -> bool:
    """Tell whether there are pictures and limits of the same shape to compare with."""
    shapes = [plane.shape for plane in planes]
    blocks = [count_blocks(plane) for plane in planes]
    return shapes == [plane.shape for plane in others] and blocks == [
        each.fine.shape for each in limits
    ]


def _spread(changed: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return blocks of another plane as blocks of the plane of brightness."""
    if changed.shape == shape:
        return changed
    rows, columns = (
        np.arange(size) * own // size for size, own in zip(shape, changed.shape, strict=True)
    )
    return changed[np.ix_(rows, columns)]
