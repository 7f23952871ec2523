"""Pose files: what is written is read, by us and by xarray, whole or not at all."""

import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline_lib.io.poses as subject
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.poses import Poses
from pipeline_lib.io.poses import (
    create_poses,
    read_pose_key,
    read_poses,
    read_times,
    require_pose_key,
    write_poses,
)

ATTRIBUTES = {"fps": 30.0, "video": "v1", "key": "0123456789abcdef", "versions": {"infer": 1}}


def make_poses(frames=3, bodyparts=("nose", "tail"), individuals=("animal",), attributes=None):
    keypoints, animals = len(bodyparts), len(individuals)
    size = frames * 2 * keypoints * animals
    position = np.arange(size, dtype=np.float32).reshape(frames, 2, keypoints, animals)
    confidence = np.linspace(0, 1, size // 2, dtype=np.float32)
    return Poses(
        position=position,
        confidence=confidence.reshape(frames, keypoints, animals),
        frame_status=np.zeros(frames, np.uint8),
        time=np.arange(frames) / 30.0,
        bodyparts=tuple(bodyparts),
        individuals=tuple(individuals),
        attributes=ATTRIBUTES if attributes is None else attributes,
    )


def assert_same(found: Poses, expected: Poses) -> None:
    for name in ("position", "confidence", "frame_status", "time"):
        left, right = getattr(found, name), getattr(expected, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    assert found.bodyparts == expected.bodyparts
    assert found.individuals == expected.individuals
    assert found.attributes == expected.attributes


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
    points = (len(bodyparts), len(individuals))
    reserved = {"format", "format_version", "units"}
    return Poses(
        position=draw(npst.arrays(np.float32, (frames, 2, *points), elements=floats)),
        confidence=draw(npst.arrays(np.float32, (frames, *points), elements=floats)),
        frame_status=draw(npst.arrays(np.uint8, (frames,), elements=st.integers(0, 1))),
        time=draw(npst.arrays(np.float64, (frames,), elements=st.floats(0, 1e6))),
        bodyparts=bodyparts,
        individuals=individuals,
        attributes=draw(
            st.dictionaries(st.text(min_size=1, max_size=5), json_values, max_size=3).filter(
                lambda attributes: not reserved & set(attributes)
            )
        ),
    )


@settings(max_examples=25, deadline=None)
@given(any_poses())
def test_what_is_written_is_read(poses):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "v.zarr")
        write_poses(path, poses)
        assert_same(read_poses(path), poses)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), frames=st.integers(1, 40))
def test_blocks_of_any_length_make_the_same_file(data, frames):
    poses = make_poses(frames)
    cuts = data.draw(st.lists(st.integers(0, frames), max_size=5).map(sorted))
    # Four frames a chunk and eight a shard, so that forty frames need several of both.
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(subject, "_CHUNK_BYTES", 4 * 16)
        patch.setattr(subject, "_CHUNKS_PER_SHARD", 2)
        path = Path(folder, "v.zarr")
        with create_poses(
            path, poses.time, poses.bodyparts, poses.individuals, poses.attributes
        ) as writer:
            for start, stop in zip([0, *cuts], [*cuts, frames], strict=True):
                block = slice(start, stop)
                writer.write(
                    start, poses.position[block], poses.confidence[block], poses.frame_status[block]
                )
        assert_same(read_poses(path), poses)
        start, stop = sorted(data.draw(st.tuples(*[st.integers(0, frames)] * 2)))
        np.testing.assert_array_equal(
            read_poses(path, start, stop).position, poses.position[start:stop]
        )
        np.testing.assert_array_equal(read_times(path), poses.time)


