"""Measure the noise of a video between its frames, as limits of what is no motion."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.io.video.reader import Picture, VideoReader
from pipeline_lib.kernels.stillness import (
    ChangeLimits,
    count_blocks,
    estimate_limits,
    estimate_step_limits,
    measure_noise,
)
from pipeline_lib.steps.infer.tasks import Crop, VideoTask
from pipeline_lib.steps.infer.worker_cache import load_index

Planes = tuple[NDArray[np.uint8], ...]
Noises = list[NDArray[np.float32]]
Pair = tuple[int, int]

# Frames of a part of a video with its own estimate of the noise, which changes at night.
_PART_FRAMES = 18_000
# Pairs of pictures of each kind in a part, and most packets that are decoded to get at them: no
# more than a share of the part.
_PAIRS, _MOST_PACKETS, _MOST_OF_PART = 16, 1_200, 0.25
# Steps from frame to frame beside each pair.
_STEPS = 4
# A frame that moves against the one before is computed if it differs from the last computed one by
# so many times the noise from frame to frame: encoders draw the end of a motion out over frames.
_RESTLESS = 2.5


class Limits(NamedTuple):
    """Hold the largest changes that noise explains.

    Attributes
    ----------
    apart
        Between any two frames, for each plane.
    steps
        Between a frame and the next one, unless that is a keyframe; empty if not measured.
    restless
        Between any two frames, of which the second one moves against the one before.
    keyframes
        Ascending indices of the frames of the video that are keyframes.
    """

    apart: tuple[ChangeLimits, ...]
    steps: tuple[ChangeLimits, ...]
    restless: tuple[ChangeLimits, ...]
    keyframes: NDArray[np.int32]

    def is_keyframe(self, frame: int) -> bool:
        """Tell whether a frame is a keyframe."""
        place = int(np.searchsorted(self.keyframes, frame))
        return place < len(self.keyframes) and int(self.keyframes[place]) == frame


def assume_no_noise(planes: Planes) -> Limits:
    """Return the limits of pictures without noise."""
    apart = tuple(estimate_limits((), count_blocks(plane)) for plane in planes)
    return Limits(apart, (), (), np.zeros(0, np.int32))


def follow_noise(task: VideoTask, *, share: bool) -> Callable[[int], Limits | None]:
    """Return a function that gives the limits of changes by the frame.

    The noise between any two frames is measured between neighbouring keyframes, and between
    keyframes and the frames before them: in compressed video noise hardly changes from frame to
    frame, and jumps there. The noise of steps is measured beside both.

    Parameters
    ----------
    task
        The video.
    share
        As for `pipeline_lib.steps.infer.worker_cache.load_index`.
    """
    parts = max(1, round(task.frames / _PART_FRAMES))
    length = -(-task.frames // parts)

    def find(frame: int) -> Limits | None:
        return _measure_part(task, frame // length * length, length, share)

    return find


@functools.lru_cache(maxsize=4)
def _measure_part(task: VideoTask, start: int, length: int, share: bool) -> Limits | None:
    """Measure the noise of a part of a video, and return the limits of the changes it explains.

    Returns
    -------
    Limits or None
        None if there are no two keyframes to compare.
    """
    index = load_index(task, share=share)
    keyframes = np.sort(index.shown[index.keyframes])
    sampler = _Sampler(VideoReader(task.path, index=index), task.crop, keyframes)
    groups = [sampler.measure(pairs) for pairs in _choose_pairs(keyframes, start, start + length)]
    apart, steps = ([group[kind] for group in groups] for kind in range(2))
    shapes = [[noise.shape for noise in each] for group in apart for each in group]
    if not shapes:
        return None
    by_plane = [
        [
            [[each[plane] for each in group if _have_shapes(each, shapes[0])] for group in kind]
            for kind in (apart, steps)
        ]
        for plane in range(len(shapes[0]))
    ]
    limits = tuple(
        estimate_limits(of[0], shape) for of, shape in zip(by_plane, shapes[0], strict=True)
    )
    small = [estimate_step_limits(of[1]) for of in by_plane]
    measured = [(one, step) for one, step in zip(limits, small, strict=True) if step is not None]
    return Limits(
        limits,
        tuple(step for _, step in measured),
        tuple(one.tighten(step, _RESTLESS) for one, step in measured),
        keyframes,
    )


def _have_shapes(noises: Noises, shapes: list[tuple[int, ...]]) -> bool:
    return [noise.shape for noise in noises] == shapes


class _Sampler:
    """Measure the noise of pairs of frames, and of steps beside them."""

    def __init__(
        self, reader: VideoReader, crop: Crop | None, keyframes: NDArray[np.int32]
    ) -> None:
        self._reader, self._crop = reader, crop
        self._keyframes = frozenset(keyframes.tolist())

    def measure(self, pairs: list[Pair]) -> tuple[list[Noises], list[Noises]]:
        """Return the noise of each plane of pairs, and of the steps beside them."""
        begun = self._reader.packets_read
        apart: list[Noises] = []
        steps: list[Noises] = []
        for pair in pairs:
            if self._reader.packets_read - begun > _MOST_PACKETS:
                break
            first: Planes = ()
            before: tuple[int, Planes] = (-1, ())
            for frame, planes in self._read(pair):
                if frame == pair[1]:
                    _add_noise(apart, first, planes)
                if frame == before[0] + 1 and frame not in self._keyframes:
                    _add_noise(steps, before[1], planes)
                if frame == pair[0]:
                    first = planes
                before = frame, planes
        return apart, steps

    def _read(self, pair: Pair) -> Iterator[tuple[int, Planes]]:
        """Yield both frames of a pair, and frames beside the first one in the same pass."""
        first, second = pair
        if second == first + 1:
            spans = [(max(first - _STEPS, 0), second + 1)]
        else:
            spans = [(first, min(first + _STEPS + 1, second)), (second, second + 1)]
        for span in spans:
            for frame, picture in self._reader.read_pictures(*span):
                yield frame, () if picture is None else _copy_planes(picture, self._crop)


def _add_noise(noises: list[Noises], first: Planes, second: Planes) -> None:
    if [plane.shape for plane in first] == [plane.shape for plane in second] != []:
        noises.append([measure_noise(*both) for both in zip(first, second, strict=True)])


def _choose_pairs(
    keyframes: NDArray[np.int32], start: int, stop: int
) -> tuple[list[Pair], list[Pair]]:
    """Return pairs of frames spread over a part of a video, of two kinds.

    Returns
    -------
    keyframes
        Neighbouring keyframes.
    joints
        The frame before a keyframe, and the keyframe: fewer or none where they are far apart,
        because all frames between must be decoded.
    """
    shown = keyframes[(keyframes >= start) & (keyframes < stop)]
    if len(shown) < 2:
        return [], []
    pairs = list(itertools.pairwise(shown.tolist()))
    gap = max(float(np.median(np.diff(shown))), 1.0)
    affordable = int(min(_MOST_PACKETS, _MOST_OF_PART * (stop - start)) / gap)
    chosen = _spread_out(pairs, min(_PAIRS, affordable))
    return _spread_out(pairs, _PAIRS), [(second - 1, second) for _, second in chosen]


def _spread_out(pairs: list[Pair], count: int) -> list[Pair]:
    if len(pairs) <= count:
        return pairs
    # In the middle of equal parts.
    return [pairs[int((number + 0.5) * len(pairs) / count)] for number in range(count)]


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


def _copy_planes(picture: Picture, crop: Crop | None) -> Planes:
    return tuple(np.array(plane) for plane in cut_planes(picture.read_planes(), crop))
