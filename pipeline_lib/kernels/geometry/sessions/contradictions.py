"""Cut tracklets where the other views say that they go from one animal to another.

Where animals lie on each other, a slot may slide from one animal to the other without a jump, and
the tracker does not notice. Two tracklets of different views then agree until a moment and
contradict each other after it, or the reverse: one of them has changed its animal. A tracklet that
agrees with a third one before and after the moment is not cut. All others are: a wrong cut costs
little, because pieces are joined again.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.geometry.sessions.agreement import Comparison
from pipeline_lib.kernels.geometry.sessions.tracklets import Tracklets, cut_before

Floats = NDArray[np.floating[Any]]
Numbers = NDArray[np.int64]

# Sum of scores on either side of a cut; where all keypoints of two views agree, a moment has 1.
_LEAST = 4.0
# Moments between two cuts that are one.
_NEAR = 3
# Moments on either side in which a third tracklet must agree, and the least sum of its scores.
_AROUND, _STEADY = 12, 2.0


class _Pair(NamedTuple):
    """Hold the agreement of two tracklets, numbered through all views.

    `moments` are ascending; `total` is the sum of the scores before each, and has one more.
    """

    first: int
    second: int
    moments: Numbers
    total: Floats

    def sum_between(self, start: int, stop: int) -> float:
        """Return the sum of the scores from a moment to before another."""
        low, high = np.searchsorted(self.moments, (start, stop))
        return float(self.total[high] - self.total[low])


def cut_contradictions(comparison: Comparison, tracklets: Sequence[Tracklets]) -> list[Tracklets]:
    """Return tracklets that are cut where other views contradict that they show one animal.

    Parameters
    ----------
    comparison
        Of the views.
    tracklets
        Of each view.
    """
    base = np.cumsum([0, *(len(one.start) for one in tracklets)])
    pairs = _list_pairs(comparison, tracklets)
    partners = _Partners(pairs, int(base[-1]))
    astray: list[set[int]] = [set() for _ in tracklets]
    for pair in pairs:
        for moment in _find_turns(pair):
            for number in (pair.first, pair.second):
                if not partners.has_steady(number, moment):
                    astray[int(np.searchsorted(base, number, side="right")) - 1].add(moment)
    return [
        _cut_view(one, _thin(moments), partners, start)
        for one, moments, start in zip(tracklets, astray, base[:-1].tolist(), strict=True)
    ]


class _Partners:
    """Find the partners of a tracklet, in other views, that it agrees with around a moment."""

    def __init__(self, pairs: Sequence[_Pair], count: int) -> None:
        self._pairs: list[list[_Pair]] = [[] for _ in range(count)]
        for pair in pairs:
            self._pairs[pair.first].append(pair)
            self._pairs[pair.second].append(pair)
        spans = [[(one.moments[0], one.moments[-1]) for one in own] for own in self._pairs]
        self._spans = [np.array(own, np.int64).reshape(-1, 2) for own in spans]

    def has_steady(self, number: int, moment: int) -> bool:
        """Tell whether a tracklet agrees with the same one before and after a moment."""
        start, end = self._spans[number].T
        spanning = np.flatnonzero((start < moment) & (end >= moment)).tolist()
        return any(_is_steady(self._pairs[number][place], moment) for place in spanning)


def _thin(moments: set[int]) -> list[int]:
    """Return one moment for those near each other, as pairs do not tell it exactly: the middle."""
    groups: list[list[int]] = []
    for moment in sorted(moments):
        if groups and moment - groups[-1][-1] <= _NEAR:
            groups[-1].append(moment)
        else:
            groups.append([moment])
    return [group[len(group) // 2] for group in groups]


def _list_pairs(comparison: Comparison, tracklets: Sequence[Tracklets]) -> list[_Pair]:
    count = sum(len(one.start) for one in tracklets)
    pairs: list[_Pair] = []
    for _, parts in groupby(comparison.score_tracklets(tracklets), key=lambda part: part[0]):
        code, moments, scores = (
            np.concatenate(column) for column in zip(*(part[1:] for part in parts), strict=True)
        )
        order = np.argsort(code, kind="stable")
        when, value = moments[order], scores[order]
        names, starts = np.unique(code[order], return_index=True)
        for name, start, stop in zip(
            names.tolist(), starts.tolist(), [*starts[1:].tolist(), len(code)], strict=True
        ):
            total = np.concatenate([[0.0], value[start:stop].cumsum()])
            first, second = divmod(name, count)
            pairs.append(_Pair(first, second, when[start:stop], total))
    return pairs


def _find_turns(pair: _Pair) -> list[int]:
    """Return the first moments after which a pair no longer agrees, or no longer disagrees.

    These are the extremes of the sum of scores from which it returns by `_LEAST` on both sides.
    """
    steps = np.diff(pair.total)
    if min(steps[steps > 0].sum(), -steps[steps < 0].sum()) < _LEAST:
        return []
    turns = []
    high = low = 0
    rising = falling = False
    total = pair.total.tolist()
    for place, value in enumerate(total):
        high = place if value > total[high] else high
        low = place if value < total[low] else low
        if not falling and total[high] - value >= _LEAST:
            turns += [high] if rising else []
            rising, falling, low = False, True, place
        elif not rising and value - total[low] >= _LEAST:
            turns += [low] if falling else []
            rising, falling, high = True, False, place
    return [int(pair.moments[turn]) for turn in turns]


def _is_steady(pair: _Pair, moment: int) -> bool:
    """Tell whether two tracklets agree before and after a moment."""
    before = pair.sum_between(moment - _AROUND, moment)
    return min(before, pair.sum_between(moment, moment + _AROUND)) >= _STEADY


def _cut_view(
    tracklets: Tracklets, moments: Sequence[int], partners: _Partners, base: int
) -> Tracklets:
    """Return the tracklets of a view, cut before some moments.

    A slot that goes astray takes the animal of another slot, so all are cut that are not steady.
    """
    cuts: dict[int, list[int]] = {}
    for moment in moments:
        spanning = np.flatnonzero((tracklets.start < moment) & (tracklets.end >= moment))
        for number in spanning.tolist():
            if not partners.has_steady(number + base, moment):
                cuts.setdefault(number, []).append(moment)
    return cut_before(tracklets, cuts)
