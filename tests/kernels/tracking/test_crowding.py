"""Test gaps with more tracklets than animals."""

import numpy as np
import pytest

from pipeline_lib.kernels.tracking.detections import Detections
from pipeline_lib.kernels.tracking.doubtful_links import count_tracklets, cut_crowded
from pipeline_lib.kernels.tracking.links import Links
from pipeline_lib.kernels.tracking.tracks import track_individuals
from tests.kernels.tracking.tracking_scenes import make_rules

# Tracklet 0 is not found in frames 2 and 3; 1 is there in these two only, 2 in one of them.
NUMBER = np.array([[0, -1], [0, -1], [1, -1], [1, 2], [0, -1], [0, -1]], np.int32)


def make_links():
    links = Links.none(NUMBER.shape)
    links.step[:, 0] = [1, 3, 1, 0, 1, 0]
    links.partner[:, 0] = [0, 0, 0, -1, 0, -1]
    return links


def test_tracklets_count_from_their_first_pose_to_their_last():
    assert count_tracklets(NUMBER, 1).tolist() == [1, 1, 2, 3, 1, 1]
    assert count_tracklets(NUMBER, 2).tolist() == [1, 1, 2, 2, 1, 1]
    assert count_tracklets(NUMBER, 3).tolist() == [1, 1, 1, 1, 1, 1]
    assert count_tracklets(np.full((3, 2), -1, np.int32), 1).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("individuals", "shortest", "is_cut"),
    [(1, 1, True), (1, 2, True), (1, 3, False), (2, 1, True), (2, 2, False), (3, 1, False)],
)
def test_links_are_cut_where_more_tracklets_than_animals_are_on_their_way(
    individuals, shortest, is_cut
):
    links = make_links()
    found = cut_crowded(links, NUMBER, individuals, shortest)
    expected = make_links()
    if is_cut:
        expected.step[1, 0], expected.partner[1, 0] = 0, -1
    np.testing.assert_array_equal(found.step, expected.step)
    np.testing.assert_array_equal(found.partner, expected.partner)
    # What was given is not changed.
    np.testing.assert_array_equal(links.step, make_links().step)


def test_a_crowd_at_either_end_of_a_gap_is_not_in_it():
    number = np.array([[0, 1], [-1, -1], [0, 2]], np.int32)
    links = Links.none(number.shape)
    links.step[0, 0], links.partner[0, 0] = 2, 0
    np.testing.assert_array_equal(cut_crowded(links, number, 1, 1).step, links.step)


def test_a_false_pose_in_the_way_of_an_animal_does_not_cost_it_its_track():
    """Let it jump aside while hidden, with one detection at its expected position."""
    pose = np.array([[0.0, 0.0], [10.0, 6.0], [20.0, -6.0], [30.0, 0.0]])
    frames = np.arange(60)
    walk = pose + np.stack([3.0 * frames, np.zeros(60)], axis=-1)[:, None]
    position = np.full((60, 2, 4, 2), np.nan)
    position[:20, 0] = walk[:20]
    position[23, 1] = walk[23]
    position[22:, 0] = walk[22:] + np.array([0.0, 60.0])
    detections = Detections(position, np.where(np.isfinite(position[..., 0]), 0.9, 0.0))
    tracks = track_individuals(detections, 1, make_rules(), segment_frames=2000)
    np.testing.assert_array_equal(tracks.position[:, 0], position[:, 0])
