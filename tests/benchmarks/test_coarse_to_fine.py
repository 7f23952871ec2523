"""Test the coarse-to-fine benchmark: the settings of its fold, and its figures."""

import argparse
from types import SimpleNamespace

import pandas as pd
import pytest

from benchmarks.inference import coarse_to_fine
from pipeline_lib.core.settings.network import LocatingSettings
from pipeline_lib.core.tables import PREDICTION_COLUMNS


def make_table(shift, test):
    """Return four images of one bodypart with an error of `shift` px; the named ones are tested."""
    rows = []
    for n in range(4):
        split = "test" if n in test else "train"
        points = (9.0 + shift, 5.0, 0.9, 9.0, 5.0)
        rows.append((f"i{n}", "v", n, split, "animal", "nose", *points))
    return pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS))


def test_errors_are_pooled_over_folds(monkeypatch):
    """Set errors of 1 px and 3 px for whole frames, twice as much for windows of fold one."""
    folds = [SimpleNamespace(number=0), SimpleNamespace(number=1)]

    def predict(fold, locating):
        shift = (1.0, 3.0)[fold.number]
        if not locating.enabled:
            return make_table(shift, {fold.number}), {}
        shift *= 2 if fold.number == 0 else 1
        return make_table(shift, {fold.number}), {"not_found": 1, "cut": 0}

    monkeypatch.setattr(coarse_to_fine, "predict_labelled", predict)
    rows, ratio = coarse_to_fine.measure_errors(folds, 5, LocatingSettings(enabled=True))
    assert ratio == pytest.approx((2 + 3) / (1 + 3))
    found = [(row["fold"], row["looks_at"], row["mean_error"]) for row in rows]
    assert found == [
        ("0", "whole frames", 1.0),
        ("1", "whole frames", 3.0),
        ("pooled", "whole frames", 2.0),
        ("0", "windows", 2.0),
        ("1", "windows", 3.0),
        ("pooled", "windows", 2.5),
    ]
    assert rows[3]["not_found"] == 1
    assert set().union(*rows) <= set(coarse_to_fine.ERROR_COLUMNS)


def test_ratios_are_of_the_fastest_bare_pass_of_the_round(monkeypatch):
    bare = {1: 10.0, 2: 16.0}

    def call(function, *arguments):
        if function is coarse_to_fine.measure_ways:
            ways = arguments[2]
            return {way: [bare.get(way.lanes, 1.0) - way.batch / 100] for way in ways}
        locating = arguments[2]
        return 64.0 if locating.enabled else 15.0

    monkeypatch.setattr(coarse_to_fine, "call_apart", call)
    monkeypatch.setattr(coarse_to_fine, "count_cores", lambda: 2)
    given = argparse.Namespace(seconds=1.0, rounds=2, runtimes=["onnx"])
    bench = SimpleNamespace(given=given, source="v.mp4")
    rows = coarse_to_fine.measure_rates(bench, "folder", LocatingSettings(enabled=True))
    assert [row["round"] for row in rows] == [0, 1]
    # The best of each number of lanes is a batch of one here.
    assert rows[0]["ceiling"] == pytest.approx(9.99)
    assert rows[0]["best_ceiling"] == pytest.approx(15.99)
    assert (rows[0]["whole"], rows[0]["window"]) == (15.0, 64.0)
    assert rows[0]["window/ceiling"] == pytest.approx(64 / 15.99)
    assert set(rows[0]) == set(coarse_to_fine.RATE_COLUMNS)


def test_the_command_line():
    given = coarse_to_fine.parse_arguments(["d", "--only", "0", "2", "--locating", "{window: 192}"])
    assert (given.only, given.locating, given.method) == ([0, 2], {"window": 192}, "random")
