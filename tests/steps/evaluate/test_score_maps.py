"""The score maps that are kept for the report: which samples, which values, or why none."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.tables import PREDICTION_COLUMNS
from pipeline_lib.io.labels.image_paths import resolve_images
from pipeline_lib.io.targets.score_maps import PredictedMaps, read_score_maps, write_score_maps
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.models.training.run import build_network
from pipeline_lib.steps.evaluate.run import run_evaluate
from pipeline_lib.steps.evaluate.score_maps import MOST_SAMPLES, rank_samples
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.train import run_train
from tests.models.synthetic import BODYPARTS, tiny_config, write_tiny_labels

NAN = math.nan


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    results = Results(tmp_path_factory.mktemp("evaluated"))
    config = tiny_config(epochs=1)
    write_tiny_labels(results, train=4, test=6)
    run_make_targets(config, results)
    run_train(config, results)
    run_evaluate(config, results)
    return config, results


def test_the_maps_are_those_of_the_network_on_the_worst_test_frames(evaluated):
    config, results = evaluated
    maps, store = read_score_maps(results.score_maps("pose")), TargetStore(results.targets)
    assert (maps.target_key, maps.reason) == (store.key, "")
    assert len(maps.sample) == MOST_SAMPLES
    table = resolve_images(pd.read_parquet(results.predictions("pose")), results.root)
    test = table[table["split"] == "test"]
    error = np.hypot(test["x"] - test["label_x"], test["y"] - test["label_y"])
    means = error.groupby(test["image"]).mean().sort_values(ascending=False)
    shown = [str(results.root / store.samples[number].image) for number in maps.sample]
    assert shown == list(means.index[:MOST_SAMPLES])
    np.testing.assert_allclose(maps.error, means[:MOST_SAMPLES], rtol=1e-6)

    network = build_network(config.training, 8, len(BODYPARTS))
    network.load_state_dict(torch.load(results.model("pose").weights, weights_only=True))
    image = np.stack([store.read("image", int(number)) for number in maps.sample])
    with torch.no_grad():
        frames = torch.from_numpy(image).permute(0, 3, 1, 2) / 255.0
        score = torch.sigmoid(network.eval()(frames)[0]).numpy()
    np.testing.assert_allclose(maps.score, score, atol=0.5 / 255 + 1e-4)


def test_evaluating_again_gives_the_same_file(evaluated):
    config, results = evaluated
    before = results.score_maps("pose").read_bytes()
    run_evaluate(config, results)
    assert results.score_maps("pose").read_bytes() == before


def link_all(root, results):
    """Return a results folder with links to all that another has."""
    copy = Results(root)
    root.mkdir()
    for path in results.root.iterdir():
        if path.name != "evaluation":
            (root / path.name).symlink_to(path)
    return copy


def test_targets_that_were_removed_cost_no_evaluation(evaluated, tmp_path):
    config, results = evaluated
    copy = link_all(tmp_path / "copy", results)
    (copy.root / "targets").unlink()
    run_evaluate(config, copy)
    assert copy.metrics("pose").exists()
    maps = read_score_maps(copy.score_maps("pose"))
    assert not len(maps.sample)
    assert "no target store" in maps.reason
    assert str(tmp_path) not in maps.reason


def test_targets_of_another_network_are_not_compared(evaluated, tmp_path):
    config, results = evaluated
    copy = link_all(tmp_path / "copy", results)
    (copy.root / "targets").unlink()
    other = config.model_copy(update={"targets": config.targets.model_copy(update={"stride": 4})})
    run_make_targets(other, copy)
    run_evaluate(config, copy)
    assert "not that of this network" in read_score_maps(copy.score_maps("pose")).reason


def test_without_a_test_split_the_file_says_so(tmp_path):
    results = Results(tmp_path)
    config = tiny_config(epochs=1)
    write_tiny_labels(results, test=0)
    run_make_targets(config, results)
    run_train(config, results)
    run_evaluate(config, results)
    assert "held out for testing" in read_score_maps(results.score_maps("pose")).reason


def test_samples_by_their_errors(evaluated):
    """Unlabelled points do not count, those not found count as the worst of all."""
    _, results = evaluated
    store = TargetStore(results.targets)
    numbers = store.of_split("test")
    away = {
        0: ((3.0, 4.0), (0.0, 0.0)),  # 2.5 px
        1: ((6.0, 8.0), (None, None)),  # 10 px; the other is not labelled
        2: ((NAN, NAN), (0.0, 1.0)),  # not found: 10 px, and 1 px
        3: ((None, None), (None, None)),
    }
    rows = []
    for index, ways in away.items():
        image = str(results.root / store.samples[numbers[index]].image)
        for part, (x, y) in zip(("a", "b"), ways, strict=True):
            label = (NAN, NAN) if x is None else (20.0, 30.0)
            point = (1.0, 1.0) if x is None else (20.0 + x, 30.0 + y)
            rows.append((image, "v", 0, "test", "animal", part, *point, 0.5, *label))
    # A worse frame that was trained on.
    trained = str(results.root / store.samples[store.of_split("train")[0]].image)
    rows.append((trained, "v", 0, "train", "animal", "a", 99.0, 0.0, 0.5, 0.0, 0.0))
    ranked = rank_samples(store, pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS)), results)
    assert ranked == [(numbers[1], 10.0), (numbers[2], 5.5), (numbers[0], 2.5)]


def make_maps(**changed):
    score = np.linspace(0, 1, 2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    values = {"sample": np.array([4, 2]), "error": np.array([9.5, 1.25]), "score": score}
    return PredictedMaps("key", **{**values, **changed})


def test_the_file_holds_what_was_written(tmp_path):
    path = tmp_path / "maps.npz"
    write_score_maps(path, make_maps())
    maps = read_score_maps(path)
    assert (maps.target_key, maps.sample.tolist(), maps.error.tolist()) == (
        "key",
        [4, 2],
        [9.5, 1.25],
    )
    np.testing.assert_allclose(maps.score, make_maps().score, atol=0.51 / 255)
    write_score_maps(path, PredictedMaps.empty("because"))
    assert read_score_maps(path).reason == "because"


@pytest.mark.parametrize("damage", ["cut", "text", "missing", "lengths", "shape", "pickle"])
def test_a_damaged_file_is_a_store_error(damage, tmp_path):
    path = tmp_path / "maps.npz"
    if damage == "lengths":
        write_score_maps(path, make_maps(error=np.array([1.0])))
    elif damage == "shape":
        write_score_maps(path, make_maps(score=np.zeros((2, 3), np.float32)))
    elif damage == "pickle":
        with path.open("wb") as file:
            np.savez(file, sample=np.array([print], dtype=object))
    elif damage != "missing":
        write_score_maps(path, make_maps())
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"no archive")
    with pytest.raises(StoreError, match="no file of score maps"):
        read_score_maps(path)


def test_an_archive_that_unpacks_to_too_much_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "maps.npz"
    write_score_maps(path, make_maps())
    monkeypatch.setattr("pipeline_lib.io.targets.score_maps._MOST_BYTES", 500)
    with pytest.raises(StoreError, match="bytes unpacked, at most 500"):
        read_score_maps(path)
