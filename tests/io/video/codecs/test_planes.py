"""Test planes and parts of decoded pictures against whole images."""

import re
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

import pipeline_lib
from pipeline_lib.io.video.codecs.planes import read_planes
from pipeline_lib.io.video.reader import VideoReader
from tests.video_corpus import HEIGHT, WIDTH, encode, turn_a_quarter, x264

RAMP = np.repeat(np.arange(70, dtype=np.uint8)[None, :] * 3, 51, axis=0)


@pytest.mark.parametrize(
    ("pixels", "shapes", "low", "high"),
    [
        ("yuv420p", [(26, 35)] * 2, 16, 194),
        ("yuvj422p", [(51, 35)] * 2, 0, 207),
        ("yuv444p10le", [(51, 70)] * 2, 16, 194),
        ("gray", [], 0, 207),
        ("gray12le", [], 0, 207),
        # Converted: their planes are not those of brightness and colour.
        ("nv12", [(51, 70)] * 2, 16, 194),
        ("yuv420p10be", [(51, 70)] * 2, 16, 194),
        ("gbrp", [(51, 70)] * 2, 16, 194),
        ("bgr0", [(51, 70)] * 2, 16, 194),
        ("ya8", [(51, 70)] * 2, 16, 194),
    ],
)
def test_planes_are_brightness_and_colour(pixels, shapes, low, high):
    ramp = av.VideoFrame.from_ndarray(np.stack([RAMP] * 3, axis=-1), format="rgb24")
    # With several threads FFmpeg 8 writes some pixels wrongly, now and then.
    picture = VideoReformatter().reformat(ramp, format=pixels, threads=1)
    luma, *chroma = read_planes(picture)
    assert [plane.shape for plane in chroma] == shapes
    assert luma.dtype == np.uint8
    np.testing.assert_allclose(luma, np.linspace(low, high, 70)[None].repeat(51, 0), atol=1.5)
    for plane in chroma:
        np.testing.assert_allclose(plane, 128, atol=1)


def test_pictures_are_converted_in_one_place():
    """FFmpeg is wrong with several threads, PyAV's default, too seldom for a test of pixels."""
    package = Path(pipeline_lib.__file__).parent
    converting = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"\.(reformat|to_rgb|to_image)\(|to_ndarray\(format", path.read_text("utf-8"))
    }
    assert converting == {"io/video/codecs/planes.py"}


@pytest.mark.parametrize(
    ("codec", "pixels"),
    [
        ("libx264", "yuv420p"),
        ("libx264", "yuv422p"),
        ("libx264", "gray"),
        ("libx264", "yuv420p10le"),
        ("mjpeg", "yuvj444p"),
        ("ffv1", "yuv411p"),
        ("ffv1", "bgr0"),
    ],
)
def test_a_part_has_the_pixels_of_the_whole_image(tmp_path, codec, pixels):
    options = x264() if codec == "libx264" else {}
    name = "v.mkv" if codec == "ffv1" else "v.mp4"
    path = encode(tmp_path / name, codec, frames=6, pixel_format=pixels, options=options)
    random = np.random.default_rng(0)
    if codec == "libx264" and pixels == "yuv422p":
        turn_a_quarter(path)
    reader = VideoReader(path)
    height, width = reader.facts.height, reader.facts.width
    assert {height, width} == {HEIGHT, WIDTH}
    read = zip(reader.read_pictures(), reader.read(), strict=True)
    for (frame, picture), (same, image) in read:
        assert frame == same
        np.testing.assert_array_equal(picture.convert(), image)
        assert picture.read_planes()[0].shape == image.shape[:2]
        for _ in range(20):
            x1, x2 = np.sort(random.choice(width + 1, 2, replace=False)).tolist()
            y1, y2 = np.sort(random.choice(height + 1, 2, replace=False)).tolist()
            part = picture.convert((x1, x2, y1, y2))
            np.testing.assert_array_equal(part, image[y1:y2, x1:x2])


def test_pictures_are_given_as_frames_are(tmp_path):
    """Read from any frame on, and refuse what changes its size, as `read` does."""
    reader = VideoReader(encode(tmp_path / "v.mp4", frames=20, options=x264()))
    assert [frame for frame, _ in reader.read_pictures(7, 12)] == [7, 8, 9, 10, 11]
    assert [frame for frame, _ in reader.read_pictures(15)] == [15, 16, 17, 18, 19]
    assert list(reader.read_pictures(5, 5)) == []
