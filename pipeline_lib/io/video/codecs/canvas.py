"""Hold pictures to draw on and to encode as decoders give them: brightness and colour apart.

Colour has half the sides of the picture. Only that of parts that are drawn on is enlarged.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, Self

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Plane = NDArray[np.uint8]
Region = tuple[int, int, int, int]

PIXEL_FORMAT = "yuv420p"
_NO_COLOUR = 128


class Canvas:
    """Hold one picture: a plane of brightness, and two of colour with half its sides.

    It can show the next picture as soon as this one is encoded.

    Parameters
    ----------
    size
        Width and height, px, both even.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        # PyAV's own conversion from arrays takes heights that four does not divide for others.
        self._frame = av.VideoFrame(*size, PIXEL_FORMAT)
        self._planes = tuple(_open_plane(plane) for plane in self._frame.planes)
        self._wide = np.empty_like(self._planes[0]), np.empty_like(self._planes[0])

    @classmethod
    def convert(cls, image: Image) -> Self:
        """Return the picture of an RGB image with even sides, by BT.601."""
        height, width = image.shape[:2]
        canvas = cls((width, height))
        # OpenCV converts in a fifth of the time that FFmpeg takes.
        rows = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420), np.uint8)
        canvas.show((rows[:height], *rows[height:].reshape(2, height // 2, width // 2)))
        return canvas

    def show(self, planes: Sequence[Plane]) -> None:
        """Copy planes of `planes.read_planes`; if sides are odd, the last pixels are repeated."""
        luma, *colours = planes
        height, width = luma.shape
        bright, *halves = self._planes
        bright[:height, :width] = luma
        bright[:height, width:] = luma[:, -1:]
        bright[height:] = bright[height - 1]
        for number, half in enumerate(halves):
            if not colours:
                half[:] = _NO_COLOUR
            elif colours[number].shape == half.shape:
                half[:] = colours[number]
            else:
                half[:] = cv2.resize(
                    colours[number], half.shape[::-1], interpolation=cv2.INTER_AREA
                )

    @contextmanager
    def open_part(self, region: Region) -> Iterator[tuple[Plane, Plane, Plane]]:
        """Lend brightness, blue and red in full size, to be drawn on.

        Pixels that nobody changes stay as they are.

        Parameters
        ----------
        region
            The part that may be drawn on: x1, x2, y1, y2 in px, all even; x2 and y2 excluded.
        """
        x1, x2, y1, y2 = region
        luma, *halves = self._planes
        parts = [half[y1 // 2 : y2 // 2, x1 // 2 : x2 // 2] for half in halves]
        for part, wide in zip(parts, self._wide, strict=True):
            _double(part, wide[y1:y2, x1:x2])
        yield luma, *self._wide
        for part, wide in zip(parts, self._wide, strict=True):
            part[:] = _shrink(wide[y1:y2, x1:x2], part)

    def encode(self, ticks: int, clock: int, stream: Any) -> Any:  # noqa: ANN401 - PyAV's
        """Give the picture to an encoder, at a time in ticks of a clock; return its packets."""
        self._frame.pts, self._frame.time_base = ticks, Fraction(1, clock)
        return stream.encode(self._frame)


def _open_plane(plane: Any) -> Plane:  # noqa: ANN401 - PyAV's
    """Return a plane of PyAV, whose rows may be longer, as an array that can be written to."""
    rows = np.ndarray((plane.height, plane.line_size), np.uint8, buffer=plane)
    return rows[:, : plane.width]


def _double(plane: Plane, wide: Plane) -> None:
    """Write each pixel four times, in a third of the time that OpenCV takes."""
    pairs = plane.astype(np.uint16)
    pairs *= 0x101
    wide[::2] = wide[1::2] = pairs.view(np.uint8)


def _shrink(plane: Plane, like: Plane) -> Plane:
    size = (like.shape[1], like.shape[0])
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)
