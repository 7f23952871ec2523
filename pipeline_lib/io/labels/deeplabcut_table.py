"""Read one label table: DeepLabCut's layout, which Lightning Pose shares.

The columns have three levels (scorer, bodyparts, coords) or four (individuals before
bodyparts); the index is an image's path, as one text or as three (``labeled-data``, video,
image).
"""

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL
from pipeline_lib.core.untrusted.names import find_text_problem
from pipeline_lib.core.untrusted.regular_files import describe_encoding, guess_utf16
from pipeline_lib.io.foreign.pandas_hdf5 import read_pandas_table

_LEVELS = ("scorer", "individuals", "bodyparts", "coords")
_REQUIRED = ("bodyparts", "coords")
_HDF5_KEY = "df_with_missing"
_MISSING = frozenset({"", "nan", "na", "n/a", "none", "null"})
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# What pandas writes where a header cell is empty.
_UNNAMED = re.compile(r"Unnamed: \d+(_level_\d+)?")
_MOST_NAMED = 6  # in a message
_MOST_BYTES = 256 * 2**20
_HOW_TO_SAVE = "save it as CSV in UTF-8, with commas between cells"


@dataclass(frozen=True)
class LabelTable:
    """Hold a label table as in its file.

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

    Of HDF5 nothing but numbers and texts is read: see `pipeline_lib.io.foreign.pandas_hdf5`.
    Columns that are empty from the header down are left out: spreadsheets write them.

    Raises
    ------
    LabelError
        If the file cannot be read as a label table, with one line per problem; where the header
        is wrong, with those of the header alone, since they are the cause of others.
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
    repeated = []
    while lines and (level := lines[0][1][0].strip()) in _LEVELS:
        _, row = lines.pop(0)
        if level in header:
            repeated.append(level)
        header[level] = [cell.strip() for cell in row]
    _check_header_rows(path, header, repeated)
    starts = [n for row in header.values() for n, cell in enumerate(row) if n and cell]
    if not starts:
        raise LabelError(str(path), ["header without a column: expected x and y of each bodypart"])
    # Not of one row alone, which may have a gap there.
    index_columns = min(starts)
    # Cells after the last name are no columns; rows of the header end where theirs do.
    width = max(n + 1 for row in header.values() for n, cell in enumerate(row) if cell)
    levels = {name: (row + [""] * width)[index_columns:width] for name, row in header.items()}
    if lines and _names_index(lines[0][1], index_columns):
        lines.pop(0)
    values = _parse_cells(path, lines, index_columns, width - index_columns)
    images = [row[:index_columns] for _, row in lines]
    return _build_table(path, images, levels, values, index_columns)


def _check_header_rows(
    path: Path, header: Mapping[str, Sequence[str]], repeated: Sequence[str]
) -> None:
    expected = "expected header rows `scorer`, `bodyparts` and `coords`, each once, at the top"
    problems = [f"no row `{name}`: {expected}" for name in _REQUIRED if name not in header]
    if repeated:
        rows = ", ".join(f"`{name}`" for name in dict.fromkeys(repeated))
        problems.append(f"header rows more than once ({rows}): {expected}")
    if len(problems) == len(_REQUIRED) and not header:
        problems = [f"no header: {expected} (is it a table of labels?)"]
    if problems:
        raise LabelError(str(path), problems)


def _read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return the cells of every line that is not blank, with its number (from 1)."""
    text = _read_text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if "," not in first:
        for mark, name in ((";", "semicolons"), ("\t", "tabs")):
            if mark in first:
                problem = f"its cells are divided by {name}, expected commas: {_HOW_TO_SAVE}"
                raise LabelError(str(path), [problem])
    # Not pandas: it takes a first row without any label for the names of the index, and drops it.
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        lines = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise LabelError(str(path), [f"line {reader.line_num}: {error}"]) from None
    return [(n, row) for n, row in lines if any(cell.strip() for cell in row)]


