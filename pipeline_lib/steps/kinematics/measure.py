"""Measure the movement of the individuals of one video."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.settings.outputs.kinematics import KinematicsSettings
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL
from pipeline_lib.io.poses.format import LAYOUT
from pipeline_lib.io.poses.read import read_arrays, read_poses, read_times
from pipeline_lib.kernels.kinematics.derivatives import (
    Derivatives,
    difference,
    differentiate,
    measure_window,
)
from pipeline_lib.kernels.kinematics.measures import (
    find_centre,
    find_nearest,
    measure_angle,
    measure_distance,
    measure_heading,
    unwrap_degrees,
)

# Points, or pairs of individuals, that are measured at a time; and frames, at most and at least.
_BLOCK_POINTS = 2**22
_MOST_FRAMES, _LEAST_FRAMES = 2**16, 2**10

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Movement:
    """Hold what was measured of a video.

    Attributes
    ----------
    individuals
        Names of the animals.
    time
        Shape (time,), seconds.
    values
        By name of the column of `frames`, shape (time, individual); ``nearest`` has the index of
        an individual. ``point_x``, ``point_y`` are those of the point that visits regions.
    pairs
        Ordered pairs of individuals; none if they are not measured.
    pair_values
        By name of the column of `pairs`, shape (time, pair).
    """

    individuals: tuple[str, ...]
    time: Doubles
    values: dict[str, NDArray[Any]]
    pairs: tuple[tuple[int, int], ...]
    pair_values: dict[str, NDArray[Any]]


def measure_movement(path: Path, settings: KinematicsSettings, scale: float) -> Movement:
    """Measure the poses of a video.

    Parameters
    ----------
    path
        The pose file.
    settings
        What to measure.
    scale
        Factor from pixels to the unit of the tables.

    Raises
    ------
    StoreError
        If the file is missing or damaged, or has not all bodyparts that the settings name.
    """
    head = read_poses(path, 0, 0)
    time = read_times(path)
    unknown = [name for name in settings.bodyparts if name not in head.bodyparts]
    if unknown:
        raise StoreError(
            f"`kinematics` names bodypart {unknown[0]!r}, which the poses do not have; they have "
            f"{', '.join(head.bodyparts)}"
        )
    kept = [slot for slot, name in enumerate(head.individuals) if name != UNIQUE_INDIVIDUAL]
    pairs = tuple(permutations(range(len(kept)), 2)) if settings.pairs else ()
    measure = _Measure(
        settings, head.bodyparts, measure_window(settings.window, time, settings.order)
    )
    joined: tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]] = {}, {}
    each = len(kept) * max(len(kept), len(head.bodyparts))
    for frames, kept_frames, cut in _divide(len(time), measure.reach, each):
        position = read_arrays(path, LAYOUT, frames, ("position",))[0]["position"][:, kept]
        values, pair_values = measure(position.astype(np.float64) * scale, time[frames], pairs)
        for whole, part in zip(joined, (values, pair_values), strict=True):
            _fill(whole, part, cut, kept_frames, len(time))
    return Movement(
        tuple(head.individuals[slot] for slot in kept),
        time,
        joined[0],
        pairs,
        joined[1],
    )


class _Measure:
    """Measure a block of frames."""

    def __init__(
        self, settings: KinematicsSettings, bodyparts: tuple[str, ...], window: int
    ) -> None:
        self._settings, self._window = settings, window
        self._named = settings.bodyparts
        self._indices = [bodyparts.index(name) for name in self._named]
        self._centre = [bodyparts.index(name) for name in settings.centre] or slice(None)
        self._plain = settings.smoothing == "none"
        # Positions depend on a window to either side, and turning on headings to either side.
        self.reach = 4 if self._plain else 2 * (window - 1)

    def __call__(
        self, position: Doubles, time: Doubles, pairs: tuple[tuple[int, int], ...]
    ) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Return the columns of `frames` and of `pairs`."""
        settings = self._settings
        centre, found = find_centre(position[:, :, self._centre])
        points = np.concatenate([centre[:, :, None], position[:, :, self._indices]], axis=2)
        moved = self._differentiate(points, time)
        place = {name: moved.value[:, :, slot] for slot, name in enumerate(("", *self._named))}
        middle = place[""]
        visitor = place[settings.regions_point or ""]
        values: dict[str, NDArray[Any]] = {
            "x": middle[..., 0],
            "y": middle[..., 1],
            "found": found,
            "velocity_x": moved.first[:, :, 0, 0],
            "velocity_y": moved.first[:, :, 0, 1],
            "speed": _measure_length(moved.first[:, :, 0]),
            "acceleration": _measure_length(moved.second[:, :, 0]),
            "point_x": visitor[..., 0],
            "point_y": visitor[..., 1],
        }
        if settings.heading:
            back, front = (place[name] for name in settings.heading)
            values["heading"] = measure_heading(back, front)
            values["turning"] = self._differentiate(unwrap_degrees(values["heading"]), time).first
        for name in settings.speeds:
            slot = 1 + self._named.index(name)
            values[f"speed_{name}"] = _measure_length(moved.first[:, :, slot])
            values[f"acceleration_{name}"] = _measure_length(moved.second[:, :, slot])
        for one, other in settings.distances:
            values[f"distance_{one}_{other}"] = measure_distance(place[one], place[other])
        for name, (one, joint, other) in settings.angles.items():
            values[f"angle_{name}"] = measure_angle(place[one], place[joint], place[other])
        values["nearest"], values["nearest_distance"] = find_nearest(middle)
        return values, self._measure_pairs(place, pairs)

    def _measure_pairs(
        self, place: dict[str, Doubles], pairs: tuple[tuple[int, int], ...]
    ) -> dict[str, NDArray[Any]]:
        if not pairs:
            return {}
        own, others = (list(side) for side in zip(*pairs, strict=True))
        values = {"distance": _measure_between(place[""], place[""], own, others)}
        for one, other in self._settings.between:
            distance = _measure_between(place[one], place[other], own, others)
            values[f"distance_{one}_{other}"] = distance
        return values

    def _differentiate(self, values: Doubles, time: Doubles) -> Derivatives:
        if self._plain:
            return difference(values, time)
        return differentiate(values, time, self._window, self._settings.order)


def _measure_between(
    one: Doubles, other: Doubles, own: list[int], others: list[int]
) -> NDArray[np.float32]:
    """Return distances as the table has them: there may be many pairs."""
    return measure_distance(one[:, own], other[:, others]).astype(np.float32)


def _measure_length(vector: Doubles) -> Doubles:
    return np.hypot(vector[..., 0], vector[..., 1])


def _divide(total: int, reach: int, each: int) -> Iterator[tuple[slice, slice, slice]]:
    """Yield the frames to read, those of the block, and where these lie among the former."""
    step = min(_MOST_FRAMES, max(_LEAST_FRAMES, _BLOCK_POINTS // max(1, each)))
    for start in range(0, max(total, 1), step):
        stop = min(start + step, total)
        first = max(0, start - reach)
        yield slice(first, stop + reach), slice(start, stop), slice(start - first, stop - first)


def _fill(
    whole: dict[str, NDArray[Any]],
    part: dict[str, NDArray[Any]],
    cut: slice,
    frames: slice,
    total: int,
) -> None:
    """Copy a block into the arrays of the whole video."""
    for name, array in part.items():
        if name not in whole:
            whole[name] = np.empty((total, *array.shape[1:]), array.dtype)
        whole[name][frames] = array[cut]
