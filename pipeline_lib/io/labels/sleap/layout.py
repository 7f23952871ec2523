"""Check the datasets of a SLEAP file before it is read: which there are, and whom they refer to."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import h5py

_DATASETS = ("videos_json", "tracks_json", "frames", "instances", "points", "pred_points")
_FIELDS = {
    "frames": ("video", "frame_idx", "instance_id_start", "instance_id_end"),
    "instances": ("instance_type", "skeleton", "track", "point_id_start", "point_id_end"),
}
_EMBEDDED = re.compile(r"video[0-9]+")
# SLEAP's numbers of the kinds of instances, and the dataset that has the points of each.
_POINTS = ("points", "pred_points")


def list_layout_problems(file: "h5py.File") -> list[str]:
    """List the reasons why a file cannot be read as a SLEAP file.

    Parameters
    ----------
    file
        Opened by `pipeline_lib.io.foreign.hdf5.open_hdf5`.

    Returns
    -------
    list of str
        One line for each dataset that is missing, has no content where there must be some, or
        refers to rows of another one that are not there; empty if there is nothing.
    """
    if "metadata" not in file or "json" not in file["metadata"].attrs:
        return ["no `metadata` with its attribute `json`"]
    problems = [f"no dataset `{name}`" for name in _DATASETS if not _is_dataset(file, name)]
    if problems:
        return problems
    for name, fields in _FIELDS.items():
        lacking = [field for field in fields if field not in (file[name].dtype.names or ())]
        problems += [f"`{name}` has no column `{field}`" for field in lacking]
    if problems:
        return problems
    skeletons = _list_skeletons(file)
    if not skeletons:
        problems.append("no skeleton, so that points have no names")
    elif not all(skeletons):
        problems.append("a skeleton without a node, so that points have no names")
    if not len(file["videos_json"]):
        problems.append("no video, so that frames are of none")
    return problems or list(_list_dangling(file, len(skeletons)))


def _is_dataset(file: "h5py.File", name: str) -> bool:
    return name in file and hasattr(file[name], "dtype") and file[name].ndim == 1


def _list_skeletons(file: "h5py.File") -> list[int]:
    """Return the number of nodes of each skeleton."""
    metadata: Any = json.loads(file["metadata"].attrs["json"])
    skeletons = metadata.get("skeletons", []) if isinstance(metadata, dict) else []
    return [len(skeleton.get("nodes", [])) for skeleton in skeletons]


def _list_dangling(file: "h5py.File", skeletons: int) -> Iterator[str]:
    """Yield which rows refer to rows that are not there."""
    frames, instances = file["frames"][:], file["instances"][:]
    tracks = len(file["tracks_json"])
    videos = len(file["videos_json"])
    # Embedded frames may count videos by the names of their groups, `video0` and so on.
    embedded = any(_EMBEDDED.fullmatch(name) for name in file)
    outside = (frames["video"] < 0) | ((frames["video"] >= videos) & (not embedded))
    if outside.any():
        yield f"a frame of video {frames['video'][outside][0]}, of which there are {videos}"
    yield from _find_outside(
        "frame", frames["instance_id_start"], frames["instance_id_end"], len(instances), "instance"
    )
    yield from _find_shared(
        "frame", frames["instance_id_start"], frames["instance_id_end"], "instance"
    )
    kinds = instances["instance_type"]
    unknown = ~np.isin(kinds, range(len(_POINTS)))
    if unknown.any():
        found = kinds[unknown][0]
        yield f"an instance of type {found}, expected 0 (user's) or 1 (predicted)"
    for kind, name in enumerate(_POINTS):
        rows = instances[kinds == kind]
        first, last = rows["point_id_start"], rows["point_id_end"]
        yield from _find_outside("instance", first, last, len(file[name]), f"row of `{name}`")
        yield from _find_shared("instance", first, last, f"row of `{name}`")
    if ((instances["skeleton"] < 0) | (instances["skeleton"] >= skeletons)).any():
        yield f"an instance of a skeleton that is not there, of {skeletons}"
    if ((instances["track"] < -1) | (instances["track"] >= tracks)).any():
        yield f"an instance of a track that is not there, of {tracks}"


def _find_outside(
    who: str, first: "np.ndarray[Any, Any]", last: "np.ndarray[Any, Any]", count: int, what: str
) -> Sequence[str]:
    outside = np.flatnonzero((first < 0) | (first > last) | (last > count))
    if not len(outside):
        return ()
    row = outside[0]
    return [
        f"{who} {row} has {what} {first[row]} to {last[row]} (excluded), of which there are {count}"
    ]


def _find_shared(
    who: str, first: "np.ndarray[Any, Any]", last: "np.ndarray[Any, Any]", what: str
) -> Sequence[str]:
    """Say which two have the same rows: an animal of one frame would be seen in another one."""
    some = np.flatnonzero(first < last)
    order = some[np.argsort(first[some], kind="stable")]
    shared = np.flatnonzero(first[order][1:] < last[order][:-1])
    if not len(shared):
        return ()
    one, other = sorted(order[shared[0] : shared[0] + 2].tolist())
    return [f"two {who}s, {one} and {other}, have {what} {first[order[shared[0] + 1]]}"]
