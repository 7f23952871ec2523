"""Test that any part of a video equals the same part of a full read, bit by bit.

The oracle is FFmpeg's own reading from the first packet on, which does not use our index.
"""

import itertools
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.index_file import read_index, write_index
from pipeline_lib.io.video.reader import VideoIndex, VideoReader
from tests.video_corpus import MORE_RECIPES, RECIPES, damage_packet, encode, x264

WRITERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    **{name: (file, write) for name, (file, write, _) in RECIPES.items()},
    **{name: (name, write) for name, write in MORE_RECIPES.items()},
}
# A container without timestamps: FFmpeg's decoder puts the frames in order.
_UNTIMED = {"h264-b-frames-avi", "h264-bare", "mpeg4-b-frames-avi"}


def checksum(images: Iterable[np.ndarray | None]) -> list[int | None]:
    return [None if image is None else zlib.crc32(np.ascontiguousarray(image)) for image in images]


def read_plainly(name: str, path: Path) -> list[int | None]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    if name not in _UNTIMED:
        frames.sort(key=lambda frame: frame.pts)
    images = [frame.reformat(format="rgb24", threads=1).to_ndarray() for frame in frames]
    turns = round(frames[0].rotation / 90)
    return checksum(np.rot90(image, turns) for image in images)


def read_part(path: Path, index: VideoIndex, start: int, stop: int) -> list[int | None]:
    """Read frames as another worker would: nothing is shared but the index."""
    with VideoReader(path, index=index) as reader:
        frames, images = zip(*reader.read(start, stop), strict=True)
    assert frames == tuple(range(start, stop))
    return checksum(images)


def cut(frames: int, length: int) -> list[tuple[int, int]]:
    """Return segments of this length in random order."""
    segments = [(start, min(start + length, frames)) for start in range(0, frames, length)]
    return [segments[i] for i in np.random.default_rng(length).permutation(len(segments))]


@pytest.mark.parametrize("name", WRITERS)
def test_segments_have_the_pixels_of_plain_decoding(tmp_path, name):
    file, write = WRITERS[name]
    path = write(tmp_path / file)
    expected = read_plainly(name, path)
    write_index(tmp_path / "index.npz", VideoReader(path).index)
    index = read_index(tmp_path / "index.npz")
    assert index.facts.frames == len(expected) >= 55
    assert index.damage == ""
    # Moving squares: no two neighbours are alike, so a shift by one frame is seen.
    assert all(a != b for a, b in itertools.pairwise(expected))
    for length in (7, 16, 41, 1000) if len(expected) <= 60 else (83, 1000):
        for start, stop in cut(len(expected), length):
            assert read_part(path, index, start, stop) == expected[start:stop], (start, stop)


_DAMAGED = (
    "h264-b-frames",
    "h264-open-gop",
    "h264-open-gop-mkv",
    "h264-intra-refresh",
    "hevc-open-gop-mkv",
    "mpeg4-b-frames-avi",
    "vp9",
)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """Return damaged videos with their indexes and what reading them through gives."""
    folder, videos = tmp_path_factory.mktemp("damaged"), {}

    def get(name: str, packet: int, *, whole: bool) -> tuple[Path, VideoIndex, list[int | None]]:
        key = (name, packet, whole)
        if key not in videos:
            file, write = WRITERS[name]
            path = write(folder / f"{packet}-{whole}-{file}")
            damage_packet(path, packet, whole=whole)
            index = VideoReader(path).index
            videos[key] = path, index, read_part(path, index, 0, 60)
        return videos[key]

    return get


@pytest.mark.parametrize("name", _DAMAGED)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    # 21 and 33 are keyframes of an open group of B-frames, 22 to 24 and 34 to 36 their leading.
    packet=st.sampled_from([3, 17, 21, 22, 23, 32, 34]),
    whole=st.booleans(),
    cuts=st.sets(st.integers(1, 59), max_size=6),
)
def test_damage_loses_the_same_frames_however_a_video_is_cut(damaged, name, packet, whole, cuts):
    path, index, expected = damaged(name, packet, whole=whole)
    if whole:
        assert None in expected
    bounds = [0, *sorted(cuts), 60]
    for start, stop in itertools.pairwise(bounds):
        assert read_part(path, index, start, stop) == expected[start:stop]