def _read_text(path: Path) -> str:
    # Not `Path.is_file`, which raises for names that no file can have.
    if not os.path.isfile(path):  # noqa: PTH113
        raise LabelError(str(path), ["no such file"])
    try:
        if path.stat().st_size > _MOST_BYTES:
            problem = f"is larger than {_MOST_BYTES // 2**20} MiB: is it a table of labels?"
            raise LabelError(str(path), [problem])
        data = path.read_bytes()
    except OSError as error:
        raise LabelError(str(path), [f"cannot be read: {error.strerror}"]) from None
    if not data.strip():
        raise LabelError(str(path), ["is empty: expected a label table"])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = describe_encoding(data, error, how=_HOW_TO_SAVE)
        raise LabelError(str(path), [problem]) from None
    if "\0" in text:
        if guess_utf16(data):
            raise LabelError(str(path), [f"is saved as UTF-16: {_HOW_TO_SAVE}"])
        raise LabelError(str(path), [f"is no text, it holds zero bytes: {_HOW_TO_SAVE}"])
    return text


def _parse_cells(
    path: Path, lines: list[tuple[int, list[str]]], index_columns: int, columns: int
) -> NDArray[np.float64]:
    problems = []
    width = index_columns + columns
    values = np.full((len(lines), columns), np.nan)
    for n, (line, row) in enumerate(lines):
        if len(row) < width or any(_is_given(cell) for cell in row[width:]):
            problems.append(f"line {line}: {len(row)} cells, expected {width} as in the header")
            continue
        for column, cell in enumerate(row[index_columns:width]):
            try:
                values[n, column] = _to_number(cell)
            except ValueError:
                where = f"line {line}, column {column + index_columns + 1}"
                problems.append(f"{where}: {cell!r} is not a number; leave unlabelled ones empty")
    if problems:
        raise LabelError(str(path), problems)
    return values


def _names_index(row: Sequence[str], index_columns: int) -> bool:
    """Tell whether a row holds the names of the index columns, as pandas writes them."""
    named_image = Path(row[:index_columns][-1]).suffix
    return not named_image and not any(cell.strip() for cell in row[index_columns:])


def _is_given(cell: str) -> bool:
    return cell.strip().lower() not in _MISSING


def _to_number(cell: str) -> float:
    text = cell.strip()
    if not _is_given(text):
        return np.nan
    # Python takes more for a number: inf, 1_000, digits of other alphabets.
    number = float(text) if _NUMBER.fullmatch(text) else np.inf
    if not np.isfinite(number):
        raise ValueError(text)
    return number


def _read_hdf5(path: Path) -> LabelTable:
    try:
        frame = read_pandas_table(path, _HDF5_KEY)
    except StoreError as error:
        problem = str(error).removeprefix(f"{path}: ")
        raise LabelError(str(path), [problem]) from None
    names = [str(name) for name in frame.columns.names]
    if not set(names) >= set(_REQUIRED):
        # Level names are lost by some tools; their number is not.
        names = {3: [*_LEVELS[:1], *_LEVELS[2:]], 4: list(_LEVELS)}.get(len(names), [])
    if not names:
        raise LabelError(str(path), ["expected columns of levels scorer, bodyparts and coords"])
    levels = {name: list(frame.columns.get_level_values(n)) for n, name in enumerate(names)}
    images = [index if isinstance(index, tuple) else (index,) for index in frame.index]
    values = frame.to_numpy()
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        row, column = infinite[0]
        problem = f"row {row + 1}, column {column + 1}: {values[row, column]} is not a position"
        raise LabelError(str(path), [problem])
    return _build_table(path, images, levels, values, 0)


