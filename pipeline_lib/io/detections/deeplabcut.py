"""Read DeepLabCut's detections of several animals: ``*_full.pickle`` of `analyze_videos`.

The file is a dictionary: ``metadata``, and for each frame (``frame000`` and so on) the peaks of
each bodypart, ``coordinates`` and ``confidence``, and ``costs``, the affinities of all pairs of
peaks along each edge. DeepLabCut 3 writes ``costs: None`` and individuals that it has already
assembled: peak n of every bodypart is then of individual n.

The layout was learned from DeepLabCut's source (versions 2.2 to 3).
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.detections.deeplabcut_layout import (
    Frame,
    Layout,
    LayoutError,
    number_frames,
    read_frame,
    read_metadata,
)
from pipeline_lib.io.foreign.restricted_pickle import load_pickle

_METADATA = "metadata"
# What reading something else as numbers, lists and dictionaries raises.
_NOT_AS_EXPECTED = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
_ENDING = "_full.pickle"
# Frames per second: from one in eleven days to a million.
_LEAST_FPS, _MOST_FPS = 1e-6, 1e6
_AGAIN = "write the file again with DeepLabCut's analyze_videos"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeepLabCutDetections:
    """Hold the peaks of every frame and their affinities, padded to arrays.

    Attributes
    ----------
    position
        Shape (frame, keypoint, peak, 2), float32, x and y in px of the (cropped) video; NaN
        where there is no peak.
    confidence
        Shape (frame, keypoint, peak), float64, so that it is compared with a limit as DeepLabCut
        compares it; NaN where there is no peak.
    number
        Shape (frame, keypoint, peak), int64: DeepLabCut's number of each peak in its frame, in the
        order of the file; -1 where there is no peak.
    affinity
        Shape (frame, edge, peak of the first, peak of the second), DeepLabCut's ``m1``, float32,
        or float64 if the file has it so; NaN where either peak is missing or the file has none.
    edges
        Pairs of positions among the bodyparts, those that DeepLabCut assembles with.
    bodyparts
        Names along the keypoint axis.
    unique
        Positions of unique bodyparts among them.
    frame
        Shape (frame,), int64: number of each frame, without gaps.
    present
        Shape (frame,), bool: whether the file has the frame; one that it lacks has no peak.
    images
        Names of the frames where they are images; None for a video.
    fps
        Of the video, from ``*_meta.pickle`` beside the file; None if that is not known.
    assembled
        True if the peak axis is that of individuals already. Else it is best first.
    """

    position: NDArray[np.float32]
    confidence: NDArray[np.float64]
    number: NDArray[np.int64]
    affinity: NDArray[np.floating]
    edges: tuple[tuple[int, int], ...]
    bodyparts: tuple[str, ...]
    unique: tuple[int, ...]
    frame: NDArray[np.int64]
    present: NDArray[np.bool_]
    images: tuple[str, ...] | None
    fps: float | None
    assembled: bool


def read_detections(
    path: Path, *, most_peaks: int = 16, read_fps: bool = True
) -> DeepLabCutDetections:
    """Read the detections of one video.

    Nothing of the file is run: see `pipeline_lib.io.foreign.restricted_pickle`. A warning is logged
    where the file lacks frames, or a frame has more peaks than are kept.

    Parameters
    ----------
    path
        ``*_full.pickle`` of ``analyze_videos``.
    most_peaks
        Number of peaks of a bodypart that are kept in a frame, those of the highest confidence.
        Memory grows with its square; frames rarely have so many.
    read_fps
        Whether to read the frames per second from ``*_meta.pickle`` beside the file.

    Returns
    -------
    DeepLabCutDetections
        Unique bodyparts are those that no edge of DeepLabCut's whole graph touches, if there is
        a graph: it joins all bodyparts of animals.

    Raises
    ------
    StoreError
        If the file is missing, no such pickle or damaged, names any class but NumPy's arrays and
        containers, or is laid out differently: a frame that stands twice, a name that stands
        twice or is empty, a confidence that is none, affinities of another shape; a shelf
        (``use_shelve=True``) is not read. If ``*_meta.pickle`` has no possible frames per second.
    """
    _refuse_shelf(path)
    content = load_pickle(path)
    if not isinstance(content, dict) or not isinstance(content.get(_METADATA), dict):
        raise StoreError(
            f"{path}: expected a dictionary with `{_METADATA}` and one entry for each frame, as "
            "DeepLabCut's analyze_videos writes; found another layout"
        )
    keys = [key for key in content if key != _METADATA]
    where = f"`{_METADATA}`"
    try:
        layout = read_metadata(content[_METADATA])
        number, images, count = number_frames(keys, layout.frames)
        frames = {}
        for key in keys:
            where = f"`{key}`"
            frames[number[key]] = read_frame(content[key], layout)
    except LayoutError as error:
        raise StoreError(
            f"{path}: {where} is not as DeepLabCut writes it: {error}; {_AGAIN}"
        ) from None
    except _NOT_AS_EXPECTED as error:
        raise StoreError(
            f"{path}: {where} is not as DeepLabCut writes it ({type(error).__name__}: {error}); "
            f"{_AGAIN}"
        ) from None
    present = np.zeros(count, np.bool_)
    present[list(frames)] = True
    _tell_missing(path, present)
    return DeepLabCutDetections(
        *_pad(path, frames, count, layout, most_peaks),
        edges=tuple(layout.edges.values()),
        bodyparts=layout.bodyparts,
        unique=layout.unique,
        frame=np.arange(count),
        present=present,
        images=images,
        fps=_read_fps(path) if read_fps else None,
        assembled=_are_assembled(path, frames),
    )


def _tell_missing(path: Path, present: NDArray[np.bool_]) -> None:
    missing = np.flatnonzero(~present)
    if len(missing):
        _log.warning(
            "%s: lacks %d of %d frames (frame %d first): they have no detection",
            path,
            len(missing),
            len(present),
            missing[0],
        )


def _are_assembled(path: Path, frames: Mapping[int, Frame]) -> bool:
    """Tell whether frames hold individuals; frames without a peak fit both."""
    kinds: dict[bool, int] = {}
    for number, frame in frames.items():
        if any(map(len, frame.confidence)):
            kinds.setdefault(frame.assembled, number)
    if len(kinds) > 1:
        raise StoreError(
            f"{path}: frame {kinds[True]} is assembled (`costs: None`) and frame {kinds[False]} is "
            f"not, expected the same of all; {_AGAIN}"
        )
    return next(iter(kinds), any(frame.assembled for frame in frames.values()))


def _refuse_shelf(path: Path) -> None:
    shelf = [path.parent / (path.name + ending) for ending in (".db", ".dat", ".dir")]
    if not path.is_file() and any(file.is_file() for file in shelf):
        raise StoreError(
            f"{path}: written as a shelf, which is not read; run analyze_videos with "
            "use_shelve=False"
        )


def _pad(
    path: Path, frames: Mapping[int, Frame], count: int, layout: Layout, most: int
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.int64], NDArray[np.floating]]:
    """Put the frames into arrays: position, confidence, number and affinity."""
    longest = max(
        (len(values) for frame in frames.values() for values in frame.confidence), default=0
    )
    if longest > most:
        _log.warning(
            "%s: a frame has %d peaks of one bodypart, of which the best %d are read",
            path,
            longest,
            most,
        )
    peaks, keypoints = min(longest, most), len(layout.bodyparts)
    position = np.full((count, keypoints, peaks, 2), np.nan, np.float32)
    confidence = np.full((count, keypoints, peaks), np.nan)
    numbers = np.full((count, keypoints, peaks), -1)
    kinds = {matrix.dtype for frame in frames.values() for matrix in frame.affinity.values()}
    kind = np.result_type(np.float32, *kinds)
    affinity = np.full((count, len(layout.edges), peaks, peaks), np.nan, kind)
    for number, frame in frames.items():
        order = []
        for values in frame.confidence:
            best = np.arange(len(values))
            if not frame.assembled:
                best = np.argsort(-values, kind="stable")  # NaN last
            order.append(best[:peaks])
        first = np.cumsum([0, *map(len, frame.confidence)])
        for keypoint, best in enumerate(order):
            numbers[number, keypoint, : len(best)] = first[keypoint] + best
            position[number, keypoint, : len(best)] = frame.position[keypoint][best]
            confidence[number, keypoint, : len(best)] = frame.confidence[keypoint][best]
        for edge, (place, (a, b)) in enumerate(layout.edges.items()):
            if place in frame.affinity:
                matrix = frame.affinity[place][np.ix_(order[a], order[b])]
                affinity[number, edge, : len(order[a]), : len(order[b])] = matrix
    return position, confidence, numbers, affinity


def _read_fps(path: Path) -> float | None:
    """Read the frames per second from the file that DeepLabCut writes beside the detections."""
    if not path.name.endswith(_ENDING):
        return None
    beside = path.with_name(path.name.removesuffix(_ENDING) + "_meta.pickle")
    if not beside.is_file():
        return None
    try:
        content = load_pickle(beside)
    except StoreError as error:
        _log.warning("%s: frames per second are not known: %s", beside, error)
        return None
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, dict) or "fps" not in data:
        _log.warning("%s: frames per second are not known: no `data: fps` in it", beside)
        return None
    check_fps(data["fps"], f"{beside}: `data: fps`")
    return float(data["fps"])


def check_fps(fps: object, where: str) -> None:
    """Raise `StoreError` unless a value can be the frames per second of a recording.

    Parameters
    ----------
    fps
        The value.
    where
        Its place, for the message.
    """
    number = isinstance(fps, int | float | np.integer | np.floating) and not isinstance(fps, bool)
    # Not a number (NaN) fails the comparison.
    if not number or not _LEAST_FPS <= float(fps) <= _MOST_FPS:  # type: ignore[arg-type]
        raise StoreError(
            f"{where} is {fps!r}, expected frames per second of {_LEAST_FPS:g} to {_MOST_FPS:g}; "
            "give the right ones with --fps"
        )
