"""Load training data: batches that do not depend on the number of devices."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pipeline_lib.core.errors import ModelError
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.models.training.samples.targets import TargetMaps


class Batch(NamedTuple):
    """Hold the samples of one optimiser step on one device.

    Attributes
    ----------
    image
        Shape (batch, height, width, 3), uint8 RGB.
    keypoint
        Shape (batch, individual, keypoint, 2), float32, network px; NaN where unlabelled.
    sample
        Shape (batch,), int64: number of each sample in the store; `FILLER` for one that weighs
        nothing.
    maps
        The stored maps of frames that are used as they are; None where they will be warped.
    absent
        Shape (batch, keypoint), bool: bodyparts labelled as absent, with one animal; None if no
        sample of the store has any.
    """

    image: Tensor
    keypoint: Tensor
    sample: Tensor
    maps: TargetMaps | None
    absent: Tensor | None = None


# Index of a sample with weight zero, for devices that have fewer samples than others.
FILLER = -1

# Bytes of decoded images that a process keeps.
_KEPT_BYTES = 2**29

# Names in the store of the fields of `TargetMaps`.
_MAPS = {
    "score": "score_map",
    "offset": "location_refinement",
    "mask": "refinement_mask",
    "affinity": "part_affinity",
    "affinity_mask": "part_affinity_mask",
    "identity": "identity",
}
_MASKS = ("mask", "affinity_mask")


class StoredSamples(Dataset[Batch]):
    """Read the samples of one split; each process opens the store itself.

    Images are kept decoded, up to half a gibibyte: an epoch reads each of them again.

    Parameters
    ----------
    path
        The target store.
    split
        ``train``, ``validation`` or ``test``.
    with_maps
        Read the stored maps as well.
    """

    def __init__(self, path: Path, split: str, *, with_maps: bool) -> None:
        self.path = path
        self._with_maps = with_maps
        self.numbers = TargetStore(path).of_split(split)
        self._store: TargetStore | None = None
        self._kept: dict[int, Tensor] = {}
        self._kept_bytes = 0

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Batch:
        """Return one sample without the batch axis; for `FILLER`, one without a label."""
        if index == FILLER:
            return _forget_labels(self[0])
        if self._store is None:
            self._store = TargetStore(self.path)
        number = self.numbers[index]
        store = self._store
        image = self._read_image(store, number)
        keypoint = torch.from_numpy(store.read("keypoint", number))
        maps = None
        if self._with_maps:
            stored = {
                field: torch.from_numpy(store.read(name, number))
                for field, name in _MAPS.items()
                if store.has(name)
            }
            maps = TargetMaps(
                **{
                    field: values if field in _MASKS else values.float()
                    for field, values in stored.items()
                }
            )
        return Batch(image, keypoint, torch.tensor(number), maps, _read_absent(store, number))

    def _read_image(self, store: TargetStore, number: int) -> Tensor:
        """Return the image of a sample, which nobody may change."""
        if number in self._kept:
            return self._kept[number]
        image = torch.from_numpy(store.read("image", number))
        if self._kept_bytes + image.nbytes <= _KEPT_BYTES:
            self._kept[number] = image
            self._kept_bytes += image.nbytes
        return image


def _read_absent(store: TargetStore, number: int) -> Tensor | None:
    if not any(one.absent for one in store.samples):
        return None
    absent = torch.zeros(len(store.layout.bodyparts), dtype=torch.bool)
    absent[list(store.samples[number].absent)] = True
    return absent


class GlobalBatches(Sampler[list[int]]):
    """Yield one device's part of batches whose size and order do not depend on devices.

    The samples of an epoch are shuffled by (seed, epoch) alone. The last batch is filled up from
    the head of the shuffled order, so that every step weighs the same.

    Parameters
    ----------
    count
        Number of samples.
    batch_size
        Samples per step over all devices.
    seed
        Seed of the order.
    rank, world_size
        Which device this is, of how many.

    Raises
    ------
    ModelError
        If the batch cannot be shared equally among the devices.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        if batch_size % world_size:
            raise ModelError(
                f"training.batch_size ({batch_size}) is shared by {world_size} devices: "
                "choose a multiple"
            )
        self._count, self._batch_size, self._seed = count, batch_size, seed
        self._rank, self._world_size = rank, world_size
        self._epoch = 0
        self._resumed = (0, 0)
        self.sampler = self  # where Lightning looks for set_epoch

    def resume(self, step: int) -> None:
        """Resume after a number of steps, in the right epoch and after the batches seen.

        Processes that read ahead request batches before Lightning sets the epoch.
        """
        self._resumed = divmod(step, len(self))
        self._epoch = self._resumed[0]

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self._count / self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng((self._seed, self._epoch)).permutation(self._count)
        filled = np.resize(order, len(self) * self._batch_size)
        epoch, seen = self._resumed
        first = seen if self._epoch == epoch else 0
        for batch in filled.reshape(len(self), self._batch_size)[first:]:
            yield batch[self._rank :: self._world_size].tolist()


