"""Read and write the store of clips without labels: one Zarr v3 group, a chunk for each clip."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.io.foreign.zarr_codecs import bound_decoding
from pipeline_lib.io.foreign.zarr_metadata import check_arrays

_FORMAT = 1
_ARRAY = "image"


def write_clips(
    path: Path,
    clips: Iterator[NDArray[np.uint8] | None],
    shape: tuple[int, int, int, int],
    key: str,
) -> int:
    """Write clips one after the other, and return how many there are.

    Parameters
    ----------
    path
        Folder to create.
    clips
        Images, shape (frame, row, column, 3), uint8 RGB, or smaller ones, which are padded with
        black; None for one that could not be read, which is left out.
    shape
        Shape of each clip in the store.
    key
        Hash of what the store is made from. The stored one depends on the clips left out, too.
    """
    group = zarr.open_group(path, mode="w", zarr_format=3)
    array = group.create_array(
        _ARRAY,
        shape=(0, *shape),
        chunks=(1, *shape),
        dtype="uint8",
        compressors=zarr.codecs.ZstdCodec(level=1),
        dimension_names=("clip", "frame", "row", "column", "channel"),
    )
    number, left_out = 0, []
    for place, clip in enumerate(clips):
        if clip is None:
            left_out.append(place)
            continue
        array.resize((number + 1, *shape))
        frames, rows, columns, _ = clip.shape
        array[number, :frames, :rows, :columns] = clip
        number += 1
    # A file system that fails for once must not make another network of the same key.
    stored = hash_settings(key, {"left out": left_out}) if left_out else key
    group.attrs.update({"format_version": _FORMAT, "key": stored})
    zarr.consolidate_metadata(group.store)
    return number


class ClipStore:
    """Read a finished store of clips; each process opens it itself.

    Parameters
    ----------
    path
        Its folder.

    Attributes
    ----------
    key
        Hash of what it was made from.

    Raises
    ------
    StoreError
        If there is none, or it is damaged or of another format, or reading it might run code.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            metadata = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
            attributes = metadata["attributes"]
            version, self.key = attributes["format_version"], str(attributes["key"])
            arrays = metadata["consolidated_metadata"]["metadata"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreError(f"{path}: no store of clips ({error}); run make-clips") from None
        if version != _FORMAT:
            raise StoreError(f"{path}: format {version!r}, expected {_FORMAT}; run make-clips")
        check_arrays(path, arrays)
        if set(arrays) != {_ARRAY}:
            raise StoreError(f"{path}: damaged: remove it and run make-clips")
        with bound_decoding():
            group = zarr.open_group(path, mode="r", zarr_format=3, use_consolidated=True)
            self._array: Any = group[_ARRAY]

    def __len__(self) -> int:
        return int(self._array.shape[0])

    def read(self, number: int) -> NDArray[np.uint8]:
        """Return the frames of a clip, shape (frame, row, column, 3)."""
        clip: NDArray[np.uint8] = np.asarray(self._array[number])
        return clip
