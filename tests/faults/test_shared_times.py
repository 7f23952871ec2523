"""Transport streams with several frames in each packet of the container, whole and with losses.

Only the first frame that begins in such a packet (PES) has a time. Rows are the frames they name,
or empty, or the video is refused, or says that frames may be lost.
"""

import itertools
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import pytest

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.reader import VideoReader, describe_oddities, index_video
from tests.transport_stream import TICKS, Unit, bundle, cut, write_transport_stream
from tests.video_corpus import draw_frame, read_number, x264

FRAMES, GROUP = 120, 12
_X265 = {
    "x265-params": "keyint=12:min-keyint=12:bframes=3:log-level=none:pools=none:frame-threads=1"
}
# Codec, its options, and the bare format that its packets are written in.
KINDS = {
    "h264": ("libx264", x264(b_frames=0), "h264"),
    "h264-b": ("libx264", x264(), "h264"),
    "hevc-b": ("libx265", _X265, "hevc"),
    "mpeg1-b": ("mpeg1video", {"bf": "2"}, "mpeg1video"),
    "mpeg2": ("mpeg2video", {}, "mpeg2video"),
    "mpeg2-b": ("mpeg2video", {"bf": "2"}, "mpeg2video"),
    "mpeg4": ("mpeg4", {}, "m4v"),
    "mpeg4-b": ("mpeg4", {"bf": "2"}, "m4v"),
}
# Frames in each packet, or its bytes.
SHARES = {"two": 2, "two groups": 25, "400 bytes": 400, "3000 bytes": 3000}
LOSSES = {
    "one": [40],
    "next to a keyframe": [47],
    "a keyframe": [48],
    "a run": range(30, 50),
    "a whole group": range(48, 60),
    "some": [4, 13, 27, 50, 56, 63, 64, 90],
    "near the end": [110],
    "alternate groups": [i for i in range(FRAMES) if i // GROUP % 2],
    "every second of the second half": range(61, FRAMES, 2),
    "two of five": [i for i in range(FRAMES) if i % 5 in {2, 4}],
}
_SAID = "rows count the frames in the file"


@cache
def encode_units(kind: str, rate: Fraction) -> tuple[Unit, ...]:
    """Encode numbered frames as they stand in a bare stream, each with its times."""
    codec, options, bare = KINDS[kind]
    with TemporaryDirectory() as folder, av.open(Path(folder, "a"), "w", format=bare) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.thread_count = GROUP, 1
        stream.options = options
        packets = []
        for number in range(FRAMES):
            packets += stream.encode(av.VideoFrame.from_ndarray(draw_frame(number)))
        packets += stream.encode(None)
        header = stream.codec_context.extradata or b""
    units = []
    for packet in packets:
        times = (int(time * packet.time_base * TICKS) for time in (packet.pts, packet.dts))
        lacks_header = packet.is_keyframe and header[:8] not in bytes(packet)
        units.append(Unit(header * lacks_header + bytes(packet), *times))
    return tuple(units)


def write(path: Path, kind: str, share: str, lost: Sequence[int], rate: Fraction) -> Path:
    units = [one for at, one in enumerate(encode_units(kind, rate)) if at not in lost]
    pack = cut if "bytes" in share else bundle
    return write_transport_stream(path, KINDS[kind][0], pack(units, SHARES[share]))


def read_numbers(path: Path, index) -> dict[int, int | None]:
    with VideoReader(path, index=index) as reader:
        return {i: None if image is None else read_number(image) for i, image in reader.read()}


def judge(path: Path) -> tuple[str, str, dict[int, int | None]]:
    """Return how a video ends, what is said of it, and its rows."""
    try:
        index = index_video(path)
        if index.damage:
            return "refused", index.damage, {}
        return "done", describe_oddities(path, index), read_numbers(path, index)
    except VideoError as error:
        return "refused", str(error), {}


@pytest.mark.parametrize("kind", KINDS)
def test_whole_ones_lack_nothing(tmp_path, kind):
    rates = (Fraction(25), Fraction(30000, 1001))
    for share, rate in itertools.product(SHARES, rates):
        path = write(tmp_path / "a.ts", kind, share, [], rate)
        index = index_video(path)
        assert index.damage == "", share
        assert read_numbers(path, index) == {i: i for i in range(FRAMES)}, share
        assert not index.missing.any()
        assert index.facts.fps == pytest.approx(float(rate)), share


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_shifts_without_a_word(tmp_path, kind):
    for share in SHARES:
        for loss, lost in LOSSES.items():
            path = write(tmp_path / "a.ts", kind, share, lost, Fraction(25))
            ending, said, found = judge(path)
            wrong = {row: number for row, number in found.items() if number not in (row, None)}
            assert not wrong or _SAID in said, (share, loss)
            # One that merely ends earlier is not told.
            assert said or len(found) >= FRAMES - 1, (share, loss)
            assert (ending == "refused") == said.startswith("damaged: "), (share, loss, said)


@pytest.mark.parametrize("kind", ["h264-b", "h264", "mpeg2-b"])
@pytest.mark.parametrize("share", ["two", "400 bytes"])
def test_a_lost_frame_is_a_row_of_its_own(tmp_path, kind, share):
    """Find the loss between two times: rows of the groups there are empty, the others right."""
    path = write(tmp_path / "a.ts", kind, share, LOSSES["one"], Fraction(25))
    ending, said, found = judge(path)
    assert (ending, len(found)) == ("done", FRAMES)
    assert said.startswith("the file lacks 1 frames at 1 places (frame ")
    assert [found[row] for row in range(24)] == list(range(24))
    assert [found[row] for row in range(72, 96)] == list(range(72, 96))


@pytest.mark.parametrize("lost", [range(40, 41), range(55, 65), range(17, 49), range(72, 104)])
@pytest.mark.parametrize("kind", ["h264-b", "hevc-b", "mpeg2-b", "mpeg4-b"])
def test_lost_packets_of_the_stream(tmp_path, kind, lost):
    """Lose some of 188 bytes each: 32 of them go without a gap in their counter of 4 bits."""
    for share in ("two", "400 bytes", "3000 bytes"):
        units = encode_units(kind, Fraction(25))
        pack = cut if "bytes" in share else bundle
        packets = pack(units, SHARES[share])
        path = write_transport_stream(tmp_path / "a.ts", KINDS[kind][0], packets, lost)
        _, said, found = judge(path)
        wrong = {row: number for row, number in found.items() if number not in (row, None)}
        assert not wrong or _SAID in said, share