def share_samples(
    count: int, batch_size: int, rank: int = 0, world_size: int = 1
) -> list[list[int]]:
    """Return one device's batches of samples that are read once, in order.

    All devices get as many batches of the same sizes; what is missing is filled up by `FILLER`.

    Parameters
    ----------
    count
        Number of samples.
    batch_size
        Samples per step over all devices.
    rank, world_size
        Which device this is, of how many.
    """
    missing = -count % world_size
    own = [*range(count), *[FILLER] * missing][rank::world_size]
    size = max(1, batch_size // world_size)
    return [own[first : first + size] for first in range(0, len(own), size)]


class PoseData(lightning.LightningDataModule):
    """Provide batches for training and validation from a target store.

    Parameters
    ----------
    path
        The target store.
    batch_size
        Samples per step over all devices.
    seed
        Seed of the order of samples.
    loader_workers
        Processes that read; 0: the training process itself.
    stored_maps
        Read the stored maps of training samples as well, which are used as they are.
    """

    def __init__(
        self,
        path: Path,
        batch_size: int,
        seed: int,
        loader_workers: int = 0,
        *,
        stored_maps: bool = False,
    ) -> None:
        super().__init__()
        self.train = StoredSamples(path, "train", with_maps=stored_maps)
        self.validation = StoredSamples(path, "validation", with_maps=True)
        if not len(self.train):
            raise ModelError(
                f"{path}: no frame to train on: lower `training.split.test_fraction` or "
                "`training.validation_fraction`, or label more frames"
            )
        self._batch_size, self._seed, self._workers = batch_size, seed, loader_workers

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one pass over the training samples."""
        return math.ceil(len(self.train) / self._batch_size)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return this device's part of the shuffled global batches."""
        batches = GlobalBatches(len(self.train), self._batch_size, self._seed, *self._place())
        batches.resume(self.trainer.global_step if self.trainer else 0)
        return DataLoader(
            self.train,
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
        )

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """Return this device's part of the validation samples; none if no frame was held out."""
        if not len(self.validation):
            return []
        batches = share_samples(len(self.validation), self._batch_size, *self._place())
        return DataLoader(self.validation, batch_sampler=batches, collate_fn=collate)

    def _place(self) -> tuple[int, int]:
        """Return the rank of this device and the number of devices."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


def cut_centre(batch: Batch, window: int, stride: int) -> Batch:
    """Return the central window of each sample, with its part of the stored maps.

    Parameters
    ----------
    batch
        Samples whose images and maps are larger than the window, on each side by whole cells.
    window
        Side, network px.
    stride
        Network px per cell.
    """
    top, left = ((length - window) // 2 for length in batch.image.shape[1:3])
    inner = (slice(top, top + window), slice(left, left + window))
    row, column, cells = top // stride, left // stride, window // stride
    part = (..., slice(row, row + cells), slice(column, column + cells))
    return batch._replace(
        image=batch.image[:, *inner],
        keypoint=batch.keypoint - torch.tensor([left, top], device=batch.keypoint.device),
        maps=batch.maps and TargetMaps(*(one if one is None else one[part] for one in batch.maps)),
    )


def _forget_labels(sample: Batch) -> Batch:
    maps = sample.maps
    return sample._replace(
        keypoint=torch.full_like(sample.keypoint, torch.nan),
        absent=None if sample.absent is None else torch.zeros_like(sample.absent),
        sample=torch.tensor(FILLER),
        maps=maps and TargetMaps(*(one if one is None else torch.zeros_like(one) for one in maps)),
    )


def collate(items: list[Batch]) -> Batch:
    """Stack samples into a batch."""
    maps = [item.maps for item in items if item.maps is not None]
    return Batch(
        image=torch.stack([item.image for item in items]),
        keypoint=torch.stack([item.keypoint for item in items]),
        sample=torch.stack([item.sample for item in items]),
        maps=TargetMaps(*map(_stack, zip(*maps, strict=True))) if maps else None,
        absent=_stack(tuple(item.absent for item in items)),
    )


def _stack(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.stack(there) if there else None
