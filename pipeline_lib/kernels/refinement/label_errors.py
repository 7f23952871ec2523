"""Find labels that are probably wrong.

A label is listed if it is far from what a confident network predicts, or if its pose is unlike the
other labelled poses. In both cases it is tried whether left and right, or two individuals, were
exchanged: an error has this name if the exchange removes most of it. Severities are robust standard
deviations beyond the usual, in which errors of all kinds are compared.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.refinement import pose
from pipeline_lib.kernels.refinement.blocks import (
    CONTEXT,
    PoseBlock,
    PoseNames,
    make_block,
    measure_usual,
)

FAR, IMPLAUSIBLE = "far from prediction", "implausible geometry"
SWAPPED, EXCHANGED, MISSING = "left and right swapped", "individuals exchanged", "missing"

# Robust standard deviations beyond the usual from which a label is listed.
_FENCE = 6.0
_ORDER = (SWAPPED, EXCHANGED, FAR, IMPLAUSIBLE, MISSING)
# Share of an error that is left after an exchange which explains it.
_EXPLAINED = 0.5
_SMALLEST_SPREAD = 0.5  # px
_SMALLEST_POSE_SPREAD, _SMALLEST_BONE_SPREAD = 0.5, 0.02
# Fewest distances of which the usual one is measured for a keypoint by itself.
_FEWEST = 8
# Confidence from which a keypoint without a label is missed.
_CERTAIN = 0.9
_NEAR_FRAMES = 5
_SHRINKAGE = 0.1
# Beyond so many standard deviations label and prediction are of different places. Which of them is
# wrong, the confidence says, which therefore counts twice.
_DIFFERENT = 20.0

Point = tuple[float, float]
# Return Mahalanobis' distance of each pose, shape (pose,), of poses (pose, 1, keypoint, 2).
Measure = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class LabelledPoses(NamedTuple):
    """Hold labels and what a network predicts.

    Attributes
    ----------
    labelled, predicted
        Shape (image, individual, keypoint, 2), px; NaN: not labelled, not found or not known.
        Predicted individuals are matched with labelled ones.
    confidence
        Shape (image, individual, keypoint), 0..1; NaN: unknown.
    seen
        Shape (image,), bool: the network was trained with the image.
    open
        Shape (image, individual, keypoint), bool: nobody said that the keypoint cannot be labelled.
    """

    labelled: NDArray[np.float64]
    predicted: NDArray[np.float64]
    confidence: NDArray[np.float64]
    seen: NDArray[np.bool_]
    open: NDArray[np.bool_]


class Doubt(NamedTuple):
    """Describe a label that is probably wrong.

    Attributes
    ----------
    image, individual, keypoint
        Positions on the axes of the labels; the keypoint is -1 for a whole individual.
    what
        `FAR`, `IMPLAUSIBLE`, `SWAPPED`, `EXCHANGED` or `MISSING`.
    severity
        How sure the error is: robust standard deviations beyond the usual; of `FAR` at most 20,
        times the square of the confidence; of `MISSING` the confidence.
    amount
        Distance from the prediction in px; Mahalanobis' distance of an implausible pose, or the
        deviation of a bone; confidence of what is missing.
    other
        The other keypoint of `SWAPPED`, the other individual of `EXCHANGED`; -1: none.
    suggestion
        Where the keypoint probably is, px; NaN: unknown.
    """

    image: int
    individual: int
    keypoint: int
    what: str
    severity: float
    amount: float
    other: int = -1
    suggestion: Point = (np.nan, np.nan)


def find_label_errors(
    poses: LabelledPoses, names: PoseNames, pairs: Sequence[tuple[int, int]], pcutoff: float
) -> list[Doubt]:
    """Return labels that are probably wrong, worst first; each keypoint at most once.

    Parameters
    ----------
    poses
        Labels and predictions.
    names
        Names of keypoints and individuals, and bones.
    pairs
        Left and right keypoints.
    pcutoff
        Smallest confidence of a prediction that labels are compared with.
    """
    if not np.isfinite(poses.labelled).any():
        return []
    found = [
        *_compare_predictions(poses, pairs, pcutoff),
        *_compare_poses(poses.labelled, names, pairs),
        *_find_missing(poses),
    ]
    # What explains an error, or says where the keypoint is, comes first.
    found.sort(key=lambda one: (_ORDER.index(one.what), -one.severity))
    taken: dict[tuple[int, int, int], int] = {}
    kept: list[Doubt] = []
    for one in found:
        places = _list_places(one)
        earlier = [taken[place] for place in places if place in taken]
        for number in earlier:
            # Two reasons for one doubt: the stronger one counts.
            severity = max(kept[number].severity, one.severity)
            kept[number] = kept[number]._replace(severity=severity)
        if earlier:
            continue
        taken.update(dict.fromkeys(places, len(kept)))
        kept.append(one)
    return sorted(kept, key=lambda one: -one.severity)


def find_exchanged_frames(
    labelled: NDArray[np.float64], videos: Sequence[str], frames: NDArray[np.int64]
) -> list[Doubt]:
    """Find frames in which two individuals have each other's name, by the frames around them.

    Parameters
    ----------
    labelled
        Shape (image, individual, keypoint, 2), px; NaN: not labelled.
    videos, frames
        Video and frame of each image; -1: unknown. Frames that are at most 5 after the one before
        are compared.

    Returns
    -------
    list of Doubt
        One for each frame that disagrees with the frame before and the one after, in the order of
        images. The severity is in robust standard deviations of the distance between two frames.
    """
    centre = _find_centres(labelled)
    order = np.lexsort((frames, np.unique(np.array(videos), return_inverse=True)[1]))
    steps = [
        (first, second)
        for first, second in itertools.pairwise(order.tolist())
        if videos[first] == videos[second]
        and frames[first] >= 0
        and 0 < frames[second] - frames[first] <= _NEAR_FRAMES
    ]
    if not steps:
        return []
    moved = np.array([np.linalg.norm(centre[b] - centre[a], axis=-1) for a, b in steps])
    usual, spread = measure_usual(moved.reshape(-1), _SMALLEST_SPREAD)
    before = {second: first for first, second in steps}
    after = dict(steps)
    doubts = []
    for image in sorted(before.keys() & after.keys()):
        for first, second in itertools.combinations(range(labelled.shape[1]), 2):
            around = [before[image], after[image]]
            pair = [first, second]
            same = np.linalg.norm(centre[image, pair] - centre[around][:, pair], axis=-1).sum(
                axis=1
            )
            other = np.linalg.norm(
                centre[image, pair[::-1]] - centre[around][:, pair], axis=-1
            ).sum(axis=1)
            severity = float((same.min() / 2 - usual) / spread)
            if (other < _EXPLAINED * same).all() and severity > _FENCE:
                amount = float(same.mean() / 2)
                doubts.append(Doubt(image, first, -1, EXCHANGED, severity, amount, second))
    return doubts


def _list_places(one: Doubt) -> list[tuple[int, int, int]]:
    places = [(one.image, one.individual, one.keypoint)]
    if one.what == SWAPPED:
        places.append((one.image, one.individual, one.other))
    if one.what == EXCHANGED:
        places.append((one.image, one.other, one.keypoint))
    return places


def _compare_predictions(
    poses: LabelledPoses, pairs: Sequence[tuple[int, int]], pcutoff: float
) -> Iterator[Doubt]:
    """Yield labels that are far from confident predictions."""
    with np.errstate(invalid="ignore"):
        known = poses.confidence >= pcutoff
    predicted = np.where(known[..., None], poses.predicted, np.nan)
    distance = np.linalg.norm(poses.labelled - predicted, axis=-1)
    severity = _measure_severity(distance, poses.seen)
    with np.errstate(invalid="ignore"):
        doubted = severity > _FENCE
    sure = np.minimum(severity, _DIFFERENT) * poses.confidence**2
    for image, owner, keypoint in np.argwhere(doubted).tolist():
        yield Doubt(
            *(image, owner, keypoint, FAR),
            severity=float(sure[image, owner, keypoint]),
            amount=float(distance[image, owner, keypoint]),
            suggestion=_take_point(predicted[image, owner, keypoint]),
        )
    for left, right in pairs:
        crossed = np.linalg.norm(
            poses.labelled[:, :, [left, right]] - predicted[:, :, [right, left]], axis=-1
        )
        both = distance[:, :, [left, right]]
        for image, owner in _list_explained(both, crossed, doubted[:, :, [left, right]]):
            worst = float(np.nanmax(severity[image, owner, [left, right]]))
            amount = float(both[image, owner].max())
            place = _take_point(predicted[image, owner, left])
            yield Doubt(image, owner, left, SWAPPED, worst, amount, right, place)
    for first, second in itertools.combinations(range(distance.shape[1]), 2):
        owners, others = [first, second], [second, first]
        crossed = np.linalg.norm(poses.labelled[:, owners] - predicted[:, others], axis=-1)
        moved = np.moveaxis(distance[:, owners], 1, 2)
        doubt = np.moveaxis(doubted[:, owners], 1, 2)
        for image, keypoint in _list_explained(moved, np.moveaxis(crossed, 1, 2), doubt):
            worst = float(np.nanmax(severity[image, owners, keypoint]))
            amount = float(moved[image, keypoint].max())
            place = _take_point(predicted[image, first, keypoint])
            yield Doubt(image, first, keypoint, EXCHANGED, worst, amount, second, place)


def _list_explained(
    before: NDArray[np.float64], after: NDArray[np.float64], doubted: NDArray[np.bool_]
) -> list[list[int]]:
    """Return where an exchange of two, which are on the last axis, removes most of an error."""
    with np.errstate(invalid="ignore"):
        explained = after.sum(axis=-1) < _EXPLAINED * before.sum(axis=-1)
    places: list[list[int]] = np.argwhere(explained & doubted.any(axis=-1)).tolist()
    return places


def _measure_severity(
    distance: NDArray[np.float64], seen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return distances in robust standard deviations beyond the usual ones of a keypoint.

    Images that the network has seen in training have smaller usual distances than others.
    """
    severity = np.full(distance.shape, np.nan)
    for group in (seen, ~seen):
        own = distance[group].reshape(-1, distance.shape[-1])
        if not np.isfinite(own).any():
            continue
        median, spread = measure_usual(own, _SMALLEST_SPREAD)
        all_median, all_spread = measure_usual(own.reshape(-1), _SMALLEST_SPREAD)
        few = np.isfinite(own).sum(axis=0) < _FEWEST
        median, spread = np.where(few, all_median, median), np.where(few, all_spread, spread)
        severity[group] = (distance[group] - median) / spread
    return severity


