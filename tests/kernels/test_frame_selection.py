"""Test the choice of frames: spread over time, or different in appearance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.kernels.frame_selection import limit_range, select_kmeans, select_uniform


@pytest.mark.parametrize(
    ("frames", "start", "stop", "expected"),
    [
        (100, 0.0, 1.0, range(100)),
        (10, 0.3, 0.7, range(3, 7)),
        # Frames that the part covers in part belong to it.
        (10, 0.25, 0.75, range(2, 8)),
        (1, 0.9, 0.95, range(1)),
        (10, 0.999, 1.0, range(9, 10)),
    ],
)
def test_fractions_become_frames(frames, start, stop, expected):
    assert limit_range(frames, start, stop) == expected


@given(
    frames=st.integers(1, 500),
    number=st.integers(1, 60),
    bounds=st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda b: b[0] < b[1]),
    seed=st.integers(0, 9),
)
def test_uniform_draws_one_frame_from_each_part(frames, number, bounds, seed):
    chosen = select_uniform(frames, number, *bounds, seed)
    span = limit_range(frames, *bounds)
    count = min(number, len(span))
    edges = [span.start + i * len(span) // count for i in range(count + 1)]
    assert chosen.dtype == np.int64
    assert len(chosen) == count
    assert all(a <= c < b for a, c, b in zip(edges, chosen, edges[1:], strict=False))


def test_uniform_depends_on_the_seed_alone():
    first = select_uniform(10_000, 20, 0.0, 1.0, 1)
    np.testing.assert_array_equal(first, select_uniform(10_000, 20, 0.0, 1.0, 1))
    assert first.tolist() != select_uniform(10_000, 20, 0.0, 1.0, 2).tolist()


def scenes(lengths: list[int]) -> np.ndarray:
    """Make thumbnails of scenes: a bright pixel at another position in each, with some noise."""
    noise = np.random.default_rng(0).integers(0, 8, (sum(lengths), 6, 8))
    scene = np.repeat(np.arange(len(lengths)), lengths)
    noise.reshape(len(scene), -1)[np.arange(len(scene)), 5 * scene] = 250
    return noise.astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_kmeans_finds_a_frame_of_each_scene_however_short(seed):
    lengths = [300, 20, 100, 30]
    chosen = select_kmeans(scenes(lengths), 4, seed)
    assert np.searchsorted(np.cumsum(lengths), chosen, side="right").tolist() == [0, 1, 2, 3]


def test_kmeans_takes_the_frame_nearest_to_the_centre():
    # One cluster: its centre is the mean 20, give or take 2 for the batches that are drawn, and the
    # frames from 400 on are nearest to it.
    values = np.repeat(np.array([0, 10, 21, 29, 40], np.uint8), 200)
    assert select_kmeans(values[:, None, None], 1, 0).tolist() == [400]


def test_kmeans_takes_the_earliest_of_equal_frames():
    thumbnails = np.repeat(np.array([0, 200], np.uint8), 10)[:, None, None]
    assert select_kmeans(thumbnails, 2, 0).tolist() == [0, 10]


def test_kmeans_ignores_nothing_but_the_mean():
    thumbnails = scenes([40, 40, 40])
    assert (thumbnails < 251).all()
    lifted = select_kmeans(thumbnails + np.uint8(5), 3, 0)
    assert lifted.tolist() == select_kmeans(thumbnails, 3, 0).tolist()


def test_too_few_distinct_frames_are_completed_over_time():
    same = np.zeros((9, 2, 2), np.uint8)
    # The earliest; then the farthest from those chosen: 8, 4, 2.
    assert select_kmeans(same, 4, 0).tolist() == [0, 2, 4, 8]


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 40),
    number=st.integers(1, 45),
    levels=st.integers(1, 5),
    seed=st.integers(0, 3),
)
def test_kmeans_gives_as_many_distinct_frames_as_there_are(count, number, levels, seed):
    values = np.random.default_rng(seed).integers(0, levels, (count, 2, 3, 3)).astype(np.uint8)
    chosen = select_kmeans(values, number, seed)
    assert chosen.dtype == np.int64
    assert len(chosen) == min(count, number)
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] >= 0
    assert chosen[-1] < count
    np.testing.assert_array_equal(chosen, select_kmeans(values, number, seed))
