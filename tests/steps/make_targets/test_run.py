"""Test that images of any size become one store, and that unreadable ones are named."""

from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels.table import Labels, write_labels
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.kernels.maps.score_maps import MapShape, decode_peaks
from pipeline_lib.models.training.samples.targets import encode_targets
from pipeline_lib.steps.make_targets.run import run_make_targets
from tests.models.synthetic import BODYPARTS, draw_points, label_images, tiny_config

SIZES = [(64, 96), (50, 70), (97, 40)]


def make_config(**targets):
    config = tiny_config()
    return config.model_copy(update={"targets": config.targets.model_copy(update=targets)})


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "results")


@pytest.fixture
def labels(results):
    points = np.stack([draw_points(1, size, seed)[0] for seed, size in enumerate(SIZES)])
    points[1, 2] = np.nan
    labels = label_images(results.root / "images", points, SIZES, ["train", "test", "train"])
    write_labels(results.labels, labels)
    return labels


def positions_of(labels):
    return labels.table[["x", "y"]].to_numpy().reshape(len(SIZES), len(BODYPARTS), 2)


def test_images_of_all_sizes_share_one_layout(results, labels):
    run_make_targets(make_config(), results)
    store = TargetStore(results.targets)
    # The largest height is 97, the largest width 96: padded to multiples of 32.
    assert (store.layout.height, store.layout.width) == (128, 96)
    assert (store.layout.rows, store.layout.columns) == (16, 12)
    assert [(one.height, one.width) for one in store.samples] == SIZES
    assert [one.split for one in store.samples] == ["train", "test", "train"]
    for sample, (height, width) in enumerate(SIZES):
        image = store.read("image", sample)
        expected = read_image(results.root / store.samples[sample].image)
        np.testing.assert_array_equal(image[:height, :width], expected)
        assert not image[height:].any()
        assert not image[:, width:].any()
        np.testing.assert_allclose(
            store.read("keypoint", sample)[0], positions_of(labels)[sample], rtol=1e-6
        )


@pytest.mark.parametrize("stride", [4, 8])
def test_stored_maps_lead_back_to_the_labels(results, labels, stride):
    config = make_config(stride=stride)
    run_make_targets(config, results)
    store = TargetStore(results.targets)
    scale = config.targets.location_refinement_scale
    for sample, points in enumerate(positions_of(labels)):
        score, offset = (store.read(n, sample) for n in ("score_map", "location_refinement"))
        found, confidence = decode_peaks(score, offset.astype(np.float32) * scale, stride)
        labelled = np.isfinite(points[:, 0])
        np.testing.assert_allclose(found[labelled], points[labelled], atol=0.01)
        assert (confidence[~labelled] == 0).all()
        mask = store.read("refinement_mask", sample)
        assert mask[labelled].any(axis=(1, 2)).all()
        assert not mask[~labelled].any()


def test_shrunk_frames_move_their_keypoints(results, labels):
    run_make_targets(make_config(scale=0.5), results)
    store = TargetStore(results.targets)
    assert (store.layout.height, store.layout.width) == (64, 64)
    expected = (positions_of(labels)[0] + 0.5) / 2 - 0.5
    np.testing.assert_allclose(store.read("keypoint", 0)[0], expected, rtol=1e-5)
    maps = encode_targets(
        store.read("keypoint", 0), MapShape(8, 8, 8), make_config(scale=0.5).targets
    )
    np.testing.assert_allclose(store.read("score_map", 0), maps.score, atol=1e-3)


@pytest.mark.usefixtures("labels")
def test_shards_hold_the_same_as_one(results):
    run_make_targets(make_config(samples_per_shard=1), results)
    single = [TargetStore(results.targets).read("score_map", n) for n in range(3)]
    run_make_targets(make_config(samples_per_shard=100), results)
    store = TargetStore(results.targets)
    assert store.layout.samples_per_shard == 3
    np.testing.assert_array_equal([store.read("score_map", n) for n in range(3)], single)


def key_of(results, config=None):
    run_make_targets(config or make_config(), results)
    return TargetStore(results.targets).key


def test_the_key_is_of_pixels_labels_and_settings(results, labels):
    first = key_of(results)
    assert key_of(results) == first
    assert key_of(results, make_config(sigma=6.0)) != first
    table = labels.table.copy()
    table.loc[0, "x"] += 0.25
    write_labels(results.labels, Labels(table, labels.bodyparts))
    assert key_of(results) != first
    table = labels.table.assign(split="train")
    write_labels(results.labels, Labels(table, labels.bodyparts))
    assert key_of(results) != first
    write_labels(results.labels, labels)
    assert key_of(results) == first
    image = Path(labels.table["image"].iloc[0])
    image.write_bytes(image.read_bytes() + b" ")
    assert key_of(results) != first


def test_moved_images_are_the_same_images(results, labels, tmp_path):
    """Check that moving a project to another disk does not train again."""
    first = key_of(results)
    moved = tmp_path / "moved"
    (results.root / "images").rename(moved)
    table = labels.table.assign(
        image=[str(moved / Path(image).name) for image in labels.table["image"]]
    )
    write_labels(results.labels, Labels(table, labels.bodyparts))
    assert key_of(results) == first


def test_images_that_cannot_be_read_are_all_named(results, labels):
    first, second, _ = labels.table["image"].unique()
    Path(first).unlink()
    Path(second).write_bytes(b"no image")
    with pytest.raises(LabelError) as error:
        run_make_targets(make_config(), results)
    assert len(error.value.problems) == 2
    assert first in error.value.problems[0]
    assert second in error.value.problems[1]
    assert not results.targets.exists()


def test_without_labels_it_says_what_to_run(results):
    with pytest.raises(StoreError, match="run `cohortpose import-labels`"):
        run_make_targets(make_config(), results)


def test_copies_of_an_image_are_told(results, labels, caplog):
    run_make_targets(make_config(), results)
    assert "are the same" not in caplog.text
    first, second, _ = labels.table["image"].unique()
    Path(second).write_bytes(Path(first).read_bytes())
    run_make_targets(make_config(), results)
    assert f"1 labelled images are the same as another one ({first} and {second}, say)" in (
        caplog.text
    )
