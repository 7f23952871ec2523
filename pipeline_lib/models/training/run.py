"""Run a training: trainer, checkpoints, resuming; then export the network."""

import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as lightning
import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback, RichProgressBar
from pytorch_lightning.strategies import Strategy

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.process import Launcher, find_launcher, is_first_rank, mark_children
from pipeline_lib.core.settings.network import TargetSettings, TrainingSettings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.models.network.backbone import Backbone
from pipeline_lib.models.network.batch_norm import GlobalBatchNorm
from pipeline_lib.models.network.freezing import freeze_statistics, freeze_stem
from pipeline_lib.models.network.network import PoseNetwork
from pipeline_lib.models.network.plain_tensors import check_tensors
from pipeline_lib.models.network.pointwise import multiply_pointwise
from pipeline_lib.models.training.checkpoint_files import (
    BEST,
    LAST,
    CheckpointFiles,
    find_resumable,
    read_checkpoint,
)
from pipeline_lib.models.training.checkpoints import (
    BestCheckpoint,
    LastCheckpoint,
    TrainingTime,
)
from pipeline_lib.models.training.history import HistoryWriter
from pipeline_lib.models.training.measurement import CurveMeasurement
from pipeline_lib.models.training.memory import keep_freed_memory
from pipeline_lib.models.training.module import PoseTraining
from pipeline_lib.models.training.precision import choose_precision
from pipeline_lib.models.training.rendezvous import LoopbackEnvironment
from pipeline_lib.models.training.samples.data import PoseData
from pipeline_lib.models.training.samples.targets import ONE_ANIMAL, TargetPlan
from pipeline_lib.models.training.stopping import DivergenceStop, PlateauStop
from pipeline_lib.models.training.unsupervised import plan_unsupervised

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedNetwork:
    """Hold a network after training.

    Attributes
    ----------
    network
        With the weights of the chosen checkpoint, in single precision on the CPU.
    epochs, steps
        How long the chosen checkpoint had been trained.
    seconds
        Wall time, over all processes that it was resumed in.
    checkpoint
        File name of the chosen checkpoint.
    precision
        Lightning's name of the precision, chosen or stated.
    """

    network: PoseNetwork
    epochs: int
    steps: int
    seconds: float
    checkpoint: str
    precision: str


def build_network(
    settings: TrainingSettings, stride: int, keypoints: int, plan: TargetPlan = ONE_ANIMAL
) -> PoseNetwork:
    """Build the network of the settings, with pretrained weights."""
    backbone = Backbone(settings.backbone, settings.weights, stride)
    return PoseNetwork(
        backbone,
        keypoints,
        settings.head_channels,
        context=settings.head_context,
        stages=settings.head_stages,
        edges=len(plan.edges),
        identities=plan.identities,
    )


