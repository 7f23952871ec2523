"""Define what all sources of frames have in common."""

import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import CohortposeError

Image = NDArray[np.uint8]
# A frame of more bytes is refused before it is copied.
MOST_BYTES = 2**28


class LiveError(CohortposeError):
    """Report that a live run cannot start, or what it needs is missing."""


class SourceError(CohortposeError):
    """Report that a source gives no frames at present; it is opened again."""


class FrameError(SourceError):
    """Report a frame that cannot be used; it is left out, and the next one is read."""


@dataclass(frozen=True, eq=False)
class Frame:
    """Hold a frame of a source.

    Attributes
    ----------
    image
        Shape (height, width, 3), uint8, RGB; nobody writes to it.
    number
        Number that the source gave it, rising by one from frame to frame; a gap is a lost frame.
    captured
        When it was captured, seconds of the monotonic clock of this machine.
    stamp
        The source's own time, in seconds of a clock of its own; NaN: it has none.
    """

    image: Image
    number: int
    captured: float
    stamp: float = float("nan")


class Source(Protocol):
    """Give frames; all methods are called by one thread.

    Attributes
    ----------
    ended
        Whether there will be no more frames, as at the end of a video.
    """

    ended: bool

    def open(self) -> None:
        """Open the source; `SourceError` if it is not there."""
        ...

    def read(self, timeout: float) -> Frame | None:
        """Return the next frame; None if there is none in time.

        Raises
        ------
        FrameError
            If a frame came that cannot be used; the next call reads the next one.
        SourceError
            If the source is gone; it may be opened again.
        """
        ...

    def rewind(self) -> None:
        """Begin anew, where a source can; networks are ready only after the first frames."""
        ...

    def close(self) -> None:
        """Release the source; it may be opened again."""
        ...


class LiveSource:
    """Do nothing where a source has nothing to do."""

    ended = False

    def rewind(self) -> None:
        """Do nothing: what was, is over."""

    def close(self) -> None:
        """Do nothing: nothing is held."""


def to_rgb(image: NDArray[Any], *, bgr: bool = False) -> Image:
    """Return an image as RGB.

    Parameters
    ----------
    image
        Shape (height, width), (height, width, 1), (height, width, 3) or (height, width, 4), uint8;
        or uint16 of 16 bits, of which the upper 8 are taken.
    bgr
        Whether the first channel is blue.

    Raises
    ------
    FrameError
        If it is no such image.
    """
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    shaped = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))
    if image.dtype != np.uint8 or not shaped or not image.size or image.nbytes > MOST_BYTES:
        raise FrameError(
            f"gave an image of shape {image.shape}, {image.dtype}; expected 1, 3 or 4 channels of "
            "uint8 or uint16"
        )
    if image.ndim == 2 or image.shape[2] == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    colours = image[..., 2::-1] if bgr else image[..., :3]
    return np.ascontiguousarray(colours)


def now() -> float:
    """Return the time by which frames are captured, seconds of the monotonic clock."""
    return time.monotonic()
