"""Test the evaluation of several animals: matched, missed and false ones, and metrics."""

import math

import numpy as np
import pandas as pd
import pytest

import pipeline_lib.steps.evaluate.run as subject
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import EvaluationSettings
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import LABEL_COLUMNS, METRIC_COLUMNS, PREDICTION_COLUMNS
from pipeline_lib.io.images import write_png
from pipeline_lib.io.labels.table import Labels, write_labels
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.kernels.metrics.average_precision import COCO_THRESHOLDS
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.steps.evaluate.individuals import (
    LabelledIndividuals,
    measure_individuals,
    predict_individuals,
)
from pipeline_lib.steps.evaluate.run import measure_predictions, run_evaluate

NAN = math.nan
SKELETON = Skeleton(bodyparts=("nose", "cage", "tail"), unique_bodyparts=("cage",))
SETTINGS = EvaluationSettings()
NOWHERE = [NAN, NAN]


def animal(x, y=20.0):
    """Return nose and tail of an animal in a box of 20 x 20 px, without the cage."""
    return [[x, y], NOWHERE, [x + 20.0, y + 20.0]]


ABSENT = [NOWHERE] * 3


def cage(x, y):
    return [NOWHERE, [x, y], NOWHERE]


class Says:
    """Simulate a predictor: its results are given image by image."""

    def __init__(self, poses, slots=2, skeleton=SKELETON):
        animals = ("individual1", "individual2", "individual3")
        unique = ("single",) if skeleton.unique_bodyparts else ()
        self.card = ModelCard.model_construct(
            name="pose", skeleton=skeleton, individuals=animals[:slots] + unique
        )
        self._poses = iter(poses)

    def predict(self, frames):
        assert len(frames) == 1
        position = np.array(next(self._poses), np.float32)  # (individual, keypoint, 2)
        assert len(position) == len(self.card.individuals)
        confidence = np.where(np.isfinite(position[..., 0]), 0.9, 0.0)
        return Located(position[None], confidence.astype(np.float32)[None])


@pytest.fixture
def predict(tmp_path):
    """Predict images: labels and predictions as lists of poses by image."""

    def run(labelled, predicted, names=("anna", "ben", "single"), **settings):
        path = tmp_path / "image.png"
        write_png(path, np.zeros((8, 8, 3), np.uint8))
        images = pd.DataFrame(
            {
                "image": [str(path)] * len(labelled),
                "video": "v",
                "frame": range(len(labelled)),
                "split": "test",
            }
        )
        labels = LabelledIndividuals(images, np.array(labelled, float), names)
        says = Says(predicted, len(predicted[0]) - 1 if predicted else 2)
        table = predict_individuals(says, labels, EvaluationSettings(**settings))
        # The images are told apart by their frames here.
        return table.assign(image=table["frame"].astype(str))

    return run


def position_of(table, individual, bodypart):
    rows = table[(table["individual"] == individual) & (table["bodypart"] == bodypart)]
    return rows[["x", "y"]].to_numpy().tolist()


def test_predictions_carry_the_name_of_the_animal_they_are_nearest_to(predict):
    labelled = [[animal(10), animal(60), cage(5, 6)]]
    table = predict(labelled, [[animal(62), animal(11), cage(4, 5)]])
    assert list(table) == list(PREDICTION_COLUMNS)
    order = list(zip(table["individual"], table["bodypart"], strict=True))
    assert order == [
        ("anna", "nose"),
        ("anna", "tail"),
        ("ben", "nose"),
        ("ben", "tail"),
        ("single", "cage"),
    ]
    assert position_of(table, "anna", "nose") == [[11.0, 20.0]]
    assert position_of(table, "ben", "tail") == [[82.0, 40.0]]
    assert position_of(table, "single", "cage") == [[4.0, 5.0]]
    assert table["label_x"].tolist() == [10.0, 30.0, 60.0, 80.0, 5.0]
    assert table["label_y"].tolist() == [20.0, 40.0, 20.0, 40.0, 6.0]
    assert table["confidence"].tolist() == [pytest.approx(0.9)] * 5
    assert set(table["split"]) == {"test"}


def test_the_missed_have_no_position_and_the_false_no_label(predict):
    labelled = [[animal(10), animal(60), cage(5, 6)]]
    table = predict(labelled, [[animal(900), ABSENT, animal(10), cage(5, 6)]])
    assert table["individual"].tolist() == ["anna"] * 2 + ["ben"] * 2 + ["single"] + ["false1"] * 2
    missed = table[table["individual"] == "ben"]
    assert missed[["x", "y", "confidence"]].isna().all(axis=None)
    assert missed["label_x"].tolist() == [60.0, 80.0]
    false = table[table["individual"] == "false1"]
    assert false["x"].tolist() == [900.0, 920.0]
    assert false[["label_x", "label_y"]].isna().all(axis=None)


