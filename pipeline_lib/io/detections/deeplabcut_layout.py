"""Read the dictionary of DeepLabCut's detections: metadata, and a record per frame."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.untrusted.names import find_text_problem
from pipeline_lib.io.foreign.restricted_pickle import as_array

# Positions are in pixels of the video as labels are: (0, 0) is the centre of the top-left pixel.
PIXEL_OFFSET = 0.0

_FRAME = re.compile(r"frame([0-9]{1,15})")
_LOOKS_LIKE_FRAME = re.compile(r"frame[^/.]*", re.IGNORECASE)
# Many frames may lack an entry, but a single number does not make memory run out.
_MOST_MISSING, _MOST_EMPTY = 1000, 100_000
# DeepLabCut 3 writes it, for x, y and confidence, where an individual lacks the bodypart.
_NOT_THERE = -1.0
# Confidences are single precision.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Layout:
    """Hold the metadata of all frames.

    Attributes
    ----------
    bodyparts
        Names along the keypoint axis.
    edges
        Pairs of bodyparts, by DeepLabCut's number of the edge.
    unique
        Positions of the unique bodyparts.
    frames
        Number of frames of the video; None if the file does not name it.
    """

    bodyparts: tuple[str, ...]
    edges: dict[int, tuple[int, int]]
    unique: tuple[int, ...]
    frames: int | None


@dataclass(frozen=True)
class Frame:
    """Hold the peaks of one frame: (peak, 2) and (peak,) per bodypart, a matrix per edge."""

    position: list[NDArray[np.float32]]
    confidence: list[NDArray[np.float64]]
    affinity: dict[int, NDArray[np.floating]]
    assembled: bool


class LayoutError(Exception):
    """Report that a part of the file is not as expected."""


def read_metadata(metadata: Mapping[str, Any]) -> Layout:
    """Read the metadata of all frames.

    Raises
    ------
    LayoutError
        If names are empty, stand twice or cannot be stored; if an edge or the number of frames
        is none.
    """
    names = _read_names(metadata.get("all_joints_names"))
    listed = metadata.get("PAFgraph")
    graph = [_read_edge(edge, len(names)) for edge in ([] if listed is None else listed)]
    _refuse_repeated("`PAFgraph`", [tuple(sorted(edge)) for edge in graph])
    used = metadata.get("PAFinds")
    chosen = list(range(len(graph))) if used is None else _read_integers("`PAFinds`", used)
    for place in chosen:
        if not 0 <= place < len(graph):
            raise LayoutError(f"`PAFinds` has {place}, and `PAFgraph` {len(graph)} edges")
    _refuse_repeated("`PAFinds`", chosen)
    touched = {end for edge in graph for end in edge}
    unique = tuple(place for place in range(len(names)) if touched and place not in touched)
    edges = {place: graph[place] for place in chosen}
    return Layout(names, edges, unique, _read_count(metadata))


def _read_names(names: object) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise LayoutError("`all_joints_names` is no list of names")
    if not names:
        raise LayoutError("`all_joints_names` is empty, expected the name of each bodypart")
    for name in names:
        if problem := find_text_problem(name):
            raise LayoutError(f"`all_joints_names` has {name!r}, a name that {problem}")
    _refuse_repeated("`all_joints_names`", names)
    return tuple(names)


def _refuse_repeated(what: str, items: Sequence[Any]) -> None:
    repeated = [item for item, count in Counter(items).items() if count > 1]
    if repeated:
        raise LayoutError(f"{what} has {repeated[0]!r} more than once, expected each once")


def _read_edge(edge: object, bodyparts: int) -> tuple[int, int]:
    ends = _read_integers("an edge of `PAFgraph`", edge)
    if len(ends) != 2 or not all(0 <= end < bodyparts for end in ends) or ends[0] == ends[1]:
        raise LayoutError(f"`PAFgraph` has {ends}, expected two of {bodyparts} bodyparts")
    return ends[0], ends[1]


def _read_integers(what: str, values: object) -> list[int]:
    array = as_array(values)
    if array.size and array.dtype.kind not in "iu":
        raise LayoutError(f"{what} is {array.tolist()!r}, expected integers")
    return [int(value) for value in array.ravel()]


def _read_count(metadata: Mapping[str, Any]) -> int | None:
    if "nframes" not in metadata:
        return None
    frames = metadata["nframes"]
    if isinstance(frames, bool) or not isinstance(frames, int | np.integer) or frames < 0:
        raise LayoutError(f"`nframes` is {frames!r}, expected the number of frames of the video")
    return int(frames)


def number_frames(
    keys: Sequence[Any], frames: int | None
) -> tuple[dict[Any, int], tuple[str, ...] | None, int]:
    """Return the frame number of each record.

    Parameters
    ----------
    keys
        Of the records: all ``frame000`` and so on, or all names of images.
    frames
        Number of frames that the metadata name; None if they name none.

    Returns
    -------
    number
        Frame (0-based) of each key; of images, their order in the file.
    images
        Names of the images; None for a video.
    count
        Number of frames.

    Raises
    ------
    LayoutError
        If a key is neither, keys of both kinds stand together, a frame stands twice, or the
        numbers contradict `frames`.
    """
    for key in keys:
        if not isinstance(key, str):
            raise LayoutError(f"{key!r}: a frame has no name, expected `frame` and its number")
    matches = {key: _FRAME.fullmatch(key) for key in keys}
    others = [key for key, match in matches.items() if not match]
    for key in others:
        is_image = bool(PurePosixPath(key.replace("\\", "/")).suffix)
        if len(others) < len(keys) or _LOOKS_LIKE_FRAME.fullmatch(key) or not is_image:
            raise LayoutError(
                f"`{key}` is no key of a frame: expected `frame` and its number in digits in all "
                "keys, or the name of an image in all"
            )
    if others:
        _check_count(len(keys), len(keys), frames)
        return {key: place for place, key in enumerate(keys)}, tuple(keys), len(keys)
    number = {key: int(match[1]) for key, match in matches.items() if match}
    _refuse_same_frame(number)
    count = max(number.values(), default=-1) + 1
    _check_count(count, len(keys), frames)
    return number, None, count if frames is None else frames


def _refuse_same_frame(number: Mapping[str, int]) -> None:
    first: dict[int, str] = {}
    for key, frame in number.items():
        if frame in first:
            raise LayoutError(
                f"frame {frame} is there twice (`{first[frame]}` and `{key}`), expected once"
            )
        first[frame] = key


def _check_count(count: int, there: int, frames: int | None) -> None:
    """Raise `LayoutError` if a frame lies beyond the last, or hardly any frame is there."""
    if frames is not None and count > frames:
        raise LayoutError(f"`nframes` is {frames}, but the file has a frame number {count - 1}")
    total = count if frames is None else frames
    most = max(_MOST_MISSING * there, _MOST_EMPTY)
    if total > most:
        raise LayoutError(
            f"{total} frames by their numbers and `nframes`, of which {there} are there, expected "
            f"at most {most}"
        )


def read_frame(record: Any, layout: Layout) -> Frame:  # noqa: ANN401
    """Read the peaks of a frame and their affinities.

    Raises
    ------
    LayoutError
        If the record is not one of this layout.
    """
    if not isinstance(record, dict) or "coordinates" not in record:
        raise LayoutError("expected `coordinates` and `confidence`")
    points = record["coordinates"]
    if not isinstance(points, list | tuple) or len(points) != 1:
        raise LayoutError("`coordinates` is no list of one list, that of the bodyparts")
    (points,) = points
    if not len(points):  # nothing found
        points = values = [()] * len(layout.bodyparts)
    elif "confidence" not in record:
        raise LayoutError("expected `confidence` beside `coordinates`, found none")
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
    assembled = "costs" in record and record["costs"] is None
    if assembled:
        _check_assembled(confidence, layout)
    return Frame(position, confidence, _read_costs(record, confidence, layout), assembled)


def _check_assembled(confidence: Sequence[NDArray[np.float64]], layout: Layout) -> None:
    """Raise `LayoutError` unless peak n of every bodypart can be that of individual n."""
    # One peak may be that of a unique bodypart: without edges, no one knows which these are.
    counts = {
        name: len(values)
        for name, values in zip(layout.bodyparts, confidence, strict=True)
        if len(values) > 1
    }
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise LayoutError(
            f"assembled individuals (`costs: None`) with as many peaks of each bodypart as there "
            f"are individuals are expected, found {found}"
        )


def _read_peaks(
    name: str, point: object, value: object
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read positions (peak, 2) and confidences (peak,) of one bodypart; NaN: not there."""
    with np.errstate(over="ignore"):  # to infinity, which is no position
        place = _read_numbers(f"{name}: `coordinates`", point).astype(np.float32)
    score = _read_numbers(f"{name}: `confidence`", value).astype(np.float64)
    if not place.size and not score.size:
        return np.empty((0, 2), np.float32), np.empty(0)
    rows = len(place) if place.ndim == 2 else -1
    if place.shape != (rows, 2) or score.shape not in ((rows,), (rows, 1)):
        raise LayoutError(
            f"{name} has coordinates of shape {place.shape}, confidence {score.shape}, expected "
            "x and y, and one confidence, for each peak"
        )
    score = score.reshape(rows)
    lost = np.isnan(place).all(axis=1) | (score == _NOT_THERE)
    wrong = ~lost & ~((score >= 0) & (score <= 1 + _ROUNDING))  # NaN, too
    if wrong.any():
        raise LayoutError(f"{name} has a confidence of {score[wrong][0]}, expected 0 to 1")
    nowhere = ~lost & ~np.isfinite(place).all(axis=1)
    if nowhere.any():
        x, y = place[nowhere][0]
        raise LayoutError(f"{name} has a peak at ({x}, {y}), expected a position in px")
    score = np.where(lost, np.nan, score)
    shifted = place + np.float32(PIXEL_OFFSET)
    return np.where(lost[:, None], np.float32(np.nan), shifted).astype(np.float32), score


