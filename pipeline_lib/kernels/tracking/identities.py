"""From paths of tracklets to places: which animal each tracklet is, and where that is in doubt."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.metrics.keypoints import keypoint_distance
from pipeline_lib.kernels.tracking.similarity import centre_poses
from pipeline_lib.kernels.tracking.stitching import Joins
from pipeline_lib.kernels.tracking.tracklet_ends import Tracklets

Doubt = tuple[int, int, int]  # a tracklet, the first and the last frame in doubt


@dataclass(frozen=True)
class Stay:
    """An animal from where it appears to where it is lost: tracklets that follow each other."""

    tracklets: tuple[int, ...]
    first: int
    last: int


@dataclass(frozen=True)
class DoubtRules:
    """When an animal may be another one.

    Attributes
    ----------
    max_rival
        How good another choice is, as a share of the one made, above which there is doubt.
    near
        Frames around where animals may have been exchanged that are in doubt.
    """

    max_rival: float
    near: int


@dataclass
class Places:
    """Who is where; filled step by step.

    Attributes
    ----------
    of
        Shape (tracklet,), int64, place of each tracklet; -1: it is no animal.
    lines
        For each place its tracklets, in the order of time.
    doubts
        Tracklets that may be another animal's, and in which frames.
    """

    of: NDArray[np.int64]
    lines: list[list[int]]
    doubts: list[Doubt] = field(default_factory=list)


def list_stays(tracklets: Tracklets, following: NDArray[np.int64]) -> list[Stay]:
    """List the paths between entering and leaving, in the order of their first frames.

    Parameters
    ----------
    tracklets
        All tracklets of a video.
    following
        Shape (tracklet,), as `pipeline_lib.kernels.tracking.stitching.choose_paths` returns it.
    """
    stays = []
    begins = np.setdiff1d(np.flatnonzero(following != -2), following)
    for number in begins.tolist():
        path = [number]
        while (after := int(following[path[-1]])) >= 0:
            path.append(after)
        first, last = tracklets.head.frame[path[0]], tracklets.tail.frame[path[-1]]
        stays.append(Stay(tuple(path), int(first), int(last)))
    return stays


def give_places(
    tracklets: Tracklets, stays: list[Stay], individuals: int, rules: DoubtRules
) -> Places:
    """Give each stay a place that is free.

    Where identities are known, as many as there are places, the place is the identity that the
    stays as a whole make most likely. Otherwise an animal that appears takes the place that was
    left nearest to it; one that nobody had only if there is no other.

    Parameters
    ----------
    tracklets
        All tracklets of a video.
    stays
        In the order of their first frames, at most `individuals` at a time.
    individuals
        Number of places.
    rules
        When an animal that appears may be another one.
    """
    places = Places(np.full(len(tracklets.count), -1), [[] for _ in range(individuals)])
    evidence = tracklets.identity
    if evidence is not None and evidence.shape[1] == individuals and stays:
        likely = np.array([evidence[list(stay.tracklets)].sum(0) for stay in stays])
        homes = _place_by_identity(stays, likely)
        rivals = likely.copy()
        rivals[np.arange(len(stays)), homes] = -np.inf
        margin = likely[np.arange(len(stays)), homes] - rivals.max(1)
        doubtful = margin < -np.log(max(rules.max_rival, 1e-9))
        for stay, home, doubt in zip(stays, homes.tolist(), doubtful, strict=True):
            _move_in(places, stay, home, rules.near if doubt and individuals > 1 else None)
        return places
    ends = (centre_poses(tracklets.tail.pose), centre_poses(tracklets.head.pose))
    left = [-1] * individuals
    for stay in stays:
        used = [n for n, line in enumerate(places.lines) if line and left[n] < stay.first]
        unused = [n for n, line in enumerate(places.lines) if not line]
        if used:
            before = [places.lines[n][-1] for n in used]
            far = keypoint_distance(ends[0][before], ends[1][stay.tracklets[0]])
            home = used[int(np.nan_to_num(far, nan=np.inf).argmin())]
        else:
            home = unused[0]
        sure = not used or len(used) + len(unused) == 1
        _move_in(places, stay, home, None if sure else rules.near)
        left[home] = stay.last
    return places


def doubt_joins(
    places: Places,
    tracklets: Tracklets,
    following: NDArray[np.int64],
    joins: Joins,
    rules: DoubtRules,
) -> None:
    """Note the joins for which another choice is nearly as good.

    Parameters
    ----------
    places
        Receives the doubts.
    tracklets, following, joins
        As for `pipeline_lib.kernels.tracking.stitching.choose_paths`, and what it returned.
    rules
        When there is doubt.
    """
    known = {
        (first, second): similarity
        for first, second, similarity in zip(
            joins.first.tolist(), joins.second.tolist(), joins.similarity.tolist(), strict=True
        )
    }
    leading = {int(after): number for number, after in enumerate(following) if after >= 0}
    for (first, second), similarity in known.items():
        after, before = int(following[first]), leading.get(second, -1)
        if after == second or following[first] == -2 or following[second] == -2:
            continue
        exchanged = similarity + known.get((before, after), 0.0)
        kept = known.get((first, after), 0.0) + known.get((before, second), 0.0)
        if kept > 0.0 and exchanged > rules.max_rival * kept:
            for one, other in ((first, after), (before, second)):
                if one >= 0 and other >= 0:
                    _doubt_join(places, tracklets, one, other, rules.near)


def sort_places(places: Places, tracklets: Tracklets) -> None:
    """Bring the places into the order of their first poses, those without any last."""
    # Tracklets are in the order of their first frames, there from left to right.
    first = [line[0] if line else len(tracklets.count) for line in places.lines]
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order) + 1, np.int64)
    rank[order], rank[-1] = np.arange(len(order)), -1
    places.of = rank[places.of]
    places.lines = [places.lines[place] for place in order.tolist()]


def _place_by_identity(stays: list[Stay], likely: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the places that make the stays most likely, no two at a time in one."""
    from scipy.optimize import LinearConstraint, milp  # noqa: PLC0415
    from scipy.sparse import eye_array, kron, lil_array  # noqa: PLC0415

    count, individuals = likely.shape
    together = lil_array((count, count))
    active: list[int] = []
    for number, stay in enumerate(stays):
        active = [*(other for other in active if stays[other].last >= stay.first), number]
        together[number, active] = 1.0
    one = kron(eye_array(count), np.ones((1, individuals)))
    solved = milp(
        -likely.ravel(),
        integrality=np.ones(likely.size),
        bounds=(0, 1),
        constraints=[
            LinearConstraint(one.tocsr(), 1, 1),
            LinearConstraint(kron(together, eye_array(individuals)).tocsr(), -np.inf, 1),
        ],
    )
    if solved.x is None:
        raise ArithmeticError(f"identities could not be given: {solved.message}")
    return np.asarray(solved.x.reshape(count, individuals).argmax(1))


def _move_in(places: Places, stay: Stay, home: int, near: int | None) -> None:
    places.of[list(stay.tracklets)] = home
    places.lines[home].extend(stay.tracklets)
    if near is not None:
        places.doubts.append((stay.tracklets[0], stay.first, stay.first + near))


def _doubt_join(places: Places, tracklets: Tracklets, one: int, other: int, near: int) -> None:
    ends, begins = int(tracklets.tail.frame[one]), int(tracklets.head.frame[other])
    # A tracklet has all its doubts in its place.
    places.doubts.append((one, ends - near, begins + near))
