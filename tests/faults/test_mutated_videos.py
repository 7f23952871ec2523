"""Test that damaged videos neither hang nor crash, and that no row is another frame.

The whole of it, with more copies, is ``benchmarks/video/mutated_videos.py``.
"""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.video import mutated_videos as mutated


def test_damaged_copies(tmp_path):
    copies = mutated.write_copies(tmp_path, copies=36, seed=20)
    counts: Counter[str] = Counter()
    for copy in copies:
        ending = mutated.read_copy(str(copy.path))
        word = mutated.judge(copy, ending)
        counts[word] += 1
        assert word not in ("hung", "crashed", "wrong"), f"{copy}: {ending}"
    assert counts["quarantined"] >= 5
    assert counts["done, some rows empty"] >= 5


@pytest.mark.parametrize("number", range(3))
def test_whole_videos_show_every_number(tmp_path, number):
    source = mutated.SOURCES[number]
    mutated.write_source(source, tmp_path / f"a{source.suffix}")
    ending = mutated.read_copy(str(tmp_path / f"a{source.suffix}"))
    assert ending.numbers == tuple(range(mutated.FRAMES))


def test_a_shift_and_a_stale_picture_are_told_apart():
    right = tuple(range(30))
    assert mutated.find_wrong(right) == []
    shifted = (*right[:10], *right[11:])
    assert len(mutated.find_wrong(shifted)) == 19
    stale = (*right[:10], 9, *right[11:])
    assert mutated.find_wrong(stale) == [(10, 9)]
    damaged = mutated.Copy(Path("a"), "a", "3 bits flipped", in_place=True)
    lost = mutated.Copy(Path("a"), "a", "packets lost: [3]", in_place=False)
    judged = [
        mutated.judge(copy, mutated.Ending("done", "", numbers))
        for copy, numbers in ((damaged, right), (damaged, stale), (lost, stale), (damaged, shifted))
    ]
    assert judged == ["done, every row", "stale", "wrong", "wrong"]


@pytest.mark.parametrize("codec", ["mpeg2video", "libx264"])
def test_a_frame_of_a_transport_stream_that_is_read_as_two(tmp_path, codec):
    """A frame that lost its middle may be read as two, of which the second has no place."""
    (source,) = [one for one in mutated.SOURCES if (one.suffix, one.codec) == (".ts", codec)]
    path = tmp_path / "a.ts"
    mutated.write_source(source, path)
    data, reasons = path.read_bytes(), []
    for first in range(3, 40):
        path.write_bytes(data[: first * 188] + data[(first + 1) * 188 :])
        ending = mutated.read_copy(str(path))
        reasons.append(ending.reason)
        assert mutated.find_wrong(ending.numbers) == [], first
    read_as_two = any("a frame may have been read as two" in reason for reason in reasons)
    assert read_as_two == (codec == "mpeg2video")
