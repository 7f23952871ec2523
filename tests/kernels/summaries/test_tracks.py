import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.kernels.summaries.tracks import (
    Flag,
    count_all_followed,
    count_track_statuses,
    find_flags,
    thin_animal_counts,
    thin_track_statuses,
)

LETTERS = {"-": TrackStatus.ABSENT, "f": TrackStatus.FOLLOWED, "g": TrackStatus.GAP, "u": 3}


def make_status(*individuals):
    """Return statuses from one text per individual, with one letter per frame."""
    rows = [[LETTERS[letter] for letter in text] for text in individuals]
    return np.array(rows, np.uint8).reshape(len(individuals), -1).T


statuses = arrays(
    np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 4)), elements=st.integers(0, 3)
)


def test_frames_are_counted_by_status():
    counts = count_track_statuses(make_status("ffug-", "-----"))
    assert counts.tolist() == [[1, 2, 1, 1], [5, 0, 0, 0]]


@pytest.mark.parametrize(
    ("individuals", "expected"),
    [
        (("ffff", "fuff"), 3),
        (("ffff", "fgff"), 3),
        # One that comes late is an animal of the video; a place that nobody takes is not.
        (("ffff", "--ff"), 2),
        (("ffff", "----"), 4),
        (("----", "----"), 0),
        (("", ""), 0),
    ],
)
def test_frames_in_which_all_individuals_are_followed_are_counted(individuals, expected):
    assert count_all_followed(make_status(*individuals)) == expected


def test_swaps_are_of_several_and_gaps_of_one():
    status = make_status("fuuufgg", "ffuuuff", "-ggffff")
    assert find_flags(status) == [
        Flag(TrackStatus.UNCERTAIN, 1, 4, (0, 1)),
        Flag(TrackStatus.GAP, 1, 2, (2,)),
        Flag(TrackStatus.GAP, 5, 6, (0,)),
    ]
    assert [flag.frames for flag in find_flags(status)] == [4, 2, 2]


@given(statuses)
def test_flags_cover_what_is_flagged_and_nothing_else(status):
    covered = np.zeros_like(status)
    for flag in find_flags(status):
        for individual in flag.individuals:
            part = status[flag.first : flag.last + 1, individual]
            covered[flag.first : flag.last + 1, individual] |= part == flag.status
            if flag.status == TrackStatus.GAP:
                assert (part == TrackStatus.GAP).all()
    flagged = np.isin(status, (TrackStatus.GAP, TrackStatus.UNCERTAIN))
    np.testing.assert_array_equal(covered.astype(bool), flagged)


@given(statuses, st.integers(1, 50))
def test_thinned_statuses_add_up_and_keep_every_frame_of_a_short_video(status, stretches):
    shares = thin_track_statuses(status, stretches)
    assert len(shares) == min(stretches, len(status))
    np.testing.assert_allclose(shares.sum(axis=-1), 1.0)
    if len(status) <= stretches:
        np.testing.assert_array_equal(shares.argmax(axis=-1), status)


def test_stretches_give_shares():
    shares = thin_track_statuses(make_status("ffgu"), 2)
    assert shares[:, 0].tolist() == [[0, 1, 0, 0], [0, 0, 0.5, 0.5]]


def test_animals_are_counted_where_they_are_seen():
    counts = thin_animal_counts(make_status("ffgu", "-fff"), 2)
    assert counts.tolist() == [[1, 1.5, 2], [1, 1.5, 2]]
    assert thin_animal_counts(make_status("", ""), 10).shape == (0, 3)
