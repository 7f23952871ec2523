"""Settings of several animals in one frame: how many, how they are put together and followed."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline_lib.core.settings.base import (
    Flag,
    Fraction,
    Name,
    NotNegativeInt,
    PositiveInt,
    Settings,
)
from pipeline_lib.core.settings.renamed import name_as_in_keys


class IndividualSettings(Settings):
    """How many animals a video shows, and how they are found."""

    max: PositiveInt = Field(1, description="Most individuals in one frame.")
    names: tuple[Name, ...] = Field(
        (),
        description="Names of the individuals; empty: those of the labels, else `individual1` and "
        "so on.",
    )
    method: Literal["bottom-up", "top-down"] = Field(
        "bottom-up",
        description="With several individuals: `bottom-up` finds all bodyparts and joins those of "
        "each animal along `skeleton.edges`; `top-down` finds the animals by a network of its own "
        "and looks at a window around each (`locating`), and needs no edges.",
    )
    identity: Flag = Field(
        default=False,
        description="Learn to tell the labelled individuals apart by their looks (several "
        "individuals, each with the same name in all labels).",
    )

    @field_validator("names")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("an individual is named twice")
        return names

    @model_validator(mode="after")
    def _check_number(self) -> Self:
        if len(self.names) > self.max:
            raise ValueError(f"names lists {len(self.names)} individuals, but max is {self.max}")
        return self


class AssemblySettings(Settings):
    """Joining located bodyparts into individuals (several individuals).

    Top-down, where a window shows whose they are, only `pcutoff`, `min_keypoints` and `surplus`
    are used.
    """

    graph: Literal["skeleton", "complete"] = Field(
        "skeleton",
        description="Pairs of bodyparts whose part affinity fields are learned: the skeleton's "
        "`edges`, or all pairs, of which those that tell animals apart best are then used.",
    )
    pcutoff: Fraction = Field(0.1, description="Score from which a peak of a map is a keypoint.")
    min_affinity: Fraction = Field(
        0.1, description="Affinity from which two keypoints may belong to one individual."
    )
    min_keypoints: PositiveInt = Field(
        3, description="Individuals with fewer keypoints are left out (at most all bodyparts)."
    )
    surplus: NotNegativeInt = Field(
        4,
        description="Number of individuals beyond `individuals.max` that are located in frames "
        "that show more; tracking then keeps those that are best over the whole video. 0: the best "
        "ones of each frame are kept, and who is kept may change from frame to frame.",
    )

    def result_settings(self, *, top_down: bool = False) -> dict[str, Any]:
        """Return the settings that poses depend on besides the network."""
        exclude = {"graph", "min_affinity"} if top_down else {"graph"}
        return self.model_dump(mode="json", exclude=exclude)


class TrackingSettings(Settings):
    """Following individuals from frame to frame (several individuals).

    Poses that are one animal beyond doubt become tracklets; these are joined to tracks over the
    whole video, at most `individuals.max` at a time.
    """

    similarity: Literal["oks", "ellipse", "centroid"] = Field(
        "oks", description="What is compared: keypoints, ellipses around them, or their centres."
    )
    motion: Literal["kalman", "none"] = Field(
        "kalman", description="Where an individual is expected: by its velocity, or where it was."
    )
    min_similarity: Fraction = Field(
        0.6,
        description="Poses that are less alike than this share of what is usual between frames are "
        "not one tracklet.",
    )
    max_ambiguity: Fraction = Field(
        0.7,
        description="Largest ratio of the second-best similarity to the best one at which a "
        "tracklet continues; above, it ends, and a track that continues nevertheless is flagged as "
        "uncertain there.",
    )
    max_gap: NotNegativeInt = Field(5, description="Longest gap in frames within a tracklet.")
    min_length: PositiveInt = Field(
        5,
        description="A track is made of tracklets of at least so many poses; shorter ones only "
        "fill its gaps, and are taken for false detections elsewhere.",
    )
    max_stitch_gap: PositiveInt = Field(
        250, description="Longest gap in frames across which tracklets are compared and joined."
    )
    segment_frames: PositiveInt = Field(
        2000, description="Frames whose tracklets are made at once; tracks do not depend on it."
    )

    def result_settings(self) -> dict[str, Any]:
        """Return the settings that tracks depend on, by the names that keys contain."""
        return name_as_in_keys("tracking", self.model_dump(mode="json", exclude={"segment_frames"}))
