"""Test that score maps are read as they were written, and that a damaged file is one."""

import io
import struct
import zipfile

import numpy as np
import pytest

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.targets.score_maps import PredictedMaps, read_score_maps, write_score_maps

SCORE = np.linspace(0.0, 1.0, 2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)


def write_arrays(path, **changes):
    arrays = {
        "target_key": np.array("key"),
        "reason": np.array(""),
        "sample": np.arange(2),
        "error": np.array([3.5, 1.0]),
        "score": np.zeros((2, 3, 4, 5), np.uint8),
    }
    np.savez_compressed(path, **(arrays | changes))


def replace_member(path, name, data):
    write_arrays(path)
    with zipfile.ZipFile(path) as archive:
        members = {one: archive.read(one) for one in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for one, content in (members | {name: data}).items():
            archive.writestr(one, content)


def declare(text):
    """Return a NumPy file that has a header and nothing else."""
    header = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def encrypt(path):
    """Say of each member that it is encrypted, or packed by an unknown method."""
    write_arrays(path)
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        start = data.find(mark)
        while start >= 0:
            data[start + place] |= 1
            start = data.find(mark, start + 1)
    path.write_bytes(data)


def test_maps_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "maps.npz"
    maps = PredictedMaps("key", np.array([7, 2]), np.array([3.5, 1.0]), SCORE)
    write_score_maps(path, maps)
    read = read_score_maps(path)
    assert (read.target_key, read.reason) == ("key", "")
    assert read.sample.tolist() == [7, 2]
    assert read.error.tolist() == [3.5, 1.0]
    np.testing.assert_allclose(read.score, SCORE, atol=0.5 / 255)


DAMAGED = {
    "empty": lambda path: path.write_bytes(b""),
    "no archive": lambda path: path.write_bytes(b"\0" * 300),
    "encrypted": encrypt,
    "no array": lambda path: replace_member(path, "score.npy", b"hello"),
    "half a header": lambda path: replace_member(path, "score.npy", declare("{'descr': ((((")),
    "a petabyte": lambda path: replace_member(
        path,
        "score.npy",
        declare("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000, 1000), }"),
    ),
    "records": lambda path: write_arrays(path, sample=np.zeros(2, [("a", "i4"), ("b", "i4")])),
    "dates": lambda path: write_arrays(path, sample=np.array(["2026", "2027"], "M8[Y]")),
    "fractions": lambda path: write_arrays(path, sample=np.array([np.nan, 1.0])),
    "complex": lambda path: write_arrays(path, error=np.array([1j, 2])),
    "objects": lambda path: write_arrays(path, reason=np.array([{}], object)),
    "fewer": lambda path: write_arrays(path, sample=np.arange(1)),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_one(tmp_path, damage):
    path = tmp_path / "maps.npz"
    damage(path)
    with pytest.raises(StoreError, match=r"maps\.npz: no file of score maps .*run evaluate"):
        read_score_maps(path)


def test_nothing_is_unpacked_that_is_too_large(tmp_path):
    path, zeros = tmp_path / "maps.npz", io.BytesIO()
    np.save(zeros, np.zeros(2**28 + 1, np.uint8))
    write_arrays(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more.npy", zeros.getvalue())
    with pytest.raises(StoreError, match="bytes unpacked, at most"):
        read_score_maps(path)
