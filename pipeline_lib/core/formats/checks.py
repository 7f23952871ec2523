"""Registry of the checks of quality: one record for each, by its name in the config.

A check compares one measure of a video with limits: absolute ones, and ones relative to the cohort
(robust z: how many robust standard deviations a value is away from the median of the cohort). To
add a check, measure it in `pipeline_lib.kernels.quality` and add its record here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Worse = Literal["low", "high", "both"]
Remedy = Literal["relabel", "refine", "settings", "drop", "look", ""]
REMEDIES: tuple[str, ...] = tuple(one for one in get_args(Remedy) if one)

# Of videos that ended badly in an earlier stage: it has no limits.
PROCESSED = "processed"


@dataclass(frozen=True)
class Check:
    """Describe what a check measures and when it finds a fault.

    Attributes
    ----------
    about
        Words for the documentation: what is measured.
    unit
        Unit of the measure and of its limits; empty: a share or a ratio.
    worse
        Which values are bad.
    words
        Beginning of the reason, with the value as ``{}``.
    remedy
        What usually helps.
    floor
        Least robust standard deviation: smaller differences within a cohort mean nothing. In the
        unit, or for a logarithmic check the natural logarithm of a ratio.
    relative_floor
        The same as a share of the usual value: where it is large, videos differ anyway.
    logarithmic
        Whether ratios count, not differences.
    percent
        Whether people read the value as percent.
    limits
        Limits that hold unless the config states others, by the names of `CheckSettings`.
    """

    about: str
    unit: str
    worse: Worse
    words: str
    remedy: Remedy
    floor: float
    relative_floor: float = 0.0
    logarithmic: bool = False
    percent: bool = False
    limits: Mapping[str, float] = field(default_factory=dict)


CHECKS: dict[str, Check] = {
    "detection": Check(
        "share of the keypoints that are found in decoded frames (confidence of at least "
        "`quality.pcutoff`); of several individuals, of as many as are usually seen",
        "",
        "low",
        "{} of the keypoints are found",
        "refine",
        0.05,
        percent=True,
        limits={"warn_below": 0.4, "fail_below": 0.1, "warn_z": 6},
    ),
    "confidence": Check(
        "mean confidence of the keypoints of individuals that are found",
        "",
        "low",
        "the mean confidence is {}",
        "refine",
        0.04,
        limits={"warn_below": 0.2, "warn_z": 6},
    ),
    "jumps": Check(
        "share of the steps from a frame to the next in which a keypoint moves farther than the "
        "body is large",
        "",
        "high",
        "{} of the steps of keypoints are jumps",
        "relabel",
        0.01,
        percent=True,
        limits={"warn_above": 0.1, "fail_above": 0.4, "warn_z": 8},
    ),
    "bone_spread": Check(
        "robust relative standard deviation of the lengths of `skeleton.edges`, the median edge",
        "",
        "high",
        "lengths of the skeleton's edges vary by {}",
        "relabel",
        0.03,
        percent=True,
        limits={"warn_z": 6},
    ),
    "body_size": Check(
        "size of the body: twice the root mean square distance of keypoints from their centre",
        "px",
        "both",
        "the body measures {} px",
        "look",
        0.1,
        logarithmic=True,
        limits={"warn_z": 6},
    ),
    "proportions": Check(
        "how much the lengths of edges, relative to the body, differ from the usual ones of the "
        "cohort: root mean square of the logarithms of their ratios",
        "",
        "high",
        "proportions of the body differ by {} from those of the cohort",
        "look",
        0.025,
        percent=True,
        limits={"warn_z": 6},
    ),
    "animals": Check(
        "mean number of individuals in a frame (several individuals)",
        "",
        "both",
        "{} individuals are seen in a frame on average",
        "look",
        0.3,
        limits={"warn_z": 6},
    ),
    "identity": Check(
        "exchanges of individuals per minute to be expected from the places in doubt (several "
        "individuals)",
        "1/min",
        "high",
        "places in doubt let {} exchanges of individuals per minute be expected",
        "relabel",
        0.5,
        limits={"warn_z": 6},
    ),
    "exchanges": Check(
        "places at which the tracks of two individuals fit better if they are exchanged (several "
        "individuals)",
        "",
        "high",
        "the number of places at which tracks fit better if they are exchanged is {}",
        "relabel",
        1.0,
        limits={"warn_above": 0},
    ),
    "missing_frames": Check(
        "share of the frames that the file lacks or that cannot be decoded",
        "",
        "high",
        "{} of the frames are missing or cannot be decoded",
        "look",
        0.005,
        percent=True,
        limits={"warn_above": 0.01, "fail_above": 0.2},
    ),
    "duration": Check(
        "duration of the video",
        "s",
        "both",
        "the video lasts {} s",
        "look",
        0.1,
        logarithmic=True,
        limits={"warn_z": 8},
    ),
    "frame_rate": Check(
        "frames per second",
        "1/s",
        "both",
        "the video has {} frames per second",
        "look",
        0.02,
        logarithmic=True,
        limits={"warn_z": 8},
    ),
    "frame_size": Check(
        "share of the cohort that has frames of another size",
        "",
        "high",
        "frames have another size than those of {} of the cohort",
        "look",
        0.0,
        percent=True,
        limits={"warn_above": 0.79},
    ),
    "brightness": Check(
        "mean grey value of the quarter of the video that differs most from the cohort, 0..1",
        "",
        "both",
        "the brightness is {}",
        "look",
        0.1,
        logarithmic=True,
        limits={"fail_below": 0.02, "warn_z": 5},
    ),
    "focus": Check(
        "sharpness of the least sharp quarter of the video: fine structure relative to contrast",
        "",
        "low",
        "the sharpness is {}",
        "look",
        0.15,
        logarithmic=True,
        limits={"warn_z": 5},
    ),
    "view": Check(
        "how much the view differs from the most similar quarter of the cohort, in the half of the "
        "video in which it does more: 1 - correlation of small grey images, 0..2",
        "",
        "high",
        "the view differs by {} from those of the cohort",
        "look",
        0.02,
        relative_floor=0.15,
        limits={"warn_z": 7},
    ),
    "frozen": Check(
        "share of the frames within stretches of a second or more in which no keypoint moves at "
        "all, as in a video that stands still",
        "",
        "high",
        "in {} of the frames the video stands still",
        "drop",
        0.02,
        percent=True,
        limits={"warn_above": 0.2, "fail_above": 0.5},
    ),
    "movement": Check(
        "way of an individual per minute in body sizes, by its usual place in each second; of "
        "videos of 30 seconds or more",
        "1/min",
        "low",
        "an individual moves {} body sizes per minute",
        "look",
        0.5,
        logarithmic=True,
        limits={"warn_below": 0.2, "warn_z": 6},
    ),
}
