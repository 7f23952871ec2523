"""Test the splits of labelled frames: sizes, balance, whole blocks, independence of order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.kernels.splits import (
    cut_blocks,
    find_beside,
    folds_blocks,
    folds_random,
    split_blocks,
    split_random,
)

SEEDS = st.integers(0, 2**31)
# Distinct (video, frame) pairs in any order.
LABELLED = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 200)), min_size=1, max_size=60, unique=True
)


def columns(labelled):
    videos, frames = zip(*labelled, strict=True)
    return np.array(videos), np.array(frames)


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [
        (116, 0.05, 6),  # 5.8
        (10, 0.25, 3),  # 2.5, half up
        (10, 0.0, 0),
        (10, 0.001, 1),  # never none when asked for some
        (10, 1.0, 9),  # never all
        (2, 0.5, 1),
        (1, 0.5, 0),
        (0, 0.5, 0),
    ],
)
def test_random_split_has_the_size_asked_for(count, fraction, expected):
    test = split_random(count, fraction, seed=3)
    assert test.shape == (count,)
    assert test.sum() == expected


def test_seed_decides_the_random_split():
    first = split_random(100, 0.2, seed=1)
    assert np.array_equal(first, split_random(100, 0.2, seed=1))
    assert not np.array_equal(first, split_random(100, 0.2, seed=2))


@given(st.integers(0, 80), st.integers(2, 9), SEEDS)
def test_random_folds_differ_by_one_frame_at_most(count, folds, seed):
    sizes = np.bincount(folds_random(count, folds, seed), minlength=folds)
    assert sizes.size == folds
    assert sizes.max() - sizes.min() <= 1


def test_blocks_are_cut_within_videos_in_frame_order():
    # Video b: 5 frames, two blocks; video a: 3 frames, nearest to one block of 3.
    videos = ["b", "a", "b", "a", "b", "b", "a", "b"]
    frames = [40, 9, 10, 1, 30, 20, 5, 50]
    # a 1, 5, 9 -> block 0; b 10, 20, 30 -> block 1; b 40, 50 -> block 2.
    assert cut_blocks(videos, frames, 3).tolist() == [2, 0, 1, 0, 1, 1, 0, 2]


def test_blocks_are_halved_until_there_are_enough():
    assert cut_blocks(["v"] * 8, range(8), 100).max() == 0
    assert np.bincount(cut_blocks(["v"] * 8, range(8), 100, at_least=2)).tolist() == [4, 4]
    assert cut_blocks(["v"] * 3, range(3), 100, at_least=9).tolist() == [0, 1, 2]


def test_frames_without_a_number_keep_their_order():
    assert cut_blocks(["v"] * 6, [-1] * 6, 2).tolist() == [0, 0, 1, 1, 2, 2]


@given(LABELLED, st.integers(1, 12), st.integers(1, 8))
def test_blocks_are_contiguous_within_one_video(labelled, block_frames, at_least):
    blocks = cut_blocks(*columns(labelled), block_frames, at_least)
    in_order = [
        (block, video)
        for block, (video, _) in sorted(
            zip(blocks.tolist(), labelled, strict=True), key=lambda item: item[1]
        )
    ]
    assert [block for block, _ in in_order] == sorted(blocks.tolist())
    assert len(set(in_order)) == blocks.max() + 1
    assert blocks.max() + 1 >= min(at_least, len(labelled))


@given(LABELLED, st.integers(1, 12), st.floats(0.01, 1.0), SEEDS)
def test_block_split_leaves_frames_on_both_sides_and_blocks_whole(
    labelled, block_frames, fraction, seed
):
    videos, frames = columns(labelled)
    test = split_blocks(videos, frames, block_frames, fraction, seed)
    if len(labelled) < 2:
        assert not test.any()
        return
    assert 0 < test.sum() < len(labelled)
    blocks = cut_blocks(videos, frames, block_frames, at_least=2)
    assert all(len(set(test[blocks == block])) == 1 for block in np.unique(blocks))


def test_block_split_is_as_near_as_blocks_allow():
    # Ten blocks of ten: 30 % is met exactly.
    test = split_blocks(["v"] * 100, range(100), 10, 0.3, seed=0)
    assert test.sum() == 30
    assert all(len(set(part)) == 1 for part in test.reshape(10, 10))
    # 1 % would be one frame: a block is the least there is.
    assert split_blocks(["v"] * 100, range(100), 10, 0.01, seed=0).sum() == 10


def test_block_split_without_test_frames():
    assert not split_blocks(["v"] * 9, range(9), 3, 0.0, seed=0).any()


def test_block_folds_are_balanced():
    # Blocks of 10, 10, 10, 10 and 4 frames: the small one joins a fold of its own size last.
    videos = ["a"] * 40 + ["b"] * 4
    folds = folds_blocks(videos, [*range(40), *range(4)], 10, 2, seed=5)
    assert sorted(np.bincount(folds)) == [20, 24]


@pytest.mark.parametrize("seed", range(5))
def test_large_blocks_are_dealt_first(seed):
    # Blocks of 9, 5 and 4 frames in two folds: 9 against 5 + 4, whichever is drawn first.
    videos = ["a"] * 9 + ["b"] * 5 + ["c"] * 4
    folds = folds_blocks(videos, [*range(9), *range(5), *range(4)], 10, 2, seed)
    assert np.bincount(folds).tolist() == [9, 9]


@given(LABELLED, st.integers(1, 12), st.integers(2, 6), SEEDS)
def test_no_block_fold_is_empty_where_frames_suffice(labelled, block_frames, folds, seed):
    videos, frames = columns(labelled)
    sizes = np.bincount(folds_blocks(videos, frames, block_frames, folds, seed), minlength=folds)
    assert sizes.size == folds
    assert (sizes > 0).sum() == min(folds, len(labelled))


@given(LABELLED, st.integers(1, 12), SEEDS, st.randoms(use_true_random=False))
def test_blocks_do_not_depend_on_the_order_of_the_frames(labelled, block_frames, seed, random):
    order = list(range(len(labelled)))
    random.shuffle(order)
    videos, frames = columns(labelled)
    for divide in (
        lambda v, f: split_blocks(v, f, block_frames, 0.3, seed),
        lambda v, f: folds_blocks(v, f, block_frames, 3, seed),
    ):
        straight = divide(videos, frames)
        assert np.array_equal(divide(videos[order], frames[order]), straight[order])


def beside(frames, first, test, block_frames=2, videos=None):
    """Return the frames that were labelled later and are found."""
    videos = videos or ["v"] * len(frames)
    found = find_beside(videos, frames, first, test, block_frames)
    return [frame for frame, one in zip(frames, found, strict=True) if one]


def test_frames_beside_a_test_block_are_found():
    """A block of 20, 26 and 32: its frames are 6 apart, so 15 to 37 are too near."""
    known, test = [2, 8, 20, 26, 32, 60], [0, 0, 1, 1, 1, 0]
    later = [7, 14, 15, 20, 25, 37, 38, 50, 61]
    frames = known + later
    first = [1] * len(known) + [0] * len(later)
    tested = test + [0] * len(later)
    assert beside(frames, first, tested) == [15, 20, 25, 37]
    # However near labelled frames are to each other, neighbours are copies.
    assert beside(frames, first, tested, block_frames=9) == [14, 15, 20, 25, 37, 38]
    # Where single frames were drawn, only the same frame is found.
    assert beside(frames, first, tested, block_frames=None) == [20]


def test_frames_of_other_videos_are_not_beside_it():
    frames, videos = [10, 40, 10, 11, 10], ["a", "a", "b", "b", "a"]
    first, test = [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]
    assert beside(frames, first, test, 5, videos) == [10]
    assert beside(frames, first, [0, 0, 1, 0, 0], 5, videos) == [11]
    assert beside(frames, first, [0] * 5, 5, videos) == []


def test_frames_whose_number_is_unknown_are_beside_their_own_kind():
    assert beside([-1, -1, -1, 50], [1, 1, 0, 0], [1, 0, 0, 0], 5) == [-1]
    assert beside([-1, -1, -1, 50], [1, 1, 0, 0], [1, 0, 0, 0], None) == []


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(-1, 40), st.booleans(), st.booleans()),
        max_size=30,
    ),
    st.none() | st.integers(1, 10),
    st.randoms(),
)
def test_divided_frames_are_never_found_and_order_does_not_matter(rows, block, random):
    rows = [(video, frame, first, first and test) for video, frame, first, test in rows]

    def find(given):
        columns = zip(*given, strict=True) if given else ([], [], [], [])
        return dict.fromkeys(
            (row for row, one in zip(given, find_beside(*columns, block), strict=True) if one)
        )

    found = find(rows)
    assert not any(first for _, _, first, _ in found)
    tested = {(video, frame) for video, frame, _, test in rows if test and frame >= 0}
    same = {row for row in rows if not row[2] and (row[0], row[1]) in tested}
    assert same <= found.keys()
    shuffled = random.sample(rows, len(rows))
    if len({(video, frame) for video, frame, first, _ in rows if first}) == sum(r[2] for r in rows):
        assert find(shuffled).keys() == found.keys()
