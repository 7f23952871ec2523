"""Order and damage, on an index written by hand; images are the names of their frames."""

import errno
from collections.abc import Iterator
from types import SimpleNamespace

import av.error
import numpy as np
import pytest

from pipeline_lib.core.errors import VideoError
from pipeline_lib.io.video.decode import number_packets
from pipeline_lib.io.video.index import VideoFacts, VideoIndex
from pipeline_lib.io.video.reorder import DamageError, FrameSequence
from pipeline_lib.io.video.seek import _check, _seek

# An open group of pictures: I0 P2 b1 | I5 b3 b4 P6 | I7 P8, in decoding order.
SHOWN = [0, 2, 1, 5, 3, 4, 6, 7, 8]
KEYFRAMES = [0, 3, 7]


def make_index(shown: list[int] = SHOWN, *, clean: bool = True) -> VideoIndex:
    order = [shown.index(frame) for frame in range(max(shown) + 1)]
    frames = len(order)
    return VideoIndex(
        facts=VideoFacts(frames, 1.0, 2, 2, float(frames), "none", "gray", False),  # noqa: FBT003
        times=np.arange(frames, dtype=np.float64),
        shown=np.array(shown, np.int32),
        order=np.array(order, np.int32),
        offsets=np.arange(len(shown), dtype=np.int64) * 100,
        keyframes=np.array(KEYFRAMES, np.int32),
        clean=np.array([True, clean, True]),
        keyframe_pts=np.array([shown[k] for k in KEYFRAMES], np.int64),
        misplaced=np.zeros(frames, bool),
        breaks=np.empty(0, np.int32),
        corrupt=np.empty(0, np.int32),
    )


def play(
    sequence: FrameSequence[str], outputs: list[int], failed: tuple[int, ...] = ()
) -> list[str | None]:
    """Feed packets by position, in the decoder's output order."""
    released = []
    for position in outputs:
        if position in failed:
            sequence.fail(position)
        else:
            sequence.add(position, f"f{SHOWN[position]}")
        released += sequence.release()
    released += sequence.finish()
    assert [frame for frame, _ in released] == list(sequence._wanted)
    return [image for _, image in released]


IN_ORDER = [0, 2, 1, 4, 5, 3, 6, 7, 8]


def test_all_frames_pass():
    sequence = FrameSequence(make_index(), range(9), 0)
    assert play(sequence, IN_ORDER) == [f"f{i}" for i in range(9)]


def test_a_frame_waits_for_every_packet_before_its_own():
    sequence = FrameSequence(make_index(), range(9), 0)
    sequence.add(0, "f0")
    assert list(sequence.release()) == [(0, "f0")]
    # b1 is decoded after P2, of which nothing is known yet.
    sequence.add(2, "f1")
    assert list(sequence.release()) == []
    sequence.fail(1)
    assert list(sequence.release()) == [(1, None), (2, None)]


def test_damage_spoils_leading_frames_of_the_next_keyframe():
    sequence = FrameSequence(make_index(), range(9), 0)
    expected = ["f0", None, None, None, None, "f5", "f6", "f7", "f8"]
    assert play(sequence, IN_ORDER, failed=(1,)) == expected


def test_damage_of_the_last_decoded_frame_spoils_leading_frames_too():
    sequence = FrameSequence(make_index(), range(9), 0)
    expected = ["f0", None, "f2", None, None, "f5", "f6", "f7", "f8"]
    assert play(sequence, IN_ORDER, failed=(2,)) == expected


def test_a_keyframe_that_is_not_clean_does_not_end_damage():
    sequence = FrameSequence(make_index(clean=False), range(9), 0)
    expected = ["f0", None, None, None, None, None, None, "f7", "f8"]
    assert play(sequence, IN_ORDER, failed=(1,)) == expected


def test_a_damaged_keyframe_spoils_what_follows():
    sequence = FrameSequence(make_index(), range(9), 0)
    expected = ["f0", "f1", "f2", None, None, None, None, "f7", "f8"]
    assert play(sequence, IN_ORDER, failed=(3,)) == expected


def test_leading_frames_after_an_entry_fail_without_harm():
    # Decoding begins at I5; b3 and b4 lack their references and nobody wants them.
    sequence = FrameSequence(make_index(), range(5, 9), 3)
    assert play(sequence, [3, 4, 5, 6, 7, 8], failed=(4, 5)) == ["f5", "f6", "f7", "f8"]


def test_a_packet_without_picture_or_error_is_a_gap_of_one_frame():
    sequence = FrameSequence(make_index(), range(9), 0)
    without = [position for position in IN_ORDER if position != 1]
    assert play(sequence, without) == ["f0", "f1", None, *[f"f{i}" for i in range(3, 9)]]


def test_frames_are_not_held_for_ever_by_a_packet_that_stays_silent():
    shown = list(range(40))
    index = make_index(shown)
    sequence = FrameSequence(index, range(40), 0)
    released = []
    for position in range(1, 40):
        sequence.add(position, f"f{position}")
        released += sequence.release()
        assert len(sequence._heard) <= 16
    assert released[:2] == [(0, None), (1, "f1")]


