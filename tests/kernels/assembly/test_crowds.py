"""Assemble frames with more animals than allowed."""

import numpy as np
import pytest

from pipeline_lib.kernels.assembly.assemble import assemble_individuals
from pipeline_lib.kernels.assembly.crowds import assemble_crowds, find_crowds
from tests.kernels.assembly.assembly_examples import as_set, detect, make_rules, poses_as_set

NAN = np.nan
CHAIN = [(0, 1), (1, 2), (2, 3)]
RULES = make_rules(2)


def make_animals(*places):
    body = np.array([[0.0, 0.0], [10.0, 3.0], [20.0, -3.0], [30.0, 0.0]])
    return [(body + place).tolist() for place in places]


@pytest.mark.parametrize(
    ("peaks", "crowd"),
    [([3, 3, 2, 2], True), ([3, 2, 2, 2], False), ([2, 2, 2, 2], False), ([9, 9, 0, 0], True)],
)
def test_half_of_the_bodyparts_show_a_crowd(peaks, crowd):
    confidence = np.where(np.arange(9) < np.array(peaks)[:, None], 0.9, NAN)
    assert find_crowds(confidence[None], 2).tolist() == [crowd]


def test_a_crowd_has_more_individuals_and_no_more_than_there_are_places():
    animals = make_animals((0, 0), (0, 100), (0, 200), (0, 300), (0, 400))
    found = assemble_crowds(*detect([animals], CHAIN), RULES, surplus=4, spare=3)
    assert found.position.shape == (1, 6, 4, 2)
    assert as_set(found) == poses_as_set([animals])
    found = assemble_crowds(*detect([animals], CHAIN), RULES, surplus=1, spare=3)
    assert len(as_set(found)[0]) == 3


@pytest.mark.parametrize("surplus", [0, 4])
def test_a_frame_that_is_no_crowd_is_put_together_as_without_surplus(surplus):
    """Make two animals, and false peaks of one bodypart that would count in a crowd."""
    shown = make_animals((0, 0), (0, 100))
    shown += [[[300.0, 50.0 * number], [NAN] * 2, [NAN] * 2, [NAN] * 2] for number in range(3)]
    confidence = np.full((1, 5, 4), 0.9)
    confidence[0, 3:] = 0.95
    detections = detect([shown], CHAIN, confidence)
    found = assemble_crowds(*detections, RULES, surplus=surplus, spare=3)
    usual = assemble_individuals(*detections, RULES)
    for values, others in zip(found, usual, strict=True):
        np.testing.assert_array_equal(values[:, :2], others)
        assert np.isin(np.nan_to_num(values[:, 2:]), 0).all()


def test_frames_do_not_see_each_other():
    crowd = make_animals((0, 0), (0, 100), (0, 200))
    usual = [*make_animals((0, 0), (0, 100)), [[NAN] * 2] * 4]
    both = assemble_crowds(*detect([crowd, usual], CHAIN), RULES, surplus=2, spare=3)
    alone = assemble_crowds(*detect([usual], CHAIN), RULES, surplus=2, spare=3)
    for values, others in zip(both, alone, strict=True):
        np.testing.assert_array_equal(values[1:], others)
