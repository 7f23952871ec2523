"""Settings of the choice of frames that are worth labelling next."""

from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator

from pipeline_lib.core.formats.criteria import CRITERIA, find_criterion
from pipeline_lib.core.settings.base import (
    Flag,
    Fraction,
    NotNegativeFloat,
    PathText,
    PositiveInt,
    Seed,
    Settings,
)


def _check_criterion(name: str) -> str:
    find_criterion(name)
    return name


CriterionName = Annotated[
    str,
    AfterValidator(_check_criterion),
    WithJsonSchema({"enum": list(CRITERIA), "type": "string"}),
]


class RefinementSettings(Settings):
    """Choose the frames of the whole cohort on which the network fails."""

    enabled: Flag = Field(default=False, description="Choose and write frames in each run.")
    frames: PositiveInt = Field(200, description="Frames to choose from the whole cohort.")
    criteria: tuple[CriterionName, ...] = Field(
        tuple(CRITERIA),
        description="Why a frame may be chosen. "
        + "; ".join(f"`{name}`: {one.about}" for name, one in CRITERIA.items())
        + ".",
    )
    frame_list: PathText | None = Field(
        None,
        description="Table (TSV) of frames that are chosen before all others: columns `video` and "
        "`frame`, counted from 0.",
    )
    pcutoff: Fraction = Field(
        0.4,
        description="Keypoints below this confidence count as not found, except for `uncertain`.",
    )
    min_gap: NotNegativeFloat = Field(
        1.0, description="Shortest time in seconds between two chosen frames of one video."
    )
    group: str | None = Field(
        None,
        description="Column of the cohort sheet, e.g. `camera`, over whose values the frames are "
        "spread; null: over videos only.",
    )
    seed: Seed = Field(0, description="Seed of the sample and of the clusters.")

    @property
    def judges_views_alone(self) -> bool:
        """Tell whether all criteria need the views of sessions."""
        judged = {find_criterion(name).judges for name in self.criteria}
        return judged == {"views"}

    @field_validator("criteria")
    @classmethod
    def _check_criteria(cls, criteria: tuple[str, ...]) -> tuple[str, ...]:
        twice = next((name for name in criteria if criteria.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"names {twice!r} twice: name each criterion once")
        return criteria
