"""Write ``points3d.h5``, as sleap-anipose writes triangulated points of SLEAP."""

from pathlib import Path

import numpy as np

from pipeline_lib.io.exports.sessions.source import SessionSource
from pipeline_lib.io.publish import publish_file

# Moments of a chunk.
_CHUNK = 2**10


def write_points3d(path: Path, source: SessionSource) -> None:
    """Publish the poses of one session as sleap-anipose's file of points (a `registry.Writer`).

    ``tracks`` has the shape (frame, track, node, 3), float64, in the unit and the axes of the
    calibration; NaN: not found. ``frames`` holds the first frame and one past the last. Names of
    nodes and tracks, and the unit, are our additions.
    """
    import h5py  # noqa: PLC0415

    head = source.head
    shape = (source.frames, len(head.individuals), len(head.bodyparts), 3)
    packing = {}
    # HDF5 has no chunks of an array without values.
    if np.prod(shape):
        chunks = (min(_CHUNK, source.frames), *shape[1:])
        packing = {"chunks": chunks, "compression": "gzip", "compression_opts": 4, "shuffle": True}
    with publish_file(path) as part, h5py.File(part, "w") as file:
        tracks = file.create_dataset("tracks", shape, "f8", **packing)
        tracks.attrs["Description"] = "Shape: (n_frames, n_tracks, n_nodes, 3)."
        tracks.attrs["unit"] = head.unit or "unknown"
        for moments, block in source.read_blocks():
            tracks[moments] = block.position
        file["frames"] = np.array([0, source.frames])
        for name, names in (("track_names", head.individuals), ("node_names", head.bodyparts)):
            texts = np.array(names, dtype=object)
            file.create_dataset(name, (len(names),), h5py.string_dtype(), data=texts)
