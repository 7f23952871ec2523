"""Read images as upright 8-bit RGB, and publish PNG files."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.image_header import ImageHeader, read_header

# Cameras count light in so many bits, and store them in 16.
_DEPTHS = (8, 10, 12, 14, 16)
# Colours as people see them, all bits of them, and pixels as they are stored.
_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image upright, as 8-bit RGB, whatever its format.

    Gray is repeated in three channels, palettes and CMYK become RGB, alpha is dropped. The image
    is turned as its EXIF orientation says, so that it is what people and labelling tools see:
    that is the image that labels refer to, and its size is that of
    `pipeline_lib.io.image_header.read_header`.

    Of 16-bit values the highest 8 bits in use are taken: cameras fill 10, 12 or 14 of the 16, and
    the largest value of the image says how many these are (the smallest of 8, 10, 12, 14 and 16
    bits that holds it). So a full 12-bit image is as bright as its 8-bit copy, not nearly black;
    an image that is dark throughout may become brighter than its neighbours. To keep one scale
    for all, store 8 bits.

    Parameters
    ----------
    path
        PNG, JPEG, TIFF, BMP, WebP, GIF, PPM or JPEG 2000 of one image.

    Returns
    -------
    NDArray[np.uint8]
        Shape (height, width, 3).

    Raises
    ------
    StoreError
        If the file is missing, cut short or not an image that is read; see `read_header`.
    """
    header = read_header(path)
    try:
        # Read by Python and not by OpenCV, which cannot tell a missing file from a bad one.
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read as an image: {error.strerror}") from None
    image = _decode(data)
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise StoreError(
            f"{path}: its header is that of a {header.format} image, but its pixels cannot be "
            "decoded; write it again"
        )
    image = _turn(image, header)
    if image.shape[:2] != header.upright[::-1]:
        raise StoreError(
            f"{path}: expected {header.upright[0]} x {header.upright[1]} px as its header says, "
            f"found {image.shape[1]} x {image.shape[0]} px; write it again"
        )
    rgb: NDArray[np.uint8] = cv2.cvtColor(_take_highest_bits(image), cv2.COLOR_BGR2RGB)
    return rgb


def _decode(data: NDArray[np.uint8]) -> NDArray[np.uint8 | np.uint16] | None:
    try:
        image: NDArray[np.uint8 | np.uint16] | None = cv2.imdecode(data, _AS_STORED)
    except cv2.error:
        return None
    return image


def _turn(
    image: NDArray[np.uint8 | np.uint16], header: ImageHeader
) -> NDArray[np.uint8 | np.uint16]:
    """Turn stored pixels upright; OpenCV has always done so with those of TIFF."""
    orientation = 1 if header.format == "TIFF" else header.orientation
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _take_highest_bits(image: NDArray[np.uint8 | np.uint16]) -> NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    largest = int(image.max())
    depth = next(bits for bits in _DEPTHS if largest < 2**bits)
    return (image >> (depth - 8)).astype(np.uint8)


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an RGB image as PNG; equal channels are stored as one, which loses nothing.

    The file is not published atomically: write inside a `publish_file` or `publish_folder`.

    Parameters
    ----------
    path
        Target, replaced if it exists.
    image
        Shape (height, width, 3), RGB.
    """
    gray = bool((image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all())
    stored = image[..., 0] if gray else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".png", stored)
    path.write_bytes(data.tobytes())
