"""Assemble frames that show more animals than expected.

Such frames are assembled with room for additional individuals, so that the animals to keep can be
chosen over the whole video. All other frames are assembled without that room, in which a false peak
might become an animal.
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
        Expected number of animals.

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
    """Assemble peaks into individuals, with additional individuals in crowds.

    Parameters
    ----------
    position, confidence, affinity, edges
        As for `pipeline_lib.kernels.assembly.assemble.assemble_individuals`; the peaks of each
        bodypart are best first.
    rules
        Rules of assembly; ``individuals`` is the expected number.
    surplus
        Number of additional individuals in crowds, see `find_crowds`.
    spare
        Number of peaks of a bodypart, beyond one for each individual, that are used in other
        frames.

    Returns
    -------
    Assemblies
        Of ``individuals + surplus`` individuals. In frames that are no crowds the last ones are
        missing.
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
    # Weak peaks, which make no individuals, make no crowd either.
    sure = np.where(confidence >= rules.pcutoff, confidence, np.nan)
    crowded = np.flatnonzero(find_crowds(sure, rules.individuals))
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
