"""Write and read DeepLabCut's tables of predictions.

A table is an HDF5 file (key ``df_with_missing``) or a CSV file with one row per frame. Its column
levels are scorer, bodyparts, coords for one individual, and scorer, individuals, bodyparts, coords
for several. The individual ``single``, which has the unique bodyparts and no others, is the last.
"""

import csv
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL, UNIQUE_INDIVIDUAL
from pipeline_lib.core.untrusted.regular_files import require_regular_file
from pipeline_lib.io.exports.source import ExportSource
from pipeline_lib.io.publish import publish_file

if TYPE_CHECKING:
    import pandas as pd

# pandas is imported where it is used: loading it takes longer than an export whose files exist.

HDF_KEY = "df_with_missing"
COORDS = ("x", "y", "likelihood")

# Offset in px that is added to our coordinates on export. DeepLabCut predicts in the coordinates
# of its labels, which are set on images drawn with pixel centres at integers, as ours are.
PIXEL_OFFSET = 0.0

# Version that pandas up to 2 writes into its HDF5 files; pandas 3 no longer does.
_PANDAS_HDF_VERSION = "0.15.2"

_SINGLE_LEVELS = ["scorer", "bodyparts", "coords"]
_MULTI_LEVELS = ["scorer", "individuals", "bodyparts", "coords"]


@dataclass(frozen=True)
class DeepLabCutPredictions:
    """Hold a DeepLabCut table of predictions as arrays.

    Attributes
    ----------
    frame
        Shape (time,), int64. Index of each row's frame, from 0.
    position
        Shape (time, individual, keypoint, 2), float32, x and y in px with pixel centres at
        integers; NaN if the keypoint was not found or the frame was not decoded.
    confidence
        Shape (time, individual, keypoint), float32; NaN if nothing was predicted.
    bodyparts, individuals
        Names along the keypoint and individual axes.
    scorer
        First level of the columns.
    """

    frame: NDArray[np.int64]
    position: NDArray[np.float32]
    confidence: NDArray[np.float32]
    bodyparts: tuple[str, ...]
    individuals: tuple[str, ...]
    scorer: str


def write_deeplabcut(path: Path, source: ExportSource) -> None:
    """Publish the poses of one video as a DeepLabCut table, HDF5 or CSV by the file's suffix.

    Parameters
    ----------
    path
        File to write; it ends in ``.h5`` or ``.csv``.
    source
        Poses of the video, and the scorer and unique bodyparts of the table.

    Raises
    ------
    ValueError
        If the suffix is neither.
    StoreError
        If the poses are missing or damaged.
    """
    unique = source.skeleton.unique_bodyparts
    write_deeplabcut_predictions(path, source.read_blocks(), source.scorer, unique)


def write_deeplabcut_predictions(
    path: Path, blocks: Iterable[Poses], scorer: str, unique_bodyparts: Collection[str] = ()
) -> None:
    """Publish the poses of one video as a DeepLabCut table.

    DeepLabCut's layout has no name for a single individual, so none is written.

    Parameters
    ----------
    path
        File to write; its suffix, ``.h5`` or ``.csv``, chooses the format.
    blocks
        Poses of consecutive blocks of frames, from frame 0; at least one. Only a video without a
        frame has an empty block.
    scorer
        First level of the columns.
    unique_bodyparts
        Bodyparts that only the individual ``single`` has.

    Raises
    ------
    ValueError
        If the suffix is neither, or there is no block.
    """
    appenders = {".h5": append_to_hdf, ".csv": _append_to_csv}
    if path.suffix not in appenders:
        raise ValueError(f"{path}: DeepLabCut tables end in .h5 or .csv")
    append = appenders[path.suffix]
    with publish_file(path) as part:
        start = None
        for block in blocks:
            table = tabulate_predictions(block, scorer, start or 0, unique_bodyparts)
            append(part, table, first=start is None)
            start = (start or 0) + len(block.time)
        if start is None:
            raise ValueError(f"{path}: no block of poses to write")


