"""Chosen settings, compared with values by hand."""

from math import nan

import pytest

from pipeline_lib.kernels.label_statistics import choices as rules


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
    assert rules.choose_rotation(turning, distinct, places, in_place=False).value == value


def test_reasons_say_what_is_missing():
    few = rules.choose_rotation(nan, 5, 1, in_place=False).reason
    assert few.startswith("5 different labelled poses")
    seldom = rules.choose_rotation(nan, 6, 1, in_place=False).reason
    assert seldom.startswith("no two moving bodyparts are labelled together often enough")


@pytest.mark.parametrize(
    ("turning", "value"),
    [(2.0, 15.0), (15.1, 25.0), (20.0, 30.0), (45.0, 30.0), (45.1, 180.0), (nan, 180.0)],
)
def test_animals_that_stay_in_place_need_no_other_places(turning, value):
    # A body that cannot leave turns by 30 degrees at most; above 45 it may spin in its place.
    assert rules.choose_rotation(turning, 99, 1, in_place=True).value == value
    assert rules.choose_rotation(turning, 5, 1, in_place=True).value == 180.0


@pytest.mark.parametrize(
    ("roaming", "length", "expected"),
    [(30.0, 100.0, True), (30.1, 100.0, False), (nan, 100.0, False), (30.0, nan, False)],
)
def test_animals_stay_in_place_within_0_3_of_their_length(roaming, length, expected):
    assert rules.stays_in_place(roaming, length) is expected


@pytest.mark.parametrize(("videos", "least"), [(1, 12), (2, 12), (3, 18), (6, 36), (5000, 36)])
def test_places_of_more_videos_need_more_postures(videos, least):
    assert rules.least_postures(videos) == least


@pytest.mark.parametrize("turning", [15.1, 30.0, 45.0])
def test_no_more_places_are_counted_than_a_fixed_view_needs(turning):
    assert rules.choose_rotation(turning, 99, rules.least_places(), in_place=False).value < 180.0
    fewer = rules.least_places() - 1
    assert rules.choose_rotation(45.0, 99, fewer, in_place=False).value == 180.0


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
    choice = rules.choose_mirror(pairs, rotation, unpaired, both_ways=both_ways)
    assert choice.value is ("left-right" in reason)
    assert choice.reason.startswith(reason)


@pytest.mark.parametrize(
    ("closest", "length", "area", "value"),
    [
        (40.0, 120.0, 640 * 480, 1.0),  # a small animal in a small image
        (40.0, 120.0, 4 * 640 * 640, 0.5),  # a quarter of the pixels; 12 of 40 px would allow 0.3
        (20.0, 120.0, 4 * 640 * 640, 0.625),  # 12 of 20 px
        (5.0, 20.0, 9 * 640 * 640, 1.0),  # tiny animals in large frames are not shrunk
        (400.0, 120.0, 100 * 640 * 640, 0.25),
        (36.4, 381.0, 396 * 406, 0.5),  # 224 of 381 px are 0.59
        (14.0, 381.0, 396 * 406, 1.0),  # 12 of 14 px are 0.86
        (16.2, 898.0, 1088 * 1920, 0.375),  # 0.75 would be 674 px: 6 of 16.2 px are 0.37
        (26.0, 898.0, 1088 * 1920, 0.375),  # 0.5 would be 449 px, 0.375 are 337
        (4.0, 3000.0, 1088 * 1920, 1.0),  # 6 of 4 px
        (27.0, 890.0, 1088 * 1920, 0.5),  # 445 px
        (nan, 381.0, 396 * 406, 1.0),
        (40.0, 120.0, nan, 1.0),
        (nan, nan, nan, 1.0),
        (0.0, 381.0, 9e6, 1.0),  # animals whose labels coincide
    ],
)
def test_scale_keeps_bodyparts_apart(closest, length, area, value):
    assert rules.choose_scale(closest, length, area).value == value


def test_a_stated_stride_of_large_cells_keeps_bodyparts_apart():
    assert rules.choose_scale(16.2, 898.0, 1088 * 1920, fine=False).value == 0.75