def _compare_poses(
    labelled: NDArray[np.float64], names: PoseNames, pairs: Sequence[tuple[int, int]]
) -> Iterator[Doubt]:
    """Yield labels whose pose is unlike the others'."""
    images, owners, keypoints = labelled.shape[:3]
    flat = labelled.reshape(images * owners, 1, keypoints, 2)
    usual = pose.fit([_make_block(flat)], names, _SHRINKAGE)

    def measure(poses: NDArray[np.float64]) -> NDArray[np.float64]:
        return pose.score(_make_block(poses), usual).score.astype(np.float64)

    distance = measure(flat)
    if np.isfinite(distance).any():
        median, spread = measure_usual(distance, _SMALLEST_POSE_SPREAD)
        severity = (distance - median) / spread
        with np.errstate(invalid="ignore"):
            odd = np.flatnonzero(severity > _FENCE)
        for row in odd.tolist():
            yield from _explain_pose(row, flat, measure, pairs, owners, float(severity[row]))
    yield from _compare_bones(labelled, names)


def _explain_pose(  # noqa: PLR0913, PLR0917 - a pose, and what it is compared with
    row: int,
    flat: NDArray[np.float64],
    measure: Measure,
    pairs: Sequence[tuple[int, int]],
    owners: int,
    severity: float,
) -> Iterator[Doubt]:
    """Yield the exchange that makes a pose usual, or else its oddest keypoint."""
    image, owner = divmod(row, owners)
    distance = float(measure(flat[row : row + 1])[0])
    keypoints = flat.shape[2]
    swapped = np.repeat(flat[row : row + 1], len(pairs), axis=0)
    for number, (left, right) in enumerate(pairs):
        swapped[number, 0, [left, right]] = flat[row, 0, [right, left]]
    if len(pairs):
        after = measure(swapped)
        best = int(np.nanargmin(np.where(np.isnan(after), np.inf, after)))
        if after[best] < _EXPLAINED * distance:
            left, right = pairs[best]
            place = _take_point(flat[row, 0, right])
            yield Doubt(image, owner, left, SWAPPED, severity, distance, right, place)
            return
    for other in range(owners):
        partner = image * owners + other
        if other == owner or np.isnan(flat[partner]).all():
            continue
        exchanged = np.repeat(flat[[row, partner], None], keypoints, axis=1)
        for keypoint in range(keypoints):
            exchanged[:, keypoint, 0, keypoint] = flat[[partner, row], 0, keypoint]
        after = measure(exchanged.reshape(2 * keypoints, 1, keypoints, 2)).reshape(2, keypoints)
        total = after.sum(axis=0)
        before = float(measure(flat[[row, partner]]).sum())
        best = int(np.argmin(np.where(np.isnan(total), np.inf, total)))
        if total[best] < _EXPLAINED * before:
            place = _take_point(flat[partner, 0, best])
            first, second = sorted((owner, other))
            yield Doubt(image, first, best, EXCHANGED, severity, distance, second, place)
            return
    without = np.repeat(flat[row : row + 1], keypoints, axis=0)
    without[np.arange(keypoints), 0, np.arange(keypoints)] = np.nan
    left_over = measure(without)
    # A pose that has too few keypoints without one of them says nothing of it.
    culprit = int(np.argmin(np.where(np.isnan(left_over), np.inf, left_over)))
    yield Doubt(image, owner, culprit, IMPLAUSIBLE, severity, distance)


