"""Test that chunks of foreign Zarr stores unpack to what their arrays declare, and to no more."""

import json
import os
import pickle
import struct
import zipfile

import google_crc32c
import numcodecs
import numpy as np
import pytest
import zarr

import pipeline_lib
from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.foreign.zarr_codecs import bound_decoding, read_blosc_length, read_zstd_length
from pipeline_lib.io.poses.format import open_group
from pipeline_lib.io.poses.read import read_poses, read_times
from pipeline_lib.io.poses.write import write_poses
from tests.io.poses.pose_examples import make_poses

SHARDED = 300_000


def add_checksum(data):
    return data + struct.pack("<I", google_crc32c.value(data))


def compress(size):
    """Return zeros as a Blosc stream, a few kilobytes."""
    return bytes(numcodecs.Blosc(cname="zstd").encode(np.zeros(size, np.uint8)))


def claim(size):
    """Return a small Blosc stream whose header says that it is as long as that."""
    stream = bytearray(compress(40))
    stream[4:8] = struct.pack("<I", size)
    return bytes(stream)


@pytest.fixture
def poses(tmp_path):
    """Write a pose file, a folder."""
    path = tmp_path / "video.zarr"
    write_poses(path, make_poses(frames=5))
    return path


def refuse(path, message, read=read_poses):
    with pytest.raises(StoreError, match=message) as caught:
        read(path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("size", [41 + 4, 2**27, 2**31 - 1, 2**32 - 1])
def test_a_chunk_that_is_longer_than_its_array_says(poses, size):
    stream = compress(size) if size < 2**30 else claim(size)
    (poses / "time" / "c.0").write_bytes(add_checksum(stream))
    refuse(poses, f"unpacks to {size} bytes, expected 44", read_times)


def test_a_shard_with_such_a_chunk(tmp_path):
    path = tmp_path / "long.zarr"
    write_poses(path, make_poses(SHARDED, bodyparts=("nose",)))
    shard = path / "time" / "c.0"
    chunk = add_checksum(claim(2**31 - 1))
    metadata = json.loads((path / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
    (codec,) = metadata["time"]["codecs"]
    [length] = metadata["time"]["chunk_grid"]["configuration"]["chunk_shape"]
    [inner] = codec["configuration"]["chunk_shape"]
    index = add_checksum(struct.pack("<QQ", 0, len(chunk)) * (length // inner))
    shard.write_bytes(chunk + index)
    message = f"unpacks to {2**31 - 1} bytes, expected {inner * 8 + 4}"
    refuse(path, message, read_times)
    # Also a part of it, lazily, and where the array was sent to another process.
    refuse(path, message, lambda one: read_poses(one, 5, 9))
    with pytest.raises(ValueError, match=message):
        pipeline_lib.open_poses(path)["time"].to_numpy()
    with open_group(path) as (group, _):
        copy = pickle.loads(pickle.dumps(group["time"]))  # noqa: S301 - our own
    with pytest.raises(ValueError, match=message):
        copy[:]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (struct.pack("<I", 2**31 - 1), "does not hold"),
        (struct.pack("<I", 0), "does not hold"),
        (b"", "damaged pose file"),
        (b"\0" * 2**27, "unpacks to 134217728 bytes"),
    ],
)
def test_chunks_with_another_number_of_names_are_refused(poses, texts, message):
    (poses / "keypoint" / "c.0").write_bytes(numcodecs.Zstd().encode(texts))
    refuse(poses, message)


def test_a_frame_that_does_not_say_how_long_it_is(poses):
    """Zstandard can be streamed: such a frame unpacks to any length."""
    unknown = b"\x28\xb5\x2f\xfd\x00\x58" + b"\x03\x00\x00"
    (poses / "keypoint" / "c.0").write_bytes(unknown)
    refuse(poses, "unknown length")


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_791, 65_792, 2**20])
def test_lengths_in_headers(size):
    """Test each width of the field against what the codecs write."""
    data = np.zeros(size, np.uint8)
    assert read_zstd_length(bytes(numcodecs.Zstd().encode(data))) == size
    assert read_blosc_length(bytes(numcodecs.Blosc().encode(data))) == size


@pytest.mark.parametrize("packed", [False, True])
def test_a_stored_file_that_is_larger_than_any(poses, packed):
    """A file of holes costs its sender nothing."""
    chunk = poses / "time" / "c.0"
    os.truncate(chunk, 2**40)
    if packed:
        path = poses.with_name("packed.zarr.zip")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(file for file in poses.rglob("*") if file.is_file()):
                name = file.relative_to(poses).as_posix()
                archive.writestr(name, bytes(300 * 2**20) if file == chunk else file.read_bytes())
        poses = path
    refuse(poses, "time/c.0 has .* bytes, expected at most")
    with pytest.raises(StoreError, match="expected at most"):
        pipeline_lib.open_poses(poses)


@pytest.mark.parametrize("name", ["zarr.json", "time/c.0"])
def test_a_fifo_in_a_pose_file(poses, name):
    (poses / name).unlink()
    os.mkfifo(poses / name)
    refuse(poses, "no regular file|not a Zarr version 3 group")


def test_stores_of_other_people_are_read_as_before(poses, tmp_path):
    """Check that zarr outside of ours decodes by its own codecs."""
    with bound_decoding():
        assert zarr.config.get("codecs.blosc").endswith("BoundedBlosc")
    assert zarr.config.get("codecs.blosc").endswith(".BloscCodec")
    array = zarr.create_array(tmp_path / "a.zarr", shape=(9,), dtype="f8")
    array[:] = 3
    assert (zarr.open_array(tmp_path / "a.zarr", mode="r")[:] == 3).all()
    np.testing.assert_array_equal(read_poses(poses).time, make_poses(frames=5).time)