def tabulate_predictions(
    poses: Poses, scorer: str, start: int = 0, unique_bodyparts: Collection[str] = ()
) -> "pd.DataFrame":
    """Arrange poses in DeepLabCut's columns.

    Parameters
    ----------
    poses
        Consecutive frames of one video.
    scorer
        First level of the columns.
    start
        Index of the first row's frame.
    unique_bodyparts
        Bodyparts that only the individual ``single`` has.

    Returns
    -------
    DataFrame
        float32, one row per frame, indexed by frame. x and y are NaN where a keypoint was not
        found, which keeps its likelihood; all values are NaN in a frame that was not decoded.
    """
    import pandas as pd  # noqa: PLC0415

    animal, bodypart = _list_points(poses, unique_bodyparts)
    several = len(poses.individuals) > 1
    names: list[tuple[str, ...]] = [
        (scorer, *([poses.individuals[i]] if several else []), poses.bodyparts[k], coord)
        for i, k in zip(animal, bodypart, strict=True)
        for coord in COORDS
    ]
    levels = _MULTI_LEVELS if several else _SINGLE_LEVELS
    columns = pd.MultiIndex.from_tuples(names, names=levels)
    position = poses.position[:, animal, bodypart] + np.float32(PIXEL_OFFSET)
    confidence = poses.confidence[:, animal, bodypart, np.newaxis]
    frames = len(poses.time)
    values = np.concatenate([position, confidence], axis=2)
    return pd.DataFrame(
        values.reshape(frames, len(columns)),
        index=np.arange(start, start + frames),
        columns=columns,
    )


def read_deeplabcut_predictions(path: Path) -> DeepLabCutPredictions:
    """Read a DeepLabCut table of predictions, HDF5 or CSV by its suffix.

    Raises
    ------
    StoreError
        If the file is missing or is not such a table.
    """
    from pipeline_lib.io.foreign.pandas_hdf5 import read_pandas_table  # noqa: PLC0415 - loads pandas

    try:
        table = _read_csv(path) if path.suffix == ".csv" else read_pandas_table(path, HDF_KEY)
        return _parse_table(table)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; expected a DeepLabCut table") from None
    except StoreError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise StoreError(f"{path}: not a DeepLabCut table of predictions: {reason}") from None
    except (ValueError, KeyError, IndexError, OSError, TypeError) as error:
        raise StoreError(f"{path}: not a DeepLabCut table of predictions ({error})") from error


def _list_points(poses: Poses, unique_bodyparts: Collection[str]) -> tuple[list[int], list[int]]:
    """Return the individual and the bodypart of each point, as positions on their axes."""
    unique = set(unique_bodyparts) if UNIQUE_INDIVIDUAL in poses.individuals else set()
    points = [
        (i, k)
        for i, individual in enumerate(poses.individuals)
        for k, bodypart in enumerate(poses.bodyparts)
        if not unique or (bodypart in unique) == (individual == UNIQUE_INDIVIDUAL)
    ]
    return [i for i, _ in points], [k for _, k in points]


def append_to_hdf(path: Path, table: "pd.DataFrame", *, first: bool) -> None:
    """Append rows to a table in HDF5, or begin one, as every pandas that DeepLabCut needs reads it.

    Parameters
    ----------
    path
        The file.
    table
        Rows with the columns of the file.
    first
        Whether they begin the file.
    """
    import pandas as pd  # noqa: PLC0415

    # DeepLabCut's tables are float64, so that later arithmetic loses no digits.
    table = table.astype("float64")
    with pd.HDFStore(path, mode="w" if first else "a") as store:
        # PyTables stores no table without rows; readers accept the fixed layout as well.
        layout: Literal["table", "fixed"] = "table" if len(table) else "fixed"
        append = not first
        # No time stamps, so that the same poses give the same bytes; an index would contain some.
        store.put(HDF_KEY, table, format=layout, append=append, track_times=False, index=False)
        # Without this attribute, pandas 2, which DeepLabCut requires, assumes a file older than
        # 0.15 and fails.
        storer = cast("Any", store).get_storer(HDF_KEY)
        storer.attrs.pandas_version = _PANDAS_HDF_VERSION


