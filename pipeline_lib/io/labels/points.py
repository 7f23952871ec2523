"""From a label table to rows of points: where each image lies, and whether its points are on it."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from PIL import Image, UnidentifiedImageError

from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import LABEL_COLUMNS, SINGLE_INDIVIDUAL
from pipeline_lib.io.labels.deeplabcut_table import LabelTable
from pipeline_lib.io.labels.detect import LABELED_DATA, LabelFormat

# Hand-placed points at the very edge fall a little outside; farther out is a mistake.
_MARGIN = 1.0
_LONGEST_NUMBER = 18  # decimal digits that always fit int64
_TRAILING_DIGITS = re.compile(r"(\d+)$")

# `named`, bool: the individual's name was given by who labelled, it is not a mere count.
POINT_COLUMNS = (*(name for name in LABEL_COLUMNS if name != "split"), "named")


@dataclass(frozen=True)
class SourceLabels:
    """The labels of one source.

    Attributes
    ----------
    points
        Columns `POINT_COLUMNS`, one row per point; bodyparts in the source's order.
    skeleton
        What the source tells of edges, symmetries and unique bodyparts; bodyparts may be empty.
    kind
        What wrote it.
    origins
        What an image shows, by its path, where that is not the image file itself: the same frame
        of the same video has the same text whichever source labels it.
    """

    points: pd.DataFrame
    skeleton: Skeleton
    kind: LabelFormat
    origins: Mapping[str, str] = field(default_factory=dict)


def frame_number(image: Path) -> int:
    """Return the frame (0-based) that ends an image's file name; -1 where no number does."""
    match = _TRAILING_DIGITS.search(image.stem)
    return int(match[1]) if match and len(match[1]) <= _LONGEST_NUMBER else -1


def video_name(image: Path) -> str:
    """Return the folder of labelled images; the project's where images lie in none of their own."""
    folder = image.parent
    return folder.parent.name if folder.name == LABELED_DATA else folder.name


def locate_images(table: LabelTable, root: Path) -> tuple[list[Path], list[str]]:
    """Find the image file of every row, wherever the project now lies.

    Only what follows ``labeled-data`` in a row's path is trusted: what precedes it is the
    machine that wrote the table. A table that lies in its own images' folder still finds them
    after that folder was renamed.

    Parameters
    ----------
    table
        As read.
    root
        Folder that holds ``labeled-data``.

    Returns
    -------
    images
        Absolute path per row; where no file was found, the place it was expected.
    problems
        One line per row without a file.
    """
    folder = table.path.parent
    videos = {parts[-2] for parts in table.images if len(parts) > 1}
    # Several videos hold images of the same name: only a table of one video, whose folder is
    # gone, may be taken to lie among its images.
    renamed = len(videos) == 1 and not (root / LABELED_DATA / next(iter(videos))).is_dir()
    images, problems = [], []
    for parts in table.images:
        image = root.joinpath(*_relative_parts(parts)).absolute()
        beside = (folder / parts[-1]).absolute()
        among = renamed or len(parts) == 1 or parts[-2] == folder.name
        if among and not image.is_file() and beside.is_file():
            image = beside
        images.append(image)
        if not image.is_file():
            problems.append(f"{'/'.join(parts)}: no such image (expected at {image})")
    return images, problems


def _relative_parts(parts: tuple[str, ...]) -> tuple[str, ...]:
    if LABELED_DATA in parts:
        last = len(parts) - 1 - parts[::-1].index(LABELED_DATA)
        return parts[last:]
    return (LABELED_DATA, *parts[-2:])


