"""Test that keypoints move with the image, and that random numbers belong to the sample."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.core.settings.network import AugmentationSettings, TargetSettings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.kernels.maps.score_maps import map_shape
from pipeline_lib.models.training.samples.augmentation import (
    Warp,
    change_appearance,
    draw_warp,
    random_streams,
    warp_images,
    warp_keypoints,
)
from pipeline_lib.models.training.samples.targets import encode_targets

NAN = float("nan")
NOTHING = AugmentationSettings(
    rotation=0, scale=(1, 1), translation=0, brightness=0, contrast=0, noise=0, blur=0, erase=0
)
MUCH = AugmentationSettings(
    mirror=True, brightness=0.5, contrast=0.8, noise=0.2, blur=0.5, erase=0.5
)
SIZE = 64, 96


def centre_of(size):
    return np.array([[(size[1] - 1) / 2, (size[0] - 1) / 2]])


def make_warp(matrix, *, mirrored=False):
    return Warp(torch.tensor([matrix], dtype=torch.float32), torch.tensor([mirrored]))


def make_images(count=1, size=SIZE):
    stream = np.random.default_rng(1)
    return torch.from_numpy(stream.random((count, 3, *size), np.float32))


def test_nothing_changes_nothing():
    image = make_images(2)
    anchor = np.repeat(centre_of(SIZE), 2, axis=0)
    streams = random_streams(0, 0, [0, 1])
    warp = draw_warp(NOTHING, streams, anchor, SIZE)
    identity = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    torch.testing.assert_close(warp.matrix, identity.expand(2, 2, 3))
    assert not warp.mirrored.any()
    changed = change_appearance(warp_images(image, warp, SIZE), NOTHING, streams)
    torch.testing.assert_close(changed, image, atol=1e-4, rtol=0)
    position = torch.tensor([[[[3.0, 4.0], [NAN, 5.0]]]] * 2)
    torch.testing.assert_close(warp_keypoints(position, warp, (0, 1))[:, :, 0], position[:, :, 0])


@pytest.mark.parametrize(
    ("matrix", "point", "expected"),
    [
        ([[1, 0, 5], [0, 1, -3]], (10, 20), (15, 17)),
        ([[2, 0, 0], [0, 2, 0]], (10, 20), (20, 40)),
        # A quarter turn about the origin: x grows to the right, y down.
        ([[0, -1, 60], [1, 0, 0]], (10, 20), (40, 10)),
        # Mirrored: pixel 0 goes to the last one, 95.
        ([[-1, 0, 95], [0, 1, 0]], (0, 20), (95, 20)),
    ],
)
def test_pictures_and_keypoints_by_hand(matrix, point, expected):
    warp = make_warp(matrix)
    image = torch.zeros(1, 3, *SIZE)
    image[0, :, point[1], point[0]] = 1.0
    changed = warp_images(image, warp, SIZE)[0, 0]
    assert divmod(int(changed.argmax()), SIZE[1]) == (expected[1], expected[0])
    assert changed.max() == pytest.approx(1.0, abs=1e-4)
    moved = warp_keypoints(torch.tensor([[[point]]], dtype=torch.float32), warp, (0,))
    assert moved.tolist() == [[[list(expected)]]]


def test_pixels_from_outside_are_black():
    changed = warp_images(torch.ones(1, 3, *SIZE), make_warp([[1, 0, 10], [0, 1, 0]]), SIZE)
    assert not changed[..., :9].any()
    torch.testing.assert_close(changed[..., 10:], torch.ones(1, 3, 64, 86), atol=1e-4, rtol=0)


def test_the_result_may_have_another_size():
    """Crop around (50, 30), which is the centre of the output."""
    image = make_images()
    warp = draw_warp(NOTHING, random_streams(0, 0, [0]), np.array([[50.5, 30.5]]), (32, 32))
    changed = warp_images(image, warp, (32, 32))
    torch.testing.assert_close(changed, image[:, :, 15:47, 35:67], atol=1e-4, rtol=0)
    moved = warp_keypoints(torch.tensor([[[[50.5, 30.5]]]]), warp, (0,))
    torch.testing.assert_close(moved, torch.tensor([[[[15.5, 15.5]]]]))


@given(
    seed=st.integers(0, 10**6),
    x=st.floats(34, 60),
    y=st.floats(24, 40),
    mirror=st.booleans(),
)
@settings(max_examples=60)
def test_a_marker_is_found_where_its_keypoint_says(seed, x, y, mirror):
    """Check that the centroid of a soft spot lies at the warped keypoint, for every warp."""
    options = AugmentationSettings(rotation=180, scale=(0.7, 1.5), translation=0.1, mirror=mirror)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2)).astype(np.float32)
    image = torch.from_numpy(spot).expand(1, 3, *SIZE)
    # Large enough that the whole spot stays in the picture.
    output = (160, 192)
    warp = draw_warp(options, random_streams(seed, 0, [0]), centre_of(SIZE), output)
    weight = warp_images(image, warp, output)[0, 0].double().numpy()
    weight[weight < 1e-3] = 0
    rows, columns = np.mgrid[: output[0], : output[1]]
    centroid = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
    position = torch.tensor([[[[x, y]]]], dtype=torch.float32)
    moved = warp_keypoints(position, warp, (0,))[0, 0, 0].numpy()
    np.testing.assert_allclose(centroid, moved, atol=0.1)


@given(st.integers(0, 10**6))
@settings(max_examples=50)
def test_warps_stay_within_their_settings(seed):
    options = AugmentationSettings(rotation=30, scale=(0.8, 1.25), translation=0.1, mirror=True)
    anchor = np.array([[20.0, 40.0]])
    warp = draw_warp(options, random_streams(seed, 0, [0]), anchor, SIZE)
    linear = warp.matrix[0, :, :2].double().numpy()
    determinant = np.linalg.det(linear)
    assert (determinant < 0) == bool(warp.mirrored[0])
    zoom = math.sqrt(abs(determinant))
    assert 0.8 - 1e-6 <= zoom <= 1.25 + 1e-6
    # A similarity: rotation and mirror keep all angles.
    np.testing.assert_allclose(linear @ linear.T, zoom**2 * np.eye(2), atol=1e-6)
    angle = math.degrees(math.atan2(linear[1, 1], linear[0, 1])) - 90
    assert abs((angle + 180) % 360 - 180) <= 30 + 1e-4
    shift = linear @ anchor[0] + warp.matrix[0, :, 2].numpy() - centre_of(SIZE)[0]
    assert (np.abs(shift) <= (9.6 + 1e-3, 6.4 + 1e-3)).all()


def test_a_mirror_swaps_left_and_right():
    skeleton = Skeleton(bodyparts=("nose", "left", "right"), symmetries=(("left", "right"),))
    position = torch.tensor([[[[10.0, 1.0], [20.0, 2.0], [30.0, 3.0]]]])
    matrix = [[-1, 0, 95], [0, 1, 0]]
    moved = warp_keypoints(position, make_warp(matrix, mirrored=True), skeleton.mirrored_order)
    # What was the right side at x = 30 is now, at x = 65, the left one.
    assert moved.tolist() == [[[[85.0, 1.0], [65.0, 3.0], [75.0, 2.0]]]]
    kept = warp_keypoints(position, make_warp(matrix), skeleton.mirrored_order)
    assert kept.tolist() == [[[[85.0, 1.0], [75.0, 2.0], [65.0, 3.0]]]]


def test_half_of_the_frames_are_mirrored_if_any():
    streams = random_streams(0, 0, list(range(400)))
    anchor = np.repeat(centre_of(SIZE), 400, axis=0)
    mirrored = draw_warp(MUCH, streams, anchor, SIZE).mirrored
    assert 150 < int(mirrored.sum()) < 250


@pytest.mark.parametrize("mirrored", [True, False])
def test_missing_keypoints_stay_missing(mirrored):
    position = torch.tensor([[[[NAN, NAN], [4.0, 5.0], [NAN, 3.0]]]])
    warp = make_warp([[0.8, -0.6, 3], [0.6, 0.8, 1]], mirrored=mirrored)
    moved = warp_keypoints(position, warp, (0, 1, 2))[0, 0]
    assert torch.isnan(moved[[0, 2]]).all()
    assert torch.isfinite(moved[1]).all()
    swapped = warp_keypoints(position, warp, (1, 0, 2))[0, 0]
    assert torch.isnan(swapped[1 if mirrored else 0]).all()
    assert torch.isfinite(swapped[0 if mirrored else 1]).all()


def augment(samples, epoch=0, seed=0):
    """Augment copies of one image under the numbers of different samples."""
    streams = random_streams(seed, epoch, samples)
    anchor = np.repeat(centre_of(SIZE), len(samples), axis=0)
    warp = draw_warp(MUCH, streams, anchor, SIZE)
    image = make_images().expand(len(samples), 3, *SIZE)
    return change_appearance(warp_images(image, warp, SIZE), MUCH, streams)


def test_augmentation_of_a_sample_does_not_depend_on_its_batch():
    together = augment([5, 6, 7, 8])
    for place, sample in enumerate([5, 6, 7, 8]):
        torch.testing.assert_close(augment([sample])[0], together[place], atol=1e-4, rtol=0)
    torch.testing.assert_close(augment([8, 5]), together[[3, 0]], atol=1e-4, rtol=0)


def test_samples_epochs_and_seeds_differ():
    first = augment([5])
    assert torch.equal(first, augment([5]))
    for other in (augment([6]), augment([5], epoch=1), augment([5], seed=1)):
        assert (first - other).abs().mean() > 0.01


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_appearance_stays_in_range_and_repeats(seed):
    image = make_images(2, (24, 32))
    kept = image.clone()
    first = change_appearance(image, MUCH, random_streams(seed, 0, [0, 1]))
    assert first.min() >= 0.0
    assert first.max() <= 1.0
    assert torch.equal(image, kept)
    assert torch.equal(first, change_appearance(image, MUCH, random_streams(seed, 0, [0, 1])))


def test_brightness_and_contrast_by_hand():
    """Spread contrast around the mean: the mean changes with the brightness alone."""
    image = make_images() * 0.2 + 0.4
    options = AugmentationSettings(brightness=0.1, contrast=0.3, noise=0, blur=0, erase=0)
    changed = change_appearance(image, options, random_streams(3, 0, [0]))
    stream = random_streams(3, 0, [0])[0]
    gain, lift = 1 + stream.uniform(-0.3, 0.3), stream.uniform(-0.1, 0.1)
    assert changed.mean().item() == pytest.approx(image.mean().item() + lift, abs=1e-5)
    assert changed.std().item() == pytest.approx(image.std().item() * abs(gain), abs=1e-5)


def test_blur_keeps_flat_pictures_and_softens_others():
    options = NOTHING.model_copy(update={"blur": 1.0})
    flat = torch.full((1, 3, *SIZE), 0.25)
    torch.testing.assert_close(change_appearance(flat, options, random_streams(0, 0, [0])), flat)
    image = make_images()
    assert change_appearance(image, options, random_streams(0, 0, [0])).std() < 0.7 * image.std()


def test_erasing_paints_one_patch():
    options = NOTHING.model_copy(update={"erase": 1.0})
    image = make_images()
    changed = change_appearance(image, options, random_streams(0, 0, [0]))
    touched = ((changed - image).abs() > 1e-6).any(dim=1)[0]
    rows, columns = np.nonzero(touched.numpy())
    area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
    assert 0 < len(rows) <= area <= 0.2**2 * SIZE[0] * SIZE[1]
    assert changed[0, :, rows, columns].unique().numel() == 1


@pytest.mark.parametrize("score_map", ["gaussian", "plateau"])
def test_targets_drawn_after_nothing_changed_are_the_stored_ones(score_map):
    """Compare both drawings by one kernel; stored maps are rounded to half precision."""
    options = TargetSettings(score_map=score_map)
    shape = map_shape(*SIZE, options.stride)
    position = np.array([[[[20.0, 30.0], [NAN, NAN], [90.2, 61.7]]]], np.float32)
    stored = encode_targets(position, shape, options)
    warp = draw_warp(NOTHING, random_streams(0, 0, [0]), centre_of(SIZE), SIZE)
    moved = warp_keypoints(torch.from_numpy(position), warp, (0, 1, 2))
    drawn = encode_targets(moved, shape, options)
    for kept, now in zip(stored[:3], drawn[:3], strict=True):
        half = kept.astype(np.float16).astype(np.float32)
        np.testing.assert_allclose(now.numpy(), half, atol=2e-3)
        assert kept.any()
