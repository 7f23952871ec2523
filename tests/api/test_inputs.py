"""Test frames of videos as people ask for them."""

import pytest

import pipeline_lib
from pipeline_lib.core.errors import VideoError
from tests.video_corpus import encode, read_number


def test_frames_are_counted_from_both_ends(tmp_path):
    path = encode(tmp_path / "a.mp4", frames=12)
    assert [read_number(pipeline_lib.read_frame(str(path), n)) for n in (0, 5, -1, -12)] == [
        0, 5, 11, 0
    ]  # fmt: skip
    for frame in (12, -13):
        with pytest.raises(IndexError, match=f"a.mp4: has 12 frames, 0 to 11: no frame {frame}"):
            pipeline_lib.read_frame(path, frame)
    for wrong in (1.0, "1", None):
        with pytest.raises(TypeError, match="integer"):
            pipeline_lib.read_frame(path, wrong)


def test_a_reader_takes_texts(tmp_path):
    path = encode(tmp_path / "a.mp4", frames=12)
    with pipeline_lib.VideoReader(str(path)) as video:
        assert [read_number(image) for _, image in video.read(10)] == [10, 11]


def test_an_error_names_the_video(tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("not a video")
    for path in (text, tmp_path / "none.mp4"):
        with pytest.raises(VideoError) as error:
            pipeline_lib.read_frame(path, 0)
        assert str(error.value).count(str(path)) == 1
