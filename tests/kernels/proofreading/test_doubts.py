"""Test the list of doubtful places: by hand, in order, and what decisions take off it."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.core.track_decisions import DecisionKind
from pipeline_lib.kernels.proofreading.corrections import DecidedPlace
from pipeline_lib.kernels.proofreading.doubts import (
    DoubtRules,
    TrackDoubt,
    drop_decided,
    find_doubts,
    keep_worst_of_events,
    list_doubts,
)

RULES = DoubtRules(0.05, 8, 250)
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
    assert doubt.probability > 0.9


@pytest.mark.parametrize("lost", [(0,), (1,), (0, 1)])
def test_an_exchange_while_animals_are_lost_is_found(lost):
    wrong = exchange(make_crossing(20.0), MEETING)
    for animal in lost:
        wrong[MEETING - 2 : MEETING + 2, animal] = np.nan
    doubts = list_doubts(wrong, None, RULES)
    assert doubts[0].slots == (0, 1)
    assert doubts[0].first < MEETING + 3
    assert doubts[0].last >= MEETING
    assert doubts[0].probability > 0.5


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


def test_an_uncertain_track_is_a_doubt_only_where_poses_cannot_tell():
    position = make_crossing(2000.0)
    status = np.full((FRAMES, 2), TrackStatus.FOLLOWED, np.uint8)
    status[10:15, 0] = status[40:44] = TrackStatus.UNCERTAIN
    # Nobody is near, and both tracks go on as usual.
    assert list_doubts(position, status, RULES) == []
    # One comes back elsewhere, where no other animal is, or after a gap that is too long.
    jumped = position.copy()
    jumped[10:, 0] += 700.0
    (doubt,) = list_doubts(jumped, status, RULES)
    assert (doubt.frame, doubt.first, doubt.last, doubt.slots) == (10, 9, 15, (0,))
    lost = position.copy()
    lost[3:10, 0] = np.nan
    assert list_doubts(lost, status, RULES) == []
    assert [one.slots for one in list_doubts(lost, status, replace(RULES, max_gap=5))] == [(0,)]
    # A place that poses already tell of is not told twice.
    status[:] = TrackStatus.FOLLOWED
    status[MEETING - 2 : MEETING + 3] = TrackStatus.UNCERTAIN
    assert len(list_doubts(exchange(make_crossing(), MEETING), status, RULES)) == 1


def test_the_doubts_of_one_event_are_one():
    # Three animals that meet: each pair might have been exchanged.
    both = make_crossing()
    third = both[:, :1] * [1.0, 0.5] + [0.0, 12.0]
    crowd = np.concatenate([both, third], axis=1)
    crowd[MEETING:] = crowd[MEETING:, [1, 2, 0]]
    found = find_doubts(crowd, None, RULES)
    assert len({one.slots for one in found}) >= 2
    (worst,) = list_doubts(crowd, None, RULES)
    assert worst == found[0]
    assert worst.probability == max(one.probability for one in found)
    # Other animals, or another time, are another event.
    other = worst._replace(slots=(5, 6))
    later = worst._replace(first=worst.last + 9, frame=worst.last + 10, last=worst.last + 12)
    assert keep_worst_of_events([worst, other, later], 8) == [worst, other, later]
    assert keep_worst_of_events([worst, later], 9) == [worst]


def test_noise_that_is_usual_is_no_evidence():
    # With noise as large as the animals' distance, nothing tells that they were exchanged.
    rng = np.random.default_rng(0)
    calm, wrong = make_crossing(8.0), exchange(make_crossing(8.0), MEETING)
    assert list_doubts(wrong, None, RULES)[0].probability > 0.9
    noise = rng.normal(0.0, 25.0, calm.shape)
    noisy = find_doubts(wrong + noise, None, RULES)
    assert max((one.probability for one in noisy if one.frame == MEETING), default=0.0) < 0.9


def test_decisions_take_doubts_off_the_list():
    doubt = TrackDoubt(100, 95, 108, (0, 1), 0.4)
    confirmed = DecidedPlace(DecisionKind.CONFIRM, 96, 108, frozenset({0, 1}))
    assert drop_decided([doubt], [confirmed], 8) == []
    # Of other animals, or elsewhere.
    for other in (
        confirmed._replace(slots=frozenset({2, 3})),
        confirmed._replace(frame=200, last=210),
    ):
        assert drop_decided([doubt], [other], 8) == [doubt]
    # Who has seen that one animal is right has seen that it was not exchanged with a third one,
    # unless that would fit better.
    third = confirmed._replace(slots=frozenset({0, 2}))
    assert drop_decided([doubt], [third], 8) == []
    likely = doubt._replace(probability=0.6)
    assert drop_decided([likely], [third], 8) == [likely]
    assert drop_decided([likely], [confirmed], 8) == []
    # A swap of another pair at the same place does not hide that a second one would fit better.
    other = DecidedPlace(DecisionKind.SWAP, 100, 100, frozenset({1, 2}))
    assert drop_decided([likely], [other], 8) == [likely]
    assert drop_decided([likely], [other._replace(what=DecisionKind.NEW)], 8) == []
    swapped = DecidedPlace(DecisionKind.SWAP, 97, 97, frozenset({0, 1}))
    assert drop_decided([doubt], [swapped], 8) == []
    # Another exchange that would fit better than none is asked about again.
    worse = doubt._replace(probability=0.8)
    assert drop_decided([worse], [swapped], 8) == [worse]
    assert drop_decided([worse], [swapped._replace(frame=100)], 8) == []
    cut = DecidedPlace(DecisionKind.CUT, 50, 99, frozenset({1, 4}))
    assert drop_decided([doubt], [cut], 8) == []
