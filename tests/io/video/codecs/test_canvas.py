"""Test pictures that are drawn on: what is not drawn on stays, and heights of every kind."""

import numpy as np
import pytest

from pipeline_lib.io.video.codecs.canvas import Canvas
from pipeline_lib.io.video.encode import LiveVideoWriter, encode_frames
from pipeline_lib.io.video.reader import VideoReader

RED, BLUE = (230, 20, 20), (20, 20, 230)


def show(canvas):
    """Return the picture as RGB, by FFmpeg."""
    return canvas._frame.to_ndarray(format="rgb24")


def halve(height, width=64):
    """Return an image whose upper half is red, and the lower one blue."""
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2], image[height // 2 :] = RED, BLUE
    return image


def is_halved(image):
    middle = len(image) // 2
    there = [0, middle - 4], [middle + 4, len(image) - 1]
    return all(
        np.abs(image[row, 10].astype(int) - colour).max() < 25
        for rows, colour in zip(there, (RED, BLUE), strict=True)
        for row in rows
    )


# PyAV's own way from an array to a picture takes 98 rows for 96, and colours move.
@pytest.mark.parametrize("height", [96, 98, 482])
def test_colours_stay_where_they_are_in_videos_of_every_even_height(tmp_path, height):
    path = tmp_path / "v.mp4"
    encode_frames(path, [(3000 * number, halve(height)) for number in range(3)], 10, 30)
    with VideoReader(path) as reader:
        images = [image for _, image in reader.read()]
    assert len(images) == 3
    assert images[2].shape == (height, 64, 3)
    assert is_halved(images[2])
    writer = LiveVideoWriter(tmp_path / "live.mp4", (height, 64), 10)
    for number in range(3):
        writer.write(3000 * number, halve(height))
    writer.close()
    with VideoReader(tmp_path / "live.mp4") as reader:
        assert is_halved(next(image for _, image in reader.read()))


def test_only_what_is_drawn_on_changes():
    rng = np.random.default_rng(0)
    canvas = Canvas((64, 48))
    canvas.show([rng.integers(16, 235, shape, np.uint8) for shape in ((48, 64), *[(24, 32)] * 2)])
    before = show(canvas)
    with canvas.open_part((8, 40, 4, 30)) as planes:
        for plane, value in zip(planes, (81, 90, 240), strict=True):
            plane[10:14, 20:30] = value
    after = show(canvas)
    # Red of BT.601.
    np.testing.assert_allclose(after[11:13, 22:28], [[[255, 0, 0]] * 6] * 2, atol=3)
    changed = (after != before).any(axis=-1)
    # FFmpeg mixes no colours of neighbours.
    assert changed[10:14, 20:30].all()
    changed[10:14, 20:30] = False
    assert not changed.any()


def test_odd_sides_repeat_the_last_pixels_and_gray_has_no_colour():
    canvas = Canvas((6, 4))
    luma = np.arange(16, 31, dtype=np.uint8).reshape(3, 5)
    canvas.show((luma,))
    shown = canvas._frame.to_ndarray()
    np.testing.assert_array_equal(shown[:4], np.pad(luma, ((0, 1), (0, 1)), mode="edge"))
    assert (shown[4:] == 128).all()
