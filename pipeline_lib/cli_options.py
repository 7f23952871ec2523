"""Define the options that verbs of the command line share, and those of detections to track."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline_lib.core.formats.label_projects import FORMATS as PROJECTS
from pipeline_lib.core.formats.labels import AUTO
from pipeline_lib.core.formats.labels import FORMATS as LABELS

DEFAULT_CONFIG = Path("config/config.yaml")


def _check_shard(shard: str | None) -> str | None:
    from pipeline_lib.core.untrusted.names import find_name_problem

    problem = find_name_problem(shard) if shard is not None else None
    if problem:
        raise typer.BadParameter(f"{shard!r} {problem}; shards are those of shards/plan.tsv")
    return shard


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


ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="Config file of the run.", show_default=True)
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        "-s",
        help="Shard of the plan; without it, all shards in turn.",
        callback=_check_shard,
    ),
]
LocatorOption = Annotated[
    bool,
    typer.Option("--locator", help="Use the network that finds the animals (`locating`)."),
]
MemberOption = Annotated[
    int | None,
    typer.Option(
        "--member",
        min=1,
        help="Number of the network in its ensemble (`training.ensemble`); without it, the first.",
    ),
]
CoresOption = Annotated[
    int | None, typer.Option("--cores", min=1, help="Cores to use; without it, all cores.")
]

# Options of `track --from-dlc-detections`.
DetectionsOption = Annotated[
    Path | None,
    typer.Option(
        help="Assemble and track the detections of one video, DeepLabCut's `*_full.pickle`, "
        "instead of the videos of a config.",
    ),
]
IndividualsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Largest number of animals in a frame of the detections; without it, the "
        "largest number that half of the bodyparts show in more than one of twenty frames.",
    ),
]
FpsOption = Annotated[
    float | None,
    typer.Option(
        min=1e-9,
        help="Frames per second; without it, those that the files state, else times are frame "
        "numbers.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(help="Pose file to write; without it, FILE with the ending .zarr.zip."),
]
AssembliesOption = Annotated[
    Path | None,
    typer.Option(help="Second pose file to write: the animals of each frame, before tracking."),
]
FillGapsOption = Annotated[
    bool,
    typer.Option(
        "--fill-gaps",
        help="Assemble animals as for our own networks: all links of an animal count together, "
        "and keypoints without a link are added where they fit.",
    ),
]
PcutoffOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Lowest confidence of a peak; without it, DeepLabCut's 0.1.",
    ),
]
MinAffinityOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Lowest affinity of a pair of linked peaks; without it, DeepLabCut's 0.05.",
    ),
]

# Options of `write-label-project` and `merge-labels`.
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
