"""Measure loss and error on stored samples during training, only for the learning curves."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytorch_lightning as lightning
import torch
from torch import Tensor

from pipeline_lib.core.settings.network import TrainingSettings
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.models.inference.preprocessing import FrameFit
from pipeline_lib.models.training.module import PoseTraining, SampleMeasures
from pipeline_lib.models.training.samples.data import FILLER, StoredSamples, collate, share_samples

# Points of a curve, unless the settings say otherwise.
_POINTS = 12
# Training samples that are measured: as many as test samples, within these bounds.
_LEAST_TRAINING, _MOST_TRAINING = 8, 64


class CurveMeasurement:
    """Measure the test split, and some training samples without augmentation, after some epochs.

    Images, keypoints and maps are read from the target store; nothing is drawn. A measurement
    takes no random number and changes no statistic of the network: with and without it, the
    trained network is the same to the bit. All test samples are measured, and as many training
    samples, at least 8 and at most 64, evenly spread over their split.

    Parameters
    ----------
    path
        The target store.
    settings
        ``measure_every``, ``epochs`` and the size of training batches.
    """

    def __init__(self, path: Path, settings: TrainingSettings) -> None:
        self._settings = settings
        store = TargetStore(path)
        self._layout = store.layout
        fits = [FrameFit.of(one.height, one.width, store.layout.scale) for one in store.samples]
        self._factors = torch.tensor(np.stack([fit.factor for fit in fits]))
        self._test = StoredSamples(path, "test", with_maps=True)
        self._train = StoredSamples(path, "train", with_maps=True)
        most = min(max(len(self._test), _LEAST_TRAINING), _MOST_TRAINING)
        self._some_training = spread_evenly(len(self._train), most)

    @property
    def every(self) -> int | None:
        """Epochs between two measurements; None: there are none."""
        if not len(self._test) or self._settings.measure_every == 0:
            return None
        return self._settings.measure_every or math.ceil(self._settings.epochs / _POINTS)

    def is_due(self, epochs: int, last: int | None = None) -> bool:
        """Tell whether to measure after this number of epochs.

        Parameters
        ----------
        epochs
            Epochs so far.
        last
            Number of the last epoch, which is always measured; None: that of the settings.
        """
        every, last = self.every, last or self._settings.epochs
        return every is not None and (epochs % every == 0 or epochs == last)

    def measure(self, trainer: lightning.Trainer, module: PoseTraining) -> dict[str, float]:
        """Return losses and errors by the name of their metric; all processes call this.

        Returns
        -------
        dict
            ``test_loss`` and ``train_unaugmented_loss``, in the units of ``train_loss``;
            ``test_error``, ``train_error`` (mean) and ``test_median_error``,
            ``train_median_error``: distance from a labelled keypoint to the nearest peak, px of
            the frame, every keypoint weighing the same; NaN where nothing is labelled.
        """
        test, train = (
            self._measure_split(trainer, module, samples, numbers)
            for samples, numbers in (
                (self._test, range(len(self._test))),
                (self._train, self._some_training),
            )
        )
        return {
            "test_loss": _average_loss(module, test),
            **_summarise_errors("test", test),
            "train_unaugmented_loss": _average_loss(module, train),
            **_summarise_errors("train", train),
        }

    def _measure_split(
        self,
        trainer: lightning.Trainer,
        module: PoseTraining,
        samples: StoredSamples,
        numbers: range | list[int],
    ) -> SampleMeasures:
        """Return the measurements of all processes, in the order of the samples."""
        devices = trainer.world_size
        size = devices * self._count_per_pass(self._settings.batch_size // devices)
        parts = []
        plugin, strategy = trainer.precision_plugin, trainer.strategy
        with _evaluating(module), plugin.val_step_context(), torch.no_grad():
            for indices in share_samples(len(numbers), size, trainer.global_rank, devices):
                batch = collate([samples[FILLER if i == FILLER else numbers[i]] for i in indices])
                # Not the keypoints: half precision has no more digits than whole pixels.
                batch = plugin.convert_input(batch)._replace(keypoint=batch.keypoint)
                factor = self._factors[batch.sample].float()
                batch, factor = strategy.batch_to_device((batch, factor), module.device)
                found = module.measure_samples(batch, factor)
                parts.append(SampleMeasures(*(one.cpu().double() for one in found)))
        own = SampleMeasures(*map(torch.cat, zip(*parts, strict=True)))
        return SampleMeasures(*(_gather(trainer, one)[: len(numbers)] for one in own))

    def _count_per_pass(self, batch_size: int) -> int:
        """Return the number of samples with at most as many pixels as a training batch.

        More might not fit into memory where the network is trained on crops.
        """
        layout = self._layout
        if layout.window is not None:
            return max(1, batch_size)
        side = self._settings.crop or max(layout.height, layout.width)
        trained = min(side, layout.height) * min(side, layout.width)
        return max(1, batch_size * trained // (layout.height * layout.width))


def spread_evenly(count: int, most: int) -> list[int]:
    """Return at most this number of integers below a count, evenly spread and rising."""
    chosen = min(count, most)
    return [number * count // chosen for number in range(chosen)]


@contextmanager
def _evaluating(module: lightning.LightningModule) -> Iterator[None]:
    """Switch every part to evaluation mode, and restore its mode afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _gather(trainer: lightning.Trainer, own: Tensor) -> Tensor:
    """Return the samples of all processes, interleaved as `share_samples` dealt them."""
    if trainer.world_size == 1:
        return own
    shared = trainer.strategy.all_gather(own.to(trainer.strategy.root_device))
    return shared.transpose(0, 1).flatten(0, 1).cpu()


def _average_loss(module: PoseTraining, measures: SampleMeasures) -> float:
    """Return the loss over all samples: means over everything that is labelled in them."""
    total = (measures.loss * measures.weight).sum(dim=0)
    return float(module.weigh(total / measures.weight.sum(dim=0).clamp(min=1.0)))


def _summarise_errors(split: str, measures: SampleMeasures) -> dict[str, float]:
    """Return mean and median distance over the labelled keypoints."""
    distance = measures.distance.numpy()
    known = distance[np.isfinite(distance)]
    return {
        f"{split}_error": float(known.mean()) if len(known) else math.nan,
        f"{split}_median_error": float(np.median(known)) if len(known) else math.nan,
    }
