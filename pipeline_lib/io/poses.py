"""Pose files: one Zarr group per video that xarray opens as a dataset.

``position`` (time, space, keypoint, individual) in px, ``confidence`` (time, keypoint,
individual) and ``frame_status`` (time), with the coordinates ``time`` in seconds, ``space``,
``keypoint`` and ``individual``. Clusters count inodes, so that each array is one file for
hours of video: a shard of chunks, of which a reader fetches only those that it needs.
"""

import itertools
import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.tables import FrameStatus
from pipeline_lib.io.publish import publish_folder

if TYPE_CHECKING:
    import zarr

# zarr is imported where it is used: `read_pose_key` is asked for whole cohorts, also by
# commands that answer at once.

FORMAT = "cohortpose poses"
FORMAT_VERSION = 1

# Attributes of the group that belong to the format, not to `Poses.attributes`.
_FORMAT_ATTRIBUTES = ("format", "format_version", "units")

# A chunk is what a reader decompresses at once, a shard what the writer holds in memory.
_CHUNK_BYTES = 2**20
_CHUNKS_PER_SHARD = 64

_SPACE = ("x", "y")
_DIMENSIONS = {
    "position": ("time", "space", "keypoint", "individual"),
    "confidence": ("time", "keypoint", "individual"),
    "frame_status": ("time",),
    "time": ("time",),
    "space": ("space",),
    "keypoint": ("keypoint",),
    "individual": ("individual",),
}
_UNITS = {"position": "px", "time": "s"}
# What a reader gets for a chunk that is not there: no point, and a frame that was not decoded.
_FILL: dict[str, Any] = {
    "position": np.nan,
    "confidence": np.nan,
    "frame_status": int(FrameStatus.UNDECODABLE),
    "time": np.nan,
}
_DTYPES = {
    "position": "float32",
    "confidence": "float32",
    "frame_status": "uint8",
    "time": "float64",
}


@contextmanager
def create_poses(
    path: Path,
    time: NDArray[np.float64],
    bodyparts: Sequence[str],
    individuals: Sequence[str],
    attributes: Mapping[str, Any],
) -> Iterator["PoseWriter"]:
    """Publish a pose file block by block, in flat memory however long the video is.

    The file appears under its name when the ``with`` block ends without an exception and every
    frame has been written; otherwise what stood there before stays.

    Parameters
    ----------
    path
        The pose file, a folder named ``VIDEO.zarr``; an existing one is replaced.
    time
        Shape (time,), float64, presentation time of every frame in seconds.
    bodyparts, individuals
        Names along the keypoint and individual axes.
    attributes
        JSON-like record, as in `Poses.attributes`.

    Yields
    ------
    PoseWriter
        To which consecutive blocks of frames are given.

    Raises
    ------
    StoreError
        At the end, if frames are missing.
    """
    reserved = [name for name in _FORMAT_ATTRIBUTES if name in attributes]
    if reserved:
        raise ValueError(f"attributes {', '.join(reserved)} are reserved for the pose format")
    with publish_folder(path) as folder:
        writer = PoseWriter(folder, time, bodyparts, individuals)
        yield writer
        if writer.written != len(time):
            raise StoreError(f"{path}: {writer.written} of {len(time)} frames; not published")
        writer.close(attributes)


