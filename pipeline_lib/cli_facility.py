"""Define the verbs that keep a cohort growing on a machine: sheet, watch, doctor, tidy."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline_lib.cli_options import DEFAULT_CONFIG, ConfigOption
from pipeline_lib.cli_output import echo, echo_json, echo_table
from pipeline_lib.cli_running import load, report_errors

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
        bool, typer.Option("--write", help="Write the sheet; without it, only show the changes.")
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
            echo(line)


def watch(  # noqa: PLR0913 - one for each option
    folder: Annotated[Path, typer.Argument(help="Incoming folder, with its subfolders.")],
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    pattern: PatternOption = "",
    session: SessionOption = "",
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Check the folder once and end, for cron; without it, keep running."
        ),
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two checks of the folder.")
    ] = 60.0,
    settle: Annotated[
        float,
        typer.Option(min=0.0, help="Seconds for which size and time of a file must not change."),
    ] = 120.0,
    command: Annotated[
        str | None,
        typer.Option(
            "--run",
            help="Command that starts the workflow, such as 'snakemake --profile profiles/slurm'; "
            "'' only extends the sheet. Without it, `snakemake --cores all` with this config.",
        ),
    ] = None,
) -> None:
    """Take new videos of a folder once they are whole: add them to the sheet, run the workflow.

    A file is whole if size and time stay as they are, no process writes to it, and it opens with a
    complete index. One that is being copied is left for the next look. Two never work at once.
    """
    from pipeline_lib.steps.watch.run import (
        WatchRequest,
        make_command,
        run_watch,
        split_command,
    )

    with report_errors():
        settings, results = load(config)
        call = make_command(config) if command is None else split_command(command)
        request = WatchRequest(folder, make_naming(pattern, session), settle, call)
        good = run_watch(settings, results, request, every=None if once else every)
    if not good:
        raise typer.Exit(1)


def doctor(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Config whose results and weights are checked, too."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check this machine before a run: cores, GPU, codecs, disks, SLURM, weights, clock, locale.

    Each line is ok, warn or fail and says what to repair. Fails if something must be repaired.
    """
    from pipeline_lib.core.layout import Results
    from pipeline_lib.steps.doctor.run import (
        describe_checks,
        examine,
        format_checks,
        has_failed,
    )

    with report_errors():
        if config is None and DEFAULT_CONFIG.is_file():
            config = DEFAULT_CONFIG
        settings, results = (None, Results(Path("results"))) if config is None else load(config)
        checks = examine(settings, results)
        if as_json:
            echo_json(format_checks(checks))
        else:
            for line in describe_checks(checks):
                echo(line)
    if has_failed(checks):
        raise typer.Exit(1)


def costs(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    write: Annotated[bool, typer.Option("--write", help="Write costs.tsv.")] = False,
) -> None:
    """Print what videos, groups and the run used and cost (`costs`), as TSV.

    A run writes costs.tsv at its end; `--write` does so after a change of the price list.
    """
    from pipeline_lib.core.cohort import read_cohort
    from pipeline_lib.core.errors import ConfigError
    from pipeline_lib.core.tables import COST_COLUMNS
    from pipeline_lib.io.stage_tables import format_table
    from pipeline_lib.steps.costs.groups import find_unknown_group
    from pipeline_lib.steps.costs.run import derive_costs, write_costs
    from pipeline_lib.steps.provenance.outputs import record_descriptions

    with report_errors():
        settings, results = load(config)
        problems = find_unknown_group(settings, read_cohort(Path(settings.cohort)))
        if problems:
            raise ConfigError(str(config), problems)
        if write:
            write_costs(settings, results)
            record_descriptions(results, "costs")
        echo_table(format_table(COST_COLUMNS, derive_costs(settings, results)))


def tidy(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove the files; without it, only list them.")
    ] = False,
) -> None:
    """List unused files: old networks, results of removed videos, leftovers of killed jobs.

    Only what a run has written and recorded is removed; other files are listed and kept. Refused
    while a run is at work.
    """
    from pipeline_lib.steps.tidy.find import find_stale
    from pipeline_lib.steps.tidy.run import describe_stale, remove_stale

    with report_errors():
        settings, results = load(config)
        found = (remove_stale if delete else find_stale)(settings, results)
        for line in describe_stale(found, results.root, removed=delete):
            echo(line)
