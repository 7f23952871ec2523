"""The criterion `tracks`: individuals may have been exchanged for each other."""

from collections.abc import Sequence

import numpy as np

from pipeline_lib.kernels.refinement.blocks import CONTEXT, PoseBlock, PoseNames, Scored


def fit(blocks: Sequence[PoseBlock], names: PoseNames) -> None:
    """Return nothing: this criterion needs no sample."""
    del blocks, names


def score(block: PoseBlock, usual: None) -> Scored:
    """Return the number of individuals whose track is in doubt; the culprit is the first one."""
    del usual
    usable = block.usable[CONTEXT:]
    if block.doubtful is None:
        return Scored(np.full(len(usable), np.nan, np.float32), np.zeros(len(usable), np.int32))
    doubtful = block.doubtful[CONTEXT:]
    number = np.where(usable, doubtful.sum(axis=1), np.nan).astype(np.float32)
    return Scored(number, doubtful.argmax(axis=1).astype(np.int32))


def explain(value: float, culprit: int, names: PoseNames) -> str:
    """Describe a score in words."""
    others = f" and {value - 1:.0f} more" if value > 1 else ""
    return f"the track{names.name_owner(culprit)}{others} is in doubt here"
