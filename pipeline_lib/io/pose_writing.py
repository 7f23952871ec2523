"""Writing pose files: whole or not at all, block by block in flat memory."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.tables import FrameStatus
from pipeline_lib.io.pose_format import (
    DTYPES,
    FORMAT_ATTRIBUTES,
    SPACE,
    choose_chunks,
    describe_arrays,
    is_packed,
    read_metadata,
    write_metadata,
)
from pipeline_lib.io.publish import publish_folder, publish_packed

# Written shard by shard; the other arrays are light enough to be held whole.
_STREAMED = ("position", "confidence")


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
        The pose file, a folder named ``VIDEO.zarr`` or, packed into one file,
        ``VIDEO.zarr.zip``; an existing one is replaced.
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
    ValueError
        If an attribute has a name that belongs to the format.
    """
    publish = publish_packed if is_packed(path) else publish_folder
    with publish(path) as folder:
        writer = PoseWriter(folder, time, bodyparts, individuals, attributes)
        yield writer
        if writer.written != len(time):
            raise StoreError(f"{path}: {writer.written} of {len(time)} frames; not published")
        writer.close()


class PoseWriter:
    """Fills a folder with the poses of one video; made by `create_poses`.

    It holds one shard of positions and confidences, 96 MiB at most, and 9 bytes a frame.

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
        attributes: Mapping[str, Any],
    ) -> None:
        import zarr  # noqa: PLC0415

        self.written = 0
        self._flushed = 0
        self._folder, self._attributes = folder, attributes
        frames, points = len(time), (len(bodyparts), len(individuals))
        self._arrays = describe_arrays(frames, bodyparts, individuals)
        write_metadata(folder, self._arrays, attributes)
        self._group = zarr.open_group(folder, mode="r+", zarr_format=3)
        self._whole: dict[str, NDArray[Any]] = {
            "frame_status": np.empty(frames, DTYPES["frame_status"]),
            "time": time,
            "space": np.array(SPACE, dtype=object),
            "keypoint": np.array(list(bodyparts), dtype=object),
            "individual": np.array(list(individuals), dtype=object),
        }
        _, self._shard = choose_chunks(frames, points[0] * points[1])
        shapes = {"position": (2, *points), "confidence": points}
        self._buffers = {
            name: np.empty((min(self._shard, frames), *shapes[name]), DTYPES[name])
            for name in _STREAMED
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
        block = {"position": position, "confidence": confidence}
        status, count = self._whole["frame_status"], len(frame_status)
        if start != self.written:
            raise ValueError(f"block starts at frame {start}, expected {self.written}")
        if start + count > len(status):
            raise ValueError(f"block ends at frame {start + count} of a video of {len(status)}")
        for name, values in block.items():
            expected = (count, *self._buffers[name].shape[1:])
            if values.shape != expected:
                raise ValueError(f"{name} has shape {values.shape}, expected {expected}")
        status[start : start + count] = frame_status
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

    def close(self) -> None:
        """Write what is still held in memory, and which files there are."""
        if self.written > self._flushed:
            self._flush()
        if (self._whole["frame_status"] == FrameStatus.DECODED).all():
            # What is the same throughout needs no file.
            self._arrays["frame_status"]["fill_value"] = int(FrameStatus.DECODED)
            del self._whole["frame_status"]
        for name, values in self._whole.items():
            self._group[name][:] = values
        write_metadata(self._folder, self._arrays, self._attributes)

    def _flush(self) -> None:
        for name, buffer in self._buffers.items():
            # Whole shards only: a part of one would be read, merged and written again.
            self._group[name][self._flushed : self.written] = buffer[: self.written - self._flushed]
        self._flushed = self.written


def write_poses(path: Path, poses: Poses) -> None:
    """Publish the poses of one video as a pose file.

    Parameters
    ----------
    path
        The pose file, named as for `create_poses`; an existing one is replaced.
    poses
        Poses of every true frame.
    """
    with create_poses(
        path, poses.time, poses.bodyparts, poses.individuals, poses.attributes
    ) as writer:
        writer.write(0, poses.position, poses.confidence, poses.frame_status)


def copy_poses(source: Path, target: Path, attributes: Mapping[str, Any]) -> None:
    """Publish a copy of a pose file with some other attributes.

    Parameters
    ----------
    source
        A pose file that is a folder.
    target
        Receives the copy, a folder; an existing one is replaced.
    attributes
        Take the place of those of the same name.

    Raises
    ------
    StoreError
        If the source is missing, incomplete, or of another version.
    """
    arrays, kept = read_metadata(source)
    kept = {name: value for name, value in kept.items() if name not in FORMAT_ATTRIBUTES}
    with publish_folder(target) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        write_metadata(folder, arrays, {**kept, **attributes})