class PoseWriter:
    """Fills a folder with the poses of one video; made by `create_poses`.

    Attributes
    ----------
    written
        Frames written so far.
    """

    def __init__(
        self,
        folder: Path,
        time: NDArray[np.float64],
        bodyparts: Sequence[str],
        individuals: Sequence[str],
    ) -> None:
        import zarr  # noqa: PLC0415

        self.written = 0
        self._flushed = 0
        self._folder = folder
        self._group = zarr.open_group(folder, mode="w", zarr_format=3)
        frames, keypoints, animals = len(time), len(bodyparts), len(individuals)
        chunk, self._shard = _choose_chunks(frames, keypoints * animals)
        shapes: dict[str, tuple[int, ...]] = {
            "position": (frames, 2, keypoints, animals),
            "confidence": (frames, keypoints, animals),
            "frame_status": (frames,),
            "time": (frames,),
        }
        self._arrays = {
            name: _create_values(self._group, name, shape, chunk, self._shard)
            for name, shape in shapes.items()
        }
        self._arrays["time"][:] = time
        _create_names(self._group, "space", _SPACE)
        _create_names(self._group, "keypoint", bodyparts)
        _create_names(self._group, "individual", individuals)
        self._frames = frames
        self._buffers = {
            name: np.empty((min(self._shard, frames), *shapes[name][1:]), _DTYPES[name])
            for name in ("position", "confidence", "frame_status")
        }

    def write(
        self,
        start: int,
        position: NDArray[np.float32],
        confidence: NDArray[np.float32],
        frame_status: NDArray[np.uint8],
    ) -> None:
        """Append a block of consecutive frames.

        Parameters
        ----------
        start
            Index of the block's first frame: the number of frames written so far.
        position
            Shape (block, 2, keypoint, individual), px; NaN: not found, or no frame.
        confidence
            Shape (block, keypoint, individual), 0..1; NaN: the frame could not be decoded.
        frame_status
            Shape (block,), values of `pipeline_lib.core.tables.FrameStatus`.

        Raises
        ------
        ValueError
            If the block does not follow the last one, has another shape, or exceeds the video.
        """
        block: dict[str, NDArray[Any]] = {
            "position": position,
            "confidence": confidence,
            "frame_status": frame_status,
        }
        count = len(frame_status)
        if start != self.written:
            raise ValueError(f"block starts at frame {start}, expected {self.written}")
        if start + count > self._frames:
            raise ValueError(f"block ends at frame {start + count} of a video of {self._frames}")
        for name, values in block.items():
            expected = (count, *self._buffers[name].shape[1:])
            if values.shape != expected:
                raise ValueError(f"{name} has shape {values.shape}, expected {expected}")
        taken = 0
        while taken < count:
            filled = self.written - self._flushed
            part = min(count - taken, self._shard - filled)
            for name, values in block.items():
                self._buffers[name][filled : filled + part] = values[taken : taken + part]
            taken += part
            self.written += part
            if self.written - self._flushed == self._shard:
                self._flush()

    def close(self, attributes: Mapping[str, Any]) -> None:
        """Write the frames still held in memory, the attributes and the consolidated metadata."""
        import zarr  # noqa: PLC0415

        if self.written > self._flushed:
            self._flush()
        own = {"format": FORMAT, "format_version": FORMAT_VERSION, "units": _UNITS}
        self._group.attrs.update({**attributes, **own})
        with warnings.catch_warnings():
            # Readers that do not know consolidated metadata find the same beside each array.
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            zarr.consolidate_metadata(self._folder)

    def _flush(self) -> None:
        for name, buffer in self._buffers.items():
            # Whole shards only: a part of one would be read, merged and written again.
            self._arrays[name][self._flushed : self.written] = buffer[
                : self.written - self._flushed
            ]
        self._flushed = self.written


def write_poses(path: Path, poses: Poses) -> None:
    """Publish the poses of one video as a pose file.

    Parameters
    ----------
    path
        The pose file, a folder named ``VIDEO.zarr``; an existing one is replaced.
    poses
        Poses of every true frame.
    """
    with create_poses(
        path, poses.time, poses.bodyparts, poses.individuals, poses.attributes
    ) as writer:
        writer.write(0, poses.position, poses.confidence, poses.frame_status)


def read_poses(path: Path, start: int = 0, stop: int | None = None) -> Poses:
    """Read the poses of one video, or of some of its frames.

    Parameters
    ----------
    path
        A pose file.
    start, stop
        Frames to read, as in a slice; only the chunks that hold them are fetched.

    Raises
    ------
    StoreError
        If the file is missing, damaged, incomplete, of another version, or not a pose file.
    """
    values, attributes = _read_arrays(path, tuple(_DIMENSIONS), slice(start, stop))
    return Poses(
        position=values["position"],
        confidence=values["confidence"],
        frame_status=values["frame_status"],
        time=values["time"],
        bodyparts=tuple(str(name) for name in values["keypoint"]),
        individuals=tuple(str(name) for name in values["individual"]),
        attributes={
            key: value for key, value in attributes.items() if key not in _FORMAT_ATTRIBUTES
        },
    )


def read_times(path: Path) -> NDArray[np.float64]:
    """Read the presentation time of every frame of a pose file.

    Returns
    -------
    Array of shape (time,), float64, seconds

    Raises
    ------
    StoreError
        As `read_poses`.
    """
    return _read_arrays(path, ("time",), slice(None))[0]["time"]


def read_frame_status(path: Path) -> NDArray[np.uint8]:
    """Read why each row of a pose file is what it is.

    Returns
    -------
    Array of shape (time,), uint8, values of `pipeline_lib.core.tables.FrameStatus`

    Raises
    ------
    StoreError
        As `read_poses`.
    """
    return _read_arrays(path, ("frame_status",), slice(None))[0]["frame_status"]


def read_pose_key(path: Path) -> str | None:
    """Return what the poses at a path depend on, without reading them.

    Returns
    -------
    str or None
        The attribute ``key``; None if there is no whole pose file of this version with a key.
    """
    try:
        return require_pose_key(path)
    except StoreError:
        return None


