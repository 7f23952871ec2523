"""Split labelled frames at random, or in blocks so that neighbouring frames do not leak.

Consecutive video frames are nearly copies of each other, so a random division lets the
network see most test frames beforehand; whole blocks of contiguous frames keep them apart
(Roberts et al. 2017, Ecography 40:913, doi:10.1111/ecog.02881, on blocked cross-validation).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def split_random(count: int, test_fraction: float, seed: int) -> NDArray[np.bool_]:
    """Draw test frames at random.

    Parameters
    ----------
    count
        Frames, counted in an order that does not change between runs.
    test_fraction
        Share of frames to test on, 0..1. Above 0 at least one frame tests where there are two,
        and whatever it is at least one trains.
    seed
        Not negative.

    Returns
    -------
    ndarray
        Shape (count,), bool; True: test.
    """
    test = np.zeros(count, dtype=np.bool_)
    number = _count_test(count, test_fraction)
    test[np.random.default_rng(seed).permutation(count)[:number]] = True
    return test


def folds_random(count: int, folds: int, seed: int) -> NDArray[np.int64]:
    """Distribute frames at random into folds whose sizes differ by at most one.

    Returns
    -------
    ndarray
        Shape (count,), int64, fold of each frame in 0..folds-1. None is empty if there are at
        least as many frames as folds.
    """
    dealt = np.empty(count, dtype=np.int64)
    dealt[np.random.default_rng(seed).permutation(count)] = np.arange(count) % folds
    return dealt


def cut_blocks(
    videos: ArrayLike, frames: ArrayLike, block_frames: int, at_least: int = 1
) -> NDArray[np.int64]:
    """Cut the frames of each video, in their order, into blocks of equal size.

    Parameters
    ----------
    videos
        Shape (count,), the video of each labelled frame; any type that sorts.
    frames
        Shape (count,), int, frame number in its video. Equal numbers (as where none is known)
        keep the order in which they are given.
    block_frames
        Labelled frames in a block; each video is cut into the number of equal blocks nearest to
        that size.
    at_least
        Total number of blocks wanted. Blocks are halved until it is reached, or one per frame.

    Returns
    -------
    ndarray
        Shape (count,), int64, block of each frame, 0-based, rising with video and frame.
    """
    codes = np.unique(np.asarray(videos), return_inverse=True)[1].reshape(-1)
    order = np.lexsort((np.asarray(frames), codes))
    sizes = np.bincount(codes)
    counts = _count_blocks(sizes, block_frames)
    while counts.sum() < at_least and block_frames > 1:
        block_frames = (block_frames + 1) // 2
        counts = _count_blocks(sizes, block_frames)
    sorted_blocks = [
        first + np.arange(size) * number // size
        for first, size, number in zip(np.cumsum(counts) - counts, sizes, counts, strict=True)
    ]
    blocks = np.empty(codes.size, dtype=np.int64)
    blocks[order] = np.concatenate(sorted_blocks) if sorted_blocks else []
    return blocks


def split_blocks(
    videos: ArrayLike, frames: ArrayLike, block_frames: int, test_fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Draw whole blocks of contiguous frames to test on.

    Blocks are drawn at random and kept while they bring the number of test frames nearer to what
    is asked for.

    Parameters
    ----------
    videos, frames, block_frames
        As in `cut_blocks`.
    test_fraction
        As in `split_random`, met as nearly as whole blocks allow.
    seed
        Not negative.

    Returns
    -------
    ndarray
        Shape (count,), bool; True: test. Independent of the order of the frames.
    """
    count = np.asarray(videos).size
    wanted = _count_test(count, test_fraction)
    if wanted == 0:
        return np.zeros(count, dtype=np.bool_)
    blocks = cut_blocks(videos, frames, block_frames, at_least=2)
    sizes = np.bincount(blocks)
    drawn = np.random.default_rng(seed).permutation(sizes.size)
    taken, number = [], 0
    for block in drawn:
        nearer = abs(number + sizes[block] - wanted) < abs(number - wanted)
        if nearer and number + sizes[block] < count:
            taken.append(block)
            number += sizes[block]
    if not taken:
        # Every block is far larger than what is wanted: the smallest is the nearest.
        taken.append(drawn[np.argmin(sizes[drawn])])
    return np.isin(blocks, taken)


