"""What all settings have in common."""

import os
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
Seed = Annotated[int, Field(ge=0)]
# A path; a leading ~ is the home folder.
PathText = Annotated[str, AfterValidator(os.path.expanduser)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]


class Settings(BaseModel):
    """Frozen settings that reject unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def check_region(crop: tuple[int, int, int, int] | None) -> None:
    """Raise `ValueError` unless x1, x2, y1, y2 enclose a region; None is the whole frame."""
    if crop is not None:
        x1, x2, y1, y2 = crop
        if min(x1, y1) < 0 or x1 >= x2 or y1 >= y2:
            raise ValueError(f"crop {list(crop)} must be x1 < x2, y1 < y2, none negative")
