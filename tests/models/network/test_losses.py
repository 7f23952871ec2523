"""Test losses computed by hand; unlabelled keypoints have no weight."""

import math

import pytest
import torch

from pipeline_lib.models.network.losses import (
    identity_loss,
    location_refinement_loss,
    part_affinity_loss,
    score_map_loss,
)


def test_score_map_loss_by_hand():
    """Check that the cross entropy is ln 2 at logit 0, and ln(1 + e^-l) at logit l and target 1."""
    logit = torch.zeros(1, 2, 2, 2)
    target = torch.zeros(1, 2, 2, 2)
    present = torch.tensor([[True, True]])
    assert score_map_loss(logit, target, present).item() == pytest.approx(math.log(2))
    logit[0, 1], target[0, 1] = 3.0, 1.0
    expected = (math.log(2) + math.log1p(math.exp(-3))) / 2
    assert score_map_loss(logit, target, present).item() == pytest.approx(expected)
    # Soft targets: t·ln(1 + e^-l) + (1 - t)·ln(1 + e^l).
    target[0, 1] = 0.25
    soft = 0.25 * math.log1p(math.exp(-3)) + 0.75 * math.log1p(math.exp(3))
    assert score_map_loss(logit, target, present).item() == pytest.approx((math.log(2) + soft) / 2)


def test_score_map_loss_is_the_mean_over_labelled_keypoints_of_all_images():
    logit = torch.zeros(2, 2, 2, 2)
    logit[1] = 5.0
    present = torch.tensor([[True, True], [False, True]])
    expected = (2 * math.log(2) + math.log1p(math.exp(5))) / 3
    loss = score_map_loss(logit, torch.zeros(2, 2, 2, 2), present)
    assert loss.item() == pytest.approx(expected)


def test_missing_keypoints_have_no_gradient():
    torch.manual_seed(0)
    logit = torch.randn(2, 3, 4, 4, requires_grad=True)
    present = torch.tensor([[True, False, True], [False, False, True]])
    loss = score_map_loss(logit, torch.rand(2, 3, 4, 4), present)
    loss.backward()
    assert (logit.grad[~present] == 0.0).all()
    assert (logit.grad[present] != 0.0).all()
    other = logit.detach().clone()
    other[~present] = 100.0
    again = score_map_loss(other, torch.rand(2, 3, 4, 4), present)
    assert torch.isfinite(again)


def test_nothing_labelled_costs_nothing():
    logit = torch.randn(1, 2, 3, 3, requires_grad=True)
    loss = score_map_loss(logit, torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0.0
    assert not logit.grad.any()


def test_location_refinement_loss_by_hand():
    """Average the Huber loss, e²/2 below 1, |e| - 1/2 above, over both axes of the drawn cells."""
    offset, target = torch.zeros(1, 1, 2, 1, 3), torch.zeros(1, 1, 2, 1, 3)
    mask = torch.tensor([[[[1.0, 1.0, 0.0]]]])
    target[0, 0, 0, 0] = torch.tensor([0.5, 3.0, 50.0])
    target[0, 0, 1, 0] = torch.tensor([0.0, -2.0, 50.0])
    expected = (0.125 + 0.0 + 2.5 + 1.5) / 4
    assert location_refinement_loss(offset, target, mask).item() == pytest.approx(expected)


def test_cells_without_an_offset_have_no_gradient():
    torch.manual_seed(0)
    offset = torch.randn(2, 3, 2, 4, 4, requires_grad=True)
    mask = (torch.rand(2, 3, 4, 4) < 0.3).float()
    location_refinement_loss(offset, torch.randn(2, 3, 2, 4, 4), mask).backward()
    drawn = mask.bool()[:, :, None].expand_as(offset)
    assert (offset.grad[~drawn] == 0.0).all()
    assert (offset.grad[drawn] != 0.0).all()


def test_no_offset_drawn_costs_nothing():
    offset = torch.randn(1, 2, 2, 3, 3, requires_grad=True)
    loss = location_refinement_loss(offset, torch.zeros(1, 2, 2, 3, 3), torch.zeros(1, 2, 3, 3))
    loss.backward()
    assert loss.item() == 0.0
    assert not offset.grad.any()


def test_part_affinity_counts_cells_of_the_edge_and_little_elsewhere():
    """Use one cell with an edge, Huber of 0.5 in x, and one without, 1 in y at a twentieth."""
    field = torch.zeros(1, 1, 2, 1, 2)
    field[0, 0, :, 0, 0] = torch.tensor([0.5, 0.0])
    field[0, 0, :, 0, 1] = torch.tensor([0.0, 1.0])
    target = torch.zeros(1, 1, 2, 1, 2)
    target[0, 0, 0, 0, 0] = 1.0
    mask = torch.tensor([[[[True, False]]]])
    expected = (0.125 + 0.05 * 0.5) / 2
    assert part_affinity_loss(field, target, mask).item() == pytest.approx(expected)
    nothing = torch.zeros_like(mask)
    assert part_affinity_loss(field, target, nothing).item() == 0.0


def test_identity_is_asked_where_somebody_is():
    """Use logits 0, 0, a half each: log 2 in cells of an individual, nothing elsewhere."""
    logit = torch.zeros(1, 2, 1, 3)
    logit[0, 0, 0, 2] = 100.0
    target = torch.zeros(1, 2, 1, 3)
    target[0, 1, 0, 0] = 1.0
    assert identity_loss(logit, target).item() == pytest.approx(0.6931472)
    assert identity_loss(logit, torch.zeros_like(target)).item() == 0.0