@pytest.mark.parametrize("consolidated", [True, False])
def test_xarray_opens_it_by_name(tmp_path, consolidated):
    poses = make_poses(3, ("náse", "尾"), ("a", "b"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_poses(tmp_path / "v.zarr", poses)
        dataset = xarray.open_zarr(tmp_path / "v.zarr", consolidated=consolidated)
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
    assert dataset.attrs["format_version"] == 1


def test_a_video_of_ordinary_length_takes_few_files_and_long_ones_are_cut_inside_shards(tmp_path):
    write_poses(tmp_path / "v.zarr", make_poses(300))
    # Seven arrays of two files each, and the group.
    assert sum(path.is_file() for path in (tmp_path / "v.zarr").rglob("*")) == 15
    # Two keypoints: 16 bytes a frame, 65536 frames a chunk; 27 hours at 30 frames per second.
    assert subject._choose_chunks(2_900_000, 2) == (65536, 45 * 65536)
    # 150 points: 873 frames are 2**20 bytes, cut to 512; 64 chunks make a shard.
    assert subject._choose_chunks(2_900_000, 150) == (512, 64 * 512)
    assert subject._choose_chunks(0, 0) == (1, 1)


def test_a_part_is_read_without_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(subject, "_CHUNK_BYTES", 4 * 16)
    path = tmp_path / "v.zarr"
    write_poses(path, make_poses(40))
    assert zarr.open_array(path / "position").shards == (40, 2, 2, 1)
    shard = path / "position/c/0/0/0/0"
    content = bytearray(shard.read_bytes())
    # Spoil the first chunk: frames 0 to 3 are damaged and said to be; the others are fine.
    content[20:24] = b"\xff\xff\xff\xff"
    shard.write_bytes(content)
    assert read_poses(path, 4, 6).position[0, 0, 0, 0] == 4 * 4
    with pytest.raises(StoreError, match="damaged pose file"):
        read_poses(path, 0, 4)


def test_nothing_is_published_when_the_block_raises(tmp_path):
    path = tmp_path / "v.zarr"
    write_poses(path, make_poses(3))
    with pytest.raises(RuntimeError, match="lost"), create_poses(path, np.zeros(9), "a", "b", {}):
        raise RuntimeError("lost")
    assert_same(read_poses(path), make_poses(3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.zarr"]


def test_nothing_is_published_when_frames_are_missing(tmp_path):
    path, poses = tmp_path / "v.zarr", make_poses(3)

    def write_three_of_four():
        with create_poses(path, np.zeros(4), poses.bodyparts, poses.individuals, {}) as writer:
            writer.write(0, poses.position, poses.confidence, poses.frame_status)

    with pytest.raises(StoreError, match="3 of 4 frames"):
        write_three_of_four()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("start", "frames", "bodyparts", "message"),
    [
        (1, 2, "ab", "block starts at frame 1, expected 0"),
        (0, 3, "ab", "block ends at frame 3 of a video of 2"),
        (0, 2, "abc", r"position has shape \(2, 2, 3, 1\), expected \(2, 2, 2, 1\)"),
    ],
)
def test_blocks_must_follow_each_other_and_fit(tmp_path, start, frames, bodyparts, message):
    block = make_poses(frames, bodyparts, "c")
    path, expected = tmp_path / "v.zarr", make_poses(2, "ab", "c")
    with create_poses(path, expected.time, "ab", "c", ATTRIBUTES) as writer:
        with pytest.raises(ValueError, match=message):
            writer.write(start, block.position, block.confidence, block.frame_status)
        # A block that was refused leaves no trace.
        writer.write(0, expected.position, expected.confidence, expected.frame_status)
    assert_same(read_poses(path), expected)


def test_attributes_cannot_pose_as_the_format(tmp_path):
    with pytest.raises(ValueError, match="units are reserved"):
        write_poses(tmp_path / "v.zarr", make_poses(attributes={"units": "mm"}))


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
        "import sys; from pathlib import Path; from pipeline_lib.io.poses import read_pose_key; "
        "print(read_pose_key(Path(sys.argv[1])), {'zarr', 'xarray', 'pandas'} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "v.zarr")],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert answer.stdout.strip() == "0123456789abcdef set()"


def _drop_shard(path):
    (path / "position/c/0/0/0/0").unlink()


def _cut_shard(path):
    shard = path / "confidence/c/0/0/0"
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
        (_drop_shard, "incomplete pose file, lacks position/c/0/0/0/0", None),
        (_drop_metadata, "not a Zarr version 3 group", None),
        (_cut_metadata, "not a Zarr version 3 group", None),
        (_raise_version, "pose format version 99, expected 1", None),
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