def folds_blocks(
    videos: ArrayLike, frames: ArrayLike, block_frames: int, folds: int, seed: int
) -> NDArray[np.int64]:
    """Distribute whole blocks of contiguous frames into folds of similar size.

    The largest blocks come first, each to the fold with the fewest frames (the
    longest-processing-time rule of Graham 1969, doi:10.1137/0117039).

    Parameters
    ----------
    videos, frames, block_frames
        As in `cut_blocks`.
    folds
        Number of folds.
    seed
        Not negative; decides among blocks of equal size.

    Returns
    -------
    ndarray
        Shape (count,), int64, fold of each frame in 0..folds-1. None is empty if there are at
        least as many frames as folds. Independent of the order of the frames.
    """
    blocks = cut_blocks(videos, frames, block_frames, at_least=folds)
    sizes = np.bincount(blocks)
    drawn = np.random.default_rng(seed).permutation(sizes.size)
    fold_of = np.empty(sizes.size, dtype=np.int64)
    load = np.zeros(folds, dtype=np.int64)
    for block in drawn[np.argsort(-sizes[drawn], kind="stable")]:
        fold_of[block] = np.argmin(load)
        load[fold_of[block]] += sizes[block]
    return fold_of[blocks]


def find_beside(
    videos: ArrayLike,
    frames: ArrayLike,
    first: ArrayLike,
    test: ArrayLike,
    block_frames: int | None,
) -> NDArray[np.bool_]:
    """Find frames labelled later that would make the test easier if they were trained on.

    A frame that is a test frame itself is found. With blocks, so is a frame between the first and
    the last frame of a test block, and one that is nearer to it than its labelled frames are to
    each other on average, or than `block_frames` frames.

    Parameters
    ----------
    videos, frames
        Shape (count,): the video of each labelled frame, and its number there.
    first
        Shape (count,), bool: the frames that were divided; the others were labelled later.
    test
        Shape (count,), bool: the test frames among them.
    block_frames
        Least distance in frames from a test block; None: frames were not divided in blocks.

    Returns
    -------
    ndarray
        Shape (count,), bool; never True for one of the first frames.
    """
    videos, frames = np.asarray(videos), np.asarray(frames, dtype=np.int64)
    first, test = np.asarray(first, dtype=np.bool_), np.asarray(test, dtype=np.bool_)
    beside = np.zeros(frames.size, dtype=np.bool_)
    for video in np.unique(videos[test]):
        here = videos == video
        own = np.flatnonzero(here & first)
        own = own[np.argsort(frames[own], kind="stable")]
        later = np.flatnonzero(here & ~first)
        known = test[own] & (frames[own] >= 0)
        beside[later] |= np.isin(frames[later], frames[own][known])
        if block_frames is None:
            continue
        # Neighbouring test blocks are one: their bounds do not matter here.
        edges = np.flatnonzero(np.diff(np.r_[False, test[own], False].astype(np.int8)))
        for start, stop in edges.reshape(-1, 2):
            low, high = frames[own[start]], frames[own[stop - 1]]
            spacing = (high - low) / max(1, stop - start - 1)
            margin = max(spacing, float(block_frames))
            beside[later] |= (frames[later] > low - margin) & (frames[later] < high + margin)
    return beside


def _count_test(count: int, test_fraction: float) -> int:
    """Return the frames to test on: rounded half up, but one at least and not all."""
    if test_fraction <= 0.0 or count < 2:
        return 0
    return int(np.clip(np.floor(count * test_fraction + 0.5), 1, count - 1))


def _count_blocks(sizes: NDArray[np.int64], block_frames: int) -> NDArray[np.int64]:
    return np.maximum(1, np.floor(sizes / block_frames + 0.5)).astype(np.int64)
