"""Test the cohorts of the inference benchmark: different bytes, the same frames."""

import numpy as np
import pytest

from benchmarks.inference import videos
from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.reader import VideoReader, fingerprint_file, probe_video
from tests.video_corpus import encode, read_number


@pytest.fixture
def source(tmp_path):
    """Encode 30 numbered frames, with B-frames: packets are not in the order of showing."""
    return encode(tmp_path / "source.mp4", frames=30, gop=10, b_frames=2)


def read_numbers(path):
    return [read_number(image) for _, image in VideoReader(path).read()]


def test_copies_differ_in_bytes_only(source, tmp_path):
    paths = videos.copy_video(source, tmp_path / "copies", 3)
    assert len({fingerprint_file(path) for path in paths}) == 3
    expected = [image for _, image in VideoReader(source).read()]
    for path in paths:
        found = [image for _, image in VideoReader(path).read()]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("frames", [1, 2, 3, 14, 30, 99])
def test_cut_keeps_the_first_frames_and_no_gap(source, tmp_path, frames):
    (path,) = videos.copy_video(source, tmp_path / "copies", 1, frames)
    numbers = read_numbers(path)
    assert numbers == list(range(len(numbers)))
    # At most the two B-frames before a frame that was wanted come with it.
    assert min(frames, 30) <= len(numbers) <= min(frames + 3, 30)


def test_packets_are_kept_up_to_where_none_is_missing():
    # I at 0, P at 3 with the B-frames 1 and 2 after it, P at 6 with 4 and 5.
    times = [0, 3, 1, 2, 6, 4, 5]
    assert [videos.count_packets(times, frames) for frames in (1, 2, 4, 5, 7, 8)] == [
        1,
        4,
        4,
        7,
        7,
        7,
    ]


def test_repeated_video_shows_the_same_frames_over_and_over(source, tmp_path):
    path = tmp_path / "long.mp4"
    videos.remux_video(source, path, "long", times=3)
    assert read_numbers(path) == list(range(30)) * 3
    facts = probe_video(path)
    assert (facts.frames, facts.variable_frame_rate) == (90, False)
    assert facts.fps == pytest.approx(25)


def test_small_video_has_the_size_and_the_frames_asked_for(source, tmp_path):
    path = tmp_path / "small.mp4"
    videos.write_small_video(source, path, 40, (48, 32))
    facts = probe_video(path)
    assert (facts.width, facts.height, facts.frames) == (48, 32, 40)
    images = [image for _, image in VideoReader(path).read()]
    first, again, other = images[3], images[33], images[20]
    # The source's 30 frames come again; compression leaves small differences.
    assert np.abs(first.astype(int) - again).mean() < np.abs(first.astype(int) - other).mean()


def test_video_without_frames_is_refused(tmp_path):
    path = tmp_path / "odd.mp4"
    path.write_bytes(b"not a video")
    with pytest.raises(VideoError):
        videos.read_images(path, 3)
