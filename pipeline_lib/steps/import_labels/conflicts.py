"""List the labels that corrections replaced, and corrections whose frame is gone."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline_lib.io.corrections.files import find_table_path, format_time
from pipeline_lib.io.corrections.labels import FrameCorrection, Visibility

REPLACED, GONE, LEFT_OUT = "replaced", "gone", "left out"


def name_source(one: FrameCorrection, folder: Path) -> str:
    """Return the absolute path of the table that a correction stands in."""
    return str(find_table_path(folder / "labels", one.author, one.video).absolute())


def describe_images(
    corrected: Mapping[str, FrameCorrection], points: pd.DataFrame, folder: Path
) -> Iterator[dict[str, object]]:
    """Yield a row per image of a source whose labels a correction replaced.

    Parameters
    ----------
    corrected
        Correction that counts, by image.
    points
        Of the label sources.
    folder
        Of corrections.
    """
    for image, rows in points[points["image"].isin(corrected)].groupby("image", sort=True):
        one, first = corrected[str(image)], rows.iloc[0]
        seen = rows[rows["visible"].astype(bool)]
        before = {
            (str(a), str(b)): (float(x), float(y))
            for a, b, x, y in seen[["individual", "bodypart", "x", "y"]].itertuples(index=False)
        }
        yield {
            "what": REPLACED,
            "video": first["video"],
            "frame": int(first["frame"]),
            "image": _shorten(str(image)),
            **_name_kept(one, folder),
            "replaced_source": _shorten(str(first["source"])),
            "distance": _measure(_positions(one), before),
        }


def describe_replaced(
    best: FrameCorrection, other: FrameCorrection, folder: Path
) -> dict[str, object]:
    """Return the row of a correction that another one replaced."""
    return {
        "what": REPLACED,
        "video": best.video,
        "frame": best.frame,
        "image": best.image,
        **_name_kept(best, folder),
        "replaced_source": _shorten(name_source(other, folder)),
        "replaced_author": other.author,
        "replaced_time": format_time(other.time),
        "distance": _measure(_positions(best), _positions(other)),
    }


def describe_gone(one: FrameCorrection, reason: str, folder: Path) -> dict[str, object]:
    """Return the row of a correction whose frame is gone."""
    return {
        "what": GONE,
        "video": one.video,
        "frame": one.frame,
        "image": one.image,
        "replaced_source": _shorten(name_source(one, folder)),
        "replaced_author": one.author,
        "replaced_time": format_time(one.time),
        "reason": reason,
    }


def _name_kept(one: FrameCorrection, folder: Path) -> dict[str, object]:
    return {
        "kept_source": _shorten(name_source(one, folder)),
        "kept_author": one.author,
        "kept_time": format_time(one.time),
    }


def _shorten(path: str) -> str:
    """Return a path relative to the project where it lies in it."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path


_Positions = dict[tuple[str, str], tuple[float, float]]


def _positions(one: FrameCorrection) -> _Positions:
    shown = (point for point in one.keypoints if point.visibility != Visibility.ABSENT)
    return {(point.individual, point.bodypart): (point.x, point.y) for point in shown}


def _measure(now: _Positions, before: _Positions) -> float | None:
    """Return the greatest distance of a keypoint that both have, px; None if there is none.

    Where both have one animal, its name does not matter.
    """
    if len({name for name, _ in now}) == len({name for name, _ in before}) == 1:
        now = {("", part): point for (_, part), point in now.items()}
        before = {("", part): point for (_, part), point in before.items()}
    ways = [np.subtract(now[key], before[key]) for key in now.keys() & before.keys()]
    return max((float(np.hypot(*way)) for way in ways), default=None)
