"""Videos that lack packets in a regular pattern, whose times look like another frame rate.

Rows are the frames they name, or empty, or a reason is said. What only looks alike (recorders that
skip frames, headers with a wrong rate) is neither refused nor filled.
"""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.index_file import read_index, write_index
from pipeline_lib.io.video.reader import VideoReader, check_video, describe_oddities
from tests.video_corpus import RECIPES, draw_frame, encode, read_number, x264

FRAMES = 72
_X265 = {"x265-params": "keyint=12:min-keyint=12:bframes=3:log-level=none:pools=none"}
_VP9 = {"deadline": "realtime", "cpu-used": "8"}
# Suffix, codec, options, pixel format.
H264 = {
    "mp4": (".mp4", "libx264", x264(), "yuv420p"),
    "mp4-no-b": (".mp4", "libx264", x264(b_frames=0), "yuv420p"),
    "mkv": (".mkv", "libx264", x264(), "yuv420p"),
    "mkv-open": (".mkv", "libx264", x264("open-gop=1"), "yuv420p"),
    "mkv-no-b": (".mkv", "libx264", x264(b_frames=0), "yuv420p"),
    "ts": (".ts", "libx264", x264(), "yuv420p"),
    "flv": (".flv", "libx264", x264(), "yuv420p"),
}
COUNTED = {
    "avi-mjpeg": (".avi", "mjpeg", {}, "yuvj420p"),
    "avi-mpeg4": (".avi", "mpeg4", {}, "yuv420p"),
    "avi-h264": (".avi", "libx264", x264(), "yuv420p"),
    "avi-h264-no-b": (".avi", "libx264", x264(b_frames=0), "yuv420p"),
}
OTHERS = {
    "mp4-hevc": (".mp4", "libx265", _X265, "yuv420p"),
    "mp4-mpeg4": (".mp4", "mpeg4", {}, "yuv420p"),
    "mov-mjpeg": (".mov", "mjpeg", {}, "yuvj420p"),
    "mkv-mjpeg": (".mkv", "mjpeg", {}, "yuvj420p"),
    "webm-vp9": (".webm", "libvpx-vp9", _VP9, "yuv420p"),
    "ts-mpeg2": (".ts", "mpeg2video", {}, "yuv420p"),
    "flv-flv1": (".flv", "flv", {}, "yuv420p"),
}
VIDEOS = H264 | COUNTED | OTHERS
LOSSES = {
    "every second": range(1, FRAMES, 2),
    "every third": range(2, FRAMES, 3),
    "every fourth": range(3, FRAMES, 4),
    "two of three": [i for i in range(FRAMES) if i % 3],
    "three of four": [i for i in range(FRAMES) if i % 4],
}
WITHOUT_FIRST = {
    "every second": range(0, FRAMES, 2),
    "every third": range(0, FRAMES, 3),
    "two of three": [i for i in range(FRAMES) if i % 3 != 1],
}


def write_lossy(path: Path, kind, lost) -> Path:
    """Encode numbered frames, and leave out packets before they are written."""
    _, codec, options, pixel_format = kind
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixel_format
        stream.codec_context.gop_size, stream.codec_context.thread_count = 12, 1
        stream.options = options
        packets = []
        for number in range(FRAMES):
            packets += stream.encode(av.VideoFrame.from_ndarray(draw_frame(number)))
        packets += stream.encode(None)
        for number, packet in enumerate(packets):
            if number not in lost:
                container.mux(packet)
    return path


def read_numbers(path: Path, **options) -> dict[int, int | None]:
    with VideoReader(path, **options) as reader:
        return {i: None if image is None else read_number(image) for i, image in reader.read()}


def said_of(path: Path) -> str:
    return describe_oddities(path, check_video(path))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", H264 | COUNTED)
def test_rows_are_the_frames_they_name(tmp_path, name, loss):
    kind = VIDEOS[name]
    path = write_lossy(tmp_path / f"a{kind[0]}", kind, LOSSES[loss])
    index = check_video(path)
    found = read_numbers(path, index=index)
    assert {row: number for row, number in found.items() if number not in (row, None)} == {}
    there = FRAMES - len(LOSSES[loss])
    assert int((~index.missing).sum()) == there
    # All but those that are lost at the end.
    assert FRAMES - 4 <= index.facts.frames <= FRAMES
    assert index.facts.fps == pytest.approx(25)
    np.testing.assert_allclose(index.times, np.arange(len(index.times)) / 25, atol=1.1e-3)
    assert said_of(path).startswith(f"the file lacks {index.missing.sum()} frames at ")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", OTHERS)
