"""Assign images to cameras and moments, and find the board in them."""

import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.boards import Board
from pipeline_lib.core.errors import (
    CalibrationError,
    CohortposeError,
    RefusedCalibrationError,
)
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.untrusted.names import find_name_problem, fold_name, natural_order
from pipeline_lib.io.images import read_image
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.kernels.geometry.boards import (
    Corners,
    find_corners,
    guess_squares,
    is_mirrored,
)

_log = logging.getLogger(__name__)

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
# Frames of a video in which the board is looked for, at most.
FRAMES = 300
# Images to look at for what is wrong when no board was found.
_LOOKED_AT = 3
_BATCH = 16
_LAST_NUMBER = re.compile(r"(\d+)(?!.*\d)")


@dataclass(frozen=True)
class Source:
    """Describe what shows the board to one camera.

    Attributes
    ----------
    camera
        Its name.
    images
        Moment and path of each image; empty for a video.
    video
        None for images.
    """

    camera: str
    images: tuple[tuple[int, Path], ...] = ()
    video: Path | None = None


class Seen(NamedTuple):
    """Hold what a camera saw: image `size`, `boards` by moment, number of images `looked_at`."""

    size: tuple[int, int]
    boards: dict[int, Corners]
    looked_at: int


class _UnusableError(CohortposeError):
    """Tell that the images of a camera were read, and are bad."""


def list_sources(paths: list[Path]) -> list[Source]:
    """List the cameras of folders, videos and images.

    A folder of images and a video are one camera each, named as they are. Other images belong to
    the camera that their name gives without its last number; that number is the moment, so that
    images of the same moment have the same number: ``left03.jpg`` and ``right03.jpg``.

    Raises
    ------
    CalibrationError
        If a path is missing or none of these, or two cameras have the same name.
    """
    problems: list[str] = []
    sources: list[Source] = []
    loose: dict[str, list[tuple[int, Path]]] = {}
    for path in paths:
        if path.is_dir():
            images = sorted(
                (one for one in path.iterdir() if one.suffix.lower() in IMAGES),
                key=lambda one: natural_order(one.name),
            )
            if not images:
                problems.append(f"{path}: holds no images")
            numbered = _number(images)
            sources.append(Source(path.resolve().name, tuple(numbered)))
        elif not path.exists():
            problems.append(f"{path}: no such file or folder")
        elif path.suffix.lower() in IMAGES:
            camera, moment = split_name(path)
            loose.setdefault(camera, []).append((moment, path))
        else:
            sources.append(Source(path.stem, video=path))
    sources += [Source(camera, tuple(images)) for camera, images in loose.items()]
    problems += _find_problems(sources)
    if problems:
        raise CalibrationError("board images", problems)
    return sorted(sources, key=lambda one: natural_order(one.camera))


def split_name(path: Path) -> tuple[str, int]:
    """Return camera and moment of an image: its name without the last number, and this number."""
    found = _LAST_NUMBER.search(path.stem)
    if found is None:
        return path.stem, 0
    name = f"{path.stem[: found.start()]}{path.stem[found.end() :]}".strip("-_. ")
    return name or "camera", int(found.group())


def _number(images: list[Path]) -> list[tuple[int, Path]]:
    """Return the moments of a folder's images: the last numbers, or places if those repeat."""
    moments = [split_name(path)[1] for path in images]
    if len(set(moments)) == len(moments):
        return list(zip(moments, images, strict=True))
    return list(enumerate(images))


def _find_problems(sources: list[Source]) -> Iterator[str]:
    names: dict[str, str] = {}
    for source in sources:
        problem = find_name_problem(source.camera)
        if problem:
            yield f"camera {source.camera!r}: its name {problem}; rename the folder or file"
        if fold_name(source.camera) in names:
            yield f"two cameras have the name {source.camera!r}; rename a folder or video"
        names[fold_name(source.camera)] = source.camera
        moments = [moment for moment, _ in source.images]
        if len(set(moments)) < len(moments):
            yield f"camera {source.camera!r}: two images have the same number"


