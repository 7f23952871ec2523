"""Find the frames of a video in which nothing moves, before they are converted or computed.

A frame is compared with the last computed one, so that slow motion adds up. Every N frames, on a
fixed grid of frame indices, a pose is computed whatever the picture shows. What is decided about a
frame therefore depends on the frames since the grid's last point, and on the noise, which is
measured between keyframes of the part of the video around it: not on where segments begin.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.io.video.reader import Picture, VideoIndex, VideoReader
from pipeline_lib.kernels.stillness import (
    BLOCK,
    ChangeLimits,
    count_blocks,
    estimate_limits,
    find_changed,
    measure_change,
    measure_noise,
)
from pipeline_lib.steps.infer.tasks import Crop, VideoTask
from pipeline_lib.steps.infer.worker_cache import load_index

Image = NDArray[np.uint8]
Planes = tuple[Image, ...]
Limits = tuple[ChangeLimits, ...]
Pair = tuple[int, int]

# Frames of a part of a video with its own estimate of the noise, which changes at night.
_PART_FRAMES = 18_000
# Pairs of pictures of each kind in a part, and most packets that are decoded to get at them.
_PAIRS, _MOST_PACKETS = 16, 1_200
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
    find_limits: Callable[[int], Limits],
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
        Return the limits of the changes of each plane by the frame.
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
    """Compare each frame with the last one that was computed."""

    def __init__(self, task: VideoTask, find_limits: Callable[[int], Limits]) -> None:
        self._every, self._crop, self._find_limits = task.still_frames, task.crop, find_limits
        self._reference: Planes | None = None
        self._limits: Limits = ()
        self._until = 0
        self.source = -1

    def is_still(self, frame: int, picture: Picture, counts: StillCounts) -> bool:
        """Tell whether a frame has the pose of the last computed one, and count why."""
        planes = cut_planes(picture.read_planes(), self._crop)
        if frame >= self._until:
            first = frame // self._every * self._every
            self._until, self._reference = first + self._every, None
            self._limits = self._find_limits(first) or _assume_no_noise(planes)
        if not self._is_comparable(planes):
            counts.regular += 1
        elif any(limits.too_noisy for limits in self._limits):
            counts.noisy += 1
        elif self._is_equal(planes, counts):
            return True
        # Copies, because a view would keep the decoder's picture.
        self._reference = tuple(np.array(plane) for plane in planes)
        self.source = frame
        return False

    def _is_comparable(self, planes: Planes) -> bool:
        """Tell whether there are a picture and limits of the same shape to compare with."""
        if self._reference is None:
            return False
        shapes = [plane.shape for plane in planes]
        blocks = [count_blocks(plane) for plane in planes]
        return shapes == [plane.shape for plane in self._reference] and blocks == [
            limits.fine.shape for limits in self._limits
        ]

    def _is_equal(self, planes: Planes, counts: StillCounts) -> bool:
        counts.unmeasured += int(np.isnan(self._limits[0].noise))
        found: NDArray[np.bool_] | None = None
        for plane, before, limits in zip(planes, self._reference or (), self._limits, strict=True):
            changed = find_changed(measure_change(plane, before), limits)
            if changed.any():
                place = _spread(changed, count_blocks(planes[0]))
                found = place if found is None else found | place
        if found is None:
            counts.still += 1
            return True
        if found.mean() > _WHOLE:
            counts.whole += 1
        else:
            counts.moved += 1
        counts.add_places(found)
        return False


def _assume_no_noise(planes: Planes) -> Limits:
    return tuple(estimate_limits((), count_blocks(plane)) for plane in planes)


def _spread(changed: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return blocks of another plane as blocks of the plane of brightness."""
    if changed.shape == shape:
        return changed
    rows, columns = (
        np.arange(size) * own // size for size, own in zip(shape, changed.shape, strict=True)
    )
    return changed[np.ix_(rows, columns)]


