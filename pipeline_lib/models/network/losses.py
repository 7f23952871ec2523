"""Compute the losses of the maps; keypoints without a label have weight 0."""

import torch
from torch import Tensor
from torch.nn import functional

# Weight of the many cells that no edge passes, where the field should be 0.
_EMPTY_WEIGHT = 0.05


def score_map_loss(logit: Tensor, target: Tensor, present: Tensor) -> Tensor:
    """Return the binary cross entropy of score maps over labelled keypoints.

    Parameters
    ----------
    logit, target
        Shape (batch, keypoint, rows, columns), float; targets in 0..1.
    present
        Shape (batch, keypoint), bool; False if the bodypart was not labelled.

    Returns
    -------
    Tensor
        Mean over the cells of labelled keypoints; 0 if there are none.
    """
    cells = functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
    weight = present.to(cells.dtype)
    return (cells.mean(dim=(-2, -1)) * weight).sum() / weight.sum().clamp(min=1.0)


def score_map_entropy(target: Tensor, present: Tensor) -> Tensor:
    """Return the least `score_map_loss` that maps can have: that of the targets themselves.

    Parameters
    ----------
    target, present
        As for `score_map_loss`.
    """
    cells: Tensor = torch.special.entr(target) + torch.special.entr(1.0 - target)
    weight = present.to(cells.dtype)
    return (cells.mean(dim=(-2, -1)) * weight).sum() / weight.sum().clamp(min=1.0)


def location_refinement_loss(offset: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the Huber loss of offsets over the cells that have a target.

    Parameters
    ----------
    offset, target
        Shape (batch, keypoint, 2, rows, columns), float, in units of the refinement scale.
    mask
        Shape (batch, keypoint, rows, columns), bool; True where the target has an offset.

    Returns
    -------
    Tensor
        Mean over x and y of the cells in the mask; 0 if there are none.
    """
    cells = functional.smooth_l1_loss(offset, target, reduction="none").sum(dim=2)
    return (cells * mask).sum() / (2.0 * mask.sum()).clamp(min=1.0)


def part_affinity_loss(field: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the Huber loss of part affinity fields; cells off the edges have a low weight.

    Parameters
    ----------
    field, target
        Shape (batch, edge, 2, rows, columns), float, unit vectors along the edge.
    mask
        Shape (batch, edge, rows, columns), bool; True where the target has a vector.

    Returns
    -------
    Tensor
        Weighted sum over all cells, divided by the number of cells in the mask; 0 if there are
        none.
    """
    cells = functional.smooth_l1_loss(field, target, reduction="none").sum(dim=2)
    weight = torch.where(mask, 1.0, _EMPTY_WEIGHT).to(cells.dtype)
    has_edge = mask.any()
    return (cells * weight).sum() * has_edge / (2.0 * mask.sum()).clamp(min=1.0)


def identity_loss(logit: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy of identity maps over the cells that belong to one individual.

    Parameters
    ----------
    logit, target
        Shape (batch, identity, rows, columns), float; targets are 0 or 1, all 0 in cells that
        belong to no individual.

    Returns
    -------
    Tensor
        Mean over the cells that belong to an individual; 0 if there are none.
    """
    cells = -(functional.log_softmax(logit, dim=1) * target).sum(dim=1)
    return cells.sum() / target.sum().clamp(min=1.0)