def test_the_similarity_limit_of_matches_is_a_setting(predict):
    # Box 20 x 20 px, sigma 0.1: OKS of 5 px is exp(-25 / (2 * 400 * 0.04)) = 0.458.
    labelled = [[animal(10), ABSENT, ABSENT]]
    for least, name in ((0.45, "anna"), (0.46, "false1")):
        table = predict(labelled, [[animal(15), ABSENT]], match_oks=least)
        assert position_of(table, name, "nose") == [[15.0, 20.0]]


def test_an_animal_with_one_labelled_keypoint_is_matched_by_the_size_of_the_others(predict):
    part = [[10.0, 20.0], NOWHERE, NOWHERE]
    table = predict(
        [[part, ABSENT, ABSENT], [animal(10), ABSENT, ABSENT]],
        [[animal(12), ABSENT], [animal(10), ABSENT]],
    )
    assert position_of(table, "anna", "nose") == [[12.0, 20.0], [10.0, 20.0]]
    assert "false1" not in set(table["individual"])
    found = measure_individuals(table, SETTINGS)
    assert found["oks_mar"] == pytest.approx((10 + 8) / 20)  # 0.88 as below


def test_animals_of_one_bodypart_are_matched_by_distance(tmp_path):
    path = tmp_path / "image.png"
    write_png(path, np.zeros((8, 8, 3), np.uint8))
    images = pd.DataFrame({"image": [str(path)], "video": "v", "frame": 0, "split": "test"})
    labelled = np.array([[[[10.0, 10.0]], [[50.0, 50.0]]]])
    skeleton = Skeleton(bodyparts=("centre",))
    for away, found in ((10.0, ["anna", "ben"]), (10.1, ["anna", "ben", "false1"])):
        says = Says([[[[50.0, 50.0]], [[10.0 + away, 10.0]]]], skeleton=skeleton)
        labels = LabelledIndividuals(images, labelled, ("anna", "ben"))
        table = predict_individuals(says, labels, SETTINGS)
        assert table["individual"].tolist() == found
        assert table.loc[1, ["x", "y"]].tolist() == [50.0, 50.0]
    assert math.isnan(measure_individuals(table, SETTINGS)["oks_map"])


def test_an_image_without_animals_keeps_its_rows(predict):
    table = predict([[ABSENT] * 3], [[ABSENT] * 3])
    assert table["individual"].tolist() == ["anna", "anna", "ben", "ben", "single"]
    assert table[["x", "y", "label_x"]].isna().all(axis=None)


def test_labels_without_the_unique_individual(predict):
    table = predict([[animal(10)]], [[animal(10), cage(5, 6)]], names=("anna",))
    assert position_of(table, "single", "cage") == [[5.0, 6.0]]
    assert table.loc[table["individual"] == "single", "label_x"].isna().all()


def test_no_images(predict):
    table = predict(np.empty((0, 3, 3, 2)), [])
    assert list(table) == list(PREDICTION_COLUMNS)
    assert table.empty
    assert list(measure_predictions(table, SKELETON.bodyparts, SETTINGS)) == []


def test_whole_animals_are_counted_and_measured_by_hand(predict):
    table = predict(
        [[animal(10), animal(60), cage(5, 6)], [animal(10), ABSENT, cage(5, 6)]],
        [[animal(10), animal(900), cage(90, 90)], [animal(10), ABSENT, cage(5, 6)]],
    )
    found = measure_individuals(table, SETTINGS)
    # Three animals; two are found perfectly, one is missed, one prediction is false. All scores
    # are equal: right, false, right. Recall 1/3 with precision 1, 2/3 with precision 2/3.
    assert found["oks_mar"] == pytest.approx(2 / 3)
    assert found["oks_map"] == pytest.approx((34 * 1.0 + 33 * 2 / 3) / 101)
    assert (found["individuals_missed"], found["individuals_false"]) == (1.0, 1.0)
    # Both bodyparts of the missed animal; the unique one does not count.
    assert found["keypoints_missed"] == 2.0


def test_a_prediction_with_fewer_bodyparts_is_less_certain(predict):
    half = [[900.0, 900.0], NOWHERE, NOWHERE]
    table = predict([[animal(10), ABSENT, ABSENT]], [[half, animal(10), ABSENT]])
    # The false one has half the score of the right one.
    assert measure_individuals(table, SETTINGS)["oks_map"] == pytest.approx(1.0)


