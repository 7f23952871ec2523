"""Check the numbers of a model card from a stranger."""

import math
from typing import Any

from pydantic import ValidationError

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.chosen import TUNABLE
from pipeline_lib.core.settings.run import ResolvedConfig
from pipeline_lib.core.skeleton import CENTRE
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL
from pipeline_lib.models.card import CropLayout, DeconvolutionLayout, ModelCard

_MOST_NAMES = 1000
_LARGEST_WINDOW = 4096
_WINDOW = "locating.window"
_MOST_LAYERS = 8
_MOST_CHANNELS = 2**14
_STRIDES = (1, 2, 4, 8, 16, 32)


def _fits_outputs(card: ModelCard) -> bool:
    """Tell whether a network of DeepLabCut draws the maps that its card says."""
    layout = card.deeplabcut
    if layout is None:
        return True
    keypoints = len(card.skeleton.bodyparts)
    heads = [(layout.heatmap, keypoints)]
    heads += [] if layout.locref is None else [(layout.locref, 2 * keypoints)]
    return (
        layout.stride == card.stride
        and card.animals == 1
        and not (card.edges or card.identities)
        and _fits_crop(card, layout.crop)
        and all(_is_possible(head, outputs) for head, outputs in heads)
    )


def _finds_animals(card: ModelCard) -> bool:
    """Tell whether the card of a detector says nothing that a detector cannot do."""
    return (
        card.skeleton.bodyparts == (CENTRE,)
        and card.deeplabcut is None
        and card.window is None
        and card.scale == 1.0
        and not (card.edges or card.identities)
    )


def _locates_alone(card: ModelCard) -> bool:
    """Tell whether the card of a network that tells positions says nothing that it cannot do."""
    one = card.animals == 1 and not (card.edges or card.identities or card.window)
    layouts = (card.deeplabcut, card.detector, card.lightning_pose, card.sleap_nn)
    alone = sum(layout is not None for layout in layouts) == 1
    return one and alone and (card.stride, card.scale) == (1, 1.0)


def _fits_crop(card: ModelCard, crop: CropLayout | None) -> bool:
    """Tell whether what a network of DeepLabCut sees of an animal is as large as its window."""
    if crop is None:
        return card.window is None
    sides = (crop.width, crop.height)
    return card.window == max(sides) and all(side % card.padding == 0 for side in sides)


def _is_possible(head: DeconvolutionLayout, outputs: int) -> bool:
    counts = (*head.channels, *head.kernel_size, *head.strides)
    last = head.final_channels if head.final_kernel else head.channels[-1:]
    return (
        len(head.channels) == len(head.kernel_size) + 1 == len(head.strides) + 1
        and len(head.channels) <= _MOST_LAYERS
        and all(0 < count <= _MOST_CHANNELS for count in counts)
        and 0 <= head.final_kernel <= _MOST_LAYERS
        and last in (outputs, (outputs,))
    )


def check_bounds(card: ModelCard, where: str) -> None:
    """Refuse a card with impossible numbers, or with indices that are out of range.

    Parameters
    ----------
    card
        The card.
    where
        Name of the card in messages.

    Raises
    ------
    ModelError
        Naming the first wrong value.
    """
    keypoints, edges = len(card.skeleton.bodyparts), len(card.edges)
    # Edges join bodyparts of an animal, which are all but the unique ones.
    joined = set(range(keypoints)) - set(card.skeleton.unique_indices)
    rules = {
        "stride": card.stride in _STRIDES,
        "scale": 0.0 < card.scale <= 1.0,
        "refinement_scale": 0.0 < card.refinement_scale < math.inf,
        "head_channels": 0 <= card.head_channels <= 2**16,
        "mean": all(map(math.isfinite, card.mean)),
        "std": all(0.0 < value < math.inf for value in card.std),
        "skeleton.bodyparts": 0 < keypoints <= _MOST_NAMES,
        "individuals": 0 < len(card.individuals) <= _MOST_NAMES
        and len(set(card.individuals)) == len(card.individuals)
        and (UNIQUE_INDIVIDUAL in card.individuals) <= bool(card.skeleton.unique_bodyparts),
        "identities": len(card.identities) <= _MOST_NAMES,
        "edges": all(len({a, b} & joined) == 2 for a, b in card.edges),
        "used_edges": all(0 <= number < edges for number in card.used_edges)
        and len(set(card.used_edges)) == len(card.used_edges),
        "deeplabcut": _fits_outputs(card),
        "detector": card.detector is None or _finds_animals(card),
        "lightning_pose": card.lightning_pose is None or _locates_alone(card),
        "sleap_nn": card.sleap_nn is None or _locates_alone(card),
        "window": card.window is None
        or (0 < card.window <= _LARGEST_WINDOW and card.window % card.padding == 0),
    }
    for name, good in rules.items():
        if not good:
            value: object = card
            for part in name.split("."):
                value = getattr(value, part)
            raise ModelError(f"{where}: `{name}` cannot be {str(value)[:200]}")
    _check_chosen(card, where)


def check_window(window: int, where: str) -> None:
    """Refuse a window that is larger than any network sees.

    Parameters
    ----------
    window
        Side in network px.
    where
        Name of file and setting in messages.

    Raises
    ------
    ModelError
        If it is too large.
    """
    if window > _LARGEST_WINDOW:
        raise ModelError(f"{where}: {window} px: expected at most {_LARGEST_WINDOW}")


def _check_chosen(card: ModelCard, where: str) -> None:
    """Refuse names that are no chosen settings, and values that these cannot have."""
    for name, chosen in card.chosen.items():
        told = f"{where}: `chosen`: {name[:200]!r}"
        if name not in TUNABLE or chosen.value == AUTO:
            raise ModelError(f"{told}: expected a setting that labels decide, and its value")
        *sections, last = name.split(".")
        kind: Any = ResolvedConfig
        for section in sections:
            kind = kind.model_fields[section].annotation
        try:
            settled = kind.model_validate({last: chosen.value})
        except ValidationError as error:
            raise ModelError(
                f"{told} cannot be {str(chosen.value)[:200]!r}: {error.errors()[0]['msg']}"
            ) from None
        if name == _WINDOW:
            check_window(settled.window, told)
