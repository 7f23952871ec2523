"""Measure the quality of the poses of one video: numbers of the whole video and of its windows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.poses import Poses, find_decoded
from pipeline_lib.core.tables import FrameStatus

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]

# A video has at most this number of windows, none shorter than a second.
_MOST_WINDOWS, _LEAST_SECONDS = 600, 1.0
# Frame rate below which keypoints may move farther from a frame to the next.
_USUAL_RATE = 25.0
# px that a keypoint of a video that stands still may seem to move: rounding of the arithmetic.
_STILL = 0.05
# Seconds of a video from which on it tells whether an animal moves.
_LEAST_MOVEMENT = 30.0
# Percentile of the number of individuals over frames that counts as that usually seen.
_USUAL_COUNT = 90
# Robust estimate of a normal distribution's standard deviation.
_NORMAL = 1.4826


@dataclass(frozen=True)
class FrameMeasures:
    """Hold what is measured of each frame, so that long videos can be read in blocks.

    Attributes
    ----------
    decoded
        Shape (time,): whether the frame could be decoded.
    found
        Shape (time,): keypoints that were found.
    individuals
        Shape (time,): individuals with a keypoint that was found.
    confidence
        Shape (time,): sum of the confidence of all keypoints of these individuals.
    steps
        Shape (time,): keypoints found in this frame and the one before.
    farthest
        Shape (time,): the longest step of these, px; NaN: there are none.
    jumps
        Shape (time,): steps longer than the limit.
    place
        Shape (time, individual, 2): mean position of the keypoints that were found, px; NaN: none.
    copied
        Shape (time,): whether the pose is that of an earlier frame, because nothing had moved.
    """

    decoded: Flags
    found: Doubles
    individuals: Doubles
    confidence: Doubles
    steps: Doubles
    farthest: Doubles
    jumps: Doubles
    place: Doubles
    copied: Flags


def measure_frames(
    poses: Poses, pcutoff: float, longest_step: float, previous: Floats | None = None
) -> FrameMeasures:
    """Measure each frame of a block.

    Parameters
    ----------
    poses
        Poses of the block.
    pcutoff
        Confidence from which a keypoint counts as found.
    longest_step
        px that a keypoint may move from a frame to the next; longer steps are jumps.
    previous
        Shape (individual, keypoint, 2): keypoints found in the frame before the block; None: there
        is no such frame.
    """
    found = find_keypoints(poses, pcutoff)
    shown = np.where(found[..., None], poses.position, np.nan).astype(np.float64)
    there = np.asarray(found.any(axis=-1))
    first = np.full((1, *shown.shape[1:]), np.nan) if previous is None else previous[None]
    step = np.hypot(*np.moveaxis(np.diff(np.concatenate([first, shown]), axis=0), -1, 0))
    known = np.isfinite(step)
    filled = np.where(known, step, -np.inf).max(axis=(1, 2), initial=-np.inf)
    count = found.sum(axis=-1)
    place = np.divide(
        np.where(found[..., None], shown, 0.0).sum(axis=2),
        count[..., None],
        out=np.full((*count.shape, 2), np.nan),
        where=count[..., None] > 0,
    )
    sums = np.where(there[..., None], np.nan_to_num(poses.confidence), 0.0).sum(axis=(1, 2))
    return FrameMeasures(
        decoded=find_decoded(poses.frame_status),
        found=count.sum(axis=1).astype(np.float64),
        individuals=there.sum(axis=1).astype(np.float64),
        confidence=sums.astype(np.float64),
        steps=known.sum(axis=(1, 2)).astype(np.float64),
        farthest=np.where(np.isfinite(filled), filled, np.nan),
        jumps=(known & (step > longest_step)).sum(axis=(1, 2)).astype(np.float64),
        place=place,
        copied=np.asarray(poses.frame_status == FrameStatus.STILL),
    )


def find_keypoints(poses: Poses, pcutoff: float) -> Flags:
    """Return which keypoints were found, shape (time, individual, keypoint)."""
    # A comparison with NaN is False: a frame without a picture shows nothing.
    located = np.asarray(np.isfinite(poses.position).all(axis=-1))
    found: Flags = np.logical_and(located, poses.confidence >= pcutoff)
    return found


def join_frames(parts: Sequence[FrameMeasures]) -> FrameMeasures:
    """Join the measures of consecutive blocks."""
    names = FrameMeasures.__dataclass_fields__
    return FrameMeasures(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )


def measure_body(position: Floats, found: Flags) -> float:
    """Return the size of the body in px: twice the root mean square distance from the centre.

    The median over individuals and frames that show at least half of the keypoints, and two. NaN:
    there is none.
    """
    count = found.sum(axis=-1)
    whole = (count >= 2) & (2 * count >= found.shape[-1])
    if not whole.any():
        return np.nan
    shown = np.where(found[..., None], position, np.nan)[whole].astype(np.float64)
    centred = shown - np.nanmean(shown, axis=1, keepdims=True)
    square = np.nanmean(np.square(centred).sum(axis=-1), axis=1)
    return float(2.0 * np.sqrt(np.median(square)))


def measure_edges(
    position: Floats, found: Flags, edges: Sequence[tuple[int, int]]
) -> tuple[Doubles, Doubles]:
    """Measure the lengths of edges between keypoints.

    Parameters
    ----------
    position, found
        Shapes (time, individual, keypoint, 2) and (time, individual, keypoint).
    edges
        Pairs of keypoints.

    Returns
    -------
    length, spread
        Shape (edge,): median in px, and robust standard deviation of the lengths relative to it.
        NaN: fewer than three frames show the edge, or it has no length.
    """
    length, spread = np.full(len(edges), np.nan), np.full(len(edges), np.nan)
    for place, (one, other) in enumerate(edges):
        both = found[..., one] & found[..., other]
        vector = (position[..., one, :] - position[..., other, :])[both].astype(np.float64)
        lengths = np.hypot(vector[:, 0], vector[:, 1])
        middle = float(np.median(lengths)) if len(lengths) > 2 else 0.0
        if middle > 0:
            length[place] = middle
            spread[place] = _NORMAL * float(np.median(np.abs(lengths - middle))) / middle
    return length, spread


def choose_longest_step(body: float, rate: float, diagonal: float) -> float:
    """Return the px that a keypoint may move from a frame to the next.

    Parameters
    ----------
    body
        Size of the body, px; NaN: unknown, and a twentieth of the frame's diagonal stands for it.
    rate
        Frames per second.
    diagonal
        Of the frame, px; 0: unknown.
    """
    size = body if np.isfinite(body) and body > 0 else diagonal / 20 or np.inf
    return float(size * max(1.0, _USUAL_RATE / rate)) if rate > 0 else float(size)


@dataclass(frozen=True)
class Body:
    """Describe the bodies that a video shows.

    Attributes
    ----------
    size
        As `measure_body`, px; NaN: unknown.
    keypoints, slots
        Keypoints of an individual, and individuals that the poses have room for.
    whole
        Whether all positions are whole numbers, so that they may rest although the video goes on.
    """

    size: float
    keypoints: int
    slots: int
    whole: bool


def describe_body(poses: Poses, pcutoff: float) -> Body:
    """Describe the bodies in frames of a video."""
    found = find_keypoints(poses, pcutoff)
    shown = poses.position[found]
    whole = bool(len(shown)) and bool((shown == np.round(shown)).all())
    _, slots, keypoints = found.shape
    return Body(measure_body(poses.position, found), keypoints, slots, whole)


@dataclass(frozen=True)
class PoseQuality:
    """Hold the measures of the poses of a video, by the names of the checks.

    Attributes
    ----------
    values
        Of the whole video; NaN: nothing could be measured.
    seconds
        Duration of a window.
    windows
        The same for each window, shape (window,); NaN: nothing to measure in it.
    """

    values: dict[str, float]
    seconds: float
    windows: dict[str, Doubles]


def summarise_frames(frames: FrameMeasures, time: Doubles, body: Body) -> PoseQuality:
    """Sum up the measures of the frames of a video.

    Parameters
    ----------
    frames
        Measures of each frame.
    time
        Shape (time,), seconds.
    body
        The bodies.
    """
    rate = measure_rate(time)
    duration = len(time) / rate if rate > 0 else 0.0
    seconds = max(_LEAST_SECONDS, duration / _MOST_WINDOWS)
    window = np.minimum((time - (time[0] if len(time) else 0.0)) // seconds, _MOST_WINDOWS)
    window = window.astype(np.intp)
    number = int(window[-1]) + 1 if len(window) else 0

    def add(values: NDArray[Any]) -> Doubles:
        weights = values.astype(np.float64)
        return np.bincount(window, weights, number).astype(np.float64)

    expected = body.keypoints * count_usual(frames, body.slots)
    decoded, found = frames.decoded, frames.found * frames.decoded
    shown = frames.individuals * frames.decoded
    farthest = spread_steps(frames.farthest, frames.copied)
    frozen = find_frozen(farthest, rate) & (not body.whole)
    ways, per_window = measure_ways(frames.place, window, number, body.size)
    sums: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {
        "detection": (found, expected * decoded),
        "confidence": (frames.confidence * decoded, body.keypoints * shown),
        "jumps": (frames.jumps, frames.steps),
        "missing_frames": (~decoded, np.ones(len(time))),
        "frozen": (frozen, np.ones(len(time))),
    }
    if body.slots > 1:
        sums["animals"] = (shown, decoded)
    values = {name: _divide(np.sum(top), np.sum(bottom)) for name, (top, bottom) in sums.items()}
    windows = {name: _divide(add(top), add(bottom)) for name, (top, bottom) in sums.items()}
    minutes = duration / 60
    # Any animal may rest for a few seconds.
    values["movement"] = float(ways / minutes) if duration >= _LEAST_MOVEMENT else np.nan
    windows["movement"] = per_window * 60 / seconds
    values |= {"body_size": body.size, "duration": duration, "frame_rate": rate}
    return PoseQuality({name: float(value) for name, value in values.items()}, seconds, windows)


def count_usual(frames: FrameMeasures, slots: int) -> float:
    """Return the number of individuals that are usually seen, at least one."""
    if slots == 1 or not frames.decoded.any():
        return 1.0
    return max(1.0, float(np.percentile(frames.individuals[frames.decoded], _USUAL_COUNT)))


def measure_rate(time: Doubles) -> float:
    """Return the frames per second; 0: there are fewer than two times."""
    steps = np.diff(time)
    step = float(np.median(steps)) if len(steps) else 0.0
    return 1.0 / step if step > 0 else 0.0


def spread_steps(farthest: Doubles, copied: Flags) -> Doubles:
    """Return the longest steps where the poses of copies are not known: those to the next one.

    A pose that was computed again tells whether the picture had frozen or an animal rested: of a
    frozen picture it is the same.

    Parameters
    ----------
    farthest
        Shape (time,): the longest step of a keypoint to each frame, px.
    copied
        Shape (time,): whether the pose of a frame is that of an earlier one.

    Returns
    -------
    ndarray
        Shape (time,), px; NaN for copies that no computed pose follows.
    """
    if not copied.any():
        return farthest
    run = np.concatenate([[0], np.cumsum(~copied)[:-1]])
    longest = np.full(int(run[-1]) + 1, -np.inf)
    np.maximum.at(longest, run, np.where(np.isfinite(farthest), farthest, np.inf))
    spread = longest[run]
    if copied[-1]:
        spread[run == run[-1]] = np.nan
    return np.where(np.isfinite(spread), spread, np.nan)


def find_frozen(farthest: Doubles, rate: float) -> Flags:
    """Return which frames lie within a second or more in which no keypoint moves at all.

    Parameters
    ----------
    farthest
        Shape (time,): the longest step of a keypoint to this frame, px; NaN: no keypoint is found
        in both, which interrupts a stretch.
    rate
        Frames per second.
    """
    still = farthest < _STILL
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(np.int8)))
    frozen = np.zeros(len(still), np.bool_)
    for start, stop in edges.reshape(-1, 2):
        # The frame before the first step stands still, too.
        if stop - start >= max(2.0, rate * _LEAST_SECONDS):
            frozen[max(0, start - 1) : stop] = True
    return frozen


def measure_ways(
    place: Doubles, window: NDArray[np.intp], number: int, body: float
) -> tuple[float, Doubles]:
    """Measure how far individuals go, by their median place in each window.

    Short windows, and not frames, so that trembling keypoints do not add up to a way.

    Parameters
    ----------
    place
        Shape (time, individual, 2), px; NaN: not found.
    window
        Shape (time,): window of each frame, ascending.
    number
        Number of windows.
    body
        Size of the body, px.

    Returns
    -------
    way, per_window
        In body sizes, the mean of the individuals that are seen; the second has shape (window,),
        NaN where none is seen in this window and the one before. NaN: no two windows show one, or
        the size is unknown.
    """
    starts = np.searchsorted(window, np.arange(number + 1))
    middle = np.full((number, *place.shape[1:]), np.nan)
    for row in range(number):
        part = place[starts[row] : starts[row + 1]]
        seen = np.isfinite(part[..., 0])
        for slot in np.flatnonzero(seen.any(axis=0)):
            middle[row, slot] = np.median(part[seen[:, slot], slot], axis=0)
    step = np.hypot(*np.moveaxis(np.diff(middle, axis=0), -1, 0)) / body
    known = np.isfinite(step)
    per_window = np.full(number, np.nan)
    if number > 1:
        per_window[1:] = _divide(np.where(known, step, 0.0).sum(axis=1), known.sum(axis=1))
    if not known.any():
        return np.nan, per_window
    # Windows in which nobody is seen count as others do.
    return float(np.nanmean(per_window) * number), per_window


def _divide(top: Any, bottom: Any) -> Any:  # noqa: ANN401 - numbers or arrays
    top, bottom = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
