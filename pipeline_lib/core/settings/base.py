"""Define the types and checks that all settings share."""

import math
import numbers
import os
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
)

from pipeline_lib.core.untrusted.credentials import show_address
from pipeline_lib.core.untrusted.names import LONGEST_NAME, NAME_PATTERN, check_name

# Texts of numbers and truth values count as these: YAML reads `1e-3` as text, and Snakemake reads
# every value within `--config "section={key: value}"` as text.
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_TRUTHS = {"true": True, "false": False}
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def _require_integer(value: object) -> int:
    """Return an integer; neither `true` nor `3.0` is one."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ValueError("expected a whole number")  # noqa: TRY004 - pydantic reports it
    return int(value)


def _require_number(value: object) -> float:
    """Return a finite number; `true` is none."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError("expected a number")  # noqa: TRY004
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("expected a finite number")
    return number


def _read_truth(value: object) -> object:
    """Return the truth value that a text spells; everything else unchanged."""
    return _TRUTHS.get(value.lower(), value) if isinstance(value, str) else value


# Every number and truth value among the settings is a type below or has one of these validators,
# after its limits: a bare `int`, `float` or `bool` accepts values of the others, and texts. A test
# checks all of them.
WHOLE = BeforeValidator(_require_integer)
FINITE = BeforeValidator(_require_number)

Flag = Annotated[bool, Field(strict=True), BeforeValidator(_read_truth)]
Integer = Annotated[int, WHOLE]
Fraction = Annotated[float, Field(ge=0.0, le=1.0), FINITE]
PositiveInt = Annotated[int, Field(ge=1), WHOLE]
NotNegativeInt = Annotated[int, Field(ge=0), WHOLE]
PositiveFloat = Annotated[float, Field(gt=0.0), FINITE]
NotNegativeFloat = Annotated[float, Field(ge=0.0), FINITE]
# What NumPy, PyTorch, scikit-learn and pandas all take.
Seed = Annotated[int, Field(ge=0, lt=2**32), WHOLE]
Region = tuple[Integer, Integer, Integer, Integer]  # x1, x2, y1, y2 in px
Name = Annotated[
    str, Field(pattern=NAME_PATTERN, max_length=LONGEST_NAME), AfterValidator(check_name)
]

# The value of a setting that the labels decide: see `pipeline_lib.core.settings.chosen`.
Auto = Literal["auto"]
AUTO: Final[Auto] = "auto"
# Messages about a setting leave this part of its place out.
FIXED: Final = "fixed value"


def _tell_auto(value: object) -> str:
    return AUTO if value == AUTO else FIXED


T = TypeVar("T")
# Told apart by the value, so that a wrong one gives one message instead of one for each type.
OrAuto = Annotated[Annotated[T, Tag(FIXED)] | Annotated[Auto, Tag(AUTO)], Discriminator(_tell_auto)]


def _expand_home(text: str) -> str:
    if "\0" in text:
        raise ValueError("a path has no NUL character")
    # Path.expanduser raises where a container's user has no home.
    return os.path.expanduser(text)  # noqa: PTH111


def _check_results(text: str) -> str:
    """Refuse a folder that contains more than results: its files could be removed."""
    if not text.strip():
        raise ValueError("names no folder: expected one for the results alone, such as `results`")
    folder = os.path.realpath(text)
    home = os.path.expanduser("~")  # noqa: PTH111 - a container's user may have no home
    for place, what in (
        (os.path.realpath(home), "your home folder"),
        (os.path.realpath("."), "the working directory"),
    ):
        if folder == place:
            raise ValueError(f"is {what}: expected a folder for the results alone: {_NAME_ONE}")
        if _is_above(folder, place):
            raise ValueError(f"holds {what}: expected a folder for the results alone: {_NAME_ONE}")
    return text


def _is_above(folder: str, place: str) -> bool:
    return os.path.commonpath([folder, place]) == folder


_NAME_ONE = "name one below, such as `results`"

# A path; a leading ~ is the home folder.
PathText = Annotated[str, AfterValidator(_expand_home)]
# Settings are written, hashed and published as JSON, in which addresses have no query.
SHOWN = PlainSerializer(show_address, return_type=str, when_used="json")
# A folder that the workflow fills and prunes.
ResultsText = Annotated[PathText, AfterValidator(_check_results)]


class Settings(BaseModel):
    """Hold frozen settings that reject unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def check_region(crop: Region | None) -> None:
    """Raise `ValueError` unless x1, x2, y1, y2 enclose a region; None is the whole frame."""
    if crop is not None:
        x1, x2, y1, y2 = crop
        if min(x1, y1) < 0 or x1 >= x2 or y1 >= y2:
            raise ValueError(f"crop {list(crop)} must be x1 < x2, y1 < y2, none negative")


def refuse_unprintable(values: Any) -> Any:  # noqa: ANN401 - what YAML may hold
    """Return settings unchanged if each text in them is one printable line.

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
    """Yield every text in nested values with its key; a key itself comes without one."""
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
