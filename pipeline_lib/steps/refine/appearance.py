"""Look at candidates and at labelled frames as the network sees them."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import CohortposeError, ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.io.images import read_image
from pipeline_lib.steps.refine.images import read_frames

_log = logging.getLogger(__name__)

# Width and height in px of the grey images by which frames are compared without a network.
_SMALL = (32, 24)
_GROUP = 16  # frames that are held at a time
_MOST_KNOWN = 500  # labelled frames that are looked at
Place = tuple[str, int]  # video and frame
_Item = TypeVar("_Item")


class Look(NamedTuple):
    """Describe a frame by its look.

    Attributes
    ----------
    time
        Seconds after the first frame of its video.
    embedding
        Shape (channel,), float32.
    surplus
        Shape (keypoint,), as in `pipeline_lib.kernels.refinement.peaks`; None without a network.
    """

    time: float
    embedding: NDArray[np.float32]
    surplus: NDArray[np.float32] | None


class _Encoded(Protocol):
    @property
    def embedding(self) -> NDArray[np.float32]: ...

    @property
    def surplus(self) -> NDArray[np.float32] | None: ...


class Viewer(Protocol):
    """Describe frames, each of shape (height, width, 3), uint8, RGB.

    Attributes
    ----------
    bodyparts
        Names of the surplus peaks.
    """

    bodyparts: tuple[str, ...]

    def encode(self, frames: Sequence[NDArray[np.uint8]]) -> Sequence[_Encoded]:
        """Return the embedding of each frame, and the surplus peaks that its maps show."""
        ...


class _Thumbnail(NamedTuple):
    embedding: NDArray[np.float32]
    surplus: None = None


class Thumbnails:
    """Describe frames by their small grey images, where there is no network."""

    bodyparts: tuple[str, ...] = ()

    def encode(self, frames: Sequence[NDArray[np.uint8]]) -> Sequence[_Thumbnail]:
        """Return the pixels of the small grey image of each frame."""
        return [_Thumbnail(_shrink(frame)) for frame in frames]


def load_viewer(files: ModelFiles) -> Viewer:
    """Return the encoder of a network, or thumbnails where its weights are missing."""
    from pipeline_lib.models.inference.encoder import FrameEncoder  # noqa: PLC0415 - seconds

    try:
        return FrameEncoder(files)
    except ModelError as error:
        _log.warning(
            "frames are compared by grey thumbnails, and the criterion `peaks` finds nothing, "
            "because the network's weights are not there: %s",
            error,
        )
        return Thumbnails()


def look_at_frames(
    places: Iterable[Place], paths: Mapping[str, Path], viewer: Viewer, patience: float
) -> dict[Place, Look]:
    """Look at frames of videos; those that cannot be read are missing, and the log says so.

    Parameters
    ----------
    places
        Video and frame.
    paths
        File of each video.
    viewer
        What describes frames.
    patience
        As in `pipeline_lib.steps.refine.images.read_frames`.
    """
    found: dict[Place, Look] = {}
    for name, some in groupby(sorted(set(places)), key=lambda place: place[0]):
        frames = [frame for _, frame in some]
        for group in _divide(read_frames(paths[name], frames, patience), _GROUP):
            encoded = viewer.encode([image for _, _, image in group])
            for (frame, time, _), one in zip(group, encoded, strict=True):
                found[name, frame] = Look(time, one.embedding, one.surplus)
    return found


def look_at_images(images: Sequence[Path], viewer: Viewer) -> NDArray[np.float32]:
    """Return embeddings of labelled images, shape (image, channel).

    Of many images, evenly spread ones are looked at; those that cannot be read are left out.
    """
    step = max(1, -(-len(images) // _MOST_KNOWN))
    found = [
        one.embedding
        for group in _divide(_read_images(images[::step]), _GROUP)
        for one in viewer.encode(group)
    ]
    return np.stack(found) if found else np.empty((0, 0), np.float32)


def _read_images(images: Iterable[Path]) -> Iterator[NDArray[np.uint8]]:
    for image in images:
        try:
            yield read_image(image)
        except (CohortposeError, OSError) as error:
            _log.debug("a labelled image is not compared with candidates: %s", error)


def _divide(items: Iterable[_Item], number: int) -> Iterator[tuple[_Item, ...]]:
    """Yield groups of consecutive items."""
    left = iter(items)
    while group := tuple(islice(left, number)):
        yield group


def _shrink(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, _SMALL, interpolation=cv2.INTER_AREA)
    pixels: NDArray[np.float32] = small.astype(np.float32).ravel()
    return pixels
