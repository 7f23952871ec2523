"""Define the settings of several animals in one frame: number, assembly and tracking."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline_lib.core.settings.base import (
    WHOLE,
    Flag,
    Fraction,
    Name,
    NotNegativeInt,
    PositiveInt,
    Settings,
)
from pipeline_lib.core.settings.renamed import name_as_in_keys


class IndividualSettings(Settings):
    """Set the number of animals in a video and the method that finds them."""

    max: Annotated[int, Field(ge=1, le=1000), WHOLE] = Field(
        1, description="Largest number of individuals in one frame."
    )
    names: tuple[Name, ...] = Field(
        (),
        description="Names of the individuals; empty: those in the labels, else `individual1` and "
        "so on.",
    )
    method: Literal["bottom-up", "top-down"] = Field(
        "bottom-up",
        description="With several individuals: `bottom-up` finds all bodyparts and joins those of "
        "each animal along `skeleton.edges`; `top-down` locates the animals with a second "
        "network, predicts in a window around each (`locating`), and needs no edges.",
    )
    identity: Flag = Field(
        default=False,
        description="Learn to recognise the labelled individuals by their appearance (several "
        "individuals, each with the same name in all labels).",
    )

    @field_validator("names")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"names lists {twice!r} twice: give each individual a name of its own")
        return names

    @model_validator(mode="after")
    def _check_number(self) -> Self:
        if len(self.names) > self.max:
            raise ValueError(f"names lists {len(self.names)} individuals, but max is {self.max}")
        return self


class AssemblySettings(Settings):
    """Assemble located bodyparts into individuals (several individuals).

    Top-down, where each window shows one animal, only `pcutoff`, `min_confidence`,
    `min_keypoints` and `surplus` are used.
    """

    graph: Literal["skeleton", "complete"] = Field(
        "skeleton",
        description="Pairs of bodyparts whose part affinity fields are learned: `skeleton` (the "
        "skeleton's `edges`) or `complete` (all pairs, of which those that separate "
        "animals best are then used).",
    )
    pcutoff: Fraction = Field(
        0.1,
        description="Confidence that `min_keypoints` keypoints of an individual must have. "
        "Bottom-up, only peaks of this score are linked; weaker ones fill gaps.",
    )
    min_confidence: Fraction = Field(
        0.02,
        description="Keypoints of an individual that have a lower confidence are left out. A value "
        "above `pcutoff` has the effect of `pcutoff`.",
    )
    min_affinity: Fraction = Field(
        0.1, description="Lowest affinity of two keypoints of one individual."
    )
    min_keypoints: PositiveInt = Field(
        3, description="Individuals with fewer keypoints are left out (at most all bodyparts)."
    )
    surplus: NotNegativeInt = Field(
        4,
        description="Number of individuals beyond `individuals.max` that are located in crowded "
        "frames; tracking then keeps the best tracks of the whole video. 0: each frame keeps its "
        "best individuals, which may change from frame to frame.",
    )

    @property
    def lowest_confidence(self) -> float:
        """Confidence below which keypoints are left out."""
        return min(self.min_confidence, self.pcutoff)

    def result_settings(self, *, top_down: bool = False) -> dict[str, Any]:
        """Return the settings that poses depend on besides the network."""
        exclude = {"graph", "min_affinity"} if top_down else {"graph"}
        return self.model_dump(mode="json", exclude=exclude)


class TrackingSettings(Settings):
    """Track individuals from frame to frame (several individuals).

    Poses that clearly belong to one animal become tracklets; these are joined into tracks over
    the whole video, at most `individuals.max` at a time.
    """

    similarity: Literal["oks", "ellipse", "centroid"] = Field(
        "oks",
        description="Basis of the similarity of two poses: `oks` (keypoints), `ellipse` (ellipses "
        "around them) or `centroid` (their centres).",
    )
    motion: Literal["kalman", "none"] = Field(
        "kalman",
        description="Motion model that predicts the next position: `kalman` (a Kalman filter with "
        "velocity) or `none` (the last position).",
    )
    min_similarity: Fraction = Field(
        0.6,
        description="Smallest similarity of successive poses of one tracklet, as a share of the "
        "usual similarity between frames.",
    )
    max_ambiguity: Fraction = Field(
        0.7,
        description="Largest ratio of the second-best similarity to the best one at which a "
        "tracklet continues. Above it the tracklet ends; a track that continues there "
        "is flagged as uncertain.",
    )
    max_gap: NotNegativeInt = Field(5, description="Longest gap in frames within a tracklet.")
    min_length: PositiveInt = Field(
        5,
        description="Smallest number of poses with which a tracklet can be part of a track; shorter"
        " tracklets only fill gaps, and elsewhere count as false detections.",
    )
    max_stitch_gap: PositiveInt = Field(
        250, description="Longest gap in frames across which tracklets are compared and joined."
    )
    segment_frames: PositiveInt = Field(
        2000, description="Frames in a segment of tracking; tracks do not depend on it."
    )

    def result_settings(self) -> dict[str, Any]:
        """Return the settings that tracks depend on, by the names that keys contain."""
        return name_as_in_keys("tracking", self.model_dump(mode="json", exclude={"segment_frames"}))
