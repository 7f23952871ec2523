import numpy as np

from pipeline_lib.demo.encounters import Encounters, count_encounters


def lay_out(centres):
    """Make animals of length 4 along x, of three points, at these centres (frame, animal, 2)."""
    along = np.array([[-2.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    return np.asarray(centres, float)[:, :, None] + along


def test_meetings_are_counted_from_meeting_to_parting():
    # The other one is beside the first: far, near, far, near, touching twice, far. Two bodies
    # touch within a quarter of 4.
    sides = [9.0, 3.0, 5.0, 3.9, 0.9, -0.9, 9.0]
    centres = [[(0.0, 0.0), (0.0, side)] for side in sides]
    assert count_encounters(lay_out(centres)) == Encounters(2, 1, 2)


def test_midlines_that_cross_between_their_points_touch():
    upright = np.array([[[(0.0, -2.0), (0.0, 2.0)], [(-2.0, 1.0), (2.0, 1.0)]]])
    assert count_encounters(upright) == Encounters(1, 1, 1)


def test_every_pair_counts_and_one_animal_meets_nobody():
    three = lay_out([[(0.0, 0.0), (0.0, 0.5), (0.0, 1.0)]])
    assert count_encounters(three).close == 3
    assert count_encounters(three[:, :1]) == Encounters(0, 0, 0)


def test_meetings_add_up():
    assert Encounters(1, 2, 3) + Encounters(10, 20, 30) == Encounters(11, 22, 33)