def load_start(network: PoseNetwork, path: Path) -> None:
    """Load the weights of a trained network, the head's included.

    Raises
    ------
    ModelError
        If the file holds no weights, those of another network, or some that are not finite.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        check_tensors(state, network.state_dict(), f"training.start_from: {path}")
        network.load_state_dict(state)
        # What its input is normalised by belongs to its weights.
        statistics = (network.mean.flatten().tolist(), network.std.flatten().tolist())
        network.backbone.mean, network.backbone.std = (
            (red, green, blue) for red, green, blue in statistics
        )
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError, EOFError) as error:
        raise ModelError(
            f"training.start_from: {path}: its weights do not fit this network: {error}"
        ) from None
    except pickle.UnpicklingError as error:
        raise ModelError(f"training.start_from: {path}: holds no weights: {error}") from None


def train_network(  # noqa: PLR0913 - the sections of the config
    targets_path: Path,
    files: ModelFiles,
    targets: TargetSettings,
    training: TrainingSettings,
    skeleton: Skeleton,
    *,
    key: str,
    start: Callable[[PoseNetwork], None] | None = None,
    clips: Path | None = None,
) -> TrainedNetwork:
    """Train, or resume from ``last.ckpt`` of this training, and load the chosen checkpoint.

    With several devices, each process of the training calls this, and gets the same network.

    Parameters
    ----------
    targets_path
        The target store.
    files
        Where checkpoints and history go.
    targets, training, skeleton
        What to train.
    key
        Hash of all that the network depends on; checkpoints of other trainings are set aside.
    start
        Function that loads the weights of a trained network to start from; None: from those of
        the settings.
    clips
        Store of the clips without labels, if any are learned from.

    Raises
    ------
    ModelError
        If the settings ask for what the machine or the network does not have.
    PreemptedError
        If SIGTERM or SIGUSR1 stopped it; ``last.ckpt`` is saved.
    """
    keep_freed_memory()
    # The head's weights are drawn under the seed; augmentation has streams of its own.
    lightning.seed_everything(training.seed, workers=True, verbose=False)
    layout = TargetStore(targets_path).layout
    animals = max(1, len(layout.animals))
    identities = animals if layout.identities else 0
    plan = TargetPlan(animals, layout.edges, identities, layout.window)
    network = build_network(training, targets.stride, len(skeleton.bodyparts), plan)
    if start is not None:
        start(network)
    network = network.to(memory_format=torch.channels_last)
    # The store has the maps of whole frames, or of windows, in which no keypoint moved.
    still = not training.augmentation.moves_keypoints
    data = PoseData(
        targets_path,
        training.batch_size,
        training.seed,
        training.loader_workers,
        stored_maps=still and (plan.window is not None or training.crop is None),
    )
    unsupervised = None
    if clips is not None:
        store = TargetStore(targets_path)
        own = training.unsupervised
        unsupervised = plan_unsupervised(own, targets, store, clips, training.seed)
    module = PoseTraining(network, targets, training, skeleton, plan, unsupervised)
    if training.checkpoint == "best" and not len(data.validation):
        raise ModelError(
            f"{targets_path}: no frame to validate on, so none is best: raise "
            "training.validation_fraction or set training.checkpoint to last"
        )
    history = HistoryWriter(files.history, CurveMeasurement(targets_path, training))
    duration = TrainingTime(files.training_seconds)
    validated = len(data.validation) > 0
    trainer = _build_trainer(files, training, key, history, duration, has_validation=validated)
    # Otherwise a double-precision checkpoint would be rounded to single precision.
    trainer.precision_plugin.convert_module(network)
    last = find_resumable(files.checkpoints, key)
    if last is not None and is_first_rank():
        logger.info("resuming from %s", last)
    with mark_children(), _compute_less(network, training, trainer):
        # `CheckpointFiles` decides what a checkpoint may contain.
        trainer.fit(module, data, ckpt_path=None if last is None else str(last))
    if trainer.interrupted:
        raise KeyboardInterrupt
    chosen = _choose_checkpoint(files, training)
    state = read_checkpoint(chosen, key)
    prefix = "network."
    network.load_state_dict(
        {k.removeprefix(prefix): v for k, v in state["state_dict"].items() if k.startswith(prefix)}
    )
    return TrainedNetwork(
        network=network.float().cpu().eval(),
        epochs=int(state["epoch"]) + 1,
        steps=int(state["global_step"]),
        seconds=duration.seconds,
        checkpoint=chosen.name,
        precision=str(trainer.precision),
    )


@contextmanager
def _compute_less(
    network: PoseNetwork, training: TrainingSettings, trainer: lightning.Trainer
) -> Iterator[None]:
    """Leave out what need not be computed; afterwards the network's layers are its own again."""
    with ExitStack() as stack:
        if training.freeze:
            stack.callback(freeze_statistics(network.backbone))
            freeze_stem(network.backbone)
        if trainer.strategy.root_device.type == "cpu":
            stack.enter_context(multiply_pointwise(network))
        yield


