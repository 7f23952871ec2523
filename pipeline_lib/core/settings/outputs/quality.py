"""Settings of quality: which videos pass, and which do not."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from pipeline_lib.core.formats.checks import CHECKS
from pipeline_lib.core.settings.base import (
    FINITE,
    WHOLE,
    Flag,
    Fraction,
    PathText,
    PositiveFloat,
    PositiveInt,
    Settings,
)

_Number = Annotated[float, FINITE]


class CheckSettings(Settings):
    """Set limits by the name of a check, such as `{warn_below: 0.8}` for `detection`.

    They hold over those of the [reference](../docs/reference/quality.md). null turns a limit, or a
    whole check, off.
    """

    warn_below: _Number | None = Field(None, description="Smaller values warn.")
    warn_above: _Number | None = Field(None, description="Greater values warn.")
    fail_below: _Number | None = Field(None, description="Smaller values fail.")
    fail_above: _Number | None = Field(None, description="Greater values fail.")
    warn_z: PositiveFloat | None = Field(
        None,
        description="Robust standard deviations from the median of the cohort, to the bad side, "
        "from which a value warns.",
    )
    fail_z: PositiveFloat | None = Field(None, description="The same from which it fails.")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        for low, high in (("warn_below", "warn_above"), ("fail_below", "fail_above")):
            below, above = getattr(self, low), getattr(self, high)
            if below is not None and above is not None and below > above:
                raise ValueError(f"{low} ({below:g}) is above {high} ({above:g})")
        if None not in (self.warn_z, self.fail_z) and self.fail_z < self.warn_z:  # type: ignore[operator]
            raise ValueError(f"fail_z ({self.fail_z:g}) is below warn_z ({self.warn_z:g})")
        return self


_LIMITS = {name: CheckSettings(**check.limits) for name, check in CHECKS.items()}


def _merge_limits(given: Any) -> Any:  # noqa: ANN401 - pydantic's input
    """Put stated limits over those that hold without; a check that is null has none."""
    if not isinstance(given, Mapping):
        return given
    unknown = [str(name) for name in given if name not in CHECKS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no check; there are {', '.join(CHECKS)}")
    merged: dict[str, Any] = {}
    for name, usual in _LIMITS.items():
        stated = given.get(name, {})
        if stated is None:
            merged[name] = CheckSettings()
        elif isinstance(stated, Mapping):
            merged[name] = {**usual.model_dump(), **stated}
        else:
            merged[name] = stated
    return merged


class QualitySettings(Settings):
    """Judge each video: pass, warn or fail, with reasons."""

    enabled: Flag = Field(default=False, description="Judge the videos in each run.")
    pcutoff: Fraction = Field(
        0.4, description="Keypoints of this confidence or more count as found."
    )
    samples: Annotated[int, Field(ge=0, le=200), WHOLE] = Field(
        12,
        description="Frames of each video whose brightness, sharpness and view are measured; 0: "
        "none, and no video is opened.",
    )
    group: str | None = Field(
        None,
        description="Column of the cohort sheet: videos are compared with those that have the same "
        "value there. null: `camera`, if the sheet has it, else with the whole cohort.",
    )
    min_videos: PositiveInt = Field(
        8,
        description="Fewest videos that a video is compared with; in smaller groups only absolute "
        "limits hold.",
    )
    decisions: PathText = Field(
        "quality_decisions.tsv",
        description="Table of the decisions of people, which override the rules: `video`, "
        "`decision` (pass, warn, fail, drop), `name`, `date`, `reason`. It may be absent, and "
        "belongs to the project; `cohortpose rerun` adds to it.",
    )
    limits: Annotated[
        dict[str, CheckSettings],
        WithJsonSchema(
            {
                "type": "object",
                "propertyNames": {"enum": list(CHECKS)},
                "additionalProperties": {
                    "anyOf": [
                        {
                            "type": "object",
                            "properties": {
                                name: {"anyOf": [{"type": "number"}, {"type": "null"}]}
                                for name in CheckSettings.model_fields
                            },
                            "additionalProperties": False,
                        },
                        {"type": "null"},
                    ]
                },
            }
        ),
    ] = Field(
        dict[str, CheckSettings](),
        validate_default=True,
        description="Limits by the name of a check, over those of `docs/reference/quality.md`; "
        "null turns a limit, or a whole check, off.",
    )

    @field_validator("limits", mode="before")
    @classmethod
    def _fill_limits(cls, given: Any) -> Any:  # noqa: ANN401
        return _merge_limits(given)

    def measure_settings(self) -> dict[str, Any]:
        """Return the settings that the measures of a video depend on."""
        return self.model_dump(mode="json", include={"pcutoff", "samples"})

    def decision_settings(self) -> dict[str, Any]:
        """Return the settings that decisions depend on, besides the measures."""
        shown = self.model_dump(mode="json", include={"group", "min_videos"})
        limits = {name: one.model_dump(exclude_none=True) for name, one in self.limits.items()}
        return {**shown, "limits": limits}
