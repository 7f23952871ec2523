"""Define the verbs that keep a cohort growing on a machine: sheet, watch, doctor, tidy."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline_lib.cli_running import report_errors

if TYPE_CHECKING:
    from pipeline_lib.steps.sheet.additions import Naming

SHEET = Path("cohort.tsv")

PatternOption = Annotated[
    str,
    typer.Option(
        help="File names, such as '{animal}_{date}_{camera}.mp4'; each field becomes a column, "
        "and `*` is dropped. `{video}`, `{session}` and `{camera}` are those columns. Without it, "
        "rows have an id and a path."
    ),
]
SessionOption = Annotated[
    str,
    typer.Option("--session", help="Column `session` from the fields, such as '{animal}-{date}'."),
]


def make_naming(pattern: str, session: str) -> "Naming":
    """Return how the cells of new rows are made."""
    from pipeline_lib.steps.sheet.additions import Naming
    from pipeline_lib.steps.sheet.pattern import FilePattern

    return Naming(FilePattern(pattern) if pattern else None, session)


def sheet(
    folder: Annotated[Path, typer.Argument(help="Folder of videos, searched with its subfolders.")],
    *,
    pattern: PatternOption = "",
    session: SessionOption = "",
    path: Annotated[
        Path, typer.Option("--sheet", help="The sheet to make or extend.", show_default=True)
    ] = SHEET,
    write: Annotated[
        bool, typer.Option("--write", help="Write the sheet; without it, only show what would be.")
    ] = False,
) -> None:
    """Make a cohort sheet from the names of videos, or add new videos to it.

    Existing rows stay as they are. Duplicates and names that do not fit are listed with the reason.
    """
    from pipeline_lib.steps.sheet.run import describe_proposal, propose_rows

    with report_errors():
        proposal = propose_rows(folder, path, make_naming(pattern, session))
        if write:
            proposal.write()
        for line in describe_proposal(proposal, written=write):
            typer.echo(line)