def _build_table(
    path: Path,
    images: Sequence[Sequence[str]],
    levels: dict[str, list[str]],
    values: NDArray[np.float64],
    index_columns: int,
) -> LabelTable:
    """Pair the x and y columns of each keypoint."""
    levels, values = _drop_empty_columns(levels, values)
    coords = levels["coords"]
    individuals = levels.get("individuals", [SINGLE_INDIVIDUAL] * len(coords))
    pairs = list(zip(individuals, levels["bodyparts"], strict=True))
    problems = list(_check_names(levels, index_columns)) or list(_check_columns(pairs, levels))
    if problems:
        raise LabelError(str(path), problems)
    if not images:
        raise LabelError(
            str(path), ["no row below its header: expected one row per labelled image"]
        )
    keypoints = list(dict.fromkeys(pairs))
    columns = {key: n for n, key in enumerate(zip(pairs, coords, strict=True))}
    names = [_split_image(parts) for parts in images]
    problems = [f"row {n} names no image" for n, parts in enumerate(names, start=1) if not parts]
    if problems:
        raise LabelError(str(path), problems)
    order = [[columns[pair, coord] for coord in ("x", "y")] for pair in keypoints]
    return LabelTable(
        path=path,
        images=tuple(names),
        keypoints=tuple(keypoints),
        positions=values[:, np.asarray(order, dtype=np.intp)],
    )


def _drop_empty_columns(
    levels: dict[str, list[str]], values: NDArray[np.float64]
) -> tuple[dict[str, list[str]], NDArray[np.float64]]:
    """Drop columns that have neither a name in the header nor a value."""
    levels = {
        name: ["" if _UNNAMED.fullmatch(cell) else cell for cell in cells]
        for name, cells in levels.items()
    }
    named = np.array([any(cells) for cells in zip(*levels.values(), strict=True)], dtype=bool)
    kept = named | ~np.isnan(values).all(axis=0)
    return (
        {
            name: [cell for cell, keep in zip(cells, kept, strict=True) if keep]
            for name, cells in levels.items()
        },
        values[:, kept],
    )


def _check_names(levels: Mapping[str, Sequence[str]], index_columns: int) -> Iterator[str]:
    """Yield the problems of the names in the header, with their rows and columns."""
    scorers = dict.fromkeys(levels.get("scorer", []))
    if len(scorers) > 1:
        names = ", ".join(name or "(none)" for name in scorers)
        yield f"labels of several scorers in one table: {names}"
    for level in ("individuals", "bodyparts", "coords"):
        wrong: dict[str, list[int]] = {}
        for n, name in enumerate(levels.get(level, ()), start=index_columns + 1):
            wrong.setdefault(name, []).append(n)
        for name, columns in wrong.items():
            problem = find_text_problem(name)
            if problem:
                several = "s" if len(columns) > 1 else ""
                where = _join(list(map(str, columns)))
                what = "is empty" if not name else f"has {name!r}, which {problem}"
                yield f"row `{level}` {what} in column{several} {where}: write a name there"


def _check_columns(
    pairs: Sequence[tuple[str, str]], levels: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yield duplicate, foreign or missing columns: the first kind that occurs.

    What follows from one of them is not said.
    """
    counts = Counter(zip(pairs, levels["coords"], strict=True))
    named = {key: f"{_name_keypoint(key[0])} {key[1]}" for key in counts}
    if not counts:
        yield "no bodypart: expected columns x and y of each"
    if twice := [named[key] for key, count in counts.items() if count > 1]:
        yield f"columns more than once: {_join(twice)}; remove or rename the others"
    elif foreign := [named[key] for key in counts if key[1] not in ("x", "y")]:
        yield f"columns {_join(foreign)}: labels have x and y only (is it a table of predictions?)"
    else:
        for pair in dict.fromkeys(pairs):
            for coord in ("x", "y"):
                if (pair, coord) not in counts:
                    yield f"bodypart {_name_keypoint(pair)} has no column {coord}"


def _join(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _split_image(parts: Sequence[str]) -> tuple[str, ...]:
    text = "/".join(part.strip() for part in parts).replace("\\", "/")
    return tuple(part for part in text.split("/") if part not in ("", "."))


def _name_keypoint(pair: tuple[str, str]) -> str:
    individual, bodypart = pair
    return bodypart if individual == SINGLE_INDIVIDUAL else f"{individual} {bodypart}"
