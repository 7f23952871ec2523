"""Open poses as xarray datasets: those of one video, or lazily those of a whole cohort."""

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.api.places import find_results
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import ADDED_INDIVIDUALS
from pipeline_lib.core.tables import (
    LEDGER_COLUMNS,
    UNIQUE_INDIVIDUAL,
    FrameStatus,
    PointSource,
    TrackStatus,
    VideoStatus,
)
from pipeline_lib.io.poses.format import (
    DIMENSIONS,
    DTYPES,
    LAYOUT,
    check_files,
    is_packed,
    open_group,
    read_metadata,
)
from pipeline_lib.io.poses.session import LAYOUT as SESSION_LAYOUT
from pipeline_lib.io.stage_tables import read_table

if TYPE_CHECKING:
    import xarray as xr

Stage = Literal["infer", "track", "correct", "filter"]

_INDIVIDUAL = "individual"
# Frames in a chunk of the arrays of a cohort.
_CHUNK_FRAMES = 2**14
# Variables of a cohort; the two statuses are numbers whose meaning is told by CF's attributes.
_STATUSES = {
    "frame_status": FrameStatus,
    "track_status": TrackStatus,
    "point_source": PointSource,
}
# Rows after the end of a video that is shorter than the longest of the cohort.
_PADDING: dict[str, int] = {"frame_status": FrameStatus.MISSING, "track_status": TrackStatus.ABSENT}


def open_poses(path: str | PathLike[str]) -> "xr.Dataset":
    """Open the poses of one video or session as an xarray dataset that reads when asked for values.

    Parameters
    ----------
    path
        A pose file: a folder ``VIDEO.zarr`` or a file ``VIDEO.zarr.zip``; or, in three
        dimensions, that of a session, ``SESSION.zarr.zip``.

    Returns
    -------
    Dataset
        ``position`` (time, space, keypoint, individual), float32, px, NaN where a keypoint was
        not found or the frame could not be decoded; ``confidence`` (time, keypoint, individual),
        float32 in 0..1, NaN where the frame could not be decoded; ``frame_status`` (time),
        uint8, values of `FrameStatus`; where individuals were tracked, ``track_status`` (time,
        individual), uint8, values of `TrackStatus`; in views that a session corrected,
        ``point_source`` (time, keypoint, individual), uint8, values of
        `pipeline_lib.core.tables.PointSource`; of an ensemble, ``spread`` (time, keypoint,
        individual), float32, px: root mean square of the distances between what its networks
        predict and their median, NaN where fewer than two found the keypoint. The coordinate
        ``time`` is in seconds. The pixel centre at the top left is (0, 0). Attributes say what made
        the poses; nested ones, such as ``versions``, are JSON, so that the dataset can be written
        as netCDF.

        Of a session, ``position`` has the space x, y, z in the unit and the axes of the
        calibration (attribute ``units``, missing if the calibration does not tell), NaN where
        fewer than two cameras agree; ``confidence``, ``error`` (px), ``views`` and
        ``uncertainty`` (time, keypoint, individual) tell how each point was found;
        ``camera_error`` (time, camera, keypoint, individual), px, ``camera_frame`` (time, camera)
        and ``camera_individual`` (time, camera, individual), -1 where there is none, what each
        camera saw. The time is that of the session's clock.

    Raises
    ------
    StoreError
        If the file is missing, damaged, of another version, or not a pose file.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pipeline_lib
    >>> results = pipeline_lib.Results(Path("results"))
    >>> poses = pipeline_lib.open_poses(results.filtered("pose", "mouse-01"))
    >>> poses.position.dims
    ('time', 'space', 'keypoint', 'individual')
    >>> snout = poses.position.sel(keypoint="snout").isel(individual=0)
    >>> snout.shape
    (24, 2)
    """
    import xarray as xr  # noqa: PLC0415 - seconds
    import zarr  # noqa: PLC0415

    from pipeline_lib.io.foreign.zarr_codecs import bound_decoding  # noqa: PLC0415

    path = Path(path)
    _, attributes = read_metadata(path, LAYOUT, SESSION_LAYOUT)
    check_files(path)
    packed = is_packed(path)
    store: Any = (
        zarr.storage.ZipStore(path, mode="r")
        if packed
        else zarr.storage.LocalStore(path, read_only=True)
    )
    with bound_decoding():
        dataset = xr.open_zarr(store, consolidated=True, mask_and_scale=False)
    dataset.attrs = {name: _flatten(value) for name, value in dataset.attrs.items()}
    layout = SESSION_LAYOUT if attributes["format"] == SESSION_LAYOUT.name else LAYOUT
    for name, unit in layout.units.items():
        dataset[name].attrs["units"] = unit
    return _describe_statuses(dataset)


def _flatten(value: object) -> object:
    """Return an attribute as any file format can hold it."""
    return json.dumps(value) if isinstance(value, dict | list) else value


