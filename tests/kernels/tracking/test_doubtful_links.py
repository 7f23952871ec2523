"""Test links across frames in which an animal is missing."""

import numpy as np

from pipeline_lib.kernels.tracking.doubtful_links import cut_doubtful
from pipeline_lib.kernels.tracking.links import OpenEnds
from pipeline_lib.kernels.tracking.motion import MotionModel
from pipeline_lib.kernels.tracking.tracklets import link_poses, link_tracklets
from tests.kernels.tracking.tracking_scenes import NAN, make_link_rules, slide

# At 9 px two poses are alike by exp(-81 / 200) = 0.667: enough to be linked, and, where both are
# found in both frames, not enough for an ambiguous link.
RULES = make_link_rules(motion="none")


def make_neighbours(frames=30):
    """Return two animals at rest, 9 px apart."""
    return slide(frames, [[0, 0], [0, 9]], np.zeros((2, 2)))


def test_neighbours_that_are_both_found_are_in_no_doubt():
    assert (link_tracklets(make_neighbours(), RULES) == [0, 1]).all()


def test_animals_lost_in_turn_are_not_confused():
    truth = make_neighbours()
    truth[10, 1] = NAN
    truth[11, 0] = NAN
    number = link_tracklets(truth, RULES)
    # Without a review, the first would go on as the second in frame 11, alike by 0.667.
    assert number[10, 0] != number[11, 1]
    first, second = (set(number[:, animal].tolist()) - {-1} for animal in range(2))
    assert not first & second
    # Away from there, nothing changes.
    assert len(set(number[:9, 0].tolist())) == len(set(number[13:, 1].tolist())) == 1


def test_a_lost_animal_far_from_others_is_linked_across_the_gap():
    truth = slide(30, [[0, 0], [0, 40]], np.zeros((2, 2)))
    truth[10:13, 1] = NAN
    number = link_tracklets(truth, RULES)
    assert set(number[:, 0].tolist()) == {0}
    assert set(number[:, 1].tolist()) == {1, -1}


def test_no_link_is_cut_if_no_individual_is_missing():
    truth = make_neighbours()
    links = link_poses(truth, RULES)
    before = links.step.copy()
    nothing = np.zeros(links.step.shape, bool)
    still = np.zeros((*links.step.shape, 2))
    cut_doubtful(links, OpenEnds(nothing, nothing), MotionModel(truth, still, still), RULES)
    np.testing.assert_array_equal(links.step, before)
