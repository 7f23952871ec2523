"""Numbers of H.264 pictures: what jumps, what is counted, and which numbers say nothing."""

import numpy as np
import pytest

from pipeline_lib.io.video.codecs.h264 import SequenceHeader
from pipeline_lib.io.video.codecs.picture_numbers import PictureNumbers
from pipeline_lib.io.video.packets import read_packets
from tests.video_corpus import encode, x264


def make_numbers(pictures) -> PictureNumbers:
    """Return numbers of pictures, given as (frame number, order count, is a reference, is IDR)."""
    numbers = PictureNumbers(None)
    numbers._header = SequenceHeader(
        frame_num_bits=4,
        order_type=0,
        order_bits=6,
        separate_planes=False,
        gaps_allowed=False,
        frames_only=True,
    )
    for number, order, reference, idr in pictures:
        numbers._kinds.append(reference | idr << 1)
        numbers._numbers.append(number)
        numbers._orders.append(order)
    return numbers


@pytest.mark.parametrize(
    "options", [x264(), x264(b_frames=0), x264("open-gop=1"), x264("b-pyramid=normal", 7)]
)
def test_pictures_of_a_whole_video_follow_each_other(tmp_path, options):
    packets = read_packets(encode(tmp_path / "a.mp4", frames=100, options=options))
    order = np.argsort(np.frombuffer(packets.pts, np.int64)).astype(np.int32)
    assert packets.numbers.list_jumps().tolist() == []
    assert packets.numbers.follow_each_other(order)
    within = np.diff(packets.numbers.groups[order]) == 0
    steps = np.diff(packets.numbers.count_orders()[order])[within]
    assert set(steps.tolist()) == {2}


def test_a_lost_reference_is_a_jump_and_counts():
    # Numbers wrap at 16, order counts at 64.
    pictures = [(i % 16, 2 * i % 64, True, i == 0) for i in range(60)]
    assert make_numbers(pictures).list_jumps().tolist() == []
    lossy = make_numbers([one for i, one in enumerate(pictures) if i not in (20, 40, 41)])
    assert lossy.list_jumps().tolist() == [20, 39]
    steps = np.diff(lossy.count_orders())
    assert {int(i): int(steps[i]) for i in np.flatnonzero(steps != 2)} == {19: 4, 38: 6}
    assert not lossy.follow_each_other(np.arange(57, dtype=np.int32))


def test_regular_jumps_are_listed_and_not_found():
    pictures = [(i % 16, 2 * i % 64, True, i == 0) for i in range(0, 60, 2)]
    assert make_numbers(pictures).list_jumps().tolist() == list(range(1, 30))
    assert make_numbers(pictures).find_jumps() is None


def test_a_lost_picture_that_nothing_refers_to_is_no_jump_but_counts():
    # Every second picture is referred to by none, and is lost.
    pictures = [(i % 16, 4 * i % 64, True, i == 0) for i in range(30)]
    numbers = make_numbers(pictures)
    assert numbers.list_jumps().tolist() == []
    assert not numbers.follow_each_other(np.arange(30, dtype=np.int32))


@pytest.mark.parametrize("own", [lambda i: i % 16, lambda i: 0 * i])
def test_encoders_with_numbers_of_their_own_say_nothing(own):
    # Pictures that nothing refers to must not be counted; here they are, or none is.
    pictures = [(own(i), 2 * i % 64, i % 3 == 0, False) for i in range(60)]
    assert make_numbers(pictures).list_jumps() is None
