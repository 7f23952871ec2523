"""Losses of the maps; keypoints without a label weigh nothing."""

from torch import Tensor
from torch.nn import functional


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
