"""Measure how well animals in two views agree: by the epipolar geometry of their keypoints.

The error of two pixels is Sampson's (1982): the least sum of squared displacements in both images
after which their rays meet, to first order. It is computed from the rays, so that it holds for
every lens. Rays that would meet behind a camera do not agree.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Camera
from pipeline_lib.kernels.geometry.projection import unproject
from pipeline_lib.kernels.geometry.sessions.tracklets import Tracklets

Floats = NDArray[np.float64]
Pixels = NDArray[np.floating[Any]]
Directions = NDArray[np.float32]
Numbers = NDArray[np.int64]

# Pairs of keypoints that are compared at a time.
_BLOCK = 400_000
# Number of keypoints of two poses that are full evidence.
_ENOUGH = 3
# Tolerance as a multiple of the median error of the best partners, and the least, in px.
_TOLERANCE, _LEAST = 4.5, 2.0
# Share of pairs that are better than the usual one.
_GOOD = 0.3
# Moments from which the tolerance is estimated.
_SAMPLE = 400


@dataclass(frozen=True)
class Agreement:
    """Hold the agreement between tracklets of different views.

    Attributes
    ----------
    first, second
        Shape (pair,): numbers of tracklets, counted through all views, `first` < `second`.
    score
        Shape (pair,): sum over their common moments of 1 (the rays of all keypoints meet) to -1
        (none do).
    tolerance
        Error in px at which a keypoint counts neither for nor against.
    """

    first: Numbers
    second: Numbers
    score: Floats
    tolerance: float


@dataclass(frozen=True)
class Comparison:
    """Compare the slots of all pairs of views at common moments.

    Attributes
    ----------
    cameras
        Of the views.
    rays
        For each view: see `find_directions`.
    moments
        Moments that are compared, ascending.
    tolerances
        Error in px at which a keypoint counts neither for nor against, of each pair of views.
    usual
        The same for good pairs of views.
    """

    cameras: Sequence[Camera]
    rays: Sequence[Directions]
    moments: Numbers
    tolerances: Mapping[tuple[int, int], float]
    usual: float

    def score_slots(self) -> Iterator[tuple[int, int, Numbers, Floats, Floats]]:
        """Yield two views, some moments, and the scores and weights of their slots at these.

        Scores have shape (moment, slot, slot of the other view): from the weight (the rays of all
        keypoints meet) to minus the weight (none do); NaN where the slots share no keypoint. The
        weight is `trust` if they share several keypoints, less if few.
        """
        for one, other in combinations(range(len(self.cameras)), 2):
            tolerance, trust = self._find_tolerance(one, other), self.trust(one, other)
            for part in _divide(self.moments, self.rays[one], self.rays[other]):
                errors = measure_epipolar(
                    self.cameras[one],
                    self.cameras[other],
                    self.rays[one][part],
                    self.rays[other][part],
                )
                score, weight = _score(errors, tolerance)
                yield one, other, part, score * trust, weight * trust

    def trust(self, one: int, other: int) -> float:
        """Return the weight of a pair of views: 1 if it agrees as well as others, less if not.

        A pair that always agrees badly, because one camera is off, is weak evidence.
        """
        return self.usual / self._find_tolerance(one, other)

    def _find_tolerance(self, one: int, other: int) -> float:
        return max(self.usual, self.tolerances.get((one, other), self.usual))

    def score_tracklets(
        self, tracklets: Sequence[Tracklets]
    ) -> Iterator[tuple[tuple[int, int], Numbers, Numbers, Floats]]:
        """Yield two views, and of tracklets that both show: pair, moment and score, shape (n,).

        Tracklets are numbered through all views; a pair is the number of the first, times the
        number of all tracklets, plus that of the second.
        """
        base = np.cumsum([0, *(len(one.start) for one in tracklets)])
        for one, other, part, score, _ in self.score_slots():
            own, its = tracklets[one].number[part], tracklets[other].number[part]
            both = np.isfinite(score) & (own >= 0)[:, :, None] & (its >= 0)[:, None, :]
            moment, left, right = np.nonzero(both)
            pair = (own[moment, left] + base[one]) * base[-1] + its[moment, right] + base[other]
            yield (one, other), pair, part[moment], score[both]


def compare_views(
    cameras: Sequence[Camera],
    positions: Sequence[Pixels],
    tracklets: Sequence[Tracklets],
    most_pairs: float,
) -> Comparison:
    """Prepare the comparison of all pairs of views.

    Parameters
    ----------
    cameras
        Of the views.
    positions
        For each view: shape (moment, slot, keypoint, 2), in px; NaN: not seen.
    tracklets
        Of each view.
    most_pairs
        Number of pairs of keypoints above which only some moments are compared: those near starts
        and ends of tracklets, and others evenly spread.
    """
    pairs = list(combinations(range(len(cameras)), 2))
    moments = _choose_moments(positions, tracklets, most_pairs)
    rays = [find_directions(camera, seen) for camera, seen in zip(cameras, positions, strict=True)]
    tolerances = _find_tolerances(cameras, rays, pairs, moments)
    return Comparison(cameras, rays, moments, tolerances, _choose_usual([*tolerances.values()]))


def measure_agreement(comparison: Comparison, tracklets: Sequence[Tracklets]) -> Agreement:
    """Sum the scores of all pairs of tracklets of different views.

    Parameters
    ----------
    comparison
        Of the views.
    tracklets
        Of each view.
    """
    codes, sums = [], []
    for _, pair, _, score in comparison.score_tracklets(tracklets):
        code, inverse = np.unique(pair, return_inverse=True)
        codes.append(code)
        sums.append(np.bincount(inverse, score, minlength=len(code)))
    if not codes:
        none = np.zeros(0, np.int64)
        return Agreement(none, none, np.zeros(0), comparison.usual)
    code, inverse = np.unique(np.concatenate(codes), return_inverse=True)
    total = np.bincount(inverse, np.concatenate(sums), minlength=len(code)).astype(np.float64)
    width = max(1, sum(len(one.start) for one in tracklets))
    return Agreement(code // width, code % width, total, comparison.usual)


class Membership(NamedTuple):
    """Hold how well the slots of a view fit each individual, by all other views.

    Attributes
    ----------
    fit, weight
        Shape (moment, slot, individual): sums of the scores and weights, see
        `Comparison.score_slots`, with the slots that the other views assign to the individual; 0
        where nothing is compared.
    shared
        The same shape: number of views that share several keypoints; one that shares few counts
        less.
    """

    fit: Floats
    weight: Floats
    shared: Floats


def measure_membership(
    comparison: Comparison, labels: Sequence[Numbers], individuals: int
) -> list[Membership]:
    """Measure at each moment how well each slot fits each individual; return it for each view.

    Parameters
    ----------
    comparison
        Of the views.
    labels
        For each view, shape (moment, slot): the individual of each slot; -1: none.
    individuals
        Number of individuals.
    """
    found = [
        Membership(*(np.zeros((*one.shape, individuals)) for _ in Membership._fields))
        for one in labels
    ]
    for one, other, part, score, weight in comparison.score_slots():
        known = np.where(np.isfinite(score), score, 0.0)
        shared = weight / comparison.trust(one, other)
        for label in range(individuals):
            theirs = (labels[other][part] == label)[:, None, :]
            ours = (labels[one][part] == label)[:, :, None]
            for place, each in enumerate((known, weight, shared)):
                found[one][place][part, :, label] += (each * theirs).sum(axis=2)
                found[other][place][part, :, label] += (each * ours).sum(axis=1)
    return found


def find_directions(camera: Camera, pixels: Pixels) -> Directions:
    """Return the rays of pixels (moment, slot, keypoint, 2) as (moment, keypoint, slot, 3)."""
    rays = np.empty((*pixels.shape[:-1], 3), np.float32)
    step = max(1, _BLOCK // max(1, pixels.shape[1] * pixels.shape[2]))
    for start in range(0, len(pixels), step):
        part = slice(start, start + step)
        rays[part] = unproject(camera, pixels[part].astype(np.float64))
    return np.swapaxes(rays, 1, 2)


def measure_epipolar(
    camera: Camera, other: Camera, rays: Directions, other_rays: Directions
) -> NDArray[np.floating[Any]]:
    """Measure how far the keypoints of two views are from meeting.

    Parameters
    ----------
    camera, other
        Two cameras.
    rays, other_rays
        Shape (moment, keypoint, slot, 3) and (moment, keypoint, other slot, 3), see
        `find_directions`.

    Returns
    -------
    NDArray[np.floating]
        Shape (moment, slot, other slot, keypoint), in px: root of the least sum of squared
        displacements in both views; infinite where the rays meet behind a camera, NaN where
        either is not seen.
    """
    base = other.centre - camera.centre
    length = np.linalg.norm(base)
    if length == 0:
        return np.full(
            (len(rays), rays.shape[2], other_rays.shape[2], rays.shape[1]), np.nan, np.float32
        )
    base = (base / length).astype(rays.dtype)
    normal, other_normal = np.cross(base, rays), np.cross(base, other_rays)
    focal, other_focal = (
        np.sqrt(one.matrix[0, 0] * one.matrix[1, 1]).astype(rays.dtype) for one in (camera, other)
    )
    with np.errstate(all="ignore"):
        triple = rays @ np.swapaxes(other_normal, -1, -2)
        spread = ((normal**2).sum(-1) / other_focal**2)[..., :, None] + (
            (other_normal**2).sum(-1) / focal**2
        )[..., None, :]
        error = np.abs(triple) / np.sqrt(np.maximum(spread, 1e-30))
        cosine = rays @ np.swapaxes(other_rays, -1, -2)
        along, other_along = (rays @ base)[..., :, None], (other_rays @ base)[..., None, :]
        # Distances along both rays to their points of closest approach, times a positive number.
        front = (along - other_along * cosine > 0) & (along * cosine - other_along > 0)
        error = np.where(front | np.isnan(error), error, np.inf)
    return np.moveaxis(error, 1, -1)


def _choose_usual(tolerances: list[float]) -> float:
    """Return the tolerance of good pairs; one bad camera of four spoils half the pairs."""
    if not tolerances:
        return _LEAST
    return max(_LEAST, sorted(tolerances)[int(_GOOD * len(tolerances))])


def _score(errors: Pixels, tolerance: float) -> tuple[Floats, Floats]:
    """Return the score and the weight of each pair of slots; see `Comparison.score_slots`."""
    known = ~np.isnan(errors)
    count = known.sum(-1)
    weight = np.minimum(1.0, count / _ENOUGH)
    with np.errstate(all="ignore"):
        each = np.where(known, np.maximum(-1.0, 1.0 - (errors / tolerance) ** 2), 0.0)
        mean = each.sum(-1) / count
    return np.where(count > 0, mean * weight, np.nan).astype(np.float64), weight


def _find_tolerances(
    cameras: Sequence[Camera],
    rays: Sequence[Directions],
    pairs: Sequence[tuple[int, int]],
    moments: Numbers,
) -> dict[tuple[int, int], float]:
    """Estimate the usual error of each pair of views from the best partners."""
    some = moments[:: max(1, len(moments) // _SAMPLE)]
    tolerances = {}
    for one, other in pairs:
        errors = measure_epipolar(cameras[one], cameras[other], rays[one][some], rays[other][some])
        known = ~np.isnan(errors)
        with np.errstate(all="ignore"):
            mean = np.where(known, errors, 0).sum(-1) / known.sum(-1)
        mean = np.where(np.isnan(mean), np.inf, mean)
        # Of either view: which one is named first makes no difference.
        best = np.concatenate(
            [_pick_best(errors, mean), _pick_best(errors.swapaxes(1, 2), mean.swapaxes(1, 2))]
        )
        if len(best):
            tolerances[one, other] = _TOLERANCE * float(np.median(best))
    return tolerances


def _pick_best(errors: Pixels, mean: Pixels) -> Pixels:
    """Return the errors of the keypoints of each slot with its best partner in the other view."""
    moment, slot = np.nonzero(np.isfinite(mean.min(axis=2, initial=np.inf)))
    best = errors[moment, slot, mean[moment, slot].argmin(axis=1)]
    return np.asarray(best[np.isfinite(best)])


def _choose_moments(
    positions: Sequence[Pixels], tracklets: Sequence[Tracklets], most_pairs: float
) -> Numbers:
    slots = [one.shape[1] for one in positions]
    count, keypoints = len(positions[0]), positions[0].shape[2]
    pairs = sum(a * b for a, b in combinations(slots, 2)) * count * keypoints
    stride = int(np.ceil(pairs / most_pairs))
    chosen = np.zeros(count, dtype=bool)
    chosen[::stride] = True
    if stride > 1:
        ends = np.concatenate([np.concatenate([one.start, one.end]) for one in tracklets])
        for shift in (-2, -1, 0, 1, 2):
            chosen[np.clip(ends + shift, 0, count - 1)] = True
    return np.flatnonzero(chosen)


def _divide(moments: Numbers, first: Directions, second: Directions) -> Iterator[Numbers]:
    each = max(1, first.shape[2] * second.shape[2] * first.shape[1])
    step = max(1, _BLOCK // each)
    for start in range(0, len(moments), step):
        yield moments[start : start + step]
