"""Test the training module: schedule, decay, validation."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as lightning
import torch
from torch import nn
from torch.utils.data import DataLoader

from pipeline_lib.core.settings.network import TargetSettings, TrainingSettings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.kernels.maps.score_maps import map_shape
from pipeline_lib.models.training.module import PoseTraining, _Measured, warm_up_then_cosine
from pipeline_lib.models.training.samples.data import FILLER, Batch
from pipeline_lib.models.training.samples.targets import TargetPlan, encode_targets

NAN = float("nan")
TARGETS = TargetSettings(scale=0.5, sigma=5.0)


def test_the_learning_rate_by_hand():
    factors = [warm_up_then_cosine(step, 4, 12) for step in range(13)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == 1.0
    assert factors[8] == pytest.approx(0.5)
    assert factors[6] == pytest.approx(0.5 + math.sqrt(0.125))
    assert factors[12] == pytest.approx(0.0)
    assert all(a >= b for a, b in itertools.pairwise(factors[3:]))
    # Never negative, never up again, when more steps come than were planned.
    assert warm_up_then_cosine(20, 4, 12) == pytest.approx(0.0)
    assert warm_up_then_cosine(1, 1, 1) == pytest.approx(1.0)


class FixedNetwork(nn.Module):
    """Return one bodypart at (27.5, 11.5) network px for every image."""

    def __init__(self, certainty=9.0):
        super().__init__()
        self.certainty = certainty
        self.outputs = ("score", "offset")
        self.stages = 1
        self.factor = nn.Parameter(torch.ones(2, 2))
        self.bias = nn.Parameter(torch.zeros(2))

    def draw(self, image):
        return self(image), None

    def forward(self, image):
        rows, columns = image.shape[2] // 8, image.shape[3] // 8
        score = torch.full((len(image), 1, rows, columns), -9.0)
        score[:, :, 1, 3] = self.certainty
        return score * self.factor[0, 0], torch.zeros(len(image), 1, 2, rows, columns)


def make_module(**training):
    settings = TrainingSettings(**training)
    return PoseTraining(FixedNetwork(), TARGETS, settings, Skeleton(bodyparts=("a",)))


def make_batch(points):
    """Return one image per point."""
    keypoint = torch.tensor(points, dtype=torch.float32)[:, None, None]
    maps = encode_targets(keypoint, map_shape(32, 64, 8), TARGETS)
    count = len(points)
    image = torch.zeros(count, 32, 64, 3, dtype=torch.uint8)
    return Batch(image, keypoint, torch.arange(count), maps)


def validate(batches):
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False
    )
    loader = DataLoader(batches, batch_size=None)
    (metrics,) = trainer.validate(make_module(), loader, verbose=False)
    return metrics


def test_validation_measures_in_pixels_of_the_frame():
    """Use 3-4-5 triangles at half size: 5 network px are 10 px. Unlabelled points do not count."""
    near, far, missing = (24.5, 7.5), (21.5, 3.5), (NAN, NAN)
    metrics = validate([make_batch([near, far, missing])])
    assert metrics["validation_error"] == pytest.approx((10 + 20) / 2)


def test_every_point_weighs_the_same():
    """Check that a batch without labels adds nothing, and that batches count by their labels."""
    batches = [
        make_batch([(24.5, 7.5), (24.5, 7.5), (24.5, 7.5)]),
        make_batch([(NAN, NAN)]),
        make_batch([(21.5, 3.5), (NAN, NAN)]),
    ]
    assert validate(batches)["validation_error"] == pytest.approx((3 * 10 + 20) / 4)


@pytest.mark.parametrize("certainty", [9.0, -5.0])
def test_the_closest_of_the_best_peaks_counts_for_several_animals(certainty):
    """Count even a very low peak, since a network that finds nothing would have no error."""
    module = PoseTraining(
        FixedNetwork(certainty),
        TARGETS,
        TrainingSettings(),
        Skeleton(bodyparts=("a",)),
        TargetPlan(animals=2),
    )
    keypoint = torch.tensor([[[[27.5, 11.5]], [[27.5, 41.5]]], [[[24.5, 7.5]], [[NAN, NAN]]]])
    score, offset = module.network(torch.zeros(2, 3, 32, 64))
    nothing = torch.zeros(0)
    measured = _Measured(nothing, nothing, torch.sigmoid(score), offset)
    distance = module._measure_distance(measured, keypoint)
    assert distance[:, :, 0].nan_to_num(-1.0).tolist() == [[0.0, 30.0], [5.0, -1.0]]


def test_decay_spares_biases_and_norms(monkeypatch):
    module = make_module(weight_decay=0.3, learning_rate=0.01)
    trainer = SimpleNamespace(max_epochs=5, datamodule=SimpleNamespace(steps_per_epoch=2))
    monkeypatch.setattr(PoseTraining, "trainer", trainer)
    optimizer = module.configure_optimizers()["optimizer"]
    decay = {
        id(parameter): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert decay[id(module.network.factor)] == 0.3
    assert decay[id(module.network.bias)] == 0.0


def test_crops_are_taken_around_a_labelled_keypoint():
    module = make_module(crop=32)
    points = torch.tensor([[[[10.0, 20.0], [NAN, NAN]]], [[[NAN, NAN], [NAN, NAN]]]])
    batch = Batch(torch.zeros(2, 64, 96, 3), points, torch.arange(2), None)
    streams = [np.random.default_rng(n) for n in range(2)]
    anchors = module._choose_anchors(batch, streams)
    assert anchors.tolist() == [[10.0, 20.0], [47.5, 31.5]]
    assert module._training_size(batch.image) == (32, 32)
    whole = make_module()
    assert whole._choose_anchors(batch, streams).tolist() == [[47.5, 31.5]] * 2
    assert whole._training_size(batch.image) == (64, 96)
    # A crop larger than the image is the image.
    assert make_module(crop=256)._training_size(batch.image) == (64, 96)


def make_windows(window, **training):
    settings = TrainingSettings(**training)
    skeleton = Skeleton(bodyparts=("a", "b"))
    return PoseTraining(FixedNetwork(), TARGETS, settings, skeleton, TargetPlan(window=window))


def test_windows_are_taken_around_the_middle_of_the_sample():
    """Anchor windows at their middle; all keypoints of an animal count, but not of a filler."""
    module = make_windows(32)
    points = torch.tensor([[[[10.0, 20.0], [NAN, NAN]]]])
    batch = Batch(torch.zeros(1, 64, 64, 3), points, torch.arange(1), None)
    streams = [np.random.default_rng(0)]
    assert module._choose_anchors(batch, streams).tolist() == [[31.5, 31.5]]
    assert module._training_size(batch.image) == (32, 32)
    assert module._find_present(batch).tolist() == [[True, True]]
    filler = batch._replace(sample=torch.tensor([FILLER]))
    assert module._find_present(filler).tolist() == [[False, False]]
    # The one animal of a whole image may have bodyparts that nobody labelled.
    assert make_module()._find_present(batch).tolist() == [[True, False]]


def test_a_bodypart_that_is_not_to_be_seen_has_an_empty_map():
    """Only where somebody said so does its map count; a mirror exchanges it with its partner."""
    module = make_windows(None, augmentation={"mirror": True})
    points = torch.tensor([[[[10.0, 20.0], [NAN, NAN]]]] * 8)
    absent = torch.tensor([[False, True]] * 7 + [[False, False]])
    batch = Batch(torch.zeros(8, 64, 64, 3), points, torch.arange(8), None, absent)
    assert module._find_present(batch).tolist() == [[True, True]] * 7 + [[True, False]]
    module._mirrored_order = (1, 0)
    changed, _, maps = module._augment(batch)
    seen = torch.isfinite(changed.keypoint[:, 0, :, 0])
    assert {tuple(row) for row in seen.tolist()} == {(True, False), (False, True)}
    assert torch.equal(changed.absent[:7], ~seen[:7])
    assert not changed.absent[7].any()
    assert maps.score[:7][~seen[:7]].abs().max() == 0
    # Where there may be several animals, nothing changes.
    several = make_windows(32)
    assert several._find_present(batch).all()


STILL = {"rotation": 0.0, "scale": [1.0, 1.0], "translation": 0.0}


@pytest.mark.parametrize("score_map", ["gaussian", "plateau"])
@pytest.mark.parametrize(
    "plan", [TargetPlan(), TargetPlan(window=32), TargetPlan(2, ((0, 1),), identities=2)]
)
def test_stored_maps_are_read_if_augmentation_moves_no_keypoint(plan, score_map, monkeypatch):
    """And they are what would be drawn, to the digits of half precision that the store has."""
    side, window = 96, plan.window
    points = torch.tensor([[[50.0, 40.5], [47.9, 61.0]], [[33.3, 60.1], [NAN, NAN]]])[:, None]
    if plan.animals == 2:
        points = torch.cat([points, points.flip(3) + 9.25], dim=1)
    settings = TrainingSettings(augmentation=STILL)
    targets = TARGETS.model_copy(update={"score_map": score_map})
    skeleton = Skeleton(bodyparts=("a", "b"))
    module = PoseTraining(FixedNetwork(), targets, settings, skeleton, plan)
    monkeypatch.setattr(PoseTraining, "current_epoch", 3)
    noise = np.random.default_rng(0).integers(0, 255, (2, side, side, 3))
    drawn = encode_targets(points, map_shape(side, side, 8), targets, plan)
    halved = [
        one if one is None or one.dtype == torch.bool else one.half().float() for one in drawn
    ]
    batch = Batch(
        torch.from_numpy(noise.astype(np.uint8)), points, torch.arange(2), type(drawn)(*halved)
    )
    changed, image, maps = module._augment(batch._replace(maps=None))
    keypoint = changed.keypoint
    monkeypatch.setattr(
        "pipeline_lib.models.training.module.encode_targets", lambda *_: pytest.fail("drawn")
    )
    read_batch, read_image, read_maps = module._augment(batch)
    read_keypoint = read_batch.keypoint
    assert image.shape[2:] == (window or side,) * 2
    # Changes of appearance are the same as well.
    torch.testing.assert_close(read_image, image, atol=1e-4, rtol=0)
    torch.testing.assert_close(read_keypoint, keypoint, equal_nan=True, atol=1e-4, rtol=0)
    for name, one, other in zip(maps._fields, read_maps, maps, strict=True):
        if other is not None:
            torch.testing.assert_close(one, other, atol=2e-3, rtol=0, msg=name)
    assert read_maps.mask.any()
    assert (read_maps.affinity is not None and read_maps.affinity_mask.any()) == bool(plan.edges)


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        ({}, False),
        ({"brightness": 0.5, "blur": 1.0}, False),
        ({"rotation": 0.1}, True),
        ({"scale": [1.0, 1.1]}, True),
        ({"scale": [0.9, 1.0]}, True),
        ({"translation": 0.01}, True),
        ({"mirror": True}, True),
    ],
)
def test_what_moves_keypoints(change, moves):
    settings = TrainingSettings(augmentation={**STILL, **change})
    assert settings.augmentation.moves_keypoints is moves
