"""Test the smoothing of points by random walks: against one axis alone, turned, and its regions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from pipeline_lib.kernels.ensembles.kalman import Belief, filter_forward, smooth_backward
from pipeline_lib.kernels.geometry.sessions.random_walk import choose_motion, smooth_walk


def walk(moments, keypoints, step, seed):
    """Return true paths, observations and their covariances, which differ in direction."""
    stream = np.random.default_rng(seed)
    path = np.cumsum(stream.normal(0, step, (moments, keypoints, 3)), axis=0)
    turns = Rotation.random(moments * keypoints, random_state=stream).as_matrix()
    turns = turns.reshape(moments, keypoints, 3, 3)
    sizes = stream.uniform(0.1, 4.0, (moments, keypoints, 3))
    covariance = np.einsum("...ij,...j,...kj->...ik", turns, sizes**2, turns)
    noise = np.einsum("...ij,...j->...i", turns, sizes * stream.normal(size=sizes.shape))
    return path, path + noise, covariance


def test_axes_that_are_independent_are_smoothed_as_one_coordinate_alone():
    stream = np.random.default_rng(1)
    points = stream.normal(0, 3, (40, 2, 3)).cumsum(axis=0)
    variance = stream.uniform(0.5, 5, (40, 2, 3))
    covariance = variance[..., None] * np.eye(3)
    points[7:11, 0], covariance[20, 1] = np.nan, np.nan
    motion = np.array([2.0, 0.3])
    found = smooth_walk(points, covariance, motion)
    known = np.isfinite(points) & np.isfinite(variance)
    known[20, 1] = False
    points = np.where(known, points, np.nan)
    mean = np.nanmean(points, axis=0)
    spread = np.nansum((points - mean) ** 2, axis=(0, 2)) / known[..., 0].sum(axis=0)
    prior = Belief(mean, np.repeat(spread[:, None], 3, axis=1))
    filtered = filter_forward(points, variance, motion[:, None], prior).belief
    wanted = smooth_backward(filtered, motion[:, None], None)
    assert np.abs(found.mean - wanted.mean).max() < 1e-9
    diagonal = np.diagonal(found.covariance, axis1=-2, axis2=-1)
    assert np.abs(diagonal - wanted.variance).max() < 1e-9


@settings(max_examples=5)
@given(st.integers(0, 10_000))
def test_a_turn_of_the_world_turns_the_result(seed):
    _, points, covariance = walk(30, 2, 1.0, seed)
    turn = Rotation.random(random_state=np.random.default_rng(seed + 1)).as_matrix()
    plain = smooth_walk(points, covariance)
    turned = smooth_walk(points @ turn.T, turn @ covariance @ turn.T)
    assert np.abs(turned.mean - plain.mean @ turn.T).max() < 1e-6
    assert np.abs(turned.covariance - turn @ plain.covariance @ turn.T).max() < 1e-6


def test_regions_of_ninety_per_cent_hold_that_share_and_errors_fall():
    path, points, covariance = walk(1500, 3, 0.7, 3)
    motion = choose_motion(points, covariance)
    # The true variance is 0.49; one trial is a factor of 1.8 away from the next.
    assert ((motion > 0.49 / 1.8) & (motion < 0.49 * 1.8)).all()
    found = smooth_walk(points, covariance)
    off = found.mean - path
    distance = np.einsum("...i,...ij,...j->...", off, np.linalg.inv(found.covariance), off)
    share = (distance < chi2(3).ppf(0.9)).mean()
    assert 0.87 < share < 0.93
    assert np.sqrt((off**2).mean()) < 0.5 * np.sqrt(((points - path) ** 2).mean())


@pytest.mark.filterwarnings("error")
def test_keypoints_that_are_never_seen_or_never_move_are_no_trouble():
    points = np.zeros((5, 3, 3))
    points[:, 0] = np.nan
    points[1:, 2] = np.nan
    covariance = np.tile(np.eye(3), (5, 3, 1, 1))
    found = smooth_walk(points, covariance)
    assert np.isnan(found.mean[:, 0]).all()
    assert np.abs(found.mean[:, 1:]).max() == 0
