"""Test files with names of videos and other content: nothing but the file itself is read."""

import os
import struct
import threading
from pathlib import Path

import pytest

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.containers.formats import FORMATS
from pipeline_lib.io.video.reader import VideoReader, fingerprint_file, probe_video
from tests.video_corpus import MORE_RECIPES, RECIPES, encode, read_number, x264

# Each names {other}, which must not be opened.
PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{other}\n#EXT-X-ENDLIST\n",
    "hls-after-a-mark": "\ufeff#EXTM3U\n#EXTINF:10,\n{other}\n#EXT-X-ENDLIST\n",
    "hls-live": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n",
    "ffconcat": "ffconcat version 1.0\nfile '{other}'\n",
    "concat-without-a-header": "file '{other}'\nduration 2\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5000 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "dash": '<?xml version="1.0"?><MPD><Period><AdaptationSet mimeType="video/mp4"><Representation>'
    "<BaseURL>{other}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "smooth": '<SmoothStreamingMedia><StreamIndex Url="{other}"/></SmoothStreamingMedia>',
    "asx": '<asx version="3.0"><entry><ref href="{other}"/></entry></asx>',
    "pls": "[playlist]\nFile1={other}\nNumberOfEntries=1\n",
    "subtitles": "1\n00:00:00,000 --> 00:00:02,000\n{other}\n",
    "ffmetadata": ";FFMETADATA1\ntitle={other}\n",
}


