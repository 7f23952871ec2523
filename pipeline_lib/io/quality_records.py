"""Read and write the record of a video's quality: JSON, one file per video, written whole."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.publish import publish_text

_FORMAT = 1
# A record has a few numbers for each of 600 windows at most.
_MOST_BYTES = 2**21
_DIGITS = 7
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class QualityRecord:
    """Hold what is measured of a video.

    Attributes
    ----------
    key
        Of the record.
    values
        Measures of the whole video, by the names of the checks; NaN: nothing could be measured.
    edges
        Median length in px of each edge by its name; NaN where unknown.
    seconds
        Duration of a window.
    windows
        Measures of the windows, each of shape (window,).
    doubts
        Shape (doubt, 2): time in seconds, and probability that individuals were exchanged there.
    samples
        ``time``, ``brightness``, ``focus`` of the sampled frames, each of shape (sample,).
    thumbnails
        Shape (2, height, width), uint8: small grey pictures of what stays in view in the first and
        in the second half of the video; None: no frame.
    """

    key: str
    values: Mapping[str, float]
    edges: Mapping[str, float]
    seconds: float
    windows: Mapping[str, Doubles]
    doubts: Doubles
    samples: Mapping[str, Doubles] = field(default_factory=dict)
    thumbnails: NDArray[np.uint8] | None = None


def write_record(path: Path, record: QualityRecord) -> None:
    """Publish a record."""
    pictures = record.thumbnails
    content = {
        "format": _FORMAT,
        "key": record.key,
        "values": {name: _round(value) for name, value in record.values.items()},
        "edges": {name: _round(value) for name, value in record.edges.items()},
        "seconds": record.seconds,
        "windows": {name: _list(values) for name, values in record.windows.items()},
        "doubts": [_list(row) for row in record.doubts],
        "samples": {name: _list(values) for name, values in record.samples.items()},
        "thumbnails": None
        if pictures is None
        else {
            "shape": list(pictures.shape),
            "pixels": base64.b64encode(np.ascontiguousarray(pictures).tobytes()).decode("ascii"),
        },
    }
    publish_text(path, json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n")


def read_record(path: Path) -> QualityRecord:
    """Read a record.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """
    try:
        return _parse(path)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{path}: damaged ({error})") from None


def _parse(path: Path) -> QualityRecord:
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError("too large")
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["format"] != _FORMAT:
        raise ValueError(f"format {content['format']}")
    pictures = content["thumbnails"]
    return QualityRecord(
        key=str(content["key"]),
        values={name: _number(value) for name, value in content["values"].items()},
        edges={name: _number(value) for name, value in content["edges"].items()},
        seconds=float(content["seconds"]),
        windows={name: _array(values) for name, values in content["windows"].items()},
        doubts=np.array([_array(row) for row in content["doubts"]], np.float64).reshape(-1, 2),
        samples={name: _array(values) for name, values in content["samples"].items()},
        thumbnails=None if pictures is None else _decode(pictures),
    )


def read_record_key(path: Path) -> str | None:
    """Return the key of a record; None if there is none that can be read."""
    try:
        return read_record(path).key
    except StoreError:
        return None


def _decode(pictures: Mapping[str, Any]) -> NDArray[np.uint8]:
    pixels = np.frombuffer(base64.b64decode(pictures["pixels"], validate=True), np.uint8)
    halves, height, width = (int(size) for size in pictures["shape"])
    return pixels.reshape(halves, height, width)


def _round(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _list(values: Sequence[float] | Doubles) -> list[float | None]:
    return [_round(float(value)) for value in values]


def _number(value: Any) -> float:  # noqa: ANN401 - JSON
    return math.nan if value is None else float(value)


def _array(values: Sequence[Any]) -> Doubles:
    return np.array([_number(value) for value in values], np.float64)
