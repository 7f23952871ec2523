"""Lay boxes around animals as DeepLabCut cuts them out for its top-down networks."""

import numpy as np
from numpy.typing import NDArray


def lay_crop(
    box: NDArray[np.floating], shape: tuple[int, int], margin: int
) -> tuple[NDArray[np.int64], tuple[int, int]]:
    """Enlarge a box to the shape of a crop.

    Parameters
    ----------
    box
        Shape (4,), left, top, right and bottom in px from the corner of the frame.
    shape
        Height and width that the crop is brought to afterwards.
    margin
        px by which the box is enlarged at each side first.

    Returns
    -------
    corner
        Shape (2,), x and y of the top-left pixel; may lie beyond the frame.
    size
        Height and width in px; 0 for a box without area.

    Notes
    -----
    The arithmetic is that of DeepLabCut 3, in the type of the box and rounded half to even, so that
    its crops and ours are of the same pixels.
    """
    left, top = box[0], box[1]
    width, height = box[2] - left, box[3] - top
    across, down = left + width / 2, top + height / 2
    width, height = width + 2 * margin, height + 2 * margin
    if width <= 0 or height <= 0:
        return np.zeros(2, np.int64), (0, 0)
    ratio = shape[1] / shape[0]
    if width / height > ratio:
        height = width / ratio
    else:
        width = height * ratio
    low = np.rint([across - width / 2, down - height / 2]).astype(np.int64)
    high = np.rint([across + width / 2, down + height / 2]).astype(np.int64)
    return low, (int(high[1] - low[1]), int(high[0] - low[0]))
