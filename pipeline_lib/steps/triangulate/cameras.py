"""Refine the cameras of a session from its animals, and align its axes and its scale."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Calibration, Camera
from pipeline_lib.core.settings.cameras import TriangulationSettings
from pipeline_lib.kernels.geometry.sessions.alignment import Alignment, find_factor, find_floor
from pipeline_lib.kernels.geometry.sessions.cameras import adjust_cameras
from pipeline_lib.kernels.geometry.sessions.moments import Moments
from pipeline_lib.kernels.geometry.triangulation import triangulate
from pipeline_lib.steps.triangulate.points import Points, observe
from pipeline_lib.steps.triangulate.views import Rig

Floats = NDArray[np.float64]

# Moments, points and least number of points from which cameras are refined.
_MOMENTS, _POINTS, _FEWEST = 4000, 4000, 100
# Gain in the error of points that were not used, as a share, below which nothing is changed.
_GAIN = 0.01
# Standard errors by which the gain must exceed chance.
_SURE = 3.0
# Largest move of a camera, as a share of the distances of cameras, that is a refinement.
FARTHEST = 0.1


def refine_rig(  # noqa: PLR0913 - the session, and what may change
    rig: Rig,
    moments: Moments,
    slots: NDArray[np.int16],
    settings: TriangulationSettings,
    gate: float | None,
    *,
    focal: bool = False,
) -> tuple[Rig, dict[str, Any]]:
    """Refine the cameras on the animals, if points that were not used for it then agree better.

    With `focal`, focal lengths change, too, if these points then agree better still.

    Returns
    -------
    tuple
        The rig, unchanged where the refinement was refused; a JSON-like record with the median
        error in px of points that were not used, before and after, and why it was refused.
    """
    step = max(1, -(-len(moments.time) // _MOMENTS))
    seen = observe(rig, moments, slots, slice(0, None, step), settings.pcutoff)
    cameras = rig.calibration.cameras
    pixels = np.moveaxis(seen.pixels, 1, 3).reshape(-1, len(cameras), 2)
    weights = np.moveaxis(seen.confidence, 1, 3).reshape(-1, len(cameras))
    found = triangulate(cameras, pixels, weights, gate=gate, noise=1.0, threads=1)
    good = np.flatnonzero(found.used.sum(axis=1) > 1)
    good = good[:: max(1, -(-len(good) // _POINTS))]
    if len(good) < _FEWEST:
        return rig, _refuse(f"{len(good)} points were found, at least {_FEWEST} are needed")
    weights = np.where(found.used, weights, 0.0)[good]
    pixels, points = pixels[good], found.points[good]
    fit, check = slice(0, None, 2), slice(1, None, 2)
    lonely = [
        camera.name
        for place, camera in enumerate(cameras)
        if (weights[fit, place] > 0).sum() < _FEWEST / 2
    ]
    if lonely:
        return rig, _refuse(f"camera {lonely[0]} saw too few of the points")
    adjusted, _ = adjust_cameras(cameras, pixels[fit], weights[fit], points[fit], focal=False)
    before, after = (_measure(some, pixels[check], weights[check]) for some in (cameras, adjusted))
    better = _is_better(before, after)
    if focal:
        whole, _ = adjust_cameras(cameras, pixels[fit], weights[fit], points[fit], focal=True)
        errors = _measure(whole, pixels[check], weights[check])
        near = find_shift(cameras, whole) <= FARTHEST
        if near and _is_better(after if better else before, errors):
            adjusted, after, better = whole, errors, True
    record = {
        "points": len(good),
        "error_before_px": float(np.nanmedian(before)),
        "error_after_px": float(np.nanmedian(after)),
    }
    shift = find_shift(cameras, adjusted)
    if not better:
        return rig, {**record, **_refuse("points that were not used did not agree better")}
    if shift > FARTHEST:
        return rig, {**record, **_refuse(explain_shift(shift))}
    calibration = Calibration(tuple(adjusted), rig.calibration.unit, rig.calibration.errors)
    return replace(rig, calibration=calibration), {**record, "refused": None}


def explain_shift(shift: float) -> str:
    """Return the reason to refuse cameras one of which moved too far."""
    return f"a camera moved by {100 * shift:.0f} % of the distances of cameras"


def _refuse(reason: str) -> dict[str, Any]:
    return {"refused": reason}


def _measure(cameras: Sequence[Camera], pixels: Floats, weights: Floats) -> Floats:
    """Return the errors (point, camera) in px of points triangulated anew."""
    return triangulate(cameras, pixels, weights, gate=None, noise=1.0, threads=1).errors


def _is_better(before: Floats, after: Floats) -> bool:
    """Tell whether errors fall significantly and by a relevant share."""
    first, second = (np.nansum(one**2, axis=1) for one in (before, after))
    gain = first - second
    # Each point counts at most as much as a usual one ten times as bad.
    limit = 10 * float(np.median(first))
    gain = np.clip(gain, -limit, limit)
    chance = float(gain.std() / np.sqrt(len(gain)))
    return float(gain.mean()) > max(_SURE * chance, _GAIN * float(np.median(first)))


def find_shift(before: Sequence[Camera], after: Sequence[Camera]) -> float:
    """Return the largest move of a camera, as a share of the mean distance from the others."""
    centres = np.stack([camera.centre for camera in before])
    moved = np.stack([camera.centre for camera in after])
    apart = np.linalg.norm(centres[:, None] - centres, axis=-1)
    mean = apart.sum() / max(len(centres) * (len(centres) - 1), 1)
    return float(np.linalg.norm(moved - centres, axis=-1).max() / mean) if mean > 0 else np.inf


def align_session(
    rig: Rig, points: Points, settings: TriangulationSettings
) -> tuple[Rig, Points, dict[str, Any]]:
    """Set scale and floor as the settings say; report what cannot be found and leave it unchanged.

    Returns
    -------
    tuple
        Rig and points in the new axes; a JSON-like record, empty if nothing was asked for.
    """
    record: dict[str, Any] = {}
    position = points.position.astype(np.float64)
    place = {name: number for number, name in enumerate(rig.bodyparts)}
    factor: float | None = None
    if settings.scale is not None:
        names = settings.scale.between
        if set(names) <= place.keys():
            first, second = (position[:, :, place[name]] for name in names)
            factor = find_factor(first, second, settings.scale.distance)
        record["scale"] = factor
        if factor is None:
            record["scale_refused"] = f"{' and '.join(names)} are never found together"
    floor: Alignment | None = None
    if settings.floor:
        own = [place[name] for name in settings.floor if name in place]
        floor = find_floor(position[:, :, own].reshape(-1, 3), rig.calibration.cameras)
        record["floor"] = None if floor is None else floor.rotation[2].tolist()
        if floor is None:
            record["floor_refused"] = (
                f"{', '.join(settings.floor)}: fewer than three points, or all on a line"
            )
    if factor is None and floor is None:
        return rig, points, record
    start = floor or Alignment(np.eye(3), np.zeros(3), 1.0)
    alignment = start._replace(factor=factor or 1.0)
    cameras = tuple(alignment.move_camera(one) for one in rig.calibration.cameras)
    calibration = Calibration(cameras, rig.calibration.unit, rig.calibration.errors)
    moved = replace(
        points,
        position=alignment.move_points(position).astype(np.float32),
        uncertainty=(points.uncertainty * alignment.factor).astype(np.float32),
    )
    return replace(rig, calibration=calibration), moved, record
