"""Store indexes of videos, so that a reader of a part need not read the whole file."""

import dataclasses
import errno
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.publish import publish_file
from pipeline_lib.io.video.index import VideoFacts, VideoIndex

_VERSION = 2
_TYPES = {
    "times": np.float64,
    "shown": np.int32,
    "order": np.int32,
    "offsets": np.int64,
    "keyframes": np.int32,
    "keyframe_pts": np.int64,
    "clean": np.bool_,
    "misplaced": np.bool_,
    "breaks": np.int32,
    "corrupt": np.int32,
}
# What zipfile and NumPy make of bytes that are not what they were.
_DAMAGE = (
    ArithmeticError,
    EOFError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def write_index(path: Path, index: VideoIndex) -> None:
    """Publish the index of a video as an ``.npz`` file; it appears whole or not at all.

    It holds the arrays of the index under their names, and the rest as ``description``: JSON
    in UTF-8 bytes.

    Parameters
    ----------
    path
        The file; replaced if it exists.
    index
        The index; 25 bytes a frame, 13 a keyframe and 4 a loss.
    """
    described = {
        "version": _VERSION,
        "facts": dataclasses.asdict(index.facts),
        "strict": index.strict,
        "damage": index.damage,
        "doubt": index.doubt,
    }
    # Bytes, because of texts NumPy drops zeros at their end.
    description = np.frombuffer(json.dumps(described).encode(), np.uint8)
    arrays = {name: getattr(index, name) for name in _TYPES}
    with publish_file(path) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, description=description, **arrays)


def read_index(path: Path) -> VideoIndex:
    """Read an index that `write_index` has written.

    That it belongs to a video is for the caller to know; a `VideoReader` that is given the
    index of another file raises as soon as it meets a packet that is not indexed.

    Raises
    ------
    StoreError
        If there is no such file, if it was written by another version, or if it is damaged.
    """
    with _explain(path):
        # The arrays carry checksums, and reading one to its end is what compares them.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            described = json.loads(bytes(arrays["description"]))
            if described["version"] != _VERSION:
                raise StoreError(
                    f"{path}: an index of version {described['version']}, expected {_VERSION}: "
                    "remove it, so that the video is indexed again"
                )
            found = {name: arrays[name] for name in _TYPES}
        facts = VideoFacts(**described["facts"])
        rest = {name: described[name] for name in ("strict", "damage")}
        # An index written before there were doubts is still right.
        index = VideoIndex(facts, **found, **rest, doubt=described.get("doubt", ""))
        _check(index)
    return index


@contextmanager
def _explain(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file: index the video") from None
    except OSError as error:
        # To seek where no file can be; other errors are those of the file system.
        if error.errno != errno.EINVAL:
            raise
        raise _describe_damage(path, error) from None
    except _DAMAGE as error:
        raise _describe_damage(path, error) from None


def _describe_damage(path: Path, error: Exception) -> StoreError:
    reason = str(error) or type(error).__name__
    return StoreError(
        f"{path}: a damaged index ({reason}): remove it, so that the video is indexed again"
    )


def _check(index: VideoIndex) -> None:
    frames, packets, keyframes = index.facts.frames, len(index.shown), len(index.keyframes)
    lengths = {
        "times": frames,
        "shown": packets,
        "order": frames,
        "offsets": packets,
        "keyframes": keyframes,
        "keyframe_pts": keyframes,
        "clean": keyframes,
        "misplaced": frames,
        "breaks": len(index.breaks),
        "corrupt": len(index.corrupt),
    }
    for name, length in lengths.items():
        array = getattr(index, name)
        if array.shape != (length,) or array.dtype != _TYPES[name]:
            raise ValueError(
                f"{name} is {array.dtype} {array.shape}, expected {np.dtype(_TYPES[name])} "
                f"({length},)"
            )
