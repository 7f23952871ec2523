"""Test metrics computed by hand."""

import numpy as np
import pytest

import pipeline_lib

NAN = np.nan


def test_a_label_without_a_prediction_counts_as_wrong_and_has_no_distance():
    labelled = np.zeros((4, 1, 2))
    predicted = np.array([[[3.0, 4.0]], [[NAN, NAN]], [[0.0, 0.0]], [[6.0, 8.0]]])
    row = pipeline_lib.compute_metrics(predicted, labelled, pck_thresholds=(5, 10)).loc["all"]
    assert row["points"] == 4
    assert row["detected"] == 0.75
    assert row["mean_error"] == 5.0
    assert row["median_error"] == 5.0
    assert row["rmse"] == pytest.approx(np.sqrt((25 + 0 + 100) / 3))
    assert row["pck@5"] == 0.5
    assert row["pck@10"] == 0.75


def test_nothing_is_labelled():
    row = pipeline_lib.compute_metrics(np.zeros((2, 3, 2)), np.full((2, 3, 2), NAN)).loc["all"]
    assert row["points"] == 0
    assert row.drop("points").isna().all()


def test_several_individuals_are_taken_in_order():
    labelled = np.zeros((2, 3, 4, 2))
    predicted = labelled + np.array([1.0, 0.0])
    table = pipeline_lib.compute_metrics(predicted, labelled, keypoints=list("abcd"))
    assert table.index.tolist() == ["all", "a", "b", "c", "d"]
    assert table["points"].tolist() == [24, 6, 6, 6, 6]
    assert (table["mean_error"] == 1.0).all()


@pytest.mark.parametrize(
    ("predicted", "labelled"), [((2, 3, 2), (3, 3, 2)), ((2, 2), (2, 3)), ((2,), (2,))]
)
def test_shapes_that_do_not_fit(predicted, labelled):
    with pytest.raises(ValueError, match="one shape"):
        pipeline_lib.compute_metrics(np.zeros(predicted), np.zeros(labelled))


def test_names_that_do_not_fit():
    with pytest.raises(ValueError, match="expected 3 names of keypoints, found 2"):
        pipeline_lib.compute_metrics(np.zeros((2, 3, 2)), np.zeros((2, 3, 2)), keypoints=["a", "b"])


def test_a_keypoint_named_all():
    table = pipeline_lib.compute_metrics(np.ones((2, 1, 2)), np.zeros((2, 1, 2)), keypoints=["all"])
    assert len(table) == 2
