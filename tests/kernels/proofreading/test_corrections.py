"""Test decisions on tracks: by hand, and that order, slots and repetition do not matter."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.core.track_decisions import Anchor, DecisionKind, Passage, TrackDecision
from pipeline_lib.kernels.proofreading.corrections import (
    Outcome,
    anchor_decision,
    arrange_slots,
    correct_positions,
    determine_status,
    place_decisions,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FRAMES = 12


def make_tracks(animals=2, frames=FRAMES):
    """Return animals that stand 100 px apart and walk to the right; two keypoints 20 px apart."""
    time = np.arange(frames, dtype=np.float64)
    position = np.zeros((frames, animals, 2, 2))
    position[..., 0] = time[:, None, None] * 2.0
    position[..., 1] = np.arange(animals)[:, None] * 100.0 + np.array([-10.0, 10.0])
    return position


def exchange(position, order, first, last=None):
    """Return tracks with slots in another order in some frames."""
    moved = position.copy()
    frames = slice(first, None if last is None else last + 1)
    moved[frames] = position[frames][:, order]
    return moved


def anchor(position, frame, slot):
    return Anchor(frame, *position[frame, slot].mean(axis=0).tolist())


def decide(what, position, frame, *pairs, last=None, ends=(), author="anna", hours=0):
    """Decide as a person does who sees these tracks: pairs of slots before and after."""
    passages, after = (
        tuple(
            Passage(anchor(position, place - 1, one), anchor(position, place, other))
            for one, other in each
        )
        for place, each in ((frame, pairs), (1 if last is None else last + 1, ends))
    )
    return TrackDecision(
        "v", DecisionKind(what), frame, last, "one", "two", passages, after, author,
        NOON + timedelta(hours=hours),
    )  # fmt: skip


def swap(position, frame, one=0, other=1, **more):
    return decide("swap", position, frame, (one, other), (other, one), **more)


def outcomes(position, *decisions):
    found = np.isfinite(position).all(-1).any(-1)
    return [
        one.outcome
        for one in arrange_slots(decisions, found, lambda frame: position[frame]).results
    ]


def test_an_exchange_is_undone_from_its_frame_on():
    truth = make_tracks()
    wrong = exchange(truth, [1, 0], 5)
    decision = swap(wrong, 5)
    np.testing.assert_array_equal(correct_positions(wrong, [decision]), truth)
    assert outcomes(wrong, decision) == [Outcome.APPLIED]
    # Of tracks that are right, by a better tracker, nothing changes.
    np.testing.assert_array_equal(correct_positions(truth, [decision]), truth)
    assert outcomes(truth, decision) == [Outcome.RIGHT]


def test_an_exchange_between_two_frames():
    truth = make_tracks()
    wrong = exchange(truth, [1, 0], 4, 7)
    decision = swap(wrong, 4, last=7, ends=((0, 1), (1, 0)))
    np.testing.assert_array_equal(correct_positions(wrong, [decision]), truth)
    # Where the tracker made only one of the two mistakes, the other end still holds.
    half = exchange(truth, [1, 0], 8)
    np.testing.assert_array_equal(correct_positions(half, [decision]), truth)


def test_three_animals_that_changed_places_in_a_ring():
    truth = make_tracks(3)
    wrong = exchange(truth, [1, 2, 0], 6)
    # Slot 0 goes on in slot 2, 1 in 0, 2 in 1; two claims are enough, the third follows.
    first = decide("join", wrong, 6, (0, 2))
    second = decide("join", wrong, 6, (1, 0), hours=1)
    np.testing.assert_array_equal(correct_positions(wrong, [first, second]), truth)


def test_a_join_gives_a_lost_animal_its_track_back():
    truth = make_tracks()
    lost = truth.copy()
    lost[4:, 0] = np.nan
    tracks = np.concatenate([lost, np.full((FRAMES, 1, 2, 2), np.nan)], axis=1)
    tracks[6:, 2] = truth[6:, 0]
    decision = replace(
        decide("join", tracks, 6, (1, 1)),
        passages=(Passage(anchor(tracks, 3, 0), anchor(tracks, 6, 2)),),
    )
    mended = correct_positions(tracks, [decision])
    np.testing.assert_array_equal(mended[6:, 0], truth[6:, 0])
    assert np.isnan(mended[:, 2]).all()


@pytest.mark.parametrize("what", ["new", "cut"])
def test_another_animal_gets_a_slot_of_its_own(what):
    tracks = make_tracks()
    mended = correct_positions(tracks, [decide(what, tracks, 5, (0, 0))])
    assert mended.shape[1] == 3
    np.testing.assert_array_equal(mended[:5, 0], tracks[:5, 0])
    np.testing.assert_array_equal(mended[5:, 2], tracks[5:, 0])
    assert np.isnan(mended[5:, 0]).all()
    assert np.isnan(mended[:5, 2]).all()
    np.testing.assert_array_equal(mended[:, 1], tracks[:, 1])
    # A slot that nobody ever was in is taken first.
    spare = np.concatenate([np.full((FRAMES, 1, 2, 2), np.nan), tracks], axis=1)
    mended = correct_positions(spare, [decide(what, spare, 5, (1, 1))])
    assert mended.shape[1] == 3
    np.testing.assert_array_equal(mended[5:, 0], tracks[5:, 0])


def test_a_piece_is_cut_out_and_the_animal_goes_on():
    tracks = make_tracks()
    decision = decide("cut", tracks, 4, (0, 0), last=6, ends=((0, 0),))
    mended = correct_positions(tracks, [decision])
    np.testing.assert_array_equal(mended[7:, 0], tracks[7:, 0])
    np.testing.assert_array_equal(mended[4:7, 2], tracks[4:7, 0])
    assert np.isnan(mended[4:7, 0]).all()
    # Joined again, nothing has changed.
    again = decide("join", tracks, 4, (0, 0), hours=1)
    assert outcomes(tracks, decision, again) == [Outcome.REPLACED, Outcome.RIGHT]
    np.testing.assert_array_equal(correct_positions(tracks, [decision, again]), tracks)


def test_the_newest_of_two_people_holds():
    truth = make_tracks()
    wrong = exchange(truth, [1, 0], 5)
    anna, ben = swap(wrong, 5), decide("confirm", wrong, 5, (0, 0), (1, 1), author="ben", hours=1)
    np.testing.assert_array_equal(correct_positions(wrong, [anna, ben]), wrong)
    assert outcomes(wrong, anna, ben) == [Outcome.REPLACED, Outcome.RIGHT]
    ben = replace(ben, time=NOON - timedelta(hours=1))
    np.testing.assert_array_equal(correct_positions(wrong, [anna, ben]), truth)
    assert outcomes(wrong, anna, ben) == [Outcome.APPLIED, Outcome.REPLACED]
    # At the same time, the first name holds.
    ben = replace(ben, time=NOON)
    assert outcomes(wrong, ben, anna) == [Outcome.REPLACED, Outcome.APPLIED]


def test_two_people_who_mend_one_exchange_a_frame_apart_mend_it_once():
    truth = make_tracks()
    wrong = exchange(truth, [1, 0], 5)
    decisions = swap(wrong, 5), swap(wrong, 6, author="ben", hours=-1)
    assert outcomes(wrong, *decisions) == [Outcome.APPLIED, Outcome.REPLACED]
    np.testing.assert_array_equal(correct_positions(wrong, decisions), truth)
    # One person who exchanges them twice means it.
    twice = swap(wrong, 5), swap(wrong, 6)
    assert outcomes(wrong, *twice) == [Outcome.APPLIED, Outcome.APPLIED]


def test_what_was_confirmed_is_kept_by_another_tracker():
    truth = make_tracks()
    decision = decide("confirm", truth, 6, (0, 0), (1, 1))
    np.testing.assert_array_equal(correct_positions(exchange(truth, [1, 0], 6), [decision]), truth)


def test_what_begins_in_doubt_can_be_confirmed():
    tracks = make_tracks()
    tracks[:5, 1] = np.nan
    passages, _ = anchor_decision(tracks, DecisionKind.CONFIRM, 4, 7, [1])
    assert passages == (Passage(None, anchor(tracks, 7, 1)),)
    decision = replace(decide("confirm", make_tracks(), 4, (1, 1)), passages=passages, last_frame=7)
    assert outcomes(tracks, decision) == [Outcome.RIGHT]
    read = lambda frame: tracks[frame]  # noqa: E731 - short
    (place,) = place_decisions([decision], FRAMES, read)
    assert (place.frame, place.last, place.slots) == (4, 7, {1})


def test_anchors_are_where_the_animals_are_seen():
    tracks = make_tracks(3)
    tracks[4:6, 0] = np.nan
    passages, ends = anchor_decision(tracks, DecisionKind.SWAP, 5, 8, [0, 2])
    assert passages == (
        Passage(anchor(tracks, 3, 0), anchor(tracks, 5, 2)),
        Passage(anchor(tracks, 4, 2), anchor(tracks, 6, 0)),
    )
    assert ends == (
        Passage(anchor(tracks, 8, 2), anchor(tracks, 9, 0)),
        Passage(anchor(tracks, 8, 0), anchor(tracks, 9, 2)),
    )
    assert anchor_decision(tracks, DecisionKind.JOIN, 5, None, [0, 1]) == (
        (Passage(anchor(tracks, 3, 0), anchor(tracks, 5, 1)),),
        (),
    )
    assert anchor_decision(tracks, DecisionKind.NEW, FRAMES, None, [1])[0][0].after is None


def test_what_is_gone_is_told():
    tracks = make_tracks()
    beyond = swap(make_tracks(frames=30), 20)
    moved = swap(tracks + 1000.0, 5)
    assert outcomes(tracks, beyond, moved) == [Outcome.IMPOSSIBLE] * 2
    np.testing.assert_array_equal(correct_positions(tracks, [beyond, moved]), tracks)
    nobody = np.full_like(tracks, np.nan)
    assert outcomes(nobody, swap(tracks, 5)) == [Outcome.IMPOSSIBLE]
    empty = np.zeros((0, 2, 2, 2))
    assert outcomes(empty, swap(tracks, 5)) == [Outcome.IMPOSSIBLE]
    assert correct_positions(empty, [swap(tracks, 5)]).shape == empty.shape


def test_one_animal_that_is_not_seen_any_more_does_not_matter():
    truth = make_tracks()
    wrong = exchange(truth, [1, 0], 5)
    decision = swap(wrong, 5)
    poorer = wrong.copy()
    poorer[5] = np.where(np.isnan(poorer[5]), np.nan, poorer[5])
    poorer[5, 1] = np.nan
    mended = correct_positions(poorer, [decision])
    np.testing.assert_array_equal(mended[6:], truth[6:])


def test_status_follows_its_animal():
    status = np.array([[1, 1], [1, 3], [2, 1], [1, 0], [1, 0]], np.uint8)
    sources = np.array([[0, 1], [0, 1], [1, 0], [1, 0], [1, 0]])
    expected = [[1, 1], [1, 3], [1, 2], [0, 1], [0, 1]]
    assert determine_status(status, sources).tolist() == expected
    assert determine_status(status, np.full((5, 1), -1)).tolist() == [[TrackStatus.ABSENT]] * 5


ANIMALS = 3


@st.composite
def tracks_and_decisions(draw):
    """Draw tracks with gaps and exchanges, and decisions of two people, also contradictory ones."""
    tracks = make_tracks(ANIMALS)
    for frame in sorted(draw(st.sets(st.integers(1, FRAMES - 1), max_size=3))):
        tracks = exchange(tracks, draw(st.permutations(range(ANIMALS))), frame)
    seen = tracks.copy()
    for _ in range(draw(st.integers(0, 3))):
        frame, slot = draw(st.integers(0, FRAMES - 1)), draw(st.integers(0, ANIMALS - 1))
        tracks[frame : frame + 2, slot] = np.nan
    decisions = []
    for number in range(draw(st.integers(1, 5))):
        what = draw(st.sampled_from(list(DecisionKind)))
        frame = draw(st.integers(1, FRAMES - 2))
        one, other = draw(st.permutations(range(ANIMALS)))[:2]
        pairs = {
            "swap": ((one, other), (other, one)),
            "join": ((one, other),),
            "confirm": ((one, one), (other, other)),
        }.get(what, ((one, one),))
        more = {}
        if what in ("swap", "cut") and draw(st.booleans()):
            ends = pairs if what == "swap" else ((one, one),)
            more = {"last": draw(st.integers(frame, FRAMES - 2)), "ends": ends}
        author = draw(st.sampled_from(["anna", "ben"]))
        decisions.append(decide(what, seen, frame, *pairs, author=author, hours=number, **more))
    return tracks, draw(st.permutations(decisions))


def as_sets(position):
    """Return tracks as a set: the order of slots is no matter, nor are slots without a pose."""
    slots = np.moveaxis(position, 1, 0)
    return sorted(
        np.nan_to_num(slot, nan=-1.0).tobytes() for slot in slots if not np.isnan(slot).all()
    )


@given(tracks_and_decisions())
@settings(max_examples=200, deadline=None)
def test_decisions_applied_twice_are_applied_once(drawn):
    tracks, decisions = drawn
    once = correct_positions(tracks, decisions)
    np.testing.assert_array_equal(correct_positions(once, decisions), once)


@given(tracks_and_decisions(), st.permutations(range(ANIMALS)), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_neither_the_order_of_slots_nor_of_decisions_matters(drawn, order, random):
    tracks, decisions = drawn
    mixed = random.sample(decisions, len(decisions))
    permuted = correct_positions(tracks[:, list(order)], mixed)
    assert as_sets(permuted) == as_sets(correct_positions(tracks, decisions))


@given(tracks_and_decisions())
@settings(max_examples=100, deadline=None)
def test_no_pose_is_lost_or_invented(drawn):
    tracks, decisions = drawn
    mended = correct_positions(tracks, decisions)
    for before, after in zip(tracks, mended, strict=True):
        assert as_sets(before[None]) == as_sets(after[None])


@given(st.integers(1, FRAMES - 1), st.permutations(range(ANIMALS)))
@settings(max_examples=50, deadline=None)
def test_an_exchange_and_the_same_back_is_nothing(frame, order):
    tracks = make_tracks(ANIMALS)
    one, other = order[:2]
    there = correct_positions(tracks, [swap(tracks, frame, one, other)])
    assert not np.array_equal(there, tracks)
    back = correct_positions(there, [swap(there, frame, one, other)])
    np.testing.assert_array_equal(back, tracks)
    both = [swap(tracks, frame, one, other), swap(there, frame, one, other, hours=1)]
    np.testing.assert_array_equal(correct_positions(tracks, both), tracks)
