"""Decode chunks of Zarr stores of unknown origin into no more memory than their arrays declare.

A compressed chunk says itself how long it is once unpacked, and memory is allocated by what it
says: 20 bytes can ask for 2 GiB. An array's metadata, which are checked before, say how long a
chunk is; a chunk that says more is refused before anything is allocated.
"""

import math
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zarr
import zarr.codecs
from zarr.registry import register_codec

# A name and its length; the names that this package writes have at most 255 bytes.
MOST_NAME_BYTES = 4096
# A checksum within a compressed stream.
_CHECKSUM_BYTES = 4

# `zarr.config` is one for all threads.
_CONFIG_LOCK = threading.Lock()


def bound_chunk(spec: Any) -> int:  # noqa: ANN401 - zarr's ArraySpec, by attributes
    """Return the most bytes that a chunk may unpack to."""
    values = math.prod(spec.shape)
    kind = spec.dtype
    # Zarr 3.0 has NumPy's types there, later versions have their own.
    native = kind.to_native_dtype() if hasattr(kind, "to_native_dtype") else kind
    size = MOST_NAME_BYTES if native.kind in "TOU" else native.itemsize
    return int(max(1, values) * size) + _CHECKSUM_BYTES


def read_blosc_length(data: bytes) -> int:
    """Return the unpacked length that the header of a Blosc stream declares.

    Raises
    ------
    ValueError
        If there is no whole header.
    """
    if len(data) < 16:
        raise ValueError("no header of Blosc")
    return int(struct.unpack_from("<I", data, 4)[0])


def read_zstd_length(data: bytes) -> int:
    """Return the unpacked length that the header of a Zstandard frame declares (RFC 8878).

    Raises
    ------
    ValueError
        If it declares none: such a frame unpacks to any length.
    """
    if len(data) < 6 or data[:4] != b"\x28\xb5\x2f\xfd":
        raise ValueError("no header of Zstandard")
    descriptor = data[4]
    single_segment = bool(descriptor & 0x20)
    width = (1 if single_segment else 0, 2, 4, 8)[descriptor >> 6]
    if not width:
        raise ValueError("a Zstandard frame of unknown length")
    start = 5 + (not single_segment) + (0, 1, 2, 4)[descriptor & 3]
    field = data[start : start + width]
    if len(field) < width:
        raise ValueError("no header of Zstandard")
    # Two bytes count from 256.
    return int.from_bytes(field, "little") + (256 if width == 2 else 0)


def _require(length: int, spec: Any) -> None:  # noqa: ANN401
    most = bound_chunk(spec)
    if length > most:
        raise ValueError(f"a chunk says that it unpacks to {length} bytes, expected {most}")


def _take_head(chunk: Any) -> bytes:  # noqa: ANN401 - zarr's Buffer
    return bytes(chunk.as_numpy_array()[:32].tobytes())


class BoundedBlosc(zarr.codecs.BloscCodec):  # type: ignore[misc]
    """Unpack Blosc streams that are as long as their chunk."""

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:  # noqa: ANN401
        _require(read_blosc_length(_take_head(chunk_bytes)), chunk_spec)
        return await super()._decode_single(chunk_bytes, chunk_spec)

    # Later versions of zarr may call it instead.
    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:  # noqa: ANN401
        _require(read_blosc_length(_take_head(chunk_bytes)), chunk_spec)
        return super()._decode_sync(chunk_bytes, chunk_spec)


class BoundedZstd(zarr.codecs.ZstdCodec):  # type: ignore[misc]
    """Unpack Zstandard frames that are as long as their chunk."""

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:  # noqa: ANN401
        _require(read_zstd_length(_take_head(chunk_bytes)), chunk_spec)
        return await super()._decode_single(chunk_bytes, chunk_spec)

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:  # noqa: ANN401
        _require(read_zstd_length(_take_head(chunk_bytes)), chunk_spec)
        return super()._decode_sync(chunk_bytes, chunk_spec)


def _require_count(chunk: Any, spec: Any) -> None:  # noqa: ANN401
    """Refuse texts that are more than their chunk has: an object is made for each."""
    head = _take_head(chunk)
    if len(head) < 4 or struct.unpack_from("<I", head)[0] != math.prod(spec.shape):
        raise ValueError(f"a chunk of texts does not hold {math.prod(spec.shape)}")


# zarr asks for a codec of this name.
class VLenUTF8Codec(zarr.codecs.VLenUTF8Codec):  # type: ignore[misc]
    """Read texts that are as many as their chunk has."""

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:  # noqa: ANN401
        _require_count(chunk_bytes, chunk_spec)
        return await super()._decode_single(chunk_bytes, chunk_spec)

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:  # noqa: ANN401
        _require_count(chunk_bytes, chunk_spec)
        return super()._decode_sync(chunk_bytes, chunk_spec)


class BoundedShards(zarr.codecs.ShardingCodec):  # type: ignore[misc]
    """Decode shards whose chunks have these codecs, also after a copy to another process."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        with bound_decoding():
            super().__setstate__(state)


_CODECS = {
    "blosc": BoundedBlosc,
    "zstd": BoundedZstd,
    "vlen-utf8": VLenUTF8Codec,
    "sharding_indexed": BoundedShards,
}
for _name, _codec in _CODECS.items():
    register_codec(_name, _codec)


@contextmanager
def bound_decoding() -> Iterator[None]:
    """Let the arrays that are opened within decode chunks by these codecs, whenever that is."""
    names = {
        f"codecs.{name}": f"{codec.__module__}.{codec.__qualname__}"
        for name, codec in _CODECS.items()
    }
    with _CONFIG_LOCK, zarr.config.set(names):
        yield
