"""Define the command line: one verb per step, the same verb that the rule of that name calls.

Verbs of some subjects are in the `cli_*.py` beside this file. Each verb imports its step when it
runs, so that ``--help`` and ``status`` answer at once.
"""

import os
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline_lib import __version__
from pipeline_lib.cli_cameras import (
    board,
    calibrate,
    correct_views,
    export_sessions,
    render_sessions,
    triangulate,
)
from pipeline_lib.cli_facility import (
    PatternOption,
    SessionOption,
    costs,
    doctor,
    make_naming,
    sheet,
    tidy,
    watch,
)
from pipeline_lib.cli_labels import (
    label,
    list_doubts,
    merge_labels,
    merge_tracks,
    write_label_project,
)
from pipeline_lib.cli_live import live
from pipeline_lib.cli_options import (
    DEFAULT_CONFIG,
    AssembliesOption,
    ConfigOption,
    CoresOption,
    DetectionsOption,
    FillGapsOption,
    FpsOption,
    IndividualsOption,
    LocatorOption,
    MemberOption,
    MinAffinityOption,
    OutputOption,
    PcutoffOption,
    ShardOption,
)
from pipeline_lib.cli_output import echo, echo_json, echo_table, echo_text, open_console
from pipeline_lib.cli_quality import judge, quality, rerun
from pipeline_lib.cli_running import (
    keep_cores,
    keep_directory,
    load,
    log_for_people,
    report_errors,
    run,
    run_part,
    run_shards,
    spell_command,
)
from pipeline_lib.cli_zoo import bundle, import_model, predict, zoo
from pipeline_lib.core.environment import prepare_process

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
CAMERAS = "Cameras"
NETWORKS = "Networks to hand on"


def _print_version(value: bool) -> None:
    if value:
        echo(__version__)
        raise typer.Exit


