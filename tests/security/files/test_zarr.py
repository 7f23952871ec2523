"""Test that metadata of foreign Zarr stores runs no code and reads no other files."""

import contextlib
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import numcodecs.pickles
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.foreign.zarr_metadata import check_arrays
from pipeline_lib.io.poses.read import (
    count_frames,
    read_frame_status,
    read_pose_key,
    read_poses,
    read_times,
)
from pipeline_lib.io.poses.write import copy_poses, write_poses
from pipeline_lib.io.targets.store import SampleRecord, TargetLayout, TargetStore, create_targets
from tests.io.poses.pose_examples import make_poses

SHARDED = 700_000
REFUSED = "was not written by cohortpose and is not read"


class Payload:
    """Run code when unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.fixture(autouse=True)
def old_numcodecs(monkeypatch):
    """Unpickle when asked to, as the oldest numcodecs does that is allowed."""
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)


@pytest.fixture
def mark(tmp_path):
    """Return the file that appears if code ran."""
    return tmp_path / "code-ran"


@pytest.fixture
def poses(tmp_path):
    """Write a pose file, a folder."""
    path = tmp_path / "video.zarr"
    write_poses(path, make_poses(frames=5))
    return path


@pytest.fixture
def targets(tmp_path):
    """Write a target store."""
    path = tmp_path / "targets.zarr"
    layout = TargetLayout(
        height=8,
        width=8,
        rows=1,
        columns=1,
        stride=8,
        scale=1,
        refinement_scale=1,
        skeleton=Skeleton(bodyparts=("nose",)),
        individuals=1,
        samples_per_shard=2,
    )
    samples = [SampleRecord(f"{number}.png", "train", 8, 8) for number in range(2)]
    group = create_targets(path, layout, samples, key="k")
    group["image"][:] = 7
    zarr.consolidate_metadata(group.store)
    return path


def describe_v2(shape, dtype="|O", filters=("vlen-utf8", "pickle"), compressor=None):
    """Return an array of Zarr version 2, which may stand in the metadata of version 3."""
    return {
        "zarr_format": 2,
        "shape": shape,
        "chunks": [max(1, size) for size in shape],
        "dtype": dtype,
        "fill_value": None,
        "order": "C",
        "filters": [{"id": name} for name in filters],
        "compressor": compressor and {"id": compressor},
        "dimension_separator": ".",
        "attributes": {},
    }


def change_array(path, name, change):
    """Change the metadata of an array, wherever they are."""
    file = path / "zarr.json"
    metadata = json.loads(file.read_text())
    arrays = metadata["consolidated_metadata"]["metadata"]
    arrays[name] = change(arrays[name])
    file.write_text(json.dumps(metadata))
    own = path / name / "zarr.json"
    if own.exists():
        own.write_text(json.dumps(arrays[name]))


def place_payload(path, name, mark):
    """Make the only chunk of an array, as version 2 names it, one that runs code."""
    (path / name / "0").write_bytes(pickle.dumps(Payload(str(mark))))


def pack(path):
    """Make the packed kind of a pose file from a folder."""
    packed = path.with_name("packed.zarr.zip")
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            archive.write(file, file.relative_to(path).as_posix())
    return packed


def read_everything(path):
    """Call every reader of pose files; all must refuse."""
    for read in (read_poses, read_times, read_frame_status, count_frames):
        with pytest.raises(StoreError, match=REFUSED):
            read(path)
    assert read_pose_key(path) is None


VERSION_2 = {
    "objects": describe_v2([5]),
    "numbers": describe_v2([5], "<f8", ("pickle",)),
    "compressor": describe_v2([5], "<f8", (), "pickle"),
    "before another filter": describe_v2([5], "|O", ("pickle", "vlen-utf8")),
    "texts": describe_v2([5], "|O", ("json2",)),
    "harmless": describe_v2([5], "<f8", (), "zlib"),
}


@pytest.mark.parametrize("attack", VERSION_2.values(), ids=VERSION_2)
@pytest.mark.parametrize("name", ["time", "keypoint", "position"])
def test_an_array_of_version_2_in_a_pose_file(poses, mark, name, attack):
    change_array(poses, name, lambda _: attack)
    place_payload(poses, name, mark)
    read_everything(poses)
    read_everything(pack(poses))
    with pytest.raises(StoreError, match=REFUSED):
        copy_poses(poses, poses.with_name("copy.zarr"), {})
    assert not mark.exists()


def test_zarr_itself_would_run_it(poses, mark):
    """Check that the attack works, without which the other tests would show nothing."""
    change_array(poses, "time", lambda _: describe_v2([5]))
    place_payload(poses, "time", mark)
    # What is unpickled is no text, which zarr finds too late.
    with contextlib.suppress(TypeError):
        zarr.open_group(poses, mode="r", zarr_format=3)["time"][:]
    assert mark.is_dir()


@pytest.mark.parametrize("attack", VERSION_2.values(), ids=VERSION_2)
def test_an_array_of_version_2_in_a_target_store(targets, mark, attack):
    assert (TargetStore(targets).read("image", 1) == 7).all()
    change_array(targets, "image", lambda _: attack)
    place_payload(targets, "image", mark)
    with pytest.raises(StoreError, match=REFUSED):
        TargetStore(targets)
    assert not mark.exists()


def test_a_store_of_version_2_is_none_of_ours(targets, poses, mark):
    """Check both versions, since Zarr accepts either for a group unless told."""
    for path in (targets, poses):
        attributes = json.loads((path / "zarr.json").read_text())["attributes"]
        shutil.rmtree(path)
        group = zarr.open_group(path, mode="w", zarr_format=2)
        group.attrs.update(attributes)
        array = path / "image"
        array.mkdir()
        plain = describe_v2([5])
        del plain["attributes"]
        (array / ".zarray").write_text(json.dumps(plain))
        place_payload(path, "image", mark)
    with pytest.raises(StoreError, match="no target store"):
        TargetStore(targets)
    with pytest.raises(StoreError, match="not a Zarr version 3 group"):
        read_poses(poses)
    assert not mark.exists()


def test_metadata_beside_an_array_are_not_asked(poses, targets, mark):
    """Check that the metadata that were inspected are those that are used."""
    for path, name in ((poses, "time"), (targets, "image")):
        (path / name / "zarr.json").write_text(json.dumps(describe_v2([5])))
        (path / name / ".zarray").write_text(json.dumps(describe_v2([5])))
    np.testing.assert_array_equal(read_times(poses), make_poses(frames=5).time)
    assert (TargetStore(targets).read("image", 0) == 7).all()
    assert not mark.exists()


def use_codecs(*codecs):
    return lambda array: {**array, "codecs": list(codecs)}


def shard_codecs(codecs, index=({"name": "bytes"}, {"name": "crc32c"})):
    inner = {"chunk_shape": [1], "codecs": list(codecs), "index_codecs": list(index)}
    return use_codecs({"name": "sharding_indexed", "configuration": inner})


BYTES, CRC = {"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}
PICKLE = {"name": "numcodecs.pickle", "configuration": {"id": "pickle"}}
VERSION_3 = {
    "pickle": use_codecs(BYTES, PICKLE, CRC),
    "pickle by its short name": use_codecs({"name": "pickle"}, CRC),
    "pickle alone": use_codecs(PICKLE),
    "pickle in a shard": shard_codecs([BYTES, PICKLE, CRC]),
    "pickle in a shard's index": shard_codecs([BYTES, CRC], [BYTES, PICKLE, CRC]),
    "a shard in a shard": shard_codecs([*shard_codecs([BYTES, CRC])({})["codecs"]]),
    "a shard among others": use_codecs(shard_codecs([BYTES])({})["codecs"][0], CRC),
    "a shard without codecs": use_codecs({"name": "sharding_indexed"}),
    "a text for a codec": use_codecs(BYTES, "numcodecs.pickle", CRC),
    "a text that is allowed elsewhere": use_codecs("bytes", "crc32c"),
    "a name that is no text": use_codecs({"name": ["bytes"]}, CRC),
    "bytes of any file": use_codecs(BYTES),
    "bytes of any file, blosc": use_codecs(BYTES, {"name": "blosc"}),
    "bytes of any file in a shard": shard_codecs([BYTES]),
    "no codecs": use_codecs(),
    "codecs that are no list": lambda array: {**array, "codecs": "bytes"},
    "objects": lambda array: {**array, "data_type": "object"},
    "a type with settings": lambda array: {**array, "data_type": {"name": "bytes"}},
    "transformers": lambda array: {**array, "storage_transformers": [{"name": "pickle"}]},
    "a group": lambda array: {**array, "node_type": "group"},
    "another version": lambda array: {**array, "zarr_format": 2},
    "a version that only looks so": lambda array: {**array, "zarr_format": "3"},
    "no array": lambda _: "pickle",
    "sizes that are none": lambda array: {**array, "shape": [True]},
    "a negative size": lambda array: {**array, "shape": [-1]},
}


@pytest.mark.parametrize("attack", VERSION_3.values(), ids=VERSION_3)
def test_codecs_and_types_that_are_none_of_ours(poses, targets, attack):
    change_array(poses, "time", attack)
    read_everything(poses)
    read_everything(pack(poses))
    change_array(targets, "keypoint", attack)
    with pytest.raises(StoreError, match=REFUSED):
        TargetStore(targets)


def test_an_array_that_nobody_asks_for_is_looked_at_too(poses):
    """Check all metadata, which Zarr reads when it opens the group."""
    file = poses / "zarr.json"
    metadata = json.loads(file.read_text())
    metadata["consolidated_metadata"]["metadata"]["more"] = describe_v2([5])
    file.write_text(json.dumps(metadata))
    read_everything(poses)


def test_a_chunk_that_is_another_file_is_no_poses(poses, tmp_path):
    """Check that its bytes do not become positions, for any metadata."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(40)))
    chunk = poses / "time" / "c.0"
    chunk.unlink()
    chunk.symlink_to(secret)
    with pytest.raises(StoreError, match="damaged pose file"):
        read_times(poses)
    change_array(poses, "time", use_codecs(BYTES))
    with pytest.raises(StoreError, match=REFUSED):
        read_times(poses)