def test_a_damaged_leading_frame_does_not_spoil_its_group(tmp_path):
    path = encode(tmp_path / "a.mp4", options=x264("open-gop=1"))
    # Packet 21 is the keyframe shown as 24; 22, 23 and 24 are shown before it, as 22, 21 and 23.
    index = VideoReader(path).index
    assert index.keyframes.tolist()[2] == 21
    assert index.shown[21:25].tolist() == [24, 22, 21, 23]
    damage_packet(path, 22)
    lost = [i for i, image in enumerate(read_part(path, index, 0, 60)) if image is None]
    assert lost == [21, 22, 23]


def write_mjpeg(path: Path) -> Path:
    return encode(path, "mjpeg", pixel_format="yuvj420p")


@pytest.mark.parametrize("start", [0, 50])
def test_a_file_cut_short_since_it_was_indexed_is_an_error(tmp_path, start):
    path = write_mjpeg(tmp_path / "a.avi")
    index = VideoReader(path).index
    path.write_bytes(path.read_bytes()[: int(index.offsets[30])])
    with pytest.raises(VideoError, match=r"the file ends after 30 packets, 60 were indexed"):
        list(VideoReader(path, index=index).read(start))
    # What is there is read.
    assert None not in read_part(path, index, 0, 29)


@pytest.mark.parametrize("start", [0, 50])
def test_a_file_replaced_since_it_was_indexed_is_an_error(tmp_path, start):
    path = write_mjpeg(tmp_path / "a.avi")
    index = VideoReader(path).index
    encode(tmp_path / "b.avi", "mjpeg", pixel_format="yuvj422p").replace(path)
    with pytest.raises(VideoError, match=r"packet \d+ is not the one indexed: the file has chan"):
        list(VideoReader(path, index=index).read(start))


def test_a_file_that_became_longer_is_read_as_indexed(tmp_path):
    path = encode(tmp_path / "a.h264", options=x264(), file_format="h264")
    reader = VideoReader(path)
    expected = read_part(path, reader.index, 0, 40)
    path.write_bytes(path.read_bytes() * 2)
    assert read_part(path, reader.index, 0, 40) == expected


@pytest.mark.parametrize("replaced_by_a_file", [False, True])
def test_a_deleted_file_is_an_error_that_names_it(tmp_path, replaced_by_a_file):
    path = tmp_path / "folder" / "a.avi"
    path.parent.mkdir()
    reader = VideoReader(write_mjpeg(path))
    path.unlink()
    path.parent.rmdir()
    if replaced_by_a_file:
        path.parent.write_text("not a folder")
    with pytest.raises(VideoError, match=f"no such file: {path}"):
        list(reader.read())
    with pytest.raises(VideoError, match=f"no such file: {path}"):
        VideoReader(path)


def test_a_file_deleted_while_it_is_read_is_read_to_its_end(tmp_path):
    path = write_mjpeg(tmp_path / "a.avi")
    frames = VideoReader(path).read()
    first = next(frames)[0]
    path.unlink()
    assert [first, *(frame for frame, _ in frames)] == list(range(60))


_REAL = {
    # x264 of 2014 in 4:4:4: right only for a decoder that has read the first packet's message.
    "openfield/openfield-Pranav-2018-10-30/videos/m3v1mp4.mp4": (194, 244),
    "mirror-mouse/mirror-mouse-example/videos/test_vid.mp4": (301, 340),
    "flies-dreem/three_flies.mp4": (101, 128),
    "fly-7cam-df3d/reference/camera_3.mp4": (7, 15),
}


@pytest.mark.real
@pytest.mark.parametrize(("file", "span"), _REAL.items())
def test_a_part_of_a_real_video_is_what_plain_decoding_gives(data_folder, file, span):
    path = data_folder / file
    start, stop = span
    with av.open(str(path)) as container:
        frames = itertools.islice(container.decode(video=0), start, stop)
        expected = checksum(
            frame.reformat(format="rgb24", threads=1).to_ndarray() for frame in frames
        )
    assert len(expected) == stop - start
    index = VideoReader(path).index
    assert read_part(path, index, start, stop) == expected
    middle = (start + stop) // 2
    assert read_part(path, index, middle, stop) == expected[middle - start :]