def check_points(table: LabelTable, images: list[Path]) -> list[str]:
    """Describe every row and point that cannot be used, one line each.

    Parameters
    ----------
    table
        As read.
    images
        Image of each row; those that do not exist are passed over.

    Returns
    -------
    list of str
        Duplicate rows, unreadable images, points with one coordinate only, and points more than
        1 px outside their image.
    """
    counts = Counter(images)
    problems = [f"{_short(image)}: {n} rows" for image, n in counts.items() if n > 1]
    sizes = np.full((len(images), 1, 2), np.nan)
    for row, image in enumerate(images):
        try:
            sizes[row, 0] = image_size(image)
        except FileNotFoundError:
            continue
        except (OSError, UnidentifiedImageError) as error:
            problems.append(f"{_short(image)}: not a readable image ({error})")
    missing = np.isnan(table.positions)
    incomplete: NDArray[np.bool_] = np.asarray(missing.any(axis=-1) & ~missing.all(axis=-1))
    outside = is_outside(table.positions, sizes)
    for row, keypoint in np.argwhere(incomplete | outside):
        x, y = table.positions[row, keypoint]
        what = f"{_short(images[row])}, {_name(table.keypoints[keypoint])}: x {x:g}, y {y:g}"
        if incomplete[row, keypoint]:
            problems.append(f"{what}: one coordinate is missing")
        else:
            width, height = sizes[row, 0]
            problems.append(f"{what} is outside its image of {width:g} x {height:g} px")
    return problems


def is_outside(positions: NDArray[np.float64], sizes: ArrayLike) -> NDArray[np.bool_]:
    """Tell which points lie more than 1 px outside their image: that is a mistake.

    Parameters
    ----------
    positions
        Shape (..., 2), x and y in px, pixel centres being at integers. NaN is not outside.
    sizes
        Shape (..., 2) or what extends to it, width and height in px. NaN: unknown.

    Returns
    -------
    ndarray
        Shape (...), bool.
    """
    # The image covers -0.5 .. size - 0.5.
    low, high = -0.5 - _MARGIN, np.asarray(sizes) - 0.5 + _MARGIN
    return np.asarray(np.any((positions < low) | (positions > high), axis=-1))


def image_size(image: Path) -> tuple[int, int]:
    """Return width and height in px, from the file's header alone.

    Raises
    ------
    OSError
        If the file is missing or not an image that Pillow knows.
    """
    with Image.open(image) as opened:
        return opened.size


def build_points(table: LabelTable, images: list[Path], offset: float) -> pd.DataFrame:
    """Return one row per image, individual and bodypart, unlabelled ones included.

    Parameters
    ----------
    table
        As read.
    images
        Image of each row.
    offset
        Added to the table's coordinates so that pixel centres are at integers, px.

    Returns
    -------
    DataFrame
        Columns `POINT_COLUMNS`; x, y float64 in px, NaN where unlabelled; frame int64.
    """
    rows, keypoints = len(images), len(table.keypoints)
    positions: NDArray[np.float64] = table.positions.reshape(-1, 2) + offset
    labelled: NDArray[np.bool_] = np.asarray(~np.isnan(positions).any(axis=1))

    def per_row(values: list[str]) -> NDArray[np.object_]:
        return np.repeat(np.asarray(values, dtype=object), keypoints)

    def per_keypoint(index: int) -> list[str]:
        return [pair[index] for pair in table.keypoints] * rows

    columns = {
        "video": per_row([video_name(image) for image in images]),
        "frame": np.repeat(
            np.asarray([frame_number(image) for image in images], dtype=np.int64), keypoints
        ),
        "individual": per_keypoint(0),
        "bodypart": per_keypoint(1),
        "x": positions[:, 0],
        "y": positions[:, 1],
        "visible": labelled,
        "source": str(table.path.absolute()),
        "image": per_row([str(image) for image in images]),
        "named": [individual != SINGLE_INDIVIDUAL for individual in per_keypoint(0)],
    }
    return pd.DataFrame(columns, columns=list(POINT_COLUMNS))


def _short(image: Path) -> str:
    return "/".join(image.parts[-2:])


def _name(keypoint: tuple[str, str]) -> str:
    individual, bodypart = keypoint
    return bodypart if individual == SINGLE_INDIVIDUAL else f"{individual} {bodypart}"
