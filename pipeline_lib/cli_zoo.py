"""Define the verbs about bundles: networks in one file that are handed on."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline_lib.cli_options import DEFAULT_CONFIG, ConfigOption, CoresOption
from pipeline_lib.cli_output import echo, echo_table, echo_text
from pipeline_lib.cli_running import keep_cores, load, report_errors, run, run_shards

zoo = typer.Typer(
    name="zoo",
    help="List, show and verify bundles: networks in one file.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

BundleArgument = Annotated[
    str, typer.Argument(help="Path, https:// or hf://owner/name/file@revision.")
]


def bundle(  # noqa: PLR0913 - one for each option
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    output: Annotated[
        Path | None, typer.Option(help="File to write; without it, NAME.cohortpose.")
    ] = None,
    licence: Annotated[
        str, typer.Option(help="Licence of the network, such as CC-BY-4.0; it must be given.")
    ] = "",
    licence_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Text of the licence.")
    ] = None,
    citation: Annotated[str, typer.Option(help="How to cite the network.")] = "",
    description: Annotated[
        str, typer.Option(help="What it is for: species, view, imaging, posture.")
    ] = "",
    from_deeplabcut: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Folder of a network that DeepLabCut 3 trained (pytorch_config.yaml and "
            "snapshot-*.pt), one snapshot, or a checkpoint of a SuperAnimal in DeepLabCut's "
            "modelzoo, instead of the network of a config.",
        ),
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Detector of a top-down network of --from-deeplabcut; without it, the one beside.",
        ),
    ] = None,
    individuals: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="Most animals in a frame, for a top-down network; SuperAnimal."
        ),
    ] = None,
    conversion: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="config.yaml of a DeepLabCut project whose conversion table names the bodyparts "
            "to predict of a SuperAnimal.",
        ),
    ] = None,
    from_lightning_pose: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Folder of a network that Lightning Pose trained (config.yaml and a checkpoint "
            "below), or one checkpoint, instead of the network of a config.",
        ),
    ] = None,
    from_sleap_nn: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Folder of a network that SLEAP-NN trained (training_config.yaml and best.ckpt), "
            "or one checkpoint, instead of the network of a config.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of a network of another tool; without it, that of the tool."),
    ] = None,
) -> None:
    """Write the trained network as one file, a bundle, that others can run without labels.

    It holds weights, exported networks, skeleton, training record, metrics, licence and a card in
    Markdown, with the hashes of all. Neither videos nor labels are in it.
    """
    from pipeline_lib.core.untrusted.names import find_name_problem
    from pipeline_lib.steps.bundle import (
        BundleTexts,
        run_bundle,
        run_deeplabcut_bundle,
        run_foreign_bundle,
    )

    if name is not None and (problem := find_name_problem(name)):
        raise typer.BadParameter(f"{name!r} {problem}", param_hint="--name")
    sources = (from_deeplabcut, from_lightning_pose, from_sleap_nn)
    if sum(source is not None for source in sources) > 1:
        raise typer.BadParameter("one network at a time", param_hint="--from-…")
    texts = BundleTexts(licence, licence_file, citation, description)
    with report_errors():
        if from_lightning_pose is not None:
            own = name or "lightning-pose"
            echo(run_foreign_bundle("lightning-pose", from_lightning_pose, own, texts, output))
        elif from_sleap_nn is not None:
            echo(run_foreign_bundle("sleap-nn", from_sleap_nn, name or "sleap-nn", texts, output))
        elif from_deeplabcut is not None:
            from pipeline_lib.models.zoo.foreign.deeplabcut import DeepLabCutSource

            source = DeepLabCutSource(from_deeplabcut, detector, individuals, conversion)
            echo(run_deeplabcut_bundle(source, name or "deeplabcut", texts, output))
        else:
            echo(run_bundle(*load(config), texts, output))


def import_model(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Verify the bundle of `model.bundle` and use its network instead of training one."""
    from pipeline_lib.steps.import_model import run_import_model

    run(config, run_import_model)


def predict(
    videos: Annotated[list[Path], typer.Argument(help="Videos to predict.")],
    *,
    model: Annotated[
        str, typer.Option(help="Bundle: a path, https:// or hf://owner/name/file@revision.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for config, sheet and results.")] = Path(
        "predictions"
    ),
    cores: CoresOption = None,
) -> None:
    """Predict the poses of videos with a bundle, without a config, a sheet or labels.

    The folder that it writes is a project: Snakemake can go on with it. The same command resumes
    where it stopped.
    """
    from pipeline_lib.steps.import_model import run_import_model
    from pipeline_lib.steps.predict import (
        describe_predictions,
        list_verbs,
        write_prediction_project,
    )

    keep_cores(cores)
    with report_errors():
        path = write_prediction_project(videos, model, output)
        os.chdir(output)
        config = Path(path.name)
        run(config, run_import_model)
        settings, results = load(config)
        for verb in list_verbs(settings):
            run_shards(config, None, verb)
        lines, good = describe_predictions(settings, results)
    for line in lines:
        echo(output / line if line.startswith(settings.results) else line)
    if not good:
        raise typer.Exit(1)


@zoo.command("list")
def list_command(
    folder: Annotated[Path, typer.Argument(help="Folder with bundles.")] = Path(),
) -> None:
    """List the bundles of a folder, and those that were downloaded."""
    from pipeline_lib.steps.zoo import list_bundles

    with report_errors():
        echo_table(list_bundles(folder))


@zoo.command("show")
def show_command(bundle: BundleArgument) -> None:
    """Show the card of a bundle: what was trained on what, errors, use, licence, citation."""
    from pipeline_lib.steps.zoo import show_bundle

    with report_errors():
        echo_text(show_bundle(bundle))


@zoo.command("verify")
def verify_command(
    bundles: Annotated[
        list[str], typer.Argument(help="Paths, https:// or hf://owner/name/file@revision.")
    ],
) -> None:
    """Verify hashes, networks and weights of bundles; fail at the first bad one."""
    from pipeline_lib.steps.zoo import verify_bundle

    with report_errors():
        for address in bundles:
            echo(verify_bundle(address))