def cut_planes(planes: Planes, crop: Crop | None) -> Planes:
    """Cut a region, given in px of the frame, out of planes that may have fewer pixels."""
    if crop is None:
        return tuple(np.ascontiguousarray(plane) for plane in planes)
    height, width = planes[0].shape
    x1, x2, y1, y2 = crop
    cut = []
    for plane in planes:
        down, right = -(-height // plane.shape[0]), -(-width // plane.shape[1])
        part = plane[y1 // down : -(-y2 // down), x1 // right : -(-x2 // right)]
        cut.append(np.ascontiguousarray(part))
    return tuple(cut)


def follow_noise(task: VideoTask, *, share: bool) -> Callable[[int], Limits]:
    """Return a function that gives the limits of changes by the frame.

    The noise is measured between neighbouring keyframes, and between keyframes and the frames
    before them: in compressed video noise hardly changes from frame to frame, and jumps there.

    Parameters
    ----------
    task
        The video.
    share
        As for `pipeline_lib.steps.infer.worker_cache.load_index`.
    """
    parts = max(1, round(task.frames / _PART_FRAMES))
    length = -(-task.frames // parts)

    def find(frame: int) -> Limits:
        return _measure_part(task, frame // length * length, length, share)

    return find


@functools.lru_cache(maxsize=4)
def _measure_part(task: VideoTask, start: int, length: int, share: bool) -> Limits:
    """Measure the noise of a part of a video, and return the limits of the changes it explains.

    Returns
    -------
    tuple of ChangeLimits
        One for each plane; empty if there are no two keyframes to compare.
    """
    index = load_index(task, share=share)
    reader = VideoReader(task.path, index=index)
    groups: list[list[list[NDArray[np.float32]]]] = []
    for pairs in _choose_pairs(index, start, start + length):
        begun = reader.packets_read
        groups.append([])
        for pair in pairs:
            if reader.packets_read - begun > _MOST_PACKETS:
                break
            first, second = _read_pair(reader, pair, task.crop)
            if [plane.shape for plane in first] == [plane.shape for plane in second] != []:
                groups[-1].append(
                    [measure_noise(*both) for both in zip(first, second, strict=True)]
                )
    shapes = [[noise.shape for noise in each] for group in groups for each in group]
    if not shapes:
        return ()
    return tuple(
        estimate_limits(
            [
                [each[plane] for each in group if [one.shape for one in each] == shapes[0]]
                for group in groups
            ],
            shape,
        )
        for plane, shape in enumerate(shapes[0])
    )


def _choose_pairs(index: VideoIndex, start: int, stop: int) -> tuple[list[Pair], list[Pair]]:
    """Return pairs of frames spread over a part of a video, of two kinds.

    Returns
    -------
    keyframes
        Neighbouring keyframes.
    joints
        The frame before a keyframe, and the keyframe: fewer where they are far apart, because all
        frames between must be decoded.
    """
    shown = np.sort(index.shown[index.keyframes])
    shown = shown[(shown >= start) & (shown < stop)]
    if len(shown) < 2:
        return [], []
    pairs = list(itertools.pairwise(shown.tolist()))
    affordable = int(_MOST_PACKETS / max(np.median(np.diff(shown)), 1))
    joints = [(second - 1, second) for _, second in _spread_out(pairs, min(_PAIRS, affordable))]
    return _spread_out(pairs, _PAIRS), joints


def _spread_out(pairs: list[Pair], count: int) -> list[Pair]:
    if len(pairs) <= count:
        return pairs
    # In the middle of equal parts.
    return [pairs[int((number + 0.5) * len(pairs) / count)] for number in range(count)]


def _read_pair(reader: VideoReader, pair: Pair, crop: Crop | None) -> tuple[Planes, Planes]:
    """Return the planes of two frames; none of one that cannot be decoded."""
    first, second = pair
    # One after the other in one pass.
    spans = [(first, second + 1)] if second == first + 1 else [(one, one + 1) for one in pair]
    found = [
        () if picture is None else _copy_planes(picture, crop)
        for span in spans
        for _, picture in reader.read_pictures(*span)
    ]
    return found[0], found[1]


def _copy_planes(picture: Picture, crop: Crop | None) -> Planes:
    return tuple(np.array(plane) for plane in cut_planes(picture.read_planes(), crop))
