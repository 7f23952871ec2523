"""Test which changes checksums of results detect."""

import hashlib
import os
import shutil

import pytest

from pipeline_lib.io.checksums import hash_path, measure_path
from pipeline_lib.steps.provenance.checksums import (
    Published,
    compare_checksums,
    read_checksums,
    record_checksums,
)


@pytest.fixture
def store(tmp_path):
    """Make a folder of two files, one of them in a subfolder."""
    folder = tmp_path / "results" / "poses" / "a.zarr"
    (folder / "x").mkdir(parents=True)
    (folder / "zarr.json").write_bytes(b"12345")
    (folder / "x" / "0").write_bytes(b"678")
    return folder


@pytest.fixture
def record(store):
    """Return a function that records the folder, and the table's only row after it."""
    root, table = store.parents[1], store.parents[1] / "contents.tsv"

    def write(key="k"):
        record_checksums(table, root, [Published("poses", store, "a", key)])
        return read_checksums(table)["poses/a.zarr"]

    return write


def rewrite(path, content):
    """Write a file and give it back its time of change."""
    facts = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_the_hash_of_a_folder_by_hand(store):
    lines = "".join(
        f"{name}\0{hashlib.sha256(content).hexdigest()}\n"
        for name, content in (("x/0", b"678"), ("zarr.json", b"12345"))
    )
    assert hash_path(store) == hashlib.sha256(lines.encode()).hexdigest()
    assert hash_path(store / "zarr.json") == hashlib.sha256(b"12345").hexdigest()
    assert measure_path(store).bytes == 8


def test_a_copy_has_the_same_hash_and_a_renamed_part_another(store, tmp_path):
    before = hash_path(store)
    copy = shutil.copytree(store, tmp_path / "elsewhere")
    assert hash_path(copy) == before
    (copy / "x" / "0").rename(copy / "x" / "1")
    assert hash_path(copy) != before


def test_a_comparison_detects_changes(store, record):
    root, row = store.parents[1], record()
    assert compare_checksums(row, root, quick=False) == ""
    assert compare_checksums(row, root, quick=True) == ""
    rewrite(store / "zarr.json", b"12E45")
    assert "same size" in compare_checksums(row, root, quick=False)
    assert compare_checksums(row, root, quick=True) == ""
    rewrite(store / "zarr.json", b"12345")
    os.utime(store / "x" / "0", ns=(0, 2**62))
    assert compare_checksums(row, root, quick=False) == ""
    assert "another time" in compare_checksums(row, root, quick=True)
    (store / "more").write_bytes(b"9")
    for quick in (True, False):
        assert compare_checksums(row, root, quick=quick) == "9 bytes, recorded 8"
    shutil.rmtree(store)
    with pytest.raises(FileNotFoundError):
        compare_checksums(row, root, quick=True)


def test_a_flipped_bit_is_not_recorded_as_the_truth(store, record):
    first = record()
    rewrite(store / "zarr.json", b"12E45")
    assert record() == first
    # Poses of another key are other poses.
    again = record("another")
    assert again["sha256"] == hash_path(store)
    assert again["sha256"] != first["sha256"]


def test_results_of_other_videos_stay_in_the_record(store, record):
    root = store.parents[1]
    record()
    other = root / "poses" / "b.zarr"
    shutil.copytree(store, other)
    record_checksums(root / "contents.tsv", root, [Published("poses", other, "b", "k")])
    assert list(read_checksums(root / "contents.tsv")) == ["poses/a.zarr", "poses/b.zarr"]
    assert read_checksums(root / "none.tsv") == {}
