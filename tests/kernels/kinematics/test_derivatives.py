"""Test derivatives against polynomials, SciPy and movement."""

import subprocess

import numpy as np
import pytest
from scipy.signal import savgol_filter

from pipeline_lib.kernels.kinematics.derivatives import (
    difference,
    differentiate,
    find_runs,
    measure_window,
)
from pipeline_lib.kernels.kinematics.measures import measure_distance, measure_heading
from pipeline_lib.kernels.kinematics.regions import INSIDE, find_inside
from tests.peers.environments import require_peer

NAN = np.nan


def test_a_parabola_has_its_derivatives_also_at_the_ends():
    time = np.arange(12) / 25
    x = 3 + 4 * time - 5 * time**2
    made = differentiate(x, time, 5, 2)
    np.testing.assert_allclose(made.value, x, atol=1e-9)
    np.testing.assert_allclose(made.first, 4 - 10 * time, atol=1e-9)
    np.testing.assert_allclose(made.second, -10, atol=1e-7)


def test_values_are_those_of_scipy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2, 2))
    made = differentiate(x, np.arange(40) / 30, 7, 3)
    for k, found in enumerate((made.value, made.first, made.second)):
        expected = savgol_filter(x, 7, 3, deriv=k, delta=1 / 30, axis=0, mode="interp")
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_a_gap_divides_a_trajectory_and_a_short_stretch_has_no_derivative():
    rng = np.random.default_rng(1)
    time, x = np.arange(30) / 10, rng.normal(size=30)
    x[[11, 15]] = NAN  # stretches of 11, 3 and 14 frames
    made = differentiate(x, time, 5, 2)
    for stretch in (slice(0, 11), slice(16, 30)):
        expected = savgol_filter(x[stretch], 5, 2, deriv=1, delta=0.1, mode="interp")
        np.testing.assert_allclose(made.first[stretch], expected, atol=1e-9)
    assert np.isnan(made.first[11:16]).all()
    np.testing.assert_array_equal(made.value[12:15], x[12:15])
    np.testing.assert_array_equal(np.isnan(made.value), np.isnan(x))


def test_frames_need_not_be_equally_spaced():
    time = np.cumsum([0.0, 0.03, 0.05, 0.03, 0.03, 0.1, 0.03, 0.04, 0.03, 0.03]) + 1e5
    made = differentiate(7 * (time - 1e5), time, 5, 2)
    np.testing.assert_allclose(made.first, 7, rtol=1e-6)
    np.testing.assert_allclose(made.second, 0, atol=1e-3)


def test_time_that_stands_still_gives_no_speed():
    made = differentiate(np.arange(9.0), np.zeros(9), 5, 2)
    assert np.isnan(made.first).all()
    assert np.isnan(difference(np.arange(9.0), np.zeros(9)).first).all()


def test_two_frames_of_one_time_leave_the_others_their_speed():
    time = np.array([0.0, 0.1, 0.2, 0.3, 0.3, 0.4, 0.5, 0.6])
    made = difference(20 * time, time)
    np.testing.assert_array_equal(np.isnan(made.first), [0, 0, 0, 1, 1, 0, 0, 0])
    np.testing.assert_allclose(made.first[[0, 1, 2, 5, 6, 7]], 20)
    np.testing.assert_array_equal(np.isnan(made.second), [0, 0, 1, 1, 1, 1, 0, 0])
    np.testing.assert_allclose(made.second[[0, 1, 6, 7]], 0, atol=1e-9)


@pytest.mark.parametrize("frames", [0, 1, 4])
def test_short_videos(frames):
    made = differentiate(np.ones((frames, 2)), np.arange(frames) / 30, 5, 2)
    assert made.first.shape == (frames, 2)
    assert np.isnan(made.first).all()
    np.testing.assert_array_equal(made.value, 1)


def test_a_block_with_its_reach_gives_what_the_whole_gives():
    rng = np.random.default_rng(2)
    x = rng.normal(size=300)
    x[rng.random(300) < 0.15] = NAN
    time, window = np.arange(300) / 30, 7
    whole = differentiate(x, time, window, 2)
    for start in range(0, 300, 50):
        first, stop = max(0, start - window + 1), start + 50 + window - 1
        part = differentiate(x[first:stop], time[first:stop], window, 2)
        inside = slice(start - first, start - first + 50)
        np.testing.assert_allclose(part.second[inside], whole.second[start : start + 50], atol=1e-7)


