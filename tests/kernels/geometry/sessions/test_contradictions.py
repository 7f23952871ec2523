"""Test where tracklets are cut because views that agreed contradict each other."""

import numpy as np

from pipeline_lib.kernels.geometry.sessions.agreement import Comparison
from pipeline_lib.kernels.geometry.sessions.contradictions import cut_contradictions
from pipeline_lib.kernels.geometry.sessions.tracklets import Tracklets, cut_before


class Scores:
    """Stand for a comparison: scores of pairs of views, shape (moment, slot, slot)."""

    def __init__(self, **pairs):
        self.pairs = pairs

    score_tracklets = Comparison.score_tracklets

    def score_slots(self):
        for name, score in self.pairs.items():
            moments = np.arange(len(score))
            # In two parts, as of a long session.
            for part in (moments[: len(score) // 2], moments[len(score) // 2 :]):
                yield int(name[1]), int(name[2]), part, score[part], np.ones_like(score[part])


def follow(moments, slots=1):
    """Return one tracklet for each slot, over all moments."""
    number = np.tile(np.arange(slots), (moments, 1))
    ends = np.full(slots, moments - 1)
    return Tracklets(number, 0 * ends, ends, np.arange(slots), 0 * ends - 1)


def step(moments, *at):
    """Return scores of 1 that become -1, and 1 again, at some moments; shape (moment, 1, 1)."""
    sign = (-1.0) ** np.searchsorted(at, np.arange(moments), side="right")
    return sign[:, None, None]


def list_pieces(tracklets):
    return list(zip(tracklets.start.tolist(), tracklets.end.tolist(), strict=True))


def test_two_views_that_part_are_both_cut_where_they_do():
    cut = cut_contradictions(Scores(p01=step(40, 25)), [follow(40), follow(40)])
    assert [list_pieces(one) for one in cut] == [[(0, 24), (25, 39)]] * 2
    assert cut[0].number[:, 0].tolist() == [0] * 25 + [1] * 15
    assert cut[0].follows.tolist() == [-1, 0]
    assert cut[0].slot.tolist() == [0, 0]
    # There and back, and from disagreement to agreement.
    cut = cut_contradictions(Scores(p01=-step(60, 20, 41)), [follow(60), follow(60)])
    assert list_pieces(cut[1]) == [(0, 19), (20, 40), (41, 59)]
    assert cut[1].follows.tolist() == [-1, 0, 1]


def test_of_three_views_the_one_that_goes_astray_is_cut():
    scores = Scores(p01=step(40), p02=step(40, 25), p12=step(40, 25))
    cut = cut_contradictions(scores, [follow(40)] * 3)
    assert [len(one.start) for one in cut] == [1, 1, 2]
    # The pairs tell it a moment apart: it is cut once.
    scores = Scores(p01=step(40), p02=step(40, 24), p12=step(40, 25))
    cut = cut_contradictions(scores, [follow(40)] * 3)
    assert list_pieces(cut[2]) == [(0, 24), (25, 39)]


def test_a_short_contradiction_cuts_nothing():
    assert len(cut_contradictions(Scores(p01=step(40, 20, 23)), [follow(40)] * 2)[0].start) == 1
    # Evidence of 3 after the change, and of 4.
    for last, pieces in ((23, 1), (24, 2)):
        cut = cut_contradictions(Scores(p01=step(last, 20)), [follow(last)] * 2)
        assert len(cut[0].start) == pieces


def test_a_slot_whose_animal_is_taken_is_cut_and_one_that_goes_on_is_not():
    # Slot 0 of the third view goes from the animal of slot 0 of the others to that of slot 1. Of
    # its slot 1 nothing is known around that time. Slot 2 goes on.
    moments, wrong = 40, np.full((40, 3, 3), -1.0)
    same = wrong.copy()
    same[:, range(3), range(3)] = 1.0
    astray = same.copy()
    astray[25:, 0, 0], astray[25:, 1, 0] = -1.0, 1.0
    astray[13:38, :, 1] = np.nan
    views = [follow(moments, 3)] * 3
    cut = cut_contradictions(Scores(p01=same, p02=astray, p12=astray), views)
    assert [len(one.start) for one in cut] == [3, 3, 5]
    assert list_pieces(cut[2]) == [(0, 24), (0, 24), (0, 39), (25, 39), (25, 39)]


def test_pieces_follow_each_other():
    # A tracklet of two slots with a gap, which another one follows.
    number = np.array([[0, -1], [0, -1], [-1, -1], [-1, 0], [-1, 0], [1, -1]])
    whole = Tracklets(
        number, np.array([0, 5]), np.array([4, 5]), np.array([0, 0]), np.array([-1, 0])
    )
    cut = cut_before(whole, {0: [1, 4]})
    assert cut.number.tolist() == [[0, -1], [2, -1], [-1, -1], [-1, 2], [-1, 3], [1, -1]]
    assert list_pieces(cut) == [(0, 0), (5, 5), (1, 3), (4, 4)]
    assert cut.slot.tolist() == [0, 0, 0, 1]
    assert cut.follows.tolist() == [-1, 3, 0, 2]
    assert cut_before(whole, {}) is whole
    # Nothing is before the first moment or after the last one.
    assert cut_before(whole, {0: [0, 5]}) is whole
