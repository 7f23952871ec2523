import math
from itertools import combinations

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.steps.report.accuracy import (
    chart_history,
    compare_bodyparts,
    measure_errors,
    order_splits,
    tabulate_metrics,
)
from pipeline_lib.steps.report.charts import (
    Axes,
    Curve,
    Scale,
    colour_bodyparts,
    colour_individuals,
    draw_bars,
    draw_chart,
    format_fixed,
    format_number,
    join_points,
    linear_ticks,
    logarithmic_ticks,
)
from pipeline_lib.steps.report.inputs import ReportInputs
from pipeline_lib.steps.report.samples import Keypoint, choose_images, crop_box

NAN = math.nan


def make_inputs(metrics):
    empty = pd.DataFrame()
    return ReportInputs(metrics, {}, empty, {}, {}, "")


def make_keypoint(x, y, label_x=NAN, label_y=NAN):
    return Keypoint("snout", x, y, label_x, label_y, 0.9, NAN)


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0.0, 10.0, 5, [0, 2, 4, 6, 8, 10]),
        (0.0, 3.45, 5, [0, 1, 2, 3]),
        (0.0, 1.0, 5, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (95.0, 205.0, 5, [100, 150, 200]),
    ],
)
def test_linear_ticks_are_round(low, high, count, expected):
    assert linear_ticks(low, high, count) == expected


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_linear_ticks_lie_within_and_are_not_crowded(low, span):
    ticks = linear_ticks(low, low + span, 5)
    assert len(ticks) <= 6
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in ticks)


def test_logarithmic_ticks_are_finer_over_few_decades():
    assert logarithmic_ticks(0.9, 21.0) == [1, 2, 5, 10, 20]
    assert logarithmic_ticks(1e-4, 10.0) == [1e-4, 1e-3, 1e-2, 0.1, 1, 10]


def test_scales_map_ends_to_ends_and_keep_outliers_inside():
    linear = Scale(0.0, 10.0, 100.0, 200.0)
    assert [linear(value) for value in (0, 2.5, 10, 99, -1)] == [100, 125, 200, 200, 100]
    logarithmic = Scale(0.1, 10.0, 200.0, 0.0, logarithmic=True)
    assert [logarithmic(value) for value in (0.1, 1, 10)] == [200, 100, 0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3.14159, "3.14"),
        (2.0, "2"),
        (0.10, "0.1"),
        (146698, "146\u202f698"),
        (99.96, "100"),
        (1234.5, "1\u202f234"),
        (NAN, "–"),  # noqa: RUF001
        (None, "–"),  # noqa: RUF001
    ],
)
def test_numbers_are_written_for_people(value, expected):
    assert format_number(value) == expected


def test_fixed_numbers_keep_their_zeros():
    assert (format_fixed(20.0), format_fixed(3.4, 2)) == ("20.0", "3.40")
    assert format_fixed(NAN) == format_number(None)


def test_a_path_breaks_where_a_point_is_missing():
    assert join_points([(0, 1), (2, 3), (NAN, NAN), (4, 5), (6, 7)]) == "M0 1L2 3M4 5L6 7"


def test_a_chart_of_nothing_is_none():
    assert draw_chart("", [Curve("a", [])], Axes("x", "y")) is None
    assert draw_chart("", [Curve("a", [(1, 0.0)])], Axes("x", "y", logarithmic=True)) is None


def test_a_constant_curve_has_an_axis():
    chart = draw_chart("", [Curve("a", [(1.0, 2.0), (2.0, 2.0)])], Axes("epoch", "px"))
    assert [tick.label for tick in chart.y_ticks] == ["0", "0.5", "1", "1.5", "2"]
    assert chart.drawings[0].marks[0].tip == "a: px 2 at epoch 1"


@given(st.integers(1, 60))
def test_bodyparts_have_distinct_colours(number):
    parts = [f"part{index}" for index in range(number)]
    colours = colour_bodyparts(parts)
    assert list(colours) == parts
    assert len(set(colours.values())) == number


