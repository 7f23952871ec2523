"""Compare the maps that a network draws with those that its card describes.

A network with too few maps would have one of them stand for several bodyparts, and one of another
stride would locate keypoints outside the frame.
"""

import math
from collections.abc import Mapping
from typing import Any

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.card import DeconvolutionLayout, ModelCard

# Sides of a map, in cells.
_Grid = tuple[int, int]


def expect_shapes(card: ModelCard, frames: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all maps that a network of a card draws of some frames.

    Parameters
    ----------
    card
        Card of a network that draws maps, not of a detector.
    frames
        Shape of the frames, (batch, height, width, 3), as the network takes them.
    """
    batch, height, width = frames[:3]
    keypoints = len(card.skeleton.bodyparts)
    rows, columns = _count_cells(card, height), _count_cells(card, width)
    shapes: dict[str, tuple[int, ...]] = {
        "score": (batch, keypoints, rows, columns),
        "offset": (batch, keypoints, 2, rows, columns),
    }
    if card.edges:
        shapes["affinity"] = (batch, len(card.edges), 2, rows, columns)
    if card.identities:
        shapes["identity"] = (batch, len(card.identities), rows, columns)
    return shapes


def check_maps(
    maps: Mapping[str, Any], card: ModelCard, frames: tuple[int, ...], where: str
) -> None:
    """Refuse maps that are not those of the card.

    Parameters
    ----------
    maps
        Maps by name, arrays or tensors.
    card, frames
        As for `expect_shapes`.
    where
        File of the network, for messages.

    Raises
    ------
    ModelError
        Naming the first map that is missing or of another shape.
    """
    for name, expected in expect_shapes(card, frames).items():
        found = tuple(maps[name].shape) if name in maps else None
        if found != expected:
            raise ModelError(
                f"{where}: from frames of shape {tuple(frames)} it draws {name} of shape "
                f"{found or '(none)'}; its card describes {expected}: it is another network; get "
                "it again, or train it again"
            )


def _count_cells(card: ModelCard, side: int) -> int:
    """Return the number of cells of a map along a side of the frame, in px."""
    if card.lightning_pose is not None or card.sleap_nn is not None:
        return 1  # they tell positions, not cells
    if card.deeplabcut is None:
        return side // card.stride
    return _enlarge(card.deeplabcut.heatmap, math.ceil(side / card.deeplabcut.output_stride))


def _enlarge(layout: DeconvolutionLayout, cells: int) -> int:
    """Return the number of cells after transposed convolutions without padding."""
    for size, stride in zip(layout.kernel_size, layout.strides, strict=True):
        cells = (cells - 1) * stride + size
    return cells - max(layout.final_kernel - 1, 0)
