"""Test the list of doubtful places: by hand, in order, and what decisions take off it."""

import numpy as np
import pytest

from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.core.track_decisions import DecisionKind
from pipeline_lib.kernels.tracking.corrections import DecidedPlace
from pipeline_lib.kernels.tracking.doubts import (
    DoubtRules,
    TrackDoubt,
    drop_decided,
    list_doubts,
)

RULES = DoubtRules("oks", 0.7, 8, 250)
FRAMES, MEETING = 60, 30


def make_crossing(gap=6.0):
    """Return two animals that walk towards each other and pass at a distance in px."""
    time = np.arange(FRAMES, dtype=np.float64) - MEETING
    body = np.array([[-9.0, 0.0], [0.0, 0.0], [9.0, 0.0], [0.0, 5.0]])
    position = np.zeros((FRAMES, 2, 4, 2))
    for animal, direction in enumerate((1.0, -1.0)):
        position[:, animal] = body * [direction, 1.0]
        position[:, animal, :, 0] += (direction * 3.0 * time)[:, None]
        position[:, animal, :, 1] += animal * gap
    return position


def exchange(position, first):
    wrong = position.copy()
    wrong[first:] = position[first:, ::-1]
    return wrong


def test_an_exchange_where_animals_meet_is_the_worst_doubt():
    position = make_crossing()
    assert list_doubts(position, None, RULES) == []
    (doubt,) = list_doubts(exchange(position, MEETING), None, RULES)
    assert (doubt.frame, doubt.slots) == (MEETING, (0, 1))
    assert doubt.first < MEETING <= doubt.last
    assert doubt.ambiguity > 2.0


@pytest.mark.parametrize("lost", [(0,), (1,), (0, 1)])
def test_an_exchange_while_animals_are_lost_is_found(lost):
    wrong = exchange(make_crossing(20.0), MEETING)
    for animal in lost:
        wrong[MEETING - 2 : MEETING + 2, animal] = np.nan
    doubts = list_doubts(wrong, None, RULES)
    assert doubts[0].slots == (0, 1)
    assert doubts[0].first < MEETING + 3
    assert doubts[0].last >= MEETING
    assert doubts[0].ambiguity > 1.0


def test_far_animals_and_short_videos_are_no_doubt():
    far = make_crossing(500.0)
    assert list_doubts(far, None, RULES) == []
    for frames in (0, 1, 2):
        assert list_doubts(far[:frames], None, RULES) == []
    assert list_doubts(np.full_like(far, np.nan), None, RULES) == []
    assert list_doubts(far[:, :1], None, RULES) == []


def test_places_near_each_other_are_one_doubt():
    wrong = exchange(exchange(make_crossing(), MEETING), MEETING + 4)
    (doubt,) = list_doubts(wrong, None, RULES)
    assert doubt.first <= MEETING - 1
    assert doubt.last >= MEETING + 4
    apart = exchange(exchange(make_crossing(), 10), 50)
    assert sorted(one.frame for one in list_doubts(apart, None, RULES)) == [10, 50]


def test_uncertain_places_of_the_tracker_are_listed_once():
    position = make_crossing(200.0)
    status = np.full((FRAMES, 2), TrackStatus.FOLLOWED, np.uint8)
    status[10:15, 0] = TrackStatus.UNCERTAIN
    status[40:44], status[59, 1] = TrackStatus.UNCERTAIN, TrackStatus.UNCERTAIN
    doubts = list_doubts(position, status, RULES)
    assert sorted(one[1:4] for one in doubts) == [
        (9, 15, (0,)),
        (39, 44, (0, 1)),
        (58, 60, (1,)),
    ]
    assert all(9 < one.frame <= 59 for one in doubts)
    # A place that poses already tell of is not told twice.
    met = make_crossing()
    status[:] = TrackStatus.FOLLOWED
    status[MEETING - 2 : MEETING + 3] = TrackStatus.UNCERTAIN
    assert len(list_doubts(exchange(met, MEETING), status, RULES)) == 1


def test_no_uncertain_animal_is_left_out():
    position = make_crossing(200.0)
    crowd = np.concatenate([position, position + 900.0, position[:, :1] + 2000.0], axis=1)
    status = np.full((FRAMES, 5), TrackStatus.FOLLOWED, np.uint8)
    status[10:15] = TrackStatus.UNCERTAIN
    doubts = list_doubts(crowd, status, RULES)
    assert {slot for one in doubts for slot in one.slots} == {0, 1, 2, 3, 4}
    assert all((one.first, one.last) == (9, 15) for one in doubts)
    # Of two that poses tell of already, the third is left.
    crowd[:, :2] = exchange(make_crossing(), MEETING)
    status[:] = TrackStatus.FOLLOWED
    status[MEETING - 2 : MEETING + 3, :3] = TrackStatus.UNCERTAIN
    slots = sorted(one.slots for one in list_doubts(crowd, status, RULES))
    assert slots == [(0, 1), (2,)]


def test_decisions_take_doubts_off_the_list():
    doubt = TrackDoubt(100, 95, 108, (0, 1), 0.9)
    confirmed = DecidedPlace(DecisionKind.CONFIRM, 96, 108, frozenset({0, 1}))
    assert drop_decided([doubt], [confirmed], 8) == []
    # Of other animals, elsewhere, or of one of the two.
    for other in (
        confirmed._replace(slots=frozenset({0, 2})),
        confirmed._replace(slots=frozenset({0})),
        confirmed._replace(frame=200, last=210),
    ):
        assert drop_decided([doubt], [other], 8) == [doubt]
    swapped = DecidedPlace(DecisionKind.SWAP, 97, 97, frozenset({0, 1}))
    assert drop_decided([doubt], [swapped], 8) == []
    # Another exchange that would fit better than none is asked about again.
    worse = doubt._replace(ambiguity=3.0)
    assert drop_decided([worse], [swapped], 8) == [worse]
    assert drop_decided([worse], [swapped._replace(frame=100)], 8) == []
    cut = DecidedPlace(DecisionKind.CUT, 50, 99, frozenset({1, 4}))
    assert drop_decided([doubt], [cut], 8) == []