def test_losses_in_codecs_without_counts_are_reported(tmp_path, name, loss):
    kind = OTHERS[name]
    path = write_lossy(tmp_path / f"a{kind[0]}", kind, LOSSES[loss])
    index = check_video(path)
    found = read_numbers(path, index=index)
    right = all(number in (row, None) for row, number in found.items())
    said = describe_oddities(path, index)
    assert right or "rows count the frames in the file" in said
    assert said


@pytest.mark.parametrize("loss", WITHOUT_FIRST)
@pytest.mark.parametrize("name", VIDEOS)
def test_losses_with_the_first_frame_lost_are_reported(tmp_path, name, loss):
    kind = VIDEOS[name]
    path = write_lossy(tmp_path / f"a{kind[0]}", kind, WITHOUT_FIRST[loss])
    try:
        said = said_of(path)
    except VideoError as error:
        said = str(error)
        assert said.startswith(("damaged: ", "no frame can be decoded"))
    # Where every packet is a keyframe, a video may begin anywhere; the loss is told all the same.
    assert said


@pytest.mark.parametrize("lost", [range(1, FRAMES, 2), range(2, FRAMES, 3)])
def test_a_bare_stream(tmp_path, lost):
    path = tmp_path / "a.h264"
    with av.open(path, "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = 96, 64, "yuv420p", x264()
        packets = []
        for number in range(FRAMES):
            packets += stream.encode(av.VideoFrame.from_ndarray(draw_frame(number)))
        packets += stream.encode(None)
        for number, packet in enumerate(packets):
            if number not in lost:
                container.mux(packet)
    with pytest.raises(VideoError, match=r"frames are lost \(the numbers of its pictures jump"):
        check_video(path)


def test_a_doubt_is_kept_in_a_stored_index(tmp_path):
    kind = OTHERS["mkv-mjpeg"]
    path = write_lossy(tmp_path / "a.mkv", kind, LOSSES["every second"])
    index = check_video(path)
    assert "1 of 2 frames are lost" in index.doubt
    write_index(tmp_path / "index.npz", index)
    assert read_index(tmp_path / "index.npz").doubt == index.doubt


def retime(path: Path, source: Path, lost) -> Path:
    """Copy packets without some, and give those that are left new times without a gap."""
    with av.open(path, "w") as container, av.open(source) as whole:
        stream = container.add_stream_from_template(whole.streams.video[0])
        packets = [one for one in whole.demux(video=0) if one.size]
        kept = [one for number, one in enumerate(packets) if number not in lost]
        step = packets[0].duration or 1
        for number, packet in enumerate(kept):
            packet.pts = packet.dts = number * step
            packet.stream = stream
            container.mux(packet)
    return path


def test_a_loss_before_times_were_written_is_said_and_spoils_what_refers_to_it(tmp_path):
    whole = encode(tmp_path / "a.mp4", frames=FRAMES, options=x264(b_frames=0))
    path = retime(tmp_path / "b.mp4", whole, [30])
    said = said_of(path)
    assert said.startswith("the numbers of its pictures jump at 1 places (packet 30 first)")
    found = read_numbers(path)
    assert [row for row, number in found.items() if number is None] == list(range(30, 35))
    assert [found[row] for row in range(35, FRAMES - 1)] == list(range(36, FRAMES))
    assert said_of(retime(tmp_path / "c.mp4", whole, [])) == ""


# What only looks alike.


@pytest.mark.parametrize("times", [range(0, 6000, 80), [i * 120 for i in range(60)]])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_h264_that_was_encoded_so_lacks_nothing(tmp_path, suffix, times):
    """Every second frame skipped before encoding: the numbers of the pictures go on."""
    path = encode(tmp_path / f"a{suffix}", options=x264(), times=times)
    index = check_video(path)
    assert not index.missing.any()
    assert read_numbers(path) == {i: i for i in range(60)}
    assert describe_oddities(path, index) == ""


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg"])
def test_a_header_that_states_a_wrong_rate_fills_nothing(tmp_path, codec):
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = encode(
        tmp_path / "a.mkv", codec, 60, fps=25, times=range(0, 4800, 80), pixel_format=pixel_format
    )
    index = check_video(path)
    assert (index.facts.frames, index.facts.fps) == (60, pytest.approx(12.5))
    assert not index.missing.any()


def test_a_screen_recording_that_skips_frames_is_not_filled(tmp_path):
    steps = np.random.default_rng(3).choice([33, 67, 100], 59, p=[0.5, 0.3, 0.2])
    times = [0, *np.cumsum(steps).tolist()]
    path = encode(tmp_path / "a.mkv", options=x264(), times=times)
    index = check_video(path)
    assert not index.missing.any()
    assert describe_oddities(path, index) == ""
    np.testing.assert_allclose(index.times, np.array(times) / 1000)


def test_an_avi_whose_header_counts_faster_than_its_codec_is_not_filled(tmp_path):
    # Each second chunk is empty, since the container counts 50 and the codec 25 frames.
    path = tmp_path / "a.avi"
    with av.open(path, "w") as container:
        encoder = av.CodecContext.create("mpeg4", "w")
        encoder.width, encoder.height, encoder.pix_fmt = 96, 64, "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
        stream = container.add_stream("mpeg4", rate=50)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(40):
            picture = av.VideoFrame.from_ndarray(draw_frame(number)).reformat(
                format="yuv420p", threads=1
            )
            picture.pts, picture.time_base = number, Fraction(1, 25)
            for packet in encoder.encode(picture):
                packet.stream = stream
                container.mux(packet)
    index = check_video(path)
    assert (index.facts.frames, int(index.missing.sum())) == (40, 0)
    assert index.facts.fps == pytest.approx(25, rel=0.01)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_whole_videos_raise_no_doubt(tmp_path, name):
    file, write, _ = RECIPES[name]
    assert said_of(write(tmp_path / file)) == ""


def test_an_mp4_whose_keyframes_are_all_lost_is_refused(tmp_path):
    # Without any, an MP4 says that each frame is one.
    kind = OTHERS["mp4-mpeg4"]
    path = write_lossy(tmp_path / "a.mp4", kind, range(0, FRAMES, 12))
    with pytest.raises(VideoError, match="its first frame is no keyframe, whatever the file says"):
        check_video(path)


# Times that no camera gives.


def set_step(path: Path, entry: int, step: int) -> None:
    """Write how long frames last into an entry of an MP4's table (ISO/IEC 14496-12, stts)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"stts") + 8
    (entries,) = struct.unpack_from(">I", data, at)
    struct.pack_into(">I", data, at + 8 + 8 * (entry % entries), step)
    path.write_bytes(data)


_VARIABLE = [0, *np.cumsum(np.resize([40, 40, 80, 33, 120], 59)).tolist()]


@pytest.mark.parametrize("step", [0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 100_000_000, 0, 1, 2])
@pytest.mark.parametrize("times", [None, _VARIABLE])
@pytest.mark.parametrize("codec", ["libx264", "mjpeg"])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_absurd_times_of_an_mp4_are_told(tmp_path, codec, b_frames, times, step):
    options = x264(b_frames=b_frames) if codec == "libx264" else {}
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = encode(
        tmp_path / "a.mp4", codec, 60, options=options, pixel_format=pixel_format, times=times
    )
    assert said_of(path) == ""
    set_step(path, 0 if times is None else 20, step)
    try:
        said = said_of(path)
    except VideoError as error:
        said = str(error)
    assert said.startswith(
        ("damaged: ", "its times", "all its frames have one time", "the file holds 60 frames")
    )


def test_a_last_frame_of_absurd_length_leaves_the_rate_and_the_duration(tmp_path):
    path = encode(tmp_path / "a.mp4", options=x264(b_frames=0), times=_VARIABLE)
    set_step(path, -1, 0x7FFFFFFF)
    index = check_video(path)
    assert index.facts.fps == pytest.approx(25)
    assert index.facts.duration == pytest.approx(index.times[-1] + 0.04)
    assert "its last frame lasts 134218 s" in index.doubt


def test_all_frames_at_one_time_take_the_rate_of_the_codec(tmp_path):
    path = encode(tmp_path / "a.mp4", options=x264(b_frames=0))
    set_step(path, 0, 0)
    index = check_video(path)
    assert (index.facts.frames, index.facts.fps) == (60, 25.0)
    np.testing.assert_allclose(index.times, np.arange(60) / 25)
    assert "all its frames have one time" in index.doubt


def test_a_pause_is_told_and_leaves_the_frame_rate(tmp_path):
    times = [*range(0, 1200, 40), *range(1_000_017, 1_001_217, 40)]
    path = encode(tmp_path / "a.mp4", options=x264(b_frames=0), times=times)
    index = check_video(path)
    assert index.facts.fps == pytest.approx(25)
    assert "or its recorder paused: a frame comes 998.857 s after the one before it" in index.doubt


def test_frames_that_an_edit_list_hides_at_the_start_alone_are_no_oddity(tmp_path):
    file, write, _ = RECIPES["edit-list"]
    path = write(tmp_path / file)
    assert said_of(path) == ""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    # Three frames fewer: the edit list hides them at the end.
    (duration,) = struct.unpack_from(">I", data, at)
    struct.pack_into(">I", data, at, duration - 120)
    path.write_bytes(data)
    assert "the file holds 65 frames and shows 57" in said_of(path)


@pytest.mark.parametrize(
    "lost", [range(1, FRAMES, 2), [i for i in range(FRAMES) if i % 6 in {3, 4}]]
)
def test_a_regular_loss_at_a_variable_rate_is_said(tmp_path, lost):
    times = np.cumsum(np.resize([40, 47, 83, 33, 121], FRAMES)).tolist()
    whole = encode(tmp_path / "a.mkv", frames=FRAMES, options=x264(b_frames=0), times=times)
    path = tmp_path / "b.mkv"
    with av.open(path, "w") as container, av.open(whole) as source:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(one for one in source.demux(video=0) if one.size):
            if number not in lost:
                packet.stream = stream
                container.mux(packet)
    assert said_of(whole) == ""
    assert said_of(path).startswith("the numbers of its pictures jump at ")


@pytest.mark.parametrize("name", ["mp4", "mkv-open", "ts", "flv", "mp4-no-b"])
@pytest.mark.parametrize(
    "burst", [(6, (3, 4)), (12, (5, 6, 7, 8)), (5, (0, 1, 2)), (24, range(12))]
)
def test_bursts_that_are_lost_regularly(tmp_path, name, burst):
    every, places = burst
    lost = [i for i in range(1, FRAMES) if i % every in places]
    kind = H264[name]
    path = write_lossy(tmp_path / f"a{kind[0]}", kind, lost)
    index = VideoReader(path).index
    if index.damage:
        assert index.damage.startswith("damaged: ")
        return
    found = read_numbers(path, index=index)
    wrong = {row: number for row, number in found.items() if number not in (row, None)}
    assert not wrong or "rows count the frames in the file" in describe_oddities(path, index)
    assert describe_oddities(path, index)


def test_a_bare_stream_that_lacks_pictures_to_which_none_refers(tmp_path):
    path = tmp_path / "a.h264"
    with av.open(path, "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = 96, 64, "yuv420p", x264()
        packets = []
        for number in range(FRAMES):
            packets += stream.encode(av.VideoFrame.from_ndarray(draw_frame(number)))
        packets += stream.encode(None)
        for number, packet in enumerate(packets):
            if number % 4 != 3:
                container.mux(packet)
    assert "rows count the frames in the file" in said_of(path)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_b_frames_without_any_keyframe_are_refused(tmp_path, suffix):
    whole = encode(tmp_path / f"a{suffix}", "mpeg4", FRAMES, b_frames=2)
    path = tmp_path / f"b{suffix}"
    with av.open(path, "w") as container, av.open(whole) as source:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in [one for one in source.demux(video=0) if one.size]:
            if not packet.is_keyframe:
                packet.stream = stream
                container.mux(packet)
    with pytest.raises(VideoError, match=r"^(damaged: |no frame can be decoded)"):
        check_video(path)


@pytest.mark.parametrize(("suffix", "marker"), [(".mov", 0x21), (".avi", 0xFA), (".mkv", 0x00)])
def test_an_image_without_its_start_of_scan_is_no_earlier_one(tmp_path, suffix, marker):
    # FFmpeg takes it for a whole image, and shows what its memory held before.
    path = encode(tmp_path / f"a{suffix}", "mjpeg", 60, pixel_format="yuvj420p")
    index = VideoReader(path).index
    data = bytearray(path.read_bytes())
    start = int(index.offsets[40])
    data[data.index(b"\xff\xda", start) + 1] = marker
    path.write_bytes(data)
    found = read_numbers(path)
    assert found == {i: None if i == 40 else i for i in range(60)}


@pytest.mark.parametrize("name", ["mkv-mjpeg", "mp4-mpeg4"])
def test_a_regular_loss_with_one_more_is_still_said(tmp_path, name):
    kind = OTHERS[name]
    path = write_lossy(tmp_path / f"a{kind[0]}", kind, [*LOSSES["every second"], 32])
    said = said_of(path)
    assert "the file lacks 1 frames at 1 places" in said
    assert "1 of 2 frames are lost; rows count the frames in the file" in said