def open_cohort(
    results: str | PathLike[str], *, stage: Stage = "filter", model: str | None = None
) -> "xr.Dataset":
    """Open the poses of all videos of a run as one xarray dataset that reads with Dask.

    Nothing but metadata is read before values are asked for, and then only the chunks that hold
    them: the poses of a cohort may be larger than the memory.

    Parameters
    ----------
    results
        The results folder.
    stage
        Whose poses: those of the network (``infer``), tracked (``track``), tracked and corrected by
        people where they had to (``correct``), or filtered.
    model
        Name of the network; needed where the folder holds poses of several.

    Returns
    -------
    Dataset
        As `open_poses` describes them, ``position`` (video, frame, space, keypoint, individual),
        ``confidence`` and the statuses; ``time`` (video, frame), float64, in seconds. Videos are
        those that the ledger calls done, in its order. An animal that a person added to the tracks
        of one video is NaN in the others. A video that is shorter than the longest
        one is filled up: NaN, and ``frame_status`` is `FrameStatus.MISSING`. ``frames`` (video)
        is the true number of frames; further coordinates along ``video`` are the columns of the
        user's sheet, as texts.

    Raises
    ------
    StoreError
        If the folder is no results folder, there is no ledger, no video that is done or no such
        network, if a pose file is missing or damaged, or if videos differ in their bodyparts or
        individuals.
    ValueError
        If `model` has to be given, or there is no such stage.

    Examples
    --------
    Tell how many frames each video has, and how often the snout is certain:

    >>> import pipeline_lib
    >>> cohort = pipeline_lib.open_cohort("results")
    >>> dict(zip(cohort.video.values.tolist(), cohort.frames.values.tolist()))
    {'mouse-01': 24, 'mouse-02': 24}
    >>> certain = cohort.confidence.sel(keypoint="snout") > 0.6
    >>> share = (certain.sum("frame") / cohort.frames).compute()
    >>> share.dims
    ('video', 'individual')
    """
    import xarray as xr  # noqa: PLC0415 - seconds

    folder = find_results(results)
    rows = read_table(folder.ledger, LEDGER_COLUMNS)
    rows = [row for row in rows if row["status"] == VideoStatus.DONE]
    if not rows:
        raise StoreError(f"{folder.ledger}: no video is done; run Snakemake, or ask `status` why")
    locate = _find_locator(folder, stage, model)
    paths = [locate(row["video"]) for row in rows]
    heads = [read_metadata(path) for path in paths]
    arrays = [array for array, _ in heads]
    names = [name for name in DTYPES if name in arrays[0]]
    added = [tuple(attributes.get(ADDED_INDIVIDUALS, ())) for _, attributes in heads]
    axes, slots = _join_axes(paths, arrays, names, added)
    frames = np.array([array["time"]["shape"][0] for array in arrays])
    variables = {
        name: (
            ("video", "frame", *DIMENSIONS[name][1:]),
            _join_lazily(
                name, paths, frames, _find_shape(name, arrays[0][name]["shape"], axes), slots
            ),
        )
        for name in names
    }
    time = variables.pop("time")
    coordinates: dict[Hashable, Any] = {
        "video": [row["video"] for row in rows],
        "frame": np.arange(frames.max()),
        "time": (*time, {"units": "s"}),
        "frames": ("video", frames),
    }
    coordinates.update(axes)
    coordinates.update(_read_sheet(rows))
    dataset = xr.Dataset(variables, coords=coordinates)
    dataset["position"].attrs["units"] = "px"
    return _describe_statuses(dataset)


def _find_locator(results: Results, stage: Stage, model: str | None) -> Callable[[str], Path]:
    """Return what locates the pose file of a video."""
    locators: dict[str, Callable[[str, str], Path]] = {
        "infer": results.poses,
        "track": results.tracked,
        "correct": results.tracked,
        "filter": results.filtered,
    }
    if stage not in locators:
        raise ValueError(f"stage {stage!r} is none of {', '.join(locators)}")
    locate = locators[stage]
    folder = locate("model", "video").parents[1]
    found = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    if not found:
        raise StoreError(
            f"{folder}: no such folder; the stage `{stage}` has not run: run Snakemake"
        )
    if model is not None and model not in found:
        raise StoreError(f"{folder}: no poses of {model!r}; choose one of {', '.join(found)}")
    if model is None:
        if len(found) > 1:
            raise ValueError(f"{folder}: holds poses of {', '.join(found)}; choose one by `model`")
        model = found[0]
    chosen = model

    def find(video: str) -> Path:
        corrected = results.corrected(chosen, video)
        return corrected if stage == "correct" and corrected.exists() else locate(chosen, video)

    return find