@app.callback()
def _start(
    *,
    directory: Annotated[
        Path,
        typer.Option("--directory", "-d", help="Work in this folder, as in Snakemake."),
    ] = Path(),
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more details.")] = False,
    version: Annotated[
        bool,
        # Eager, so that it works without a verb.
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    del version
    if not directory.is_dir():
        raise typer.BadParameter(f"{directory}: no such folder", param_hint="--directory")
    if directory != Path():
        keep_directory(directory)
        os.chdir(directory)
    log_for_people(verbose=verbose)


@app.command(rich_help_panel=VIDEOS)
def probe(config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None) -> None:
    """Open every video: frames, size, codec and fingerprint; quarantine what cannot be read."""
    run_shards(config, shard, "probe")


@app.command(rich_help_panel=LABELS)
def select_frames(config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None) -> None:
    """Choose frames to label, evenly or by k-means, and write them as PNG."""
    run_shards(config, shard, "select-frames")


@app.command(rich_help_panel=LABELS)
def import_labels(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Read labelled projects, check every point, divide images into train and test."""
    from pipeline_lib.steps.import_labels.run import run_import_labels

    run(config, run_import_labels)


@app.command(rich_help_panel=LABELS)
def make_targets(config: ConfigOption = DEFAULT_CONFIG, *, locator: LocatorOption = False) -> None:
    """Draw score maps and location refinement of all labels into a Zarr store."""
    from pipeline_lib.steps.make_targets.run import run_make_targets

    run(config, partial(run_make_targets, locator=locator))


@app.command(rich_help_panel=LABELS)
def make_clips(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Store clips without labels of good videos, which `training.unsupervised` learns from."""
    from pipeline_lib.steps.make_clips import run_make_clips

    run(config, run_make_clips)


@app.command(rich_help_panel=LABELS)
def train(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    locator: LocatorOption = False,
    member: MemberOption = None,
) -> None:
    """Train the network and export it; a killed training resumes where it stopped."""
    if locator and member is not None:
        raise typer.BadParameter("an ensemble has one locator: give --locator or --member")
    from pipeline_lib.steps.train import run_train

    run(config, partial(run_train, locator=locator, member=member or 1))


@app.command(rich_help_panel=LABELS)
def evaluate(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Measure the error on labelled images, per bodypart and split."""
    from pipeline_lib.steps.evaluate.run import run_evaluate

    run(config, run_evaluate)


@app.command(rich_help_panel=LABELS)
def choose_precision(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Measure speed and error of each precision of the network, and choose the fastest good one.

    Goes with `inference.precision: auto` or `int8`; 8-bit integers are calibrated on the labelled
    training frames. A run of a bundle takes what was chosen where the bundle was written.
    """
    from pipeline_lib.steps.choose_precision.run import run_choose_precision

    run(config, run_choose_precision)


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
            help="Probe and infer only the failed and quarantined videos again; then run snakemake "
            "for the later stages.",
        ),
    ] = False,
) -> None:
    """Predict the poses of every good video on Dask workers.

    A killed run resumes where it stopped; existing results are not computed again.
    """
    keep_cores(cores)
    run_shards(config, shard, "retry-failed" if again else "infer")


@app.command(rich_help_panel=VIDEOS)
def track(  # noqa: PLR0913 - one option per setting
    config: ConfigOption = DEFAULT_CONFIG,
    shard: ShardOption = None,
    cores: CoresOption = None,
    *,
    from_dlc_detections: DetectionsOption = None,
    individuals: IndividualsOption = None,
    fps: FpsOption = None,
    output: OutputOption = None,
    assemblies: AssembliesOption = None,
    fill_gaps: FillGapsOption = False,
    pcutoff: PcutoffOption = None,
    min_affinity: MinAffinityOption = None,
) -> None:
    """Track several individuals: each slot then holds one animal throughout the video.

    `--from-dlc-detections` needs no config and uses the default settings.
    """
    keep_cores(cores)
    if from_dlc_detections is None:
        others = (individuals, fps, output, assemblies, pcutoff, min_affinity)
        if fill_gaps or any(given is not None for given in others):
            raise typer.BadParameter(
                "--individuals, --fps, --output, --assemblies, --fill-gaps, --pcutoff and "
                "--min-affinity go with --from-dlc-detections; for the videos of a config, use "
                "its settings"
            )
        run_shards(config, shard, "track")
        return
    from pipeline_lib.steps.track.deeplabcut_detections import (
        MIN_AFFINITY,
        PCUTOFF,
        track_detections,
    )

    with report_errors():
        written = track_detections(
            from_dlc_detections,
            output,
            individuals=individuals,
            fps=fps,
            assemblies=assemblies,
            fill_gaps=fill_gaps,
            pcutoff=PCUTOFF if pcutoff is None else pcutoff,
            min_affinity=MIN_AFFINITY if min_affinity is None else min_affinity,
        )
        echo(written)


@app.command(rich_help_panel=VIDEOS)
def correct(
    config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None, cores: CoresOption = None
) -> None:
    """Apply decisions about tracks (`corrections`): swaps, new animals, cuts and joins."""
    keep_cores(cores)
    run_shards(config, shard, "correct")


@app.command("filter", rich_help_panel=VIDEOS)
def filter_poses(
    config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None, cores: CoresOption = None
) -> None:
    """Clean trajectories: drop low confidences, interpolate short gaps, smooth."""
    keep_cores(cores)
    run_shards(config, shard, "filter")


@app.command(rich_help_panel=VIDEOS)
def export(
    config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None, cores: CoresOption = None
) -> None:
    """Write poses for other tools: DeepLabCut, SLEAP, NWB, COCO (`exports.formats`)."""
    keep_cores(cores)
    run_shards(config, shard, "export")


@app.command(rich_help_panel=VIDEOS)
def kinematics(
    config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None, cores: CoresOption = None
) -> None:
    """Measure speeds, angles, distances and visits of regions as tables (`kinematics`)."""
    keep_cores(cores)
    run_shards(config, shard, "kinematics")


@app.command(rich_help_panel=VIDEOS)
def render(
    config: ConfigOption = DEFAULT_CONFIG, shard: ShardOption = None, cores: CoresOption = None
) -> None:
    """Draw points, skeleton, trails and identities on every video (`rendering`)."""
    keep_cores(cores)
    run_shards(config, shard, "render")


@app.command(rich_help_panel=LABELS)
def refine(config: ConfigOption = DEFAULT_CONFIG, cores: CoresOption = None) -> None:
    """Choose the frames of the whole cohort that are worth labelling next, and say why."""
    from pipeline_lib.steps.refine.run import run_refine

    keep_cores(cores)
    run(config, run_refine)


@app.command(rich_help_panel=VIDEOS)
def report(
    config: ConfigOption = DEFAULT_CONFIG,
    shard: Annotated[
        str | None,
        typer.Option(help="Measure the videos of this shard for a report, and write no page."),
    ] = None,
    cores: CoresOption = None,
) -> None:
    """Write one HTML page about the whole cohort."""
    keep_cores(cores)
    if shard is not None:
        from pipeline_lib.steps.report.details.store import prepare_shard

        run_part(config, shard, "report", prepare_shard)
        return
    from pipeline_lib.steps.report.page import write_report

    run(config, write_report)


@app.command(rich_help_panel=PEOPLE)
def multiqc(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Write files that MultiQC shows beside other analyses (`report.multiqc`)."""
    from pipeline_lib.steps.multiqc.run import write_multiqc

    run(config, write_multiqc)


@app.command(rich_help_panel=PEOPLE)
def status(  # noqa: PLR0913 - one for each option
    context: typer.Context,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    failed: Annotated[
        bool, typer.Option("--failed", help="Show only failed and quarantined videos.")
    ] = False,
    style: Annotated[
        Literal["text", "tsv", "json"], typer.Option("--format", help="Format of the output.")
    ] = "text",
    write: Annotated[bool, typer.Option("--write", help="Write ledger.tsv.")] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Fail if more videos failed than `inference.max_failed_fraction` allows.",
        ),
    ] = False,
) -> None:
    """Show the status of every video of the cohort, and why."""
    from pipeline_lib.steps.runs.ledger import check_ledger, write_ledger
    from pipeline_lib.steps.status import format_status, show_status

    with report_errors():
        settings, results = load(config)
        # Before any output, so that a closed terminal does not cost the ledger.
        if write:
            from pipeline_lib.steps.provenance.outputs import record_outputs
            from pipeline_lib.steps.runs.sessions.ledger import write_session_ledger

            write_ledger(settings, results)
            if settings.triangulation.enabled:
                write_session_ledger(settings, results)
            record_outputs(settings, results, "status")
        if style == "text":
            directory = context.parent.params["directory"] if context.parent else Path()
            show_status(
                settings,
                results,
                failed=failed,
                console=open_console(),
                spell=partial(spell_command, config, directory),
            )
        else:
            print_it = echo_json if style == "json" else echo_table
            print_it(format_status(settings, results, failed=failed, style=style))
        if check:
            check_ledger(settings, results)


@app.command(rich_help_panel=PEOPLE)
def verify(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Compare sizes and modification times only."),
    ] = False,
    style: Annotated[
        Literal["text", "json"], typer.Option("--format", help="Format of the output.")
    ] = "text",
) -> None:
    """Check whether inputs and results are still those that the run read and wrote.

    Fails if a file was changed, is missing, or does not follow from the present settings.
    """
    from pipeline_lib.steps.verify.run import format_verification, show_verification, verify_results

    with report_errors():
        found = verify_results(*load(config), quick=quick)
    if style == "text":
        show_verification(found, open_console())
    else:
        echo_json(format_verification(found))
    if found.findings:
        raise typer.Exit(1)


@app.command(rich_help_panel=PEOPLE)
def init(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder of videos, a DeepLabCut or Lightning Pose project, SLEAP's .slp, "
            "COCO's or Label Studio's .json."
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="Folder for config.yaml and cohort.tsv.")] = Path(),
    *,
    pattern: PatternOption = "",
    session: SessionOption = "",
) -> None:
    """Write a config and a cohort sheet for your own videos; `sheet` adds more videos later."""
    from pipeline_lib.steps.init.run import init_project

    with report_errors():
        init_project(source, folder, make_naming(pattern, session))


@app.command(rich_help_panel=PEOPLE)
def demo(  # noqa: PLR0913 - one option per setting
    folder: Annotated[Path, typer.Argument(help="Folder for the demo cohort.")],
    *,
    videos: Annotated[int, typer.Option(min=1, help="Recordings that are not damaged.")] = 8,
    frames: Annotated[int, typer.Option(min=1, help="Frames per video.")] = 150,
    individuals: Annotated[int, typer.Option(min=1, help="Animals in each recording.")] = 1,
    cameras: Annotated[int, typer.Option(min=1, help="Cameras per recording.")] = 1,
    labelled_frames: Annotated[int, typer.Option(min=1, help="Labelled frames in all.")] = 70,
    boards: Annotated[
        int, typer.Option(min=0, help="Images of a calibration board per camera, for a demo in 3D.")
    ] = 0,
    size: Annotated[int, typer.Option(min=64, help="Width and height of frames in px.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")] = 0,
) -> None:
    """Render a cohort with exact truth: videos, sheet, labelled project and config."""
    from pipeline_lib.demo.write import make_settings, write_demo

    with report_errors():
        settings = make_settings(
            videos=videos,
            frames=frames,
            individuals=individuals,
            cameras=cameras,
            labelled_frames=labelled_frames,
            boards=boards,
            width=size,
            height=size,
            seed=seed,
        )
        write_demo(folder, settings)


@app.command(rich_help_panel=PEOPLE)
def demo_error(
    folder: Annotated[Path, typer.Argument(help="A demo cohort that has been run.")],
) -> None:
    """Print the path of the demo's report, and the error of its poses against the truth."""
    from pipeline_lib.demo.space import describe_demo_space
    from pipeline_lib.demo.tracks import describe_demo_tracks
    from pipeline_lib.demo.truth import describe_demo_error
    from pipeline_lib.demo.write import measure_scene

    with report_errors():
        settings, results = load(folder / "config.yaml", folder)
        lines = describe_demo_error(folder, results.root, settings.training.name)
        if settings.individuals.max > 1:
            lines += describe_demo_tracks(folder, results, settings.training.name)
        if settings.triangulation.enabled:
            lines += describe_demo_space(folder, results, settings, measure_scene(folder))
        for line in (f"Report: {results.report}", *lines):
            echo(line)


# Verbs of other modules, in the order of the help.
_VERBS: Mapping[str, tuple[Callable[..., None], ...]] = {
    PEOPLE: (sheet, watch, doctor, costs, tidy, rerun),
    LABELS: (label, list_doubts, write_label_project, merge_labels, merge_tracks),
    VIDEOS: (quality, judge),
    CAMERAS: (
        *(triangulate, correct_views, export_sessions, render_sessions),
        *(calibrate, board, live),
    ),
    NETWORKS: (bundle, import_model, predict),
}
for panel, verbs in _VERBS.items():
    for verb in verbs:
        app.command(rich_help_panel=panel)(verb)
app.add_typer(zoo, rich_help_panel=NETWORKS)


def main() -> None:
    """Run the command line."""
    prepare_process()
    try:
        app()
    except Exception:  # noqa: BLE001 - a fault of ours, whose message may quote a file of a stranger
        echo_text(traceback.format_exc(), err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
