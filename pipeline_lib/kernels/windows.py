"""Lay windows around animals, and cut them out of frames."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Share of the pixels up to which windows are worth a second network.
_SMALL_SHARE = 0.5


def are_worth_windows(size: tuple[float, float], scale: float, small: float, area: float) -> bool:
    """Tell whether animals are so small in images that networks should see windows around them.

    Parameters
    ----------
    size, scale, small, area
        As in `measure_window_share`.

    Returns
    -------
    bool
        Whether the networks then see at most half of the pixels of whole frames; not where the
        size is unknown.
    """
    return measure_window_share(size, scale, small, area) <= _SMALL_SHARE


def measure_window_share(
    size: tuple[float, float], scale: float, small: float, area: float
) -> float:
    """Return the share of pixels that networks see if they look at windows around animals.

    Parameters
    ----------
    size
        Width and height of the images, px.
    scale
        Factor by which frames are shrunk for the network.
    small
        Factor by which they are shrunk to find the animals.
    area
        Network px of the windows of all animals.

    Returns
    -------
    float
        Of the network px of whole frames; NaN if the size is unknown.
    """
    image = size[0] * size[1]
    return (image * small**2 + area) / (image * scale**2)


@dataclass(frozen=True)
class WindowShape:
    """Size of frames and of the window laid on each of them.

    Windows lie on a grid. A convolutional network sees the same in a window as in the whole
    frame only where the two differ by a multiple of its deepest stride; elsewhere keypoints
    would move by fractions of a pixel with the window.

    Attributes
    ----------
    frame
        Height and width of the frames, px.
    window
        Height and width of the window, px, multiples of the grid. It may extend beyond the
        right and the bottom of a frame, not by as much as one step of the grid.
    margin
        What a keypoint needs between itself and a border of the window, px; none where the
        frame ends.
    grid
        Step of the grid, px.
    """

    frame: tuple[int, int]
    window: tuple[int, int]
    margin: float
    grid: int

    @classmethod
    def of(cls, frame: tuple[int, int], side: int, margin: float, grid: int) -> "WindowShape":
        """Return square windows, or less where the frame is smaller."""
        most = [math.ceil(length / grid) * grid for length in frame]
        height, width = (min(side // grid * grid, length) for length in most)
        return cls(frame, (height, width), margin, grid)

    @property
    def holds_frame(self) -> bool:
        """Tell whether the window covers the whole frame."""
        return all(w >= f for w, f in zip(self.window, self.frame, strict=True))

    @property
    def _window(self) -> NDArray[np.int64]:
        """Width and height."""
        return np.array(self.window[::-1])

    @property
    def _last_corner(self) -> NDArray[np.int64]:
        """Largest x and y of a window's top-left pixel."""
        end = np.ceil(np.array(self.frame[::-1]) / self.grid).astype(np.int64) * self.grid
        return np.asarray(end - self._window)

    def place(
        self, position: NDArray[np.floating], least: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Lay a window on each frame, its centre next to that of the box around the keypoints.

        Parameters
        ----------
        position
            Shape (frame, keypoint, 2), x and y in frame px; NaN for a keypoint that is not found.
        least
            A frame with fewer found keypoints has no window; at least 1.

        Returns
        -------
        corner
            Shape (frame, 2), int64: x and y of the window's top-left pixel. (0, 0) where there
            is none.
        placed
            Shape (frame,), bool. False with too few keypoints, and with keypoints too far apart
            for one window and its margins.
        """
        found = np.isfinite(position).all(axis=2)
        low = np.where(found[..., None], position, np.inf).min(axis=1)
        high = np.where(found[..., None], position, -np.inf).max(axis=1)
        placed = found.sum(axis=1) >= max(1, least)
        low, high = np.where(placed[:, None], (low, high), 0.0)
        # The outermost pixel centres are window - 1 apart.
        wanted = (low + high - (self._window - 1)) / 2
        corner = np.rint(wanted / self.grid).astype(np.int64) * self.grid
        corner = np.clip(corner, 0, self._last_corner)
        placed &= ~self.find_cut(np.stack([low, high], axis=1), corner).any(axis=1)
        return np.where(placed[:, None], corner, 0), placed

    def find_cut(
        self, position: NDArray[np.floating], corner: NDArray[np.integer]
    ) -> NDArray[np.bool_]:
        """Return which keypoints lie beyond a window's border or nearer to it than the margin.

        Parameters
        ----------
        position
            Shape (frame, keypoint, 2), x and y in frame px.
        corner
            Shape (frame, 2), x and y of each window's top-left pixel.

        Returns
        -------
        ndarray
            Shape (frame, keypoint), bool; False for NaN.
        """
        least = np.where(corner > 0, corner + self.margin, -np.inf)
        last = corner + self._window - 1
        most = np.where(corner < self._last_corner, last - self.margin, np.inf)
        outside = (position < least[:, None]) | (position > most[:, None])
        return np.asarray(outside.any(axis=2))


def centre_windows(centre: NDArray[np.floating], side: int, grid: int = 1) -> NDArray[np.int64]:
    """Centre a square window on each animal, even if it extends beyond the frame.

    Unlike the windows of `WindowShape`, these may reach beyond every border: only the position in
    the middle of the window tells which animal is meant.

    Parameters
    ----------
    centre
        Shape (..., 2), x and y of the animals' centres in frame px.
    side
        Side of a window, px.
    grid
        px, step of the grid on which windows lie, so that the image of a still animal does not
        change with small errors of its centre. The animal is off the middle by up to half a step
        along each axis.

    Returns
    -------
    ndarray
        Shape (..., 2), int64: x and y of each window's top-left pixel, negative beyond the left
        and the top border.
    """
    wanted = np.asarray(centre, np.float64) - (side - 1) / 2
    return np.asarray(np.rint(wanted / grid).astype(np.int64) * grid)


def cut_window(
    frame: NDArray[np.uint8], corner: NDArray[np.integer], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return a window, black where it extends beyond the frame, as networks pad frames.

    Parameters
    ----------
    frame
        Shape (height, width, channel), uint8.
    corner
        Shape (2,), x and y of the window's top-left pixel; may lie beyond any border.
    size
        Height and width of the window, px.

    Returns
    -------
    ndarray
        Shape (*size, channel), uint8; a part of the frame itself where it lies inside.
    """
    x, y = (int(value) for value in corner)
    height, width = size
    inside = frame[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
    if inside.shape[:2] == size:
        return inside
    window = np.zeros((height, width, frame.shape[2]), np.uint8)
    top, left = max(-y, 0), max(-x, 0)
    window[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return window


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
