"""Test the evaluation: metrics of a table made by hand, and images of every size."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pipeline_lib.steps.evaluate.run as subject
from pipeline_lib.core.errors import LabelError, ModelError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import EvaluationSettings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import METRIC_COLUMNS, PREDICTION_COLUMNS
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels.image_paths import resolve_images
from pipeline_lib.io.labels.table import write_labels
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.predictor import Predictor
from pipeline_lib.steps.evaluate.run import measure_predictions, run_evaluate
from tests.models.synthetic import BODYPARTS, draw_points, label_images, tiny_config

NAN = math.nan
SETTINGS = EvaluationSettings(pcutoff=0.6, pck_thresholds=(5.0, 12.5))


def make_table(*rows):
    """Return one row: bodypart, split, offset from the label (NaN: unlabelled), confidence."""
    return pd.DataFrame(
        [
            ("i", "v", 0, split, "animal", bodypart, 100 + dx, 50 + dy, confidence, 100.0, 50.0)
            if np.isfinite(dx)
            else ("i", "v", 0, split, "animal", bodypart, 7.0, 7.0, confidence, NAN, NAN)
            for bodypart, split, dx, dy, confidence in rows
        ],
        columns=list(PREDICTION_COLUMNS),
    )


def measure(table, bodyparts=("nose", "tail")):
    rows = list(measure_predictions(table, bodyparts, SETTINGS))
    found = {(row["bodypart"], row["split"], row["metric"]): row["value"] for row in rows}
    assert len(found) == len(rows)
    return found


def test_metrics_by_hand():
    found = measure(
        make_table(
            ("nose", "test", 3.0, 4.0, 0.6),  # 5 px, found at exactly the cutoff
            ("nose", "test", 0.0, -12.0, 0.59),  # 12 px, rejected
            ("nose", "test", NAN, NAN, 0.9),  # not labelled
            ("tail", "test", -5.0, 12.0, 0.9),  # 13 px
        )
    )
    values = {metric: value for (part, _, metric), value in found.items() if part == "nose"}
    assert values == {
        "points": 2.0,
        "detected": 0.5,
        "mean_error": 8.5,
        "median_error": 8.5,
        "rmse": pytest.approx(math.sqrt((25 + 144) / 2)),
        "mean_error (pcutoff)": 5.0,
        "median_error (pcutoff)": 5.0,
        "rmse (pcutoff)": 5.0,
        "pck@5": 0.5,
        "pck@5 (pcutoff)": 0.5,
        "pck@12.5": 1.0,
        "pck@12.5 (pcutoff)": 0.5,
    }
    # All bodyparts together are the mean over points, not over bodyparts.
    assert found["all", "test", "mean_error"] == pytest.approx((5 + 12 + 13) / 3)
    assert found["all", "test", "points"] == 3.0
    assert found["tail", "test", "pck@12.5"] == 0.0


def test_splits_are_measured_apart_and_empty_ones_left_out():
    found = measure(make_table(("nose", "train", 3.0, 4.0, 0.9), ("nose", "test", 6.0, 8.0, 0.9)))
    assert found["nose", "train", "mean_error"] == 5.0
    assert found["nose", "test", "mean_error"] == 10.0
    assert {split for _, split, _ in found} == {"train", "test"}
    assert {bodypart for bodypart, _, _ in found} == {"all", "nose"}


def test_a_bodypart_that_is_nowhere_labelled_has_no_error():
    found = measure(make_table(("nose", "test", NAN, NAN, 0.9)), ("nose",))
    assert found["nose", "test", "points"] == 0.0
    for metric in ("mean_error", "rmse", "detected", "pck@5"):
        assert math.isnan(found["nose", "test", metric])


class ReadsTheRed:
    """Simulate a network: every bodypart is at the centre of the red disc."""

    name = "red"

    def locate(self, frames):
        position = []
        for frame in frames.astype(int):
            red = (frame[..., 0] > 200) & (frame[..., 1] < 50)
            rows, columns = np.nonzero(red)
            position.append([[columns.mean(), rows.mean()]] * len(BODYPARTS))
        shape = (len(frames), 1, len(BODYPARTS))
        return Located(np.array(position, np.float32)[:, None], np.full(shape, 0.75, np.float32))


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Write three images of different sizes, and a model that finds the red disc."""
    results = Results(tmp_path / "results")
    sizes = [(64, 96), (50, 70), (97, 40)]
    points = np.stack([draw_points(1, size, seed)[0] for seed, size in enumerate(sizes)])
    points = np.round(points)
    points[:, 1:] = np.nan
    labels = label_images(results.root / "images", points, sizes, ["train", "test", "train"])
    write_labels(results.labels, labels)
    card = ModelCard.model_construct(
        name="pose", scale=1.0, stride=8, skeleton=Skeleton(bodyparts=BODYPARTS)
    )
    predictor = Predictor(card, ReadsTheRed())
    monkeypatch.setattr(subject, "load_pose_predictor", lambda *_, **__: predictor)
    monkeypatch.setattr(subject, "list_networks", lambda *_: {})
    monkeypatch.setattr(subject, "hash_networks", lambda *_: {".": "0" * 64})
    return results


