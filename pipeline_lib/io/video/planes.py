"""Read the planes of a decoded picture: its brightness and its colour, without conversion."""

from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

Plane = NDArray[np.uint8]

_BYTE = 8
# What other formats are converted to; it has all their brightness and colour.
_PLANAR = "yuv444p"


def read_planes(picture: Any) -> tuple[Plane, ...]:  # noqa: ANN401 - PyAV's
    """Return brightness (luma) and, unless the picture is gray, two planes of colour (chroma).

    Samples of more than 8 bits lose their lowest ones, as in the conversion to an image.

    Parameters
    ----------
    picture
        PyAV's, in any pixel format.

    Returns
    -------
    tuple of ndarray
        Each of shape (rows, columns), uint8, as stored; views of the picture's memory where its
        samples have 8 bits and a plane each.
    """
    bits = _count_bits(picture.format)
    if not bits:
        picture, bits = VideoReformatter().reformat(picture, format=_PLANAR, threads=1), _BYTE
    number = min(len(picture.format.components), 3)
    # With two components, the second one is transparency.
    return tuple(_read_plane(picture, plane, bits) for plane in range(number if number > 2 else 1))


def _count_bits(pixels: Any) -> int:  # noqa: ANN401 - PyAV's
    """Return the bits of the samples of planes of brightness and colour; 0: there are none."""
    known = not (pixels.is_rgb or pixels.has_palette or pixels.is_bit_stream)
    components = pixels.components
    apart = [component.plane for component in components] == list(range(len(components)))
    bits = {component.bits for component in components}
    if not (known and apart and len(bits) == 1):
        return 0
    (each,) = bits
    planar = pixels.name.startswith(("yuv", "gray")) and not pixels.name.startswith("grayf")
    return each if planar and (each == _BYTE or (_BYTE < each <= 16 and _is_little(pixels))) else 0


def _is_little(pixels: Any) -> bool:  # noqa: ANN401 - PyAV's
    return not pixels.is_big_endian


def _read_plane(picture: Any, number: int, bits: int) -> Plane:  # noqa: ANN401 - PyAV's
    plane = picture.planes[number]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    if bits == _BYTE:
        return rows[:, : plane.width]
    samples = rows.view("<u2")[:, : plane.width]
    return np.asarray(samples >> np.uint16(bits - _BYTE)).astype(np.uint8)