def _join_axes(
    paths: Sequence[Path],
    arrays: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    added: Sequence[Sequence[str]],
) -> tuple[dict[str, list[str]], list[list[int]]]:
    """Return the names along the axes of the cohort, and the place of each video's individuals.

    Parameters
    ----------
    paths, arrays
        Pose files and the metadata of their arrays.
    names
        Names of the variables.
    added
        Individuals that a person added to each video: the others lack them.

    Raises
    ------
    StoreError
        If a video has other variables, bodyparts or individuals.
    """
    own = [_read_names(path, names) for path in paths]
    shared = {**own[0], _INDIVIDUAL: _leave_out(own[0][_INDIVIDUAL], added[0])}
    for path, array, found, more in zip(paths, arrays, own, added, strict=True):
        without = {**found, _INDIVIDUAL: _leave_out(found[_INDIVIDUAL], more)}
        if any(name not in array for name in names) or without != shared:
            raise StoreError(
                f"{path}: has other bodyparts, individuals or variables than {paths[0]}; "
                "one of them is of an older run: run Snakemake again"
            )
    animals = [name for name in shared[_INDIVIDUAL] if name != UNIQUE_INDIVIDUAL]
    unique = shared[_INDIVIDUAL][len(animals) :]
    everyone = [*animals, *dict.fromkeys(name for more in added for name in more), *unique]
    slots = [[everyone.index(name) for name in found[_INDIVIDUAL]] for found in own]
    return {**shared, _INDIVIDUAL: everyone}, slots


def _leave_out(names: Sequence[str], others: Sequence[str]) -> list[str]:
    return [name for name in names if name not in others]


def _find_shape(name: str, shape: Sequence[int], axes: Mapping[str, Sequence[str]]) -> list[int]:
    """Return the lengths of a variable's axes but time's, with the individuals of all videos."""
    lengths = zip(DIMENSIONS[name], shape, strict=True)
    return [len(axes[axis]) if axis == _INDIVIDUAL else size for axis, size in lengths][1:]


def _read_names(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the names along the axes of a pose file but time's."""
    axes = {axis for name in names for axis in DIMENSIONS[name]} - {"time"}
    with open_group(path) as (group, _):
        return {axis: [str(name) for name in group[axis][:]] for axis in sorted(axes)}


def _read_sheet(rows: Sequence[Mapping[str, str]]) -> dict[Hashable, tuple[str, list[str]]]:
    """Return the columns of the user's sheet as coordinates of videos."""
    taken = {"frame", "frames", *DIMENSIONS}
    columns = [name for name in rows[0] if name not in LEDGER_COLUMNS]
    return {
        f"sheet_{name}" if name in taken else name: ("video", [row[name] for row in rows])
        for name in columns
    }


def _join_lazily(
    name: str,
    paths: Sequence[Path],
    frames: NDArray[np.int64],
    rest: Sequence[int],
    slots: Sequence[Sequence[int]],
) -> Any:  # noqa: ANN401 - Dask is not typed
    """Return a Dask array (video, frame, ...) of one variable of all videos."""
    import dask.array as da  # noqa: PLC0415 - seconds

    longest = int(frames.max())
    length = min(_CHUNK_FRAMES, max(longest, 1))
    lengths = [length] * (longest // length)
    lengths += [longest % length] if longest % length else []
    chunks = ((1,) * len(paths), tuple(lengths), *((size,) for size in rest))
    return da.map_blocks(
        _read_block,
        name=None,
        token=f"{name}-{paths[0]}",
        chunks=chunks,
        dtype=DTYPES[name],
        meta=np.empty((0,) * len(chunks), DTYPES[name]),
        variable=name,
        paths=list(paths),
        slots=slots,
        length=length,
        shape=(longest, *rest),
    )


def _read_block(  # noqa: PLR0913 - what dask gives to each block
    *,
    variable: str,
    paths: Sequence[Path],
    slots: Sequence[Sequence[int]],
    length: int,
    shape: Sequence[int],
    block_id: Sequence[int],
) -> NDArray[Any]:
    """Read one chunk of a video and fill it up to the end of the longest video."""
    video, number = block_id[:2]
    start = number * length
    stop = min(start + length, shape[0])
    with open_group(paths[video]) as (group, _):
        values = np.asarray(group[variable][start:stop])
    fill = _PADDING.get(variable, math.nan)
    block = np.full((1, stop - start, *shape[1:]), fill, DTYPES[variable])
    place: list[Any] = [slice(None)] * values.ndim
    place[0] = slice(len(values))
    if _INDIVIDUAL in DIMENSIONS[variable]:
        place[DIMENSIONS[variable].index(_INDIVIDUAL)] = list(slots[video])
    block[0][tuple(place)] = values
    return block


def _describe_statuses(dataset: "xr.Dataset") -> "xr.Dataset":
    """Tell what the numbers of statuses mean, by the CF conventions' attributes."""
    for name, meanings in _STATUSES.items():
        if name in dataset:
            dataset[name].attrs["flag_values"] = [int(status) for status in meanings]
            dataset[name].attrs["flag_meanings"] = " ".join(
                status.name.lower() for status in meanings
            )
    return dataset
