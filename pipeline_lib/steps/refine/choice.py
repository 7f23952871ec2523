"""Choose among candidates by how bad they are and how they look."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.refinement.choice import choose_different, reduce_embeddings
from pipeline_lib.steps.refine.appearance import Look, Place
from pipeline_lib.steps.refine.ranking import LISTED, Choice


def choose(
    pool: Sequence[Choice],
    looks: Mapping[Place, Look],
    known: NDArray[np.float32],
    number: int,
) -> list[Choice]:
    """Choose among the frames that can be read; the user's come first, then the worst.

    Frames that are no outliers only fill what outliers leave.

    Parameters
    ----------
    pool
        Candidates.
    looks
        Look of each candidate that can be read.
    known
        Shape (image, channel): embeddings of labelled frames.
    number
        Frames to choose.
    """
    there = [one for one in pool if (one.video, one.frame) in looks]
    listed = [one for one in there if one.criterion == LISTED]
    others = sorted((one for one in there if one.criterion != LISTED), key=lambda one: -one.value)
    wanted = number - len(listed)
    if not others or wanted < 1:
        return listed
    # Looks decide within a group, not over how many frames it gets.
    shares = Counter(one.group for one in others[:wanted])
    embeddings = [looks[one.video, one.frame].embedding for one in (*others, *listed)]
    places = reduce_embeddings(np.stack([*embeddings, *known]))
    seen = [*places[len(others) :]]
    chosen: list[int] = []
    for group, share in shares.items():
        own = [place for place, one in enumerate(others) if one.group == group]
        outliers = [place for place in own if others[place].score > 0]
        for tier in (outliers, [place for place in own if others[place].score <= 0]):
            left = share - sum(others[place].group == group for place in chosen)
            if not tier or left < 1:
                continue
            value = np.array([others[place].value for place in tier])
            found = choose_different(
                value, places[tier], left, np.array([*seen, *(places[chosen])])
            )
            chosen += [tier[place] for place in found.tolist()]
    return listed + sorted((others[place] for place in chosen), key=lambda one: -one.score)
