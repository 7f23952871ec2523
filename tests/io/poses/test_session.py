"""Test the pose files of sessions: the same values back, few files, strangers' files refused."""

import json
import shutil
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import xarray

import pipeline_lib
import pipeline_lib.io.poses.format as form
from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.poses.session import (
    LAYOUT,
    create_session_poses,
    read_session_key,
    read_session_poses,
    read_session_times,
    write_session_poses,
)
from pipeline_lib.io.poses.write import write_poses
from tests.io.poses.pose_examples import make_poses
from tests.io.poses.session_examples import assert_same_session, cut_session, make_session


@pytest.mark.parametrize(
    "poses",
    [
        make_session(),
        make_session(0, unit=None),
        make_session(1, ("n",), ("one",), ("c1", "c2"), unit="m"),
        make_session(3, individuals=(), cameras=()),
        make_session(7, ("鼻", "a,b", "x/y"), ("Ä 1", "b"), ("cam é", "2")),
    ],
    ids=["usual", "no moment", "one of all", "nobody", "odd names"],
)
def test_what_is_written_is_read(tmp_path, poses):
    for name in ("s.zarr.zip", "s.zarr"):
        write_session_poses(tmp_path / name, poses)
        assert_same_session(read_session_poses(tmp_path / name), poses)
        np.testing.assert_array_equal(read_session_times(tmp_path / name), poses.time)
        assert read_session_key(tmp_path / name) == "0123456789abcdef"


