"""Rotation and mirroring of training frames, compared with values by hand."""

from math import nan

import pytest

from pipeline_lib.kernels.label_statistics import augmentation


@pytest.mark.parametrize(
    ("turning", "distinct", "places", "value"),
    [
        (2.0, 6, 1, 15.0),  # at least 15 degrees
        (12.0, 6, 20, 20.0),  # 18, rounded up to a multiple of 5
        (45.0, 6, 20, 70.0),
        (45.1, 6, 20, 180.0),
        (2.0, 5, 20, 180.0),  # too few poses tell nothing
        (nan, 6, 20, 180.0),
        (15.0, 6, 1, 25.0),
        (15.1, 6, 1, 180.0),  # one place tells nothing
        (22.0, 99, 3, 180.0),  # 3 * (44 / 360)^2 = 0.045
        (22.0, 99, 4, 35.0),  # 4 * (44 / 360)^3 = 0.0073
        (45.0, 99, 5, 180.0),  # 5 * (90 / 360)^4 = 0.0195
        (45.0, 99, 6, 70.0),  # 6 * (90 / 360)^5 = 0.0059
    ],
)
def test_rotation_follows_from_the_turning(turning, distinct, places, value):
    assert augmentation.choose_rotation(turning, distinct, places, in_place=False).value == value


def test_reasons_say_what_is_missing():
    few = augmentation.choose_rotation(nan, 5, 1, in_place=False).reason
    assert few.startswith("5 different labelled poses")
    seldom = augmentation.choose_rotation(nan, 6, 1, in_place=False).reason
    assert seldom.startswith("no two moving bodyparts are labelled together often enough")


@pytest.mark.parametrize(
    ("turning", "value"),
    [(2.0, 15.0), (15.1, 25.0), (20.0, 30.0), (45.0, 30.0), (45.1, 180.0), (nan, 180.0)],
)
def test_animals_that_stay_in_place_need_no_other_places(turning, value):
    # A body that cannot leave turns by 30 degrees at most; above 45 it may spin in its place.
    assert augmentation.choose_rotation(turning, 99, 1, in_place=True).value == value
    assert augmentation.choose_rotation(turning, 5, 1, in_place=True).value == 180.0


@pytest.mark.parametrize(
    ("roaming", "length", "expected"),
    [(30.0, 100.0, True), (30.1, 100.0, False), (nan, 100.0, False), (30.0, nan, False)],
)
def test_animals_stay_in_place_within_0_3_of_their_length(roaming, length, expected):
    assert augmentation.stays_in_place(roaming, length) is expected


@pytest.mark.parametrize(("videos", "least"), [(1, 12), (2, 12), (3, 18), (6, 36), (5000, 36)])
def test_places_of_more_videos_need_more_postures(videos, least):
    assert augmentation.least_postures(videos) == least


@pytest.mark.parametrize("turning", [15.1, 30.0, 45.0])
def test_no_more_places_are_counted_than_a_fixed_view_needs(turning):
    assert (
        augmentation.choose_rotation(turning, 99, augmentation.least_places(), in_place=False).value
        < 180.0
    )
    fewer = augmentation.least_places() - 1
    assert augmentation.choose_rotation(45.0, 99, fewer, in_place=False).value == 180.0


@pytest.mark.parametrize(
    ("pairs", "rotation", "unpaired", "both_ways", "reason"),
    [
        (1, 180.0, (), False, "1 left-right pair, and animals face all ways"),
        (2, 15.0, (), True, "2 left-right pairs, and animals face left and right"),
        (2, 15.0, (), False, "the view is fixed and animals face one way"),
        (0, 180.0, (), True, "the skeleton names no symmetries"),
        (1, 180.0, ("paw",), True, "paw: on one side"),
    ],
)
def test_mirroring_needs_symmetries(pairs, rotation, unpaired, both_ways, reason):
    choice = augmentation.choose_mirror(pairs, rotation, unpaired, both_ways=both_ways)
    assert choice.value is ("left-right" in reason)
    assert choice.reason.startswith(reason)
