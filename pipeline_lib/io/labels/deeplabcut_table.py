"""Reading one label table: DeepLabCut's layout, which Lightning Pose shares.

The columns have three levels (scorer, bodyparts, coords) or four (individuals before
bodyparts); the index is an image's path, as one text or as three (``labeled-data``, video,
image).
"""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL

_LEVELS = ("scorer", "individuals", "bodyparts", "coords")
_HDF5_KEY = "df_with_missing"
_MISSING = frozenset({"", "nan", "na", "n/a", "none", "null"})


@dataclass(frozen=True)
class LabelTable:
    """A label table as it stands in its file.

    Attributes
    ----------
    path
        The file.
    images
        One per row: the parts of the image's path as the table gives it, separators removed.
    keypoints
        Pairs (individual, bodypart) in the table's order.
    positions
        Shape (row, keypoint, 2), float64, x and y in px. NaN: not given.
    """

    path: Path
    images: tuple[tuple[str, ...], ...]
    keypoints: tuple[tuple[str, str], ...]
    positions: NDArray[np.float64]


def read_table(path: Path) -> LabelTable:
    """Read a label table from CSV or HDF5, by its suffix.

    Notes
    -----
    HDF5 written by pandas may hold pickled objects, which run code when they are read: open
    only tables you trust.

    Raises
    ------
    LabelError
        If the file cannot be read as a label table.
    """
    return _read_hdf5(path) if path.suffix in {".h5", ".hdf5", ".hdf"} else _read_csv(path)


def tables_agree(first: LabelTable, second: LabelTable, tolerance: float = 1e-3) -> bool:
    """Tell whether two tables label the same images with the same points, in any row order.

    Parameters
    ----------
    tolerance
        Largest difference in px that counts as equal.
    """
    if first.keypoints != second.keypoints or sorted(first.images) != sorted(second.images):
        return False
    a = first.positions[_sort_order(first.images)]
    b = second.positions[_sort_order(second.images)]
    return np.allclose(a, b, rtol=0.0, atol=tolerance, equal_nan=True)


def _sort_order(images: Sequence[tuple[str, ...]]) -> list[int]:
    return sorted(range(len(images)), key=images.__getitem__)


def _read_csv(path: Path) -> LabelTable:
    lines = _read_lines(path)
    header: dict[str, list[str]] = {}
    while lines and lines[0][1][0] in _LEVELS:
        _, row = lines.pop(0)
        header[row[0]] = row
    coords = header.get("coords", [])
    index_columns = next((n for n, cell in enumerate(coords) if n and cell), 0)
    if not index_columns:
        raise LabelError(
            str(path),
            ["expected header rows `scorer`, `bodyparts` and `coords` (comma-separated)"],
        )
    levels = {name: row[index_columns:] for name, row in header.items()}
    if lines and _names_index(lines[0][1], index_columns):
        lines.pop(0)
    values = _parse_cells(path, lines, index_columns, len(levels["coords"]))
    images = [row[:index_columns] for _, row in lines]
    return _build_table(path, images, levels, values)


