"""Turn a decoded picture into an RGB image, or read its planes: its brightness and its colour."""

from functools import cache
from typing import Any, NamedTuple, cast

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from pipeline_lib.io.video.edges import leaves_edge_unwritten

Image = NDArray[np.uint8]
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


def convert_picture(
    picture: Any,  # noqa: ANN401 - PyAV's
    size: tuple[int, int],
    reformatter: VideoReformatter,
) -> Image:
    """Convert a decoded picture to an RGB image.

    Parameters
    ----------
    picture
        PyAV's, in any pixel format.
    size
        Width and height of the image, px.
    reformatter
        What converts; one that is kept between pictures need not be prepared anew.

    Returns
    -------
    ndarray
        Shape (height, width, 3), uint8, as stored (not turned upright).

    Raises
    ------
    av.error.FFmpegError
        If FFmpeg does not convert this pixel format.

    Notes
    -----
    FFmpeg converts in one thread: with several, FFmpeg 8 sometimes writes pixels of the edge
    between two threads wrongly. It converts to planes: up to twice as fast as to pixels, and to
    the same values.
    """
    width, height = size
    unscaled = (width, height) == (picture.width, picture.height)
    if unscaled and picture.format.name == "gray":
        # Without colour FFmpeg changes no value, whatever range a picture claims.
        (gray,) = read_planes(picture)
        return cast("Image", cv2.merge((gray, gray, gray)))
    packed = unscaled and leaves_edge_unwritten(picture.format.name, width)
    converted = reformatter.reformat(
        picture,
        width=width,
        height=height,
        format="rgb24" if packed else "gbrp",
        interpolation=Interpolation.AREA,
        threads=1,
    )
    return _join_planes(converted, packed=packed)


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
    bits = _count_bits(picture.format.name)
    if not bits:
        picture, bits = VideoReformatter().reformat(picture, format=_PLANAR, threads=1), _BYTE
    # With two components, the second one is transparency.
    number = 3 if len(picture.format.components) > 2 else 1
    return tuple(_read_plane(plane, bits) for plane in picture.planes[:number])


@cache
def _count_bits(name: str) -> int:
    """Return the bits of the samples of planes of brightness and colour; 0: there are none."""
    pixels = av.VideoFormat(name)
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


def _read_plane(plane: Any, bits: int) -> Plane:  # noqa: ANN401 - PyAV's
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    if bits == _BYTE:
        return rows[:, : plane.width]
    samples = rows.view("<u2")[:, : plane.width]
    return np.asarray(samples >> np.uint16(bits - _BYTE)).astype(np.uint8)


def _join_planes(converted: Any, *, packed: bool) -> Image:  # noqa: ANN401 - PyAV's
    if packed:
        (plane,) = converted.planes
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        return rows[:, : 3 * plane.width].reshape(plane.height, plane.width, 3).copy()
    green, blue, red = (
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, : plane.width]
        for plane in converted.planes
    )
    return cast("Image", cv2.merge((red, green, blue)))
