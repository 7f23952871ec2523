"""Test cross-validation: pooling of folds, and which folds run again."""

import math
import subprocess

import pandas as pd
import pytest

from benchmarks.accuracy import cross_validation as validation
from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.tables import PREDICTION_COLUMNS
from pipeline_lib.io.publish import publish_text

NAN = float("nan")


def make_predictions(tested, errors):
    """Return predictions of images a to c; `errors` are px along x by image, for two bodyparts."""
    rows = []
    for image, pair in errors.items():
        split = "test" if image in tested else "train"
        for bodypart, error in zip(("nose", "tail"), pair, strict=True):
            label = (NAN, NAN) if math.isnan(error) else (10.0, 20.0)
            x = 10.0 if math.isnan(error) else 10.0 + error
            rows.append((image, "m", 0, split, "animal", bodypart, x, 20.0, 0.9, *label))
    return pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS))


ERRORS = {"a": (3.0, 4.0), "b": (0.0, NAN), "c": (5.0, 12.0)}


def test_measures_of_known_distances():
    measured = validation.measure(make_predictions("abc", ERRORS))
    # Distances 3, 4, 0, 5, 12; squares sum to 194.
    assert measured == {
        "frames": 3,
        "points": 5,
        "mean_error": pytest.approx(24 / 5),
        "rmse": pytest.approx(math.sqrt(194 / 5)),
        "median_error": 4.0,
        "pck@5": pytest.approx(4 / 5),
    }


def test_pooling_weighs_points_and_takes_tests_only():
    folds = {
        0: make_predictions("a", ERRORS | {"c": (99.0, 99.0)}),
        1: make_predictions("bc", ERRORS | {"a": (99.0, 99.0)}),
    }
    pooled = validation.pool_tests(folds, 2)
    measured = validation.measure(pooled)
    # Not the mean of the folds' 3.5 and 17 / 3.
    assert measured["mean_error"] == pytest.approx(24 / 5)
    assert measured["points"] == 5


def test_pooling_refuses_a_frame_tested_twice():
    folds = {0: make_predictions("ab", ERRORS), 1: make_predictions("bc", ERRORS)}
    with pytest.raises(StoreError, match="b was tested in more than one fold"):
        validation.pool_tests(folds, 3)


def test_pooling_refuses_a_frame_never_tested_once_all_folds_are_there():
    folds = {0: make_predictions("a", ERRORS), 1: make_predictions("b", ERRORS)}
    assert len(validation.pool_tests(folds, 3)) == 4
    with pytest.raises(StoreError, match="c was tested in no fold"):
        validation.pool_tests(folds, 2)


def test_markdown_has_one_line_per_row_and_rounds():
    row = {"fold": "0", **validation.measure(make_predictions("abc", ERRORS))}
    text = validation.format_markdown([row | {"training_seconds": 61.6}])
    assert text.splitlines()[2] == "| 0 | 3 | 5 | 4.80 | 6.23 | 4.00 | 0.800 | 62 |"
    assert len({line.count("|") for line in text.splitlines()}) == 1


@pytest.fixture
def fold(tmp_path):
    return validation.Fold(0, tmp_path / "fold-0", "cohort: cohort.tsv\n")


@pytest.fixture
def commands(monkeypatch):
    """Collect verbs instead of running them; `evaluate` leaves metrics."""
    ran = []

    def run(command, *, cwd, check):  # noqa: ARG001
        verb = command[3]
        ran.append(verb)
        if verb == "evaluate":
            publish_text(Results(cwd / "results").metrics("pose"), "bodypart\n")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(validation.subprocess, "run", run)
    return ran


VERBS = ["import-labels", "make-targets", "train", "evaluate"]


def test_finished_fold_is_not_run_again(fold, commands):
    validation.run_fold(fold, "video\tpath\n")
    assert commands == VERBS
    validation.run_fold(fold, "video\tpath\n")
    assert commands == VERBS


def test_each_member_of_an_ensemble_is_trained(fold, commands):
    ensemble = validation.Fold(0, fold.folder, fold.config + "training:\n  ensemble: 3\n")
    validation.run_fold(ensemble, "video\tpath\n")
    assert commands == ["import-labels", "make-targets", *["train"] * 3, "evaluate"]


def test_fold_of_another_config_is_run_again(fold, commands, monkeypatch):
    validation.run_fold(fold, "video\tpath\n")
    changed = validation.Fold(0, fold.folder, fold.config + "training:\n  epochs: 3\n")
    assert not changed.is_finished()

    def fail(command, *, cwd, check):  # noqa: ARG001
        return subprocess.CompletedProcess(command, 1)

    with monkeypatch.context() as patch:
        patch.setattr(validation.subprocess, "run", fail)
        with pytest.raises(CohortposeError, match="fold-0: import-labels failed"):
            validation.run_fold(changed, "video\tpath\n")
    # The old metrics do not make the new config look finished.
    assert not changed.is_finished()
    validation.run_fold(changed, "video\tpath\n")
    assert commands == VERBS * 2


def test_config_of_a_fold_changes_with_the_version_of_a_step(tmp_path, monkeypatch):
    division = validation.Division(validation.PROJECTS["openfield"], tmp_path, "block", 5)
    before = division.plan_fold(tmp_path, 2)
    assert before.folder == tmp_path / "fold-2"
    monkeypatch.setattr(validation.versions, "TRAIN", validation.versions.TRAIN + 1)
    assert division.plan_fold(tmp_path, 2).config != before.config


def test_only_names_folds_that_exist(capsys):
    given = validation.parse_arguments(["openfield", "out", "--folds", "3", "--only", "0,2"])
    assert given.only == {0, 2}
    assert validation.parse_arguments(["openfield", "out", "--folds", "3"]).only == {0, 1, 2}
    with pytest.raises(SystemExit):
        validation.parse_arguments(["openfield", "out", "--folds", "3", "--only", "3"])
    assert "folds 0 to 2" in capsys.readouterr().err


def test_settings_of_the_command_line_are_nested():
    settings = ("targets.scale=0.5", "training.head_context=pool", "targets.stride=4")
    options = [part for one in settings for part in ("--set", one)]
    given = validation.parse_arguments(["openfield", "d", *options])
    assert given.changes == {
        "targets": {"scale": 0.5, "stride": 4},
        "training": {"head_context": "pool"},
    }
