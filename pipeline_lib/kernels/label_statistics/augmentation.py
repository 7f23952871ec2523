"""Choose how far training frames are turned, and whether they are mirrored, each with its reason.

Every rule is a function of what `orientation` measures. A view counts as fixed only where the
labels are evidence enough: a small rotation for animals that face all ways costs more than a large
one for a fixed view.
"""

import math

from pipeline_lib.kernels.label_statistics.choices import Choice, format_count

_UPRIGHT_UP_TO = 45.0  # degrees
# A view is fixed where animals turn no more than this, or were seen to turn so little in so many
# places that animals that face all ways would hardly do it by chance.
_UPRIGHT_ANYHOW = 15.0
_CHANCE = 0.01
# Enough for the largest turning of a fixed view: 6 (90 / 360)^5 is 0.006.
_PLACES = 6
_LEAST_ROTATION = 15.0
# An animal stays in place if its keypoints are, on average, within this share of its length of
# their usual places, and it was seen in so many postures, and in so many for each video with a
# place of its own. Its body then turns by no more than these degrees, however far its limbs swing.
_IN_PLACE = 0.3
_POSTURES = 12
_POSTURES_OF_VIDEO = 6
_IN_PLACE_ROTATION = 30.0
_DISTINCT = 6


def least_distinct() -> int:
    """Return the number of different poses from which labels tell how animals turn."""
    return _DISTINCT


def least_places() -> int:
    """Return the number of places that always tell a fixed view."""
    return _PLACES


def least_postures(videos: int) -> int:
    """Return the number of postures that tell an animal that cannot leave from one that rests.

    Parameters
    ----------
    videos
        Number of videos, each of which has its own place; 1 if they have one place together.
    """
    # More videos are places enough to tell a fixed view.
    return max(_POSTURES, _POSTURES_OF_VIDEO * min(videos, _PLACES))


def stays_in_place(roaming: float, length: float) -> bool:
    """Tell whether animals stay in one place, as on a tether, a treadmill or a platform.

    Parameters
    ----------
    roaming
        As `orientation.measure_roaming`, px.
    length
        Length of the animals, px.

    Returns
    -------
    bool
        False where one of the numbers is NaN.
    """
    return roaming <= _IN_PLACE * length


def choose_rotation(turning: float, distinct: int, places: int, *, in_place: bool) -> Choice:
    """Choose the largest rotation of training frames.

    Parameters
    ----------
    turning
        As `orientation.measure_turning`, degrees; NaN if unknown.
    distinct
        Number of labelled poses that differ.
    places
        Number of places in which animals were labelled, as `orientation.count_places`, of which
        six always tell a fixed view.
    in_place
        As `stays_in_place`.

    Returns
    -------
    Choice
        Degrees.

    Notes
    -----
    The chance that n directions, of which each is as likely as any other, lie within an angle a is
    n (a / 360)^(n - 1).
    """
    if math.isnan(turning) and distinct >= _DISTINCT:
        return Choice(
            180.0,
            "no two moving bodyparts are labelled together often enough to tell which way animals "
            "face, so all ways",
        )
    if distinct < _DISTINCT:
        return Choice(
            180.0,
            f"{format_count(distinct, 'different labelled pose')} with two moving bodyparts or "
            f"more: fewer than {_DISTINCT} do not tell which way animals face, so all ways",
        )
    if turning > _UPRIGHT_UP_TO:
        return Choice(
            180.0,
            f"directions between bodyparts turn by {turning:.0f} degrees: animals face all ways",
        )
    value = max(_LEAST_ROTATION, 5.0 * math.ceil(1.5 * turning / 5.0))
    if in_place:
        return Choice(
            min(value, _IN_PLACE_ROTATION),
            f"animals stay in place, and directions between bodyparts turn by {turning:.0f} "
            "degrees: the view is fixed",
        )
    chance = places * (2 * turning / 360.0) ** (places - 1)
    if turning > _UPRIGHT_ANYHOW and chance > _CHANCE:
        return Choice(
            180.0,
            f"directions between bodyparts turn by {turning:.0f} degrees in "
            f"{format_count(places, 'place')}: too few to tell that animals never face other ways",
        )
    return Choice(
        value,
        f"directions between bodyparts turn by {turning:.0f} degrees at most: the view is fixed",
    )


def choose_mirror(
    pairs: int, rotation: float, unpaired: tuple[str, ...], *, both_ways: bool
) -> Choice:
    """Choose whether training frames are mirrored.

    Parameters
    ----------
    pairs
        Number of left-right pairs of the skeleton.
    rotation
        Largest rotation, degrees.
    unpaired
        Bodyparts of one side without a partner.
    both_ways
        Whether animals in a fixed view face left and right.
    """
    if not pairs:
        return Choice(value=False, reason="the skeleton names no symmetries")
    if unpaired:
        names = ", ".join(unpaired)
        return Choice(
            value=False,
            reason=f"{names}: on one side of the animal, and without a partner in the symmetries",
        )
    if rotation < 180.0 and not both_ways:
        return Choice(value=False, reason="the view is fixed and animals face one way")
    seen = "face all ways" if rotation == 180.0 else "face left and right"
    return Choice(
        value=True, reason=f"{format_count(pairs, 'left-right pair')}, and animals {seen}"
    )