def require_pose_key(path: Path) -> str:
    """Return what the poses at a path depend on, without reading them.

    Raises
    ------
    StoreError
        If the file is missing, incomplete, of another version, or has no key.
    """
    key = _check_store(path).get("key")
    if not isinstance(key, str):
        raise StoreError(f"{path}: has no attribute `key`; run the step that writes it again")
    return key


def _read_arrays(
    path: Path, names: Sequence[str], frames: slice
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the named arrays, those over time cut to some frames, and the attributes."""
    import zarr  # noqa: PLC0415

    attributes = _check_store(path)
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
        values = {
            name: group[name][frames if _DIMENSIONS[name][0] == "time" else slice(None)]
            for name in names
        }
    # zarr's codecs raise what their libraries raise, down to RuntimeError.
    except (ValueError, KeyError, OSError, TypeError, RuntimeError) as error:
        raise StoreError(f"{path}: damaged pose file ({error}); delete it and run again") from error
    return values, attributes


def _check_store(path: Path) -> dict[str, Any]:
    """Return the attributes of a pose file of which every part is there."""
    again = "delete it and run the step that writes it again"
    if not path.exists():
        raise StoreError(f"{path}: no such pose file; the step that writes it has not run")
    try:
        metadata = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
        attributes: dict[str, Any] = metadata["attributes"]
        name, version = attributes.get("format"), attributes.get("format_version")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise StoreError(f"{path}: not a Zarr version 3 group; expected a pose file") from None
    if name != FORMAT:
        raise StoreError(f"{path}: not a pose file (format {name!r}, expected {FORMAT!r})")
    if version != FORMAT_VERSION:
        raise StoreError(
            f"{path}: pose format version {version!r}, expected {FORMAT_VERSION}; {again}"
        )
    try:
        arrays = metadata["consolidated_metadata"]["metadata"]
        missing = [file for name in _DIMENSIONS for file in _list_files(name, arrays[name])]
        missing = [file for file in missing if not (path / file).is_file()]
    except (KeyError, TypeError):
        raise StoreError(f"{path}: incomplete pose file; {again}") from None
    if missing:
        raise StoreError(f"{path}: incomplete pose file, lacks {missing[0]}; {again}")
    return attributes


def _list_files(name: str, metadata: Mapping[str, Any]) -> list[str]:
    """Return the files of one array: its metadata and each of its shards."""
    shards = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    counts = [math.ceil(n / shard) for n, shard in zip(metadata["shape"], shards, strict=True)]
    indices = itertools.product(*(range(count) for count in counts))
    return [f"{name}/zarr.json", *("/".join([name, "c", *map(str, index)]) for index in indices)]


def _choose_chunks(frames: int, points: int) -> tuple[int, int]:
    """Return the frames in a chunk and in a shard; equal where one chunk is enough."""
    point_bytes = 2 * np.dtype(_DTYPES["position"]).itemsize
    chunk = max(1, _CHUNK_BYTES // (max(1, points) * point_bytes))
    if frames <= chunk:
        return max(1, frames), max(1, frames)
    # Readers that cut at round numbers of frames then meet whole chunks.
    chunk = 2 ** (chunk.bit_length() - 1)
    return chunk, min(math.ceil(frames / chunk), _CHUNKS_PER_SHARD) * chunk


def _create_values(
    group: "zarr.Group", name: str, shape: tuple[int, ...], chunk: int, shard: int
) -> "zarr.Array":
    from zarr.codecs import BloscCodec, Crc32cCodec  # noqa: PLC0415

    rest = tuple(max(1, size) for size in shape[1:])
    return group.create_array(
        name,
        shape=shape,
        dtype=_DTYPES[name],
        chunks=(chunk, *rest),
        shards=(shard, *rest) if shard > chunk else None,
        # The checksum tells a damaged chunk from a good one.
        compressors=(BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), Crc32cCodec()),
        fill_value=_FILL[name],
        dimension_names=_DIMENSIONS[name],
        attributes={"units": _UNITS[name]} if name in _UNITS else {},
        # A missing file is then a damaged store, never a chunk without points. This holds for
        # the returned array only, not for one opened by name.
        config={"write_empty_chunks": True},
    )


def _create_names(group: "zarr.Group", name: str, names: Sequence[str]) -> None:
    from zarr.core.dtype import VariableLengthUTF8  # noqa: PLC0415

    # zarr-python warns that fixed-length strings have no stable specification; these do.
    array = group.create_array(
        name,
        shape=(len(names),),
        dtype=VariableLengthUTF8(),
        chunks=(max(1, len(names)),),
        dimension_names=_DIMENSIONS[name],
        config={"write_empty_chunks": True},
    )
    array[:] = np.array(list(names), dtype=object)
