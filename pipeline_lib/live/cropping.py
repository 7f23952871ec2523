"""Predict in a window around the animals, laid where the last frame suggests.

The rule: the window is centred on the box around the points that are expected, on the grid on
which a network sees the same in a window as in the frame. The frame is seen whole (with the
locator, if there is one) where nothing is expected, where what is expected does not fit, and
after a window in which the animal was lost: too few points, or points at a border beyond which
the frame goes on. A prediction therefore depends on the frame and the place of its window alone.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import ModelError
from pipeline_lib.kernels.windows import WindowShape, cut_window
from pipeline_lib.live.networks import LiveNetworks
from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.locating.boxed import BoxedTopDown
from pipeline_lib.models.inference.locating.coarse_to_fine import CoarseToFine, shape_window
from pipeline_lib.models.inference.locating.top_down import TopDown
from pipeline_lib.models.inference.predictor import Image

Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class CroppingRules:
    """Choose windows.

    Attributes
    ----------
    side
        Side of the window in network px; 0: frames are always seen whole.
    pcutoff
        Confidence from which a point counts as found.
    min_found
        Smallest share of the bodyparts of each animal that must be found.
    same_frame
        Whether a frame whose window lost the animal is seen whole at once; else the next one is.
    """

    side: int = 0
    pcutoff: float = 0.3
    min_found: float = 0.5
    same_frame: bool = False


class Seen(NamedTuple):
    """Hold what was found in a frame.

    Attributes
    ----------
    located
        Points, px of the whole frame.
    window
        x, y, width and height of the window, px; None: the frame was seen whole.
    lost
        Whether the window lost the animal.
    """

    located: Located
    window: Window | None
    lost: bool


class Cropper:
    """Predict single frames by the rules of windows."""

    def __init__(self, networks: LiveNetworks, rules: CroppingRules) -> None:
        self._networks, self._rules = networks, rules
        if rules.side and networks.window is None:
            raise ModelError(
                "this network works top-down, and sees windows around the animals that its locator "
                "or detector finds: leave `cropping` out, or set it to 0"
            )
        card = networks.whole.card
        self._card, self._animals = card, card.animals
        self._least = math.ceil(rules.min_found * len(card.skeleton.animal_indices))

    def shape(self, frame: Image) -> WindowShape | None:
        """Return the shape of windows of a frame; None where it is always seen whole."""
        if not self._rules.side:
            return None
        height, width = frame.shape[:2]
        shape = shape_window(self._card, self._rules.side, (height, width))
        return None if shape.holds_frame else shape

    def warm_up(self, frame: Image) -> None:
        """Let all networks compute, also those that see nothing of a frame without animals."""
        whole = self._networks.whole
        if isinstance(whole, CoarseToFine | TopDown | BoxedTopDown):
            whole.warm_up(frame)

    def predict(self, frame: Image, expected: NDArray[np.floating[Any]] | None) -> Seen:
        """Locate the points of a frame.

        Parameters
        ----------
        frame
            Shape (height, width, 3), uint8, RGB.
        expected
            Shape (individual, keypoint, 2), px: where points are expected; NaN: not known. None:
            nothing is expected.
        """
        shape = self.shape(frame)
        corner = None if shape is None or expected is None else self._place(shape, expected)
        if shape is None or corner is None:
            return Seen(self._networks.whole.predict([frame]), None, lost=False)
        located = self.predict_window(frame, shape, corner)
        lost = self._is_lost(located, shape, corner)
        if lost and self._rules.same_frame:
            return Seen(self._networks.whole.predict([frame]), None, lost=True)
        x, y = corner.tolist()
        height, width = shape.window
        return Seen(located, (x, y, width, height), lost)

    def predict_window(
        self, frame: Image, shape: WindowShape, corner: NDArray[np.int64]
    ) -> Located:
        """Locate points in the window at a corner (x and y), px of the whole frame."""
        if self._networks.window is None:
            raise ValueError("no network for windows")
        inside = self._networks.window.predict([cut_window(frame, corner, shape.window)])
        return inside._replace(position=inside.position + corner.astype(np.float32))

    def _place(
        self, shape: WindowShape, expected: NDArray[np.floating[Any]]
    ) -> NDArray[np.int64] | None:
        known = np.isfinite(expected).all(axis=-1).sum(axis=-1)
        # Others may be elsewhere while one is not known.
        if (known >= self._least).sum() < self._animals:
            return None
        corner, placed = shape.place(expected.reshape(1, -1, 2), 1)
        return corner[0] if placed[0] else None

    def _is_lost(self, located: Located, shape: WindowShape, corner: NDArray[np.int64]) -> bool:
        certain = located.confidence[0] >= self._rules.pcutoff
        if (certain.sum(axis=-1) >= self._least).sum() < self._animals:
            return True
        cut = shape.find_cut(located.position[0].reshape(1, -1, 2), corner[None])
        return bool((cut[0] & certain.reshape(-1)).any())
