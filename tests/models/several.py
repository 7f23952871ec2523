"""Draw labelled images of several synthetic animals, each a disc of each colour."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline_lib.core.tables import LABEL_COLUMNS
from pipeline_lib.io.images import write_png
from pipeline_lib.io.labels.table import Labels
from tests.models.synthetic import BODYPARTS

ANIMALS = ("anna", "bert")
_RADIUS = 3.0
# Relative to the centre, of an animal that looks to the right.
_SHAPE = np.array([[9.0, 0.0], [-3.0, 6.0], [-6.0, -6.0]])


def draw_animals(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draw the discs of animals, points (animal, keypoint, 2); NaN draws none. Returns RGB."""
    image = np.full((*size, 3), 90, np.uint8)
    rows, columns = np.mgrid[: size[0], : size[1]]
    for animal in points:
        for channel, (x, y) in enumerate(animal):
            disc = np.hypot(columns - x, rows - y) <= _RADIUS
            image[disc] = np.eye(3, dtype=np.uint8)[channel] * 255
    return image


def draw_poses(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Draw poses (image, animal, keypoint, 2) inside of images, animals in halves of their own."""
    stream = np.random.default_rng(seed)
    height, width = size
    poses = np.empty((count, len(ANIMALS), len(BODYPARTS), 2))
    for image in poses:
        for number, animal in enumerate(image):
            half = width / 2
            centre = stream.uniform(
                (12 + number * half, 12), ((number + 1) * half - 12, height - 12)
            )
            angle = stream.uniform(0, 2 * np.pi)
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            animal[:] = _SHAPE @ turn + centre
    return poses


def label_animals(
    folder: Path, points: np.ndarray, size: tuple[int, int], splits: list[str]
) -> Labels:
    """Write images and return their labels; points has shape (image, animal, keypoint, 2)."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (animals, split) in enumerate(zip(points, splits, strict=True)):
        path = folder / f"img{number:03d}.png"
        write_png(path, draw_animals(animals, size))
        rows += [
            {
                "video": "discs",
                "frame": number,
                "individual": individual,
                "bodypart": bodypart,
                "x": x,
                "y": y,
                "visible": bool(np.isfinite(x)),
                "source": str(folder),
                "split": split,
                "image": str(path),
            }
            for individual, keypoints in zip(ANIMALS, animals, strict=True)
            for bodypart, (x, y) in zip(BODYPARTS, keypoints, strict=True)
        ]
    return Labels(pd.DataFrame(rows, columns=list(LABEL_COLUMNS)), BODYPARTS, ANIMALS)