@pytest.mark.parametrize(
    ("seconds", "fps", "order", "window"),
    [(0.2, 30, 2, 7), (0.1, 30, 2, 3), (0.2, 25, 2, 5), (0.01, 30, 4, 5), (1 / 6, 30, 2, 5)],
)
def test_windows_are_odd_and_above_the_order(seconds, fps, order, window):
    assert measure_window(seconds, np.arange(90) / fps, order) == window


def test_a_window_must_be_odd_and_above_the_order():
    for window, order in ((4, 2), (3, 3)):
        with pytest.raises(ValueError, match="must be odd and above"):
            differentiate(np.ones(9), np.arange(9.0), window, order)


def test_runs():
    np.testing.assert_array_equal(find_runs(np.array([1, 1, 0, 1], bool)), [[0, 2], [3, 4]])


PROGRAM = """
import sys, json
import numpy as np, xarray as xr
from movement.kinematics import *
from movement.roi import PolygonOfInterest
given = np.load(sys.argv[1] + "/given.npz")
position = xr.DataArray(
    given["position"].transpose(0, 3, 2, 1),
    dims=("time", "space", "keypoints", "individuals"),
    coords={"time": given["time"], "space": ["x", "y"], "keypoints": ["a", "b"],
            "individuals": ["one", "two"]},
)
order = ("time", "individuals", "keypoints", "space")
a, b = (position.sel(keypoints=name, drop=True) for name in "ab")
vector = (b - a).transpose("time", "individuals", "space")
region = PolygonOfInterest([tuple(corner) for corner in given["corners"]])
np.savez(
    sys.argv[1] + "/found.npz",
    first=compute_velocity(position).transpose(*order),
    second=compute_acceleration(position).transpose(*order),
    speed=compute_speed(position).transpose(*order[:3]),
    distance=np.hypot(*vector.values.transpose(2, 0, 1)),
    pairs=compute_pairwise_distances(
        position, dim="individuals", pairs={"one": "two"}).transpose("time", ...),
    heading=np.degrees(np.arctan2(vector.sel(space="y"), vector.sel(space="x"))),
    inside=region.contains_point(position).transpose(*order[:3]),
    path=compute_path_length(position).transpose("individuals", "keypoints"),
)
"""


def test_movement_measures_the_same(tmp_path):
    """Compare without smoothing, and without gaps: beside them, conventions differ."""
    python = require_peer("movement")
    rng = np.random.default_rng(3)
    position = np.cumsum(rng.normal(size=(50, 2, 2, 2)), axis=0)
    time = np.cumsum(rng.uniform(0.02, 0.05, 50))
    corners = np.array([[-2.0, -2], [3, -2], [3, 3], [0, 1], [-2, 3]])
    np.savez(tmp_path / "given.npz", position=position, time=time, corners=corners)
    subprocess.run([python, "-c", PROGRAM, str(tmp_path)], check=True, timeout=300)
    found = np.load(tmp_path / "found.npz")
    made = difference(position, time)
    a, b = made.value[:, :, 0], made.value[:, :, 1]
    steps = np.hypot(*np.moveaxis(np.diff(position, axis=0), -1, 0)).sum(axis=0)
    for name, expected in {
        "first": made.first,
        "second": made.second,
        "speed": np.hypot(made.first[..., 0], made.first[..., 1]),
        "distance": measure_distance(a, b),
        "heading": measure_heading(a, b),
        "path": steps,
        "inside": find_inside(position, [corners]) == INSIDE,
    }.items():
        np.testing.assert_allclose(found[name].astype(float), expected, rtol=1e-6, err_msg=name)
    # Ours of all bodyparts of one against all of the other.
    ours = measure_distance(position[:, 0][:, :, None], position[:, 1][:, None])
    np.testing.assert_allclose(np.sort(found["pairs"].reshape(50, 4)), np.sort(ours.reshape(50, 4)))
