"""Test writing shards chunk by chunk: zarr's bytes, in the memory of one chunk."""

import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import blosc

import pipeline_lib.io.poses.format as form
from pipeline_lib.core.tables import FrameStatus
from pipeline_lib.io.poses.shards import ShardWriter

# Two keypoints of one individual: a chunk of position has 16 bytes a frame.
FRAME_BYTES = 16
MISSING = 2**64 - 1


def describe(patch, frames, chunk=4, chunks_per_shard=3, bodyparts="ab"):
    patch.setattr(form, "_CHUNK_BYTES", chunk * FRAME_BYTES)
    patch.setattr(form, "_CHUNKS_PER_SHARD", chunks_per_shard)
    return form.describe_arrays(form.PoseAxes(frames, tuple(bodyparts), ("i",)))


def make_values(frames, name="position", bodyparts=2):
    shape = {"position": (frames, 2, bodyparts, 1), "frame_status": (frames,), "time": (frames,)}
    count = int(np.prod(shape[name]))
    return (np.arange(count) % 3 + 1).astype(form.DTYPES[name]).reshape(shape[name])


def write(folder, metadata, values, cuts=()):
    writer = ShardWriter(folder, metadata)
    for start, stop in zip([0, *cuts], [*cuts, len(values)], strict=True):
        writer.append(values[start:stop])
    writer.close()


def write_by_zarr(folder, arrays, name, values):
    form.write_metadata(folder, arrays, {})
    zarr.open_group(folder, mode="r+", zarr_format=3)[name][:] = values


def read_by_zarr(folder, arrays, name):
    form.write_metadata(folder, arrays, {})
    return zarr.open_group(folder, mode="r", zarr_format=3)[name][:]


def read_files(folder):
    return {file.name: file.read_bytes() for file in folder.glob("c*")}


def read_index(shard, chunks):
    return np.frombuffer(shard[-16 * chunks - 4 : -4], "<u8").reshape(chunks, 2).tolist()


@settings(max_examples=20, deadline=None)
@given(
    data=st.data(),
    frames=st.integers(0, 40),
    chunk=st.sampled_from([1, 2, 4, 8, 64]),
    chunks_per_shard=st.integers(1, 5),
    name=st.sampled_from(["position", "frame_status", "time"]),
)
def test_the_files_are_those_of_zarr(data, frames, chunk, chunks_per_shard, name):
    cuts = data.draw(st.lists(st.integers(0, frames), max_size=5).map(sorted))
    values = make_values(frames, name)
    # Without what is the fill value, so that there are chunks and shards of nothing but that.
    start, stop = data.draw(st.lists(st.integers(0, frames), min_size=2, max_size=2).map(sorted))
    values[start:stop] = FrameStatus.UNDECODABLE if name == "frame_status" else np.nan
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as made:
        arrays = describe(patch, frames, chunk, chunks_per_shard)
        own, expected = Path(made, "own"), Path(made, "expected")
        own.mkdir()
        expected.mkdir()
        write(own / name, arrays[name], values, cuts)
        write_by_zarr(expected, arrays, name, values)
        assert read_files(own / name) == read_files(expected / name)
        np.testing.assert_array_equal(read_by_zarr(own, arrays, name), values)


@pytest.mark.parametrize("frames", [32_768 * 3 + 5, 32_768])
def test_chunks_of_full_size_are_those_of_zarr(tmp_path, frames):
    """Use codecs that compress in several blocks, whose order threads would change."""
    arrays = form.describe_arrays(form.PoseAxes(frames, tuple("abcd"), ("i",)))
    values = np.random.default_rng(0).normal(size=(frames, 2, 4, 1)).astype(np.float32)
    write(tmp_path / "own", arrays["position"], values, cuts=[7, 30_000])
    write_by_zarr(tmp_path, arrays, "position", values)
    assert read_files(tmp_path / "own") == read_files(tmp_path / "position")


def test_the_index_tells_where_each_chunk_lies(tmp_path, monkeypatch):
    metadata = describe(monkeypatch, 24)["position"]
    values = make_values(24)
    # The second of the three chunks of each shard, and the third one of the second.
    values[4:8] = values[16:24] = np.nan
    write(tmp_path / "position", metadata, values)
    files = read_files(tmp_path / "position")
    assert sorted(files) == ["c.0.0.0.0", "c.1.0.0.0"]
    (begin, first), absent, (end, last) = read_index(files["c.0.0.0.0"], 3)
    assert (begin, end) == (0, first)
    assert absent == [MISSING, MISSING]
    assert first + last + 3 * 16 + 4 == len(files["c.0.0.0.0"])
    (begin, first), *others = read_index(files["c.1.0.0.0"], 3)
    assert begin == 0
    assert others == [[MISSING, MISSING]] * 2
    assert first + 3 * 16 + 4 == len(files["c.1.0.0.0"])


def test_the_last_chunk_is_filled_up(tmp_path, monkeypatch):
    """Check that it overwrites the values of the previous chunk in memory."""
    values = make_values(6)
    write(tmp_path / "position", describe(monkeypatch, 6)["position"], values)
    (shard,) = read_files(tmp_path / "position").values()
    offset, size = read_index(shard, 2)[1]
    # The last four bytes are the checksum.
    content = blosc.decompress(shard[offset : offset + size - 4])
    chunk = np.frombuffer(content, "<f4").reshape(4, 2, 2, 1)
    np.testing.assert_array_equal(chunk[:2], values[4:])
    assert np.isnan(chunk[2:]).all()


def test_damage_is_known_by_the_checksums(tmp_path, monkeypatch):
    arrays = describe(monkeypatch, 8)
    write(tmp_path / "position", arrays["position"], make_values(8))
    path = tmp_path / "position" / "c.0.0.0.0"
    shard = path.read_bytes()
    # Each of: the second chunk, its checksum, its offset in the index, and that one's checksum.
    offset, size = read_index(shard, 2)[1]
    for place in (offset + 20, offset + size - 1, len(shard) - 20, len(shard) - 1):
        spoilt = bytearray(shard)
        spoilt[place] ^= 1
        path.write_bytes(spoilt)
        with pytest.raises(ValueError, match="checksum"):
            read_by_zarr(tmp_path, arrays, "position")
    path.write_bytes(shard)
    np.testing.assert_array_equal(read_by_zarr(tmp_path, arrays, "position"), make_values(8))


def test_no_chunk_no_folder(tmp_path, monkeypatch):
    write(tmp_path / "nan", describe(monkeypatch, 9)["position"], make_values(9) * np.nan)
    write(tmp_path / "frames", describe(monkeypatch, 0)["position"], make_values(0))
    nowhere = describe(monkeypatch, 9, bodyparts="")["position"]
    write(tmp_path / "bodyparts", nowhere, make_values(9, bodyparts=0))
    assert list(tmp_path.iterdir()) == []


def test_one_chunk_is_held_however_long_the_shard_is(tmp_path, monkeypatch):
    chunk, chunks = 2048, 32
    metadata = describe(monkeypatch, chunk * chunks, chunk, chunks)["position"]
    block = np.random.default_rng(0).normal(size=(chunk, 2, 2, 1)).astype(np.float32)
    # What is imported is not counted.
    write(tmp_path / "first", metadata, block)
    tracemalloc.start()
    try:
        writer = ShardWriter(tmp_path / "position", metadata)
        for _ in range(chunks):
            writer.append(block)
        writer.close()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    (shard,) = read_files(tmp_path / "position").values()
    # What is random is hardly compressed. One chunk and two encoded copies are three chunks.
    assert len(shard) > 0.8 * chunks * block.nbytes
    assert peak < 5 * block.nbytes
