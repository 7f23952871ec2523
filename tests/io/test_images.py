"""Test that images of any kind become 8-bit RGB."""

import cv2
import numpy as np
import pytest

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.images import read_image, write_png

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def test_colour_comes_back_in_rgb_order(tmp_path):
    write_png(tmp_path / "a.png", RGB)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)
    # OpenCV reads blue first.
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png")), RGB[..., ::-1])


def test_gray_is_stored_once_and_read_three_times(tmp_path):
    gray = np.repeat(RGB[..., :1], 3, axis=2)
    write_png(tmp_path / "a.png", gray)
    stored = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, RGB[..., 0])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), gray)


def test_sixteen_bits_and_alpha(tmp_path):
    deep = np.array([[0, 255, 256, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    assert read_image(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 0, 1, 255]
    alpha = np.array([[[1, 2, 3, 0]]], np.uint8)
    cv2.imwrite(str(tmp_path / "alpha.png"), alpha)
    assert read_image(tmp_path / "alpha.png").tolist() == [[[3, 2, 1]]]


def test_bad_files_are_named(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").touch()
    for name, expected in [
        ("gone.png", "no such image"),
        ("text.png", "found 8 bytes"),
        ("empty.png", "found 0 bytes"),
        ("", "cannot be read as an image"),
    ]:
        with pytest.raises(StoreError, match=expected) as caught:
            read_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
