"""Read YAML of unknown origin: plain values, and no more than settings need.

A few lines of YAML can stand for billions of values (aliases of aliases), or nest so deeply that
readers fail. So the events of a text are counted first, each alias as long as what it repeats;
values are made only of what is within bounds.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline_lib.core.untrusted.regular_files import describe_encoding

# Projects with thousands of videos have one megabyte.
MOST_BYTES = 16 * 2**20
MOST_VALUES = 1_000_000
MOST_LEVELS = 50
# An unquoted number with more digits than this could not be converted to text.
_LONGEST_SAFE = 2048

# The same language; where libyaml is there, ten times as fast.
_SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXTS = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class YamlError(ValueError):
    """Report that a text is not YAML or exceeds the limits, in one line."""


class _StrictLoader(_SAFE):  # type: ignore[misc, valid-type]
    """Refuse a key that occurs twice in a mapping: one of its values would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if name in lines:
                    raise YamlError(
                        f"has the key `{key.value}` twice: lines {lines[name]} and {line}"
                    )
                lines[name] = line
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]


def read_yaml(path: Path, *, texts: bool = False) -> Any:  # noqa: ANN401 - whatever stands there
    """Read a YAML file; see `load_yaml`.

    Raises
    ------
    FileNotFoundError
        If it is missing.
    YamlError
        If it cannot be read, is not YAML in UTF-8, or is beyond the bounds.
    """
    try:
        if path.exists() and not path.is_file():
            raise YamlError("is no regular file")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        return load_yaml(_decode(data), texts=texts)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise YamlError(f"cannot be read: {error.strerror}") from None


def load_yaml(text: str, *, texts: bool = False) -> Any:  # noqa: ANN401
    """Load a YAML text of plain values.

    Parameters
    ----------
    text
        At most 16 MiB, a million values with aliases written out, 50 levels.
    texts
        Leave every value the text that stands there: a bodypart `on` or a scorer `007` is a
        name, not a truth value or a number.

    Raises
    ------
    YamlError
        If it is not YAML, or is beyond the bounds.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise YamlError(f"is larger than {MOST_BYTES // 2**20} MiB")
    loader = _TEXTS if texts else _StrictLoader
    try:
        _check_events(yaml.parse(text, Loader=loader))
        return yaml.load(text, Loader=loader)  # noqa: S506 - makes no objects
    # Dates and numbers that look like some raise ValueError.
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, YamlError):
            raise
        reason = " ".join(str(error).split()).replace('in "<unicode string>", ', "in ")
        if "\t" in text and "cannot start any token" in reason:
            reason += ": indent with blanks, not with tabs"
        raise YamlError(f"is not YAML: {reason}") from None


def check_size(values: Any) -> None:  # noqa: ANN401
    """Refuse values from another loader if they exceed the limits of a settings file.

    Raises
    ------
    YamlError
        If there are more than a million, each counted wherever it is repeated.
    """
    waiting, count = [values], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count > MOST_VALUES:
            raise YamlError(_describe_many())
        if isinstance(value, Mapping):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value


def _decode(data: bytes) -> str:
    if len(data) > MOST_BYTES:
        raise YamlError(f"is larger than {MOST_BYTES // 2**20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlError(f"is not YAML: {describe_encoding(data, error)}") from None


def _check_events(events: Iterator[yaml.Event]) -> None:
    counter = _Counter()
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            counter.open(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            counter.close()
        elif isinstance(event, yaml.AliasEvent):
            counter.repeat(event.anchor)
        elif isinstance(event, yaml.ScalarEvent):
            if event.implicit[0] and len(event.value) > _LONGEST_SAFE:
                raise YamlError(
                    f"has a value of more than {_LONGEST_SAFE} characters: put texts in quotes"
                )
            counter.add(event.anchor, 1)


class _Counter:
    """Count the values as if every alias were expanded."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        # Anchor and number of values of each collection that is open.
        self._levels: list[tuple[str | None, int]] = [(None, 0)]

    def open(self, anchor: str | None) -> None:
        """Begin a collection."""
        if len(self._levels) > MOST_LEVELS:
            raise YamlError(f"is nested in more than {MOST_LEVELS} levels")
        self._levels.append((anchor, 1))

    def close(self) -> None:
        """End the last collection, and count it where it stands."""
        self.add(*self._levels.pop())

    def repeat(self, anchor: str | None) -> None:
        """Count what an alias repeats."""
        if anchor is None or anchor not in self._sizes:
            raise YamlError(f"repeats `*{anchor}` before its end, or without a start")
        self.add(None, self._sizes[anchor])

    def add(self, anchor: str | None, size: int) -> None:
        """Add a number of values to the open collection."""
        if anchor is not None:
            self._sizes[anchor] = size
        outer, so_far = self._levels[-1]
        self._levels[-1] = (outer, so_far + size)
        if so_far + size > MOST_VALUES:
            raise YamlError(_describe_many())


def _describe_many() -> str:
    return f"has more than {MOST_VALUES:,} values (aliases written out): it is not read"
