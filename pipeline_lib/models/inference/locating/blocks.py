"""Follow animals through blocks of frames: only the first frame of a block is searched."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.predictor import Image

Look = Callable[[Sequence[Image]], Located]
Follow = Callable[[Sequence[Image], Located], tuple[Located, NDArray[np.bool_]]]


def mark_blocks(frames: Sequence[int], every: int) -> list[bool]:
    """Return which frames are the first of their block.

    Blocks are counted from the first frame of the video, so that they do not depend on where a
    segment begins. If the first frame of a block is damaged, the next one takes its place.

    Parameters
    ----------
    frames
        Indices of the frames of a video that are there, in order; the first is the first of its
        block that is there.
    every
        Frames of a block.
    """
    blocks = [frame // every for frame in frames]
    return [not n or block != blocks[n - 1] for n, block in enumerate(blocks)]


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
        Predicts frames from the poses of the frames before them; returns which of them it lost,
        and these are predicted by `look`.

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
    found = look([frames[row] for row in rows])
    # Rows are in the order in which they were predicted, until the end.
    whole = _Rows(len(frames), found)
    whole.store(rows, found)
    for step in range(1, int(place.max(initial=0)) + 1):
        rows = np.flatnonzero(place == step)
        followed, lost = follow([frames[row] for row in rows], whole.take(rows - 1))
        whole.store(rows, followed)
        if lost.any():
            again = rows[lost]
            whole.store(again, look([frames[row] for row in again]))
    return whole.located


class _Rows:
    """Hold the keypoints of frames that are predicted in any order."""

    def __init__(self, frames: int, like: Located) -> None:
        def allocate(part: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
            return None if part is None else np.full((frames, *part.shape[1:]), np.nan, part.dtype)

        self._parts = [allocate(part) for part in like]

    @property
    def located(self) -> Located:
        """Return the keypoints of all frames."""
        position, confidence, identity, spread = self._parts
        assert position is not None  # noqa: S101 - for the type alone
        assert confidence is not None  # noqa: S101
        return Located(position, confidence, identity, spread)

    def store(self, rows: NDArray[np.intp], found: Located) -> None:
        for part, values in zip(self._parts, found, strict=True):
            if part is not None and values is not None:
                part[rows] = values

    def take(self, rows: NDArray[np.intp]) -> Located:
        taken = [None if part is None else part[rows] for part in self._parts]
        position, confidence, identity, spread = taken
        assert position is not None  # noqa: S101 - for the type alone
        assert confidence is not None  # noqa: S101
        return Located(position, confidence, identity, spread)
