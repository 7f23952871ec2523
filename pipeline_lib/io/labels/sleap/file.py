"""Open a SLEAP file (``.slp``, ``.pkg.slp``): its labelled animals and skeleton.

Everything that knows sleap-io is here and in `videos`; what leaves them is ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.exports.sleap_convention import PIXEL_OFFSET
from pipeline_lib.io.foreign.hdf5 import open_hdf5
from pipeline_lib.io.labels.sleap.layout import list_layout_problems
from pipeline_lib.io.labels.sleap.videos import SleapVideo, find_corner, name_videos

if TYPE_CHECKING:
    import sleap_io

_AGAIN = "save the labels again in SLEAP, or copy the file again"


@dataclass(frozen=True)
class SleapAnimal:
    """Hold one instance.

    Attributes
    ----------
    track
        Name of its track; empty where it has none.
    bodyparts
        Names along the first axis of `position`.
    position
        Shape (bodypart, 2), float64, x and y in px, pixel centres at integers. NaN: not visible.
    """

    track: str
    bodyparts: tuple[str, ...]
    position: NDArray[np.float64]


@dataclass(frozen=True)
class SleapFrame:
    """Hold one labelled frame: index of its video in the file, frame (0-based), and animals."""

    video: int
    frame: int
    animals: tuple[SleapAnimal, ...]


@dataclass(frozen=True)
class SleapFile:
    """Hold the contents of a SLEAP file.

    Attributes
    ----------
    path
        The file.
    skeleton
        Nodes, edges and symmetries of all of its skeletons together.
    frames
        Labelled frames in the file's order; one without animals was marked as such by a user.
    videos
        All videos, labelled or not, as `SleapFrame.video` counts them.
    unused
        Predicted instances that were left out.
    """

    path: Path
    skeleton: Skeleton
    frames: tuple[SleapFrame, ...]
    videos: tuple[SleapVideo, ...]
    unused: int


def open_sleap_file(path: Path, *, predicted: bool = False) -> SleapFile:
    """Read a SLEAP file, but no frame of a video.

    Parameters
    ----------
    path
        ``.slp`` or ``.pkg.slp``.
    predicted
        Take predicted instances, too, where no user instance was made from them or has their
        track.

    Raises
    ------
    LabelError
        If it cannot be read, or its skeletons contradict each other.
    """
    try:
        # It is opened again below: the library runs nothing of it, but would read other files.
        with open_hdf5(path) as file:
            problems = list_layout_problems(file)
    except StoreError as error:
        problem = str(error).removeprefix(f"{path}: ")
        missing = not path.exists()
        shown = problem if missing else f"is not readable as a SLEAP file: {problem}"
        raise LabelError(str(path), [shown]) from None
    # Files that are none, or damaged, fail inside HDF5, JSON or NumPy in many ways.
    except Exception as error:
        raise LabelError(str(path), [_describe_damage(error)]) from error
    if problems:
        shown = "; ".join(problems)
        raise LabelError(str(path), [f"is not readable as a SLEAP file: {shown}; {_AGAIN}"])
    # Its imports take a second, which readers of other formats need not wait for.
    import sleap_io  # noqa: PLC0415

    try:
        labels = sleap_io.load_slp(str(path), open_videos=False)
    # Files that are none, or damaged, fail inside HDF5, JSON or NumPy in many ways.
    except Exception as error:
        raise LabelError(str(path), [_describe_damage(error)]) from error
    return convert_labels(path, labels, predicted=predicted)


def convert_labels(path: Path, labels: "sleap_io.Labels", *, predicted: bool) -> SleapFile:
    """Return what sleap-io read from a file, of whatever format, as ours.

    Parameters
    ----------
    path
        The file.
    labels
        Its content.
    predicted
        As in `open_sleap_file`.

    Raises
    ------
    LabelError
        If its skeletons contradict each other.
    """
    import sleap_io  # noqa: PLC0415

    numbers = {id(video): number for number, video in enumerate(labels.videos)}
    frames, unused = [], 0
    for one in labels.labeled_frames:
        chosen = _choose_instances(one, predicted=predicted)
        unused += len(one.predicted_instances) - sum(
            isinstance(instance, sleap_io.PredictedInstance) for instance in chosen
        )
        animals = tuple(_read_animals(chosen, find_corner(path, one.video)))
        if animals or one.is_negative:
            frames.append(SleapFrame(numbers[id(one.video)], int(one.frame_idx), animals))
    return SleapFile(
        path=path,
        skeleton=_read_skeleton(path, labels.skeletons),
        frames=tuple(frames),
        videos=tuple(name_videos(path, labels.videos)),
        unused=unused,
    )


def _describe_damage(error: Exception) -> str:
    reason = " ".join(str(error).split()) or "no reason is given"
    return f"is not readable as a SLEAP file ({type(error).__name__}: {reason}); {_AGAIN}"


def _choose_instances(
    frame: "sleap_io.LabeledFrame", *, predicted: bool
) -> list["sleap_io.Instance"]:
    """Return each animal of a frame once: as a user labelled it, else as it was predicted."""
    users = list(frame.user_instances)
    if not predicted:
        return users
    corrected = {id(one.from_predicted) for one in users if one.from_predicted is not None}
    tracks = {id(one.track) for one in users if one.track is not None}
    return users + [
        one
        for one in frame.predicted_instances
        if id(one) not in corrected and (one.track is None or id(one.track) not in tracks)
    ]


def _read_animals(
    instances: Sequence["sleap_io.Instance"], corner: tuple[int, int]
) -> Iterator[SleapAnimal]:
    for instance in instances:
        position = np.asarray(instance.numpy(), dtype=np.float64) + PIXEL_OFFSET + corner
        # An instance without a point is one that was begun, or emptied.
        if not np.isnan(position).all():
            track = instance.track.name if instance.track is not None else ""
            yield SleapAnimal(str(track), tuple(instance.skeleton.node_names), position)


def _read_skeleton(path: Path, skeletons: Sequence["sleap_io.Skeleton"]) -> Skeleton:
    bodyparts = tuple(dict.fromkeys(name for one in skeletons for name in one.node_names))
    edges = dict.fromkeys((str(a), str(b)) for one in skeletons for a, b in one.edge_names)
    # A symmetry is a set, whose order varies, and older files have each one twice.
    pairs = {
        tuple(sorted(pair, key=bodyparts.index)) for one in skeletons for pair in one.symmetry_names
    }
    symmetries = sorted(pairs, key=lambda pair: bodyparts.index(pair[0]))
    try:
        return Skeleton(bodyparts=bodyparts, edges=tuple(edges), symmetries=tuple(symmetries))
    except ValidationError as error:
        problems = [one["msg"].removeprefix("Value error, ") for one in error.errors()]
        raise LabelError(str(path), [f"skeleton: {problem}" for problem in problems]) from None
