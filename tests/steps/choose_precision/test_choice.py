"""Test the choice of a precision on made-up measurements, and the growth of an error."""

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.models.precision import PrecisionMeasurement
from pipeline_lib.steps.choose_precision.choice import choose
from pipeline_lib.steps.choose_precision.errors import compare_errors


def measure(runtime, precision, rate, growth=0.0, **more):
    return PrecisionMeasurement(
        runtime=runtime,
        precision=precision,
        frames_per_second=rate,
        growth=growth,
        **{"growth_noise": 0.2, "missed": 0, **more},
    )


PLAIN = (measure("openvino", "float32", 70), measure("onnx", "float32", 60))
BRAIN = measure("openvino", "bfloat16", 160, 0.6)
WHOLE = measure("openvino", "int8", 200, 0.9)


def test_the_fastest_within_one_percent_is_chosen():
    found = choose((*PLAIN, BRAIN, WHOLE), "auto", 300, "test")
    assert found.measurement == WHOLE
    assert found.reason == (
        "int8: 2.86 times the frames/s of float32, mean error +0.9 % (± 0.2 %) on test frames"
    )
    worse = WHOLE.model_copy(update={"growth": 1.01})
    assert choose((*PLAIN, BRAIN, worse), "auto", 300, "test").measurement == BRAIN
    better = WHOLE.model_copy(update={"growth": -3.0})
    assert choose((*PLAIN, BRAIN, better), "auto", 300, "test").measurement == better


def test_of_precisions_that_are_as_fast_the_most_exact_one_is_chosen():
    """As of the open field: 131 and 137 frames/s, and keypoints move by 0.3 and 1.3 px."""
    brain = measure("openvino", "bfloat16", 131, -0.3, moved=0.29)
    whole = measure("openvino", "int8", 137, 0.1, moved=1.33)
    assert choose((*PLAIN, brain, whole), "auto", 464, "all").measurement == brain
    faster = whole.model_copy(update={"frames_per_second": 131 * 1.11})
    assert choose((*PLAIN, brain, faster), "auto", 464, "all").measurement == faster


def test_float32_stays_where_the_others_are_inexact_or_no_faster():
    worse = (BRAIN.model_copy(update={"growth": 1.2}), WHOLE.model_copy(update={"growth": 9.0}))
    found = choose((*PLAIN, *worse), "auto", 300, "all")
    assert found.measurement == PLAIN[0]
    assert found.reason == (
        "float32: too inexact is int8: 2.86 times the frames/s of float32, mean error +9.0 % "
        "(± 0.2 %) on all labelled frames"
    )
    hardly = BRAIN.model_copy(update={"frames_per_second": 73.0})
    found = choose((*PLAIN, hardly), "auto", 300, "test")
    assert (found.measurement, found.reason) == (
        PLAIN[0],
        "float32: no other precision is faster here",
    )
    # The faster runtime of float32, whichever it is.
    swapped = (measure("openvino", "float32", 50), measure("onnx", "float32", 60))
    assert choose(swapped, "auto", 300, "test").measurement == swapped[1]
    assert "offers no other" in choose(swapped, "auto", 300, "test").reason


def test_keypoints_that_are_missed_count():
    """Errors, which are distances, do not tell of them."""
    few, many = (WHOLE.model_copy(update={"missed": count}) for count in (3, 4))
    assert choose((*PLAIN, few), "auto", 300, "test").measurement == few
    found = choose((*PLAIN, many), "auto", 300, "test")
    assert found.measurement == PLAIN[0]
    assert "4 keypoints more are missed" in found.reason


def test_few_labels_judge_nothing():
    found = choose((*PLAIN, BRAIN), "auto", 19, "all")
    assert found.measurement == PLAIN[0]
    assert "19 labelled keypoints are too few" in found.reason
    unknown = BRAIN.model_copy(update={"growth": None})
    assert choose((*PLAIN, unknown), "auto", 300, "test").measurement == PLAIN[0]


def test_int8_is_taken_whatever_it_costs_if_it_can_be_had():
    worse = measure("onnx", "int8", 40, 30.0)
    assert choose((*PLAIN, worse), "int8", 300, "test").measurement == worse
    failed = PrecisionMeasurement(runtime="onnx", precision="int8", reason="frames are all alike")
    found = choose((*PLAIN, failed), "int8", 300, "test")
    assert found.measurement == PLAIN[0]
    assert found.reason == "float32 instead of int8: frames are all alike"
    assert choose((failed,), "auto", 300, "test").measurement is None


def tabulate(error, images=4):
    """Return predictions that are off by an error in x: images in front, keypoints behind."""
    rows = [
        (f"{image}.png", "test", "animal", part, 10.0 + off, 5.0, 10.0, 5.0)
        for image, offs in enumerate(np.broadcast_to(error, (images, 2)))
        for part, off in zip("ab", offs, strict=True)
    ]
    columns = ["image", "split", "individual", "bodypart", "x", "y", "label_x", "label_y"]
    return pd.DataFrame(rows, columns=columns)


def test_growth_and_its_noise_are_those_of_pairs():
    plain = tabulate(2.0)
    same = compare_errors(plain, plain)
    assert (same.error, same.growth, same.noise, same.moved, same.missed) == (2.0, 0, 0, 0, 0)
    # Every image grows alike: nothing varies from image to image.
    found = compare_errors(plain, tabulate(2.1))
    assert found.growth == pytest.approx(5.0)
    assert found.noise == pytest.approx(0.0, abs=1e-9)
    assert (found.moved, found.moved_median) == pytest.approx((0.1, 0.1))
    # One of four images grows by 4 px of 16: residuals 3, -1, -1 and -1 px; 100 * sqrt(16) / 16.
    off = np.full((4, 2), 2.0)
    off[0] = 4.0
    found = compare_errors(plain, tabulate(off))
    assert found.growth == pytest.approx(25.0)
    assert found.noise == pytest.approx(100 * np.sqrt(4 / 3 * 12) / 16)
    assert (found.points, found.images) == (8, 4)


def test_what_one_of_both_lacks_has_no_error():
    plain, other = tabulate(2.0), tabulate(3.0)
    other.loc[0, ["x", "y"]] = np.nan
    found = compare_errors(plain, other.sample(frac=1, random_state=0))
    assert (found.error, found.missed, found.growth) == (3.0, 1, pytest.approx(50.0))
    # A false animal has no label.
    false = other.iloc[[1]].assign(individual="false1", label_x=np.nan, label_y=np.nan)
    assert compare_errors(plain, pd.concat([other, false])) == found
    exact = tabulate(0.0)
    assert compare_errors(exact, exact).growth == 0.0
    assert np.isnan(compare_errors(exact, plain).growth)
    assert np.isnan(compare_errors(plain[:0], plain[:0]).error)
