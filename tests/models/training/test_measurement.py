"""Learning curves of the test split: right numbers, and a training that does not notice."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import TrainingSettings
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.kernels.maps.score_maps import decode_peaks
from pipeline_lib.models.training.measurement import CurveMeasurement, spread_evenly
from pipeline_lib.models.training.run import build_network
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.train import run_train
from tests.models.synthetic import BODYPARTS, tiny_config, write_tiny_labels

MEASURED = (
    "test_loss",
    "test_error",
    "test_median_error",
    "train_unaugmented_loss",
    "train_error",
    "train_median_error",
)


def read_history(results):
    table = pd.read_csv(results.model("pose").history, sep="\t")
    return {name: rows.set_index("epoch")["value"] for name, rows in table.groupby("metric")}


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    """A training on frames of 70 px at 0.45: 32 of 70 px, which is not quite 0.45."""
    results = Results(tmp_path_factory.mktemp("scaled"))
    config = tiny_config(epochs=2)
    config = config.model_copy(
        update={"targets": config.targets.model_copy(update={"scale": 0.45})}
    )
    write_tiny_labels(results, train=20, test=3, side=70)
    run_make_targets(config, results)
    run_train(config, results)
    return config, results


def draw_by_hand(config, results, numbers):
    """Return logits and offsets (network px) of the trained network for stored samples."""
    network = build_network(config.training, 8, len(BODYPARTS))
    network.load_state_dict(torch.load(results.model("pose").weights, weights_only=True))
    store = TargetStore(results.targets)
    image = np.stack([store.read("image", number) for number in numbers])
    with torch.no_grad():
        frames = torch.from_numpy(image).permute(0, 3, 1, 2) / 255.0
        score, offset = network.eval()(frames)
    return score.double().numpy(), offset.double().numpy()


@pytest.mark.parametrize(
    ("split", "loss"), [("test", "test_loss"), ("train", "train_unaugmented_loss")]
)
def test_loss_and_error_by_hand(split, loss, scaled):
    config, results = scaled
    store = TargetStore(results.targets)
    numbers = store.of_split(split)
    if split == "train":
        numbers = [numbers[index] for index in spread_evenly(20, 8)]
    score, offset = draw_by_hand(config, results, numbers)
    scale = config.targets.location_refinement_scale
    stored = {
        name: np.stack([store.read(name, number) for number in numbers]).astype(float)
        for name in ("score_map", "location_refinement", "refinement_mask", "keypoint")
    }
    labelled = np.isfinite(stored["keypoint"][:, 0]).all(-1)
    assert labelled.sum() == labelled.size - (split == "train")

    position, _ = decode_peaks(1 / (1 + np.exp(-score)), offset * scale, 8)
    way = (position - stored["keypoint"][:, 0]) * (70 / 32)
    distance = np.linalg.norm(way, axis=-1)[labelled]
    history = read_history(results)
    assert history[f"{split}_error"][1] == pytest.approx(distance.mean(), rel=1e-4)
    assert history[f"{split}_median_error"][1] == pytest.approx(np.median(distance), rel=1e-4)

    target = stored["score_map"]
    cells = np.logaddexp(0, score) - score * target
    whole = cells.mean((-2, -1))[labelled].mean()
    away = np.abs(offset - stored["location_refinement"])
    huber = np.where(away < 1, 0.5 * away**2, away - 0.5).sum(2)
    mask = stored["refinement_mask"]
    whole += config.training.location_refinement_weight * (huber * mask).sum() / (2 * mask.sum())
    assert history[loss][1] == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize(
    ("epochs", "every", "expected"),
    [
        (7, 3, [2, 5, 6]),
        (6, 3, [2, 5]),
        (2, 10, [1]),
        (4, None, [0, 1, 2, 3]),
        (12, None, list(range(12))),
        (50, None, list(range(4, 50, 5))),
        (200, None, [*range(16, 200, 17), 199]),
        (5, 0, []),
    ],
)
def test_measured_now_and_then_and_at_the_end(epochs, every, expected, scaled):
    settings = TrainingSettings(epochs=epochs, measure_every=every)
    measurement = CurveMeasurement(scaled[1].targets, settings)
    assert [epoch for epoch in range(epochs) if measurement.is_due(epoch + 1)] == expected


def test_without_a_test_split_nothing_is_measured(tmp_path):
    results = Results(tmp_path)
    write_tiny_labels(results, test=0)
    run_make_targets(tiny_config(), results)
    run_train(tiny_config(epochs=1), results)
    assert not set(MEASURED) & set(read_history(results))


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"crop": 32},
        {"validation_fraction": 0.3, "checkpoint": "best"},
        {"backbone": "resnet18", "head_channels": 4},
    ],
)
def test_the_network_is_the_same_with_measurements_and_without(training, tmp_path):
    """To the bit, as are losses, validation and the choice of a checkpoint."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    store = Results(tmp_path / "made")
    write_tiny_labels(store, validation=2, test=3)
    run_make_targets(tiny_config(), store)
    histories, weights = [], []
    for every in (1, 0):
        results = Results(tmp_path / str(every))
        results.targets.parent.mkdir(parents=True)
        results.targets.symlink_to(store.targets)
        run_train(tiny_config(epochs=3, measure_every=every, **training), results)
        histories.append(read_history(results))
        weights.append(torch.load(results.model("pose").weights, weights_only=True))
    torch.set_num_threads(threads)
    assert set(histories[0]) - set(histories[1]) == set(MEASURED)
    for name, values in histories[1].items():
        assert values.tolist() == histories[0][name].tolist(), name
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_frames_of_a_pass_have_no_more_pixels_than_a_training_batch(scaled):
    """Or a training on crops that fits into memory would not when whole frames are measured."""
    measurement = CurveMeasurement(scaled[1].targets, TrainingSettings(crop=32))
    assert (measurement._layout.height, measurement._layout.width) == (32, 32)
    assert measurement._count_per_pass(8) == 8
    large = CurveMeasurement(scaled[1].targets, TrainingSettings(crop=32))
    large._layout = type("Layout", (), {"height": 64, "width": 64, "window": None})
    assert [large._count_per_pass(size) for size in (1, 3, 4, 8)] == [1, 1, 1, 2]


@given(count=st.integers(1, 200), most=st.integers(1, 80))
def test_spread_numbers_rise_and_are_no_more_than_there_are(count, most):
    numbers = spread_evenly(count, most)
    assert len(numbers) == min(count, most)
    assert numbers == sorted(set(numbers))
    assert 0 <= numbers[0] <= numbers[-1] < count
    steps = np.diff([*numbers, count])
    assert steps.max() - steps.min() <= 1 or math.isclose(count, most)
