"""Test exact reading: every frame by the number drawn on it, whole and in segments."""

import pickle
import zlib
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.reader import VideoReader, fingerprint_file, index_video
from tests.video_corpus import (
    HEIGHT,
    RECIPES,
    WIDTH,
    damage_packet,
    draw_frame,
    encode,
    read_number,
    turn_a_quarter,
    vary_times,
    x264,
)

_SEGMENT = 7


def checksums(frames: Iterator[tuple[int, np.ndarray | None]]) -> list[tuple[int, int | None]]:
    return [(index, None if image is None else zlib.crc32(image)) for index, image in frames]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Encode each video on first use."""
    folder, readers = tmp_path_factory.mktemp("corpus"), {}

    def get(name: str) -> VideoReader:
        if name not in readers:
            file, write, _ = RECIPES[name]
            readers[name] = VideoReader(write(folder / file))
        return readers[name]

    return get


@pytest.mark.parametrize("name", RECIPES)
def test_sequential_reading_gives_every_frame_in_order(corpus, name):
    first, expected = RECIPES[name][2], 300 if name == "h264-long-gop" else 60
    frames = [(index, read_number(image)) for index, image in corpus(name).read()]
    assert frames == [(i, first + i) for i in range(expected)]


@pytest.mark.parametrize("name", RECIPES)
def test_segments_equal_sequential_reading(corpus, name):
    reader = corpus(name)
    whole = checksums(reader.read())
    step = 1 if reader.facts.frames <= 60 else 31
    for start in range(0, reader.facts.frames, step):
        assert checksums(reader.read(start, start + _SEGMENT)) == whole[start : start + _SEGMENT]


@pytest.mark.parametrize("name", RECIPES)
def test_threads_change_nothing(corpus, name):
    reader = corpus(name)
    threaded = VideoReader(reader.path, index=reader.index, threads=3)
    assert checksums(threaded.read()) == checksums(reader.read())


@pytest.mark.parametrize(
    ("name", "packet_shown", "lost"),
    [
        # Packet 17 is the reference shown as frame 20; 17 to 19 refer to it and are shown first.
        ("h264-b-frames", 20, range(17, 24)),
        # Frames 21 to 23 are decoded after the keyframe 24 but shown before it.
        ("h264-open-gop", 20, range(17, 24)),
        ("h264-open-gop-mkv", 20, range(17, 24)),
        ("h264-fragments", 20, range(17, 24)),
        # Refreshing begins anew at 20 and is complete at 30.
        ("h264-intra-refresh", 17, range(17, 30)),
        ("h264-long-gop", 20, range(17, 250)),
        # The keyframes are two frames apart.
        ("h264-tiny-gop", 17, range(17, 18)),
        ("hevc", 17, range(17, 24)),
        ("vp9", 17, range(17, 24)),
        ("mjpeg-avi", 17, range(17, 18)),
        ("mpeg4-avi", 17, range(17, 24)),
        ("variable-rate", 20, range(17, 24)),
        ("edit-list", 15, range(12, 19)),
        # Without timestamps the place of the lost frame is a guess in its group of pictures.
        ("h264-b-frames-avi", None, range(12, 24)),
        ("mpeg4-b-frames-avi", None, range(10, 24)),
    ],
)
def test_a_damaged_frame_is_none_and_shifts_no_other(tmp_path, name, packet_shown, lost):
    file, write, first = RECIPES[name]
    path = write(tmp_path / file)
    damage_packet(path, 17)
    reader = VideoReader(path)
    if packet_shown is not None:
        assert reader.index.shown[17] == packet_shown
    found = {i: None if image is None else read_number(image) for i, image in reader.read()}
    total = 300 if name == "h264-long-gop" else 60
    assert found == {i: None if i in lost else first + i for i in range(total)}


@pytest.mark.parametrize("name", ["h264-b-frames", "h264-open-gop", "mpeg4-avi", "mjpeg-avi"])
@pytest.mark.parametrize("whole", [True, False])
def test_damage_reads_the_same_in_segments_and_with_threads(tmp_path, name, whole):
    path = RECIPES[name][1](tmp_path / RECIPES[name][0])
    damage_packet(path, 17, whole=whole)
    reader = VideoReader(path)
    expected = checksums(reader.read())
    assert any(checksum is None for _, checksum in expected)
    for start in range(0, 60, 5):
        assert checksums(reader.read(start, start + _SEGMENT)) == expected[start : start + _SEGMENT]
    assert checksums(VideoReader(path, threads=3).read()) == expected


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(start=st.integers(-3, 65), length=st.integers(0, 70), step=st.integers(1, 9))
def test_any_range_is_what_its_slice_is(corpus, start, length, step):
    reader = corpus("h264-open-gop")
    got = [(i, read_number(image)) for i, image in reader.read(start, start + length, step=step)]
    expected = range(max(start, 0), min(start + length, 60), step)
    assert got == [(i, i) for i in expected]


def test_pixels_are_those_that_were_encoded(corpus):
    for index, image in corpus("gray-ffv1").read(0, 3):
        assert (image.shape, image.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
        # Gray of the ramp in the rows that hold nothing else; FFV1 loses nothing but colour.
        assert np.abs(image[30:40].astype(int) - draw_frame(index)[30:40]).max() <= 1


def test_shrinking_keeps_proportions_and_content(corpus):
    reader = corpus("mjpeg-avi")
    index, image = next(reader.read(20, 21, width=48))
    full = next(reader.read(20, 21))[1]
    assert (index, image.shape) == (20, (32, 48, 3))
    means = full.reshape(32, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.abs(image - means).mean() < 4
    assert next(reader.read(20, 21, width=1000))[1].shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("width", [*range(18, 52, 2), 33, 41])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p"])
def test_every_column_of_an_image_is_written(tmp_path, width, pixel_format):
    # FFmpeg's conversion to planes leaves up to 8 columns at the right edge as they were.
    path = tmp_path / "a.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, 16, pixel_format
        for _ in range(3):
            gray = np.full((16, width, 3), 120, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(gray)))
        container.mux(stream.encode(None))
    for _, image in VideoReader(path).read():
        assert image.shape == (16, width, 3)
        assert np.abs(image.astype(int) - 120).max() <= 2


def test_rotation_is_applied_as_players_do(tmp_path):
    path = encode(tmp_path / "turned.mp4", frames=3, options=x264())
    upright = next(VideoReader(path).read())[1]
    turn_a_quarter(path)
    reader = VideoReader(path)
    assert (reader.facts.width, reader.facts.height) == (HEIGHT, WIDTH)
    turned = next(reader.read())[1]
    # Clockwise: the bottom-left corner comes to the top left.
    np.testing.assert_array_equal(turned, np.rot90(upright, -1))


def test_times_are_presentation_times_from_the_first_frame(corpus):
    np.testing.assert_allclose(corpus("variable-rate").times, np.array(vary_times(60)) / 1000)
    for name in ("edit-list", "h264-open-gop-ts", "h264-b-frames-avi", "h264-open-gop-mkv"):
        np.testing.assert_allclose(corpus(name).times, np.arange(60) / 25, atol=1e-9)


def test_an_index_serves_other_readers_and_processes(corpus):
    reader = corpus("h264-open-gop")
    shared = pickle.loads(pickle.dumps(reader.index))  # noqa: S301 - our own
    assert checksums(VideoReader(reader.path, index=shared).read(30, 40)) == checksums(
        reader.read(30, 40)
    )


def test_an_index_of_another_file_is_refused(tmp_path, corpus):
    other = encode(tmp_path / "other.mp4", options=x264("crf=40"))
    with pytest.raises(VideoError, match="file has changed"):
        list(VideoReader(other, index=corpus("h264-b-frames").index).read())


def test_long_gops_are_entered_at_their_keyframe(corpus):
    index = corpus("h264-long-gop").index
    assert index.keyframes.tolist() == [0, 250]
    assert [index.find_entry(start, start + 1) for start in (0, 249, 250, 299)] == [0, 0, 250, 250]


def test_leading_frames_are_entered_a_keyframe_earlier(corpus):
    index = corpus("h264-open-gop").index
    # Decoded: 0 4 2 1 3 8 6 5 7 12 10 9 11 ...: the keyframe shown as 12 is packet 9.
    assert index.order[:13].tolist() == [0, 3, 2, 4, 1, 7, 6, 8, 5, 11, 10, 12, 9]
    assert index.keyframes[:2].tolist() == [0, 9]
    assert [index.find_entry(start, start + 9) for start in (11, 12)] == [0, 9]


def test_two_readings_at_once_do_not_disturb_each_other(corpus):
    reader = corpus("h264-b-frames")
    for apart in (0, 3, 30):
        pairs = zip(reader.read(0, 20), reader.read(apart, apart + 20), strict=True)
        assert [(read_number(a), read_number(b)) for (_, a), (_, b) in pairs] == [
            (i, i + apart) for i in range(20)
        ]


def test_change_of_size_is_an_error_that_names_the_frame(tmp_path):
    path = tmp_path / "joined.h264"
    small = encode(tmp_path / "a.h264", frames=5, options=x264(), file_format="h264")
    data = small.read_bytes()
    with av.open(tmp_path / "b.h264", "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 2 * WIDTH, HEIGHT, "yuv420p"
        for _ in range(5):
            blank = np.zeros((HEIGHT, 2 * WIDTH, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(blank)))
        container.mux(stream.encode(None))
    path.write_bytes(data + (tmp_path / "b.h264").read_bytes())
    with pytest.raises(VideoError, match="frame 5 is 192 x 64 px, the first one 96 x 64 px"):
        list(VideoReader(path).read())


def test_fingerprint_is_the_sha256_of_the_bytes(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert fingerprint_file(path) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@pytest.mark.real
@pytest.mark.parametrize(
    ("file", "frames"),
    [
        ("mirror-mouse/mirror-mouse-example/videos/test_vid.mp4", 994),
        ("flies-dreem/three_flies.mp4", 128),
    ],
)
def test_real_videos_agree_with_opencv(real_data, file, frames):
    import cv2  # noqa: PLC0415 - the oracle

    path = real_data / file
    capture = cv2.VideoCapture(str(path))
    index = index_video(path)
    assert index.facts.frames == frames
    for _, image in VideoReader(path, index=index).read():
        expected = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
        assert np.abs(image.astype(int) - expected).max() <= 1
    assert not capture.read()[0]


@pytest.fixture
def real_data() -> Path:
    import os  # noqa: PLC0415

    folder = os.environ.get("COHORTPOSE_DATA")
    if not folder:
        pytest.skip("COHORTPOSE_DATA does not name a folder of real data")
    return Path(folder)
