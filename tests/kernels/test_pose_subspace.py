"""Test subspaces of poses against ones that are known, and the choice of clips."""

import itertools

import numpy as np
import pytest

from pipeline_lib.kernels.pose_subspace import fit_subspace, spread_clips


def test_poses_on_a_line_have_one_component():
    """Two points that move together along (3, 4): the distance of one that does not is known."""
    steps = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    poses = np.array([10.0, 20.0]) + steps[:, None, None] * np.array([3.0, 4.0])
    poses = np.repeat(poses, 2, axis=1)  # (5, 2, 2)
    found = fit_subspace(poses, variance=0.99)
    assert found.mean == pytest.approx([10, 20, 10, 20])
    assert found.basis.shape == (1, 4)
    assert np.abs(found.basis[0]) == pytest.approx(np.array([3, 4, 3, 4]) / np.sqrt(50))
    assert found.tolerance == pytest.approx(0.0, abs=1e-9)


def test_components_explain_the_variance_that_is_asked_for():
    """Three directions with variances 90, 9 and 1: 0.9 needs one, 0.95 two, 0.995 three."""
    scales = np.sqrt([90.0, 9.0, 1.0, 0.0])
    flat = np.concatenate([np.diag(scales), -np.diag(scales)])
    poses = flat.reshape(8, 2, 2)
    kept = {share: len(fit_subspace(poses, variance=share).basis) for share in (0.9, 0.95, 0.995)}
    assert kept == {0.9: 1, 0.95: 2, 0.995: 3}
    assert len(fit_subspace(poses, variance=1.0).basis) == 3  # the fourth direction is empty
    assert len(fit_subspace(poses, variance=1.0, most=2).basis) == 2
    # Kept is the first: the others lie off by 3 and 1 px in one point, each twice of eight.
    tolerance = fit_subspace(poses, most=1).tolerance
    off = [0.0] * 12 + [1.0, 1.0] + [3.0, 3.0]
    assert tolerance == pytest.approx(np.quantile(off, 0.9))


def test_views_of_points_in_space_have_three_components():
    """Two orthographic cameras see any points: four coordinates of rank three."""
    stream = np.random.default_rng(0)
    points = stream.normal(size=(40, 3))
    cameras = stream.normal(size=(4, 3))
    views = (points @ cameras.T).reshape(40, 2, 2)
    found = fit_subspace(views, most=3)
    assert len(found.basis) == 3
    assert found.tolerance == pytest.approx(0.0, abs=1e-9)
    # A third direction of the first view alone is not among them.
    flat = views.reshape(40, 4) - found.mean
    assert np.abs(flat - flat @ found.basis.T @ found.basis).max() < 1e-9


def test_clips_are_spread_over_videos_and_within():
    assert spread_clips([100], 2, 10) == [(0, 20), (0, 70)]
    # Five of three videos, of which one is too short.
    assert spread_clips([100, 9, 50], 5, 10) == [(0, 11), (0, 45), (0, 78), (2, 7), (2, 32)]
    # As many as there are frames for, and none overlap.
    assert spread_clips([25], 9, 10) == [(0, 1), (0, 13)]
    assert spread_clips([10], 9, 10) == [(0, 0)]
    assert spread_clips([9, 0], 9, 10) == []
    assert spread_clips([], 1, 2) == []
    for frames in range(4, 60):
        starts = [start for _, start in spread_clips([frames], 7, 4)]
        assert all(b - a >= 4 for a, b in itertools.pairwise(starts))
        assert starts[0] >= 0
        assert starts[-1] + 4 <= frames
