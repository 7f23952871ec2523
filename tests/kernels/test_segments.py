"""Test that segments cover exactly the missing frames."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.segments import (
    choose_segment_length,
    count_segments,
    cut_segments,
    find_gaps,
)


def test_gaps_by_hand():
    assert find_gaps(10, []) == [(0, 10)]
    assert find_gaps(10, [(0, 10)]) == []
    assert find_gaps(10, [(6, 8), (0, 3)]) == [(3, 6), (8, 10)]
    # Overlapping, as after a rerun with other cuts.
    assert find_gaps(10, [(0, 5), (3, 7), (4, 6)]) == [(7, 10)]


def test_cuts_by_hand():
    assert cut_segments([(0, 10)], 4) == [(0, 3), (3, 6), (6, 10)]
    assert cut_segments([(0, 4), (7, 8)], 4) == [(0, 4), (7, 8)]
    assert cut_segments([], 4) == []


ranges = st.tuples(st.integers(0, 200), st.integers(1, 60)).map(lambda r: (r[0], r[0] + r[1]))


@given(st.integers(1, 200), st.lists(ranges, max_size=8), st.integers(1, 70))
def test_finished_and_cut_make_a_whole(frames, finished, longest):
    finished = [(start, min(stop, frames)) for start, stop in finished if start < frames]
    segments = cut_segments(find_gaps(frames, finished), longest)
    done = [frame for start, stop in finished for frame in range(start, stop)]
    cut = [frame for start, stop in segments for frame in range(start, stop)]
    assert set(done) | set(cut) == set(range(frames))
    assert not set(done) & set(cut)
    assert len(cut) == len(set(cut))
    assert all(0 < stop - start <= longest for start, stop in segments)


def test_length_keeps_the_workers_busy_within_bounds():
    # 32,000 frames for 4 workers: 8 segments for each.
    assert choose_segment_length(32_000, 4, longest=2000, shortest=200) == 1000
    assert choose_segment_length(10**6, 4, longest=2000, shortest=200) == 2000
    assert choose_segment_length(1600, 4, longest=2000, shortest=200) == 200
    # Fewer than the shortest for each worker: a share for each.
    assert choose_segment_length(300, 4, longest=2000, shortest=200) == 75
    assert choose_segment_length(60, 4, longest=2000, shortest=200) == 32


def test_the_number_of_segments_by_hand():
    assert count_segments([24, 24], 2000) == 2
    # Enough for nine workers, or for one.
    assert count_segments([300], 2000) == 9
    assert count_segments([63], 2000) == 1
    assert count_segments([100, 5000], 20) == 5 + 250
    # Where workers are jobs of a cluster.
    assert count_segments([300], 2000, whole=True) == 1
    assert count_segments([300, 4001], 2000, whole=True) == 1 + 3
    assert choose_segment_length(300, 4, longest=50, shortest=50) == 50
