"""Registry of the criteria of refinement: one record for each, by its name in the config.

To add a criterion, write a module with the functions ``fit``, ``score`` and ``explain`` beside
those in `pipeline_lib.kernels.refinement`, and add its record here. Most criteria judge poses, all
of the cohort. Those that judge score maps see the candidates of the others and a random sample of
the cohort only, because score maps are not stored. Those that judge views see the videos of
sessions, and say nothing of others.
"""

from dataclasses import dataclass
from typing import Literal

_KERNELS = "pipeline_lib.kernels.refinement"


@dataclass(frozen=True)
class Criterion:
    """Describe why a frame may be worth labelling.

    Attributes
    ----------
    about
        Words for the documentation of the settings.
    module
        Module of its functions. A name, because this package imports no kernel.
    judges
        What its functions take: blocks of poses, what the network's score maps show, or distances
        between views of a session.
    needs
        What a run must have for the criterion to find anything; keys of other runs do not depend
        on it.
    """

    about: str
    module: str
    judges: Literal["poses", "score maps", "views"] = "poses"
    needs: Literal["poses", "ensemble", "sessions"] = "poses"


CRITERIA: dict[str, Criterion] = {
    "jump": Criterion("a keypoint moves far between two frames", f"{_KERNELS}.jump"),
    "uncertain": Criterion("confidences are low", f"{_KERNELS}.uncertain"),
    "fitting": Criterion("a keypoint leaves the path of its motion", f"{_KERNELS}.fitting"),
    "skeleton": Criterion(
        "an edge of `skeleton.edges` is too long or too short", f"{_KERNELS}.skeleton"
    ),
    "pose": Criterion("a rare posture", f"{_KERNELS}.pose"),
    "tracks": Criterion("a track is in doubt (several individuals)", f"{_KERNELS}.tracks"),
    "spread": Criterion(
        "the networks of an ensemble disagree", f"{_KERNELS}.spread", needs="ensemble"
    ),
    "peaks": Criterion(
        "a bodypart has more strong peaks than there are animals", f"{_KERNELS}.peaks", "score maps"
    ),
    "views": Criterion(
        "other cameras see a keypoint elsewhere (sessions that are triangulated)",
        f"{_KERNELS}.views",
        "views",
        "sessions",
    ),
}


def find_criterion(name: str) -> Criterion:
    """Return the record of a criterion.

    Raises
    ------
    ValueError
        If no criterion has this name.
    """
    if name not in CRITERIA:
        raise ValueError(f"{name!r} is no criterion; there are {', '.join(CRITERIA)}")
    return CRITERIA[name]