def test_our_own_stores_are_read(tmp_path):
    """Test one chunk and several in a shard, packed or not."""
    for frames in (0, 1, 5, SHARDED):
        expected = make_poses(frames, bodyparts=("nose",))
        path = tmp_path / f"{frames}.zarr"
        write_poses(path, expected)
        for one in (path, pack(path)):
            np.testing.assert_array_equal(read_poses(one).position, expected.position)


OURS = '{"attributes": {"format": "cohortpose poses", "format_version": 2'


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{}",
        "[]",
        OURS + "}}",
        OURS + ', "files": 3}, "consolidated_metadata": {"metadata": {}}}',
        OURS + ', "files": []}, "consolidated_metadata": {"metadata": []}}',
        OURS + ', "files": []}, "consolidated_metadata": 1}',
    ],
)
def test_metadata_that_are_none(poses, text):
    (poses / "zarr.json").write_text(text)
    for path in (poses, pack(poses)):
        with pytest.raises(StoreError):
            read_poses(path)
        assert read_pose_key(path) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(
        ["bytes", "crc32c", "sharding_indexed", "array", "string", "float32"]
    ),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["name", "codecs", "configuration", "index_codecs", "shape"]), inner
    ),
)  # fmt: skip


@given(JSON, JSON, JSON)
def test_metadata_of_any_type_are_refused_or_read(codecs, kind, shape):
    array = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": kind,
        "codecs": codecs,
    }
    with contextlib.suppress(StoreError):
        check_arrays("store", {"a": array})
        names = json.dumps(codecs)
        assert "pickle" not in names
        assert isinstance(kind, str)
        assert isinstance(shape, list)