def find_boards(sources: list[Source], board: Board, step: int | None) -> dict[str, Seen]:
    """Find the board in all images.

    Parameters
    ----------
    sources
        One per camera.
    board
        What to look for.
    step
        Of videos, look at every Nth frame; None: so that there are at most `FRAMES`.

    Raises
    ------
    CalibrationError
        If images cannot be read; a `RefusedCalibrationError` if all can, but those of a camera
        differ in size or show no board.
    """
    step = _choose_step(sources) if step is None else step
    found: dict[str, Seen] = {}
    problems: list[str] = []
    kind: type[CalibrationError] = RefusedCalibrationError
    for source in sources:
        try:
            found[source.camera] = _look(source, board, step)
        except CohortposeError as error:
            problems.append(f"camera {source.camera}: {error}")
            kind = kind if isinstance(error, _UnusableError) else CalibrationError
    if problems:
        raise kind("board images", problems)
    return found


def _choose_step(sources: list[Source]) -> int:
    """Return one step for all videos, which keeps their moments together."""
    lengths = {}
    for source in sources:
        if source.video is not None:
            with VideoReader(source.video) as reader:
                lengths[source.camera] = reader.facts.frames
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{camera} {frames}" for camera, frames in lengths.items())
        _log.warning("videos differ in length (frames: %s); frames are matched by number", told)
    return max(1, -(-max(lengths.values(), default=1) // FRAMES))


def _look(source: Source, board: Board, step: int) -> Seen:
    size: tuple[int, int] | None = None
    boards: dict[int, Corners] = {}
    first: list[NDArray[np.uint8]] = []
    count = 0
    with ThreadPoolExecutor(count_cores()) as pool:
        for batch in _batch(_read(source, step)):
            for where, _, image in batch:
                shape = (image.shape[1], image.shape[0])
                size = size or shape
                if shape != size:
                    raise _UnusableError(
                        f"{where} is {shape[0]} x {shape[1]} px, others are {size[0]} x {size[1]}; "
                        "calibrate images of one size"
                    )
            first += [image for _, _, image in batch][: _LOOKED_AT - len(first)]
            count += len(batch)
            corners = pool.map(lambda one: find_corners(one[2], board), batch)
            boards |= {
                moment: one
                for (_, moment, _), one in zip(batch, corners, strict=True)
                if one is not None
            }
    if size is None:
        raise _UnusableError("has no images")
    if not boards:
        raise _UnusableError(_explain(first, board, count))
    return Seen(size, boards, count)


def _read(source: Source, step: int) -> Iterator[tuple[str, int, NDArray[np.uint8]]]:
    """Yield a name, the moment and the gray image of each image."""
    for moment, path in source.images:
        yield path.name, moment, cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY)
    if source.video is not None:
        with VideoReader(source.video, threads=count_cores()) as reader:
            for frame, image in reader.read(step=step):
                if image is not None:
                    yield f"frame {frame}", frame, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _batch(
    images: Iterator[tuple[str, int, NDArray[np.uint8]]],
) -> Iterator[list[tuple[str, int, NDArray[np.uint8]]]]:
    batch = []
    for one in images:
        batch.append(one)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _explain(images: list[NDArray[np.uint8]], board: Board, count: int) -> str:
    """Explain why no board was found, as far as the first images tell."""
    text = f"shows no {board.describe()} in any of {count} images"
    for image in images:
        if is_mirrored(image, board):
            return (
                f"{text}, but does when they are mirrored: store the images as the camera saw them"
            )
        guess = guess_squares(image, board)
        if guess is not None:
            columns, rows = guess
            return f"{text}; one of {columns} x {rows} squares is there: --squares {columns}x{rows}"
    if board.kind == "charuco":
        return f"{text}; check --squares, --dictionary and whether the markers are sharp"
    return f"{text}; check --squares (squares, not corners) and whether the whole board is in view"
