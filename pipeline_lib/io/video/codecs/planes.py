"""Read the planes of a decoded picture: its brightness and its colour, without conversion."""

from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

Plane = NDArray[np.uint8]

_BYTE = 8
# What other formats are converted to; it has all their brightness and colour.
_PLANAR = "yuv444p"
# Formats of which FFmpeg converts each pixel by itself, so that a part is the same without the
# rest. It converts 16 columns at a time.
_APART = ("gray", "yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p")
_STEP = 16


class Part(NamedTuple):
    """Hold a part of a picture, and how far its corner lies left of and above what was wanted."""

    picture: Any
    left: int
    above: int


def cut_picture(picture: Any, region: tuple[int, int, int, int]) -> Part | None:  # noqa: ANN401
    """Cut a part out of a picture before it is converted: the same pixels for less work.

    Parameters
    ----------
    picture
        PyAV's.
    region
        x1, x2, y1, y2 in px of the picture as stored; x2 and y2 excluded.

    Returns
    -------
    Part or None
        A picture that holds at least the region; None if the pixels might differ.
    """
    if picture.format.name not in _APART:
        return None
    x1, x2, y1, y2 = region
    left, right = x1 // _STEP * _STEP, min(-(-x2 // _STEP) * _STEP, picture.width)
    top, bottom = y1 // 2 * 2, min(-(-y2 // 2) * 2, picture.height)
    part = av.VideoFrame(right - left, bottom - top, picture.format.name)
    part.color_range, part.colorspace = picture.color_range, picture.colorspace
    for source, target in zip(picture.planes, part.planes, strict=True):
        across, down = -(-picture.width // source.width), -(-picture.height // source.height)
        rows = np.frombuffer(source, np.uint8).reshape(source.height, source.line_size)
        row, column = top // down, left // across
        # A plane of PyAV is a buffer that can be written to.
        written = np.ndarray((target.height, target.line_size), np.uint8, buffer=target)
        written[:, : target.width] = rows[row : row + target.height, column : column + target.width]
    return Part(part, x1 - left, y1 - top)


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