def test_images_of_every_size_are_predicted(results):
    run_evaluate(tiny_config(), results)
    stored = pd.read_parquet(results.predictions("pose"))
    assert list(stored) == [*PREDICTION_COLUMNS, "image_base"]
    assert set(stored["image_base"]) == {"."}
    assert not any(Path(image).is_absolute() for image in stored["image"])
    table = resolve_images(stored, results.root)
    assert len(table) == 3 * len(BODYPARTS)
    red = table[table["bodypart"] == "red"]
    np.testing.assert_allclose(red[["x", "y"]], red[["label_x", "label_y"]], atol=1e-3)
    assert red["split"].tolist() == ["train", "test", "train"]
    assert table.loc[table["bodypart"] != "red", "label_x"].isna().all()
    assert (table["confidence"] == 0.75).all()
    for image in table["image"].unique():
        assert read_image(Path(image)).shape[2] == 3
    metrics = read_table(results.metrics("pose"), METRIC_COLUMNS)
    errors = {
        row["split"]: float(row["value"])
        for row in metrics
        if (row["bodypart"], row["metric"]) == ("all", "mean_error")
    }
    assert errors == {"train": pytest.approx(0, abs=1e-3), "test": pytest.approx(0, abs=1e-3)}


def test_evaluating_twice_gives_the_same_files(results):
    run_evaluate(tiny_config(), results)
    first = results.predictions("pose").read_bytes(), results.metrics("pose").read_bytes()
    run_evaluate(tiny_config(), results)
    assert (results.predictions("pose").read_bytes(), results.metrics("pose").read_bytes()) == first


def test_an_image_that_cannot_be_read_costs_no_earlier_result(results, monkeypatch):
    run_evaluate(tiny_config(), results)
    files = results.predictions("pose"), results.metrics("pose")
    first = [file.read_bytes() for file in files]
    images = sorted((results.root / "images").glob("*.png"))
    images[0].unlink()
    images[2].write_bytes(images[2].read_bytes()[:-20])
    monkeypatch.setattr(subject, "load_pose_predictor", lambda *_, **__: pytest.fail("too late"))
    with pytest.raises(LabelError) as error:
        run_evaluate(tiny_config(), results)
    gone, cut = error.value.problems
    assert gone == f"{images[0]}: no such image"
    assert cut == f"{images[2]}: is cut short: its end is missing; copy or write it again"
    assert [file.read_bytes() for file in files] == first


def test_a_model_of_other_bodyparts_is_refused(results, monkeypatch):
    card = ModelCard.model_construct(name="pose", skeleton=Skeleton(bodyparts=("nose",)))
    predictor = Predictor(card, ReadsTheRed())
    monkeypatch.setattr(subject, "load_pose_predictor", lambda *_, **__: predictor)
    monkeypatch.setattr(subject, "list_networks", lambda *_: {})
    monkeypatch.setattr(subject, "hash_networks", lambda *_: {".": "0" * 64})
    with pytest.raises(ModelError, match="locates nose; the labels have red, green, blue: run tr"):
        run_evaluate(tiny_config(), results)


def test_without_labels_it_says_what_to_run(tmp_path):
    with pytest.raises(StoreError, match="run `cohortpose import-labels`"):
        run_evaluate(tiny_config(), Results(tmp_path))
