"""Follow animals through blocks of frames: only the first frame of a block is searched."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.predictor import Image, store_located

Look = Callable[[Sequence[Image]], Located]
Follow = Callable[[Sequence[Image], Located], tuple[Located, NDArray[np.bool_]]]


def begins_block(before: int, frame: int, every: int, grid: int = 0) -> bool:
    """Tell whether a frame is in another block than a frame before it; see `mark_blocks`."""
    return _find_block(before, every, grid) != _find_block(frame, every, grid)


def mark_blocks(frames: Sequence[int], every: int, grid: int = 0) -> list[bool]:
    """Return which frames are the first of their block.

    Blocks are counted from the first frame of the video, so that they do not depend on where a
    segment begins. If the first frame of a block is damaged, or not computed, the next one takes
    its place.

    Parameters
    ----------
    frames
        Indices of the frames of a video that are there, in order; the first is the first of its
        block that is there.
    every
        Frames of a block.
    grid
        Frames after which blocks are counted anew; 0: never.
    """
    return [
        not n or begins_block(frames[n - 1], frame, every, grid) for n, frame in enumerate(frames)
    ]


def _find_block(frame: int, every: int, grid: int) -> tuple[int, int]:
    part, place = divmod(frame, grid) if grid else (0, frame)
    return part, place // every


def predict_blocks(
    frames: Sequence[Image], first: Sequence[bool], look: Look, follow: Follow
) -> Located:
    """Predict blocks of successive frames, the second frames of all blocks together, and so on.

    The result of a frame depends on the earlier frames of its block alone.

    Parameters
    ----------
    frames
        Frames of one or several blocks, in order.
    first
        Which of them begin a block; the first one does.
    look
        Predicts frames alone.
    follow
        Predicts frames from the poses of the frames before them, which it may change; returns
        which of them it lost, and these are predicted by `look`.

    Raises
    ------
    ValueError
        If the first frame begins no block, or the numbers differ.
    """
    if len(first) != len(frames) or (frames and not first[0]):
        raise ValueError("the first of the frames must begin a block, and each must be marked")
    starts = np.flatnonzero(first)
    place = np.arange(len(frames)) - starts[np.cumsum(first) - 1] if frames else np.arange(0)
    rows = np.flatnonzero(place == 0)
    looked = look(_choose(frames, rows))
    found = _allocate(len(frames), looked)
    store_located(found, rows.tolist(), looked)
    for step in range(1, int(place.max(initial=0)) + 1):
        rows = np.flatnonzero(place == step)
        followed, lost = follow(_choose(frames, rows), _take(found, rows - 1))
        store_located(found, rows.tolist(), followed)
        again = rows[lost]
        if again.size:
            store_located(found, again.tolist(), look(_choose(frames, again)))
    return found


def _choose(frames: Sequence[Image], rows: NDArray[np.intp]) -> list[Image]:
    return [frames[row] for row in rows.tolist()]


def _allocate(frames: int, like: Located) -> Located:
    """Return arrays for the keypoints of N frames."""

    def make_room(part: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full((frames, *part.shape[1:]), np.nan, np.float32)

    return Located(
        make_room(like.position),
        make_room(like.confidence),
        None if like.identity is None else make_room(like.identity),
        None if like.spread is None else make_room(like.spread),
    )


def _take(found: Located, rows: NDArray[np.intp]) -> Located:
    """Return a copy of the keypoints of some frames."""
    return Located(
        found.position[rows],
        found.confidence[rows],
        None if found.identity is None else found.identity[rows],
        None if found.spread is None else found.spread[rows],
    )
