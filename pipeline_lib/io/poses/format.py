"""Define the format of pose files: arrays, names and metadata of a Zarr group.

Clusters count inodes. So an array is one file for hours of video, a shard of chunks of which a
reader fetches only those that it needs; the metadata of all arrays lie in the group's
``zarr.json`` alone; and an array that is its fill value throughout has no file, as Zarr has it.
The metadata list the files there are: one that is missing is known. What is known of tracks and
identities is in files of several individuals only, where points come from in views that a
session corrected. A folder named ``*.zarr`` opens with
``xarray.open_zarr(path)``, the same files packed as ``*.zarr.zip`` with
``xarray.open_zarr("zip::" + path)``.
"""

import json
import math
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.tables import FrameStatus, PointSource, TrackStatus
from pipeline_lib.core.untrusted.regular_files import require_regular_file
from pipeline_lib.io.foreign.zarr_metadata import check_arrays
from pipeline_lib.io.poses.bounds import MOST_STORED_BYTES, check_bounds
from pipeline_lib.io.poses.layout import Axes, Layout, find_memory_shapes

if TYPE_CHECKING:
    import zarr

# zarr is imported where it is used: keys are asked for whole cohorts, also by commands that
# answer at once.

FORMAT = "cohortpose poses"
FORMAT_VERSION = 2

# Attributes of the group that belong to the format, not to `Poses.attributes`.
FORMAT_ATTRIBUTES = ("format", "format_version", "units", "files")

# A chunk is what a reader decompresses at once and what a writer holds in memory, a shard is a
# file: with 64 chunks of 1 MiB, an hour of video for up to 50 points at 30 frames per second.
_CHUNK_BYTES = 2**20
_CHUNKS_PER_SHARD = 64
_VALUE_BYTES = 4  # of float32, the type of the largest arrays

SPACE = ("x", "y")
# `Poses.identity` is called `identity_confidence` on the disk: a Zarr group, and an xarray
# dataset, has but one variable named `identity`, which are the names along that axis.
DIMENSIONS = {
    "position": ("time", "space", "keypoint", "individual"),
    "confidence": ("time", "keypoint", "individual"),
    "frame_status": ("time",),
    "track_status": ("time", "individual"),
    "identity_confidence": ("time", "individual", "identity"),
    "spread": ("time", "keypoint", "individual"),
    "point_source": ("time", "keypoint", "individual"),
    "time": ("time",),
    "space": ("space",),
    "keypoint": ("keypoint",),
    "individual": ("individual",),
    "identity": ("identity",),
}
# In memory, see `pipeline_lib.core.poses`; the other arrays have the same order in both.
MEMORY_DIMENSIONS = {
    **DIMENSIONS,
    "position": ("time", "individual", "keypoint", "space"),
    "confidence": ("time", "individual", "keypoint"),
    "spread": ("time", "individual", "keypoint"),
    "point_source": ("time", "individual", "keypoint"),
}
OPTIONAL = frozenset({"track_status", "identity_confidence", "identity", "spread", "point_source"})
DTYPES = {
    "position": "float32",
    "confidence": "float32",
    "frame_status": "uint8",
    "track_status": "uint8",
    "identity_confidence": "float32",
    "spread": "float32",
    "point_source": "uint8",
    "time": "float64",
}
_UNITS = {"position": "px", "time": "s"}
# Of arrays that not every file has; they are told by the array alone.
_MORE_UNITS = {"spread": "px"}
# What a reader gets for a chunk that is not there: no point, and a frame that was not decoded.
_FILL: dict[str, Any] = {
    "position": "NaN",
    "confidence": "NaN",
    "frame_status": int(FrameStatus.UNDECODABLE),
    "track_status": int(TrackStatus.ABSENT),
    "identity_confidence": "NaN",
    "spread": "NaN",
    "point_source": int(PointSource.NONE),
    "time": "NaN",
}
# The layout of the poses of one video.
LAYOUT = Layout(
    FORMAT, FORMAT_VERSION, DIMENSIONS, MEMORY_DIMENSIONS, DTYPES, _UNITS, _FILL, OPTIONAL
)
_METADATA = "zarr.json"
_MOST_METADATA = 64 * 2**20

