"""Write one array of a pose file chunk by chunk; each file is a shard of chunks.

zarr writes a shard from an array of the whole of it, which it copies several times, and encodes
in threads that each keep memory of their own. Here each chunk goes to the end of its file as soon
as it is full; after the last one comes the index of their positions (Zarr specification,
version 3, codec ``sharding_indexed``). The bytes are those that zarr itself would write: along one
axis, its order of the chunks of a shard is that of time.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.io.poses.format import Metadata

# Offset and length, in the index, of a chunk that is not there.
_MISSING = 2**64 - 1


class ShardWriter:
    """Write one array from its first frame to its last, holding a single chunk.

    Chunks that are the fill value throughout are left out, and so is the file of a shard of
    nothing but those. The last chunk is filled up with the fill value. Nothing depends on how
    the frames are cut into blocks.

    Parameters
    ----------
    folder
        Receives the array's files; it is made when there is a first one.
    metadata
        The array's, of `pipeline_lib.io.poses.format.describe_arrays`: cut along the first axis
        only, in shards of chunks or in chunks alone.
    """

    def __init__(self, folder: Path, metadata: Metadata) -> None:
        shape = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        frames, codecs = shape[0], metadata["codecs"]
        self._index_codecs: Sequence[Metadata] = ()
        if codecs[0]["name"] == "sharding_indexed":
            sharding = codecs[0]["configuration"]
            shape, codecs = sharding["chunk_shape"], sharding["codecs"]
            self._index_codecs = sharding["index_codecs"]
        self._folder, self._codecs = folder, codecs
        self._chunk = np.empty(shape, metadata["data_type"])
        self._fill_value = self._chunk.dtype.type(metadata["fill_value"])
        self._index = np.full((frames // shape[0], 2), _MISSING, np.uint64)
        self._filled = self._chunks = self._shard = self._size = 0

    def append(self, values: NDArray[Any]) -> None:
        """Write a block of consecutive frames.

        Parameters
        ----------
        values
            Shape (block, ...), with the array's other axes.
        """
        if not values.size:
            # No frame or, along another axis, nothing: Zarr has no chunk of it.
            return
        taken = 0
        while taken < len(values):
            part = min(len(values) - taken, len(self._chunk) - self._filled)
            self._chunk[self._filled : self._filled + part] = values[taken : taken + part]
            taken += part
            self._filled += part
            if self._filled == len(self._chunk):
                self._write_chunk()

    def close(self) -> None:
        """Write what is held, and the index of the last shard."""
        if self._filled:
            self._chunk[self._filled :] = self._fill_value
            self._write_chunk()
        if self._chunks:
            self._end_shard()

    def _write_chunk(self) -> None:
        fill = np.broadcast_to(self._fill_value, self._chunk.shape)
        if not np.array_equal(self._chunk, fill, equal_nan=True):
            encoded = _encode(self._chunk, self._codecs)
            self._write(encoded)
            self._index[self._chunks] = self._size, len(encoded)
            self._size += len(encoded)
        self._filled = 0
        self._chunks += 1
        if self._chunks == len(self._index):
            self._end_shard()

    def _end_shard(self) -> None:
        if self._size and self._index_codecs:
            self._write(_encode(self._index, self._index_codecs))
        self._index[:] = _MISSING
        self._shard += 1
        self._chunks = self._size = 0

    def _write(self, encoded: bytes) -> None:
        """Append to the file of the shard."""
        self._folder.mkdir(exist_ok=True)
        name = ".".join(["c", str(self._shard), *["0"] * (self._chunk.ndim - 1)])
        with (self._folder / name).open("ab") as file:
            file.write(encoded)


def _encode(values: NDArray[Any], codecs: Sequence[Metadata]) -> bytes:
    """Return the bytes of an array, encoded by the codecs that pose files have."""
    encoded: Any = values
    for codec in codecs:
        encoded = _CODECS[codec["name"]](encoded, **codec.get("configuration", {}))
    return bytes(encoded)


def _order_bytes(values: NDArray[Any], *, endian: Literal["little", "big"]) -> NDArray[Any]:
    return np.ascontiguousarray(values, values.dtype.newbyteorder(endian))


def _compress(  # noqa: PLR0913 - the codec's configuration
    values: NDArray[Any], *, cname: str, clevel: int, shuffle: str, blocksize: int, typesize: int
) -> bytes:
    from numcodecs import blosc  # noqa: PLC0415 - see `pose_format`

    # zarr sets it, too. Threads would put the blocks of a chunk in the order they are done in.
    blosc.use_threads = False
    mode = getattr(blosc, shuffle.upper())
    # Only the array knows the size of an element.
    elements = values.view(f"V{typesize}")
    compressed: bytes = blosc.compress(elements, cname.encode(), clevel, mode, blocksize)
    return compressed


def _add_checksum(encoded: bytes | NDArray[Any]) -> bytes:
    import google_crc32c  # noqa: PLC0415

    content = bytes(encoded)
    checksum: int = google_crc32c.value(content)
    return content + checksum.to_bytes(4, "little")


_CODECS: dict[str, Callable[..., Any]] = {
    "bytes": _order_bytes,
    "blosc": _compress,
    "crc32c": _add_checksum,
}