def _read_numbers(what: str, values: object) -> NDArray[Any]:
    """Return an array of numbers; refuse texts and truth values."""
    array = as_array(values)
    if array.size and array.dtype.kind not in "iuf":
        raise LayoutError(f"{what} is of type {array.dtype}, expected numbers")
    return array


def _read_costs(
    record: Mapping[str, Any], confidence: Sequence[NDArray[np.float64]], layout: Layout
) -> dict[int, NDArray[np.floating]]:
    """Read the affinity of each pair of peaks, by edge; NaN counts as none in DeepLabCut, too."""
    costs = record.get("costs")
    if costs is None:
        return {}
    if not isinstance(costs, Mapping) and not (isinstance(costs, list | tuple) and not costs):
        raise LayoutError(f"`costs` is a {type(costs).__name__}, expected one entry for each edge")
    found = {}
    for edge, (a, b) in layout.edges.items():
        expected = len(confidence[a]), len(confidence[b])
        entry = costs[edge] if isinstance(costs, Mapping) and edge in costs else None
        if not isinstance(entry, Mapping) or "m1" not in entry:
            if 0 in expected and entry is None:
                continue
            raise LayoutError(
                f"`costs` has no `m1` of edge {edge}, expected one of shape {expected}"
            )
        matrix = _read_numbers(f"`costs` of edge {edge}", entry["m1"])
        if matrix.shape != expected and not (0 in expected and not matrix.size):
            raise LayoutError(
                f"`costs` of edge {edge} has the shape {matrix.shape}, expected {expected}, the "
                "peaks of its two bodyparts"
            )
        if np.isinf(matrix).any():
            raise LayoutError(f"`costs` of edge {edge} is infinite, expected affinities")
        if matrix.size:
            # As exact as the file has them: sums of affinities decide who is kept.
            exact = matrix.dtype == np.float32
            found[edge] = matrix.astype(np.float32) if exact else matrix.astype(np.float64)
    return found
