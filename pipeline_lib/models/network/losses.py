"""Losses of the maps; keypoints without a label weigh nothing."""

import torch
from torch import Tensor
from torch.nn import functional

# Weight of a cell that no edge passes, where the field is to be 0: there are many of them.
_EMPTY_WEIGHT = 0.05


def score_map_loss(logit: Tensor, target: Tensor, present: Tensor) -> Tensor:
    """Return the binary cross entropy of score maps, over labelled keypoints.

    Parameters
    ----------
    logit, target
        Shape (batch, keypoint, rows, columns); targets in 0..1.
    present
        Shape (batch, keypoint), bool: False where the bodypart was not labelled.

    Returns
    -------
    Tensor
        Mean over the cells of labelled keypoints; 0 if there is none.
    """
    cells = functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
    weight = present.to(cells.dtype)
    return (cells.mean(dim=(-2, -1)) * weight).sum() / weight.sum().clamp(min=1.0)


def location_refinement_loss(offset: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the Huber loss of offsets where one was drawn.

    Parameters
    ----------
    offset, target
        Shape (batch, keypoint, 2, rows, columns), in units of the refinement scale.
    mask
        Shape (batch, keypoint, rows, columns), bool: where the target has an offset.

    Returns
    -------
    Tensor
        Mean over both axes of the cells of the mask; 0 if there is none.
    """
    cells = functional.smooth_l1_loss(offset, target, reduction="none").sum(dim=2)
    return (cells * mask).sum() / (2.0 * mask.sum()).clamp(min=1.0)


def part_affinity_loss(field: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the Huber loss of part affinity fields, along edges and, little, elsewhere.

    Parameters
    ----------
    field, target
        Shape (batch, edge, 2, rows, columns).
    mask
        Shape (batch, edge, rows, columns), bool: where the target has a vector.

    Returns
    -------
    Tensor
        Sum over all cells, weighed, per cell of the mask; 0 if there is none.
    """
    cells = functional.smooth_l1_loss(field, target, reduction="none").sum(dim=2)
    weight = torch.where(mask, 1.0, _EMPTY_WEIGHT).to(cells.dtype)
    has_edge = mask.any()
    return (cells * weight).sum() * has_edge / (2.0 * mask.sum()).clamp(min=1.0)


def identity_loss(logit: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy of whose bodypart a cell shows, where it is one individual's.

    Parameters
    ----------
    logit, target
        Shape (batch, identity, rows, columns); targets 0 or 1, all 0 where nobody is.

    Returns
    -------
    Tensor
        Mean over the cells of somebody; 0 if there is none.
    """
    cells = -(functional.log_softmax(logit, dim=1) * target).sum(dim=1)
    return cells.sum() / target.sum().clamp(min=1.0)
