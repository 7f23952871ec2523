"""Refuse pose files that declare more than they can hold, before anything is allocated.

A pose file says in a few bytes how long its axes are, and a chunk that is not stored reads as the
fill value: a kilobyte can stand for any number of frames. What this package writes has at least
one file of times for each shard (presentation times are no fill value), so that the number of
these files, which costs the one who sends them, bounds the number of frames.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.core.errors import StoreError

_TIME = "time"
# Names along an axis, and points (keypoints of all individuals) in a frame.
MOST_NAMES = 10_000
MOST_POINTS = 100_000
# A chunk or shard of one array; those that this package writes have 64 MiB, and less.
MOST_SHARD_BYTES = 256 * 2**20
# What does not compress becomes a little longer, and a shard has an index.
MOST_STORED_BYTES = MOST_SHARD_BYTES + 2**20
# Chunks of a shard, whose index is read whole.
MOST_CHUNKS = 1024


def check_bounds(
    path: Path,
    arrays: Mapping[str, Mapping[str, Any]],
    dimensions: Mapping[str, Sequence[str]],
    files: Iterable[str],
) -> None:
    """Refuse a pose file whose arrays contradict each other, or are larger than can be stored.

    Parameters
    ----------
    path
        The pose file, for messages.
    arrays
        Metadata by name, that have passed `pipeline_lib.io.foreign.zarr_metadata.check_arrays`.
    dimensions
        Names of the axes of each array that a pose file may have.
    files
        Names of the files there are, ``ARRAY/CHUNK``.

    Raises
    ------
    StoreError
        If an array has another number of axes or another length than others have for an axis,
        names or points are more than any pose file has, chunks are too large, or there are more
        frames than the stored times can tell.
    """
    times = sum(name.startswith(f"{_TIME}/") for name in files)
    lengths: dict[str, int] = {}
    for name, axes in dimensions.items():
        if name not in arrays:
            continue
        shape = arrays[name]["shape"]
        problem = _find_axes_problem(shape, axes, lengths) or _find_chunk_problem(arrays[name])
        if problem:
            raise _describe(path, f"array {name!r} {problem}")
    problem = _find_length_problem(arrays, dimensions, lengths, times)
    if problem:
        raise _describe(path, problem)


def _describe(path: Path, problem: str) -> StoreError:
    return StoreError(
        f"{path}: {problem}; this pose file is damaged or was not written by cohortpose, and is "
        "not read: write it again, or ask whoever sent it"
    )


def _find_axes_problem(
    shape: Sequence[int], axes: Sequence[str], lengths: dict[str, int]
) -> str | None:
    """Describe the problem of the axes of an array; note their lengths if there is none."""
    if len(shape) != len(axes):
        return f"has the shape {list(shape)}, expected {', '.join(axes)}"
    for axis, length in zip(axes, shape, strict=True):
        if lengths.setdefault(axis, length) != length:
            return f"has {length} along {axis}, and another array {lengths[axis]}"
    return None


def _find_length_problem(
    arrays: Mapping[str, Mapping[str, Any]],
    dimensions: Mapping[str, Sequence[str]],
    lengths: Mapping[str, int],
    times: int,
) -> str | None:
    for axis in lengths.keys() - {_TIME}:
        if lengths[axis] > MOST_NAMES:
            return f"declares {lengths[axis]} names along {axis}, expected at most {MOST_NAMES}"
    points = lengths.get("keypoint", 0) * lengths.get("individual", 0)
    if points > MOST_POINTS:
        return f"declares {points} points in a frame, expected at most {MOST_POINTS}"
    if _TIME not in arrays:
        return None
    shard = _chunk_shape(arrays[_TIME])[0]
    # Times of a single shard may all be missing.
    most = max(1, times) * shard
    if lengths[_TIME] > most:
        return (
            f"declares {lengths[_TIME]} frames, expected at most {most} by the stored times "
            f"({times} files of {shard} frames)"
        )
    for name, array in arrays.items():
        if dimensions.get(name, ("",))[0] != _TIME:
            continue
        other = _chunk_shape(array)[0]
        if other != shard:
            return f"array {name!r} is cut at every {other} frames, expected {shard} as the times"
    return None


def _find_chunk_problem(array: Mapping[str, Any]) -> str | None:
    """Describe the problem of the chunks of an array."""
    shape, chunk = array["shape"], _chunk_shape(array)
    if not _are_sizes(chunk, len(shape)):
        return f"is cut into chunks of {chunk!r}, expected sizes for {len(shape)} axes"
    kind = array["data_type"]
    itemsize = 8 if kind == "string" else np.dtype(kind).itemsize
    if math.prod(chunk) * itemsize > MOST_SHARD_BYTES:
        return f"is cut into chunks of {chunk!r}, expected at most {MOST_SHARD_BYTES} bytes"
    if any(part != max(1, size) for part, size in zip(chunk[1:], shape[1:], strict=True)):
        return f"is cut into chunks of {chunk!r}, expected whole frames of {list(shape[1:])}"
    return _find_shard_problem(array["codecs"][0], chunk)


def _find_shard_problem(codec: Mapping[str, Any], shard: Sequence[int]) -> str | None:
    """Describe the problem of the chunks of a shard; none if the shard is one chunk."""
    if codec["name"] != "sharding_indexed":
        return None
    inner = codec["configuration"].get("chunk_shape")
    if not _are_sizes(inner, len(shard)) or inner[1:] != shard[1:] or shard[0] % inner[0]:
        return f"has shards of {shard!r} cut into {inner!r}, expected a part of them"
    if shard[0] // inner[0] > MOST_CHUNKS:
        return f"has {shard[0] // inner[0]} chunks in a shard, expected at most {MOST_CHUNKS}"
    return None


def _chunk_shape(array: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever stands there
    grid = array.get("chunk_grid")
    configuration = grid.get("configuration") if isinstance(grid, Mapping) else None
    return configuration.get("chunk_shape") if isinstance(configuration, Mapping) else None


def _are_sizes(sizes: object, number: int) -> bool:
    return (
        isinstance(sizes, list)
        and len(sizes) == number
        and all(type(size) is int and size > 0 for size in sizes)
    )