def change_shapes(path, **shapes):
    """Declare other lengths of axes, in the metadata alone; chunks are as long."""
    file = path / "zarr.json"
    metadata = json.loads(file.read_text())
    arrays = metadata["consolidated_metadata"]["metadata"]
    for array in arrays.values():
        for place, axis in enumerate(array["dimension_names"]):
            if axis in shapes:
                array["shape"][place] = shapes[axis]
                if place:
                    array["chunk_grid"]["configuration"]["chunk_shape"][place] = shapes[axis]
    file.write_text(json.dumps(metadata))


def change_chunks(path, names, chunk):
    file = path / "zarr.json"
    metadata = json.loads(file.read_text())
    for name in names:
        array = metadata["consolidated_metadata"]["metadata"][name]
        array["chunk_grid"]["configuration"]["chunk_shape"][0] = chunk
    file.write_text(json.dumps(metadata))


OVER_TIME = ("position", "confidence", "frame_status", "time")


@pytest.fixture
def little_memory():
    """Fail what asks for gigabytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells sizes there")
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"time": 10**12}, "declares 1000000000000 frames, expected at most 5 by the stored times"),
        ({"time": 2**63}, "declares 9223372036854775808 frames"),
        ({"time": 6}, "declares 6 frames, expected at most 5"),
        ({"keypoint": 10**9}, "declares 1000000000 names along keypoint|is cut into chunks"),
        ({"individual": 10**9}, "declares 1000000000 names along individual|is cut into chunks"),
        ({"space": 10**9}, "declares 1000000000 names along space|is cut into chunks"),
        ({"keypoint": 10**4, "individual": 10**4}, "points in a frame|is cut into chunks"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.usefixtures("little_memory")
def test_lengths_that_nothing_stored_accounts_for(poses, shapes, message, packed):
    change_shapes(poses, **shapes)
    path = pack(poses) if packed else poses
    for read in (read_poses, read_times, read_frame_status, count_frames):
        with pytest.raises(StoreError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "is not read" in str(caught.value)


@pytest.mark.parametrize(
    ("names", "chunk", "message"),
    [
        (OVER_TIME, 10**12, "is cut into chunks of .* expected at most"),
        (("time",), 10**7, "array 'position' is cut at every 5 frames, expected 10000000"),
        (("position",), 1, "array 'position' is cut at every 1 frames, expected 5"),
        (("time",), 0, "is cut into chunks of .*, expected sizes"),
        (("time",), True, "is cut into chunks of .*, expected sizes"),
    ],
)
def test_chunks_that_are_none_of_ours(poses, names, chunk, message):
    change_chunks(poses, names, chunk)
    with pytest.raises(StoreError, match=message):
        read_poses(poses)


def test_arrays_of_different_lengths(poses):
    file = poses / "zarr.json"
    metadata = json.loads(file.read_text())
    metadata["consolidated_metadata"]["metadata"]["confidence"]["shape"][0] = 4
    file.write_text(json.dumps(metadata))
    with pytest.raises(StoreError, match="'confidence' has 4 along time, and another array 5"):
        read_poses(poses)


@pytest.mark.parametrize("name", ["position", "time", "keypoint"])
def test_an_array_that_is_not_there(poses, name):
    file = poses / "zarr.json"
    metadata = json.loads(file.read_text())
    del metadata["consolidated_metadata"]["metadata"][name]
    file.write_text(json.dumps(metadata))
    with pytest.raises(StoreError, match=f"lacks {name}"):
        count_frames(poses)


def test_shards_of_countless_chunks(tmp_path):
    path = tmp_path / "video.zarr"
    write_poses(path, make_poses(frames=SHARDED))
    assert read_times(path).shape == (SHARDED,)
    file = path / "zarr.json"
    metadata = json.loads(file.read_text())
    codec = metadata["consolidated_metadata"]["metadata"]["time"]["codecs"][0]
    codec["configuration"]["chunk_shape"] = [1]
    file.write_text(json.dumps(metadata))
    with pytest.raises(StoreError, match="chunks in a shard, expected at most 1024"):
        read_times(path)


def test_metadata_of_gigabytes_are_not_read(poses, tmp_path):
    (tmp_path / "bomb").write_bytes(b" " * (65 * 2**20))
    path = tmp_path / "bomb.zarr.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "bomb", "zarr.json")
    assert path.stat().st_size < 100_000
    with pytest.raises(StoreError, match="not a Zarr version 3 group"):
        read_poses(path)
    os.truncate(poses / "zarr.json", 65 * 2**20)
    with pytest.raises(StoreError, match="not a Zarr version 3 group"):
        read_poses(poses)
