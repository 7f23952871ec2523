"""Read and write the predicted score maps that the report shows beside the stored targets."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.publish import publish_file

_LEVELS = 255
# Some frames of a large network are a few megabytes; a damaged file may claim anything.
_MOST_BYTES = 256 * 2**20


@dataclass(frozen=True)
class PredictedMaps:
    """Hold the score maps that a network draws for some samples of a target store.

    Attributes
    ----------
    target_key
        Key of the target store.
    sample
        Shape (sample,), int64: numbers in the store, the largest error first.
    error
        Shape (sample,), float64: mean distance from label to prediction, px of the frame.
    score
        Shape (sample, keypoint, rows, columns), float32 in 0..1, in steps of 1/255.
    reason
        Why there is no sample; empty if there is one.
    """

    target_key: str
    sample: NDArray[np.int64]
    error: NDArray[np.float64]
    score: NDArray[np.float32]
    reason: str = ""

    @classmethod
    def empty(cls, reason: str) -> "PredictedMaps":
        """Return maps of no sample."""
        score = np.empty((0, 0, 0, 0), np.float32)
        return cls("", np.empty(0, np.int64), np.empty(0), score, reason)


def write_score_maps(path: Path, maps: PredictedMaps) -> None:
    """Publish score maps as a compressed NumPy archive."""
    # By name, NumPy would add its own suffix.
    with publish_file(path) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            target_key=np.array(maps.target_key),
            reason=np.array(maps.reason),
            sample=maps.sample,
            error=maps.error,
            score=np.rint(maps.score.clip(0.0, 1.0) * _LEVELS).astype(np.uint8),
        )


def read_score_maps(path: Path) -> PredictedMaps:
    """Read score maps; nothing in the file is run.

    Raises
    ------
    StoreError
        If the file is missing or damaged, or holds anything else.
    """
    try:
        _check_size(path)
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        return _read_arrays(found)
    except Exception as error:  # noqa: BLE001 - damaged archives raise nearly everything
        raise StoreError(f"{path}: no file of score maps ({error}); run evaluate") from None


def _check_size(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        size = sum(one.file_size for one in archive.infolist())
    if size > _MOST_BYTES:
        raise ValueError(f"{size} bytes unpacked, at most {_MOST_BYTES} are expected")


def _read_arrays(found: dict[str, NDArray[Any]]) -> PredictedMaps:
    sample, error, score = found["sample"], found["error"], found["score"]
    if sample.dtype.kind not in "iu" or error.dtype.kind != "f":
        raise ValueError(f"samples of type {sample.dtype}, errors of type {error.dtype}")
    if score.ndim != 4 or score.dtype != np.uint8:
        raise ValueError(f"score maps of shape {score.shape} and type {score.dtype}")
    if not sample.shape == error.shape == score.shape[:1]:
        raise ValueError("arrays of different lengths")
    return PredictedMaps(
        str(found["target_key"]),
        sample.astype(np.int64),
        error.astype(np.float64),
        score.astype(np.float32) / np.float32(_LEVELS),
        str(found["reason"]),
    )
