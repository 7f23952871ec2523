"""What the dictionary of DeepLabCut's detections holds: metadata, and one record per frame."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.io.restricted_pickle import as_array

# Positions are in pixels of the video as labels are: (0, 0) is the centre of the top-left pixel.
PIXEL_OFFSET = 0.0

_FRAME = re.compile(r"frame(\d+)")
# Frames of a file with so many times fewer entries, and those of one with hardly any.
_MOST_MISSING, _MOST_EMPTY = 1000, 100_000


@dataclass(frozen=True)
class Layout:
    """What the metadata say.

    ``edges`` maps DeepLabCut's number of an edge to its bodyparts.
    """

    bodyparts: tuple[str, ...]
    edges: dict[int, tuple[int, int]]
    unique: tuple[int, ...]
    frames: int


@dataclass(frozen=True)
class Frame:
    """Peaks of one frame: for each bodypart (peak, 2) and (peak,), for each edge a matrix."""

    position: list[NDArray[np.float32]]
    confidence: list[NDArray[np.float64]]
    affinity: dict[int, NDArray[np.floating]]
    assembled: bool


class LayoutError(Exception):
    """What of a file is not as expected."""


def read_metadata(metadata: Mapping[str, Any]) -> Layout:
    """Read what holds for all frames; raises `LayoutError`."""
    names = metadata.get("all_joints_names")
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise LayoutError("`all_joints_names` is no list of names")
    graph = [_read_edge(edge, len(names)) for edge in metadata.get("PAFgraph") or []]
    used = metadata.get("PAFinds")
    places = range(len(graph)) if used is None else as_array(used).ravel().tolist()
    for place in places:
        if not 0 <= place < len(graph):
            raise LayoutError(f"`PAFinds` has {place}, and `PAFgraph` {len(graph)} edges")
    touched = {end for edge in graph for end in edge}
    unique = tuple(place for place in range(len(names)) if touched and place not in touched)
    frames = metadata.get("nframes")
    return Layout(
        tuple(names),
        {place: graph[place] for place in map(int, places)},
        unique,
        int(frames) if isinstance(frames, int | np.integer) else 0,
    )


def _read_edge(edge: object, bodyparts: int) -> tuple[int, int]:
    ends = as_array(edge).tolist()
    if len(ends) != 2 or not all(isinstance(end, int) and 0 <= end < bodyparts for end in ends):
        raise LayoutError(f"`PAFgraph` has {ends}, expected two of {bodyparts} bodyparts")
    return ends[0], ends[1]


def number_frames(
    keys: list[Any], frames: int
) -> tuple[dict[Any, int], tuple[str, ...] | None, int]:
    """Return the number of each key, the names of images, and how many frames there are."""
    matches = {key: _FRAME.fullmatch(key) for key in keys if isinstance(key, str)}
    if len(matches) < len(keys):
        raise LayoutError("a frame has no name")
    if not all(matches.values()):
        return {key: place for place, key in enumerate(keys)}, tuple(keys), len(keys)
    number = {key: int(match[1]) for key, match in matches.items() if match}
    count = max(number.values(), default=-1) + 1
    if len(set(number.values())) < len(keys):
        raise LayoutError("a frame is there twice")
    count = max(count, frames)
    # Many frames may be missing, but a single number does not make memory run out.
    if count > max(_MOST_MISSING * len(keys), _MOST_EMPTY):
        raise LayoutError(f"{count} frames, of which {len(keys)} are there")
    return number, None, count


def read_frame(record: Any, layout: Layout) -> Frame:  # noqa: ANN401
    """Read the peaks of a frame and their affinities; raises `LayoutError`."""
    if not isinstance(record, dict) or "coordinates" not in record:
        raise LayoutError("expected `coordinates` and `confidence`")
    (points,) = record["coordinates"]
    if not len(points):  # nothing found
        points = values = [()] * len(layout.bodyparts)
    else:
        values = record["confidence"]
    if len(points) != len(layout.bodyparts) or len(values) != len(points):
        raise LayoutError(
            f"{len(points)} `coordinates` and {len(values)} `confidence` for "
            f"{len(layout.bodyparts)} bodyparts"
        )
    position, confidence = [], []
    for name, point, value in zip(layout.bodyparts, points, values, strict=True):
        place, score = _read_peaks(name, point, value)
        position.append(place)
        confidence.append(score)
    costs = record.get("costs")
    return Frame(
        position,
        confidence,
        _read_costs(costs or {}, confidence, layout),
        assembled="costs" in record and costs is None,
    )


def _read_peaks(
    name: str, point: object, value: object
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read places (peak, 2) and confidence (peak,) of one bodypart; NaN: not there."""
    with np.errstate(over="ignore"):  # to infinity, which is then missing
        place, score = as_array(point).astype(np.float32), as_array(value).astype(np.float64)
    if not place.size:
        return np.empty((0, 2), np.float32), np.empty(0)
    if place.ndim != 2 or place.shape[1] != 2 or score.shape[:1] != place.shape[:1]:
        raise LayoutError(
            f"{name} has coordinates of shape {place.shape}, confidence {score.shape}"
        )
    score = score.reshape(len(place), -1)[:, 0]
    # DeepLabCut 3 writes -1 for what is not there.
    score = np.where(np.isfinite(place).all(axis=1) & (score >= 0), score, np.nan)
    return np.where(np.isnan(score)[:, None], np.float32(np.nan), place + PIXEL_OFFSET), score


def _read_costs(
    costs: Mapping[int, Any], confidence: list[NDArray[np.float64]], layout: Layout
) -> dict[int, NDArray[np.floating]]:
    found = {}
    for place, (a, b) in layout.edges.items():
        if place not in costs:
            continue
        matrix = as_array(costs[place]["m1"])
        # As exact as the file has them: sums of affinities decide who is kept.
        matrix = matrix.astype(np.float32 if matrix.dtype == np.float32 else np.float64)
        expected = len(confidence[a]), len(confidence[b])
        if matrix.size and matrix.shape != expected:
            raise LayoutError(
                f"`costs` of edge {place} has the shape {matrix.shape}, expected {expected}"
            )
        if matrix.size:
            found[place] = matrix
    return found
