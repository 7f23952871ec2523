"""Run the verb `train`: train a network; write its card and learning curves."""

import hashlib
import importlib.metadata
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_lib.core import versions
from pipeline_lib.core.errors import ModelError, PreemptedError
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.process import (
    Launcher,
    find_launcher,
    forget_launchers,
    is_first_rank,
)
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config, ResolvedConfig
from pipeline_lib.core.stages import name_training
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL, UNIQUE_INDIVIDUAL
from pipeline_lib.core.untrusted.bundle_address import names_bundle
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.io.chosen_settings import read_choices_in_force, resolve_settings
from pipeline_lib.io.publish import publish_file, publish_text
from pipeline_lib.io.targets.clips import ClipStore
from pipeline_lib.io.targets.store import TargetLayout, TargetStore
from pipeline_lib.models.card import ModelCard, TrainingRecord, format_card
from pipeline_lib.steps.runs.networks.start_network import (
    BundledStart,
    choose_start,
    find_start,
    list_trained,
)
from pipeline_lib.steps.runs.stage_keys import require_claimed

if TYPE_CHECKING:
    from pipeline_lib.models.network.network import PoseNetwork

logger = logging.getLogger(__name__)

# In s: the first process may start later than the others.
_PATIENCE = 600.0


# Seeds lie below.
_SEEDS = 2**32


def run_train(config: Config, results: Results, *, locator: bool = False, member: int = 1) -> None:
    """Train the configured network and publish it under ``models/NAME``.

    A training that was killed goes on from its last checkpoint, provided that it had the same
    settings and targets; other checkpoints are set aside. Several processes of one distributed
    training may run this; the first one writes.

    Parameters
    ----------
    config, results
        The run; settings that are `auto` have the values that import-labels chose.
    locator
        Train the network that finds the animal, published under ``models/NAME/locator``.
    member
        Number of the network in its ensemble. The first is that of a run without an ensemble;
        others have seeds of their own, and are published under ``models/NAME/members``.

    Raises
    ------
    ModelError
        If the settings ask for what cannot be had.
    PreemptedError
        If SIGTERM or SIGUSR1 stopped the training; the next call resumes it. Raised in
        the first process; the others just end.
    """
    if find_launcher() is Launcher.NOBODY:
        # Lightning reads the variables as soon as it is imported.
        forget_launchers()
    # Lightning and torch take seconds to import: only this verb pays.
    from pipeline_lib.models.training.edge_choice import choose_used_edges  # noqa: PLC0415
    from pipeline_lib.models.training.export_onnx import export_onnx, save_weights  # noqa: PLC0415
    from pipeline_lib.models.training.run import TrainedNetwork, train_network  # noqa: PLC0415
    from pipeline_lib.steps.transfer import plan_start  # noqa: PLC0415

    # The card of the main network says what was chosen, also for the locator.
    chosen = {} if locator else read_choices_in_force(config, results)
    stated = config
    config = choose_member(resolve_settings(config, results), member)
    targets, files = results.targets, results.model(config.training.name).member(member)
    start = _find_start(config, results, member)
    if locator:
        config, targets, files = config.for_locator(), results.locator_targets, files.locator
        start = start.locator if start else None
    store = TargetStore(targets)
    layout = store.layout
    start = skip_missing_locator(start)
    load, source = None, None
    if start is not None:
        planned = plan_start(config, start, layout)
        source = hash_start(start)
        load = _load_same(planned, start, source)
    clips = results.clips if config.training.unsupervised.enabled else None
    key = training_key(config, store, start)
    if is_first_rank():
        require_claimed(
            stated,
            results,
            name_training(locator=locator, member=member),
            bundles=[source] if isinstance(start, BundledStart) and source else None,
        )
        _claim_checkpoints(files, key)
    else:
        _await_claim(files, key)
    try:
        trained: TrainedNetwork = train_network(
            targets,
            files,
            config.targets,
            config.training,
            layout.skeleton,
            key=key,
            start=load,
            clips=clips,
        )
    except PreemptedError:
        # One process reports: a launcher that sees another one fail may kill the first.
        if is_first_rank():
            raise
        return
    if not is_first_rank():
        return
    with publish_file(files.weights) as part:
        save_weights(trained.network, part)
    with publish_file(files.network) as part:
        export_onnx(trained.network, config.targets.location_refinement_scale, part)
    used_edges = tuple(range(len(layout.edges)))
    if layout.edges and config.assembly.graph == "complete":
        used_edges = choose_used_edges(trained.network, store)
    card = ModelCard(
        name=config.training.name,
        key=key,
        backbone=config.training.backbone,
        head_channels=config.training.head_channels,
        head_context=config.training.head_context,
        head_stages=config.training.head_stages,
        parameters=sum(p.numel() for p in trained.network.parameters()),
        stride=config.targets.stride,
        scale=config.targets.scale,
        refinement_scale=config.targets.location_refinement_scale,
        skeleton=layout.skeleton,
        individuals=name_slots(layout),
        edges=layout.edges,
        used_edges=used_edges,
        identities=layout.animals if layout.identities else (),
        window=layout.window,
        mean=trained.network.backbone.mean,
        std=trained.network.backbone.std,
        network_sha256=hashlib.sha256(files.network.read_bytes()).hexdigest(),
        training=TrainingRecord(
            epochs=trained.epochs,
            steps=trained.steps,
            seconds=round(trained.seconds, 1),
            seed=config.training.seed,
            frames={name: len(store.of_split(name)) for name in ("train", "validation", "test")},
            checkpoint=trained.checkpoint,
            iteration=config.training.iteration,
            start_from=config.training.start_from,
            start_sha256=source,
            precision=trained.precision,
            targets_key=store.key,
            settings=config.training.model_dump(mode="json"),
        ),
        chosen=chosen,
        versions={
            name: importlib.metadata.version(name)
            for name in ("cohortpose", "torch", "pytorch-lightning", "timm", "onnx")
        },
    )
    publish_text(files.card, format_card(card))
    logger.info("network of %d steps in %s", trained.steps, files.folder)