def _build_trainer(  # noqa: PLR0913 - the last two are what Lightning calls
    files: ModelFiles,
    training: TrainingSettings,
    key: str,
    history: HistoryWriter,
    duration: TrainingTime,
    *,
    has_validation: bool,
) -> lightning.Trainer:
    # Short trainings validate and save once, at their end.
    every = min(training.validate_every, training.epochs)
    callbacks: list[Callback] = [DivergenceStop(), duration, history]
    if training.stop.plateau:
        # After the history, whose curve it looks at.
        validated = every if has_validation else 1
        callbacks.append(PlateauStop(training.stop, training.epochs, history, validated))
    if has_validation:
        callbacks.append(BestCheckpoint(files.checkpoints / BEST, every))
    callbacks.append(LastCheckpoint(files.checkpoints / LAST, every))
    on_terminal = sys.stderr.isatty()
    if on_terminal:
        callbacks.append(RichProgressBar())
    precision = choose_precision(training.precision, training.accelerator)
    if is_first_rank():
        logger.info("precision %s: %s", *precision)
    try:
        environment = _choose_environment(training)
        trainer = lightning.Trainer(
            accelerator=training.accelerator,
            devices=training.devices,
            num_nodes=training.num_nodes,
            strategy=training.strategy,
            precision=precision.name,  # type: ignore[arg-type]
            max_epochs=training.epochs,
            check_val_every_n_epoch=every,
            deterministic=training.deterministic,
            callbacks=callbacks,
            logger=False,
            # Checkpoints of certain names there would be preferred to ours.
            default_root_dir=os.devnull,
            use_distributed_sampler=False,
            plugins=[GlobalBatchNorm(), environment, CheckpointFiles(key)],
            num_sanity_val_steps=0,
            enable_progress_bar=on_terminal,
            enable_model_summary=False,
        )
        environment.validate_settings(trainer.num_devices, trainer.num_nodes)
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise ModelError(f"training: Lightning refuses these settings: {error}") from error
    refuse_own_checkpoints(trainer.strategy)
    return trainer


def refuse_own_checkpoints(strategy: Strategy) -> None:
    """Refuse strategies with checkpoints in a format of their own, which may contain code.

    Raises
    ------
    ModelError
        For such a strategy.
    """
    if type(strategy).load_checkpoint is not Strategy.load_checkpoint:
        raise ModelError(
            f"training.strategy: {type(strategy).__name__} has checkpoints of its own form, which "
            "may hold code; use auto or ddp"
        )


def _choose_environment(training: TrainingSettings) -> ClusterEnvironment:
    """Return the environment that starts the processes of the other devices.

    In a SLURM job that did not start this process as one of several tasks, such as Snakemake's or
    a shell's, Lightning starts them, as on a workstation.
    """
    launcher = find_launcher()
    if launcher is Launcher.TORCHRUN:
        return TorchElasticEnvironment()
    if launcher is Launcher.SRUN:
        # Requeueing is ours: see LastCheckpoint.
        return SLURMEnvironment(auto_requeue=False)
    if launcher is Launcher.NOBODY and training.num_nodes > 1:
        # It would wait for the others forever.
        raise ModelError(
            f"training.num_nodes: a training on {training.num_nodes} nodes is started as one task "
            "for each device, and this is a single process; put `srun` before the command, or set "
            "NODE_RANK, MASTER_ADDR and MASTER_PORT on each node"
        )
    # Those of other strategies, such as `ddp_spawn`, are copies of this process.
    starts_anew = not training.strategy.endswith(("_spawn", "_fork", "_notebook"))
    if training.num_nodes == 1 and starts_anew:
        return LoopbackEnvironment()
    return LightningEnvironment()


def _choose_checkpoint(files: ModelFiles, training: TrainingSettings) -> Path:
    chosen = files.checkpoints / f"{training.checkpoint}.ckpt"
    if not chosen.exists():
        raise ModelError(f"{chosen}: training wrote no such checkpoint")
    return chosen
