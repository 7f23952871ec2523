"""Load pickles of unknown origin without running code: arrays, numbers, text, containers.

A pickle is a program that may call anything. Here it gets only stand-ins of NumPy's rebuilding
functions, which check what they are given, and Python's own containers.
"""

import io
import math
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.untrusted.regular_files import require_regular_file
from pipeline_lib.io.foreign.pickle_bounds import (
    MOST_BYTES,
    MOST_VALUES,
    UnboundedPickleError,
    check_key,
    check_keys,
    check_values,
)
from pipeline_lib.io.foreign.yaml_values import find_yaml_class

# NumPy 2 and older versions.
_NUMPY = ("numpy", "numpy.core", "numpy._core")
# Where pandas has had the list that it keeps names in.
_FROZEN_LISTS = tuple(
    f"pandas.{name}"
    for name in ("core.indexes.frozen", "indexes.frozen", "core.base", "api.typing")
)
_KINDS = "biufUS"  # numbers and text
_MOST_AXES = 32


class _ForbiddenError(Exception):
    """Report a class that is not on the list."""


class _Dtype:
    """Hold a data type: its code and, with its state, its byte order."""

    def __init__(self, code: str | bytes, *_flags: object) -> None:
        self.value = np.dtype(code.decode() if isinstance(code, bytes) else code)
        if self.value.kind not in _KINDS + "O" or self.value.fields or self.value.subdtype:
            raise _ForbiddenError(f"numpy.dtype({code!r})")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        if order == ">":
            self.value = self.value.newbyteorder(">")
        elif order == "<":
            self.value = self.value.newbyteorder("<")


class LoadedArray:
    """Hold an array that NumPy pickled in its own way, in `value`.

    Attributes
    ----------
    value
        The array, read-only.
    """

    value: NDArray[Any]

    def __init__(self, *_arguments: object) -> None:
        self.value = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, is_fortran, data = state[-4:]
        _check_shape(shape)
        order = "F" if is_fortran else "C"
        if dtype.value.kind == "O":
            self.value = _read_objects(data, shape)
            return
        if isinstance(data, str):
            data = data.encode("latin1")
        self.value = _read_buffer(data, dtype, shape, order)


def _check_shape(shape: Any) -> None:  # noqa: ANN401
    """Refuse a shape that is no tuple of whole numbers: a product of texts fills the memory."""
    whole = isinstance(shape, tuple) and all(type(one) is int and one >= 0 for one in shape)
    if not whole or len(shape) > _MOST_AXES:
        raise ValueError("a shape that no array has")


