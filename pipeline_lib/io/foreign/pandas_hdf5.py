"""Read tables that pandas wrote to HDF5, without pandas and PyTables.

These two unpickle attributes and columns of objects as soon as a file is opened, which runs
whatever its author put there. Here h5py reads the arrays, and what pandas pickles (names of
columns, texts) goes through `pipeline_lib.io.foreign.restricted_pickle`: numbers and texts come
out, or an error.

The layouts, ``fixed`` and ``table``, were learned from pandas' source (versions 0.20 to 3).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.foreign.hdf5 import open_hdf5
from pipeline_lib.io.foreign.restricted_pickle import LoadedArray, load_pickled_bytes

if TYPE_CHECKING:
    import h5py

_FIXED, _TABLE = "frame", "frame_table"
_SHORTEST_PICKLE = 2  # more bytes than these


class _LayoutError(Exception):
    """Report a part of a table that pandas would not write."""


@dataclass(frozen=True)
class _Axis:
    """Hold the names along an axis: a tuple of texts each, and the name of each level."""

    labels: Sequence[tuple[str, ...]]
    names: tuple[str, ...]


def read_pandas_table(path: Path, key: str) -> pd.DataFrame:
    """Read a table of numbers from HDF5 that pandas wrote, in either of its layouts.

    Parameters
    ----------
    path
        The file.
    key
        Name of the table in it; where there is none of that name, the only one.

    Returns
    -------
    DataFrame
        float64; NaN where nothing is. Names on both axes are texts, MultiIndexes where they have
        several levels; missing names and names of levels are empty texts.

    Raises
    ------
    StoreError
        If the file is missing or damaged, reaches outside of itself (see
        `pipeline_lib.io.foreign.hdf5.check_hdf5`), holds no such table, anything pickled but
        numbers and texts, or values that are no numbers.
    """
    with open_hdf5(path) as file:
        try:
            return _read_table(file, key, str(path))
        except _LayoutError as error:
            raise StoreError(f"{path}: {error}") from None
        except StoreError:
            raise
        # Of a file that is no table of pandas', or a damaged one, anything may be missing.
        except (
            OSError,
            RuntimeError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            ArithmeticError,
            MemoryError,
        ) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise StoreError(f"{path}: is no table as pandas writes it to HDF5: {reason}") from None


def _read_table(file: "h5py.File", key: str, path: str) -> pd.DataFrame:
    import h5py  # noqa: PLC0415

    groups = {
        name: _Group(node, f"{path}: {name}")
        for name, node in file.items()
        if isinstance(node, h5py.Group) and "pandas_type" in node.attrs
    }
    if key not in groups and len(groups) != 1:
        found = ", ".join(groups) or "none"
        raise _LayoutError(f"expected a table `{key}` that pandas wrote, found {found}")
    group = groups.get(key) or next(iter(groups.values()))
    kind = group.text("pandas_type")
    if kind == _FIXED:
        columns, index, values = _read_fixed(group)
    elif kind == _TABLE:
        columns, index, values = _read_rows(group)
    else:
        raise _LayoutError(f"expected a table of pandas, found its type {kind!r}")
    return pd.DataFrame(values, index=_to_index(index), columns=_to_index(columns))


class _Group:
    """Read a table's group: its attributes, arrays and axes.

    Parameters
    ----------
    group
        Of the file.
    where
        File and name, for messages.
    """

    def __init__(self, group: "h5py.Group", where: str) -> None:
        self._group, self._where = group, where
        self._encoding = self.text("encoding") or "utf-8"

    def node(self, name: str) -> "h5py.Dataset":
        """Return an array of the group."""
        return self._group[name]

    def attribute(self, name: str, node: "h5py.Dataset | None" = None) -> Any:  # noqa: ANN401
        """Return an attribute: a number, a text, what was pickled, or None if there is none."""
        value = (self._group if node is None else node).attrs.get(name)
        if not isinstance(value, bytes):
            return value.decode() if isinstance(value, np.bytes_) else value
        # As PyTables tells what it pickled; texts may end so, too.
        if value == b"N.":
            return None
        if len(value) > _SHORTEST_PICKLE and value.endswith(b"."):
            return load_pickled_bytes(bytes(value), f"{self._where}: attribute `{name}`")
        return value.decode("utf-8", "replace")

    def text(self, name: str, node: "h5py.Dataset | None" = None) -> str:
        """Return an attribute that is a text; empty where it is missing."""
        value = self.attribute(name, node)
        return value if isinstance(value, str) else ""

    def array(self, name: str) -> NDArray[Any]:
        """Return an array as it was before pandas wrote it transposed; unpickled if it was."""
        node = self.node(name)
        shape = self.attribute("shape", node)
        if shape is not None and 0 in tuple(shape):
            return np.empty(tuple(shape), dtype=object)
        if node.dtype.kind != "O":
            return np.asarray(node[()])
        # An array of objects is one row of bytes: a pickle.
        if node.shape != (1,):
            raise _LayoutError(f"{name} is no array as pandas writes it")
        pickled = np.asarray(node[0], dtype=np.uint8).tobytes()
        loaded = load_pickled_bytes(pickled, f"{self._where}: `{name}`")
        return loaded.value if isinstance(loaded, LoadedArray) else np.asarray(loaded)

    def texts(self, name: str) -> list[str]:
        """Return an array of names as texts."""
        values = self.array(name).ravel()
        missing = self.attribute("nan_rep", self.node(name))
        return decode_texts(values, self._encoding, missing if isinstance(missing, str) else "nan")

    def axis(self, name: str) -> _Axis:
        """Return the names along an axis of the layout ``fixed``."""
        if self.text(f"{name}_variety") != "multi":
            return _Axis([(text,) for text in self.texts(name)], (self._axis_name(name),))
        levels, names = [], []
        for number in range(int(self.attribute(f"{name}_nlevels"))):
            # One text more, for the code -1: nothing.
            texts = np.array([*self.texts(f"{name}_level{number}"), ""], dtype=object)
            levels.append(texts[self.array(f"{name}_label{number}").astype(np.intp).ravel()])
            names.append(self._axis_name(f"{name}_level{number}"))
        return _Axis(list(zip(*levels, strict=True)), tuple(names))

    def _axis_name(self, name: str) -> str:
        value = self.attribute("name", self.node(name))
        return "" if value is None else str(value)

    def decode(self, values: NDArray[Any], missing: str) -> list[str]:
        """Return texts of a column."""
        return decode_texts(values, self._encoding, missing)


def decode_texts(values: NDArray[Any], encoding: str, missing: str) -> list[str]:
    """Return names as texts: decoded, numbers written out; empty where one is missing."""
    texts = []
    for value in values.tolist():
        text = value.decode(encoding) if isinstance(value, bytes) else value
        nothing = text is None or text == missing or text != text  # noqa: PLR0124 - NaN
        texts.append("" if nothing else str(text))
    return texts


def _read_fixed(group: _Group) -> tuple[_Axis, _Axis, NDArray[np.float64]]:
    columns, index = group.axis("axis0"), group.axis("axis1")
    place = {name: number for number, name in enumerate(columns.labels)}
    values = np.full((len(index.labels), len(columns.labels)), np.nan)
    for number in range(int(group.attribute("nblocks"))):
        items = [place[name] for name in group.axis(f"block{number}_items").labels]
        block = group.array(f"block{number}_values")
        # Those without a row are written as they are, others transposed.
        if block.shape == (len(items), 0):
            continue
        if block.shape != (len(index.labels), len(items)):
            raise _LayoutError(f"block {number} has the shape {block.shape}")
        values[:, items] = _to_numbers(block)
    return columns, index, values


def _read_rows(group: _Group) -> tuple[_Axis, _Axis, NDArray[np.float64]]:
    node = group.node("table")
    axes = group.attribute("non_index_axes")
    names = _list_names(axes[0][1])
    place = {name: number for number, name in enumerate(names)}
    rows = node[()]
    values = np.full((len(rows), len(names)), np.nan)
    for field in group.attribute("values_cols"):
        columns = [place[name] for name in _list_names(group.attribute(f"{field}_kind", node))]
        values[:, columns] = _to_numbers(rows[field].reshape(len(rows), -1))
    missing = group.text("index_nan_rep", node) or "nan"
    index = [(text,) for text in group.decode(rows["index"], missing)]
    info = group.attribute("info")
    levels = info.get(axes[0][0], {}).get("names") if isinstance(info, Mapping) else None
    count = len(names[0]) if names else 0
    levels = ["" if name is None else str(name) for name in levels or [""] * count]
    return _Axis(names, tuple(levels)), _Axis(index, ("",)), values


def _list_names(labels: Iterable[Any]) -> list[tuple[str, ...]]:
    return [
        tuple(str(part) for part in label) if isinstance(label, tuple | list) else (str(label),)
        for label in labels
    ]


def _to_numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    if values.dtype.kind == "O":
        # Texts would be taken for numbers where they look like some.
        wrong = next((v for v in values.ravel() if isinstance(v, str | bytes)), None)
        if wrong is not None:
            raise _LayoutError(f"{wrong!r} is not a number")
    elif values.dtype.kind not in "iuf":
        raise _LayoutError(f"expected numbers, found {values.dtype}")
    return values.astype(np.float64)


def _to_index(axis: _Axis) -> pd.Index:
    if len(axis.names) == 1:
        return pd.Index([name[0] for name in axis.labels], dtype=object, name=axis.names[0])
    if not axis.labels:
        return pd.MultiIndex.from_arrays([[]] * len(axis.names), names=axis.names)
    return pd.MultiIndex.from_tuples(axis.labels, names=axis.names)