def _compare_bones(labelled: NDArray[np.float64], names: PoseNames) -> Iterator[Doubt]:
    """Yield keypoints at the ends of bones that are too long or too short."""
    if not names.edges:
        return
    edges = np.array(names.edges)
    bones = labelled[:, :, edges[:, 0]] - labelled[:, :, edges[:, 1]]
    length = np.log1p(np.linalg.norm(bones, axis=-1))
    median, spread = measure_usual(length.reshape(-1, len(edges)), _SMALLEST_BONE_SPREAD)
    deviation = np.abs(length - median) / spread
    with np.errstate(invalid="ignore"):
        odd = deviation > _FENCE
    for image, owner in np.argwhere(odd.any(axis=-1)).tolist():
        own = np.nan_to_num(deviation[image, owner])
        # The keypoint whose bones are odd on average is to blame.
        blame = [
            own[(edges == keypoint).any(axis=1)].mean() if (edges == keypoint).any() else 0.0
            for keypoint in range(labelled.shape[2])
        ]
        worst = float(own.max())
        yield Doubt(image, owner, int(np.argmax(blame)), IMPLAUSIBLE, worst, worst)


def _find_missing(poses: LabelledPoses) -> Iterator[Doubt]:
    """Yield keypoints that a network is certain of and that are not labelled."""
    unlabelled = ~np.isfinite(poses.labelled).all(axis=-1)
    somebody = ~unlabelled.all(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        certain = (poses.confidence >= _CERTAIN) & np.isfinite(poses.predicted).all(axis=-1)
    for image, owner, keypoint in np.argwhere(
        unlabelled & somebody & certain & poses.open & ~poses.seen[:, None, None]
    ).tolist():
        confidence = float(poses.confidence[image, owner, keypoint])
        place = _take_point(poses.predicted[image, owner, keypoint])
        yield Doubt(image, owner, keypoint, MISSING, confidence, confidence, suggestion=place)


def _find_centres(labelled: NDArray[np.float64]) -> NDArray[np.float64]:
    found = np.isfinite(labelled).all(axis=-1, keepdims=True)
    number = found.sum(axis=2)
    total = np.where(found, labelled, 0.0).sum(axis=2)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _make_block(flat: NDArray[np.float64]) -> PoseBlock:
    """Return poses as a block in which each is a frame."""
    return make_block(
        flat.astype(np.float32),
        np.ones(flat.shape[:3], np.float32),
        np.ones(len(flat), np.bool_),
        None,
        pcutoff=0.0,
        missing=CONTEXT,
    )


def _take_point(point: NDArray[np.float64]) -> Point:
    x, y = point.tolist()
    return x, y