@pytest.mark.parametrize(
    ("length", "centres", "below", "value"),
    [
        (132.0, nan, None, 0.25),  # 33 px of the small frame
        (60.0, nan, None, 0.5),  # 24 of 60 px are 0.4
        (10.0, nan, 1.0, 0.75),  # below the scale of the network
        (130.0, 50.0, None, 0.375),  # 16 of 50 px are 0.32
        (130.0, 2.0, None, 1.0),
        (nan, nan, None, 0.25),
        (500.0, nan, 0.25, 0.125),
        (130.0, 0.0, None, 1.0),
    ],
)
def test_small_frames_keep_animals_visible(length, centres, below, value):
    assert rules.choose_locating_scale(length, centres, below=below).value == value


@pytest.mark.parametrize(
    ("closest", "scale", "stride", "sigma"),
    [
        (12.0, 1.0, 8, 6.0),  # 2 px would be finer than cells resolve
        (42.0, 1.0, 8, 7.0),  # 7 px: three deviations are 21 px
        (42.0, 0.5, 8, 6.0),
        (99.0, 1.0, 8, 8.0),
        (9.0, 1.0, 4, 3.0),
        (20.0, 1.0, 4, 3.5),  # 3.33 px, to the next half
        (nan, 1.0, 8, 8.0),
    ],
)
def test_score_maps_are_as_wide_as_neighbours_allow(closest, scale, stride, sigma):
    assert rules.choose_sigma(closest, scale, stride).value == sigma
    assert rules.choose_radius(sigma).value == 2 * sigma


def test_cells_are_fine_where_bodyparts_are_close():
    assert [rules.choose_stride(px, 0.5).value for px in (19.9, 20.0, nan)] == [4, 8, 8]


@pytest.mark.parametrize(
    ("size", "scale", "value"),
    [(130.0, 1.0, 192), (150.0, 0.5, 128), (10.0, 1.0, 96), (nan, 1.0, 224), (320.0, 1.0, 416)],
)
def test_windows_hold_the_animal_with_a_margin(size, scale, value):
    assert rules.choose_window(size, scale).value == value


@pytest.mark.parametrize(
    ("length", "size", "scale", "value"),
    [
        (132.0, (640.0, 480.0), 1.0, 288),
        (132.0, (640.0, 480.0), 0.5, 192),  # 48 % of the frame
        (160.0, (640.0, 480.0), 1.0, 320),
        (220.0, (640.0, 480.0), 1.0, None),  # 448 x 448 px are 65 %
        (381.0, (396.0, 406.0), 1.0, None),  # larger than the frame
        (20.0, (4000.0, 3000.0), 1.0, 192),
        (nan, (640.0, 480.0), 1.0, None),
        (132.0, (nan, nan), 1.0, None),
    ],
)
def test_crops_show_an_animal_with_its_surroundings(length, size, scale, value):
    assert rules.choose_crop(length, size, scale).value == value
    assert rules.choose_crop(length, size, scale, top_down=True).value is None


@pytest.mark.parametrize(
    ("pixels", "stride", "value"),
    [
        (416 * 416, 8, 8),  # 0.39 GiB each
        (1024 * 1024, 4, 2),  # 3.1 GiB each
        (1024 * 1024, 8, 2),  # 2.3 GiB each
        (800 * 800, 8, 4),  # 1.4 GiB each
        (4000 * 3000, 8, 1),  # one, whatever it needs
        (nan, 8, 8),
    ],
)
def test_batches_fit_in_memory(pixels, stride, value):
    assert rules.choose_batch(pixels, stride).value == value


@pytest.mark.parametrize(
    ("samples", "batch", "epochs"),
    [
        (100, 8, 180),  # 2400 steps of 13 in an epoch
        (10, 8, 600),  # at least 1200 steps, 2 in an epoch
        (1, 8, 1200),
        (0, 8, 1200),
        (10_000, 8, 10),  # at most 12000 steps
        (1_000_000, 8, 1),
    ],
)
def test_more_labels_mean_more_steps_and_fewer_epochs(samples, batch, epochs):
    assert rules.choose_epochs(samples, batch).value == epochs
