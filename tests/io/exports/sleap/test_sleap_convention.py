"""Test SLEAP's instances: the individuals of a frame and their scores."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.io.exports.sleap_convention import PIXEL_OFFSET, find_instances
from tests.io.exports.export_examples import NAN, make_several
from tests.io.poses.pose_examples import make_poses


def test_pixel_centres_are_at_integers():
    assert PIXEL_OFFSET == 0.0


def test_present_individuals_have_scores():
    found = find_instances(make_several())
    assert found.present.tolist() == [[True] * 3, [False, True, False], [False] * 3]
    # Of a: (0.75 + 0.25) / 2. Of b: (0.5 + 1) / 2, then 0.5 alone, as its tail was not found.
    np.testing.assert_array_equal(found.score, [[0.5, 0.75, 1], [NAN, 0.5, NAN], [NAN, NAN, NAN]])
    assert found.score.dtype == found.tracking_score.dtype == np.float32


@given(status=st.sampled_from(TrackStatus))
def test_only_followed_tracks_have_a_tracking_score(status):
    poses = make_several()
    poses.track_status[0, 0] = status
    assert find_instances(poses).tracking_score[0, 0] == (status == TrackStatus.FOLLOWED)


def test_a_point_without_one_coordinate_is_none():
    poses = make_poses(2, ("nose",))
    poses.position[1, ..., 1] = NAN
    found = find_instances(poses)
    assert found.present.tolist() == [[True], [False]]
    assert np.isnan(found.tracking_score).all()
