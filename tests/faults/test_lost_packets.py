"""Test that every row of a video without some packets is the frame it names, or empty."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.index_file import read_index, write_index
from pipeline_lib.io.video.reader import (
    VideoReader,
    check_video,
    describe_oddities,
    probe_video,
)
from tests.video_corpus import draw_frame, encode, read_number, vary_times, x264

FRAMES = 72
# Upper bits of the number of the video stream in a transport stream of FFmpeg's.
_TS_VIDEO = 1
_X265 = {"x265-params": "keyint=12:min-keyint=12:bframes=3:log-level=none:pools=none"}
_VP9 = {"deadline": "realtime", "cpu-used": "8"}
# Suffix, codec, options, pixel format.
VIDEOS = {
    "mp4-h264": (".mp4", "libx264", x264(), "yuv420p"),
    "mp4-hevc": (".mp4", "libx265", _X265, "yuv420p"),
    "mov-mjpeg": (".mov", "mjpeg", {}, "yuvj420p"),
    "mkv-h264": (".mkv", "libx264", x264(), "yuv420p"),
    "mkv-h264-open": (".mkv", "libx264", x264("open-gop=1"), "yuv420p"),
    "mkv-h264-no-b": (".mkv", "libx264", x264(b_frames=0), "yuv420p"),
    "mkv-mjpeg": (".mkv", "mjpeg", {}, "yuvj420p"),
    "webm-vp9": (".webm", "libvpx-vp9", _VP9, "yuv420p"),
    "ts-h264": (".ts", "libx264", x264(), "yuv420p"),
    "ts-mpeg2": (".ts", "mpeg2video", {}, "yuv420p"),
    "flv-h264": (".flv", "libx264", x264(), "yuv420p"),
    "flv-flv1": (".flv", "flv", {}, "yuv420p"),
    "avi-mjpeg": (".avi", "mjpeg", {}, "yuvj420p"),
    "avi-mpeg4": (".avi", "mpeg4", {}, "yuv420p"),
    "avi-h264": (".avi", "libx264", x264(), "yuv420p"),
    "mp4-mpeg4": (".mp4", "mpeg4", {}, "yuv420p"),
}
# Which packets are lost, in decoding order.
LOSSES = {
    "one": [30],
    "a reference": [25],
    "a keyframe": [36],
    "a run": [28, 29, 30],
    "a whole group": list(range(24, 36)),
    "more than a group": list(range(20, 37)),
    "several": [14, 15, 40, 55, 56, 57],
}


def write_lossy(path: Path, name: str, lost, *, rate: int = 25, times=None) -> Path:
    """Encode numbered frames, and leave out packets before they are written."""
    _, codec, options, pixel_format = VIDEOS[name]
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixel_format
        stream.codec_context.gop_size, stream.codec_context.thread_count = 12, 1
        stream.options = options
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        packets = []
        for number in range(FRAMES):
            picture = av.VideoFrame.from_ndarray(draw_frame(number))
            if times is not None:
                picture.pts, picture.time_base = times[number], Fraction(1, 1000)
            packets += stream.encode(picture)
        packets += stream.encode(None)
        for number, packet in enumerate(packets):
            if number not in lost:
                container.mux(packet)
    return path


def read_numbers(path: Path, **options) -> dict[int, int | None]:
    with VideoReader(path, **options) as reader:
        return {i: None if image is None else read_number(image) for i, image in reader.read()}


@pytest.mark.parametrize("rate", [25, 30])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", VIDEOS)
def test_rows_are_the_frames_they_name(tmp_path, name, loss, rate):
    if rate != 25 and (loss not in ("a run", "several") or name.startswith(("mp4", "mov"))):
        pytest.skip("the timestamps are not rounded there")
    path = write_lossy(tmp_path / f"a{VIDEOS[name][0]}", name, LOSSES[loss], rate=rate)
    index = check_video(path)
    found = read_numbers(path)
    assert list(found) == list(range(FRAMES))
    assert {row: number for row, number in found.items() if number not in (row, None)} == {}
    # The lost ones at least; and what refers to them, but not beyond the keyframe after the next.
    assert int(index.missing.sum()) == len(LOSSES[loss])
    assert sum(number is None for number in found.values()) <= 12 * (len(LOSSES[loss]) // 12 + 4)
    assert found[0] == 0
    assert index.facts.fps == pytest.approx(rate, rel=1e-3)
    np.testing.assert_allclose(index.times, np.arange(FRAMES) / rate, atol=1.1e-3)
    assert index.describe_gaps().startswith(f"the file lacks {len(LOSSES[loss])} frames at ")


@pytest.mark.parametrize("name", ["mkv-h264", "ts-h264", "avi-mjpeg", "avi-mpeg4", "mp4-hevc"])
def test_segments_threads_and_stored_indexes_agree(tmp_path, name):
    path = write_lossy(tmp_path / f"a{VIDEOS[name][0]}", name, LOSSES["several"])
    expected = read_numbers(path)
    index = VideoReader(path).index
    write_index(tmp_path / "index.npz", index)
    stored = read_index(tmp_path / "index.npz")
    np.testing.assert_array_equal(stored.missing, index.missing)
    assert read_numbers(path, index=stored, threads=3) == expected
    for start in range(0, FRAMES, 5):
        part = VideoReader(path, index=stored).read(start, start + 7)
        found = {i: None if image is None else read_number(image) for i, image in part}
        assert found == {i: expected[i] for i in range(start, min(start + 7, FRAMES))}


def test_frames_of_a_gap_are_read_as_none(tmp_path):
    path = write_lossy(tmp_path / "a.mkv", "mkv-mjpeg", range(20, 40))
    assert list(VideoReader(path).read(22, 30)) == [(i, None) for i in range(22, 30)]


@pytest.mark.parametrize("name", ["mkv-h264", "ts-h264", "flv-h264", "ts-mpeg2", "avi-mpeg4"])
def test_without_its_first_keyframe_no_frame_has_a_number(tmp_path, name):
    path = write_lossy(tmp_path / f"a{VIDEOS[name][0]}", name, [0])
    with pytest.raises(VideoError, match="does not begin with a keyframe"):
        probe_video(path)


@pytest.mark.parametrize("name", ["mkv-h264", "ts-h264", "flv-h264", "mkv-mjpeg"])
def test_a_lost_end_shifts_nothing(tmp_path, name):
    path = write_lossy(tmp_path / f"a{VIDEOS[name][0]}", name, range(60, FRAMES))
    found = read_numbers(path)
    assert len(found) >= 60
    assert all(number in (row, None) for row, number in found.items())


def test_dropped_chunks_of_an_avi_are_rows_of_their_own(tmp_path):
    # A recorder that is too slow writes chunks without data.
    path = encode(tmp_path / "a.avi", "mjpeg", frames=30, pixel_format="yuvj420p")
    whole = VideoReader(path).index
    data = bytearray(path.read_bytes())
    at = int(whole.offsets[12]) - 8
    size = struct.unpack_from("<I", data, at + 4)[0]
    size += size % 2
    data[at + 4 : at + 8] = bytes(4)
    data[at + 8 : at + 8 + size] = b"JUNK" + struct.pack("<I", size - 8) + bytes(size - 8)
    index_at = data.index(b"idx1") + 8 + 16 * 12
    data[index_at + 12 : index_at + 16] = bytes(4)
    path.write_bytes(data)
    assert read_numbers(path) == {i: None if i == 12 else i for i in range(30)}


def test_frames_that_a_recorder_dropped_spoil_no_others(tmp_path):
    # Encoded without them, so that nothing refers to what is missing: H.264 says so.
    times = [40 * i for i in range(60) if i not in (20, 41, 42)]
    path = encode(tmp_path / "a.mp4", frames=57, options=x264(), times=times)
    index = check_video(path)
    assert np.flatnonzero(index.missing).tolist() == [20, 41, 42]
    found = [number for number in read_numbers(path).values() if number is not None]
    # The numbers drawn count frames that were encoded.
    assert found == list(range(57))


def test_a_variable_rate_is_left_as_it_is(tmp_path):
    path = encode(tmp_path / "a.mkv", options=x264(), times=vary_times(60))
    index = check_video(path)
    assert not index.missing.any()
    assert index.facts.variable_frame_rate
    np.testing.assert_allclose(index.times, np.array(vary_times(60)) / 1000)


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4"])
def test_a_loss_at_a_variable_rate_is_told(tmp_path, suffix):
    times = vary_times(FRAMES)
    path = write_lossy(tmp_path / f"a{suffix}", "mkv-h264-no-b", [30, 31], times=times)
    with pytest.raises(VideoError, match=r"frames are lost .* and nothing tells where"):
        probe_video(path)


@pytest.mark.parametrize("lost", [[30], [33], [28, 29, 30], list(range(24, 36)), [47]])
def test_a_loss_in_a_bare_stream_is_told(tmp_path, lost):
    path = tmp_path / "a.h264"
    with av.open(path, "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.options = x264()
        packets = []
        for number in range(FRAMES):
            packets += stream.encode(av.VideoFrame.from_ndarray(draw_frame(number)))
        packets += stream.encode(None)
        for number, packet in enumerate(packets):
            if number not in lost:
                container.mux(packet)
    with pytest.raises(VideoError, match=r"frames are lost|pictures are missing"):
        probe_video(path)


@pytest.mark.parametrize("first", range(30, 100, 7))
@pytest.mark.parametrize("count", [1, 4, 16])
def test_packets_of_a_transport_stream_that_are_lost(tmp_path, first, count):
    path = encode(tmp_path / "a.ts", frames=FRAMES, options=x264())
    data = path.read_bytes()
    path.write_bytes(data[: first * 188] + data[(first + count) * 188 :])
    found = read_numbers(path)
    assert {row: number for row, number in found.items() if number not in (row, None)} == {}
    # What is lost may be a table of the stream.
    lost = {data[at + 1] & 0x1F for at in range(first * 188, (first + count) * 188, 188)}
    assert (None in found.values()) == (_TS_VIDEO in lost)


def test_display_times_that_no_codec_has_are_told(tmp_path):
    path = encode(tmp_path / "a.mp4", frames=FRAMES, options=x264())
    data = bytearray(path.read_bytes())
    # Entries of the table of display times: how many samples, and their offset from decoding.
    at = data.index(b"ctts") + 12 + 8 * 20 + 4
    struct.pack_into(">I", data, at, 1_000_000)
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"far from where they are decoded|go backwards"):
        probe_video(path)


def test_frames_that_an_mp4_lists_and_that_cannot_be_read_are_told(tmp_path):
    # Frames of which the index says that they lie beyond the end of the file.
    path = encode(tmp_path / "a.mp4", frames=FRAMES, options=x264())
    data = bytearray(path.read_bytes())
    at = data.index(b"stsz") + 16
    sizes = struct.unpack_from(f">{FRAMES}I", data, at)
    struct.pack_into(">I", data, at + 4 * 40, sizes[40] + len(data))
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"^(truncated|damaged): "):
        probe_video(path)


@pytest.mark.parametrize(("box", "offset", "number"), [(b"mdhd", 16, 1), (b"elst", 12, 100)])
def test_frames_that_an_mp4_hides_are_told(tmp_path, box, offset, number):
    """Write a timescale of one unit and an edit list that ends early: players show few frames."""
    path = encode(tmp_path / "v.mp4", frames=30)
    assert describe_oddities(path, check_video(path)) == ""
    data = bytearray(path.read_bytes())
    struct.pack_into(">I", data, data.rindex(box) + offset, number)
    path.write_bytes(data)
    index = check_video(path)
    assert index.facts.frames < 10
    said = f"the file holds 30 frames and shows {index.facts.frames}: its edit list or its times"
    assert said in describe_oddities(path, index)
