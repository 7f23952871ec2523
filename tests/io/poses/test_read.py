"""Test that we and xarray read pose files as written, and that damaged ones are reported."""

import json
import subprocess
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline_lib.io.poses.format as subject
from pipeline_lib.api.poses import open_poses
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.poses import Poses
from pipeline_lib.io.poses.read import read_pose_key, read_poses, require_pose_key
from pipeline_lib.io.poses.write import write_poses
from tests.io.poses.pose_examples import assert_same, make_poses, make_tracked

names = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=3, unique=True).map(tuple)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@st.composite
def any_poses(draw):
    frames = draw(st.integers(0, 5))
    bodyparts, individuals = draw(names), draw(names)
    floats = st.floats(width=32, allow_infinity=False)
    points = (len(individuals), len(bodyparts))
    reserved = {*subject.FORMAT_ATTRIBUTES, "identities"}
    attributes = draw(
        st.dictionaries(st.text(min_size=1, max_size=5), json_values, max_size=3).filter(
            lambda attributes: not reserved & set(attributes)
        )
    )
    track_status = identity = None
    if draw(st.booleans()):
        shape = (frames, len(individuals))
        track_status = draw(npst.arrays(np.uint8, shape, elements=st.integers(0, 3)))
    if draw(st.booleans()):
        attributes["identities"] = list(draw(names))
        shape = (frames, len(individuals), len(attributes["identities"]))
        identity = draw(npst.arrays(np.float32, shape, elements=floats))
    return Poses(
        position=draw(npst.arrays(np.float32, (frames, *points, 2), elements=floats)),
        confidence=draw(npst.arrays(np.float32, (frames, *points), elements=floats)),
        frame_status=draw(npst.arrays(np.uint8, (frames,), elements=st.integers(0, 1))),
        time=draw(npst.arrays(np.float64, (frames,), elements=st.floats(0, 1e6))),
        bodyparts=bodyparts,
        individuals=individuals,
        attributes=attributes,
        track_status=track_status,
        identity=identity,
    )


@settings(max_examples=25, deadline=None)
@given(any_poses(), st.sampled_from([".zarr", ".zarr.zip"]))
def test_written_poses_are_read_back(poses, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"v{suffix}")
        write_poses(path, poses)
        assert_same(read_poses(path), poses)


