"""The command line: one verb per step, each the same as the rule of that name.

Steps are imported when their verb runs, so that ``--help`` and ``status`` answer at once.
"""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline_lib import __version__
from pipeline_lib.core.cores import limit_cores
from pipeline_lib.core.errors import CohortposeError

if TYPE_CHECKING:
    from pipeline_lib.core.layout import Results
    from pipeline_lib.core.settings import Config

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
LocatorOption = Annotated[
    bool,
    typer.Option("--locator", help="For the network that finds the animals (`locating`)."),
]
CoresOption = Annotated[
    int | None, typer.Option("--cores", min=1, help="Cores to use; without it, all there are.")
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
    if directory != Path():
        _keep_directory(directory)
        os.chdir(directory)
    interactive = sys.stderr.isatty()
    handler: logging.Handler = _open_terminal() if interactive else logging.StreamHandler()
    form = "%(message)s" if interactive else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=logging.WARNING, format=form, handlers=[handler])
    logging.getLogger("pipeline_lib").setLevel(logging.DEBUG if verbose else logging.INFO)
    if not verbose:
        # Lightning, Dask and zarr talk to developers, at levels they set when imported.
        handler.addFilter(_is_for_people)
        warnings.simplefilter("ignore")


def _keep_directory(directory: Path) -> None:
    """Make `--directory` absolute in this process's command line.

    Lightning starts the same command line again, from inside of the folder, for each further
    device.
    """
    for place, argument in enumerate(sys.argv):
        if argument in ("-d", "--directory"):
            sys.argv[place + 1] = str(directory.resolve())
            return
        if argument.startswith(("-d", "--directory=")):
            sys.argv[place] = f"--directory={directory.resolve()}"
            return


def _open_terminal() -> logging.Handler:
    # Imported where somebody looks on: of a job that finds nothing to do it would be a fifth.
    from rich.console import Console
    from rich.logging import RichHandler

    return RichHandler(console=Console(stderr=True), show_path=False)


def _is_for_people(record: logging.LogRecord) -> bool:
    return record.name.startswith("pipeline_lib") or record.levelno >= logging.WARNING


@app.command(rich_help_panel=VIDEOS)
def probe(config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None) -> None:
    """Open every video: frames, size, codec and fingerprint; quarantine what cannot be read."""
    _run_shards(config, shard, "probe")


@app.command(rich_help_panel=LABELS)
def select_frames(config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None) -> None:
    """Choose frames to label, evenly or by k-means, and write them as PNG."""
    _run_shards(config, shard, "select-frames")


@app.command(rich_help_panel=LABELS)
def import_labels(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Read labelled projects, check every point, divide images into train and test."""
    from pipeline_lib.steps.import_labels import run_import_labels

    _run(config, run_import_labels)


@app.command(rich_help_panel=LABELS)
def make_targets(config: ConfigOption = DEFAULT_CONFIG, *, locator: LocatorOption = False) -> None:
    """Draw score maps and location refinement of all labels into a Zarr store."""
    from pipeline_lib.steps.make_targets import run_make_targets

    _run(config, partial(run_make_targets, locator=locator))


@app.command(rich_help_panel=LABELS)
def train(config: ConfigOption = DEFAULT_CONFIG, *, locator: LocatorOption = False) -> None:
    """Train the network and export it; a killed training goes on where it was."""
    from pipeline_lib.steps.train import run_train

    _run(config, partial(run_train, locator=locator))


@app.command(rich_help_panel=LABELS)
def evaluate(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Measure the error on labelled images, per bodypart and split."""
    from pipeline_lib.steps.evaluate import run_evaluate

    _run(config, run_evaluate)


@app.command(rich_help_panel=VIDEOS)
def infer(
    config: ConfigOption = DEFAULT_CONFIG,
    shard: ShardOption = None,
    cores: CoresOption = None,
    *,
    again: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Only videos that failed or are quarantined, once more from probing on; run "
            "snakemake afterwards for what comes after.",
        ),
    ] = False,
) -> None:
    """Predict the poses of every good video on warm Dask workers.

    A killed run goes on where it was; what is there is not computed again.
    """
    _keep_cores(cores)
    _run_shards(config, shard, "retry-failed" if again else "infer")


@app.command(rich_help_panel=VIDEOS)
def track(  # noqa: PLR0913 - one option per setting
    config: ConfigOption = DEFAULT_CONFIG,
    shard: ShardOption = None,
    cores: CoresOption = None,
    *,
    from_dlc_detections: Annotated[
        Path | None,
        typer.Option(
            help="Instead of a config's videos: assemble and track the detections of one video, "
            "DeepLabCut's `*_full.pickle`.",
        ),
    ] = None,
    individuals: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most animals at a time in these detections; without it, the most that half of "
            "the bodyparts show at once in more than one of twenty frames.",
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            min=1e-9, help="Frames per second; without it, times are the numbers of the frames."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Pose file to write; without it, FILE with the ending .zarr.zip."),
    ] = None,
) -> None:
    """Follow several individuals: the same place throughout a video is the same animal.

    With `--from-dlc-detections` no config is needed; the settings are the defaults.
    """
    _keep_cores(cores)
    if from_dlc_detections is None:
        if individuals is not None or fps is not None or output is not None:
            raise typer.BadParameter(
                "--individuals, --fps and --output go with --from-dlc-detections; of a config's "
                "videos its settings decide"
            )
        _run_shards(config, shard, "track")
        return
    from pipeline_lib.steps.track_detections import track_detections

    with _report_errors():
        written = track_detections(from_dlc_detections, output, individuals=individuals, fps=fps)
        typer.echo(written)


