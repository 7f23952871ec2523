"""Test that the target store returns what was written, and that only whole stores are read."""

import json
import shutil

import numpy as np
import pytest
import zarr

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.targets.store import (
    SampleRecord,
    TargetBlock,
    TargetLayout,
    TargetStore,
    create_targets,
    write_block,
)

LAYOUT = TargetLayout(
    height=32,
    width=64,
    rows=4,
    columns=8,
    stride=8,
    scale=0.5,
    refinement_scale=7.25,
    skeleton=Skeleton(bodyparts=("nose", "tail", "ear")),
    individuals=1,
    samples_per_shard=2,
)
SAMPLES = [
    SampleRecord(f"img{n}.png", split, 30 + n, 60)
    for n, split in enumerate(["train", "test", "train", "validation", "train"])
]


def make_block(count, seed=0):
    stream = np.random.default_rng(seed)
    keypoint = stream.normal(size=(count, 1, 3, 2)).astype(np.float32)
    keypoint[0, 0, 1] = np.nan
    return TargetBlock(
        image=stream.integers(0, 256, (count, 32, 64, 3), dtype=np.uint8),
        keypoint=keypoint,
        score_map=stream.random((count, 3, 4, 8), np.float32),
        location_refinement=stream.normal(size=(count, 3, 2, 4, 8)).astype(np.float32),
        refinement_mask=stream.random((count, 3, 4, 8)) < 0.5,
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "targets.zarr"
    group = create_targets(path, LAYOUT, SAMPLES, key="k1")
    # As writers in parallel do: in any order, the last shard half full.
    for start in (4, 0, 2):
        write_block(group, start, make_block(min(2, 5 - start), seed=start))
    zarr.consolidate_metadata(group.store)
    return path


def test_samples_come_back(path):
    store = TargetStore(path)
    assert len(store) == 5
    for sample in range(5):
        start = sample // 2 * 2
        block = make_block(min(2, 5 - start), seed=start)
        for name, values in vars(block).items():
            if values is None:
                assert not store.has(name)
                continue
            found = store.read(name, sample)
            expected = values[sample - start]
            if name in ("score_map", "location_refinement"):
                assert found.dtype == np.float16
                expected = expected.astype(np.float16)
            np.testing.assert_array_equal(found, expected)


def test_the_description_comes_back(path):
    store = TargetStore(path)
    assert store.layout == LAYOUT
    assert store.samples == SAMPLES
    assert store.key == "k1"
    assert store.of_split("train") == [0, 2, 4]
    assert store.of_split("validation") == [3]
    assert store.of_split("nothing") == []


def test_arrays_say_what_their_axes_are(path):
    """Check the contract for other readers: Zarr v3, dimension names, one chunk per sample."""
    group = zarr.open_group(path, mode="r", zarr_format=3)
    maps = ("sample", "keypoint", "map_row", "map_column")
    expected = {
        "image": ("sample", "row", "column", "channel"),
        "keypoint": ("sample", "individual", "keypoint", "space"),
        "score_map": maps,
        "location_refinement": (*maps[:2], "space", *maps[2:]),
        "refinement_mask": maps,
    }
    assert {name: array.metadata.dimension_names for name, array in group.arrays()} == expected
    for _, array in group.arrays():
        assert array.chunks[0] == 1
        assert array.shards[0] == 2
    # Clusters count inodes: one file per array and shard, besides the metadata.
    files = [file for file in path.rglob("*") if file.is_file() and file.name != "zarr.json"]
    assert len(files) == 5 * 3


def test_a_writer_owns_whole_shards(tmp_path):
    group = create_targets(tmp_path / "t.zarr", LAYOUT, SAMPLES, key="k")
    with pytest.raises(ValueError, match=r"start \(1\) is not a multiple of 2"):
        write_block(group, 1, make_block(2))


def test_no_store(tmp_path):
    with pytest.raises(StoreError, match=r"no target store .*; run make-targets"):
        TargetStore(tmp_path / "targets.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(StoreError, match="no target store"):
        TargetStore(tmp_path / "empty.zarr")
    zarr.open_group(tmp_path / "other.zarr", mode="w")
    with pytest.raises(StoreError, match=r"no target store .*format_version"):
        TargetStore(tmp_path / "other.zarr")


def test_another_version(path):
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"]["format_version"] = 99
    (path / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(StoreError, match="format 99, this version reads 2; run make-targets"):
        TargetStore(path)


def test_a_store_that_is_removed_while_it_is_read(path):
    """Refuse missing chunks, which Zarr reads as black images and training would use."""
    store = TargetStore(path)
    shutil.rmtree(path / "image")
    with pytest.raises(StoreError, match="gone since it was opened; run make-targets"):
        store.read("image", 4)
