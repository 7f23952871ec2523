"""Write SLEAP analysis files (HDF5), as ``sleap-convert --format analysis`` does.

Axes have the order that MATLAB shows reversed: ``tracks`` (track, space, node, frame),
``track_occupancy`` (frame, track), ``point_scores`` (track, node, frame), ``instance_scores`` and
``tracking_scores`` (track, frame).
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.poses import Poses
from pipeline_lib.io.exports.sleap import describe_video
from pipeline_lib.io.exports.sleap_convention import PIXEL_OFFSET, find_instances
from pipeline_lib.io.exports.source import ExportSource
from pipeline_lib.io.publish import publish_file

if TYPE_CHECKING:
    import h5py

_AXES = {
    "tracks": ("track", "xy", "node", "frame"),
    "track_occupancy": ("frame", "track"),
    "point_scores": ("track", "node", "frame"),
    "instance_scores": ("track", "frame"),
    "tracking_scores": ("track", "frame"),
}
# Frames of a chunk of `tracks`; it divides the frames of a block.
_CHUNK_FRAMES = 2**10


def write_sleap_analysis(path: Path, source: ExportSource) -> None:
    """Publish the poses of one video as a SLEAP analysis file.

    Every individual is a track with one column per frame of the video, even one that was never
    found, which SLEAP would omit. As in SLEAP, a single individual has no name, and individuals
    that were not tracked are named ``track_0`` and so on. The same poses give the same bytes.
    Memory holds one block of frames, however long the video is.

    Parameters
    ----------
    path
        File to write.
    source
        Poses of the video and the metadata that SLEAP needs.

    Raises
    ------
    StoreError
        If the poses are missing or damaged.
    """
    import h5py  # noqa: PLC0415

    with publish_file(path) as part, h5py.File(part, "w") as file:
        arrays = _create_arrays(file, source)
        start = 0
        for block in source.read_blocks():
            frames = slice(start, start + len(block.time))
            for name, values in _arrange(block).items():
                region = [slice(None)] * values.ndim
                region[_AXES[name].index("frame")] = frames
                arrays[name][tuple(region)] = values
            start = frames.stop
        _describe(file, source)


def _create_arrays(file: "h5py.File", source: ExportSource) -> dict[str, "h5py.Dataset"]:
    sizes = {
        "track": len(source.head.individuals),
        "xy": 2,
        "node": len(source.head.bodyparts),
        "frame": source.frames,
    }
    arrays = {}
    for name, axes in _AXES.items():
        shape = tuple(sizes[axis] for axis in axes)
        packing: dict[str, Any] = {}
        # HDF5 cannot chunk an empty array.
        if all(shape):
            chunks = {**sizes, "frame": min(_CHUNK_FRAMES, source.frames)}
            packing = {
                "chunks": tuple(chunks[axis] for axis in axes),
                "shuffle": True,
                "compression": "gzip",
                "compression_opts": 4,
            }
        occupancy = name == "track_occupancy"
        arrays[name] = file.create_dataset(name, shape, "u1" if occupancy else "f8", **packing)
        arrays[name].attrs["dims"] = json.dumps(axes)
    return arrays


def _arrange(poses: Poses) -> dict[str, NDArray[Any]]:
    """Return the arrays of a block of frames in SLEAP's order of axes."""
    found = find_instances(poses)
    return {
        # SLEAP's order: individual, space, keypoint, time.
        "tracks": poses.position.transpose(1, 3, 2, 0) - np.float32(PIXEL_OFFSET),
        "track_occupancy": found.present.astype(np.uint8),
        "point_scores": poses.confidence.transpose(1, 2, 0),
        "instance_scores": found.score.T,
        "tracking_scores": found.tracking_score.T,
    }


def _describe(file: "h5py.File", source: ExportSource) -> None:
    """Write names, skeleton and the provenance of the poses."""
    nodes, individuals = source.head.bodyparts, source.head.individuals
    tracks: tuple[str, ...] = source.tracks
    if not tracks and len(individuals) > 1:
        tracks = tuple(f"track_{index}" for index in range(len(individuals)))
    edges = [(nodes[first], nodes[second]) for first, second in source.edges]
    file["track_names"] = _encode(tracks)
    file["node_names"] = _encode(nodes)
    file["edge_names"] = _encode([name for edge in edges for name in edge]).reshape(-1, 2)
    file["edge_inds"] = np.array(source.edges, np.int64).reshape(-1, 2)
    file["labels_path"] = ""
    file["video_path"] = source.video.as_posix()
    file["video_ind"] = 0
    file["provenance"] = json.dumps({"scorer": source.scorer, "key": source.key})
    symmetries = [(nodes[first], nodes[second]) for first, second in source.symmetries]
    file.attrs["preset"] = "matlab"
    file.attrs["format"] = "analysis"
    file.attrs["skeleton_name"] = "skeleton"
    file.attrs["skeleton_symmetries"] = json.dumps(symmetries)
    file.attrs["video_backend_metadata"] = json.dumps(describe_video(source))


def _encode(names: tuple[str, ...] | list[str]) -> NDArray[np.bytes_]:
    """Return names as byte strings of one length, as SLEAP stores them; the list may be empty."""
    encoded = [name.encode() for name in names]
    return np.array(encoded, f"S{max(map(len, encoded), default=1)}")