def _read_objects(items: Iterable[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array of objects that are numbers, texts or None: a list, in C order always."""
    plain = (bool, int, float, str, bytes, np.generic, type(None))
    items = list(items)
    if len(items) != math.prod(shape) or not all(isinstance(item, plain) for item in items):
        raise _ForbiddenError("numpy.dtype('O') of other objects than numbers and texts")
    values = np.empty(len(items), dtype=object)
    values[:] = items
    return values.reshape(shape)


def _read_buffer(data: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str) -> NDArray[Any]:
    if dtype.value.kind == "O":
        raise _ForbiddenError("numpy.dtype('O') of raw memory")
    _check_shape(shape)
    if len(data) != math.prod(shape) * dtype.value.itemsize:
        raise ValueError(f"{len(data)} bytes for an array {shape} of {dtype.value}")
    if not dtype.value.itemsize:  # texts of no letter
        if math.prod(shape) > MOST_VALUES:
            raise UnboundedPickleError(f"unfolds to more than {MOST_VALUES:,} values")
        return np.zeros(shape, dtype.value)
    values = np.frombuffer(data, dtype.value)
    return values.reshape(shape, order="F" if order == "F" else "C")


def _read_scalar(dtype: _Dtype, data: bytes | str = b"") -> Any:  # noqa: ANN401
    raw = data.encode("latin1") if isinstance(data, str) else data
    value = _read_buffer(raw, dtype, (1,), "C")[0]
    # Wider ones are all alike as keys where they are large.
    return float(value) if isinstance(value, np.longdouble) else value


def _make_bytes(value: Any = b"", encoding: str = "latin1") -> bytes:  # noqa: ANN401
    """Return bytes from bytes or text; refuse a number, which would allocate that much memory."""
    return _encode(value, encoding) if isinstance(value, str) else b"".join([value])


def _make_set(items: Iterable[Any] = ()) -> set[Any]:
    items = list(items)
    for item in items:
        check_key(item)
    return set(items)


def _make_mapping(pairs: Iterable[Any] = ()) -> dict[Any, Any]:
    pairs = list(pairs)
    for key, _ in pairs:
        check_key(key)
    return dict(pairs)


# A frozen set or tuple could be a key: see `pipeline_lib.io.foreign.pickle_bounds`.
_CONTAINERS = {
    "set": _make_set,
    "frozenset": _make_set,
    "bytes": _make_bytes,
    "bytearray": _make_bytes,
    "list": list,
    "tuple": list,
}


def _encode(text: str, encoding: str) -> bytes:
    """Return the bytes that protocols 0 to 2 store as text."""
    if encoding not in ("latin1", "latin-1"):
        raise _ForbiddenError(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Find the classes on the list, and no others."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        """Return the stand-in of a class or function."""
        if module in ("builtins", "__builtin__") and name in _CONTAINERS:
            return _CONTAINERS[name]
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): _make_mapping,
            ("_codecs", "encode"): _encode,
            ("numpy", "ndarray"): LoadedArray,
            ("numpy", "dtype"): _Dtype,
        }
        for package in _NUMPY[1:]:
            known[f"{package}.multiarray", "_reconstruct"] = LoadedArray
            known[f"{package}.multiarray", "scalar"] = _read_scalar
            known[f"{package}.numeric", "_frombuffer"] = _read_buffer
        known |= dict.fromkeys(((module, "FrozenList") for module in _FROZEN_LISTS), list)
        found = known.get((module, name)) or find_yaml_class(module, name)
        if found is None:
            raise _ForbiddenError(f"{module}.{name}")
        return found


def load_pickle(path: Path, *, small: bool = False) -> Any:  # noqa: ANN401
    """Load a pickle of plain containers, numbers, texts and NumPy arrays.

    Parameters
    ----------
    path
        A pickle of any protocol.
    small
        Whether it has few values: a file larger than a megabyte is refused.

    Returns
    -------
    Any
        What it holds; arrays are `LoadedArray` or NumPy arrays: see `as_array`.

    Raises
    ------
    StoreError
        If the file cannot be read, is no pickle or a damaged one, names any other class,
        which is not loaded, or unfolds to more than it stores: see
        `pipeline_lib.io.foreign.pickle_bounds`.
    """
    try:
        require_regular_file(path)
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1 if small else -1)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
    if small and len(data) > MOST_BYTES:
        raise StoreError(f"{path}: is larger than {MOST_BYTES // 2**20} MiB: it is not read")
    return _load(data, path)


def load_pickled_bytes(data: bytes, where: str) -> Any:  # noqa: ANN401
    """Load a pickle that stands inside a file; see `load_pickle`.

    Parameters
    ----------
    data
        The pickle.
    where
        File and position in it, for messages.
    """
    return _load(data, where)


def _load(data: bytes, path: Path | str) -> Any:  # noqa: ANN401
    try:
        check_keys(data)
        value = _Unpickler(io.BytesIO(data)).load()
        check_values(value, len(data))
    except _ForbiddenError as error:
        raise StoreError(
            f"{path}: names {error}, which is not loaded from a file, since it could run "
            "anything; expected only arrays, numbers, texts and containers"
        ) from None
    except UnboundedPickleError as error:
        raise StoreError(f"{path}: {error}: it is not read") from None
    except Exception as error:  # noqa: BLE001 - damaged pickles raise nearly everything
        raise StoreError(
            f"{path}: expected a whole pickle, which this is not ({type(error).__name__}: "
            f"{error}); write or copy it again"
        ) from None
    return value


def as_array(value: Any) -> NDArray[Any]:  # noqa: ANN401
    """Return an array, pickled or made of numbers and lists of them.

    Raises
    ------
    ValueError
        If it is made of anything else, or of lists of different length.
    """
    if isinstance(value, LoadedArray):
        return value.value
    if isinstance(value, list | tuple):
        value = [as_array(item) for item in value]
    array = np.asarray(value)
    if array.dtype.kind not in _KINDS:
        raise ValueError(f"expected numbers, found {type(value).__name__}")
    return array