def test_blocks_make_the_same_bytes_in_chunks_and_shards(tmp_path, monkeypatch):
    # A moment has 3 x 4 numbers of 4 bytes: 2 moments make a chunk, 4 a shard.
    monkeypatch.setattr(form, "_CHUNK_BYTES", 2 * 48)
    monkeypatch.setattr(form, "_CHUNKS_PER_SHARD", 2)
    poses = make_session(11)
    write_session_poses(tmp_path / "whole.zarr.zip", poses)
    with create_session_poses(tmp_path / "cut.zarr.zip", poses.time, cut_session(poses, 0, 0)) as w:
        for start, stop in [(0, 3), (3, 3), (3, 10), (10, 11)]:
            w.write(cut_session(poses, start, stop))
    whole, cut = (tmp_path / f"{name}.zarr.zip" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()
    with zipfile.ZipFile(whole) as archive:
        assert archive.testzip() is None
        assert sum(name.startswith("camera_error/") for name in archive.namelist()) == 3
    assert_same_session(read_session_poses(whole, 3, 9), cut_session(poses, 3, 9))


def test_an_hour_has_few_files_and_a_large_frame_is_no_large_shard(tmp_path):
    poses = make_session(3)
    write_session_poses(tmp_path / "s.zarr", poses)
    assert len(list((tmp_path / "s.zarr").rglob("*.*"))) <= len(LAYOUT.dimensions) + 1
    # 8 cameras, 4 animals with 100 keypoints: 12.5 KiB a moment.
    assert form.choose_chunks(216_000, 3200) == (64, 64 * 64)
    # A frame of 16 MiB: four in a shard of 64 MiB.
    assert form.choose_chunks(1000, 2**22) == (1, 4)


def test_what_is_not_whole_is_not_published(tmp_path):
    poses = make_session(4)
    path = tmp_path / "s.zarr.zip"

    def write_part():
        with create_session_poses(path, poses.time, poses) as writer:
            writer.write(cut_session(poses, 0, 3))

    with pytest.raises(StoreError, match=r"s\.zarr\.zip: 3 of 4 frames; not published"):
        write_part()
    with pytest.raises(ValueError, match="reserved"):
        write_session_poses(path, replace(poses, attributes={"units": {}}))
    assert list(tmp_path.iterdir()) == []


def test_xarray_opens_it(tmp_path):
    poses = make_session()
    path = tmp_path / "s.zarr.zip"
    write_session_poses(path, poses)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = xarray.open_zarr(f"zip::{path}").load()
    assert dataset.position.dims == ("time", "space", "keypoint", "individual")
    assert dataset.position.attrs["units"] == "mm"
    assert dataset.error.attrs["units"] == "px"
    point = dataset.position.isel(time=3).sel(keypoint="tail", individual="b")
    assert point.sel(space="z").item() == poses.position[3, 1, 1, 2]
    seen = dataset.camera_error.isel(time=4).sel(camera="top", keypoint="nose", individual="b")
    assert seen.item() == poses.camera_error[4, 2, 1, 0]
    slot = dataset.camera_individual.isel(time=1).sel(camera="left", individual="a")
    assert slot.item() == -1


def test_open_poses_opens_it(tmp_path):
    poses = make_session(unit=None)
    write_session_poses(tmp_path / "s.zarr.zip", poses)
    dataset = pipeline_lib.open_poses(tmp_path / "s.zarr.zip")
    np.testing.assert_array_equal(dataset.position, poses.position.transpose(0, 3, 2, 1))
    assert dataset.space.values.tolist() == ["x", "y", "z"]
    assert "units" not in dataset.position.attrs
    assert dataset.camera_error.attrs["units"] == "px"
    assert dataset.track_status.attrs["flag_meanings"] == "absent followed gap uncertain"
    assert json.loads(dataset.attrs["versions"]) == {"x": 1}


def test_files_of_videos_and_of_sessions_are_told_apart(tmp_path):
    write_session_poses(tmp_path / "s.zarr.zip", make_session())
    write_poses(tmp_path / "v.zarr.zip", make_poses())
    with pytest.raises(StoreError, match="'cohortpose session poses', expected 'cohortpose poses'"):
        read_poses(tmp_path / "s.zarr.zip")
    with pytest.raises(StoreError, match="expected 'cohortpose session poses'"):
        read_session_poses(tmp_path / "v.zarr.zip")
    assert read_session_key(tmp_path / "v.zarr.zip") is None


def _change_type(metadata):
    metadata["consolidated_metadata"]["metadata"]["views"]["data_type"] = "float64"


def _change_unit(metadata):
    metadata["attributes"]["units"]["position"] = "parsec"


def _lose_array(metadata):
    del metadata["consolidated_metadata"]["metadata"]["camera_frame"]


def _unpickle(metadata):
    array = metadata["consolidated_metadata"]["metadata"]["camera_error"]
    array["codecs"] = [{"name": "numcodecs.pickle"}]


def _disagree(metadata):
    metadata["consolidated_metadata"]["metadata"]["camera_frame"]["shape"][1] = 9


def _never_end(metadata):
    for array in metadata["consolidated_metadata"]["metadata"].values():
        if array["dimension_names"][0] == "time":
            array["shape"][0] = 10**12


def _lose_file(metadata):
    metadata["attributes"]["files"].append("error/c.7.0.0")


def _be_newer(metadata):
    metadata["attributes"]["format_version"] = 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change_type, "array 'views' is of type float64, expected uint8"),
        (_change_unit, "its unit is 'parsec', expected one of um, mm"),
        (_lose_array, "lacks camera_frame"),
        (_unpickle, "reading it might run code"),
        (_disagree, "array 'camera_frame' has 9 along camera"),
        (_never_end, "declares 1000000000000 frames, expected at most 5"),
        (_lose_file, "lacks error/c.7.0.0"),
        (_be_newer, "pose format version 2, expected 1"),
    ],
)
def test_damaged_and_hostile_files_are_refused(tmp_path, change, message):
    path = tmp_path / "s.zarr"
    write_session_poses(path, make_session())
    metadata = json.loads((path / "zarr.json").read_text())
    change(metadata)
    (path / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(StoreError, match=message):
        read_session_poses(path)


def test_a_damaged_chunk_is_known(tmp_path):
    path = tmp_path / "s.zarr"
    write_session_poses(path, make_session())
    chunk = path / "uncertainty/c.0.0.0"
    content = bytearray(chunk.read_bytes())
    content[-6] ^= 255
    chunk.write_bytes(content)
    with pytest.raises(StoreError, match="damaged pose file"):
        read_session_poses(path)
    shutil.rmtree(path / "uncertainty")
    with pytest.raises(StoreError, match="incomplete pose file, lacks uncertainty"):
        read_session_poses(path)
