"""Lost packets where a container has no time for each: MPEG program streams, AVI with B-frames.

Rows are the frames they name, or empty. Where the place of a loss is unknown, those near it are
empty, too.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.containers.stamps import Guesses
from pipeline_lib.io.video.packets import read_packets
from pipeline_lib.io.video.reader import VideoReader, check_video, describe_oddities
from tests.video_corpus import draw_frame, read_number, x264

FRAMES = 120
_SMALL, _LARGE = (96, 64), (352, 288)
# Suffix, codec, options, size: small frames share packets of the container, large ones take many.
PROGRAM_STREAMS = {
    "mpg-mpeg1": (".mpg", "mpeg1video", {}, _SMALL),
    "mpg-mpeg1-b": (".mpg", "mpeg1video", {"bf": "2"}, _SMALL),
    "mpg-mpeg2": (".mpg", "mpeg2video", {}, _SMALL),
    "mpg-mpeg2-b": (".mpg", "mpeg2video", {"bf": "2"}, _SMALL),
    "vob-mpeg2": (".vob", "mpeg2video", {}, _SMALL),
    "vob-mpeg2-b": (".vob", "mpeg2video", {"bf": "2"}, _SMALL),
    "mpg-large-b": (".mpg", "mpeg2video", {"bf": "2", "b:v": "3M"}, _LARGE),
    "mpg-mpeg4": (".mpg", "mpeg4", {}, _SMALL),
}
COUNTED = {
    "avi-mpeg4": (".avi", "mpeg4", {}, _SMALL),
    "avi-mpeg4-b": (".avi", "mpeg4", {"bf": "2"}, _SMALL),
    "avi-h264-b": (".avi", "libx264", x264(), _SMALL),
}
LOSSES = {
    "one": [40],
    "an early one": [5],
    "next to a keyframe": [47],
    "a reference and what refers to it": [47, 48, 49],
    "a run": list(range(30, 50)),
    "two places": [20, 80],
    "some": [4, 13, 27, 50, 56, 63, 64, 90],
}
REGULAR = {
    "alternate groups": [i for i in range(FRAMES) if (i // 12) % 2],
    "every second of the second half": list(range(61, FRAMES, 2)),
    "two of five": [i for i in range(FRAMES) if i % 5 in {2, 4}],
}


def write_lossy(path: Path, kind, lost, rate: Fraction = Fraction(25)) -> Path:
    """Encode numbered frames, and leave out packets before they are written."""
    _, codec, options, (width, height) = kind
    random = np.random.default_rng(0)
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if codec == "prores_ks":
            stream.pix_fmt = "yuv422p10le"
        stream.codec_context.gop_size, stream.codec_context.thread_count = 12, 1
        stream.options = options
        packets = []
        for number in range(FRAMES):
            image = random.integers(0, 200, (height, width, 3), np.uint8)
            image[:64, :96] = draw_frame(number)
            packets += stream.encode(av.VideoFrame.from_ndarray(image))
        packets += stream.encode(None)
        for number, packet in enumerate(packets):
            if number not in lost:
                container.mux(packet)
    return path


def read_numbers(path: Path, index) -> dict[int, int | None]:
    with VideoReader(path, index=index) as reader:
        return {i: None if image is None else read_number(image) for i, image in reader.read()}


def find_wrong(found: dict[int, int | None]) -> dict[int, int | None]:
    return {row: number for row, number in found.items() if number not in (row, None)}


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001)])
@pytest.mark.parametrize("name", PROGRAM_STREAMS)
def test_whole_program_streams_lack_nothing(tmp_path, name, rate):
    """Read whole ones, too, in which a picture begins at the end of a packet of the container."""
    kind = PROGRAM_STREAMS[name]
    path = write_lossy(tmp_path / f"a{kind[0]}", kind, [], rate)
    index = check_video(path)
    assert describe_oddities(path, index) == ""
    assert read_numbers(path, index) == {i: i for i in range(FRAMES)}
    assert index.facts.fps == pytest.approx(float(rate))
    # FFmpeg drops parts of a unit from each frame that has no time of its own.
    np.testing.assert_allclose(index.times, np.arange(FRAMES) / float(rate), atol=5e-4)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", PROGRAM_STREAMS | COUNTED)
def test_rows_are_the_frames_they_name(tmp_path, name, loss):
    kind = (PROGRAM_STREAMS | COUNTED)[name]
    path = write_lossy(tmp_path / f"a{kind[0]}", kind, LOSSES[loss])
    index = check_video(path)
    found = read_numbers(path, index)
    assert find_wrong(found) == {}
    assert (len(found), int(index.missing.sum())) == (FRAMES, len(LOSSES[loss]))
    assert describe_oddities(path, index).startswith(f"the file lacks {len(LOSSES[loss])} frames ")
    # Before the loss, and after the next time, rows have their images.
    if loss == "one" and name != "mpg-mpeg4":
        assert [found[row] for row in range(20)] == list(range(20))
        assert [found[row] for row in range(75, 90)] == list(range(75, 90))


@pytest.mark.parametrize("loss", REGULAR)
@pytest.mark.parametrize("name", PROGRAM_STREAMS | COUNTED)
def test_regular_losses_shift_nothing(tmp_path, name, loss):
    kind = (PROGRAM_STREAMS | COUNTED)[name]
    path = write_lossy(tmp_path / f"a{kind[0]}", kind, REGULAR[loss])
    index = check_video(path)
    if name == "mpg-large-b" and loss != "every second of the second half":
        # Lost references change the order in which the decoder shows frames.
        with pytest.raises(VideoError, match="damaged: by its timestamps frame "):
            read_numbers(path, index)
        return
    found = read_numbers(path, index)
    said = describe_oddities(path, index)
    assert find_wrong(found) == {} or "rows count the frames in the file" in said
    assert said
    assert "hide the others" not in said


@pytest.mark.parametrize("lost", [[103], [110], [115], [117], [118]])
@pytest.mark.parametrize("name", PROGRAM_STREAMS)
def test_a_loss_after_the_last_time_of_a_program_stream(tmp_path, name, lost):
    """Find it by the numbers of the pictures, or by a time: rows from there on are empty."""
    kind = PROGRAM_STREAMS[name]
    path = write_lossy(tmp_path / f"a{kind[0]}", kind, lost)
    index = check_video(path)
    found = read_numbers(path, index)
    assert find_wrong(found) == {}
    assert [found[row] for row in range(80)] == list(range(80))
    said = describe_oddities(path, index)
    if name == "mpg-large-b" and lost == [118]:
        # The frame that is shown last: it shifts nothing.
        assert len(found) == FRAMES - 1
        return
    assert said.startswith(("it lacks at least 1 frames after its last time", "the file lacks 1 "))


@pytest.mark.parametrize("lost", [range(108, 120), [119], [118, 119], range(113, 120)])
def test_an_avi_that_ends_before_its_last_pictures(tmp_path, lost):
    """Check the frame that the decoder shows at the end, whatever should come before it."""
    path = write_lossy(tmp_path / "a.avi", COUNTED["avi-mpeg4-b"], lost)
    index = check_video(path)
    found = read_numbers(path, index)
    assert find_wrong(found) == {}
    assert len(found) == FRAMES - len(lost)
    said = describe_oddities(path, index)
    # Where a group of B-pictures is whole, the video merely ends earlier.
    assert (found[len(found) - 1] is None) == said.startswith("it lacks frames before the one that")
    assert [found[row] for row in range(len(found) - 1)] == list(range(len(found) - 1))


@pytest.mark.parametrize(
    ("b_frames", "rate"),
    [("1", Fraction(25)), ("2", Fraction(30000, 1001)), ("3", Fraction(24000, 1001))],
)
def test_an_avi_that_is_whole_ends_with_its_last_frame(tmp_path, b_frames, rate):
    path = write_lossy(tmp_path / "a.avi", (".avi", "mpeg4", {"bf": b_frames}, _SMALL), [], rate)
    index = check_video(path)
    assert describe_oddities(path, index) == ""
    assert not index.misplaced.any()
    assert read_packets(path).picture_times.ends_open(index.order) is False


def test_packets_whose_times_are_guesses(tmp_path):
    kind = PROGRAM_STREAMS["mpg-mpeg1"]
    whole = read_packets(write_lossy(tmp_path / "a.mpg", kind, []))
    lossy = read_packets(write_lossy(tmp_path / "b.mpg", kind, [40]))
    assert whole.guesses == Guesses()
    (first, stop), (last, end) = lossy.guesses.intervals
    assert first < 40 < stop < last < end == FRAMES - 1
    times = np.frombuffer(lossy.dts, np.int64)
    # A frame lasts 3600 units: one is missing before the packet that has a time again.
    assert np.flatnonzero(np.diff(times) != 3600).tolist() == [stop - 1]
    assert times[stop] - times[stop - 1] == 7200


@pytest.mark.parametrize(
    ("suffix", "every"), [(".mov", 8), (".mov", 9), (".mov", 20), (".mkv", 10)]
)
def test_one_frame_of_many_is_said(tmp_path, suffix, every):
    """Nothing but the length of the last frame, or a header, tells that frames were lost."""
    kind = (suffix, "prores_ks", {}, _SMALL)
    path = write_lossy(tmp_path / f"a{suffix}", kind, [i for i in range(FRAMES) if i % every])
    said = describe_oddities(path, check_video(path))
    assert "one of them is wrong" in said
    assert "25" in said


@pytest.mark.parametrize("places", [(1, 3, 4), (1, 3, 4, 6, 7)])
def test_a_loss_that_leaves_no_two_frames_next_to_each_other_is_said(tmp_path, places):
    kind = (".mov", "prores_ks", {}, _SMALL)
    every = places[-1] + 1
    path = write_lossy(tmp_path / "a.mov", kind, [i for i in range(FRAMES) if i % every in places])
    said = describe_oddities(path, check_video(path))
    assert said.startswith("its frames come 1 to 3 periods of 0.04 s after each other")
    whole = write_lossy(tmp_path / "b.mov", kind, [])
    assert describe_oddities(whole, check_video(whole)) == ""
