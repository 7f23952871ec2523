"""What somebody changed about tracks is found, and applied again it gives these tracks."""

from datetime import UTC, datetime

import numpy as np
import pytest

from pipeline_lib.core.track_decisions import Anchor, DecisionKind, Passage, TrackDecision
from pipeline_lib.kernels.proofreading.corrections import correct_positions
from pipeline_lib.kernels.proofreading.returned import find_changes, match_slots

NAN = np.nan


def make_tracks(frames=40, slots=3):
    """Return centres of animals that walk beside each other."""
    time = np.arange(frames)[:, None]
    x = 3.0 * time + np.zeros(slots)
    y = 100.0 * np.arange(slots) + np.zeros((frames, 1))
    return np.stack([x, y], axis=-1)


def decide(centres, changes):
    """Return the changes as decisions, with anchors at the centres."""

    def anchor(frame, slot):
        return Anchor(frame, *centres[frame, slot].tolist())

    return [
        TrackDecision(
            video="v",
            what=change.what,
            first_frame=change.first_frame,
            last_frame=None,
            individual="a",
            other="" if change.what is DecisionKind.NEW else "b",
            passages=tuple(Passage(anchor(*one), anchor(*two)) for one, two in change.passages),
            ends=(),
            author="x",
            time=datetime(2026, 1, 1, tzinfo=UTC),
        )
        for change in changes
    ]


def give_back(centres, tracks):
    """Return centres by track, given the track of each slot and frame; -1: none."""
    count = tracks.max() + 1
    returned = np.full((len(centres), count, 2), NAN)
    for frame, row in enumerate(tracks):
        for slot, track in enumerate(row):
            if track >= 0:
                returned[frame, track] = centres[frame, slot]
    return returned


def check(centres, tracks, own=None):
    """Return the changes, after seeing that they make the tracks that were given back."""
    returned = give_back(centres, tracks)
    own = list(range(centres.shape[1])) if own is None else own
    own = (own + [-1] * returned.shape[1])[: returned.shape[1]]
    changes = find_changes(match_slots(centres, returned, own, 40.0))
    corrected = correct_positions(centres[:, :, None], decide(centres, changes))[:, :, 0]
    # Every slot of the result is one track.
    for slot in range(corrected.shape[1]):
        held = set()
        for frame in range(len(centres)):
            same = np.flatnonzero((np.abs(returned[frame] - corrected[frame, slot]) < 1e-6).all(-1))
            held |= set(same.tolist())
        assert len(held) <= 1, (slot, held)
    return [(change.what, change.first_frame) for change in changes]


def test_nothing_changed():
    centres = make_tracks()
    tracks = np.tile([0, 1, 2], (40, 1))
    assert check(centres, tracks) == []
    # Whatever the tracks are called.
    assert check(centres, tracks[:, [2, 0, 1]], own=[-1, -1, -1]) == []


def test_two_animals_that_were_exchanged():
    centres = make_tracks()
    tracks = np.tile([0, 1, 2], (40, 1))
    tracks[12:] = [1, 0, 2]
    assert check(centres, tracks) == [(DecisionKind.SWAP, 12)]
    tracks[30:] = [0, 1, 2]
    assert check(centres, tracks) == [(DecisionKind.SWAP, 12), (DecisionKind.SWAP, 30)]


def test_three_animals_that_went_round():
    centres = make_tracks()
    tracks = np.tile([0, 1, 2], (40, 1))
    tracks[12:] = [1, 2, 0]
    assert check(centres, tracks) == [(DecisionKind.JOIN, 12)] * 3


def test_an_animal_that_goes_on_in_another_slot_and_a_new_one():
    centres = make_tracks()
    centres[20:, 0] = NAN
    centres[:25, 1] = NAN
    tracks = np.tile([0, 1, 2], (40, 1))
    tracks[25:, 1] = 0
    tracks[np.isnan(centres[..., 0])] = -1
    assert check(centres, tracks) == [(DecisionKind.JOIN, 25)]
    tracks[:, 2] = np.where(np.arange(40) < 7, 2, 3)
    assert check(centres, tracks) == [(DecisionKind.NEW, 7), (DecisionKind.JOIN, 25)]


def test_frames_and_animals_that_are_missing_are_no_change():
    centres = make_tracks()
    tracks = np.tile([0, 1, 2], (40, 1))
    tracks[5:9] = -1
    tracks[20:, 2] = -1
    assert check(centres, tracks) == []


@pytest.mark.parametrize("seed", range(20))
def test_any_exchanges_at_any_frames(seed):
    random = np.random.default_rng(seed)
    centres = make_tracks(slots=4)
    centres[random.random((40, 4)) < 0.2] = NAN
    tracks = np.tile(np.arange(4), (40, 1))
    for _ in range(3):
        first = int(random.integers(1, 40))
        tracks[first:] = tracks[first:, random.permutation(4)]
    tracks[np.isnan(centres[..., 0])] = -1
    check(centres, tracks)


def test_animals_that_were_moved_are_found_where_they_are():
    centres = make_tracks(frames=6)
    returned = give_back(centres, np.tile([0, 1, 2], (6, 1)))
    returned[3, 0] += 5
    returned[4, 1] += 500
    matched = match_slots(centres, returned, [0, 1, 2], 40.0)
    assert matched[3].tolist() == [0, 1, 2]
    # One that is nowhere near an animal is none of them.
    assert matched[4].tolist() == [0, -1, 2]
