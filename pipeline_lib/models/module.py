"""Training the pose network with Lightning."""

import math
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from torch import Tensor

from pipeline_lib.core.settings import TargetSettings, TrainingSettings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.kernels.score_maps import decode_peaks, find_present, map_shape
from pipeline_lib.models.augmentation import (
    change_appearance,
    draw_warp,
    random_streams,
    warp_images,
    warp_keypoints,
)
from pipeline_lib.models.data import Batch
from pipeline_lib.models.losses import location_refinement_loss, score_map_loss
from pipeline_lib.models.network import PoseNetwork
from pipeline_lib.models.targets import TargetMaps, encode_targets


class PoseTraining(lightning.LightningModule):
    """Loss, augmentation on the device, and optimiser of a pose network.

    Parameters
    ----------
    network
        The network to train.
    targets, training
        Settings of the run.
    skeleton
        Names the left-right partners for mirrored frames.
    """

    def __init__(
        self,
        network: PoseNetwork,
        targets: TargetSettings,
        training: TrainingSettings,
        skeleton: Skeleton,
    ) -> None:
        super().__init__()
        self.network = network
        self._targets, self._training = targets, training
        self._mirrored_order = skeleton.mirrored_order

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Augment a batch, draw its targets, return the loss."""
        image, keypoint = self._augment(batch)
        shape = map_shape(image.shape[2], image.shape[3], self._targets.stride)
        maps = encode_targets(keypoint, shape, self._targets)
        loss, parts = self._loss(image, keypoint, maps)[:2]
        for name, value in {"loss": loss, **parts}.items():
            self.log(
                f"train_{name}",
                value,
                on_step=False,
                on_epoch=True,
                sync_dist=True,
                batch_size=len(batch.image),
                prog_bar=name == "loss",
            )
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Log loss and mean error (in frame px) of frames as they are."""
        del batch_index
        if batch.maps is None:
            raise ValueError("validation reads stored maps")
        loss, _, position = self._loss(_to_image(batch.image), batch.keypoint, batch.maps)
        # One individual: its row of the labels is the first.
        distance = torch.linalg.vector_norm(position - batch.keypoint[:, 0], dim=-1)
        found = distance[torch.isfinite(distance)]
        # Weighted by points: a batch without any counts for nothing, and not as NaN for all.
        error = found.sum() / max(1, len(found)) / self._targets.scale
        size = len(batch.image)
        self.log("validation_loss", loss, sync_dist=True, batch_size=size)
        self.log("validation_error", error, sync_dist=True, batch_size=len(found), prog_bar=True)

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's dictionary
        """AdamW with linear warm-up and cosine decay to zero, step by step."""
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        kept = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": self._training.weight_decay},
            {"params": kept, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self._training.learning_rate)
        total = int(self.trainer.estimated_stepping_batches)
        warmup = max(1, round(total * self._training.warmup))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warm_up_then_cosine(step, warmup, total)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "learning_rate"},
        }

    def _augment(self, batch: Batch) -> tuple[Tensor, Tensor]:
        settings = self._training.augmentation
        streams = random_streams(self._training.seed, self.current_epoch, batch.sample.tolist())
        size = self._training_size(batch.image)
        anchor = self._choose_anchors(batch, streams)
        warp = draw_warp(settings, streams, anchor, size)
        image = warp_images(_to_image(batch.image), warp, size)
        keypoint = warp_keypoints(batch.keypoint, warp, self._mirrored_order)
        return change_appearance(image, settings, streams), keypoint

    def _training_size(self, image: Tensor) -> tuple[int, int]:
        height, width = image.shape[1:3]
        crop = self._training.crop
        return (height, width) if crop is None else (min(crop, height), min(crop, width))

    def _choose_anchors(self, batch: Batch, streams: list[np.random.Generator]) -> Any:  # noqa: ANN401
        """Return the point to centre on: the image's centre, or a keypoint when cropping."""
        height, width = batch.image.shape[1:3]
        anchors = np.tile(np.array([(width - 1) / 2, (height - 1) / 2]), (len(streams), 1))
        if self._training.crop is None:
            return anchors
        for row, (points, stream) in enumerate(
            zip(batch.keypoint.cpu().numpy(), streams, strict=True)
        ):
            present = points[np.isfinite(points).all(axis=-1)]
            if len(present):
                anchors[row] = present[stream.integers(len(present))]
        return anchors

    def _loss(
        self, image: Tensor, keypoint: Tensor, maps: TargetMaps
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Return the loss, its parts, and the decoded positions (batch, keypoint, 2)."""
        predicted_score, predicted_offset = self.network(
            image.contiguous(memory_format=torch.channels_last)
        )
        predicted_score, predicted_offset = predicted_score.float(), predicted_offset.float()
        parts = {
            "score_map_loss": score_map_loss(predicted_score, maps.score, find_present(keypoint)),
            "location_refinement_loss": location_refinement_loss(
                predicted_offset, maps.offset, maps.mask
            ),
        }
        weight = self._training.location_refinement_weight
        loss = parts["score_map_loss"] + weight * parts["location_refinement_loss"]
        position, _ = decode_peaks(
            predicted_score.detach(),
            predicted_offset.detach() * self._targets.location_refinement_scale,
            self._targets.stride,
        )
        return loss, parts, position


def warm_up_then_cosine(step: int, warmup: int, total: int) -> float:
    """Return the factor on the learning rate: up linearly, then down along a half cosine."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def _to_image(frames: Tensor) -> Tensor:
    """Convert frames (batch, height, width, 3) uint8 to (batch, 3, height, width) in 0..1."""
    return frames.permute(0, 3, 1, 2).float() / 255.0
