"""Collect the samples of a target store: labelled images, or windows cut out of them."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels.table import Labels, label_arrays
from pipeline_lib.kernels.tracking.similarity import centre_poses
from pipeline_lib.kernels.windows import centre_windows, cut_window
from pipeline_lib.models.inference.preprocessing import FrameFit

_log = logging.getLogger(__name__)

# An augmented window is cut out of a larger one: turned and zoomed out, it still shows what was
# beside the animal, as an image would.
_MARGIN = 2


@dataclass(frozen=True)
class Sample:
    """Describe a labelled image, or a window cut out of one.

    Attributes
    ----------
    image
        The image's file.
    fingerprint
        Hash of its bytes.
    split
        ``train``, ``validation`` or ``test``.
    position
        Shape (individual, keypoint, 2), px of the image or the window; NaN where unlabelled.
    fit
        How it is laid into the network's input.
    individual
        The animal that a window is around; empty for an image.
    corner
        x and y of a window's top-left pixel in the image; None for an image.
    absent
        Positions of the bodyparts labelled as absent; only with one animal in whole images, as
        elsewhere every unlabelled bodypart counts as absent.
    """

    image: Path
    fingerprint: str
    split: str
    position: NDArray[np.float64]
    fit: FrameFit
    individual: str = ""
    corner: tuple[int, int] | None = None
    absent: tuple[int, ...] = ()

    def read(self) -> NDArray[np.uint8]:
        """Return the pixels, shape (height, width, 3), RGB; black outside the image."""
        image = read_image(self.image)
        if self.corner is None:
            return image
        return cut_window(image, np.array(self.corner), (self.fit.height, self.fit.width))


def collect_images(labels: Labels, scale: float) -> list[Sample]:
    """Return every labelled image as one sample.

    Parameters
    ----------
    labels
        What is labelled.
    scale
        Factor by which images are shrunk.

    Raises
    ------
    LabelError
        With all images that cannot be read.
    """
    images, position = label_arrays(labels)
    absent = _list_absent(labels)
    samples, problems = [], []
    for name, split, keypoints in zip(images["image"], images["split"], position, strict=True):
        path = Path(name)
        try:
            height, width = read_image(path).shape[:2]
        except StoreError as error:
            problems.append(str(error))
            continue
        fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()
        fit = FrameFit.of(height, width, scale)
        unseen = absent.get(name, ())
        samples.append(Sample(path, fingerprint, split, keypoints, fit, absent=unseen))
    if problems:
        raise LabelError("labelled images", problems)
    _warn_of_copies(samples)
    return samples


def _list_absent(labels: Labels) -> dict[str, tuple[int, ...]]:
    """Return the positions of absent bodyparts by image; none for several animals."""
    table = labels.table
    if len(labels.individuals) > 1 or "visibility" not in table.columns:
        return {}
    order = {name: number for number, name in enumerate(labels.bodyparts)}
    rows = table.loc[table["visibility"] == "absent", ["image", "bodypart"]]
    absent: dict[str, list[int]] = {}
    for image, bodypart in rows.itertuples(index=False):
        absent.setdefault(str(image), []).append(order[str(bodypart)])
    return {image: tuple(sorted(found)) for image, found in absent.items()}


def _warn_of_copies(samples: Iterable[Sample]) -> None:
    """Warn that images are identical, so their labels may be in both training and test."""
    first: dict[str, Sample] = {}
    copies = [
        (known, one)
        for one in samples
        if (known := first.setdefault(one.fingerprint, one)) is not one
    ]
    if copies:
        known, one = copies[0]
        _log.warning(
            "%d labelled images are the same as another one (%s and %s, say): a copy that tests "
            "what was trained on makes the error too small; leave copies out",
            len(copies),
            known.image,
            one.image,
        )


def find_centres(images: Iterable[Sample]) -> list[Sample]:
    """Return images with one keypoint per animal: the mean of its labelled keypoints."""
    return [replace(one, position=centre_poses(one.position)[:, None], absent=()) for one in images]


def cut_windows(
    images: Iterable[Sample], individuals: Sequence[str], window: int, scale: float
) -> list[Sample]:
    """Return a window around each labelled animal of each image, with only its keypoints.

    A window is twice as large as the one that the network sees in its middle, so that turning and
    zooming find pixels beside it; it is laid to the pixel around the mean of the labelled
    keypoints, and black beyond the image.

    Parameters
    ----------
    images
        Samples of `collect_images`.
    individuals
        Names along their individual axis.
    window
        Side of what the network sees, network px.
    scale
        Factor by which windows are shrunk.

    Raises
    ------
    LabelError
        If no animal is labelled.
    """
    side = round(_MARGIN * window / scale)
    fit = FrameFit.of(side, side, scale)
    windows = []
    for image in images:
        centres = centre_poses(image.position)
        for individual, keypoints, centre in zip(individuals, image.position, centres, strict=True):
            if not np.isfinite(centre).all():
                continue
            x, y = centre_windows(centre, side).tolist()
            own = replace(image, position=keypoints[None] - (x, y), fit=fit, individual=individual)
            windows.append(replace(own, corner=(x, y)))
    if not windows:
        raise LabelError("labels", ["no animal is labelled in any image"])
    return windows


def hash_samples(samples: Iterable[Sample]) -> str:
    """Return the hash of the pixels, labels and windows of all samples in order."""
    return hash_settings(
        {
            str(number): [
                one.fingerprint,
                one.split,
                repr(one.position.tolist()),
                *(one.corner or ()),
                *([{"absent": one.absent}] if one.absent else ()),
            ]
            for number, one in enumerate(samples)
        }
    )