def test_bars_are_relative_to_the_highest():
    assert draw_bars(np.array([0, 2, 4, 1])) == [(0, 0), (0.25, 0.5), (0.5, 1), (0.75, 0.25)]
    assert draw_bars(np.array([0, 0])) == [(0, 0), (0.5, 0)]


def test_metric_tables_put_test_and_all_first_and_gated_forms_beside():
    metrics = {
        (part, split, name): value
        for split, value in (("train", 1.0), ("test", 2.0))
        for part in ("snout", "all")
        for name in ("mean_error", "pck@5", "mean_error (pcutoff)")
    }
    first, second = tabulate_metrics(make_inputs(metrics), ["snout"])
    assert (first.split, second.split) == ("test", "train")
    assert [column.title for column in first.columns] == [
        "Mean error",
        "Mean error ≥ pcutoff",
        "PCK 5 px",
    ]
    assert [column.unit for column in first.columns] == ["px", "px", "%"]
    assert first.rows == [("all", [2.0, 2.0, 2.0]), ("snout", [2.0, 2.0, 2.0])]


def test_bodyparts_are_compared_by_test_error_over_the_largest():
    metrics = {
        ("snout", "test", "mean_error"): 2.0,
        ("snout", "train", "mean_error"): 8.0,
        ("tail", "test", "mean_error"): 4.0,
        ("tail", "test", "mean_error (pcutoff)"): NAN,
        ("all", "test", "mean_error"): 3.0,
    }
    rows = compare_bodyparts(make_inputs(metrics), ["snout", "tail", "unknown"])
    assert [row["bodypart"] for row in rows] == ["tail", "snout"]
    assert rows[0]["errors"] == {"test": 4.0}
    assert rows[1]["shares"] == {"test": 0.25, "train": 1.0}


def test_unlabelled_points_have_no_error():
    table = pd.DataFrame(
        {"x": [3.0, 1.0], "y": [4.0, 1.0], "label_x": [0.0, NAN], "label_y": [0.0, NAN]}
    )
    assert measure_errors(table)["error"].dropna().tolist() == [5.0]
    assert measure_errors(table)["error"].isna().tolist() == [False, True]


def test_splits_are_ordered_by_what_counts():
    assert order_splits({"train", "extra", "test"}) == ["test", "train", "extra"]


def test_learning_curves_are_drawn_by_family():
    history = {
        "train_loss": [(1.0, 1.0), (2.0, 0.01)],
        "validation_loss": [(1.0, 1.0)],
        "validation_error": [(1.0, 9.0)],
        "learning_rate": [(1.0, 1e-3), (2.0, 1e-7)],
    }
    charts = chart_history(history)
    assert [chart.title for chart in charts] == ["Loss", "Error", "Learning rate"]
    names = [drawing.name for drawing in charts[0].drawings]
    assert names == ["training, augmented", "validation"]
    assert [drawing.tone for drawing in charts[0].drawings] == [2, 3]
    # Two decades of loss are shown on a logarithmic axis, the schedule on a linear one.
    assert [tick.label for tick in charts[0].y_ticks][::3] == ["0.01", "0.1", "1"]
    assert charts[2].y_ticks[0].label == "0"


def test_parts_of_a_loss_are_told_apart():
    names = ("train_loss", "train_score_map_loss", "train_part_affinity_loss", "validation_loss")
    whole, parts = chart_history({name: [(1.0, 1.0), (2.0, 0.5)] for name in names})
    assert [drawing.tone for drawing in whole.drawings] == [2, 3]
    assert [drawing.tone for drawing in parts.drawings] == [3, 4]
    assert [drawing.name for drawing in parts.drawings] == [
        "train score map loss",
        "train part affinity loss",
    ]


def test_test_curves_are_beside_those_of_training():
    names = ("train_error", "test_error", "test_median_error", "test_loss", "train_loss")
    loss, error = chart_history({name: [(1.0, 1.0), (2.0, 0.5)] for name in names})
    assert (loss.title, error.title) == (
        "Loss: training against test",
        "Error: training against test",
    )
    assert {drawing.name: drawing.tone for drawing in loss.drawings} == {
        "test": 1,
        "training, augmented": 2,
    }
    assert [drawing.name for drawing in error.drawings] == [
        "test, mean",
        "test, median",
        "training, mean",
    ]
    assert (error.x_label, error.y_label) == ("epoch", "px")