def choose_member(config: ResolvedConfig, member: int) -> ResolvedConfig:
    """Return the settings of a member of an ensemble: those of the run with another seed.

    Raises
    ------
    ModelError
        If the ensemble has no such member.
    """
    training = config.training
    if not 1 <= member <= training.ensemble:
        raise ModelError(
            f"--member {member}: `training.ensemble` is {training.ensemble}: raise it, or give a "
            "number from 1 on"
        )
    seed = (training.seed + member - 1) % _SEEDS
    return config.model_copy(update={"training": training.model_copy(update={"seed": seed})})


def hash_start(start: ModelFiles | BundledStart) -> str:
    """Return the hash of what a training starts from: weights, or the bundle that was read."""
    return start.bundle.sha256 if isinstance(start, BundledStart) else hash_path(start.weights)


def _load_same(
    load: Callable[["PoseNetwork"], None], start: ModelFiles | BundledStart, source: str
) -> Callable[["PoseNetwork"], None]:
    """Return a function that loads weights, and refuses others than those that were hashed.

    A bundle sees to that itself.
    """

    def load_same(network: "PoseNetwork") -> None:
        load(network)
        if isinstance(start, ModelFiles) and hash_path(start.weights) != source:
            raise ModelError(
                f"{start.weights}: was replaced while this training began: run train again"
            )

    return load_same


def name_slots(layout: TargetLayout) -> tuple[str, ...]:
    """Return the names of the slots of the individual axis of the network's poses.

    Slots are numbered, because only tracking finds out which animal is in which slot.
    """
    if len(layout.animals) <= 1:
        return (SINGLE_INDIVIDUAL,)
    animals = tuple(f"individual{number}" for number in range(1, len(layout.animals) + 1))
    return (*animals, UNIQUE_INDIVIDUAL) if layout.skeleton.unique_bodyparts else animals


def _find_start(
    config: ResolvedConfig, results: Results, member: int
) -> ModelFiles | BundledStart | None:
    """Return the network to start from; None: from pretrained or random weights."""
    name = config.training.start_from
    if name is None:
        return None
    if names_bundle(name):
        return find_start(config, member=member)
    return choose_start(list_trained(results.model(name)), member)


def skip_missing_locator(
    start: ModelFiles | BundledStart | None,
) -> ModelFiles | BundledStart | None:
    """Return a network to start from; None for a locator that its bundle does not have."""
    return None if isinstance(start, BundledStart) and start.card is None else start


def training_key(
    config: Config, store: TargetStore, start: ModelFiles | BundledStart | None = None
) -> str:
    """Return the hash of all dependencies of a trained network.

    Parameters
    ----------
    config
        Settings of the training; for the locator, its own.
    store
        Targets.
    start
        Files of the network that it starts from; None: from pretrained or random weights.
    """
    training: dict[str, Any] = config.training_settings()
    if start is not None:
        # Whatever its name is.
        training["start_from"] = hash_start(start)
        if isinstance(start, BundledStart) and start.folder and not start.finds_animals:
            training["start_from"] += f":{start.folder}"
    weights = Path(config.training.weights)
    if weights.is_file():
        training["weights"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    # The bodyparts, and the edges where these are learned, are in the store's key.
    if config.training.unsupervised.enabled:
        # Beside the targets, wherever the results are.
        training["clips"] = ClipStore(store.path.with_name(Results(Path()).clips.name)).key
    mirrored = {"symmetries": store.layout.skeleton.symmetries}
    return hash_settings(training, mirrored, store.key, versions.TRAIN)


def _claim_checkpoints(files: ModelFiles, key: str) -> None:
    """Keep checkpoints of the same training only."""
    if files.checkpoints.exists() and _read_claim(files) != key:
        shutil.rmtree(files.checkpoints)
    publish_text(files.training_key, key + "\n")


def _await_claim(files: ModelFiles, key: str) -> None:
    """Wait until the first process has removed the files of other trainings."""
    end = time.monotonic() + _PATIENCE
    while _read_claim(files) != key:
        if time.monotonic() > end:
            raise ModelError(
                f"{files.training_key}: the first process of this training has not "
                f"written it for {_PATIENCE:.0f} s; the results must be on a file system that all "
                "nodes share"
            )
        time.sleep(0.1)


def _read_claim(files: ModelFiles) -> str:
    """Return the key of the training of the checkpoints; empty if it is unknown."""
    try:
        return (files.training_key).read_bytes().decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
