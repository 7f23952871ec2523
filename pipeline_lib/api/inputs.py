"""Read what a run was given: frames of videos and labels."""

import operator
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.api.places import find_results
from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.labels import table
from pipeline_lib.io.labels.table import Labels
from pipeline_lib.io.video.reader import VideoReader


def read_frame(path: str | PathLike[str], frame: int) -> NDArray[np.uint8]:
    """Read one frame of a video, exactly.

    The frame is the one that row ``frame`` of the video's pose file belongs to. The call indexes
    the whole video first; to read many frames of one video, use `VideoReader`.

    Parameters
    ----------
    path
        The video.
    frame
        0-based index; a negative one counts from the end.

    Returns
    -------
    ndarray
        Shape (height, width, 3), uint8, RGB.

    Raises
    ------
    IndexError
        If the video has no such frame.
    TypeError
        If the index is no whole number.
    VideoError
        If the video cannot be read, or this frame cannot be decoded.

    Examples
    --------
    >>> import pipeline_lib
    >>> image = pipeline_lib.read_frame("mouse-01.mp4", 10)
    >>> image.shape, image.dtype
    ((96, 96, 3), dtype('uint8'))
    """
    path, frame = Path(path), operator.index(frame)
    with _open_video(path) as video:
        frames = video.facts.frames
        if not -frames <= frame < frames:
            raise IndexError(f"{path}: has {frames} frames, 0 to {frames - 1}: no frame {frame}")
        start = frame % frames
        for _, image in video.read(start, start + 1):
            if image is not None:
                return image
    raise VideoError(f"{path}: frame {frame} cannot be decoded; read another frame")


def _open_video(path: Path) -> VideoReader:
    """Open a video; an error names it, which reasons in the ledger do not."""
    try:
        return VideoReader(path)
    except VideoError as error:
        known = str(path) in str(error)
        raise VideoError(str(error) if known else f"{path}: {error}") from None


def read_labels(path: str | PathLike[str]) -> Labels:
    """Read the labels that a run imported.

    Parameters
    ----------
    path
        A results folder, or its ``labels/labels.parquet``.

    Returns
    -------
    Labels
        One row per image, individual and bodypart; positions in px of the image, NaN where a
        bodypart is not labelled.

    Raises
    ------
    StoreError
        If the table is missing, damaged or of another version; if the folder is no results
        folder.

    Examples
    --------
    >>> import pipeline_lib
    >>> labels = pipeline_lib.read_labels("results")
    >>> labels.bodyparts[0]
    'snout'
    >>> int((labels.table["bodypart"] == "snout").sum())
    12
    """
    path = Path(path)
    return table.read_labels(find_results(path).labels if path.is_dir() else path)
