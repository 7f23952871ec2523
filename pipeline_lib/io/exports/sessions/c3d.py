"""Write C3D files, in mm and the axes of the calibration, with ezc3d."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import UNITS
from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.exports.sessions.source import SessionSource
from pipeline_lib.io.publish import publish_file

# The header counts frames in 16 bits; readers differ in what they make of a longer file.
_MOST_MOMENTS = 65_535
_MOST_POINTS = 65_535
# Names are cut into groups of 255 (`LABELS`, `LABELS2`, ...), each of which has a length of 16
# bits, in bytes, of names as long as the longest.
_MOST_LABELS = 255
_MOST_LABEL_BYTES = 30_000
# A byte holds the residual, the highest bit its sign.
_MOST_RESIDUAL = 127.0


def write_c3d(path: Path, source: SessionSource) -> None:
    """Publish the poses of one session as a C3D file (a `registry.Writer`).

    The residual of a point is its uncertainty in whole mm, at most 127; a point that was not found
    has the residual -1, as the format prescribes. With several individuals, markers are named
    ``INDIVIDUAL:BODYPART``. A session without moments or points, and one with more moments or
    longer names than C3D holds, is a `StoreError`.
    """
    ezc3d = _import_ezc3d()
    markers = source.name_markers(":")
    _check_size(source, markers)
    points, residuals = _read_points(source, len(markers))
    made = ezc3d.c3d()
    parameters = made["parameters"]["POINT"]
    parameters["UNITS"]["value"] = ["mm"]
    parameters["RATE"]["value"] = [source.fps]
    for number, start in enumerate(range(0, len(markers), _MOST_LABELS), 1):
        name = "LABELS" if number == 1 else f"LABELS{number}"
        made.add_parameter("POINT", name, markers[start : start + _MOST_LABELS])
    made["data"]["points"] = points
    made["data"]["meta_points"]["residuals"] = residuals
    with publish_file(path) as part:
        made.write(str(part))


def _import_ezc3d() -> Any:  # noqa: ANN401 - it has no types
    try:
        import ezc3d  # noqa: PLC0415
    except ImportError as error:
        raise StoreError(
            f"exports as C3D need ezc3d ({error}): pip install 'cohortpose[c3d]', or leave out the "
            "format `c3d`"
        ) from None
    return ezc3d


def _check_size(source: SessionSource, markers: list[str]) -> None:
    """Refuse what C3D cannot hold."""
    choose = "choose another format (`trc`, `csv`, `nwb`)"
    if not source.frames or not markers:
        raise StoreError(f"{source.poses}: C3D holds no session without moments or points")
    if source.frames > _MOST_MOMENTS or len(markers) > _MOST_POINTS:
        raise StoreError(
            f"{source.poses}: {source.frames} moments of {len(markers)} points, of which C3D holds "
            f"at most {_MOST_MOMENTS} each; {choose}"
        )
    longest = max(len(name.encode()) for name in markers)
    if longest > _MOST_LABELS or longest * min(len(markers), _MOST_LABELS) > _MOST_LABEL_BYTES:
        raise StoreError(
            f"{source.poses}: a name of {longest} bytes for {len(markers)} points is longer than "
            f"C3D holds; {choose}"
        )


def _read_points(
    source: SessionSource, markers: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points in mm, shape (4, marker, time), and residuals, shape (1, marker, time)."""
    points = np.ones((4, markers, source.frames))
    residuals = np.empty((1, markers, source.frames))
    scale = UNITS[source.head.unit or "mm"] / UNITS["mm"]
    for moments, block in source.read_blocks():
        position = block.position.reshape(len(block.time), markers, 3)
        points[:3, :, moments] = position.transpose(2, 1, 0) * np.float64(scale)
        uncertain = np.round(block.uncertainty.reshape(len(block.time), markers).T * scale)
        uncertain = np.clip(np.nan_to_num(uncertain, nan=0.0), 0.0, _MOST_RESIDUAL)
        found = ~np.isnan(position).any(axis=-1).T
        residuals[0, :, moments] = np.where(found, uncertain, -1.0)
    return points, residuals
