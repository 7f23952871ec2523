"""Train the pose network with Lightning."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as lightning
import torch
from torch import Tensor

from pipeline_lib.core.settings.network import TargetSettings, TrainingSettings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.kernels.maps.peaks import find_peaks
from pipeline_lib.kernels.maps.score_maps import decode_peaks, find_present, map_shape
from pipeline_lib.kernels.plateau import scale_learning_rate
from pipeline_lib.models.network.batch_norm import untracked_statistics
from pipeline_lib.models.network.losses import (
    identity_loss,
    location_refinement_loss,
    part_affinity_loss,
    score_map_entropy,
    score_map_loss,
)
from pipeline_lib.models.network.network import PoseNetwork
from pipeline_lib.models.training.samples.augmentation import (
    change_appearance,
    draw_warp,
    mirror_names,
    random_streams,
    warp_images,
    warp_keypoints,
)
from pipeline_lib.models.training.samples.data import FILLER, Batch, cut_centre
from pipeline_lib.models.training.samples.targets import (
    ONE_ANIMAL,
    TargetMaps,
    TargetPlan,
    encode_targets,
)
from pipeline_lib.models.training.stopping import EXCESS_LOSS
from pipeline_lib.models.training.unsupervised import UnsupervisedLosses

LOSSES = ("score_map_loss", "location_refinement_loss")
AFFINITY_LOSS, IDENTITY_LOSS = "part_affinity_loss", "identity_loss"
FIRST_STAGE_LOSS = "first_stage_loss"
_FIRST = "first_score"


class _Measured(NamedTuple):
    """Hold the losses of one device's part of a batch.

    Attributes
    ----------
    loss
        Shape (loss,), in the order of `PoseTraining.losses`: means over what was labelled.
    weight
        Shape (loss,), int64: how many points or cells each is the mean of.
    score, offset
        The network's maps: probabilities, and offsets in network px.
    """

    loss: Tensor
    weight: Tensor
    score: Tensor
    offset: Tensor


class SampleMeasures(NamedTuple):
    """Hold losses and errors of samples, one each.

    Attributes
    ----------
    loss, weight
        Shape (sample, loss), as `_Measured` has them.
    distance
        Shape (sample, individual, keypoint), px of the frame: how far each labelled keypoint is
        from the nearest peak; NaN where nothing is labelled.
    """

    loss: Tensor
    weight: Tensor
    distance: Tensor


class PoseTraining(lightning.LightningModule):
    """Train a pose network: loss, augmentation on the device, and optimiser.

    Several devices compute what one would: the global batch alone decides. Losses are means over
    the labelled keypoints of the global batch, which its parts share unequally.

    Parameters
    ----------
    network
        The network to train.
    targets, training
        Settings of the run.
    skeleton
        Names the left-right partners for mirrored frames.
    plan
        Number of animals, the maps that several animals need, and the window.
    unsupervised
        Losses of clips without labels; None: there are none.

    Attributes
    ----------
    losses
        Names of the parts of the loss.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the sections of the config
        self,
        network: PoseNetwork,
        targets: TargetSettings,
        training: TrainingSettings,
        skeleton: Skeleton,
        plan: TargetPlan = ONE_ANIMAL,
        unsupervised: UnsupervisedLosses | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.unsupervised = unsupervised
        self._targets, self._training = targets, training
        self._mirrored_order = skeleton.mirrored_order
        self._plan = plan
        weights = {LOSSES[0]: 1.0, LOSSES[1]: training.location_refinement_weight}
        if plan.edges:
            weights[AFFINITY_LOSS] = training.part_affinity_weight
        if plan.identities:
            weights[IDENTITY_LOSS] = training.identity_weight
        if network.stages > 1:
            weights[FIRST_STAGE_LOSS] = 1.0
        self.losses, self._weights = tuple(weights), tuple(weights.values())
        # Steps of the beginning and the end of the cool-down; None: it has not begun.
        self._cooldown: tuple[int | None, int] = (None, 0)
        # Sums and counts of the losses and of distances, over the validation samples.
        self._validated = torch.zeros(2, len(weights) + 1, dtype=torch.float64)

    def training_step(self, batch: Batch, _: int) -> dict[str, Any]:
        """Augment a batch, draw its targets and return the losses.

        A batch with stored maps has no keypoint that moves: the stored maps are its targets.
        """
        # In mixed precision, bfloat16 would hold coordinates to 1 in 256.
        with torch.autocast(self.device.type, enabled=False):
            batch, image, maps = self._augment(batch)
        present = self._find_present(batch)
        measured = self._measure(image, present, maps)
        share = self._share(measured.weight)
        parts = measured.loss * share
        loss = self.weigh(parts)
        supervised = loss
        more = {} if self.unsupervised is None else self._measure_clip(self.unsupervised)
        if self.unsupervised is not None:
            loss = loss + self.unsupervised.weigh(more, self._progress)
        seen = {**more, **self._measure_excess(supervised, present, maps, share)}
        shown = torch.stack([loss, *parts, *seen.values()]).detach()
        if self.trainer.world_size > 1:
            shown = self.trainer.strategy.reduce(shown, reduce_op="mean")
        self.log("loss", shown[0], prog_bar=True, logger=False)
        names = ("train_loss", *(f"train_{name}" for name in self.losses))
        names += tuple(f"train_{name}" for name in seen)
        return {"loss": loss, "metrics": dict(zip(names, shown.unbind(), strict=True))}

    def _measure_excess(
        self, loss: Tensor, present: Tensor, maps: TargetMaps, share: Tensor | float
    ) -> dict[str, Tensor]:
        """Return the loss less that of perfect maps, if a plateau is looked for.

        The Gaussians of score maps are no certain answers: their cross entropy with themselves is
        a large part of the loss of a trained network, and would hide what it still learns.
        """
        if not self._training.stop.plateau:
            return {}
        least = score_map_entropy(maps.score, present) * share
        first = least if isinstance(share, float) else least[0]
        return {EXCESS_LOSS.removeprefix("train_"): loss - self.network.stages * first}

    def _measure_clip(self, losses: UnsupervisedLosses) -> dict[str, Tensor]:
        """Return the losses of the clip of this step, unweighted."""
        frames = torch.from_numpy(losses.read_clip(self.global_step)).to(self.device)
        image = self._to_image(frames).contiguous(memory_format=torch.channels_last)
        with untracked_statistics(self.network):
            return losses.measure(self.network, image)

    @property
    def _progress(self) -> float:
        """Return the share of the training that is done."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        total = data.steps_per_epoch * (self.trainer.max_epochs or 1)
        return float(self.global_step / max(1, total))

    def on_validation_epoch_start(self) -> None:
        """Reset the sums of the last validation."""
        self._validated.zero_()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Measure loss and error of frames as they are."""
        del batch_index
        batch, maps = self._take_stored(batch)
        present = self._find_present(batch)
        measured = self._measure(self._to_image(batch.image), present, maps)
        distance = self._measure_distance(measured, batch.keypoint)
        found = distance[torch.isfinite(distance)].cpu().double()
        loss, weight = measured.loss.cpu().double(), measured.weight.cpu()
        self._validated[0] += torch.cat([loss * weight, found.sum()[None]])
        self._validated[1] += torch.cat([weight, torch.tensor([len(found)])])

    def on_validation_epoch_end(self) -> None:
        """Log loss and mean error (frame px), with equal weights of the labelled points."""
        sums = self._validated
        if self.trainer.world_size > 1:
            sums = self.trainer.strategy.reduce(sums.to(self.device), reduce_op="sum").cpu()
        loss = self.weigh(sums[0, :-1] / sums[1, :-1].clamp(min=1.0))
        # NaN, which is not the best of anything, if no point was labelled.
        error = sums[0, -1] / sums[1, -1] / self._targets.scale
        self.log("validation_loss", loss.float().to(self.device), sync_dist=True)
        self.log("validation_error", error.float().to(self.device), sync_dist=True, prog_bar=True)

    def measure_samples(self, batch: Batch, factor: Tensor) -> SampleMeasures:
        """Measure loss and error of each stored sample of a batch.

        The values of a sample depend on no other sample, and so neither on the size of batches
        nor on the number of devices.

        Parameters
        ----------
        batch
            With its stored maps.
        factor
            Shape (batch, 2), network px per px of the frame in x and y.
        """
        batch, maps = self._take_stored(batch)
        present = self._find_present(batch)
        found = self._draw(self._to_image(batch.image))
        compared = [
            self._compare(
                {name: values[row] for name, values in found.items()},
                present[row],
                TargetMaps(*(one if one is None else one[row] for one in maps)),
            )
            for row in (slice(number, number + 1) for number in range(len(present)))
        ]
        loss, weight = (torch.stack(parts) for parts in zip(*compared, strict=True))
        measured = _Measured(loss, weight, *self._read(found))
        return SampleMeasures(
            loss, weight, self._measure_distance(measured, batch.keypoint, factor)
        )

    def weigh(self, parts: Tensor) -> Tensor:
        """Return the weighted sum of the losses, in the order of `losses`."""
        total = parts[0]
        for part, weight in zip(parts[1:], self._weights[1:], strict=True):
            total = total + weight * part
        return total

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's dictionary
        """Return AdamW with linear warm-up and decay to zero, step by step.

        The decay is along half a cosine; where a plateau ends the training, it is linear, and
        begins there.
        """
        trained = [p for p in self.network.parameters() if p.requires_grad]
        decayed = [p for p in trained if p.ndim > 1]
        kept = [p for p in trained if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": self._training.weight_decay},
            {"params": kept, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self._training.learning_rate)
        # Lightning's own estimate would make the loader before it knows where to resume.
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        total = data.steps_per_epoch * (self.trainer.max_epochs or 1)
        warmup = max(1, round(total * self._training.warmup))

        def scale(step: int) -> float:
            if not self._training.stop.plateau:
                return warm_up_then_cosine(step, warmup, total)
            return scale_learning_rate(step, warmup, *self._cooldown)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "learning_rate"},
        }

    def cool_down(self, begin: int, end: int) -> None:
        """Let the learning rate fall to zero from the end of one epoch to that of another.

        Parameters
        ----------
        begin, end
            Epochs before the cool-down, and until its end.
        """
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self._cooldown = (begin * data.steps_per_epoch, end * data.steps_per_epoch)

    def _augment(self, batch: Batch) -> tuple[Batch, Tensor, TargetMaps]:
        """Return a batch with its keypoints, its images and targets, changed at random."""
        settings = self._training.augmentation
        streams = random_streams(self._training.seed, self.current_epoch, batch.sample.tolist())
        size = self._training_size(batch.image)
        # Drawn with stored maps, too: the changes of appearance come next in the same streams.
        warp = draw_warp(settings, streams, self._choose_anchors(batch, streams), size)
        if batch.maps is None:
            image = warp_images(self._to_image(batch.image), warp, size)
            keypoint = warp_keypoints(batch.keypoint, warp, self._mirrored_order)
            shape = map_shape(*size, self._targets.stride)
            maps = encode_targets(keypoint, shape, self._targets, self._plan)
            absent = mirror_names(batch.absent, warp, self._mirrored_order)
            batch = batch._replace(keypoint=keypoint, absent=absent)
        else:
            batch, maps = self._take_stored(batch)
            image = self._to_image(batch.image)
        return batch, change_appearance(image, settings, streams), maps

    def _take_stored(self, batch: Batch) -> tuple[Batch, TargetMaps]:
        """Return the network's view of unchanged samples, and their stored maps."""
        if self._plan.window is not None:
            batch = cut_centre(batch, self._plan.window, self._targets.stride)
        if batch.maps is None:
            raise ValueError("the batch has no stored maps")
        # As those that are drawn: in half precision, the loss would lose its digits.
        wide = (
            one if one is None or not one.is_floating_point() else _widen(one) for one in batch.maps
        )
        return batch, TargetMaps(*wide)

    def _training_size(self, image: Tensor) -> tuple[int, int]:
        height, width = image.shape[1:3]
        crop = self._plan.window or self._training.crop
        return (height, width) if crop is None else (min(crop, height), min(crop, width))

    def _choose_anchors(self, batch: Batch, streams: list[np.random.Generator]) -> Any:  # noqa: ANN401
        """Return the point to centre on: the image's centre, or a keypoint when cropping.

        The centre of an image that a window is cut from is that of an animal.
        """
        height, width = batch.image.shape[1:3]
        anchors = np.tile(np.array([(width - 1) / 2, (height - 1) / 2]), (len(streams), 1))
        if self._training.crop is None or self._plan.window is not None:
            return anchors
        for row, (points, stream) in enumerate(
            zip(batch.keypoint.cpu().numpy(), streams, strict=True)
        ):
            present = points[np.isfinite(points).all(axis=-1)]
            if len(present):
                anchors[row] = present[stream.integers(len(present))]
        return anchors

    def _find_present(self, batch: Batch) -> Tensor:
        """Return the score maps that count in the loss: (batch, keypoint), bool.

        With one animal, an unlabelled bodypart may still be visible, so it has no loss, unless it
        is labelled as absent; then its map is trained to be empty. With several animals, every
        visible bodypart is labelled, so all maps have a loss; so they have with a window, which
        must not find the bodyparts of other animals.
        """
        if self._plan.animals == 1 and self._plan.window is None:
            present: Tensor = find_present(batch.keypoint)
            return present if batch.absent is None else present | batch.absent
        return (batch.sample != FILLER)[:, None].expand(-1, batch.keypoint.shape[2])

    def _measure(self, image: Tensor, present: Tensor, maps: TargetMaps) -> _Measured:
        found = self._draw(image)
        return _Measured(*self._compare(found, present, maps), *self._read(found))

    def _draw(self, image: Tensor) -> dict[str, Tensor]:
        """Return the network's maps by name, at least in single precision."""
        drawn, first = self.network.draw(image.contiguous(memory_format=torch.channels_last))
        named = dict(zip(self.network.outputs, map(_widen, drawn), strict=True))
        return named if first is None else {**named, _FIRST: _widen(first)}

    def _compare(
        self, found: dict[str, Tensor], present: Tensor, maps: TargetMaps
    ) -> tuple[Tensor, Tensor]:
        """Return the parts of the loss, and the number of points or cells in each mean."""
        loss = [
            score_map_loss(found["score"], maps.score, present),
            location_refinement_loss(found["offset"], maps.offset, maps.mask),
        ]
        weight = [present.sum(), maps.mask.sum()]
        if maps.affinity is not None and maps.affinity_mask is not None:
            loss.append(part_affinity_loss(found["affinity"], maps.affinity, maps.affinity_mask))
            weight.append(maps.affinity_mask.sum())
        if maps.identity is not None:
            loss.append(identity_loss(found["identity"], maps.identity))
            weight.append(maps.identity.sum().long())
        if _FIRST in found:
            loss.append(score_map_loss(found[_FIRST], maps.score, present))
            weight.append(present.sum())
        return torch.stack(loss), torch.stack(weight)

    def _read(self, found: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the decoded maps: probabilities, and offsets in network px."""
        refined = found["offset"].detach() * self._targets.location_refinement_scale
        return torch.sigmoid(found["score"].detach()), refined

    def _measure_distance(
        self, measured: _Measured, keypoint: Tensor, factor: Tensor | None = None
    ) -> Tensor:
        """Return the distance of each labelled keypoint from the nearest peak of its map.

        Of several animals the best peaks count, however low: or a network that is sure of nothing
        would have no error, and would be the best of all.

        Parameters
        ----------
        measured
            Maps of a batch.
        keypoint
            Shape (batch, individual, keypoint, 2), network px.
        factor
            Shape (batch, 2), network px per px of the frame in x and y; None: 1.

        Returns
        -------
        Tensor
            Shape (batch, individual, keypoint), px of the frame; NaN where nothing is labelled,
            or the map is the same everywhere.
        """
        stride = self._targets.stride
        if self._plan.animals == 1:
            position, _ = decode_peaks(measured.score, measured.offset, stride)
            way = _divide(position - keypoint[:, 0], factor)
            away: Tensor = torch.linalg.vector_norm(way, dim=-1)
            return away[:, None]
        position, _ = find_peaks(
            measured.score, measured.offset, stride, threshold=0.0, most=self._plan.animals
        )
        ways = position[:, None] - keypoint[:, :, :, None]
        distance = torch.linalg.vector_norm(_divide(ways, factor), dim=-1)
        nearest = torch.where(torch.isfinite(distance), distance, torch.inf).amin(dim=-1)
        return torch.where(torch.isfinite(nearest), nearest, torch.nan)

    def _share(self, weight: Tensor) -> Tensor | float:
        """Return the factor that turns DDP's average over devices into that of the batch."""
        devices = self.trainer.world_size
        if devices == 1:
            return 1.0
        total = self.trainer.strategy.reduce(weight.clone(), reduce_op="sum")
        return devices * weight / total.clamp(min=1)

    def _to_image(self, frames: Tensor) -> Tensor:
        """Convert frames (batch, height, width, 3) uint8 to (batch, 3, height, width) in 0..1."""
        weight = next(self.network.parameters())
        return _widen(frames.permute(0, 3, 1, 2).to(weight.dtype)) / 255.0


def warm_up_then_cosine(step: int, warmup: int, total: int) -> float:
    """Return the factor on the learning rate: up linearly, then down along a half cosine."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def _widen(values: Tensor) -> Tensor:
    """Return half precision as single; single and double unchanged."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _divide(way: Tensor, factor: Tensor | None) -> Tensor:
    """Return displacements (batch, ..., 2) divided by the factors (batch, 2) of samples."""
    if factor is None:
        return way
    return way / factor.reshape(len(factor), *[1] * (way.ndim - 2), 2)
