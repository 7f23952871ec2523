"""Read the fields of a file name by a pattern, such as ``{animal}_{date}_{camera}.mp4``."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline_lib.core.errors import SheetError
from pipeline_lib.core.untrusted.names import find_text_problem
from pipeline_lib.io.video.containers.formats import VIDEO_SUFFIXES

_TOKEN = re.compile(r"\{([^{}]*)\}|([{}])|(\*+)|([^{}*]+)")
_SOME = "*"
# Fields are parts of a name; these columns hold paths.
_PATHS = ("path", "calibration")
_MOST_FIELDS = 30


@dataclass(frozen=True)
class _Field:
    """Name the column that a part of a file name becomes; empty if the part is ignored."""

    name: str


class PatternError(ValueError):
    """Report why a file name does not fit a pattern."""


class FilePattern:
    """Match file names and take their fields.

    A field holds at least one character and no ``/``; ``*`` stands for any characters that are
    not kept. A pattern with ``/`` also matches the names of as many folders. The ending is
    compared without regard to case; a pattern without the ending of a video fits videos of any.

    Parameters
    ----------
    text
        The pattern.

    Raises
    ------
    SheetError
        If it is no pattern.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        problems = list(_find_problems(text))
        if problems:
            raise SheetError(f"pattern {text!r}", problems)
        self._suffix = PurePosixPath(text).suffix
        if self._suffix.lower() not in VIDEO_SUFFIXES:
            self._suffix = ""
        self._parts = [
            list(_split(part)) for part in text.removesuffix(self._suffix).split("/") if part
        ]

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the names of the fields, in order."""
        return tuple(_list_fields(self.text))

    def read(self, path: PurePosixPath) -> dict[str, str]:
        """Return the value of each field of a path.

        Raises
        ------
        PatternError
            If the path does not fit, or fits in more than one way.
        """
        if self._suffix and path.suffix.lower() != self._suffix.lower():
            raise PatternError(f"does not end with {self._suffix}")
        names = [*path.parts[:-1], path.stem][-len(self._parts) :]
        if len(names) < len(self._parts):
            raise PatternError(f"lies in fewer folders than {self.text} names")
        ways: list[tuple[str, ...]] = [()]
        for tokens, name in zip(self._parts, names, strict=True):
            found = _match(tokens, name)
            if not found:
                raise PatternError(f"does not fit {self.text}")
            ways = [(*before, *here) for before in ways for here in found][:2]
        if len(ways) > 1:
            raise PatternError(
                f"fits {self.text} in more than one way ({self._spell(ways[0])}; or "
                f"{self._spell(ways[1])}): name every part of it in the pattern"
            )
        return dict(zip(self.fields, ways[0], strict=True))

    def _spell(self, values: tuple[str, ...]) -> str:
        pairs = zip(self.fields, values, strict=True)
        return ", ".join(f"{name} {value!r}" for name, value in pairs)


def fill_template(text: str, values: Mapping[str, str]) -> str:
    """Put the values of fields into a text, such as ``{animal}-{date}``.

    Raises
    ------
    SheetError
        If it names a field that is not there.
    """
    unknown = [name for name in _list_fields(text) if name not in values]
    if unknown:
        there = ", ".join(values) or "none"
        raise SheetError(
            f"template {text!r}", [f"no field {name!r} (there are: {there})" for name in unknown]
        )
    return re.sub(r"\{([^{}]*)\}", lambda match: values[match[1]], text)


def _list_fields(text: str) -> Iterator[str]:
    return (match[1] for match in _TOKEN.finditer(text) if match[1] is not None)


def _find_problems(text: str) -> Iterator[str]:
    fields = list(_list_fields(text))
    if any(match[2] for match in _TOKEN.finditer(text)):
        yield "has a brace without its other one; write fields as {animal}"
    if not fields:
        yield "has no field, such as {animal}"
    if len(fields) > _MOST_FIELDS:
        yield f"has more than {_MOST_FIELDS} fields"
    if re.search(r"\}\{|\}\*|\*\{", text):
        yield "has fields side by side: put a text between them, or none could tell where one ends"
    for name in dict.fromkeys(fields):
        if problem := find_text_problem(name):
            yield f"field {name!r} {problem}"
        elif name != name.strip():
            yield f"field {name!r} begins or ends with a blank"
        elif name in _PATHS:
            yield f"{{{name}}}: the column `{name}` holds a path, which no part of a name is"
        if fields.count(name) > 1:
            yield f"{{{name}}} is there more than once"


def _split(text: str) -> Iterator[str | _Field]:
    for match in _TOKEN.finditer(text):
        if match[1] is not None:
            yield _Field(match[1])
        elif match[3] is not None:
            yield _Field("")
        else:
            yield match[4]


def _match(tokens: list[str | _Field], text: str) -> list[tuple[str, ...]]:
    """Return the first two ways in which a text fits, as the values of the named fields.

    Positions are advanced token by token, with at most two ways for each, so that no text takes
    longer than the square of its length.
    """
    ends: dict[int, list[tuple[str, ...]]] = {0: [()]}
    for place, token in enumerate(tokens):
        last = place == len(tokens) - 1
        following: dict[int, list[tuple[str, ...]]] = {}
        for start, ways in ends.items():
            for end in _list_ends(token, text, start, last=last):
                kept = following.setdefault(end, [])
                for way in ways:
                    named = isinstance(token, _Field) and token.name
                    new = (*way, text[start:end]) if named else way
                    if new not in kept and len(kept) < 2:
                        kept.append(new)
        ends = following
    return ends.get(len(text), [])


def _list_ends(token: str | _Field, text: str, start: int, *, last: bool) -> range:
    if isinstance(token, str):
        end = start + len(token)
        return range(end, end + text.startswith(token, start))
    # A part that is dropped may be empty.
    first = start + bool(token.name)
    return range(max(first, len(text)) if last else first, len(text) + 1)
