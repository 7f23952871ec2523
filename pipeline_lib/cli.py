"""The command line: one verb per step, each the same as the rule of that name.

Steps are imported when their verb runs, so that ``--help`` and ``status`` answer at once.
"""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.logging import RichHandler

from pipeline_lib import __version__
from pipeline_lib.core.errors import CohortposeError

app = typer.Typer(
    name="cohortpose",
    help="Poses you can trust for whole cohorts of animal videos.\n\n"
    "Snakemake runs these verbs in order; each can be run by hand in the same folder.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
)

PEOPLE = "For people"
LABELS = "From labels to a network"
VIDEOS = "From videos to poses"

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The run's config file.", show_default=True)
]
ShardOption = Annotated[
    str | None,
    typer.Option("--shard", "-s", help="One shard of the plan; without it, all of them in turn."),
]
DEFAULT_CONFIG = Path("config/config.yaml")


def _print_version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _start(
    *,
    directory: Annotated[
        Path, typer.Option("--directory", "-d", help="Work in this folder, as in Snakemake.")
    ] = Path(),
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
    version: Annotated[
        bool,
        # Eager: before the missing verb is noticed.
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    del version
    if not directory.is_dir():
        raise typer.BadParameter(f"{directory}: no such folder", param_hint="--directory")
    os.chdir(directory)
    interactive = sys.stderr.isatty()
    handler: logging.Handler = (
        RichHandler(console=Console(stderr=True), show_path=False)
        if interactive
        else logging.StreamHandler()
    )
    form = "%(message)s" if interactive else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=logging.WARNING, format=form, handlers=[handler])
    logging.getLogger("pipeline_lib").setLevel(logging.DEBUG if verbose else logging.INFO)
    if not verbose:
        # Lightning, Dask and zarr talk to developers, at levels they set when imported.
        handler.addFilter(_is_for_people)
        warnings.simplefilter("ignore")


def _is_for_people(record: logging.LogRecord) -> bool:
    return record.name.startswith("pipeline_lib") or record.levelno >= logging.WARNING


@app.command(rich_help_panel=VIDEOS)
def probe(config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None) -> None:
    """Open every video: frames, size, codec and fingerprint; quarantine what cannot be read."""
    from pipeline_lib.steps.probe import run_probe

    _run_shards(config, shard, run_probe)


@app.command(rich_help_panel=LABELS)
def select_frames(config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None) -> None:
    """Choose frames to label, evenly or by k-means, and write them as PNG."""
    from pipeline_lib.steps.select_frames import run_select_frames

    _run_shards(config, shard, run_select_frames)


@app.command(rich_help_panel=LABELS)
def import_labels(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Read labelled projects, check every point, divide images into train and test."""
    from pipeline_lib.steps.import_labels import run_import_labels

    _run(config, run_import_labels)


@app.command(rich_help_panel=LABELS)
def make_targets(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Draw score maps and location refinement of all labels into a Zarr store."""
    from pipeline_lib.steps.make_targets import run_make_targets

    _run(config, run_make_targets)


@app.command(rich_help_panel=LABELS)
def train(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Train the network and export it; a killed training goes on where it was."""
    from pipeline_lib.steps.train import run_train

    _run(config, run_train)


@app.command(rich_help_panel=LABELS)
def evaluate(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Measure the error on labelled images, per bodypart and split."""
    from pipeline_lib.steps.evaluate import run_evaluate

    _run(config, run_evaluate)


@app.command(rich_help_panel=VIDEOS)
def infer(
    config: ConfigOption = DEFAULT_CONFIG,
    shard: ShardOption = None,
    cores: Annotated[
        int | None, typer.Option(min=1, help="Cores to use; without it, all there are.")
    ] = None,
) -> None:
    """Predict the poses of every good video on warm Dask workers."""
    if cores is not None:
        # Dask, OpenMP and the rest count the cores this process may run on.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    from pipeline_lib.steps.infer import run_infer

    _run_shards(config, shard, run_infer)


@app.command("filter", rich_help_panel=VIDEOS)
def filter_poses(config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None) -> None:
    """Clean trajectories: gate by confidence, interpolate short gaps, smooth."""
    from pipeline_lib.steps.filter import run_filter

    _run_shards(config, shard, run_filter)


@app.command(rich_help_panel=VIDEOS)
def export(config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None) -> None:
    """Write poses as DeepLabCut's HDF5 and CSV tables."""
    from pipeline_lib.steps.export import run_export

    _run_shards(config, shard, run_export)


@app.command(rich_help_panel=VIDEOS)
def report(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Write one HTML page on the whole cohort."""
    from pipeline_lib.steps.report import write_report

    _run(config, write_report)


@app.command(rich_help_panel=PEOPLE)
def status(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only videos that failed or are quarantined.")
    ] = False,
    style: Annotated[
        Literal["text", "tsv", "json"], typer.Option("--format", help="For people or scripts.")
    ] = "text",
    write: Annotated[bool, typer.Option("--write", help="Write ledger.tsv.")] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Fail if more videos ended badly than `inference.max_failed_fraction` allows.",
        ),
    ] = False,
) -> None:
    """Tell how every video of the cohort stands, and why."""
    from pipeline_lib.steps.ledger import check_ledger, write_ledger
    from pipeline_lib.steps.status import format_status, show_status

    with _report_errors():
        settings, results = _load(config)
        if style == "text":
            show_status(settings, results, failed=failed, console=Console())
        else:
            typer.echo(format_status(settings, results, failed=failed, style=style), nl=False)
        if write:
            write_ledger(settings, results)
        if check:
            check_ledger(settings, results)


@app.command(rich_help_panel=PEOPLE)
def init(
    source: Annotated[
        Path,
        typer.Argument(help="A folder of videos, or a DeepLabCut or Lightning Pose project."),
    ],
    folder: Annotated[
        Path, typer.Argument(help="Folder that receives config.yaml and cohort.tsv.")
    ] = Path(),
) -> None:
    """Write a config and a cohort sheet for your own videos."""
    from pipeline_lib.steps.init import init_project

    with _report_errors():
        init_project(source, folder)


@app.command(rich_help_panel=PEOPLE)
def demo(  # noqa: PLR0913 - one option per setting
    folder: Annotated[Path, typer.Argument(help="Folder that receives the demo cohort.")],
    *,
    videos: Annotated[int, typer.Option(min=1, help="Good recordings.")] = 8,
    frames: Annotated[int, typer.Option(min=1, help="Frames per video.")] = 150,
    individuals: Annotated[int, typer.Option(min=1, help="Animals in each recording.")] = 1,
    cameras: Annotated[int, typer.Option(min=1, help="Cameras per recording.")] = 1,
    labelled_frames: Annotated[int, typer.Option(min=1, help="Labelled frames in all.")] = 70,
    seed: Annotated[int, typer.Option(min=0, help="Decides everything random.")] = 0,
) -> None:
    """Render a cohort with exact truth: videos, sheet, labelled project and config."""
    from pipeline_lib.steps.demo import DemoSettings, write_demo

    with _report_errors():
        settings = DemoSettings(
            videos=videos,
            frames=frames,
            individuals=individuals,
            cameras=cameras,
            labelled_frames=labelled_frames,
            seed=seed,
        )
        write_demo(folder, settings)


@app.command(rich_help_panel=PEOPLE)
def demo_error(
    folder: Annotated[Path, typer.Argument(help="A demo cohort that has been run.")],
) -> None:
    """Print where the demo's report is, and how far its poses are from the truth."""
    from pipeline_lib.steps.demo_truth import measure_demo_error

    with _report_errors():
        settings, results = _load(folder / "config.yaml", folder)
        error = measure_demo_error(folder, results.root, settings.training.name)
        console = Console()
        console.print(f"Report: {results.report}", soft_wrap=True)
        for name, part in (
            ("all videos", error.all_videos),
            ("videos with labels", error.labelled),
            ("videos never labelled", error.unlabelled),
        ):
            console.print(
                f"Error against the truth, {name}: median {part.median:.2f} px, "
                f"mean {part.mean:.2f} px over {part.visible} visible keypoints",
                soft_wrap=True,
            )


def main() -> None:
    """Run the command line."""
    app()


def _load(path: Path, folder: Path = Path()):  # type: ignore[no-untyped-def]  # noqa: ANN202
    from pipeline_lib.core.config import read_config
    from pipeline_lib.core.layout import Results

    config = read_config(path)
    return config, Results(folder / config.results)


def _run(path: Path, step: Callable[..., object]) -> None:
    with _report_errors():
        step(*_load(path))


def _run_shards(path: Path, shard: str | None, step: Callable[..., object]) -> None:
    """Run a step on one shard, or plan the cohort and run it on all."""
    with _report_errors():
        config, results = _load(path)
        if shard is not None:
            step(config, results, shard)
            return
        from pipeline_lib.core.cohort import read_cohort
        from pipeline_lib.steps.plan import plan_shards

        for planned in plan_shards(read_cohort(Path(config.cohort)), results, config.inference):
            step(config, results, planned)


@contextmanager
def _report_errors() -> Iterator[None]:
    """Turn our own errors into a message and exit status 1; others keep their traceback."""
    try:
        yield
    except CohortposeError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    main()