@app.command("filter", rich_help_panel=VIDEOS)
def filter_poses(
    config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None, cores: CoresOption = None
) -> None:
    """Clean trajectories: gate by confidence, interpolate short gaps, smooth."""
    _keep_cores(cores)
    _run_shards(config, shard, "filter")


@app.command(rich_help_panel=VIDEOS)
def export(
    config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None, cores: CoresOption = None
) -> None:
    """Write poses for other tools: DeepLabCut, SLEAP, NWB (`exports.formats`)."""
    _keep_cores(cores)
    _run_shards(config, shard, "export")


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
            from rich.console import Console

            console = Console()
            show_status(settings, results, failed=failed, console=console, config_path=config)
        else:
            typer.echo(format_status(settings, results, failed=failed, style=style), nl=False)
        if write:
            write_ledger(settings, results)
        if check:
            check_ledger(settings, results)


@app.command(rich_help_panel=PEOPLE)
def verify(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Compare sizes and times of change only, not contents.")
    ] = False,
    style: Annotated[
        Literal["text", "json"], typer.Option("--format", help="For people or scripts.")
    ] = "text",
) -> None:
    """Tell whether inputs and results are still what the run read and made.

    Fails if anything was changed, is missing, or is not explained by the present settings.
    """
    from pipeline_lib.steps.verify import verify_results
    from pipeline_lib.steps.verify_show import format_verification, show_verification

    with _report_errors():
        found = verify_results(*_load(config), quick=quick)
    if style == "text":
        from rich.console import Console

        show_verification(found, Console())
    else:
        typer.echo(format_verification(found), nl=False)
    if found.findings:
        raise typer.Exit(1)


@app.command(rich_help_panel=PEOPLE)
def init(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder of videos, a DeepLabCut or Lightning Pose project, or SLEAP's .slp."
        ),
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
    from pipeline_lib.steps.demo_tracks import describe_demo_tracks
    from pipeline_lib.steps.demo_truth import measure_demo_error

    with _report_errors():
        settings, results = _load(folder / "config.yaml", folder)
        error = measure_demo_error(folder, results.root, settings.training.name)
        from rich.console import Console

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
        if settings.individuals.max > 1:
            for line in describe_demo_tracks(folder, results, settings.training.name):
                console.print(line, soft_wrap=True)


def main() -> None:
    """Run the command line."""
    app()


def _load(path: Path, folder: Path = Path()) -> "tuple[Config, Results]":
    from pipeline_lib.core.config import read_config
    from pipeline_lib.core.layout import Results

    config = read_config(path)
    return config, Results(folder / config.results)


def _run(path: Path, step: Callable[..., object]) -> None:
    from pipeline_lib.steps.job_records import record_job

    with _report_errors():
        config, results = _load(path)
        with record_job(config, results, _name_verb(step), None):
            step(config, results)


def _run_shards(path: Path, shard: str | None, verb: str) -> None:
    """Run a step on one shard, or plan the cohort and run it on all."""
    from pipeline_lib.steps.job_records import record_job
    from pipeline_lib.steps.remembering import remember_end

    with _report_errors():
        step = _import_step(verb)
        config, results = _load(path)
        shards = (shard,) if shard is not None else _plan(config, results)
        for planned in shards:
            with record_job(config, results, verb, planned):
                step(config, results, planned)
            remember_end(verb, path, config, results, planned)


def _keep_cores(cores: int | None) -> None:
    """Run on so many cores; on all there are if None."""
    if cores is not None:
        limit_cores(cores)


def _import_step(verb: str) -> Callable[..., object]:
    """Return the function of a verb that works on shards."""
    module, name = {
        "probe": ("probe", "run_probe"),
        "select-frames": ("select_frames", "run_select_frames"),
        "infer": ("infer", "run_infer"),
        "retry-failed": ("retry", "retry_failed"),
        "track": ("track", "run_track"),
        "filter": ("filter", "run_filter"),
        "export": ("export", "run_export"),
    }[verb]
    step: Callable[..., object] = getattr(import_module(f"pipeline_lib.steps.{module}"), name)
    return step


def _plan(config: "Config", results: "Results") -> tuple[str, ...]:
    from pipeline_lib.core.cohort import read_cohort
    from pipeline_lib.steps.plan import plan_shards

    return plan_shards(read_cohort(Path(config.cohort)), results, config.inference)


def _name_verb(step: Callable[..., object]) -> str:
    """Return the verb of a step's function, `run_make_targets` say."""
    name: str = getattr(step, "func", step).__name__
    return name.removeprefix("run_").removeprefix("write_").replace("_", "-")


@contextmanager
def _report_errors() -> Iterator[None]:
    """Turn our own errors into a message and exit status; others keep their traceback."""
    try:
        yield
    except CohortposeError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(error.exit_status) from None


if __name__ == "__main__":
    main()
