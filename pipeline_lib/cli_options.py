"""Define the options that verbs of the command line share, and those of detections to track."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_CONFIG = Path("config/config.yaml")


def _check_shard(shard: str | None) -> str | None:
    from pipeline_lib.core.untrusted.names import find_name_problem

    problem = find_name_problem(shard) if shard is not None else None
    if problem:
        raise typer.BadParameter(f"{shard!r} {problem}; shards are those of shards/plan.tsv")
    return shard


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
