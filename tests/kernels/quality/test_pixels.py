"""Test the measures of frames, and which frames are looked at."""

import cv2
import numpy as np
import pytest

from pipeline_lib.kernels.quality.pixels import choose_samples, look_at_frame

RNG = np.random.default_rng(0)
SCENE = cv2.resize(RNG.integers(0, 256, (48, 64, 3), np.uint8), (640, 480))


def test_blur_lowers_sharpness_and_neither_light_nor_noise_hides_it():
    sharp = look_at_frame(SCENE)
    dark = look_at_frame((SCENE * 0.3).astype(np.uint8))
    noisy = SCENE + RNG.normal(0, 3, SCENE.shape)
    blurred = cv2.GaussianBlur(SCENE, (0, 0), 4) + RNG.normal(0, 3, SCENE.shape)
    assert dark.focus == pytest.approx(sharp.focus, rel=0.05)
    assert dark.brightness == pytest.approx(0.3 * sharp.brightness, abs=0.005)
    assert look_at_frame(noisy.clip(0, 255).astype(np.uint8)).focus < 1.6 * sharp.focus
    assert look_at_frame(blurred.clip(0, 255).astype(np.uint8)).focus < 0.6 * sharp.focus
    assert sharp.thumbnail.shape == (48, 64)
    flat = look_at_frame(np.full((20, 30, 3), 255, np.uint8))
    assert flat.brightness == 1
    assert np.isnan(flat.focus)


def test_samples_are_spread_and_cheap():
    assert choose_samples(100, np.array([0]), 4).tolist() == [12, 37, 62, 87]
    # Whatever would be dear to decode gives way to frames near keyframes.
    frames = choose_samples(10_000, np.arange(0, 10_000, 250), 12)
    assert len(frames) == 12
    assert (frames % 250 <= 50).all()
    assert np.diff(frames).min() > 500
    # One keyframe in a long video.
    assert choose_samples(100_000, np.empty(0, int), 12).tolist() == [50]
    assert choose_samples(3, np.array([0]), 12).tolist() == [0, 1, 2]
    assert choose_samples(0, np.array([0]), 12).tolist() == []
    assert choose_samples(50, np.array([0]), 0).tolist() == []
