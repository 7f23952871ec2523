"""Test the panel of iterations: which networks are compared, and on which points."""

import math

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import LABEL_COLUMNS, METRIC_COLUMNS, PREDICTION_COLUMNS
from pipeline_lib.io.labels.image_paths import shorten_images
from pipeline_lib.io.labels.table import Labels, write_labels
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.models.card import ModelCard, TrainingRecord, format_card
from pipeline_lib.steps.report.labelling.iterations import compare_iterations
from pipeline_lib.steps.report.page import write_report
from tests.steps.report.report_pages import EVIL, make_cohort

BODYPARTS = ("nose", "tail")


def write_network(results, name, iteration, *, start=None, train=8, error=4.0, shift=3.0):
    """Write card, metrics and predictions of a network that is off by `shift` in x."""
    files = results.model(name)
    files.folder.mkdir(parents=True)
    card = ModelCard(
        name=name,
        key="k",
        backbone="b",
        head_channels=8,
        parameters=1,
        stride=8,
        scale=1.0,
        refinement_scale=7.0,
        skeleton=Skeleton(bodyparts=BODYPARTS),
        mean=(0.5, 0.5, 0.5),
        std=(0.1, 0.2, 0.3),
        network_sha256="s",
        training=TrainingRecord(
            epochs=1,
            steps=2,
            seconds=0.1,
            seed=0,
            frames={"train": train, "validation": 1, "test": 2},
            checkpoint="c",
            iteration=iteration,
            start_from=start,
            settings={},
        ),
        versions={},
    )
    files.card.write_text(format_card(card))
    row = {"bodypart": "all", "split": "test", "metric": "mean_error", "value": error}
    write_table(results.metrics(name), METRIC_COLUMNS, [row])
    rows = [
        (
            *(str(results.root / f"{frame}.png"), "v", frame, split, "animal", bodypart),
            *(10.0 + shift * (number + 1), 20.0, 0.9, 10.0, 20.0),
        )
        for frame, split in ((1, "test"), (2, "train"), (3, "test"))
        for number, bodypart in enumerate(BODYPARTS)
    ]
    table = pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS))
    results.predictions(name).parent.mkdir(parents=True, exist_ok=True)
    shorten_images(table, results.root).to_parquet(results.predictions(name))


def write_round_labels(results):
    rows = [
        {
            "video": video,
            "frame": frame,
            "individual": "animal",
            "bodypart": bodypart,
            # The label of frame 3 was corrected since the first network was evaluated.
            "x": 11.0 if frame == 3 else 10.0,
            "y": 20.0,
            "visible": True,
            "source": "s",
            "split": split,
            "image": str(results.root / f"{frame}.png"),
            "iteration": iteration,
            "visibility": "visible",
        }
        for video, frame, split, iteration in (
            ("v", 1, "test", 0),
            ("v", 2, "train", 0),
            ("v", 3, "test", 0),
            (EVIL, 4, "train", 1),
            ("v", 5, "unused", 1),
            ("v", 12, "train", 1),
        )
        for bodypart in BODYPARTS
    ]
    labels = Labels(pd.DataFrame(rows, columns=list(LABEL_COLUMNS)), BODYPARTS)
    write_labels(results.labels, labels)


@pytest.fixture
def cohort(tmp_path):
    training = {"name": "pose-1", "iteration": 1}
    config, results = make_cohort(tmp_path, ["v"], training=training)
    write_network(results, "pose", 0)
    return config, results


def test_one_iteration_is_not_compared(cohort):
    config, results = cohort
    assert compare_iterations(config, results) is None
    write_network(results, "pose-b", 0)
    named = config.model_copy(
        update={"training": config.training.model_copy(update={"name": "pose-b"})}
    )
    assert compare_iterations(named, results) is None


def test_errors_are_compared_on_the_same_points_against_the_present_labels(cohort):
    config, results = cohort
    write_network(results, "pose-1", 1, start="pose", train=20, error=2.5, shift=1.0)
    write_round_labels(results)
    iterations = compare_iterations(config, results)
    assert [(one.name, one.labels, one.mean) for one in iterations.networks] == [
        ("pose", 9, 4.0),
        ("pose-1", 21, 2.5),
    ]
    assert math.isnan(iterations.networks[0].median)
    marks = iterations.chart.drawings[0].marks
    assert marks[0].x < marks[1].x
    assert marks[0].y < marks[1].y  # downwards in the drawing
    assert iterations.before == "pose"
    # Errors of nose 3 and 2, of tail 6 and 5; now 1 and 0, 2 and 1.
    assert [(one.bodypart, one.points, one.before, one.now) for one in iterations.changes] == [
        ("all", 4, 4.0, 1.0),
        ("nose", 2, 2.5, 0.5),
        ("tail", 2, 5.5, 1.5),
    ]
    assert iterations.added == [("v", 2, "5, 12"), (EVIL, 1, "4")]
    assert iterations.unused == 1


def test_without_a_start_the_last_network_of_an_earlier_iteration_is_compared(cohort):
    config, results = cohort
    write_network(results, "pose-1", 1)
    write_network(results, "other", 1)
    write_network(results, "later", 2)
    write_round_labels(results)
    assert compare_iterations(config, results).before == "pose"
    changed = config.training.model_copy(update={"name": "later"})
    later = compare_iterations(config.model_copy(update={"training": changed}), results)
    assert later.before == "pose-1"
    assert np.isfinite([one.now for one in later.changes]).all()


def test_a_damaged_network_is_left_out_of_the_comparison(cohort):
    config, results = cohort
    write_network(results, "pose-1", 1, start="pose")
    results.predictions("pose").write_bytes(b"no parquet")
    results.metrics("pose").write_text("nothing")
    results.model("broken").folder.mkdir()
    results.model("broken").card.write_text("{}")
    assert compare_iterations(config, results).added == ()
    write_round_labels(results)
    iterations = compare_iterations(config, results)
    assert iterations.changes == []
    assert math.isnan(iterations.networks[0].mean)


def test_the_page_shows_iterations_and_runs_nothing_that_a_name_holds(cohort):
    config, results = cohort
    write_network(results, "pose-1", 1, start="pose", shift=1.0)
    write_round_labels(results)
    write_report(config, results)
    page = results.report.read_text()
    assert "What the labels of iteration 1 changed" in page
    assert "Error against number of labels" in page
    assert "1 of them are beside test frames" in page
    assert EVIL not in page