def _read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return the cells of every line that is not blank, with its number (from 1)."""
    # Not pandas: it takes a first row without any label for the names of the index, and drops it.
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [(n, row) for n, row in enumerate(csv.reader(file), start=1) if any(row)]
    except FileNotFoundError:
        raise LabelError(str(path), ["no such file"]) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelError(str(path), [f"is not a UTF-8 text table: {error}"]) from None


def _parse_cells(
    path: Path, lines: list[tuple[int, list[str]]], index_columns: int, columns: int
) -> NDArray[np.float64]:
    problems = []
    width = index_columns + columns
    values = np.full((len(lines), columns), np.nan)
    for n, (line, row) in enumerate(lines):
        if len(row) != width:
            problems.append(f"line {line}: {len(row)} cells, expected {width}")
            continue
        for column, cell in enumerate(row[index_columns:]):
            try:
                values[n, column] = _to_number(cell)
            except ValueError:
                where = f"line {line}, column {column + index_columns + 1}"
                problems.append(f"{where}: {cell!r} is not a number")
    if problems:
        raise LabelError(str(path), problems)
    return values


def _names_index(row: Sequence[str], index_columns: int) -> bool:
    """Tell whether a row holds the names of the index columns, as pandas writes them."""
    named_image = Path(row[:index_columns][-1]).suffix
    return not named_image and not any(row[index_columns:])


def _to_number(cell: str) -> float:
    text = cell.strip()
    return np.nan if text.lower() in _MISSING else float(text)


def _read_hdf5(path: Path) -> LabelTable:
    if not path.is_file():
        raise LabelError(str(path), ["no such file"])
    try:
        with pd.HDFStore(str(path), mode="r") as store:
            keys = [key.lstrip("/") for key in store.keys()]  # noqa: SIM118 - a store, no dict
            key = _HDF5_KEY if _HDF5_KEY in keys else keys[0]
            frame = store.get(key)
        values = frame.to_numpy(dtype=np.float64)
        names = [str(name or "") for name in frame.columns.names]
    # Old or foreign files fail inside PyTables, pickle or NumPy in many ways.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LabelError(str(path), [f"is not readable as a table in HDF5: {reason}"]) from error
    if not set(names) >= {"bodyparts", "coords"}:
        # Level names are lost by some tools; their number is not.
        names = {3: [*_LEVELS[:1], *_LEVELS[2:]], 4: list(_LEVELS)}.get(len(names), [])
    if not names:
        raise LabelError(str(path), ["expected columns of levels scorer, bodyparts and coords"])
    levels = {
        name: [str(value) for value in frame.columns.get_level_values(n)]
        for n, name in enumerate(names)
    }
    images = [
        [str(part) for part in (index if isinstance(index, tuple) else (index,))]
        for index in frame.index
    ]
    return _build_table(path, images, levels, values)


def _build_table(
    path: Path,
    images: Sequence[Sequence[str]],
    levels: dict[str, list[str]],
    values: NDArray[np.float64],
) -> LabelTable:
    """Pair the x and y columns of each keypoint."""
    problems = []
    scorers = dict.fromkeys(levels.get("scorer", []))
    if len(scorers) > 1:
        problems.append(f"labels of several scorers in one table: {', '.join(scorers)}")
    coords = levels["coords"]
    individuals = levels.get("individuals", [SINGLE_INDIVIDUAL] * len(coords))
    pairs = list(zip(individuals, levels["bodyparts"], strict=True))
    keypoints = list(dict.fromkeys(pairs))
    columns = {key: n for n, key in enumerate(zip(pairs, coords, strict=True))}
    for (pair, coord), count in Counter(zip(pairs, coords, strict=True)).items():
        if count > 1:
            problems.append(f"column {_name_keypoint(pair)} {coord} twice")
        if coord not in ("x", "y"):
            problems.append(
                f"column {_name_keypoint(pair)} {coord}: labels have x and y only "
                "(is this a table of predictions?)"
            )
    problems += [
        f"bodypart {_name_keypoint(pair)} has no column {coord}"
        for pair in keypoints
        for coord in ("x", "y")
        if (pair, coord) not in columns
    ]
    names = [_split_image(parts) for parts in images]
    problems += [f"row {n} names no image" for n, parts in enumerate(names, start=1) if not parts]
    if problems:
        raise LabelError(str(path), problems)
    order = [[columns[pair, coord] for coord in ("x", "y")] for pair in keypoints]
    return LabelTable(
        path=path,
        images=tuple(names),
        keypoints=tuple(keypoints),
        positions=values[:, np.asarray(order, dtype=np.intp)],
    )


def _split_image(parts: Sequence[str]) -> tuple[str, ...]:
    text = "/".join(part.strip() for part in parts).replace("\\", "/")
    return tuple(part for part in text.split("/") if part not in ("", "."))


def _name_keypoint(pair: tuple[str, str]) -> str:
    individual, bodypart = pair
    return bodypart if individual == SINGLE_INDIVIDUAL else f"{individual} {bodypart}"