def test_images_without_labels_have_no_matches(predict):
    found = measure_individuals(predict([[ABSENT] * 3], [[animal(10), ABSENT]]), SETTINGS)
    assert math.isnan(found["oks_map"])
    assert math.isnan(found["oks_mar"])
    assert (found["individuals_missed"], found["individuals_false"]) == (0.0, 1.0)
    empty = pd.DataFrame(columns=list(PREDICTION_COLUMNS))
    assert measure_individuals(empty, SETTINGS)["individuals_false"] == 0.0


def test_default_thresholds_are_those_of_coco():
    assert pytest.approx(COCO_THRESHOLDS) == SETTINGS.oks_thresholds


def test_points_of_missed_animals_count_as_wrong_but_have_no_error(predict):
    table = predict(
        [[animal(10), animal(60), cage(5, 6)]], [[animal(13), animal(900), cage(5, 10)]]
    )
    rows = measure_predictions(table, SKELETON.bodyparts, SETTINGS)
    found = {(row["bodypart"], row["metric"]): row["value"] for row in rows}
    assert found["nose", "points"] == 2.0
    assert found["nose", "detected"] == 0.5
    assert found["nose", "mean_error"] == 3.0
    assert found["nose", "pck@5"] == 0.5
    assert found["cage", "mean_error"] == 4.0
    assert found["all", "points"] == 5.0
    assert found["all", "mean_error"] == pytest.approx((3 + 3 + 4) / 3)
    assert found["all", "rmse"] == pytest.approx(math.sqrt((9 + 9 + 16) / 3))


def label_table(folder, labelled, splits):
    """Write images and return labels of SKELETON; one list of poses per image."""
    rows = []
    for number, (poses, split) in enumerate(zip(labelled, splits, strict=True)):
        path = folder / f"img{number}.png"
        folder.mkdir(parents=True, exist_ok=True)
        write_png(path, np.zeros((100, 120, 3), np.uint8))
        shared = {"video": "v", "frame": number, "source": "s", "split": split, "image": str(path)}
        for name, pose in zip(("anna", "ben", "single"), poses, strict=True):
            parts = [1] if name == "single" else [0, 2]
            rows += [
                shared
                | {
                    "individual": name,
                    "bodypart": SKELETON.bodyparts[part],
                    "x": pose[part][0],
                    "y": pose[part][1],
                    "visible": bool(np.isfinite(pose[part][0])),
                }
                for part in parts
            ]
    table = pd.DataFrame(rows, columns=list(LABEL_COLUMNS))
    return Labels(table, SKELETON.bodyparts, ("anna", "ben"), SKELETON)


def test_the_step_publishes_predictions_and_metrics_of_each_split(tmp_path, monkeypatch):
    results = Results(tmp_path / "results")
    labelled = [
        [animal(10), animal(60), cage(5, 6)],
        [ABSENT, animal(60), cage(5, 6)],
    ]
    write_labels(results.labels, label_table(tmp_path / "images", labelled, ["train", "test"]))
    predictor = Says(
        [
            [animal(60), animal(10), cage(5, 6)],
            [animal(62), animal(10), cage(5, 6)],
        ]
    )
    monkeypatch.setattr(subject, "load_pose_predictor", lambda *_: predictor)
    monkeypatch.setattr(subject, "list_networks", lambda *_: {})
    monkeypatch.setattr(subject, "hash_networks", lambda *_: {".": "0" * 64})
    config = parse_config({"cohort": "cohort.tsv", "individuals": {"max": 2}})
    run_evaluate(config, results)
    table = pd.read_parquet(results.predictions("pose"))
    assert len(table) == 2 * 5 + 2
    assert table.groupby("split").size().to_dict() == {"train": 5, "test": 7}
    values = {
        (row["split"], row["metric"]): float(row["value"])
        for row in read_table(results.metrics("pose"), METRIC_COLUMNS)
        if row["bodypart"] == "all"
    }
    assert values["train", "oks_map"] == pytest.approx(1.0)
    assert values["train", "mean_error"] == 0.0
    assert values["train", "individuals_false"] == 0.0
    assert values["test", "mean_error"] == pytest.approx((2 + 2 + 0) / 3)
    # exp(-4 / (2 * 400 * 0.04)) = 0.88: right at 8 of the 10 thresholds.
    assert values["test", "oks_mar"] == pytest.approx(0.8)
    assert values["test", "individuals_false"] == 1.0
    assert values["test", "individuals_missed"] == 0.0
