"""Write SLEAP project files (``.slp``) with predicted instances.

sleap-io writes the description of the project. The rows of frames, instances and points are
appended block by block to sleap-io's empty tables, because its objects, one per animal and frame
and one per point, would take a hundred times the memory of the poses.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.poses import Poses
from pipeline_lib.io.exports.sleap_convention import PIXEL_OFFSET, find_instances
from pipeline_lib.io.exports.source import ExportSource
from pipeline_lib.io.publish import publish_file

if TYPE_CHECKING:
    import h5py
    import sleap_io

# sleap-io and h5py are imported where they are used: loading them takes longer than an export
# whose files exist.

# Type of an instance that a network predicted.
_PREDICTED = 1
_TABLES = ("frames", "instances", "pred_points")
_CHUNK_ROWS = 2**12


def write_sleap_predictions(path: Path, source: ExportSource) -> None:
    """Publish the poses of one video as a SLEAP project of predictions.

    Every frame of the video is written, even one without an animal, as SLEAP itself does: readers
    take the last frame as the end of the video. Each individual with at least one keypoint in a
    frame is a predicted instance, on the track of that name if it was tracked. A keypoint that was
    not found has no coordinates and keeps its score. Unique bodyparts are nodes of the one
    skeleton; those found in a frame form an instance of their own. The same poses give the same
    bytes. Memory holds one block of frames, however long the video is.

    Parameters
    ----------
    path
        File to write; its suffix is ``.slp``.
    source
        Poses of the video and the metadata that SLEAP needs.

    Raises
    ------
    StoreError
        If the poses are missing or damaged.
    """
    import h5py  # noqa: PLC0415
    import sleap_io  # noqa: PLC0415

    with publish_file(path) as part:
        sleap_io.save_slp(_describe_project(source), str(part), verbose=False)
        with h5py.File(part, "r+") as file:
            _order_symmetries(file, len(source.edges))
            tables = {name: _open_table(file, name) for name in _TABLES}
            start = 0
            for block in source.read_blocks():
                _append(tables, block, start, tracked=bool(source.tracks))
                start += len(block.time)


def describe_video(source: ExportSource) -> dict[str, Any]:
    """Return SLEAP's description of a video file: how to open it, and its shape."""
    return {
        "type": "MediaVideo",
        "filename": source.video.as_posix(),
        "shape": [source.frames, source.height, source.width, 3],
        "grayscale": False,
        "bgr": True,
        "dataset": "",
        "input_format": "",
        "fps": source.fps,
    }


def _describe_project(source: ExportSource) -> "sleap_io.Labels":
    import sleap_io  # noqa: PLC0415

    names = source.head.bodyparts
    skeleton = sleap_io.Skeleton(nodes=list(names), edges=list(source.edges), name="skeleton")
    for first, second in source.symmetries:
        skeleton.add_symmetry(names[first], names[second])
    video = sleap_io.Video(
        filename=source.video.as_posix(),
        backend_metadata=describe_video(source),
        open_backend=False,
    )
    return sleap_io.Labels(
        videos=[video],
        skeletons=[skeleton],
        tracks=[sleap_io.Track(name) for name in source.tracks],
        provenance={"scorer": source.scorer, "key": source.key},
    )


def _order_symmetries(file: "h5py.File", edges: int) -> None:
    """Put the lower of two symmetric nodes first; sleap-io keeps both in an unordered set."""
    attributes = file["metadata"].attrs
    described = json.loads(attributes["json"])
    for skeleton in described["skeletons"]:
        # Edges come first.
        for link in skeleton["links"][edges:]:
            link["source"], link["target"] = sorted((link["source"], link["target"]))
    attributes["json"] = np.bytes_(json.dumps(described, separators=(",", ":")))


def _open_table(file: "h5py.File", name: str) -> "h5py.Dataset":
    """Replace one of sleap-io's empty tables by one that can grow."""
    columns = file[name].dtype
    del file[name]
    return file.create_dataset(
        name,
        shape=(0,),
        maxshape=(None,),
        dtype=columns,
        chunks=(_CHUNK_ROWS,),
        shuffle=True,
        compression="gzip",
        compression_opts=1,
    )


def _append(tables: dict[str, "h5py.Dataset"], poses: Poses, start: int, *, tracked: bool) -> None:
    found = find_instances(poses)
    time, animal = np.nonzero(found.present)
    shown = np.arange(len(poses.time))
    # Each frame's first instance, and one past its last; equal in a frame without instances.
    first, stop = (np.searchsorted(time, shown, side) for side in ("left", "right"))
    keypoints = len(poses.bodyparts)
    frames, instances = (len(tables[name]) for name in ("frames", "instances"))
    instance = instances + np.arange(len(time))
    _extend(
        tables["frames"],
        frame_id=frames + np.arange(len(shown)),
        video=0,
        frame_idx=start + shown,
        instance_id_start=instances + first,
        instance_id_end=instances + stop,
    )
    _extend(
        tables["instances"],
        instance_id=instance,
        instance_type=_PREDICTED,
        frame_id=frames + time,
        skeleton=0,
        track=animal if tracked else np.full(len(time), -1),
        from_predicted=-1,
        score=found.score[time, animal],
        point_id_start=instance * keypoints,
        point_id_end=(instance + 1) * keypoints,
        # SLEAP has no value for a missing score.
        tracking_score=np.nan_to_num(found.tracking_score[time, animal], nan=0.0),
    )
    position = poses.position[time, animal] - np.float32(PIXEL_OFFSET)
    known = ~np.isnan(position).any(axis=-1, keepdims=True)
    position = np.where(known, position, np.float32(np.nan))
    _extend(
        tables["pred_points"],
        x=position[..., 0].ravel(),
        y=position[..., 1].ravel(),
        visible=known.ravel(),
        complete=False,
        score=poses.confidence[time, animal].ravel(),
    )


def _extend(table: "h5py.Dataset", **columns: NDArray[Any] | float) -> None:
    """Append rows; a column given as a number has that value in every row."""
    count = max(len(values) for values in columns.values() if isinstance(values, np.ndarray))
    rows = np.zeros(count, table.dtype)
    for name, values in columns.items():
        rows[name] = values
    table.resize(len(table) + count, axis=0)
    table[len(table) - count :] = rows
