"""Chosen settings, compared with values by hand."""

from math import nan

import pytest

from pipeline_lib.kernels.label_statistics import choices as rules


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
