"""Make rows of points of a label table: find each image, check that its points are on it."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import LABEL_COLUMNS, SINGLE_INDIVIDUAL
from pipeline_lib.io.image_header import ImageHeader, describe_stored, read_header
from pipeline_lib.io.labels.deeplabcut_table import LabelTable
from pipeline_lib.io.labels.tables import LABELED_DATA

# Hand-placed points at the very edge fall a little outside; farther out is a mistake.
_MARGIN = 1.0
_LONGEST_NUMBER = 18  # decimal digits that always fit int64
_TRAILING_DIGITS = re.compile(r"(\d+)$")

# Columns that only the import knows.
_OF_IMPORT = ("split", "iteration", "visibility")
# `named`, bool: the individual's name was given by who labelled, it is not a mere count.
POINT_COLUMNS = (*(name for name in LABEL_COLUMNS if name not in _OF_IMPORT), "named")

# bool, of formats that can say it: the keypoint is labelled, though out of sight. Where a source
# lacks the column, no keypoint is.
HIDDEN = "hidden"


@dataclass(frozen=True)
class SourceLabels:
    """Hold the labels of one source.

    Attributes
    ----------
    points
        Columns `POINT_COLUMNS`, and `HIDDEN` of some formats, one row per point; bodyparts in the
        source's order.
    skeleton
        Edges, symmetries and unique bodyparts in the source; bodyparts may be empty.
    kind
        What wrote it: a name of `pipeline_lib.core.formats.labels.FORMATS`.
    origins
        What an image shows, by its path, where that is not the image file itself: the same frame
        of the same video has the same text whichever source labels it.
    identified
        Whether individuals have names of the whole source (DeepLabCut). If not, a name may be
        that of a track within one video (SLEAP), or a mere count (COCO), so that only two names
        in one image are two animals.
    """

    points: pd.DataFrame
    skeleton: Skeleton
    kind: str
    origins: Mapping[str, str] = field(default_factory=dict)
    identified: bool = True


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

    A path with ``..`` is refused: a table of strangers could lead anywhere by it. Links on disk,
    of images or of their folder, are followed: to link images is common practice, and only a
    file that is an image is ever read. So a project from somebody whom you do not trust can show
    you, in your own results, an image that you could open anyway; it cannot read anything else.

    Parameters
    ----------
    table
        As read.
    root
        Folder that holds ``labeled-data``.

    Returns
    -------
    images
        Absolute path per row; the expected path if no file was found.
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
        if ".." in parts:
            images.append(root / LABELED_DATA)
            problems.append(
                f"{'/'.join(parts)}: leads out of the project by `..`: name images below "
                f"{LABELED_DATA}"
            )
            continue
        image = root.joinpath(*_relative_parts(parts)).absolute()
        beside = (folder / parts[-1]).absolute()
        among = renamed or len(parts) == 1 or parts[-2] == folder.name
        if among and not _is_file(image) and _is_file(beside):
            image = beside
        images.append(image)
        if not _is_file(image):
            problems.append(f"{'/'.join(parts)}: no such image (expected at {image})")
    return images, problems


def _is_file(path: Path) -> bool:
    # Not `Path.is_file`, which raises for names that no file can have.
    return os.path.isfile(path)  # noqa: PTH113


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

    Notes
    -----
    Labels refer to upright images, as people and labelling tools see them: turned by the EXIF
    orientation. Where points lie outside of the upright image, but inside of the stored one, the
    problem says so. It does not detect orientations that keep the size (2, 3, 4).
    """
    counts = Counter(images)
    problems = [
        f"{_short(image)}: {n} rows, expected one per image: remove the others"
        for image, n in counts.items()
        if n > 1 and _is_file(image)
    ]
    sizes = np.full((len(images), 1, 2), np.nan)
    headers: dict[Path, ImageHeader] = {}
    for image in counts:
        if not _is_file(image):
            continue
        try:
            headers[image] = read_header(image)
        except StoreError as error:
            problems.append(str(error))
    for row, image in enumerate(images):
        if image in headers:
            sizes[row, 0] = headers[image].upright
    turned = set(_find_stored(table, images, headers))
    for row in sorted(turned):
        header = headers[images[row]]
        problems.append(f"{_short(images[row])}: {describe_stored(header)}")
    missing = np.isnan(table.positions)
    incomplete: NDArray[np.bool_] = np.asarray(missing.any(axis=-1) & ~missing.all(axis=-1))
    outside = is_outside(table.positions, sizes)
    for row, keypoint in np.argwhere(incomplete | outside):
        if row in turned and not incomplete[row, keypoint]:
            continue  # said of the whole image
        x, y = table.positions[row, keypoint]
        what = f"{_short(images[row])}, {_name(table.keypoints[keypoint])}: x {x:g}, y {y:g}"
        if incomplete[row, keypoint]:
            problems.append(f"{what}: one coordinate is missing; write both or none")
        else:
            width, height = sizes[row, 0]
            problems.append(f"{what} is outside its image of {width:g} x {height:g} px")
    return problems


def _find_stored(
    table: LabelTable, images: list[Path], headers: Mapping[Path, ImageHeader]
) -> Iterator[int]:
    """Yield the rows whose points are of the stored image, which is another than the upright."""
    for row, image in enumerate(images):
        header = headers.get(image)
        if header is None or header.stored == header.upright:
            continue
        points = table.positions[row]
        if is_outside(points, header.upright).any() and not is_outside(points, header.stored).any():
            yield row


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