def test_a_lost_packet_that_is_not_shown_spoils_its_group():
    # As those of VP8 that hold a picture to refer to only.
    shown = [0, 1, 2, 3, -1, 4, 5, 6, 7]
    sequence = FrameSequence(make_index(shown), range(3, 8), 3)
    sequence.add(3, "f3")
    sequence.fail(4)
    for position in (5, 6, 7, 8):
        sequence.add(position, f"f{shown[position]}")
    assert list(sequence.finish()) == [(3, "f3"), (4, None), (5, None), (6, "f6"), (7, "f7")]


def test_a_second_picture_of_a_packet_is_ignored():
    sequence = FrameSequence(make_index(), range(9), 0)
    outputs = [0, 2, 1, 0, 2, 4, 5, 3, 6, 1, 7, 8, 8]
    assert play(sequence, outputs) == [f"f{i}" for i in range(9)]


def test_strictly_what_is_released_before_a_failure_is_sure():
    sequence = FrameSequence(make_index(), range(9), 0, strict=True)
    sequence.add(0, "f0")
    assert list(sequence.release()) == [(0, "f0")]
    with pytest.raises(DamageError):
        sequence.fail(1)


def test_a_silent_packet_is_an_error_in_strict_mode():
    sequence = FrameSequence(make_index(), range(9), 0, strict=True)
    for position in (0, 2, 4, 5):
        sequence.add(position, f"f{SHOWN[position]}")
    assert list(sequence.release()) == [(0, "f0")]
    with pytest.raises(DamageError):
        list(sequence.finish())


def test_strictly_leading_frames_after_an_entry_may_fail():
    sequence = FrameSequence(make_index(), range(5, 9), 3, strict=True)
    assert play(sequence, [3, 4, 5, 6, 7, 8], failed=(4, 5)) == ["f5", "f6", "f7", "f8"]


def test_groups_end_where_the_next_keyframe_is_shown():
    index = make_index()
    ends = [index.find_group_end(frame) for frame in range(9)]
    assert ends == [5, 5, 5, 5, 5, 7, 7, 9, 9]


def test_entries():
    index = make_index()
    # 3 and 4 are shown before the keyframe that they follow, 5.
    starts = {start: index.find_entry(start, start + 1) for start in range(9)}
    assert starts == {0: 0, 1: 0, 2: 0, 3: 0, 4: 0, 5: 3, 6: 3, 7: 7, 8: 7}
    # A range is entered where its earliest packet can be decoded.
    assert index.find_entry(5, 9) == 3
    assert make_index(clean=False).find_entry(5, 9) == 0


class Container:
    """Simulate a container whose seeks end where a test says."""

    def __init__(self, *landings: int) -> None:
        self.landings, self.sought = list(landings), []

    def seek(self, timestamp: int, stream: object) -> None:
        assert stream is None
        self.sought.append(timestamp)
        self.at = self.landings.pop(0)

    def demux(self, stream: object) -> list[SimpleNamespace]:
        assert stream is None
        return [SimpleNamespace(size=1, pos=100 * i) for i in range(self.at, len(SHOWN))]


def test_a_seek_that_ends_too_late_is_not_used():
    container = Container(7)
    assert _seek(container, None, make_index(), 3) is None
    assert container.sought == [5]


def test_a_seek_that_ends_between_keyframes_is_not_used():
    container = Container(8, 3)
    first, packets = _seek(container, None, make_index(), 7)
    assert container.sought == [7, 5]
    assert first == 3
    assert [packet.pos for packet in packets] == [300, 400, 500, 600, 700, 800]


def test_packets_of_another_file_are_refused():
    packets = iter([(0, SimpleNamespace(pos=0)), (1, SimpleNamespace(pos=101))])
    with pytest.raises(VideoError, match="packet 1 is not the one indexed"):
        list(_check(packets, make_index()))


def test_packets_that_end_early_are_refused():
    packets = iter([(0, SimpleNamespace(pos=0)), (1, SimpleNamespace(pos=100))])
    with pytest.raises(VideoError, match="the file ends after 2 packets, 9 were indexed"):
        list(_check(packets, make_index()))


def fail_with(error: Exception) -> Iterator[SimpleNamespace]:
    yield SimpleNamespace(size=1)
    raise error


def test_a_container_that_breaks_off_is_read_up_to_there(tmp_path):
    path = tmp_path / "a.avi"
    path.write_bytes(b"content")
    for error in (
        av.error.InvalidDataError(1, "damaged"),
        # What FFmpeg says of a damaged file, too; the bytes can be read.
        av.error.OSError(errno.EIO, "Input/output error"),
        IndexError("list index out of range"),
    ):
        assert [position for position, _ in number_packets(path, fail_with(error), 3)] == [3]


def test_a_failing_file_system_is_no_damage(tmp_path, monkeypatch):
    path = tmp_path / "a.avi"
    path.write_bytes(b"content")

    def fail(*_: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr("os.open", fail)
    error = av.error.OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="Stale file handle"):
        list(number_packets(path, fail_with(error)))
