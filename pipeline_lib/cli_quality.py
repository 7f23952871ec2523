"""Define the verbs that judge videos, and say what is to be done about the bad ones."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline_lib.cli_options import DEFAULT_CONFIG, ConfigOption, CoresOption, ShardOption
from pipeline_lib.cli_output import echo
from pipeline_lib.cli_running import keep_cores, load, report_errors, run, run_shards


def quality(
    config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None, cores: CoresOption = None
) -> None:
    """Measure the quality of every video: its poses, missing frames, light, sharpness, view."""
    keep_cores(cores)
    run_shards(config, shard, "quality")


def judge(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Decide which videos pass by their measures (`quality`), and say why the others do not."""
    from pipeline_lib.steps.quality.judge import run_judge

    run(config, run_judge)


def rerun(  # noqa: PLR0913 - one for each option
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    check: Annotated[
        list[str] | None, typer.Option(help="Findings of this check; can be repeated.")
    ] = None,
    video: Annotated[
        list[str] | None, typer.Option(help="Findings of this video; can be repeated.")
    ] = None,
    only: Annotated[
        Literal["warn", "fail"] | None, typer.Option(help="Findings of this decision.")
    ] = None,
    action: Annotated[
        Literal["relabel", "refine", "settings", "drop", "pass", "warn", "fail"] | None,
        typer.Option(
            "--as", help="What to do about them; without it, what usually helps (qc.tsv, remedy)."
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="For `settings`, such as filtering.pcutoff=0.6."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Who decides; without it, the name of your account.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; without it, the reasons of the findings.")] = "",
    frames: Annotated[
        int, typer.Option(min=1, max=1000, help="Frames to label of each video.")
    ] = 5,
    apply: Annotated[
        bool, typer.Option("--apply", help="Write it; without it, only list it.")
    ] = False,
) -> None:
    """Turn findings about videos into what is to be done: relabel, refine, settings, drop.

    The next run then does just that. Nothing is written without `--apply`.
    """
    from pipeline_lib.label.project import find_account
    from pipeline_lib.steps.quality.rerun import (
        RerunRequest,
        apply_plan,
        describe_plan,
        plan_rerun,
    )

    with report_errors():
        settings, results = load(config)
        request = RerunRequest(
            checks=tuple(check or ()),
            videos=tuple(video or ()),
            only=only or "",
            action=action or "",
            settings=tuple(setting or ()),
            name=name or find_account() or "",
            reason=reason,
            frames=frames,
        )
        plan = plan_rerun(settings, results, request)
        written = apply_plan(settings, plan, Path()) if apply else []
        for line in describe_plan(plan, written, config):
            echo(line)