@pytest.mark.parametrize(("name", "prefix"), [("v.zarr", ""), ("v.zarr.zip", "zip::")])
def test_xarray_opens_it_by_name(tmp_path, name, prefix):
    poses = make_poses(3, ("náse", "尾"), ("a", "b"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_poses(tmp_path / name, poses)
        dataset = xarray.open_zarr(f"{prefix}{tmp_path / name}")
    assert dataset.position.dims == ("time", "space", "keypoint", "individual")
    assert dataset.confidence.dims == ("time", "keypoint", "individual")
    assert dataset.frame_status.dims == ("time",)
    assert dataset.frame_status.dtype == np.uint8
    # Seconds stay numbers: xarray turns some units of time into timedeltas.
    assert dataset.time.dtype == np.float64
    assert dataset.position.attrs["units"] == "px"
    assert dataset.time.attrs["units"] == "s"
    point = dataset.position.sel(time=1 / 30, keypoint="尾", individual="a").load()
    # Frame 1 of (3, 2, 2, 2): x at 8 + 2, y four further.
    assert point.sel(space="x").item() == 10
    assert point.sel(space="y").item() == 14
    assert dataset.attrs["fps"] == 30.0
    assert dataset.attrs["versions"] == {"infer": 1}
    assert dataset.attrs["format_version"] == 2


def test_xarray_sees_what_has_no_file(tmp_path):
    write_poses(tmp_path / "v.zarr", make_poses(3))
    dataset = xarray.open_dataset(tmp_path / "v.zarr", engine="zarr").load()
    assert dataset.individual.values.tolist() == ["animal"]
    assert dataset.frame_status.dtype == np.uint8
    assert dataset.frame_status.values.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(dataset.position, np.arange(12.0).reshape(3, 2, 2, 1))


def test_memory_has_individuals_before_keypoints_and_the_file_behind(tmp_path):
    write_poses(tmp_path / "v.zarr", make_poses(3, ("nose", "tail"), ("a", "b", "c")))
    dataset = xarray.open_zarr(tmp_path / "v.zarr").load()
    # Counted up in the order of the file: (3, 2, 2, 3) and (3, 2, 3).
    np.testing.assert_array_equal(dataset.position, np.arange(36.0).reshape(3, 2, 2, 3))
    found = read_poses(tmp_path / "v.zarr", 1, 2)
    assert found.position.shape == (1, 3, 2, 2)
    assert found.confidence.shape == (1, 3, 2)
    expected = dataset.sel(individual="c", keypoint="tail").isel(time=1)
    assert found.position[0, 2, 1].tolist() == expected.position.values.tolist() == [17.0, 23.0]
    assert found.confidence[0, 2, 1] == expected.confidence.item()


def test_zarr_opens_it_by_name(tmp_path):
    write_poses(tmp_path / "v.zarr", make_poses(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        group = zarr.open_group(tmp_path / "v.zarr", mode="r")
    assert sorted(group.array_keys()) == sorted(subject.DIMENSIONS.keys() - subject.OPTIONAL)
    assert group["keypoint"][:].tolist() == ["nose", "tail"]
    np.testing.assert_array_equal(group["confidence"][1:, :, 0], make_poses(3).confidence[1:, 0])


def test_xarray_sees_tracks_and_identities(tmp_path):
    poses = make_tracked(2)
    write_poses(tmp_path / "v.zarr", poses)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xarray.open_zarr(tmp_path / "v.zarr").load()
    assert dataset.track_status.dims == ("time", "individual")
    assert dataset.track_status.dtype == np.uint8
    assert dataset.track_status.values.tolist() == [[1, 2], [3, 0]]
    assert dataset.identity_confidence.dims == ("time", "individual", "identity")
    # Frame 1, the second of two individuals, the last of three identities: 6 + 3 + 2.
    cell = dataset.identity_confidence.isel(time=1).sel(individual="b", identity="cy")
    assert cell.item() == 11 / 64
    assert dataset.attrs["identities"] == ["ann", "bob", "cy"]


def test_a_part_has_its_tracks_and_identities(tmp_path):
    poses = make_tracked(9)
    write_poses(tmp_path / "v.zarr.zip", poses)
    part = read_poses(tmp_path / "v.zarr.zip", 4, 6)
    np.testing.assert_array_equal(part.track_status, poses.track_status[4:6])
    np.testing.assert_array_equal(part.identity, poses.identity[4:6])


def test_a_part_is_read_without_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(subject, "_CHUNK_BYTES", 4 * 16)
    path = tmp_path / "v.zarr"
    write_poses(path, make_poses(40))
    assert zarr.open_group(path)["position"].shards == (40, 2, 2, 1)
    shard = path / "position/c.0.0.0.0"
    content = bytearray(shard.read_bytes())
    # Spoil the first chunk: frames 0 to 3 are damaged and said to be; the others are fine.
    content[20:24] = b"\xff\xff\xff\xff"
    shard.write_bytes(content)
    assert read_poses(path, 4, 6).position[0, 0, 0, 0] == 4 * 4
    with pytest.raises(StoreError, match="damaged pose file"):
        read_poses(path, 0, 4)


def test_key(tmp_path):
    path = tmp_path / "v.zarr"
    assert read_pose_key(path) is None
    write_poses(path, make_poses())
    assert read_pose_key(path) == "0123456789abcdef"
    write_poses(path, make_poses(attributes={"video": "v"}))
    assert read_pose_key(path) is None
    with pytest.raises(StoreError, match="no attribute `key`"):
        require_pose_key(path)


def test_the_key_is_read_without_heavy_imports(tmp_path):
    write_poses(tmp_path / "v.zarr", make_poses())
    program = (
        "import sys; from pathlib import Path; "
        "from pipeline_lib.io.poses.read import read_pose_key; "
        "print(read_pose_key(Path(sys.argv[1])), {'zarr', 'xarray', 'pandas'} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "v.zarr")],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert answer.stdout.strip() == "0123456789abcdef set()"


def _drop_shard(path):
    (path / "position/c.0.0.0.0").unlink()


def _cut_shard(path):
    shard = path / "confidence/c.0.0.0"
    shard.write_bytes(shard.read_bytes()[:-3])


def _drop_metadata(path):
    (path / "zarr.json").unlink()


def _cut_metadata(path):
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text[: len(text) // 2])


def _raise_version(path):
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"]["format_version"] = 99
    (path / "zarr.json").write_text(json.dumps(metadata))


def _make_foreign(path):
    zarr.open_group(path, mode="w", zarr_format=3).attrs.update(key="abc")


@pytest.mark.parametrize(
    ("spoil", "message", "key"),
    [
        (_drop_shard, "incomplete pose file, lacks position/c.0.0.0.0", None),
        (_drop_metadata, "not a Zarr version 3 group", None),
        (_cut_metadata, "not a Zarr version 3 group", None),
        (_raise_version, "pose format version 99, expected 2", None),
        (_make_foreign, "not a pose file", None),
        # What only reading can tell does not make the key unknown.
        (_cut_shard, "damaged pose file", "0123456789abcdef"),
    ],
)
def test_spoilt_files_are_told(tmp_path, spoil, message, key):
    path = tmp_path / "v.zarr"
    write_poses(path, make_poses())
    spoil(path)
    with pytest.raises(StoreError, match=message) as caught:
        read_poses(path)
    assert str(path) in str(caught.value)
    assert read_pose_key(path) == key


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(StoreError, match="no such pose file"):
        read_poses(tmp_path / "v.zarr")


def test_spoilt_packed_files_are_told(tmp_path):
    path = tmp_path / "v.zarr.zip"
    write_poses(path, make_poses())
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(StoreError, match="expected a pose file"):
        read_poses(path)
    assert read_pose_key(path) is None
    # The first entry is the confidence; within it the checksum of the chunk tells.
    spoilt = bytearray(whole)
    spoilt[60:64] = bytes(255 - byte for byte in whole[60:64])
    path.write_bytes(spoilt)
    with pytest.raises(StoreError, match="damaged pose file"):
        read_poses(path)
    assert read_pose_key(path) == "0123456789abcdef"


def test_a_spread_is_read_back_with_its_unit(tmp_path):
    poses = make_poses(individuals=("a", "b"))
    spread = poses.confidence * 3
    spread[1, 0, 1] = np.nan
    path = tmp_path / "v.zarr.zip"
    write_poses(path, replace(poses, spread=spread))
    np.testing.assert_array_equal(read_poses(path).spread, spread)
    dataset = open_poses(path)
    assert dataset.spread.dims == ("time", "keypoint", "individual")
    assert dataset.spread.attrs["units"] == "px"
    np.testing.assert_array_equal(dataset.spread.sel(individual="b"), spread[:, 1])
    write_poses(path, poses)
    assert "spread" not in open_poses(path)
