"""What all settings have in common."""

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipeline_lib.core.names import LONGEST_NAME, NAME_PATTERN, check_name

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
Seed = Annotated[int, Field(ge=0)]
Name = Annotated[
    str, Field(pattern=NAME_PATTERN, max_length=LONGEST_NAME), AfterValidator(check_name)
]


def _expand_home(text: str) -> str:
    if "\0" in text:
        raise ValueError("a path has no NUL character")
    # Path.expanduser raises where a container's user has no home.
    return os.path.expanduser(text)  # noqa: PTH111


# A path; a leading ~ is the home folder.
PathText = Annotated[str, AfterValidator(_expand_home)]


class Settings(BaseModel):
    """Frozen settings that reject unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def check_region(crop: tuple[int, int, int, int] | None) -> None:
    """Raise `ValueError` unless x1, x2, y1, y2 enclose a region; None is the whole frame."""
    if crop is not None:
        x1, x2, y1, y2 = crop
        if min(x1, y1) < 0 or x1 >= x2 or y1 >= y2:
            raise ValueError(f"crop {list(crop)} must be x1 < x2, y1 < y2, none negative")


def refuse_unprintable(values: Any) -> Any:  # noqa: ANN401 - what YAML may hold
    """Return settings unchanged whose texts are all of one line.

    Raises
    ------
    ValueError
        If a value, a key or an item, however deep, has a line break or another character that is
        not printable: what becomes a line of a script must not become two.
    """
    for where, text in _list_texts(values, ""):
        if not text.isprintable():
            raise ValueError(
                f"{f'`{where}`' if where else 'a key'} must be one line of printable characters, "
                f"found {text!r}"
            )
    return values


def _list_texts(values: Any, where: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """Yield every text in nested values with the key that leads to it; a key itself with none."""
    if isinstance(values, str):
        yield where, values
    elif isinstance(values, bytes | bytearray):
        yield where, values.decode("latin-1")
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield "", str(key)
            yield from _list_texts(value, f"{where}.{key}" if where else str(key))
    elif isinstance(values, list | tuple | set | frozenset):
        for number, value in enumerate(values):
            yield from _list_texts(value, f"{where}[{number}]")
