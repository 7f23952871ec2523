"""Check the metadata of a Zarr store before it is opened: only codecs of numbers and texts.

A store names the codecs that its chunks are read with. One of them unpickles, that is, runs code;
and the metadata of a version 3 group may hold arrays of version 2, which have it at three places.
So what is opened has what this package writes, and nothing else.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline_lib.core.errors import StoreError

_NUMBERS = frozenset(
    {"bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"}
    | {"float16", "float32", "float64"}
)
_CODECS = frozenset({"bytes", "vlen-utf8", "blosc", "zstd", "crc32c"})
_SHARDING = "sharding_indexed"
# Bytes of any other file, to which a chunk may be a link, do not pass for values.
_LAST = frozenset({"zstd", "crc32c", _SHARDING})


def check_arrays(path: Path, arrays: object) -> None:
    """Refuse metadata with anything but numbers, texts and the codecs of this package.

    Parameters
    ----------
    path
        The store, for messages.
    arrays
        Metadata by name of array, as in a group's consolidated metadata.

    Raises
    ------
    StoreError
        If an array is of another version or type, or has a codec that is not on the list.
    """
    if not isinstance(arrays, Mapping):
        raise StoreError(f"{path}: expected the metadata of arrays by name")
    for name, array in arrays.items():
        problem = _find_problem(array)
        if problem:
            raise StoreError(
                f"{path}: array {str(name)!r} {problem}; this store was not written by "
                "cohortpose and is not read, since reading it might run code"
            )


def _find_problem(array: object) -> str | None:
    if not isinstance(array, Mapping):
        return "has no metadata"
    if array.get("zarr_format") != 3 or array.get("node_type") != "array":
        found = f"format {array.get('zarr_format')!r}, {array.get('node_type')!r}"
        return f"must be a Zarr version 3 array, found {found}"
    kind = array.get("data_type")
    if not isinstance(kind, str) or kind not in {*_NUMBERS, "string"}:
        return f"must hold numbers or texts, found data type {kind!r}"
    if not _is_shape(array.get("shape")):
        return f"must have sizes as its shape, found {array.get('shape')!r}"
    if array.get("storage_transformers"):
        return f"has storage transformers {array['storage_transformers']!r}, expected none"
    return _judge_codecs(array.get("codecs"), sharded=False)


def _is_shape(shape: object) -> bool:
    return isinstance(shape, list) and all(
        type(size) is int and size >= 0
        for size in shape  # `True` is no size
    )


def _judge_codecs(codecs: object, *, sharded: bool) -> str | None:
    """Return the problem of a chain of codecs; a shard's chunks have a chain of their own."""
    if not isinstance(codecs, Sequence) or isinstance(codecs, str) or not codecs:
        return f"must have a list of codecs, found {codecs!r}"
    names = [codec.get("name") if isinstance(codec, Mapping) else codec for codec in codecs]
    allowed = _CODECS if sharded else _CODECS | {_SHARDING}
    for codec, name in zip(codecs, names, strict=True):
        if not isinstance(codec, Mapping) or not isinstance(name, str) or name not in allowed:
            return f"has the codec {name!r}, expected one of {', '.join(sorted(allowed))}"
    if names[-1] not in _LAST:
        return f"must end in one of the codecs {', '.join(sorted(_LAST))}, found {names[-1]!r}"
    if _SHARDING not in names:
        return None
    inner: Any = codecs[-1].get("configuration")
    if names != [_SHARDING] or not isinstance(inner, Mapping):
        return f"has {_SHARDING} among other codecs, or unconfigured"
    return _judge_codecs(inner.get("codecs"), sharded=True) or _judge_codecs(
        inner.get("index_codecs"), sharded=True
    )
