"""Telling people and scripts what `verify` found."""

import json
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipeline_lib.steps.verify import Problem, Verification

_STYLES = {
    Problem.CHANGED: "bold red",
    Problem.MISSING: "red",
    Problem.UNEXPLAINED: "yellow",
    Problem.UNRECORDED: "cyan",
}
# Nobody reads more in a terminal.
_ROWS_SHOWN = 100


def show_verification(found: Verification, console: Console) -> None:
    """Show a table of what differs, and how much was looked at."""
    looked = ", ".join(f"{count} {kind}" for kind, count in found.checked.items())
    how = "size and time of change" if found.quick else "content"
    console.print(f"Compared by {how}: {looked}", soft_wrap=True)
    if not found.findings:
        console.print("All is as the run left it.", style="green")
        return
    console.print(_tabulate(found))
    more = len(found.findings) - _ROWS_SHOWN
    if more > 0:
        console.print(f"... and {more} more; --format json lists all of them")
    if found.settings:
        listed = ", ".join(found.settings)
        console.print(f"Settings that differ from the last run's: {listed}", soft_wrap=True)


def format_verification(found: Verification) -> str:
    """Return the same for scripts: a JSON object with ``checked``, ``findings``, ``settings``."""
    return json.dumps(asdict(found), indent=2, ensure_ascii=False) + "\n"


def _tabulate(found: Verification) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("kind", no_wrap=True)
    table.add_column("name", overflow="fold")
    table.add_column("problem", no_wrap=True)
    table.add_column("detail", overflow="fold")
    for finding in found.findings[:_ROWS_SHOWN]:
        table.add_row(
            finding.kind,
            escape(finding.name),
            Text(finding.problem, style=_STYLES[finding.problem]),
            escape(finding.detail),
        )
    return table
