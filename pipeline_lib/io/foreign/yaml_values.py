"""Replace values of ruamel.yaml in pickles by plain numbers, texts and containers.

DeepLabCut reads its config with ruamel.yaml, whose values keep how they were written, and
pickles some of them. The classes here take their place: nothing of ruamel.yaml is imported, and
what the values keep (comments, anchors, quotes) is dropped.
"""

from collections.abc import Iterable
from typing import Any, Self

from pipeline_lib.io.foreign.pickle_bounds import check_key

_PACKAGES = ("ruamel.yaml", "ruamel_yaml")
# ruamel.yaml may make times of these.
_TIMES = ("date", "datetime", "time", "timedelta", "timezone")


class _WithoutMemory:
    """Drop the state that comes with a value."""

    def __setstate__(self, state: object) -> None:
        """Drop the state."""


class Number(_WithoutMemory, float):
    """Replace a number with a decimal point."""

    def __new__(cls, value: float) -> Self:
        """Take one number."""
        return super().__new__(cls, value)


class WholeNumber(_WithoutMemory, int):
    """Replace a whole number, or 0 and 1 for false and true."""

    def __new__(cls, value: int) -> Self:
        """Take one number; one that is too large for a key of a mapping is refused."""
        number = super().__new__(cls, value)
        check_key(int(number))
        return number


class Text(_WithoutMemory, str):
    """Replace a text."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Take one text; bytes with the name of a codec are not decoded."""
        return super().__new__(cls, value)


class Mapping(_WithoutMemory, dict[Any, Any]):
    """Replace a mapping."""

    def __init__(self, pairs: Iterable[Any] = ()) -> None:
        """Take pairs of a key and a value."""
        pairs = list(pairs)
        for key, _ in pairs:
            check_key(key)
        super().__init__(pairs)


class Sequence(_WithoutMemory, list[Any]):
    """Replace a list."""


class Dropped(_WithoutMemory):
    """Replace anything else: the style of a value, or a kind of value that is not needed."""

    def __new__(cls, *_arguments: object) -> Self:
        """Drop the arguments."""
        return super().__new__(cls)

    def __init__(self, *_arguments: object) -> None:
        """Drop the arguments."""

    def __setitem__(self, key: object, value: object) -> None:
        """Drop an item of a mapping."""

    def append(self, item: object) -> None:
        """Drop an item of a list."""


_CLASSES: dict[tuple[str, str], type] = {
    ("scalarfloat", "ScalarFloat"): Number,
    ("scalarfloat", "ExponentialFloat"): Number,
    ("scalarfloat", "ExponentialCapsFloat"): Number,
    ("scalarint", "ScalarInt"): WholeNumber,
    ("scalarint", "BinaryInt"): WholeNumber,
    ("scalarint", "OctalInt"): WholeNumber,
    ("scalarint", "HexInt"): WholeNumber,
    ("scalarint", "HexCapsInt"): WholeNumber,
    ("scalarint", "DecimalInt"): WholeNumber,
    ("scalarbool", "ScalarBoolean"): WholeNumber,
    ("scalarstring", "ScalarString"): Text,
    ("scalarstring", "PlainScalarString"): Text,
    ("scalarstring", "LiteralScalarString"): Text,
    ("scalarstring", "FoldedScalarString"): Text,
    ("scalarstring", "SingleQuotedScalarString"): Text,
    ("scalarstring", "DoubleQuotedScalarString"): Text,
    ("scalarstring", "JustText"): Text,
    ("comments", "CommentedMap"): Mapping,
    ("comments", "CommentedOrderedMap"): Mapping,
    ("comments", "CommentedSeq"): Sequence,
    ("compat", "ordereddict"): Mapping,
}


def find_yaml_class(module: str, name: str) -> type | None:
    """Return the replacement for a class of ruamel.yaml or of a time.

    Parameters
    ----------
    module, name
        As a pickle has them; they are compared, never imported.

    Returns
    -------
    type or None
        None if the class is of another package.
    """
    if module == "datetime" and name in _TIMES:
        return Dropped
    package, _, rest = module.rpartition(".")
    if module not in _PACKAGES and package not in _PACKAGES:
        return None
    return _CLASSES.get((rest, name), Dropped)
