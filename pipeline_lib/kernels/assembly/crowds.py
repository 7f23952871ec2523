"""Frames that show more animals than there are meant to be.

They are put together with room for some more, so that who is kept can be chosen over the whole
video. Other frames are put together as if there were no such room: a false peak is no animal.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.assembly.assemble import Assemblies, assemble_individuals
from pipeline_lib.kernels.assembly.selection import AssemblyRules


def find_crowds(confidence: NDArray[np.floating], individuals: int) -> NDArray[np.bool_]:
    """Find the frames in which at least half of the bodyparts have more peaks than individuals.

    Parameters
    ----------
    confidence
        Shape (frame, keypoint, peak); NaN where there is no peak.
    individuals
        Most animals that there are meant to be.

    Returns
    -------
    ndarray
        Shape (frame,), bool.
    """
    more = np.isfinite(confidence).sum(axis=-1) > individuals
    keypoints = confidence.shape[1]
    return np.asarray(2 * more.sum(axis=1) >= max(keypoints, 1))


def assemble_crowds(  # noqa: PLR0913 - what is known of peaks, and the rules
    position: NDArray[np.floating],
    confidence: NDArray[np.floating],
    affinity: NDArray[np.floating],
    edges: Sequence[tuple[int, int]],
    rules: AssemblyRules,
    *,
    surplus: int,
    spare: int,
) -> Assemblies:
    """Put peaks together to individuals, in crowds to some more than there are meant to be.

    Parameters
    ----------
    position, confidence, affinity, edges
        As for `pipeline_lib.kernels.assembly.assemble.assemble_individuals`; the peaks of each
        bodypart are best first.
    rules
        What individuals are made of; ``individuals`` are meant to be there.
    surplus
        So many more are found in crowds, see `find_crowds`.
    spare
        Peaks of a bodypart beyond one for each individual that are looked at in other frames.

    Returns
    -------
    Assemblies
        With ``individuals + surplus`` places. Frames that are no crowds have the individuals that
        they have without surplus.
    """
    usual = slice(0, rules.individuals + spare)
    found = assemble_individuals(
        position[:, :, usual],
        confidence[:, :, usual],
        affinity[:, :, usual, usual],
        edges,
        rules,
    )
    if not surplus:
        return found
    crowded = np.flatnonzero(find_crowds(confidence, rules.individuals))
    places = ((0, 0), (0, surplus))
    room = Assemblies(
        np.pad(found.position, (*places, (0, 0), (0, 0)), constant_values=np.nan),
        np.pad(found.confidence, (*places, (0, 0))),
        np.pad(found.score, places, constant_values=np.nan),
    )
    if crowded.size:
        more = assemble_individuals(
            position[crowded],
            confidence[crowded],
            affinity[crowded],
            edges,
            replace(rules, individuals=rules.individuals + surplus),
        )
        for values, others in zip(room, more, strict=True):
            values[crowded] = others
    return room
