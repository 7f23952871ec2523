"""Align the frames of several cameras to the moments of one session.

Every frame of every camera belongs to a moment, so that no video is cut to the length of the
shortest. The moments are the frames of the reference camera: the one with the highest frame rate
and, among equals, the most frames. Where the reference has no frame within the tolerance (it
started late, stopped early or dropped frames), frames of the next camera in this order are moments
of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.integer]

NO_FRAME = -1


@dataclass(frozen=True)
class Moments:
    """Hold the moments of a session.

    Attributes
    ----------
    time
        Shape (moment,), increasing: seconds, or numbers of frames.
    frames
        Shape (moment, camera), int32: the camera's frame at the moment; -1: it has none.
    """

    time: Floats
    frames: NDArray[np.int32]

    @property
    def without_frame(self) -> Numbers:
        """Return the number of moments at which each camera has no frame; shape (camera,)."""
        return np.asarray((self.frames == NO_FRAME).sum(axis=0))


def align_by_number(counts: Sequence[int], offsets: Sequence[int]) -> Moments:
    """Align frames of the same number.

    Parameters
    ----------
    counts
        Number of frames of each camera.
    offsets
        Number of frames by which each camera started late; frame 0 is at this moment.

    Returns
    -------
    Moments
        All moments at which a camera has a frame; `time` is the number of frames since the first.
    """
    own = [
        np.arange(count, dtype=np.int64) + offset
        for count, offset in zip(counts, offsets, strict=True)
    ]
    numbers = np.unique(np.concatenate(own))
    frames = np.full((len(numbers), len(own)), NO_FRAME, np.int32)
    for camera, there in enumerate(own):
        frames[np.searchsorted(numbers, there), camera] = np.arange(len(there))
    first = numbers[0] if len(numbers) else 0
    return Moments((numbers - first).astype(np.float64), frames)


def align_by_time(
    times: Sequence[Floats], tolerance: float, names: Sequence[str] | None = None
) -> Moments:
    """Align frames of the same time.

    A frame belongs to the nearest moment within the tolerance. If two frames of one camera are
    nearest to the same moment, the nearer one is used and the other is not.

    Parameters
    ----------
    times
        Of the frames of each camera, not decreasing, on one clock; NaN: the frame has no time and
        is not used.
    tolerance
        Largest difference to the time of the moment.
    names
        Of the cameras; names decide between cameras of the same rate and length, so that the order
        of the cameras does not matter.

    Returns
    -------
    Moments
        With the times of the reference camera where it has frames.

    Raises
    ------
    ValueError
        If the times of a camera decrease.
    """
    labels = [str(number) for number in range(len(times))] if names is None else list(names)
    known = [np.flatnonzero(np.isfinite(one)) for one in times]
    for one, where, label in zip(times, known, labels, strict=True):
        backwards = np.flatnonzero(np.diff(one[where]) < 0)
        if len(backwards):
            frame = int(where[backwards[0] + 1])
            raise ValueError(f"the times of camera {label} go backwards at frame {frame}")
    order = sorted(
        range(len(times)),
        key=lambda camera: (
            find_period(times[camera]),
            -len(known[camera]),
            labels[camera],
        ),
    )
    moments = np.zeros(0)
    for camera in order:
        own = times[camera][known[camera]]
        nearest, off = _find_nearest(moments, own)
        del nearest
        moments = np.unique(np.concatenate([moments, own[~(off <= tolerance)]]))
    frames = np.full((len(moments), len(times)), NO_FRAME, np.int32)
    for camera in range(len(times)):
        nearest, off = _find_nearest(moments, times[camera][known[camera]])
        near = np.flatnonzero(off <= tolerance)
        # Nearest first: the first frame of each moment is kept.
        near = near[np.lexsort((near, off[near]))]
        taken, first = np.unique(nearest[near], return_index=True)
        frames[taken, camera] = known[camera][near[first]]
    used = (frames != NO_FRAME).any(axis=1)
    return Moments(moments[used], frames[used])


def find_period(times: Floats) -> float:
    """Return the median time between two frames; infinite for fewer than two."""
    steps = np.diff(times[np.isfinite(times)])
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else np.inf


def _find_nearest(moments: Floats, times: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Return the nearest moment of each time, and the distance to it."""
    if not len(moments):
        return np.zeros(len(times), np.intp), np.full(len(times), np.inf)
    after = np.clip(np.searchsorted(moments, times), 1, max(1, len(moments) - 1))
    before = after - 1
    after = np.minimum(after, len(moments) - 1)
    nearer = times - moments[before] <= moments[after] - times
    nearest = np.where(nearer, before, after)
    return nearest, np.abs(times - moments[nearest])
