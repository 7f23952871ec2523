"""Arrange what was measured of a video in the tables of kinematics."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.formats.kinematics import TableName
from pipeline_lib.core.settings.outputs.kinematics import KinematicsSettings
from pipeline_lib.io.tidy_tables import Values
from pipeline_lib.kernels.kinematics.regions import (
    INSIDE,
    UNKNOWN,
    find_entries,
    find_inside,
    overlaps,
)
from pipeline_lib.kernels.kinematics.times import (
    average_bins,
    average_directions,
    count_bins,
    find_bins,
    find_bouts,
    find_largest,
    measure_durations,
    sum_bins,
)
from pipeline_lib.steps.kinematics.measure import Movement
from pipeline_lib.steps.kinematics.sources import VideoFacts

Table = tuple[dict[str, Values], int]

# Rows that are arranged at a time, unless one individual has more.
_MOST_ROWS = 2**20

# Columns of `frames` whose mean is not among the bins, or is made in another way.
_NOT_AVERAGED = frozenset(
    {"x", "y", "found", "velocity_x", "velocity_y", "point_x", "point_y", "heading", "nearest"}
)


class VideoTables:
    """Arrange the tables of one video.

    Parameters
    ----------
    movement
        What was measured.
    settings
        Of the run.
    facts
        Of the video.
    names
        Names of all regions of the cohort.

    Raises
    ------
    StoreError
        If a region of the video lies outside its frame.
    """

    def __init__(
        self,
        movement: Movement,
        settings: KinematicsSettings,
        facts: VideoFacts,
        names: list[str],
    ) -> None:
        self._movement, self._settings, self._facts = movement, settings, facts
        self._durations = measure_durations(movement.time)
        shape = movement.values["x"].shape
        self._states = {name: np.full(shape, UNKNOWN, np.int8) for name in names} | self._visit()
        self._bouts = [self._find_bouts(slot) for slot in range(shape[1])]

    def make(self, table: TableName) -> Iterator[Table]:
        """Yield values of the columns of a table, and the number of rows, part by part."""
        makers = {
            "frames": self._make_frames,
            "pairs": self._make_pairs,
            "bins": self._make_bins,
            "bouts": self._make_bouts,
        }
        return makers[table]()

    def _visit(self) -> dict[str, NDArray[np.int8]]:
        """Return the state of each individual in each frame, by region of the video."""
        facts, values = self._facts, self._movement.values
        point = np.stack([values["point_x"], values["point_y"]], axis=-1)
        # Polygons and frames in the unit of the tables.
        scale = facts.scale or 1.0
        unit = scale if self._settings.unit == "mm" else 1.0
        factor = unit if self._settings.regions_unit == "px" else unit / scale
        states = {}
        for name, region in facts.regions.items():
            rings = [ring * factor for ring in region.rings]
            size = facts.width * unit, facts.height * unit
            if all(size) and not any(overlaps(ring, *size) for ring in rings):
                raise StoreError(
                    f"region {name} lies outside the frame of {facts.width} x {facts.height} px: "
                    "correct it, or name the `video` or `camera` whose region it is"
                )
            states[name] = find_inside(point, rings)
        return states

    def _find_bouts(self, slot: int) -> NDArray[np.intp]:
        if self._settings.still_speed is None:
            return np.zeros((0, 2), np.intp)
        speed = self._movement.values["speed"][:, slot]
        limits = self._settings.still_speed, self._settings.still_seconds
        return find_bouts(speed, self._durations, *limits)

    def _mark_still(self) -> NDArray[np.int8]:
        speed = self._movement.values["speed"]
        still = np.where(np.isnan(speed), UNKNOWN, 0).astype(np.int8)
        for slot, bouts in enumerate(self._bouts):
            for start, stop in bouts:
                still[start:stop, slot] = 1
        return still

    def _make_frames(self) -> Iterator[Table]:
        movement, still = self._movement, self._mark_still()
        frames = len(movement.time)
        names = np.array([*movement.individuals, None], object)
        for part in _divide(len(movement.individuals), frames):
            count = len(names[:-1][part])
            columns: dict[str, Values] = {
                "video": self._facts.video,
                "individual": np.repeat(names[:-1][part], frames),
                "frame": np.tile(np.arange(frames), count),
                "time": np.tile(movement.time, count),
                **{name: array[:, part].T.ravel() for name, array in movement.values.items()},
                **{f"in_{name}": one[:, part].T.ravel() for name, one in self._states.items()},
                "still": still[:, part].T.ravel(),
            }
            columns["nearest"] = names[movement.values["nearest"][:, part].T.ravel()]
            yield columns, count * frames

    def _make_pairs(self) -> Iterator[Table]:
        movement = self._movement
        names, frames = np.array(movement.individuals, object), len(movement.time)
        for part in _divide(len(movement.pairs), frames):
            own, others = (list(side) for side in zip(*movement.pairs[part], strict=True))
            columns: dict[str, Values] = {
                "video": self._facts.video,
                "individual": np.repeat(names[own], frames),
                "other": np.repeat(names[others], frames),
                "frame": np.tile(np.arange(frames), len(own)),
                "time": np.tile(movement.time, len(own)),
                **{name: array[:, part].T.ravel() for name, array in movement.pair_values.items()},
            }
            yield columns, len(own) * frames

    def _make_bouts(self) -> Iterator[Table]:
        movement, time = self._movement, self._movement.time
        ends = np.append(time[1:], time[-1:] + self._durations[-1:])
        rows: dict[str, list[Any]] = {
            name: []
            for name in (
                "individual",
                "bout",
                "first_frame",
                "last_frame",
                "start",
                "stop",
                "x",
                "y",
            )
        }
        for slot, (name, bouts) in enumerate(zip(movement.individuals, self._bouts, strict=True)):
            for number, (start, stop) in enumerate(bouts):
                rows["individual"].append(name)
                rows["bout"].append(number)
                rows["first_frame"].append(start)
                rows["last_frame"].append(stop - 1)
                rows["start"].append(time[start])
                rows["stop"].append(ends[stop - 1])
                for axis in "xy":
                    rows[axis].append(movement.values[axis][start:stop, slot].mean())
        seconds = np.subtract(rows["stop"], rows["start"])
        yield {"video": self._facts.video, **rows, "seconds": seconds}, len(seconds)

    def _make_bins(self) -> Iterator[Table]:
        number, first = find_bins(self._movement.time, self._settings.bin_seconds)
        count = len(self._movement.individuals)
        if not len(number) or not count:
            return
        edges = self._find_edges(number)
        parts = [{**edges, **self._sum_up(slot, first)} for slot in range(count)]
        columns: dict[str, Values] = {
            name: np.concatenate([part[name] for part in parts]) for name in parts[0]
        }
        columns["individual"] = np.repeat(np.array(self._movement.individuals, object), len(number))
        columns["video"] = self._facts.video
        yield columns, len(number) * count

    def _find_edges(self, number: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
        """Return number, beginning and end of each bin; the last one ends with the video."""
        time, seconds = self._movement.time, self._settings.bin_seconds
        end = time[-1] + self._durations[-1]
        if seconds is None:
            return {"bin": number, "start": time[:1], "stop": np.array([end])}
        start = time[0] + number * seconds
        return {"bin": number, "start": start, "stop": np.minimum(start + seconds, end)}

    def _sum_up(self, slot: int, first: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
        """Return the columns of the bins of one individual."""
        values = {name: array[:, slot] for name, array in self._movement.values.items()}
        total = len(self._movement.time)
        steps = np.hypot(np.diff(values["x"], prepend=np.nan), np.diff(values["y"], prepend=np.nan))
        columns: dict[str, NDArray[Any]] = {
            "frames": np.diff(np.append(first, total)),
            "found_frames": sum_bins((~np.isnan(values["x"])).astype(np.float64), first),
            "distance": sum_bins(steps, first),
            "speed_max": find_largest(values["speed"], first),
        }
        if "heading" in values:
            columns["heading_mean"] = average_directions(values["heading"], first)
            values["turning"] = np.abs(values["turning"])
        for name in values.keys() - _NOT_AVERAGED:
            columns[f"{name}_mean"] = average_bins(values[name], first)
        bouts = self._bouts[slot]
        still = np.zeros(total)
        for start, stop in bouts:
            still[start:stop] = 1
        columns["still_seconds"] = sum_bins(still * self._durations, first)
        columns["still_bouts"] = count_bins(bouts[:, 0], first, total)
        return columns | self._sum_up_visits(slot, first)

    def _sum_up_visits(self, slot: int, first: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
        columns: dict[str, NDArray[Any]] = {}
        time, durations = self._movement.time, self._durations
        for name, states in self._states.items():
            state = states[:, slot]
            inside = sum_bins((state == INSIDE) * durations, first)
            known = sum_bins((state != UNKNOWN) * durations, first)
            entries = find_entries(state, time, time[-1] + durations[-1], self._settings.min_visit)
            counts = count_bins(entries, first, len(time)).astype(np.float64)
            here = name in self._facts.regions
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.where(known > 0, inside / known, np.nan)
            columns[f"share_in_{name}"] = share
            columns[f"seconds_in_{name}"] = inside if here else np.full_like(inside, np.nan)
            columns[f"entries_{name}"] = counts if here else np.full_like(counts, np.nan)
        return columns


def _divide(count: int, frames: int) -> Iterator[slice]:
    """Yield individuals or pairs whose rows are arranged at the same time."""
    step = max(1, _MOST_ROWS // max(1, frames))
    yield from (slice(start, start + step) for start in range(0, count, step))
