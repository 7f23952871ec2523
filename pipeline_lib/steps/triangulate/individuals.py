"""Find the slot that each individual has in each view, at each moment."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.geometry.sessions.moments import NO_FRAME, Moments
from pipeline_lib.steps.triangulate.views import Rig

NO_SLOT = -1


class Matched(NamedTuple):
    """Hold which slots of the views are which individual.

    Attributes
    ----------
    names
        Of the individuals.
    slots
        Shape (moment, camera, individual), int16: slot in the camera's poses; -1: none.
    status
        Shape (moment, individual), uint8, values of `TrackStatus`; None: one animal.
    report
        JSON-like record.
    """

    names: tuple[str, ...]
    slots: NDArray[np.int16]
    status: NDArray[np.uint8] | None
    report: dict[str, Any]


def match_by_name(rig: Rig, moments: Moments) -> Matched:
    """Match the individuals of the same name; the only one of every view needs no name."""
    own = [view.poses.individuals for view in rig.views]
    if all(len(names) == 1 for names in own):
        same = set(own)
        names = own[0] if len(same) == 1 else ("animal",)
        own = [names] * len(own)
    names = tuple(dict.fromkeys(name for view in own for name in view))
    slots = np.full((*moments.frames.shape, len(names)), NO_SLOT, np.int16)
    for camera, known in enumerate(own):
        has = moments.frames[:, camera] != NO_FRAME
        for place, name in enumerate(names):
            if name in known:
                slots[has, camera, place] = known.index(name)
    return Matched(names, slots, None, {"method": "names"})
