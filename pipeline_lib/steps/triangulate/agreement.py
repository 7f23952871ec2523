"""Measure how well the cameras of a session agree, and tell what may be wrong with them.

The gate of a session follows its errors. If many views are wrong, because the calibration is, the
gate is wide and no view is outside of it. So the errors themselves are judged here, too.
"""

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.basics import PADDING
from pipeline_lib.kernels.geometry.sessions.matching import NO_SLOT
from pipeline_lib.kernels.geometry.sessions.moments import Moments
from pipeline_lib.steps.triangulate.points import Observed, Points, observe
from pipeline_lib.steps.triangulate.views import Rig

# Moments that are looked at, evenly spread.
_MOMENTS = 4000
# Share of what a camera saw below which it disagrees with the others.
_DISAGREES = 0.5
# Median error of all views above which they disagree: a share of the image's diagonal, or of the
# animals' size. Good recordings have 0.1 to 0.6 % of the diagonal, and 0.5 to 1.5 % of the size.
_LARGE, _LARGE_OF_ANIMAL = 0.01, 0.05
# Share of animals in views that no other view shows above which it is doubtful that they agree.
_ALONE = 0.5
# Share of keypoints outside the image that was calibrated above which the image was another one.
_OUTSIDE = 0.05

_CAUSES = "the calibration, the times or the names of cameras may be wrong"


class _Sizes(NamedTuple):
    """Hold medians over all views, in px; NaN if nothing was seen."""

    image: float
    animal: float


def describe_agreement(
    rig: Rig, moments: Moments, slots: NDArray[np.int16], points: Points, cut: float
) -> dict[str, Any]:
    """Return each camera's median error and the share of its observations that was used; doubts.

    Parameters
    ----------
    rig, moments, slots, cut
        The session; see `pipeline_lib.steps.triangulate.points.observe`.
    points
        Its points.
    """
    told: dict[str, Any] = {}
    doubts = []
    for place, name in enumerate(rig.calibration.names):
        errors = points.camera_error[:, place]
        known = np.isfinite(errors)
        count = int(known.sum())
        share = float(points.used[:, place][known].mean()) if count else None
        told[name] = {
            "points": count,
            "median_error_px": float(np.median(errors[known])) if count else None,
            "used_share": share,
        }
        if share is not None and share < _DISAGREES:
            doubts.append(
                f"camera {name} disagrees with the others in {100 * (1 - share):.0f} % of the "
                "points that it saw: its calibration, its times or its name may be wrong"
            )
    step = max(1, -(-len(moments.time) // _MOMENTS))
    seen = observe(rig, moments, slots, slice(0, None, step), cut)
    doubts += _judge_errors(points, _measure_sizes(rig, seen))
    doubts += _judge_copies(rig)
    doubts += _judge_images(rig, cut)
    return {"cameras": told, "doubts": doubts}


def judge_matches(rig: Rig, moments: Moments, slots: NDArray[np.int16], cut: float) -> list[str]:
    """Return a doubt if most animals of tracked views were matched with no other view.

    Views that are not tracked are not judged: people beside the scene and wrong detections are
    in one view alone.
    """
    if any(view.poses.track_status is None for view in rig.views):
        return []
    step = max(1, -(-len(moments.time) // _MOMENTS))
    part = slice(0, None, step)
    matched = (slots[part] != NO_SLOT).sum(axis=1)
    together = int(np.where(matched > 1, matched, 0).sum())
    everything = 0
    for place, view in enumerate(rig.views):
        frames = moments.frames[part, place]
        own = view.poses.position[frames[frames >= 0]]
        sure = view.poses.confidence[frames[frames >= 0]] >= cut
        everything += int((np.isfinite(own).all(-1) & sure).any(-1).sum())
    alone = 1 - together / everything if everything else 0.0
    if alone <= _ALONE:
        return []
    share = f"{100 * alone:.0f} % of the animals that cameras saw"
    return [f"{share} agree with those of no other camera: {_CAUSES}"]


def _measure_sizes(rig: Rig, seen: Observed) -> _Sizes:
    """Return the diagonal of the images, and of the boxes of animals of which half was seen."""
    there = np.isfinite(seen.pixels).all(axis=-1)
    enough = there.sum(axis=-1) >= max(2, seen.pixels.shape[-2] / 2)
    image = float(np.median([np.hypot(*camera.size) for camera in rig.calibration.cameras]))
    if not enough.any():
        return _Sizes(image, np.nan)
    pixels = seen.pixels[enough]
    boxes = np.nanmax(pixels, axis=1) - np.nanmin(pixels, axis=1)
    return _Sizes(image, float(np.median(np.hypot(boxes[:, 0], boxes[:, 1]))))


def _judge_errors(points: Points, sizes: _Sizes) -> list[str]:
    known = points.camera_error[np.isfinite(points.camera_error)]
    if not known.size:
        return []
    error = float(np.median(known))
    of_image, of_animal = error / sizes.image, error / sizes.animal
    if of_image > _LARGE:
        share = f"{100 * of_image:.1f} % of the image's diagonal"
    elif of_animal > _LARGE_OF_ANIMAL:
        share = f"{100 * of_animal:.0f} % of the animals' size"
    else:
        return []
    return [f"the cameras disagree: the median error is {error:.1f} px, {share}; {_CAUSES}"]


def _judge_copies(rig: Rig) -> list[str]:
    """Return a doubt for each pair of cameras that saw exactly the same: one video under two."""
    return [
        f"cameras {first.camera} and {second.camera} saw exactly the same: one of them has the "
        "video or the poses of the other"
        for first, second in combinations(rig.views, 2)
        if np.isfinite(first.poses.position).any()
        and np.array_equal(first.poses.position, second.poses.position, equal_nan=True)
    ]


def _judge_images(rig: Rig, cut: float) -> list[str]:
    """Return a doubt for each camera whose keypoints are outside the image of its calibration."""
    doubts = []
    for camera, view in zip(rig.calibration.cameras, rig.views, strict=True):
        step = max(1, -(-len(view.poses.time) // _MOMENTS))
        found, sure = view.poses.position[::step], view.poses.confidence[::step]
        found = found[np.isfinite(found).all(axis=-1) & ~(sure < cut)]
        if not len(found):
            continue
        beyond = (found < -PADDING) | (found > np.array(camera.size) + PADDING)
        share = float(beyond.any(axis=-1).mean())
        if share > _OUTSIDE:
            width, height = camera.size
            doubts.append(
                f"camera {camera.name}: {100 * share:.0f} % of its keypoints are outside the image "
                f"of {width} x {height} px that was calibrated: its videos may have another size"
            )
    return doubts
