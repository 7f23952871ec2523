"""Test batches: the same samples in each step, for any number of devices."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import Results
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.models.training.samples.data import (
    FILLER,
    Batch,
    GlobalBatches,
    PoseData,
    StoredSamples,
    collate,
    cut_centre,
    share_samples,
)
from pipeline_lib.models.training.samples.targets import TargetMaps
from pipeline_lib.steps.make_targets.run import run_make_targets
from tests.models.synthetic import tiny_config, write_tiny_labels


def epoch_of(count, batch_size, epoch=0, seed=0, *, rank=0, world_size=1):
    batches = GlobalBatches(count, batch_size, seed, rank, world_size)
    batches.set_epoch(epoch)
    found = list(batches)
    assert len(found) == len(batches)
    return found


@given(
    count=st.integers(1, 40),
    per_device=st.integers(1, 3),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 5),
)
def test_devices_share_the_same_global_batches(count, per_device, epoch, seed):
    batch_size = 4 * per_device
    whole = epoch_of(count, batch_size, epoch, seed)
    for devices in (1, 2, 4):
        parts = [
            epoch_of(count, batch_size, epoch, seed, rank=rank, world_size=devices)
            for rank in range(devices)
        ]
        for step, batch in enumerate(whole):
            assert all(len(part[step]) == batch_size // devices for part in parts)
            assert sorted(itertools.chain(*(part[step] for part in parts))) == sorted(batch)


@given(count=st.integers(1, 40), batch_size=st.integers(1, 12))
def test_an_epoch_shows_every_sample_before_any_twice(count, batch_size):
    order = np.concatenate(epoch_of(count, batch_size))
    assert sorted(order[:count]) == list(range(count))
    # Filled up from the head, so that every step weighs the same.
    assert order[count:].tolist() == np.resize(order[:count], len(order))[count:].tolist()
    assert len(order) % batch_size == 0
    assert len(order) - count < batch_size


def test_the_order_is_of_the_seed_and_the_epoch():
    first = epoch_of(30, 5)
    assert first == epoch_of(30, 5)
    assert first != epoch_of(30, 5, epoch=1)
    assert first != epoch_of(30, 5, seed=1)
    batches = GlobalBatches(30, 5, 0)
    assert list(batches) == list(batches) == first


def test_a_batch_that_cannot_be_shared():
    with pytest.raises(ModelError, match=r"batch_size \(6\) is shared by 4 devices"):
        GlobalBatches(30, 6, 0, 0, 4)


@given(count=st.integers(1, 20), batch_size=st.integers(1, 8), step=st.integers(0, 60))
def test_a_resumed_training_sees_the_batches_it_has_not_seen(count, batch_size, step):
    resumed = GlobalBatches(count, batch_size, 0)
    epoch, seen = divmod(step, len(resumed))
    resumed.resume(step)
    # Processes that read ahead ask before the epoch is told, and again after.
    assert list(resumed) == epoch_of(count, batch_size, epoch)[seen:]
    resumed.set_epoch(epoch)
    assert list(resumed) == epoch_of(count, batch_size, epoch)[seen:]
    resumed.set_epoch(epoch + 1)
    assert list(resumed) == epoch_of(count, batch_size, epoch + 1)


@given(count=st.integers(1, 30), batch_size=st.integers(1, 9), devices=st.integers(1, 4))
def test_devices_read_each_validation_sample_once_in_as_many_batches(count, batch_size, devices):
    shares = [share_samples(count, batch_size, rank, devices) for rank in range(devices)]
    assert len({tuple(map(len, share)) for share in shares}) == 1
    read = [number for share in shares for batch in share for number in batch]
    assert sorted(number for number in read if number != FILLER) == list(range(count))
    assert read.count(FILLER) < devices
    assert max(map(len, shares[0])) <= max(1, batch_size // devices)


def test_validation_shared_by_hand():
    assert share_samples(5, 4, 0, 2) == [[0, 2], [4]]
    assert share_samples(5, 4, 1, 2) == [[1, 3], [FILLER]]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    results = Results(tmp_path_factory.mktemp("data"))
    write_tiny_labels(results, train=5, validation=3)
    run_make_targets(tiny_config(), results)
    return results.targets


def test_batches_hold_the_stored_samples(store):
    data = PoseData(store, batch_size=3, seed=0)
    loader = data.train_dataloader()
    stored = TargetStore(store)
    seen = []
    for batch in loader:
        assert batch.maps is None
        assert batch.image.shape == (3, 64, 64, 3)
        for image, keypoint, sample in zip(*batch[:3], strict=True):
            number = int(sample)
            seen.append(number)
            np.testing.assert_array_equal(image, stored.read("image", number))
            np.testing.assert_array_equal(keypoint, stored.read("keypoint", number))
    assert set(seen) == set(stored.of_split("train"))
    assert len(seen) == 6


def test_validation_comes_in_order_with_its_maps(store):
    data = PoseData(store, batch_size=2, seed=0)
    batches = list(data.val_dataloader())
    stored = TargetStore(store)
    samples = torch.cat([batch.sample for batch in batches]).tolist()
    assert samples == stored.of_split("validation")
    score = torch.cat([batch.maps.score for batch in batches])
    assert score.dtype == torch.float32
    for place, number in enumerate(samples):
        np.testing.assert_array_equal(score[place], stored.read("score_map", number))


def test_a_filler_has_no_label(store):
    samples = StoredSamples(store, "validation", with_maps=True)
    filler = samples[FILLER]
    assert torch.isnan(filler.keypoint).all()
    assert not filler.maps.mask.any()
    assert samples[0].maps.mask.any()
    assert filler.maps.score.shape == samples[0].maps.score.shape


def test_processes_read_what_one_process_reads(store):
    alone = [batch.sample.tolist() for batch in PoseData(store, 3, 0).train_dataloader()]
    helped = [batch.sample.tolist() for batch in PoseData(store, 3, 0, 1).train_dataloader()]
    assert helped == alone


def test_no_frame_to_train_on(tmp_path):
    results = Results(tmp_path)
    write_tiny_labels(results, train=0, test=2)
    run_make_targets(tiny_config(), results)
    with pytest.raises(
        ModelError, match=r"no frame to train on: lower `training\.split\.test_fraction`"
    ):
        PoseData(results.targets, 2, 0)
    assert len(StoredSamples(results.targets, "test", with_maps=True)) == 2


def test_the_middle_of_a_sample_with_its_part_of_the_maps():
    """Crop 64 x 96 px in cells of 8: 32 px in the middle begin at 16 and 32 px, 2 and 4 cells."""
    image = torch.arange(2 * 64 * 96 * 3, dtype=torch.int32).reshape(2, 64, 96, 3)
    keypoint = torch.tensor([[[[40.0, 20.0], [0.0, 70.0], [float("nan")] * 2]]] * 2)
    maps = torch.arange(2 * 3 * 8 * 12).reshape(2, 3, 8, 12)
    offset = torch.stack([maps, -maps], 2)
    batch = Batch(image, keypoint, torch.arange(2), TargetMaps(maps, offset, maps > 9))
    middle = cut_centre(batch, 32, 8)
    assert torch.equal(middle.image, image[:, 16:48, 32:64])
    assert middle.keypoint[0, 0, :2].tolist() == [[8.0, 4.0], [-32.0, 54.0]]
    assert torch.isnan(middle.keypoint[:, :, 2]).all()
    assert torch.equal(middle.maps.score, maps[:, :, 2:6, 4:8])
    assert torch.equal(middle.maps.offset, offset[:, :, :, 2:6, 4:8])
    assert torch.equal(middle.maps.mask, maps[:, :, 2:6, 4:8] > 9)
    assert middle.maps.affinity is None
    assert cut_centre(batch._replace(maps=None), 32, 8).maps is None


def test_kept_images_equal_fresh_ones_byte_for_byte(tmp_path, monkeypatch):
    results = Results(tmp_path)
    write_tiny_labels(results, train=4)
    run_make_targets(tiny_config(), results)
    store, samples = (
        TargetStore(results.targets),
        StoredSamples(results.targets, "train", with_maps=True),
    )
    size = store.read("image", 0).nbytes
    # Room for two of the four.
    monkeypatch.setattr("pipeline_lib.models.training.samples.data._KEPT_BYTES", 2 * size + 1)
    first = [samples[number].image for number in range(4)]
    again = [samples[number].image for number in range(4)]
    assert [one is other for one, other in zip(first, again, strict=True)] == [
        True,
        True,
        False,
        False,
    ]
    for number, image in zip(samples.numbers, again, strict=True):
        assert image.numpy().tobytes() == store.read("image", number).tobytes()
    batch = collate([samples[0], samples[FILLER]])
    batch.image.zero_()
    assert samples[0].image.any()
