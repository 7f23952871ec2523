"""Write pose files whole or not at all, block by block in flat memory."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.poses import Poses
from pipeline_lib.io.poses.format import (
    FORMAT_ATTRIBUTES,
    PoseAxes,
    describe_arrays,
    is_packed,
    read_metadata,
    write_metadata,
)
from pipeline_lib.io.poses.layout import TIME, Axes, find_memory_shapes
from pipeline_lib.io.poses.shards import ShardWriter
from pipeline_lib.io.publish import publish_folder, publish_packed

# Light enough to be held whole; often the same throughout, and then without a file.
_STATUSES = ("frame_status", "track_status")


@contextmanager
def create_poses(  # noqa: PLR0913 - what a pose file holds
    path: Path,
    time: NDArray[np.float64],
    bodyparts: Sequence[str],
    individuals: Sequence[str],
    attributes: Mapping[str, Any],
    *,
    tracked: bool = False,
    identities: Sequence[str] = (),
    spread: bool = False,
    corrected: bool = False,
) -> Iterator["PoseWriter"]:
    """Publish a pose file block by block; memory does not grow with the video.

    The file appears under its name when the ``with`` block ends without an exception and every
    frame has been written; otherwise an existing file is kept.

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
    tracked
        Whether each block comes with a ``track_status``.
    identities
        Names along the identity axis; each block then comes with an ``identity``. Empty: none. They
        also become the attribute ``identities``.
    spread
        Whether each block comes with a ``spread``.
    corrected
        Whether each block comes with a ``point_source``.

    Yields
    ------
    PoseWriter
        To which consecutive blocks of frames are given.

    Raises
    ------
    StoreError
        At the end, if frames are missing.
    ValueError
        If an attribute has a name that belongs to the format, or ``identities`` names others.
    """
    names = tuple(bodyparts), tuple(individuals)
    axes = PoseAxes(len(time), *names, tracked, tuple(identities), spread, corrected)
    with publish_whole(path) as folder:
        writer = PoseWriter(folder, axes, time, _name_identities(attributes, axes.identities))
        yield writer
        writer.close(path)


@contextmanager
def publish_whole(path: Path) -> Iterator[Path]:
    """Yield a folder to fill; on success it becomes a pose file, a folder or packed."""
    publish = publish_packed if is_packed(path) else publish_folder
    with publish(path) as folder:
        yield folder


class ArrayWriter:
    """Write the arrays of a pose file of any kind into a folder, block by block.

    It holds one chunk of each array, and of each frame a time and a status: 9 bytes, and one more
    for each individual that is tracked.

    Attributes
    ----------
    written
        Frames written so far.
    """

    def __init__(
        self, folder: Path, axes: Axes, time: NDArray[np.float64], attributes: Mapping[str, Any]
    ) -> None:
        self.written = 0
        self._axes, self._time = axes, time
        self._folder, self._attributes = folder, attributes
        self._arrays = describe_arrays(axes)
        self._shapes = find_memory_shapes(axes)
        write_metadata(folder, self._arrays, attributes, axes.layout)
        self._streamed: dict[str, ShardWriter] = {}
        self._statuses: dict[str, NDArray[Any]] = {}
        for name, shape in axes.shapes.items():
            if name in _STATUSES:
                self._statuses[name] = np.empty(shape, axes.layout.dtypes[name])
            elif name != TIME:
                self._streamed[name] = ShardWriter(folder / name, self._arrays[name])

    def append(self, start: int, block: Mapping[str, NDArray[Any] | None]) -> None:
        """Append a block of consecutive frames.

        Parameters
        ----------
        start
            Index of the block's first frame: the number of frames written so far.
        block
            Arrays by name, with axes as in memory; None: none.

        Raises
        ------
        ValueError
            If the block does not follow the last one, exceeds the file, or has another shape or
            other arrays than the file.
        """
        given = {name: values for name, values in block.items() if values is not None}
        count = len(given["frame_status"])
        self._check(start, count, given)
        for name, writer in self._streamed.items():
            writer.append(self._axes.layout.order_for_file(name, given[name]))
        for name, values in self._statuses.items():
            values[start : start + count] = given[name]
        self.written += count

    def close(self, path: Path) -> None:
        """Write the rest that is held in memory, and the list of files.

        Parameters
        ----------
        path
            The pose file, for messages.

        Raises
        ------
        StoreError
            If frames are missing.
        """
        if self.written != self._axes.frames:
            raise StoreError(f"{path}: {self.written} of {self._axes.frames} frames; not published")
        for writer in self._streamed.values():
            writer.close()
        for name, values in {**self._statuses, TIME: self._time}.items():
            self._write_whole(name, values)
        self._write_names()
        write_metadata(self._folder, self._arrays, self._attributes, self._axes.layout)

    def _write_whole(self, name: str, values: NDArray[Any]) -> None:
        if name in self._statuses and (not values.size or values.min() == values.max()):
            # What is the same throughout needs no file.
            self._arrays[name]["fill_value"] = int(values.flat[0]) if values.size else 0
            return
        writer = ShardWriter(self._folder / name, self._arrays[name])
        writer.append(values)
        writer.close()

    def _write_names(self) -> None:
        import zarr  # noqa: PLC0415

        group = zarr.open_group(self._folder, mode="r+", zarr_format=3)
        for name, names in self._axes.names.items():
            group[name][:] = np.array(list(names), dtype=object)

    def _check(self, start: int, count: int, given: Mapping[str, NDArray[Any]]) -> None:
        """Raise if a block does not fit the file."""
        shapes = {name: shape for name, shape in self._shapes.items() if name != TIME}
        frames = self._axes.frames
        if start != self.written:
            raise ValueError(f"block starts at frame {start}, expected {self.written}")
        if start + count > frames:
            raise ValueError(f"block ends at frame {start + count} of a video of {frames}")
        if given.keys() != shapes.keys():
            raise ValueError(f"block has {', '.join(given)}, expected {', '.join(shapes)}")
        for name, values in given.items():
            expected = (count, *shapes[name][1:])
            if values.shape != expected:
                raise ValueError(f"{name} has shape {values.shape}, expected {expected}")


class PoseWriter(ArrayWriter):
    """Write the poses of one video into a folder; see `create_poses`."""

    def write(  # noqa: PLR0913, PLR0917 - the arrays of a pose file
        self,
        start: int,
        position: NDArray[np.float32],
        confidence: NDArray[np.float32],
        frame_status: NDArray[np.uint8],
        track_status: NDArray[np.uint8] | None = None,
        identity: NDArray[np.float32] | None = None,
        spread: NDArray[np.float32] | None = None,
        point_source: NDArray[np.uint8] | None = None,
    ) -> None:
        """Append a block of consecutive frames.

        Parameters
        ----------
        start
            Index of the block's first frame: the number of frames written so far.
        position
            Shape (block, individual, keypoint, 2), px; NaN: not found, or no frame.
        confidence
            Shape (block, individual, keypoint), 0..1; NaN: the frame could not be decoded.
        frame_status
            Shape (block,), values of `pipeline_lib.core.tables.FrameStatus`.
        track_status
            Shape (block, individual), values of `pipeline_lib.core.tables.TrackStatus`; of a
            file that was created as ``tracked``, and of no other.
        identity
            Shape (block, individual, identity), 0..1, NaN: not there; of a file that was created
            with ``identities``, and of no other.
        spread
            Shape (block, individual, keypoint), px, NaN: not known; of a file that was created with
            ``spread``, and of no other.
        point_source
            Shape (block, individual, keypoint), values of
            `pipeline_lib.core.tables.PointSource`; of a file that was created as ``corrected``,
            and of no other.

        Raises
        ------
        ValueError
            If the block does not follow the last one, exceeds the video, or has another shape or
            other arrays than the file.
        """
        self.append(
            start,
            {
                "position": position,
                "confidence": confidence,
                "frame_status": frame_status,
                "track_status": track_status,
                "identity_confidence": identity,
                "spread": spread,
                "point_source": point_source,
            },
        )


def write_poses(path: Path, poses: Poses) -> None:
    """Publish the poses of one video as a pose file.

    Parameters
    ----------
    path
        The pose file, named as for `create_poses`; an existing one is replaced.
    poses
        Poses of every true frame.
    """
    identities = () if poses.identity is None else poses.attributes.get("identities", ())
    with create_poses(
        path,
        poses.time,
        poses.bodyparts,
        poses.individuals,
        poses.attributes,
        tracked=poses.track_status is not None,
        identities=identities,
        spread=poses.spread is not None,
        corrected=poses.point_source is not None,
    ) as writer:
        writer.write(
            0,
            poses.position,
            poses.confidence,
            poses.frame_status,
            poses.track_status,
            poses.identity,
            poses.spread,
            poses.point_source,
        )


def copy_poses(source: Path, target: Path, attributes: Mapping[str, Any]) -> None:
    """Publish a copy of a pose file with some other attributes.

    Parameters
    ----------
    source
        A pose file that is a folder.
    target
        Receives the copy, a folder; an existing one is replaced.
    attributes
        Replace those of the same name.

    Raises
    ------
    StoreError
        If the source is missing, incomplete, or of another version.
    """
    arrays, kept = read_metadata(source)
    kept = {name: value for name, value in kept.items() if name not in FORMAT_ATTRIBUTES}
    with publish_folder(target) as folder:
        _copy_contents(source, folder)
        write_metadata(folder, arrays, {**kept, **attributes})


def _copy_contents(source: Path, target: Path) -> None:
    """Copy files without their modes and times, which belong to the owner of the source."""
    for file in sorted(source.rglob("*")):
        copy = target / file.relative_to(source)
        if file.is_dir():
            copy.mkdir()
        else:
            shutil.copyfile(file, copy)


def _name_identities(
    attributes: Mapping[str, Any], identities: tuple[str, ...]
) -> Mapping[str, Any]:
    """Return the attributes with the names along the identity axis, if there is one."""
    if not identities:
        return attributes
    named = attributes.get("identities", identities)
    if tuple(named) != identities:
        raise ValueError(f"attribute `identities` is {named}, expected {list(identities)}")
    return {**attributes, "identities": list(identities)}
