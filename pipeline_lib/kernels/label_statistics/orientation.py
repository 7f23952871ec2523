"""Tell from labelled poses which way animals face, and whether a mirror shows them rightly.

The direction from one keypoint to another changes with the animal's orientation and with its
posture. A pair of keypoints that always has the same direction shows that the image has an upright
direction: a paw is below the back, whichever way a mouse in profile runs; in two views of one
image, one view of a keypoint is above the other. Only where no such pairs exist, as in a view from
above, do animals face all ways.
"""

import math

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.label_statistics import sizes

# A keypoint stands still if it moves less than this share of the animal's length, or of what the
# other keypoints move, such as the corner of an object; labels of one place differ by some px.
_STILL_OF_LENGTH = 0.02
_STILL_OF_OTHERS = 0.1
# Share of the frames of the pair seen most often that a pair must be seen in.
_SEEN = 1 / 3
# Share of the poses in which a keypoint of one side is nearer to that side.
_SAME_SIDE = 0.95
# A pair seen in fewer poses tells nothing, unless it is in most of the poses: of many pairs that
# were seen a few times, some have the same direction each time by chance.
_LEAST_SEEN = 10
_MOST_SEEN = 0.75
# Fewer poses of a video do not tell the usual place of its animal.
_PLACED_POSES = 6
# Fewer poses do not tell a bodypart of one side from an animal that keeps its head turned.
_LEAST_POSES = 20
# Poses compared at most.
_MOST_POSES = 2000


def find_moving(poses: NDArray[np.float64], length: float) -> NDArray[np.bool_]:
    """Find the keypoints that move.

    Parameters
    ----------
    poses
        Shape (pose, keypoint, 2), px; NaN where unlabelled.
    length
        Length of the animal, px.

    Returns
    -------
    ndarray
        Shape (keypoint,), bool. A keypoint labelled fewer than twice does not move.
    """
    travel = np.zeros(poses.shape[1])
    for keypoint in range(poses.shape[1]):
        known = poses[np.isfinite(poses[:, keypoint]).all(axis=-1), keypoint]
        if len(known) > 1:
            travel[keypoint] = max(
                sizes.choose_percentile(along, 95) - sizes.choose_percentile(along, 5)
                for along in known.T
            )
    least = max(_STILL_OF_LENGTH * length, _STILL_OF_OTHERS * float(np.median(travel)))
    moving: NDArray[np.bool_] = travel > least
    return moving


def count_distinct(poses: NDArray[np.float64], tolerance: float, enough: int) -> int:
    """Count poses that differ, so that repeated frames of a resting animal count once.

    Parameters
    ----------
    poses
        Shape (pose, keypoint, 2), px; NaN where unlabelled.
    tolerance
        Two poses differ if a keypoint of both is farther apart than this, px.
    enough
        The count stops here.

    Returns
    -------
    int
        At most `enough`.
    """
    kept: list[NDArray[np.float64]] = []
    for pose in poses:
        distance = np.linalg.norm(np.array(kept) - pose, axis=-1) if kept else np.empty((0, 1))
        if (np.nan_to_num(distance, nan=0.0).max(axis=-1) > tolerance).all():
            kept.append(pose)
        if len(kept) == enough:
            break
    return len(kept)


def count_places(
    centre: NDArray[np.float64], video: NDArray[np.int64], apart: float, enough: int
) -> int:
    """Count the places in which animals were labelled.

    An animal that went elsewhere, or one of another video, has had an occasion to face another way;
    successive frames of an animal that stays have not.

    Parameters
    ----------
    centre
        Shape (pose, 2), px: centres of poses.
    video
        Shape (pose,): number of the video that each is from.
    apart
        Places of one video are farther apart than this, px.
    enough
        The count stops here.

    Returns
    -------
    int
        At most `enough`.
    """
    places = 0
    for number in np.unique(video):
        left = centre[video == number]
        while len(left) and places < enough:
            places += 1
            left = left[np.linalg.norm(left - left[0], axis=-1) > apart]
    return places


def measure_roaming(poses: NDArray[np.float64], video: NDArray[np.int64], *, apart: bool) -> float:
    """Measure how far animals go from their usual place in the image.

    The usual place of a keypoint is its median. A pose is away from its place by the mean over its
    keypoints, so that limbs that swing against each other and missing keypoints hardly count.

    Parameters
    ----------
    poses
        Shape (pose, keypoint, 2), px; NaN where unlabelled. Each has a keypoint.
    video
        Shape (pose,): number of the video that each is from.
    apart
        Whether the usual place is that of each video, as several cameras see one animal in several
        places, instead of that of all videos.

    Returns
    -------
    float
        95th percentile of the distance from the usual place, of the video where it is largest, px;
        NaN without poses, and if `apart` and a video has fewer than six.
    """
    if not len(poses):
        return np.nan
    if not apart:
        return _spread_places(poses)
    numbers, counts = np.unique(video, return_counts=True)
    if counts.min() < _PLACED_POSES:
        return np.nan
    return max(_spread_places(poses[video == number]) for number in numbers)


