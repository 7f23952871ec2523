"""Settings of single videos that differ from those of the cohort."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from pipeline_lib.core.settings.base import Settings

# Sections that a video may have settings of its own in: results of other videos do not depend on
# them.
SECTIONS = ("inference", "filtering", "tracking")
# Of some sections, these keys alone: others are of the machine, or of the network.
_KEYS = {"inference": ("crop",)}


class VideoOverride(Settings):
    """Give some videos other settings of `inference`, `filtering`, `tracking` than the cohort."""

    videos: tuple[str, ...] = Field(description="Names of the videos.")
    inference: dict[str, Any] = Field(
        {}, description="`crop`, if it differs: the part of the frames that is predicted."
    )
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


def list_keys(section: str, usual: Settings) -> tuple[str, ...]:
    """Return the keys of a section that may differ between videos."""
    return _KEYS.get(section, tuple(type(usual).model_fields))


def override_section(section: str, usual: Settings, given: Mapping[str, Any]) -> Settings:
    """Return a section with some keys changed.

    Raises
    ------
    ValueError
        If a key is unknown, or cannot differ between videos, or a value is none.
    """
    fixed = [name for name in given if name not in list_keys(section, usual)]
    if fixed and fixed[0] in type(usual).model_fields:
        known = ", ".join(list_keys(section, usual))
        raise ValueError(f"{fixed[0]}: holds for all videos; {known} may differ between them")
    own = usual.model_dump(include=set(list_keys(section, usual)))
    try:
        checked = type(usual).model_validate({**own, **given})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "values"
        raise ValueError(f"{key}: {first['msg'].removeprefix('Value error, ')}") from None
    return usual.model_copy(update={name: getattr(checked, name) for name in given})
