"""Test the conversion between frame and network: half pixels, padding, and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.models.inference.preprocessing import FrameFit, fit_frame, fit_frames

NAN = np.nan


@pytest.mark.parametrize(
    ("frame", "network"),
    [
        # At half size, the centre of a 2 x 2 block is the centre of the pixel it becomes.
        ((0.5, 0.5), (0.0, 0.0)),
        ((2.5, 4.5), (1.0, 2.0)),
        # The corner of the image stays the corner of the image.
        ((-0.5, -0.5), (-0.5, -0.5)),
        ((99.5, 59.5), (49.5, 29.5)),
    ],
)
def test_half_pixels_at_half_size(frame, network):
    fit = FrameFit.of(60, 100, 0.5)
    assert (fit.inner_height, fit.inner_width) == (30, 50)
    assert fit.to_network(np.array(frame)).tolist() == list(network)
    assert fit.to_frame(np.array(network)).tolist() == list(frame)


def test_pixels_follow_the_same_convention():
    """Shrink a bright 2 x 2 block at columns 20 and 21, rows 10 and 11 to pixel (10, 5)."""
    frame = np.zeros((60, 100, 3), np.uint8)
    frame[10:12, 20:22] = 200
    fit = FrameFit.of(60, 100, 0.5)
    laid = fit_frame(frame, fit)
    assert np.argwhere(laid[..., 0] == 200).tolist() == [[5, 10]]
    assert np.count_nonzero(laid) == 3
    assert fit.to_network(np.array([20.5, 10.5])).tolist() == [10.0, 5.0]


@given(
    height=st.integers(1, 2000),
    width=st.integers(1, 2000),
    scale=st.floats(0.05, 1.0),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
)
def test_a_point_returns_from_the_network_to_its_place_in_the_frame(height, width, scale, x, y):
    fit = FrameFit.of(height, width, scale)
    point = np.array([x * (width - 1), y * (height - 1)])
    there = fit.to_network(point)
    assert there.dtype == np.float32
    np.testing.assert_allclose(fit.to_frame(there), point, atol=5e-3)
    # Inside the frame is inside the shrunk frame, which is inside of the input.
    assert (there >= -0.5 - 1e-3).all()
    assert (there <= np.array([fit.inner_width, fit.inner_height]) - 0.5 + 1e-3).all()
    assert fit.padded_size[0] >= fit.inner_height >= 1
    assert fit.padded_size[1] >= fit.inner_width >= 1


def test_sides_that_do_not_divide_have_their_own_factor():
    """Shrink 33 px to 16 px: x shrinks by 16/33, not by 0.5."""
    fit = FrameFit.of(32, 33, 0.5)
    assert (fit.inner_height, fit.inner_width) == (16, 16)
    np.testing.assert_allclose(fit.to_network(np.array([32.5, 31.5])), [15.5, 15.5], rtol=1e-6)


def test_missing_stays_missing():
    fit = FrameFit.of(60, 100, 0.5)
    points = np.array([[NAN, NAN], [1.5, 2.5]])
    there = fit.to_network(points)
    np.testing.assert_array_equal(there, [[NAN, NAN], [0.5, 1.0]])
    np.testing.assert_array_equal(fit.to_frame(there), points)


@pytest.mark.parametrize(
    ("height", "width", "scale", "size"),
    [(64, 96, 1.0, (64, 96)), (65, 95, 1.0, (96, 96)), (480, 640, 0.3, (160, 192)),
     (3, 3, 0.1, (32, 32))],
)  # fmt: skip
def test_padding_goes_to_the_next_multiple_of_32(height, width, scale, size):
    assert FrameFit.of(height, width, scale).padded_size == size


def test_padding_is_black_and_at_the_right_and_bottom():
    frame = np.full((40, 50, 3), 77, np.uint8)
    fit = FrameFit.of(40, 50, 1.0)
    laid = fit_frame(frame, fit)
    assert laid.shape == (64, 64, 3)
    assert (laid[:40, :50] == 77).all()
    assert not laid[40:].any()
    assert not laid[:, 50:].any()
    larger = fit_frame(frame, fit, (96, 128))
    assert larger.shape == (96, 128, 3)
    assert (larger[:40, :50] == 77).all()
    assert larger.sum() == laid.sum()


def test_a_frame_that_fits_is_not_touched():
    frame = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fit_frame(frame, FrameFit.of(64, 96, 1.0)), frame)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_batch_is_filled_up_with_black(scale):
    frames = np.random.default_rng(0).integers(1, 256, (2, 40, 50, 3), dtype=np.uint8)
    fit = FrameFit.of(40, 50, scale)
    batch = fit_frames(list(frames), fit, 3)
    assert batch.shape == (3, *fit.padded_size, 3)
    for row, frame in zip(batch, frames, strict=False):
        np.testing.assert_array_equal(row, fit_frame(frame, fit))
    assert not batch[2].any()


def test_one_frame_that_fits_is_not_copied():
    """Check that a flipped or cropped view is copied: runtimes need contiguous memory."""
    frame = np.zeros((64, 96, 3), np.uint8)
    fit = FrameFit.of(64, 96, 1.0)
    assert np.shares_memory(fit_frames([frame], fit, 1), frame)
    flipped = fit_frames([frame[::-1]], fit, 1)
    assert flipped.flags.c_contiguous
    assert flipped.shape == (1, 64, 96, 3)