class Bait:
    """Make a pipe that reveals a reader, because a writer can then open it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)

    def was_opened(self) -> bool:
        try:
            os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True


def probe_within(path: Path, seconds: float = 20.0) -> str:
    """Return why a file is refused; the test fails if reading it does not end."""
    reasons: list[str] = []

    def probe() -> None:
        try:
            probe_video(path)
        except VideoError as error:
            reasons.append(str(error))
        else:
            reasons.append("")

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "still reading"
    return reasons[0]


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("file", ["x.mp4", "x.avi", "x.m3u8", "x.ts", "x.ffconcat"])
def test_a_playlist_reads_no_other_file(tmp_path, name, file):
    bait = Bait(tmp_path / "other.ts")
    path = tmp_path / file
    path.write_text(PLAYLISTS[name].format(other=bait.path))
    reason = probe_within(path)
    assert not bait.was_opened()
    assert reason.startswith("not a video: it holds ")
    assert "playlist" in reason or reason == "not a video: it holds text"
    with pytest.raises(VideoError, match="not a video"):
        VideoReader(path)


def test_a_playlist_of_a_good_video_gives_no_frame_of_it(tmp_path):
    other = encode(tmp_path / "other.ts", frames=20, options=x264())
    path = tmp_path / "x.mp4"
    path.write_text(f"#EXTM3U\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n")
    assert probe_within(path).startswith("not a video: it holds a playlist")


@pytest.mark.parametrize("prefix", ["concat:", "subfile,,start,0,end,0,,:", "http://", "data:"])
def test_a_protocol_in_a_path_is_a_file_name(tmp_path, monkeypatch, prefix):
    encode(tmp_path / "a.mp4", frames=3, options=x264())
    monkeypatch.chdir(tmp_path)
    assert probe_within(Path(f"{prefix}a.mp4")).startswith("no such file")


def test_a_pattern_of_names_is_one_file_name(tmp_path):
    encode(tmp_path / "a1.mp4", frames=3, options=x264())
    assert probe_within(tmp_path / "a%d.mp4").startswith("no such file")
    (tmp_path / "a%d.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert probe_within(tmp_path / "a%d.png") == "not a video: it holds a still image (PNG)"


def _find_box(data: bytes, name: bytes) -> int:
    return data.index(name) - 4


@pytest.mark.parametrize("kind", [b"url ", b"alis"])
def test_an_mp4_whose_frames_lie_in_another_file_is_refused(tmp_path, kind):
    bait = Bait(tmp_path / "other.mov")
    path = encode(tmp_path / "a.mp4", frames=5, options=x264())
    data = bytearray(path.read_bytes())
    entry = _find_box(bytes(data), b"url ")
    data[entry + 4 : entry + 8] = kind
    # Not in this file.
    data[entry + 8 : entry + 12] = bytes(4)
    path.write_bytes(data)
    assert probe_within(path).startswith("its frames lie in another file, which is never read")
    assert not bait.was_opened()


def test_a_playlist_within_an_avi_is_not_opened(tmp_path):
    # Subtitles in an AVI are a file within the file, which FFmpeg opens by what it looks like.
    bait = Bait(tmp_path / "other.ts")
    path = encode(tmp_path / "a.avi", "mjpeg", frames=5, pixel_format="yuvj420p")
    playlist = f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10,\nfile:{bait.path}\n".encode()
    inner = b"GAB2\0" + struct.pack("<HIHHI", 2, 0, 0, 4, len(playlist)) + playlist
    inner += b"\0" * (len(inner) % 2)
    data = path.read_bytes()
    at = data.index(b"movi") + 4
    path.write_bytes(data[:at] + b"01tx" + struct.pack("<I", len(inner)) + inner + data[at:])
    probe_within(path)
    assert not bait.was_opened()


@pytest.mark.parametrize(
    "name",
    ["h264-b-frames", "h264-open-gop-mkv", "h264-open-gop-ts", "h264-bare", "mjpeg-avi", "vp9"],
)
def test_a_good_video_is_told_by_its_bytes_whatever_its_name(tmp_path, name):
    file, write, _ = RECIPES[name]
    path = write(tmp_path / file).rename(tmp_path / "x.m3u8")
    assert probe_video(path).frames == 60


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".flv", "flv"),
        (".wmv", "wmv2"),
        (".asf", "mpeg4"),
        (".3gp", "mpeg4"),
        (".mpg", "mpeg2video"),
        (".vob", "mpeg2video"),
        (".mts", "mpeg2video"),
        (".m2ts", "mpeg2video"),
    ],
)
def test_every_container_of_the_list_is_read(tmp_path, suffix, codec):
    assert suffix in {ending for one in FORMATS for ending in one.suffixes}
    path = encode(tmp_path / f"a{suffix}", codec, frames=40)
    assert probe_video(path).frames == 40


def test_the_fingerprint_is_the_files_own(tmp_path):
    path = MORE_RECIPES["h264-mkv.mkv"](tmp_path / "a.mkv")
    other = tmp_path / "b.mp4"
    other.symlink_to(path)
    assert fingerprint_file(other) == fingerprint_file(path)


# Elements of Matroska that name the segment which is to be played before or after this one, by the
# number or the name of its file.
_SEGMENT_UID = b"\x73\xa4"
_LINKS = {
    "next": b"\x3e\xb9\x23",
    "previous": b"\x3c\xb9\x23",
    "next name": b"\x3e\x83\xbb",
    "previous name": b"\x3c\x83\xab",
}


def link_segment(path: Path, element: bytes, other: bytes) -> None:
    """Name another Matroska file in one, in place of the names of the programs that wrote it."""
    data = bytearray(path.read_bytes())
    at = data.index(b"\x4d\x80")
    length = 3 + (data[at + 2] & 0x7F)
    assert data[at + length : at + length + 2] == b"\x57\x41"
    length += 3 + (data[at + length + 2] & 0x7F)
    link = element + bytes([0x80 | len(other)]) + other
    rest = length - len(link) - 2
    data[at : at + length] = link + b"\xec" + bytes([0x80 | rest]) + bytes(rest)
    path.write_bytes(data)


@pytest.mark.parametrize("link", _LINKS)
def test_matroska_that_names_other_segments_is_read_alone(tmp_path, monkeypatch, link):
    monkeypatch.chdir(tmp_path)
    other = encode(tmp_path / "b.mkv", "mjpeg", 30, pixel_format="yuvj420p")
    path = encode(tmp_path / "a.mkv", "mjpeg", 20, pixel_format="yuvj420p")
    named = b"bait.mkv"
    if "name" not in link:
        data = other.read_bytes()
        at = data.index(_SEGMENT_UID) + 3
        named = data[at : at + 16]
    link_segment(path, _LINKS[link], named)
    bait = Bait(tmp_path / "bait.mkv")
    with VideoReader(path) as reader:
        found = [read_number(image) for _, image in reader.read()]
    assert found == list(range(20))
    assert not bait.was_opened()
    assert probe_video(path).frames == 20
