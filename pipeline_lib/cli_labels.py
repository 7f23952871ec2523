"""Define the verbs with which people label, correct and exchange labels with other tools."""

import platform
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import typer

from pipeline_lib.cli_options import DEFAULT_CONFIG, ConfigOption
from pipeline_lib.cli_output import echo_table, echo_text
from pipeline_lib.cli_running import load, report_errors
from pipeline_lib.core.formats.label_projects import FORMATS as PROJECTS
from pipeline_lib.core.formats.labels import AUTO
from pipeline_lib.core.formats.labels import FORMATS as LABELS


def _check_project_format(name: str) -> str:
    if name not in PROJECTS:
        raise typer.BadParameter(f"{name!r}: expected one of {', '.join(PROJECTS)}")
    return name


def _check_label_format(name: str) -> str:
    if name not in (AUTO, *LABELS):
        raise typer.BadParameter(f"{name!r}: expected one of {', '.join((AUTO, *LABELS))}")
    return name


def _check_time(text: str | None) -> str | None:
    if text is not None:
        try:
            zoned = datetime.fromisoformat(text).tzinfo is not None
        except ValueError:
            zoned = False
        if not zoned:
            raise typer.BadParameter(f"{text!r}: expected a time with its zone, in ISO 8601")
    return text


ProjectFormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        help="What to write: "
        + "; ".join(f"`{name}`, {one.about}" for name, one in PROJECTS.items()),
        callback=_check_project_format,
    ),
]
LabelFormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        help=f"Format of the file: {', '.join(LABELS)}; without it, it is detected.",
        callback=_check_label_format,
    ),
]
ScorerOption = Annotated[
    str, typer.Option(help="Who will correct: part of the names of DeepLabCut's tables.")
]
LinkedOption = Annotated[
    bool,
    typer.Option(
        "--link-videos",
        help="Refer to the videos instead of holding the frames, to move through them (SLEAP).",
    ),
]
ProjectOption = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        help="Folder that `write-label-project` wrote, if the file lies elsewhere.",
    ),
]
AuthorOption = Annotated[
    str, typer.Option(help="Who corrected; without it, as the file or the project says.")
]
TimeOption = Annotated[
    str | None,
    typer.Option(
        help="When it was corrected, such as 2026-03-01T12:00:00Z; without it, as the file says, "
        "else when it was saved. For each frame the newest correction counts.",
        callback=_check_time,
    ),
]
TrackAuthorOption = Annotated[
    str, typer.Option(help="Who corrected the tracks; without it, `sleap`.")
]
TrackTimeOption = Annotated[
    str | None,
    typer.Option(
        help="When the tracks were corrected, such as 2026-03-01T12:00:00Z; without it, when the "
        "file was saved.",
        callback=_check_time,
    ),
]
IterationOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Labelling iteration; without it, `training.iteration`, or the next one once its "
        "network is trained.",
    ),
]


def label(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    author: Annotated[
        str | None,
        typer.Option(help="Name under which corrections are stored; without it, your account's."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port on 127.0.0.1; without it, 8765 or any that is free."
        ),
    ] = None,
) -> None:
    """Label, correct and proofread in the browser; needs the extra `label`.

    The page is served on loopback, for whoever has the address that is printed. Corrections go to
    `corrections.path` of the project; results are never changed.
    """
    from pipeline_lib.label.project import Project, choose_author
    from pipeline_lib.label.server import serve

    with report_errors():
        settings, results = load(config)
        serve(Project(settings, results, choose_author(author)), port, _announce_page)


def list_doubts(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    output: Annotated[
        Path | None, typer.Option(help="Table to write; without it, standard output.")
    ] = None,
) -> None:
    """List the places in all videos where tracks may be wrong, worst first."""
    from pipeline_lib.steps.correct.cohort_doubts import run_list_doubts

    with report_errors():
        settings, results = load(config)
        table = run_list_doubts(settings, results, output)
        if output is None:
            echo_table(table)


def _announce_page(address: str) -> None:
    from pipeline_lib.label.project import find_account

    port, account = urlsplit(address).port, find_account() or "USER"
    echo_text(
        f"Label at {address}\n"
        "From another computer, through a tunnel first:\n"
        f"  ssh -N -L {port}:127.0.0.1:{port} {account}@{platform.node()}\n"
        "Whoever has this address can label under your name. Ctrl+C ends."
    )


def write_label_project(  # noqa: PLR0913 - one for each option
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must not exist.")],
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    form: ProjectFormatOption = "deeplabcut",
    scorer: ScorerOption = "corrected",
    frames: Annotated[
        Literal["auto", "refined", "selected", "none"],
        typer.Option(
            help="Chosen frames to write: those of `refine`, of `select-frames`, or none; "
            "`auto`: those of `refine` if there are any."
        ),
    ] = "auto",
    labels: Annotated[bool, typer.Option(help="Also write the existing labels.")] = True,
    link_videos: LinkedOption = False,
    network: Annotated[
        str,
        typer.Option(
            help="Network whose frames of `refine` and predictions are written, such as that of "
            "the iteration before; without it, `training.name`."
        ),
    ] = "",
) -> None:
    """Write chosen frames, predictions and labels as a project to correct in another tool."""
    from pipeline_lib.steps.label_projects.write import ProjectOptions, run_write_label_project

    with report_errors():
        options = ProjectOptions(form, scorer, frames, labels, link_videos, network)
        run_write_label_project(*load(config), folder, options)


def merge_labels(  # noqa: PLR0913 - one for each option
    file: Annotated[
        Path, typer.Argument(help="File or project of another tool, with corrected labels.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    form: LabelFormatOption = AUTO,
    project: ProjectOption = None,
    author: AuthorOption = "",
    time: TimeOption = None,
    iteration: IterationOption = None,
    predicted: Annotated[
        bool,
        typer.Option("--predicted", help="Also take predictions that nobody corrected (SLEAP)."),
    ] = False,
    untouched: Annotated[
        bool,
        typer.Option(
            "--untouched",
            help="Also take frames that equal their prediction, as confirmed by the author (COCO).",
        ),
    ] = False,
) -> None:
    """Merge labels corrected in another tool into `corrections`; each replaces its prediction."""
    from pipeline_lib.steps.label_projects.merge import MergeOptions, run_merge_labels

    with report_errors():
        options = MergeOptions(
            format=form,
            project=project,
            author=author,
            time=datetime.fromisoformat(time) if time else None,
            iteration=iteration,
            predicted=predicted,
            untouched=untouched,
        )
        run_merge_labels(*load(config), file, options)


def merge_tracks(
    file: Annotated[Path, typer.Argument(help="SLEAP file of whole videos with corrected tracks.")],
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    author: TrackAuthorOption = "",
    time: TrackTimeOption = None,
) -> None:
    """Merge tracks corrected in SLEAP into `corrections`, as decisions about tracks."""
    from pipeline_lib.steps.label_projects.merge_tracks import run_merge_tracks

    with report_errors():
        when = datetime.fromisoformat(time) if time else None
        run_merge_tracks(*load(config), file, author, when)
