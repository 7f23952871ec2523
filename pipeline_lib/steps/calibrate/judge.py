"""Judge calibrations: list the reasons to refuse one, and warnings."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.basics import PADDING, UNITS, find_alike
from pipeline_lib.core.cameras.calibration import Calibration, Camera
from pipeline_lib.kernels.geometry.lenses import find_rays
from pipeline_lib.kernels.geometry.projection import project

# Largest reprojection error in px.
MAX_ERROR = 2.0
_WARNING_ERROR = 1.0
# Metres between the two cameras that are furthest apart. Most are 5 cm to 10 m apart: a thousand
# times as much or as little is outside.
_NEAREST, _FURTHEST = 0.005, 30.0
_GRID = 8
_FISHEYE_BLIND = 0.25
_DEPTHS = 40


class Finding(NamedTuple):
    """Hold one finding: whether it refuses the calibration, and one line of text."""

    refuses: bool
    text: str


def refuse(text: str) -> Finding:
    """Return a finding that refuses the calibration."""
    return Finding(refuses=True, text=text)


def warn(text: str) -> Finding:
    """Return a finding that only warns."""
    return Finding(refuses=False, text=text)


def judge_calibration(
    calibration: Calibration, sizes: Mapping[str, tuple[int, int]], max_error: float
) -> list[Finding]:
    """Judge a calibration by itself and against the size of the videos that it is for.

    Parameters
    ----------
    calibration
        Of any origin.
    sizes
        Width and height of each camera's videos, by its name; empty: not known.
    max_error
        Reprojection error in px that refuses it.
    """
    findings = [
        *_judge_errors(calibration, max_error),
        *_judge_sizes(calibration, sizes),
        *(finding for camera in calibration.cameras for finding in _judge_lens(camera)),
    ]
    if len(calibration.cameras) > 1:
        twins = list(_judge_twins(calibration))
        findings += twins or _judge_places(calibration)
    findings += _judge_unit(calibration)
    return sorted(findings, key=lambda one: not one.refuses)


def _judge_errors(calibration: Calibration, max_error: float) -> Iterator[Finding]:
    for name, error in calibration.errors.items():
        if error > max_error:
            yield refuse(
                f"camera {name}: the reprojection error is {error:.2f} px, more than "
                f"{max_error:g}; look for a moved camera, cameras that are not synchronous, a "
                "distorted board or blurred images",
            )
        elif error > _WARNING_ERROR:
            yield warn(
                f"camera {name}: the reprojection error is {error:.2f} px; below 0.5 is usual",
            )


def _judge_sizes(
    calibration: Calibration, sizes: Mapping[str, tuple[int, int]]
) -> Iterator[Finding]:
    for given, (width, height) in sizes.items():
        name = find_alike(given, calibration.names)
        if name is None and len(sizes) == len(calibration.cameras) == 1:
            # Formats of one camera do not name it.
            name = calibration.names[0]
        if name is None:
            yield refuse(
                f"camera {given} has videos, but the calibration has only "
                f"{', '.join(calibration.names)}",
            )
            continue
        own = calibration.find(name).size
        off = max(abs(own[0] - width), abs(own[1] - height))
        if not off:
            continue
        told = f"camera {name}: was calibrated at {own[0]} x {own[1]} px, its videos have "
        told += f"{width} x {height}"
        if off <= PADDING:
            yield warn(f"{told}: taken for padding on the right and below")
        else:
            yield refuse(f"{told}: calibrate at the size that is recorded")


def _judge_lens(camera: Camera) -> Iterator[Finding]:
    width, height = camera.size
    x, y = camera.matrix[:2, 2]
    if not (0.1 * width <= x <= 0.9 * width and 0.1 * height <= y <= 0.9 * height):
        yield warn(
            f"camera {camera.name}: its optical axis is at ({x:.0f}, {y:.0f}) of {width} x "
            f"{height} px, far from the middle; were images cropped or turned?",
        )
    ratio = camera.matrix[0, 0] / camera.matrix[1, 1]
    if not 0.9 < ratio < 1.1:
        yield warn(
            f"camera {camera.name}: pixels are {ratio:.2f} times as wide as high; "
            "were images stretched?",
        )
    blind = np.isnan(_find_edge_rays(camera)).any(axis=1).mean()
    # The corners of a fisheye's image are outside its circle.
    if blind > (_FISHEYE_BLIND if camera.model == "fisheye" else 0):
        yield warn(
            f"camera {camera.name}: the distortion has no inverse in {100 * blind:.0f} % of the "
            "image; nothing there is triangulated",
        )


def _find_edge_rays(camera: Camera) -> NDArray[np.float64]:
    """Return rays of the edge and inside of the image; shape (ray, 3)."""
    x, y = np.meshgrid(
        np.linspace(0, camera.size[0] - 1, _GRID + 1), np.linspace(0, camera.size[1] - 1, _GRID + 1)
    )
    return np.stack(find_rays(camera, x.ravel(), y.ravel()), axis=1)


def _judge_twins(calibration: Calibration) -> Iterator[Finding]:
    for first, second in combinations(calibration.cameras, 2):
        if first.has_same_parameters(second):
            yield refuse(
                f"cameras {first.name} and {second.name} have identical parameters: one was "
                "copied from the other",
            )
        elif _measure_distance(first, second) <= 1e-6 * _measure_extent(calibration):
            yield refuse(
                f"cameras {first.name} and {second.name} stand at the same place: no depth "
                "follows from them",
            )


def _measure_distance(first: Camera, second: Camera) -> float:
    return float(np.linalg.norm(first.centre - second.centre))


def _measure_extent(calibration: Calibration) -> float:
    """Return the distance of the two cameras that are furthest apart, or from the origin."""
    distances = [_measure_distance(*pair) for pair in combinations(calibration.cameras, 2)]
    lengths = [float(np.linalg.norm(one.centre)) for one in calibration.cameras]
    return max(*distances, *lengths, 1e-9)


def _judge_places(calibration: Calibration) -> list[Finding]:
    overlaps = {
        (first.name, second.name): _share_view(first, second, calibration)
        for first, second in combinations(calibration.cameras, 2)
    }
    return [
        refuse(
            f"camera {name}: shares no view with any other camera; its place is wrong, or it "
            "looks elsewhere"
        )
        for name in calibration.names
        if not any(shares for pair, shares in overlaps.items() if name in pair)
    ]


def _share_view(first: Camera, second: Camera, calibration: Calibration) -> bool:
    """Tell whether something in the image of one camera is in the image of the other."""
    extent = _measure_extent(calibration)
    depths = extent * np.geomspace(0.05, 50, _DEPTHS)
    rays = _find_edge_rays(first)
    rays = rays[np.isfinite(rays).all(axis=1)]
    local = rays[:, None] * depths[:, None]
    world = (local.reshape(-1, 3) - first.translation) @ first.rotation
    seen = project(second, world)
    return bool(((seen > -0.5) & (seen < np.array(second.size) - 0.5)).all(axis=1).any())


def _judge_unit(calibration: Calibration) -> Iterator[Finding]:
    if calibration.unit is None:
        yield warn("the unit of length is not known: tell it (--unit)")
        return
    if len(calibration.cameras) < 2:
        return
    apart = max(_measure_distance(*pair) for pair in combinations(calibration.cameras, 2))
    metres = apart * UNITS[calibration.unit]
    if not _NEAREST <= metres <= _FURTHEST:
        yield warn(
            f"cameras are up to {apart:g} {calibration.unit} apart: is another unit meant (mm "
            "for m)?",
        )
