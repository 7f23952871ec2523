"""Still images: any file OpenCV reads as 8-bit RGB, and PNG files written whole."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image as 8-bit RGB whatever its file holds.

    Gray is repeated in three channels, 16 bits are divided by 256, alpha is dropped and an
    EXIF orientation is applied.

    Parameters
    ----------
    path
        Any format that OpenCV reads: PNG, JPEG, TIFF, BMP.

    Returns
    -------
    NDArray[np.uint8]
        Shape (height, width, 3).

    Raises
    ------
    StoreError
        If the file is missing, cannot be read or is not an image.
    """
    try:
        # Read by Python and not by OpenCV, which cannot tell a missing file from a bad one.
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such image") from None
    except (PermissionError, IsADirectoryError) as error:
        raise StoreError(f"{path}: cannot be read as an image: {error.strerror}") from None
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise StoreError(
            f"{path}: expected an image (PNG, JPEG, TIFF, BMP), found {data.size} bytes that "
            "are none; write it again"
        )
    rgb: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return rgb


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