def _append_to_csv(path: Path, table: "pd.DataFrame", *, first: bool) -> None:
    empty = first and len(table) > 0 and bool(table.iloc[0].isna().all())
    if empty:
        # pandas reads a first row without values as index names, which would drop the first frame
        # and shift all others; written as the text NaN, it stays a row.
        table.iloc[:1].to_csv(path, na_rep="NaN", lineterminator="\n")
        table, first = table.iloc[1:], False
    # Each float32 is written with the fewest digits that restore it.
    table.to_csv(path, mode="w" if first else "a", header=first, lineterminator="\n")


def _read_csv(path: Path) -> "pd.DataFrame":
    """Read a table of text; an empty first row is a frame, not the names of an index."""
    import pandas as pd  # noqa: PLC0415

    require_regular_file(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        head = [next(rows, []) for _ in _MULTI_LEVELS]
        first = [row[0].strip() if row else "" for row in head]
        levels = _MULTI_LEVELS if first == _MULTI_LEVELS else _SINGLE_LEVELS
        head = head[: len(levels)]
        if first[: len(levels)] != levels or len({len(row) for row in head}) != 1:
            raise ValueError(f"the first rows begin with {first}, expected {_MULTI_LEVELS}")
        some = bool(len(levels) < len(_MULTI_LEVELS) and first[-1]) or next(rows, None) is not None
    columns = pd.MultiIndex.from_arrays([row[1:] for row in head], names=levels)
    if not some:
        return pd.DataFrame(columns=columns, dtype=np.float64)
    table = pd.read_csv(
        path,
        header=None,
        skiprows=len(levels),
        index_col=0,
        encoding="utf-8-sig",
        low_memory=False,
    )
    if table.shape[1] != len(columns):
        raise ValueError(f"has rows of {table.shape[1]} numbers, expected {len(columns)}")
    table.columns = columns
    _check_numbers(table, len(levels) + 1)
    return table


def _check_numbers(table: Any, first: int) -> None:  # noqa: ANN401 - pandas' types are too wide
    """Refuse a cell, or the number of a frame, that is no number; ``first`` is the first row."""
    import pandas as pd  # noqa: PLC0415

    numbers = np.asarray(pd.to_numeric(table.index.to_series(), errors="coerce"), np.float64)
    wrong = np.flatnonzero(~(numbers % 1 == 0))
    if len(wrong):
        found = table.index[wrong[0]]
        raise ValueError(f"row {first + wrong[0]}: '{found}' is no number of a frame")
    for column in np.flatnonzero([kind.kind not in "iuf" for kind in table.dtypes]):
        cells = table.iloc[:, column]
        wrong = np.flatnonzero(pd.to_numeric(cells, errors="coerce").isna() & cells.notna())
        if len(wrong):
            found, name = cells.iloc[wrong[0]], ", ".join(map(str, table.columns[column]))
            raise ValueError(f"row {first + wrong[0]}: '{found}' of {name} is no number")


def _parse_table(table: "pd.DataFrame") -> DeepLabCutPredictions:
    import pandas as pd  # noqa: PLC0415

    levels = [str(level) for level in table.columns.names]
    if levels not in (_SINGLE_LEVELS, _MULTI_LEVELS):
        raise ValueError(f"column levels are {levels}, expected {_MULTI_LEVELS}")
    names = {
        level: tuple(dict.fromkeys(table.columns.get_level_values(level).astype(str)))
        for level in levels
    }
    if len(names["scorer"]) != 1 or set(names["coords"]) != set(COORDS):
        raise ValueError(
            f"scorers {names['scorer']} and coords {names['coords']}, expected one and {COORDS}"
        )
    # Columns are selected by name, in any order; a bodypart that an individual lacks is NaN.
    wanted = pd.MultiIndex.from_product([*(names[level] for level in levels[:-1]), COORDS])
    individuals = names.get("individuals", (SINGLE_INDIVIDUAL,))
    shape = (len(table), len(individuals), len(names["bodyparts"]), len(COORDS))
    values = table.reindex(columns=wanted).to_numpy(np.float64).reshape(shape)
    return DeepLabCutPredictions(
        frame=table.index.to_numpy(np.int64),
        position=(values[..., :2] - PIXEL_OFFSET).astype(np.float32),
        confidence=values[..., 2].astype(np.float32),
        bodyparts=names["bodyparts"],
        individuals=individuals,
        scorer=names["scorer"][0],
    )