Metadata = dict[str, Any]


@dataclass(frozen=True)
class PoseAxes:
    """Hold lengths and names of the axes of a pose file.

    Attributes
    ----------
    frames
        Length of the time axis.
    bodyparts, individuals
        Names along the keypoint and individual axes.
    tracked
        Whether there is a ``track_status``.
    identities
        Names along the identity axis; empty: no identities.
    spread
        Whether there is a ``spread``: poses of an ensemble.
    corrected
        Whether there is a ``point_source``.
    """

    frames: int
    bodyparts: tuple[str, ...]
    individuals: tuple[str, ...]
    tracked: bool = False
    identities: tuple[str, ...] = ()
    spread: bool = False
    corrected: bool = False

    @property
    def layout(self) -> Layout:
        """Kind of the file."""
        return LAYOUT

    @property
    def frame_values(self) -> int:
        """Number of float32 values of a frame in the largest array."""
        return len(SPACE) * len(self.bodyparts) * len(self.individuals)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each present array of values, with its axes as in the file."""
        frames, keypoints, animals = self.frames, len(self.bodyparts), len(self.individuals)
        shapes: dict[str, tuple[int, ...]] = {
            "position": (frames, 2, keypoints, animals),
            "confidence": (frames, keypoints, animals),
            "frame_status": (frames,),
            "time": (frames,),
        }
        if self.tracked:
            shapes["track_status"] = (frames, animals)
        if self.identities:
            shapes["identity_confidence"] = (frames, animals, len(self.identities))
        if self.spread:
            shapes["spread"] = (frames, keypoints, animals)
        if self.corrected:
            shapes["point_source"] = (frames, keypoints, animals)
        return shapes

    @property
    def memory_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each present array of values, with its axes as in memory."""
        return find_memory_shapes(self)

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Names along each axis except time."""
        names = {"space": SPACE, "keypoint": self.bodyparts, "individual": self.individuals}
        return {**names, "identity": self.identities} if self.identities else names


def choose_chunks(frames: int, values: int) -> tuple[int, int]:
    """Return the frames in a chunk and in a shard; equal where one chunk is enough.

    Parameters
    ----------
    frames
        In the file.
    values
        Values of float32 of a frame in the largest array.
    """
    frame_bytes = max(1, values) * _VALUE_BYTES
    chunk = max(1, _CHUNK_BYTES // frame_bytes)
    if frames <= chunk:
        return max(1, frames), max(1, frames)
    # Readers that cut at round numbers of frames then meet whole chunks.
    chunk = 2 ** (chunk.bit_length() - 1)
    # A single frame may be larger than a chunk should be.
    most = max(1, _CHUNKS_PER_SHARD * _CHUNK_BYTES // (chunk * frame_bytes))
    return chunk, min(math.ceil(frames / chunk), _CHUNKS_PER_SHARD, most) * chunk


def order_for_file(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return a view of a named array of `pipeline_lib.core.poses.Poses` with the file's axes."""
    return LAYOUT.order_for_file(name, values)


