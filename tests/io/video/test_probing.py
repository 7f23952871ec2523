"""Test the facts that a probe finds in good videos, and its reasons to refuse bad ones."""

import struct
from pathlib import Path

import av
import pytest

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.containers.formats import FORMATS
from pipeline_lib.io.video.containers.structure import find_duration_mismatch
from pipeline_lib.io.video.reader import VideoFacts, VideoReader, probe_video
from tests.video_corpus import RECIPES, encode, miscount, write_audio, x264
from tests.without_root import run_without_root


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def reason(path: Path) -> str:
    with pytest.raises(VideoError) as caught:
        probe_video(path)
    return str(caught.value)


def test_facts_of_a_plain_video(tmp_path):
    assert probe_video(encode(tmp_path / "a.mp4", frames=50, options=x264())) == VideoFacts(
        frames=50,
        fps=25.0,
        width=96,
        height=64,
        duration=2.0,
        codec="h264",
        pixel_format="yuv420p",
        variable_frame_rate=False,
    )


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"variable-rate"}))
def test_whole_videos_pass_at_a_constant_rate(tmp_path, name):
    file, write, _ = RECIPES[name]
    facts = probe_video(write(tmp_path / file))
    assert facts.frames == (300 if name == "h264-long-gop" else 60)
    assert facts.fps == pytest.approx(25.0)
    assert facts.duration == pytest.approx(facts.frames / 25)
    assert not facts.variable_frame_rate


def test_variable_rate_is_told_with_its_mean(tmp_path):
    facts = probe_video(RECIPES["variable-rate"][1](tmp_path / "a.mp4"))
    # Intervals repeat 40, 40, 80, 33, 120 ms: 11 times 313 ms and then 193 ms for 59 intervals.
    assert facts.variable_frame_rate
    assert facts.fps == pytest.approx(59 / (11 * 0.313 + 0.193))


def test_milliseconds_of_matroska_are_not_a_variable_rate(tmp_path):
    # 30 frames per second is 33, 33, 34 ms in turn.
    facts = probe_video(encode(tmp_path / "a.mkv", fps=30, options=x264()))
    assert not facts.variable_frame_rate
    assert facts.fps == 30.0


def test_missing_empty_and_wrong_files_are_told_apart(tmp_path):
    assert reason(tmp_path / "gone.mp4").startswith("no such file")
    assert reason(tmp_path).startswith("a folder, not a file")
    known = ", ".join(one.name for one in FORMATS)
    for name, content, expected in [
        ("empty.mp4", b"", "empty: the file has 0 bytes"),
        ("text.mp4", b"frame\tx\ty\n" * 50, "not a video: it holds text"),
        ("zeros.mp4", bytes(5000), f"not a video: none of the containers that are read ({known})"),
        ("notes.txt", b"We saw a mouse.\n" * 50, "not a video: it holds text"),
    ]:
        (tmp_path / name).write_bytes(content)
        assert reason(tmp_path / name).startswith(expected)


_PROBE = """
import sys
from pathlib import Path
from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.reader import VideoReader, fingerprint_file, probe_video
for read in (probe_video, fingerprint_file, VideoReader):
    try:
        read(Path(sys.argv[1]))
    except VideoError as error:
        print(error)
"""


@pytest.mark.parametrize("closed", ["file", "folder"])
def test_forbidden_file(tmp_path, closed):
    (tmp_path / "folder").mkdir()
    path = encode(tmp_path / "folder" / "a.mp4", frames=3, options=x264())
    (path if closed == "file" else path.parent).chmod(0)
    said = run_without_root(_PROBE, path)
    path.parent.chmod(0o700)
    assert said.splitlines() == [f"no permission to read it: {path}"] * 3


def test_audio_is_not_a_video(tmp_path):
    path = write_audio(tmp_path / "song.m4a")
    assert reason(path) == "no video stream: the file holds audio only"


def test_truncated_mp4_with_its_index_first_counts_the_frames(tmp_path):
    path = tmp_path / "a.mp4"
    encode(path, options=x264(), container_options={"movflags": "faststart"})
    with av.open(path) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    position, size = packets[30]
    # The 31st one is there in part.
    path.write_bytes(path.read_bytes()[: position + size // 2])
    assert reason(path) == "truncated: the container announces 60 frames, 30 are there"


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_truncated_mp4_with_its_index_last(tmp_path, share):
    path = cut(encode(tmp_path / "a.mp4", options=x264()), share)
    assert reason(path).startswith("truncated: an MP4 or MOV file without a whole index (moov)")


@pytest.mark.parametrize("name", ["mjpeg-avi", "mpeg4-avi", "h264-b-frames-avi"])
def test_truncated_avi(tmp_path, name):
    path = cut(RECIPES[name][1](tmp_path / "a.avi"), 0.6)
    assert reason(path).startswith("truncated: the container announces 60 frames, ")


@pytest.mark.parametrize("name", ["h264-open-gop-mkv", "vp9", "gray-ffv1"])
@pytest.mark.parametrize("share", [0.6, 0.999])
def test_truncated_matroska(tmp_path, name, share):
    path = RECIPES[name][1](tmp_path / RECIPES[name][0])
    size = path.stat().st_size
    expected = f"truncated: the container announces {size} bytes, {int(size * share)} are there"
    assert reason(cut(path, share)) == expected


def test_wrong_frame_count_in_an_avi_header_is_no_damage(tmp_path):
    assert probe_video(miscount(tmp_path / "a.avi")).frames == 60


def test_unfinished_avi_announces_nothing_and_passes(tmp_path):
    # What a recorder leaves that was killed: sizes not filled in, no index.
    path = encode(tmp_path / "a.avi", "mjpeg", pixel_format="yuvj420p")
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 4, 0)
    path.write_bytes(data)
    assert probe_video(path).frames == 60


def test_a_frame_lost_by_the_container_is_damage(tmp_path):
    # The chunk header of frame 30 is gone: the index lists 60 frames, FFmpeg finds fewer.
    path = encode(tmp_path / "a.avi", "mjpeg", pixel_format="yuvj420p")
    offset = int(VideoReader(path).index.offsets[30])
    data = bytearray(path.read_bytes())
    at = data.rindex(b"00dc", 0, offset + 4)
    data[at : at + 8] = bytes(8)
    path.write_bytes(data)
    assert reason(path) == "damaged: its index lists 60 frames, 59 can be read"


def test_a_broken_codec_stream_gives_no_picture(tmp_path):
    path = encode(tmp_path / "a.avi", "mjpeg", 5, pixel_format="yuvj420p")
    data = bytearray(path.read_bytes())
    offsets = VideoReader(path).index.offsets.tolist()
    for start, stop in zip(offsets, [*offsets[1:], data.index(b"idx1")], strict=True):
        data[start : stop - 8] = bytes(stop - 8 - start)
    path.write_bytes(data)
    assert reason(path) == "no frame can be decoded: its mjpeg stream gives no picture"


def test_duration_may_be_rounded_but_not_missing():
    assert find_duration_mismatch(10.0, 9.6) == ""
    assert find_duration_mismatch(0.0, 9.6) == ""
    assert find_duration_mismatch(20.0, 9.6) == (
        "truncated: the container announces 20.00 s, 9.60 s are there"
    )


def test_names_with_a_colon_are_files(tmp_path):
    path = encode(tmp_path / "2024-01-01T10:00:00.mp4", frames=3, options=x264())
    assert probe_video(path).frames == 3