def measure_turning(poses: NDArray[np.float64], moving: NDArray[np.bool_]) -> float:
    """Measure how far animals turn in the image.

    The turning of a pair of keypoints is the 95th percentile of the angle between its direction
    and its mean direction. That of a keypoint is the least of its pairs, and the result the lower
    median over keypoints: at least half of them have a pair that turns no more. So neither the
    moving limbs of an animal nor a second object in the image decide alone.

    Parameters
    ----------
    poses
        Shape (pose, keypoint, 2), px; NaN where unlabelled.
    moving
        Shape (keypoint,), bool: keypoints to use.

    Returns
    -------
    float
        Degrees, 0 to 180; NaN if no two moving keypoints are labelled together in ten poses, or in
        three quarters of the poses.
    """
    chosen = poses[:, moving]
    if len(chosen) > _MOST_POSES:
        chosen = chosen[np.linspace(0, len(chosen) - 1, _MOST_POSES).round().astype(int)]
    pairs = [(a, b) for a in range(chosen.shape[1]) for b in range(a + 1, chosen.shape[1])]
    angles = [_list_angles(chosen[:, b] - chosen[:, a]) for a, b in pairs]
    most = max(map(len, angles), default=0)
    enough = max(_SEEN * most, min(_LEAST_SEEN, _MOST_SEEN * len(chosen)), 1.0)
    least = np.full(chosen.shape[1], np.inf)
    for (a, b), angle in zip(pairs, angles, strict=True):
        if len(angle) >= enough:
            least[[a, b]] = np.minimum(least[[a, b]], _spread_angles(angle))
    known = np.sort(least[np.isfinite(least)])
    return float(known[(len(known) - 1) // 2]) if len(known) else np.nan


def find_unpaired(
    poses: NDArray[np.float64], partner: tuple[int, ...], tolerance: float
) -> NDArray[np.bool_]:
    """Find the keypoints that have no mirrored partner although they belong to one side.

    A keypoint of the midline is as far from the left as from the right keypoint of each symmetric
    pair. One of a side is nearer to its own, in (nearly) every pose.

    Parameters
    ----------
    poses
        Shape (pose, keypoint, 2), px; NaN where unlabelled.
    partner
        Mirrored partner of each keypoint, itself where it has none.
    tolerance
        Share of the distance between left and right by which the distances may differ.

    Returns
    -------
    ndarray
        Shape (keypoint,), bool; all False where there are no pairs, or fewer than 20 poses.
    """
    pairs = [(one, other) for one, other in enumerate(partner) if one < other]
    found = np.zeros(len(partner), np.bool_)
    for keypoint in (one for one, other in enumerate(partner) if one == other):
        shares = [_compare_sides(poses, keypoint, *pair) for pair in pairs]
        known = [one for one in shares if not math.isnan(one)]
        # A pair of limbs may be held to one side in the labelled frames; most are not.
        found[keypoint] = bool(known) and float(np.median(known)) > tolerance
    return found


def faces_both_ways(poses: NDArray[np.float64], moving: NDArray[np.bool_], share: float) -> bool:
    """Tell whether animals in profile face left in some frames and right in others.

    Parameters
    ----------
    poses, moving
        As in `measure_turning`.
    share
        Least share of the poses that must face the less frequent way.

    Returns
    -------
    bool
        Whether the keypoints that are farthest apart along x change sides.
    """
    chosen = poses[:, moving]
    best, less = 0.0, 0.0
    for a in range(chosen.shape[1]):
        for b in range(a + 1, chosen.shape[1]):
            along = (chosen[:, b] - chosen[:, a])[:, 0]
            along = along[np.isfinite(along)]
            if len(along) and (width := float(np.median(np.abs(along)))) > best:
                right = float((along > 0).mean())
                best, less = width, min(right, 1.0 - right)
    return less >= share


def _compare_sides(poses: NDArray[np.float64], keypoint: int, left: int, right: int) -> float:
    """Return how much nearer a keypoint is to left or right, as a share of their distance.

    It is 0 for a keypoint that changes sides, such as the tip of a tail.
    """
    width = np.linalg.norm(poses[:, left] - poses[:, right], axis=-1)
    difference = np.linalg.norm(poses[:, keypoint] - poses[:, left], axis=-1)
    difference -= np.linalg.norm(poses[:, keypoint] - poses[:, right], axis=-1)
    known = np.isfinite(difference) & (width > 0)
    if known.sum() < _LEAST_POSES:
        return math.nan
    share = difference[known] / width[known]
    same_side = max((share > 0).mean(), (share < 0).mean()) >= _SAME_SIDE
    return abs(float(np.median(share))) if same_side else 0.0


def _spread_places(poses: NDArray[np.float64]) -> float:
    """Return the 95th percentile of the distance of poses from their usual place, px."""
    seen = np.isfinite(poses).all(axis=-1).any(axis=0)
    moved = poses[:, seen] - np.nanmedian(poses[:, seen], axis=0)
    return sizes.choose_percentile(np.linalg.norm(np.nanmean(moved, axis=1), axis=-1), 95)


def _list_angles(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the direction of each vector that has one, radians."""
    known = vector[np.isfinite(vector).all(axis=-1) & (vector != 0).any(axis=-1)]
    angles: NDArray[np.float64] = np.arctan2(known[:, 1], known[:, 0])
    return angles


def _spread_angles(angle: NDArray[np.float64]) -> float:
    """Return the 95th percentile of the angle to the mean direction, degrees."""
    mean = math.atan2(np.sin(angle).sum(), np.cos(angle).sum())
    away = np.abs((angle - mean + math.pi) % (2 * math.pi) - math.pi)
    return float(np.degrees(np.percentile(away, 95)))