def order_for_memory(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return a view of a named array of a file with the axes of `pipeline_lib.core.poses.Poses`."""
    return LAYOUT.order_for_memory(name, values)


def describe_arrays(axes: Axes) -> dict[str, Metadata]:
    """Return the Zarr metadata of each array of a pose file."""
    layout = axes.layout
    chunk, shard = choose_chunks(axes.frames, axes.frame_values)
    return {
        **{
            name: _describe_values(layout, name, shape, chunk, shard)
            for name, shape in axes.shapes.items()
        },
        **{name: _describe_names(layout, name, values) for name, values in axes.names.items()},
    }


def write_metadata(
    folder: Path,
    arrays: Mapping[str, Metadata],
    attributes: Mapping[str, Any],
    layout: Layout = LAYOUT,
) -> None:
    """Write the metadata of the group and of its arrays, and the list of files.

    Raises
    ------
    ValueError
        If an attribute has a name that belongs to the format.
    """
    reserved = [name for name in FORMAT_ATTRIBUTES if name in attributes]
    if reserved:
        raise ValueError(f"attributes {', '.join(reserved)} are reserved for the pose format")
    found = (file.relative_to(folder).as_posix() for file in folder.glob("*/*"))
    own = {
        "format": layout.name,
        "format_version": layout.version,
        "units": dict(layout.units),
        "files": sorted(found),
    }
    metadata = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {**attributes, **own},
        "consolidated_metadata": {
            "kind": "inline",
            "must_understand": False,
            "metadata": arrays,
        },
    }
    (folder / _METADATA).write_text(json.dumps(metadata, separators=(",", ":")), encoding="utf-8")


def read_metadata(path: Path, *layouts: Layout) -> tuple[dict[str, Metadata], dict[str, Any]]:
    """Return the metadata of the arrays, and the attributes, of a pose file that has every part.

    Parameters
    ----------
    path
        The pose file.
    layouts
        Kinds of pose files that are expected; without one, the poses of one video.

    Raises
    ------
    StoreError
        If it is missing, incomplete, of another version, not a pose file, or if reading it might
        run code or take more memory than what it stores: see
        `pipeline_lib.io.foreign.zarr_metadata` and `pipeline_lib.io.poses.bounds`.
    """
    again = "delete it and run the step that writes it again"
    if not path.exists():
        raise StoreError(f"{path}: no such pose file; the step that writes it has not run")
    try:
        text, files = _read_text(path)
        metadata = json.loads(text)
        attributes: dict[str, Any] = metadata["attributes"]
        name, version = attributes.get("format"), attributes.get("format_version")
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        # JSON that is nested too deep; a ZIP file with a password.
        RuntimeError,
        zipfile.BadZipFile,
    ):
        raise StoreError(f"{path}: not a Zarr version 3 group; expected a pose file") from None
    known = {layout.name: layout for layout in layouts or (LAYOUT,)}
    layout = known.get(name) if isinstance(name, str) else None
    if layout is None:
        expected = " or ".join(map(repr, known))
        raise StoreError(f"{path}: not a pose file (format {name!r}, expected {expected})")
    if version != layout.version:
        raise StoreError(
            f"{path}: pose format version {version!r}, expected {layout.version}; {again}"
        )
    try:
        arrays: dict[str, Metadata] = metadata["consolidated_metadata"]["metadata"]
        missing = [file for file in attributes["files"] if file not in files]
    except (KeyError, TypeError):
        raise StoreError(f"{path}: damaged metadata of a pose file; {again}") from None
    if missing:
        raise StoreError(f"{path}: incomplete pose file, lacks {missing[0]}; {again}")
    check_arrays(path, arrays)
    lacking = [name for name in layout.dimensions if name not in {*arrays, *layout.optional}]
    if lacking:
        raise StoreError(f"{path}: damaged metadata of a pose file, lacks {lacking[0]}; {again}")
    check_bounds(path, arrays, layout.dimensions, files)
    return arrays, attributes


@contextmanager
def open_group(path: Path, *layouts: Layout) -> Iterator[tuple["zarr.Group", dict[str, Any]]]:
    """Yield the group of a pose file, a folder or packed, to read from, and its attributes.

    Parameters
    ----------
    path, layouts
        As for `read_metadata`.

    Raises
    ------
    StoreError
        As `read_metadata` and `check_files`, which come first.
    """
    import zarr  # noqa: PLC0415

    from pipeline_lib.io.foreign.zarr_codecs import bound_decoding  # noqa: PLC0415

    _, attributes = read_metadata(path, *layouts)
    check_files(path)
    # The metadata that were checked, not those that may lie beside each array.
    how: dict[str, Any] = {"mode": "r", "zarr_format": 3, "use_consolidated": True}
    if not is_packed(path):
        with bound_decoding():
            group = zarr.open_group(path, **how)
        yield group, attributes
        return
    with zarr.storage.ZipStore(path, mode="r") as store:
        with bound_decoding():
            group = zarr.open_group(store, **how)
        yield group, attributes


def check_files(path: Path) -> None:
    """Refuse a pose file with a stored file that is larger than any chunk, or no regular file.

    Raises
    ------
    StoreError
        Naming the file.
    """
    if is_packed(path):
        with zipfile.ZipFile(path) as archive:
            sizes = [(entry.filename, entry.file_size) for entry in archive.infolist()]
    else:
        sizes = []
        for file in _list_stored(path):
            facts = file.stat()
            if not stat.S_ISREG(facts.st_mode):
                raise StoreError(f"{file.path}: is no regular file; this pose file is not read")
            sizes.append((file.path, facts.st_size))
    for name, size in sizes:
        if size > MOST_STORED_BYTES:
            raise StoreError(
                f"{path}: {name} has {size} bytes, expected at most {MOST_STORED_BYTES}; this pose "
                "file is damaged or was not written by cohortpose, and is not read"
            )


def is_packed(path: Path) -> bool:
    """Return whether a pose file of this name is a ZIP file, not a folder."""
    return path.suffix == ".zip"


def _read_text(path: Path) -> tuple[str, frozenset[str]]:
    """Return the text of the metadata, and the names of the arrays' files."""
    if is_packed(path):
        require_regular_file(path)
        with zipfile.ZipFile(path) as archive:
            _check_length(archive.getinfo(_METADATA).file_size)
            return archive.read(_METADATA).decode(), frozenset(archive.namelist())
    require_regular_file(path / _METADATA)
    _check_length((path / _METADATA).stat().st_size)
    text = (path / _METADATA).read_text(encoding="utf-8")
    # Below the folder of its array: ARRAY/CHUNK.
    start = len(os.fspath(path)) + 1
    return text, frozenset(file.path[start:] for file in _list_stored(path))


def _list_stored(path: Path) -> Iterator["os.DirEntry[str]"]:
    """Yield the files in the folders of the arrays."""
    # Not by pathlib, which takes most of the time of a job that has nothing to do.
    for array in os.scandir(path):
        if array.is_dir():
            yield from os.scandir(array)


def _check_length(size: int) -> None:
    """Raise `ValueError` if metadata are longer than any that are written."""
    if size > _MOST_METADATA:
        raise ValueError(f"{size} bytes of metadata")


def _describe_values(
    layout: Layout, name: str, shape: tuple[int, ...], chunk: int, shard: int
) -> Metadata:
    rest = [max(1, size) for size in shape[1:]]
    dtype = layout.dtypes[name]
    itemsize = np.dtype(dtype).itemsize
    packing = {"cname": "zstd", "clevel": 5, "shuffle": "shuffle", "blocksize": 0}
    codecs = [
        _name_codec("bytes", endian="little"),
        _name_codec("blosc", typesize=itemsize, **packing),
        # The checksum detects a damaged chunk.
        _name_codec("crc32c"),
    ]
    if shard > chunk:
        index = [_name_codec("bytes", endian="little"), _name_codec("crc32c")]
        codecs = [
            _name_codec(
                "sharding_indexed",
                chunk_shape=[chunk, *rest],
                codecs=codecs,
                index_codecs=index,
                index_location="end",
            )
        ]
    known = {**_MORE_UNITS, **layout.units}
    units = {"units": known[name]} if name in known else {}
    more = {"fill_value": layout.fill[name], "attributes": units}
    return _describe_array(layout.dimensions[name], shape, dtype, [shard, *rest], codecs, **more)


def _describe_names(layout: Layout, name: str, names: Sequence[str]) -> Metadata:
    codecs = [_name_codec("vlen-utf8"), _name_codec("zstd", level=0, checksum=False)]
    # A single one needs no file. Several must not, without theirs, all read as the first.
    fill = names[0] if len(names) == 1 else ""
    axes, shape, chunk = layout.dimensions[name], (len(names),), [max(1, len(names))]
    return _describe_array(axes, shape, "string", chunk, codecs, fill_value=fill)


def _describe_array(
    dimensions: Sequence[str],
    shape: Sequence[int],
    data_type: str,
    chunk: Sequence[int],
    codecs: Sequence[Metadata],
    **more: Any,  # noqa: ANN401 - JSON
) -> Metadata:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        # All chunks of an array lie in one folder.
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "codecs": list(codecs),
        "attributes": {},
        "dimension_names": list(dimensions),
        "storage_transformers": [],
        **more,
    }


def _name_codec(name: str, **configuration: Any) -> Metadata:  # noqa: ANN401 - JSON
    return {"name": name, "configuration": configuration} if configuration else {"name": name}
