"""Settings of single videos that differ from those of the cohort."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from pipeline_lib.core.settings.base import Settings

# Sections that a video may have settings of its own in: results of other videos do not depend on
# them.
SECTIONS = ("filtering", "tracking")


class VideoOverride(Settings):
    """Give some videos other settings of `filtering` or `tracking` than the cohort."""

    videos: tuple[str, ...] = Field(description="Names of the videos.")
    filtering: dict[str, Any] = Field(
        {}, description="Keys of `filtering` that differ; the others are those of the cohort."
    )
    tracking: dict[str, Any] = Field({}, description="Keys of `tracking` that differ.")

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        if not self.videos:
            raise ValueError("names no video")
        if not any(getattr(self, name) for name in SECTIONS):
            raise ValueError(f"changes nothing: give keys of {' or '.join(SECTIONS)}")
        return self


def override_section(usual: Settings, given: Mapping[str, Any]) -> Settings:
    """Return a section with some keys changed.

    Raises
    ------
    ValueError
        If a key is unknown or a value is none.
    """
    try:
        return type(usual).model_validate({**usual.model_dump(), **given})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "values"
        raise ValueError(f"{key}: {first['msg'].removeprefix('Value error, ')}") from None