def test_the_choice_of_images_follows_the_seed_and_starts_with_the_worst():
    errors = pd.DataFrame(
        {
            "split": ["train"] * 5 + ["test"] * 5,
            "image": [f"{index}.png" for index in range(10)],
            "error": [50.0, 1, 1, 1, 1, 2, 2, 9, 2, 2],
        }
    )
    images, worst = choose_images(errors, 6, seed=0)
    assert (images[0], worst) == ("7.png", "7.png")
    assert set(images[:5]) == {"5.png", "6.png", "7.png", "8.png", "9.png"}
    assert images == choose_images(errors, 6, seed=0)[0]
    assert len({tuple(choose_images(errors, 6, seed=seed)[0]) for seed in range(20)}) > 1
    assert len(choose_images(errors, 99, seed=0)[0]) == 10


def test_pictures_are_cut_to_the_points():
    # The span of 200 px plus 45 % on either side is 380 px; three quarters of that are 285 px.
    points = [make_keypoint(300, 200), make_keypoint(400, 200, 500, 200)]
    assert crop_box(points, (1000, 1000)) == (210, 57, 380, 285)
    # A single point gets the smallest picture, 160 x 120, moved into the image.
    assert crop_box([make_keypoint(5, 300)], (480, 640)) == (0, 240, 160, 120)
    assert crop_box([make_keypoint(5, 5)], (100, 90)) == (0, 0, 90, 100)
    assert crop_box([make_keypoint(100, 100)], None) == (20, 40, 160, 120)


@given(
    st.lists(st.tuples(st.floats(0, 639), st.floats(0, 479)), min_size=1, max_size=8),
)
def test_every_point_stays_in_the_picture(points):
    keypoints = [make_keypoint(x, y) for x, y in points]
    left, top, width, height = crop_box(keypoints, (480, 640))
    assert left >= 0
    assert top >= 0
    assert left + width <= 640
    assert top + height <= 480
    assert all(left <= x <= left + width and top <= y <= top + height for x, y in points)


def test_bodyparts_come_from_the_first_source_that_knows_them():
    config = parse_config({"cohort": "c.tsv", "skeleton": {"bodyparts": ["a", "b"]}})
    plain = parse_config({"cohort": "c.tsv"})
    inputs = make_inputs({("all", "test", "rmse"): 1.0, ("tail", "test", "rmse"): 1.0})
    assert inputs.bodyparts(config) == ("a", "b")
    assert inputs.bodyparts(plain) == ("tail",)
    skeleton = {"bodyparts": ["x", "y"], "edges": [["x", "y"]]}
    trained = ReportInputs({}, {}, pd.DataFrame(), {"skeleton": skeleton}, {}, "")
    assert trained.bodyparts(config) == ("x", "y")
    assert trained.edges(config) == (("x", "y"),)


# How colours look without red or green cones: Machado, Oliveira and Fernandes (2009), severity 1.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("colour", [colour_bodyparts, colour_individuals])
def test_colours_are_told_apart(colour, blindness):
    codes = list(colour([f"name{number}" for number in range(8)]).values())
    rgb = np.array([[int(code[at : at + 2], 16) for at in (1, 3, 5)] for code in codes])
    linear = np.clip((rgb / 255) ** 2.2 @ np.transpose(BLINDNESS[blindness]), 0, 1)
    seen = np.uint8(np.round(255 * linear ** (1 / 2.2)))
    lab = cv2.cvtColor(np.float32(seen[None] / 255), cv2.COLOR_RGB2LAB)[0]
    distances = [np.linalg.norm(one - other) for one, other in combinations(lab, 2)]
    # In CIELAB; 2 to 3 is just noticeable.
    assert min(distances) > 9
