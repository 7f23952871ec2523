"""Print what verbs tell: the one place through which texts reach the terminal.

Texts may come from strangers, such as names in a bundle or a label file, so each is escaped here. A
test refuses other ways to print.
"""

import csv
import io
import logging
import re
from typing import TYPE_CHECKING

import typer

from pipeline_lib.core.untrusted.unseen import escape_unseen

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult

_TABS, _LAYOUT = re.compile(r"(\t)"), re.compile(r"([\n\t])")


def echo(line: object, *, err: bool = False, fg: str | None = None) -> None:
    """Print a line; a line break in it is escaped."""
    _print(_escape_between(_TABS, str(line)), err=err, fg=fg)


def echo_text(text: str, *, err: bool = False, fg: str | None = None) -> None:
    """Print a text of several lines, such as the card of a bundle; its line breaks are kept."""
    _print(escape_text(text).removesuffix("\n"), err=err, fg=fg)


def echo_table(table: str) -> None:
    """Print a TSV, as `pipeline_lib.io.stage_tables.format_table` gives it, with cells escaped.

    It stays a TSV: a cell with a line break is a cell in one line.
    """
    for row in csv.reader(io.StringIO(table, newline=""), delimiter="\t"):
        line = io.StringIO()
        csv.writer(line, delimiter="\t", lineterminator="").writerow(map(escape_unseen, row))
        _print(line.getvalue())


def echo_json(text: str) -> None:
    """Print JSON; characters that nobody sees are written as JSON's escapes."""
    unseen = {one for one in set(text) - set("\n\t") if escape_unseen(one) != one}
    codes = {ord(one): f"\\u{ord(one):04x}" for one in unseen}
    _print(text.translate(codes).removesuffix("\n"))


def escape_text(text: str) -> str:
    """Return a text of several lines with all escaped but line breaks and tabs."""
    return _escape_between(_LAYOUT, text)


def open_console(*, err: bool = False) -> "Console":
    """Return a console of Rich that escapes what is printed, but not its own colours."""
    from rich.console import Console, RenderHook

    class Escape(RenderHook):
        def process_renderables(
            self, renderables: "list[ConsoleRenderable]"
        ) -> "list[ConsoleRenderable]":
            return [_Escaped(one) for one in renderables]

    console = Console(stderr=err)
    console.push_render_hook(Escape())
    return console


class EscapingFormatter(logging.Formatter):
    """Escape a line of the log, whoever wrote it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; several lines of one message stay several."""
        return escape_text(super().format(record))


class _Escaped:
    """Escape whatever is rendered."""

    def __init__(self, inner: "ConsoleRenderable") -> None:
        self._inner = inner

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from rich.segment import Segment

        for segment in console.render(self._inner, options):
            # Control segments are those of Rich itself.
            yield segment if segment.control else Segment(escape_text(segment.text), segment.style)


def _escape_between(kept: re.Pattern[str], text: str) -> str:
    parts = kept.split(text)
    return "".join(part if number % 2 else escape_unseen(part) for number, part in enumerate(parts))


def _print(text: str, *, err: bool = False, fg: str | None = None) -> None:
    typer.secho(text, fg=fg, err=err)
