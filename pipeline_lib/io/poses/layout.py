"""Describe the arrays of a kind of pose file: their axes, types, units and fill values.

There are two kinds: the poses of one video (`pipeline_lib.io.poses.format`), and those of a
session in three dimensions (`pipeline_lib.io.poses.session`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

TIME = "time"


@dataclass(frozen=True)
class Layout:
    """Describe the arrays of a kind of pose file.

    Attributes
    ----------
    name, version
        Attributes ``format`` and ``format_version`` of the group.
    dimensions
        Axes of each array in the file, by its name.
    memory
        Axes of each array in memory.
    dtypes
        Type of each array of values; names along an axis are texts.
    units
        Units by name of array; of the others none is told.
    fill
        What a reader gets for a chunk that is not there.
    optional
        Arrays that a file may lack.
    """

    name: str
    version: int
    dimensions: Mapping[str, tuple[str, ...]]
    memory: Mapping[str, tuple[str, ...]]
    dtypes: Mapping[str, str]
    units: Mapping[str, str]
    fill: Mapping[str, Any]
    optional: frozenset[str]

    def is_over_time(self, name: str) -> bool:
        """Tell whether the first axis of an array is time."""
        return self.dimensions[name][0] == TIME

    def order_for_file(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """Return a view of an array in memory with the axes of the file."""
        return _reorder(values, self.memory[name], self.dimensions[name])

    def order_for_memory(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """Return a view of an array of a file with the axes in memory."""
        return _reorder(values, self.dimensions[name], self.memory[name])


class Axes(Protocol):
    """Tell lengths and names of the axes of a pose file."""

    @property
    def layout(self) -> Layout:
        """Kind of the file."""
        ...

    @property
    def frames(self) -> int:
        """Length of the time axis."""
        ...

    @property
    def frame_values(self) -> int:
        """Number of float32 values of a frame in the largest array."""
        ...

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each present array of values, with its axes as in the file."""
        ...

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Names along each axis except time."""
        ...


def find_memory_shapes(axes: Axes) -> dict[str, tuple[int, ...]]:
    """Return the shape of each present array of values, with its axes as in memory."""
    shapes = {}
    for name, shape in axes.shapes.items():
        sizes = dict(zip(axes.layout.dimensions[name], shape, strict=True))
        shapes[name] = tuple(sizes[axis] for axis in axes.layout.memory[name])
    return shapes


def _reorder(values: NDArray[Any], found: tuple[str, ...], wanted: tuple[str, ...]) -> NDArray[Any]:
    return values.transpose([found.index(axis) for axis in wanted])
