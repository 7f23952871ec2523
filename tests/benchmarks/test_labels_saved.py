"""Test the curves of the simulation of saved labels."""

from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from benchmarks.labelling import labels_saved_data
from benchmarks.labelling import labels_saved_figures as figures
from pipeline_lib.io.video.reader import VideoReader


def make_rows(seeds=3):
    errors = {
        ("start", 10): 5.0,
        ("random", 20): 4.5,
        ("random", 30): 4.0,
        ("chosen", 20): 4.4,
        ("chosen", 30): 3.4,
    }
    return [
        {
            "seed": str(seed),
            "strategy": strategy,
            "labels": str(labels),
            "error": str(error + 0.1 * (seed - 1)),
            "usual": str(error),
            "unusual": "nan",
        }
        for seed in range(seeds)
        for (strategy, labels), error in errors.items()
    ]


def test_the_labels_needed_lie_between_points():
    curve = pd.Series([5.0, 4.4, 3.4], index=[10, 20, 30])
    assert figures.find_needed(curve, 4.0) == pytest.approx(24)
    assert figures.find_needed(curve, 4.4) == 20
    assert figures.find_needed(curve, 6.0) == 10
    assert figures.find_needed(curve, 3.0) == np.inf


def test_curves_have_means_and_intervals_and_share_their_first_point():
    curves = figures.tabulate(make_rows())
    error = curves[curves["measure"] == "error"].set_index(["strategy", "labels"])
    assert error.loc[("chosen", 10), "mean"] == error.loc[("random", 10), "mean"] == 5
    # Student's t with 2 degrees of freedom: 4.303 times the standard error.
    assert error.loc[("chosen", 30), "half_interval"] == pytest.approx(4.3027 * 0.1 / 3**0.5, 1e-4)
    assert (error["seeds"] == 3).all()
    assert "unusual" not in set(curves["measure"])
    lines = figures.summarise(make_rows())
    assert lines[1] == "chosen labels that reach random's error at 30: 24"
    assert lines[3] == "30 labels: chosen less random -0.60 px, better in 3 of 3 seeds"


def test_the_drawing_has_a_curve_for_each_strategy_and_measure():
    tree = ET.fromstring(figures.draw(figures.tabulate(make_rows())))  # noqa: S314 - our own
    kinds = [element.tag.rpartition("}")[2] for element in tree.iter()]
    assert kinds.count("polyline") == kinds.count("polygon") == 4


def test_videos_are_lossless(tmp_path):
    frames = list(np.random.default_rng(0).integers(0, 255, (3, 32, 48, 3), dtype=np.uint8))
    write_lossless = labels_saved_data.write_lossless
    write_lossless(tmp_path / "v.mp4", frames, 10)
    with VideoReader(tmp_path / "v.mp4") as reader:
        read = [image for _, image in reader.read()]
    np.testing.assert_array_equal(read, frames)
