"""Judge a calibration that exists, and convert it to another format."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.errors import CalibrationError
from pipeline_lib.core.untrusted.unseen import escape_unseen
from pipeline_lib.io.calibrations.files import read_calibration, write_calibration
from pipeline_lib.io.image_header import read_header
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.steps.calibrate.judge import Finding, judge_calibration
from pipeline_lib.steps.calibrate.sources import list_sources


def check_calibration(
    path: Path, videos: Sequence[Path], *, unit: str | None, max_error: float
) -> tuple[Calibration, list[Finding]]:
    """Judge a calibration file.

    Parameters
    ----------
    path
        In any known format.
    videos
        Videos, images or folders of images, named as their cameras, whose size is compared.
    unit
        Unit of lengths, for files that do not name it; otherwise it must equal that of the file.
    max_error
        Reprojection error in px that refuses it.

    Raises
    ------
    CalibrationError
        If the file cannot be read, or a video cannot.
    """
    calibration = read_calibration(path)
    if unit is not None and calibration.unit not in (None, unit):
        raise CalibrationError(str(path), [f"is in {calibration.unit}, not in {unit}"])
    if unit is not None:
        calibration = replace(calibration, unit=unit)
    return calibration, judge_calibration(calibration, _find_sizes(videos), max_error)


def _find_sizes(videos: Sequence[Path]) -> dict[str, tuple[int, int]]:
    sizes = {}
    for source in list_sources(list(videos)):
        if source.video is None:
            sizes[source.camera] = read_header(source.images[0][1]).upright
        else:
            with VideoReader(source.video) as reader:
                sizes[source.camera] = (reader.facts.width, reader.facts.height)
    return sizes


def describe_cameras(calibration: Calibration) -> str:
    """Return the cameras as a table with tabs; places in the unit of the calibration."""
    unit = escape_unseen(calibration.unit or "unit unknown")
    rows = [f"camera\tmodel\tsize\tfocal_px\trms_error_px\tcentre ({unit})"]
    for camera in calibration.cameras:
        error = calibration.errors.get(camera.name, np.nan)
        focal = f"{camera.matrix[0, 0]:.1f} {camera.matrix[1, 1]:.1f}"
        centre = " ".join(f"{value:.4g}" for value in camera.centre)
        width, height = camera.size
        name = escape_unseen(camera.name)
        rows.append(f"{name}\t{camera.model}\t{width}x{height}\t{focal}\t{error:.3f}\t{centre}")
    return "\n".join(rows) + "\n"


def run_check(  # noqa: PLR0913 - one for each option
    path: Path,
    videos: Sequence[Path],
    *,
    unit: str | None,
    max_error: float,
    output: Path | None,
    name: str,
) -> tuple[str, list[Finding]]:
    """Judge a calibration file; with `output`, write it in another format.

    Returns
    -------
    tuple
        A table of the cameras, and the warnings.

    Raises
    ------
    CalibrationError
        If it cannot be read or written, or is refused.
    """
    calibration, findings = check_calibration(path, videos, unit=unit, max_error=max_error)
    refusals = [finding.text for finding in findings if finding.refuses]
    if refusals:
        raise CalibrationError(f"{path} refused", refusals)
    if output is not None:
        write_calibration(output, calibration, name)
    return describe_cameras(calibration), findings
