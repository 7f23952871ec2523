"""Test that foreign HDF5 files run nothing and read no other file."""

import json
import os
import pickle
import zlib
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tables
from PIL import Image

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.io.exports.deeplabcut import read_deeplabcut_predictions
from pipeline_lib.io.foreign.hdf5 import open_hdf5
from pipeline_lib.io.labels.deeplabcut import read_deeplabcut
from pipeline_lib.io.labels.sleap.file import open_sleap_file
from pipeline_lib.io.labels.sleap.read import read_sleap
from tests.io.labels.slp_examples import Project

COLUMNS = pd.MultiIndex.from_product(
    [["ann"], ["nose", "tail"], ["x", "y"]], names=["scorer", "bodyparts", "coords"]
)
KEY = "df_with_missing"


class Payload:
    """Make a file when unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "somebody-was-here"


@pytest.fixture
def table(tmp_path):
    """Write a DeepLabCut table in HDF5 with one image."""
    folder = tmp_path / "project" / "labeled-data" / "v"
    folder.mkdir(parents=True)
    Image.new("L", (64, 48)).save(folder / "img1.png")
    path = folder / "CollectedData_ann.h5"
    write_table(path)
    return path


def write_table(path, values=((1.0, 2.0, 3.0, 4.0),), **options):
    frame = pd.DataFrame(list(values), columns=COLUMNS, index=["labeled-data/v/img1.png"])
    frame.to_hdf(path, key=KEY, mode="w", **options)


def refuse(table, message):
    with pytest.raises(LabelError, match=message) as error:
        read_deeplabcut(table)
    assert len(error.value.problems) == 1
    assert "\n" not in error.value.problems[0]
    assert str(table) in error.value.problems[0]


def test_the_payload_works(marker):
    pickle.loads(pickle.dumps(Payload(marker)))  # noqa: S301 - the attack itself
    assert marker.is_dir()


def test_an_attribute_that_nobody_needs_is_not_unpickled(table, marker):
    # Not by PyTables, which would run it here.
    program = np.bytes_(pickle.dumps(Payload(marker), 0))
    with h5py.File(table, "a") as file:
        for place in ("/", f"/{KEY}", f"/{KEY}/axis1", f"/{KEY}/block0_values"):
            file[place].attrs["comment"] = program
    assert read_deeplabcut(table)["x"].tolist() == [1, 3]
    assert not marker.exists()


@pytest.mark.parametrize(
    ("layout", "place", "name"),
    [
        ("fixed", f"/{KEY}", "encoding"),
        ("fixed", f"/{KEY}", "pandas_type"),
        ("fixed", f"/{KEY}/axis1", "name"),
        ("fixed", f"/{KEY}/axis1", "nan_rep"),
        ("fixed", f"/{KEY}/axis0_level1", "shape"),
        ("fixed", f"/{KEY}/axis0_level1", "name"),
        ("table", f"/{KEY}", "non_index_axes"),
        ("table", f"/{KEY}", "values_cols"),
        ("table", f"/{KEY}", "info"),
        ("table", f"/{KEY}/table", "values_block_0_kind"),
        ("table", f"/{KEY}/table", "index_nan_rep"),
    ],
)
def test_an_attribute_with_a_payload(table, marker, layout, place, name):
    write_table(table, format=layout)
    with tables.open_file(table, "a") as file:
        file.set_node_attr(place, name, Payload(marker))
    refuse(table, "names posix.mkdir, which is not loaded")
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["block0_values", "axis1", "axis0_level1", "axis0_label1"])
def test_an_array_of_objects_with_a_payload(table, marker, name, protocol):
    content = np.array([Payload(marker)], dtype=object)
    with h5py.File(table, "a") as file:
        attributes = dict(file[KEY][name].attrs)
        del file[KEY][name]
        data = file[KEY].create_dataset(name, (1,), h5py.vlen_dtype(np.uint8))
        data[0] = np.frombuffer(pickle.dumps(content, protocol), np.uint8)
        data.attrs.update(attributes | {"kind": np.bytes_(b"object")})
    refuse(table, "names posix.mkdir, which is not loaded")
    assert not marker.exists()


def test_the_csv_beside_a_refused_table_is_read(table, marker, caplog):
    with tables.open_file(table, "a") as file:
        file.set_node_attr(f"/{KEY}", "encoding", Payload(marker))
    header = "scorer,ann,ann\nbodyparts,nose,nose\ncoords,x,y\n"
    table.with_suffix(".csv").write_text(f"{header}labeled-data/v/img1.png,5,6\n")
    assert read_deeplabcut(table.parents[2])["x"].tolist() == [5]
    assert "posix.mkdir" in caplog.text
    assert not marker.exists()


def test_predictions_are_read_as_carefully(tmp_path, marker):
    path = tmp_path / "vDLC.h5"
    write_table(path)
    with tables.open_file(path, "a") as file:
        file.set_node_attr(f"/{KEY}", "encoding", Payload(marker))
    with pytest.raises(StoreError, match=r"posix\.mkdir"):
        read_deeplabcut_predictions(path)
    assert not marker.exists()


def test_memory_that_a_pickle_asks_for(table):
    program = b"cbuiltins\nbytearray\n(I1000000000000\ntR."
    with h5py.File(table, "a") as file:
        file[KEY].attrs["encoding"] = np.bytes_(program)
    refuse(table, "expected a whole pickle")


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["values"] = np.full((1, 4), 7.0)
    return path


def link(file, secret):
    file["block0_values"] = h5py.ExternalLink(str(secret), "/values")


def link_above(file, secret):
    """Make a soft link through a linked group."""
    file["elsewhere"] = h5py.ExternalLink(str(secret), "/")
    file["block0_values"] = h5py.SoftLink(f"/{KEY}/elsewhere/values")


def store_outside(file, secret):
    raw = secret.with_suffix(".raw")
    raw.write_bytes(np.full(4, 7.0).tobytes())
    file.create_dataset("block0_values", (1, 4), "f8", external=[(str(raw), 0, 32)])


def make_virtual(file, secret):
    layout = h5py.VirtualLayout((1, 4), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "values", shape=(1, 4))
    file.create_virtual_dataset("block0_values", layout)


def declare_much(file, secret):
    del secret
    file.create_dataset("block0_values", (10**6, 10**6), "f8", chunks=(100, 100))


def declare_more(file, secret):
    """Add so many that their number overflows 64 bits."""
    del secret
    file.create_dataset("block0_values", (2**32, 2**32), "f8", chunks=(10, 10))


def ask_for_a_plugin(file, secret):
    del secret
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((1, 4))
    plan.set_filter(32099, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((1, 4))
    h5py.h5d.create(file.id, b"block0_values", h5py.h5t.NATIVE_DOUBLE, space, plan)


def unpack_to_much(file, secret):
    """Write one chunk of 4 numbers whose bytes unpack to 2 GiB."""
    del secret
    data = file.create_dataset(
        "block0_values", (1, 4), "f8", chunks=(1, 4), compression="gzip", compression_opts=1
    )
    packer = zlib.compressobj(9)
    start, part = (
        packer.compress(bytes(2**25)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    packed = start + part * 63
    assert len(packed) < 2**22
    data.id.write_direct_chunk((0, 0), packed)


ESCAPES = [
    (link, "is a link to another file"),
    (link_above, "is a link to another file"),
    (store_outside, "has its values in other files"),
    (make_virtual, "has its values in other files"),
    (declare_much, r"declares 8,000,000,000,000 bytes, of which 0 are stored"),
    (declare_more, r"declares 147,573,952,589,676,412,928 bytes"),
    (ask_for_a_plugin, "filter 32099"),
    (unpack_to_much, "unpacks to more than it declares"),
]


@pytest.mark.parametrize(("escape", "message"), ESCAPES)
def test_tables_that_reach_outside(table, secret, escape, message):
    with h5py.File(table, "a") as file:
        group = file[KEY]
        del group["block0_values"]
        escape(group, secret)
    refuse(table, f"{message}")


@pytest.mark.parametrize(("escape", "message"), ESCAPES)
def test_sleap_files_that_reach_outside(tmp_path, secret, escape, message):
    """Check every object of the file, even those that nobody reads."""
    project = Project()
    project.add([str(tmp_path / "0.png")], 0, [(1, 2), (3, 4)])
    path = project.save(tmp_path / "a.slp")
    assert len(open_sleap_file(path).frames) == 1
    with h5py.File(path, "a") as file:
        escape(file.create_group("video0"), secret)
    with pytest.raises(LabelError, match=message) as error:
        open_sleap_file(path)
    assert len(error.value.problems) == 1


def test_embedded_frames_of_another_file(tmp_path, secret):
    """Refuse external storage, whose bytes would be written as label images."""
    with h5py.File(secret, "w") as file:
        file["values"] = np.zeros((1, 8, 8, 1), np.uint8)
    project = Project()
    project.add("v.mp4", 0, [(1, 2), (3, 4)])
    path = project.save(tmp_path / "a.slp")
    with h5py.File(path, "a") as file:
        record = {"filename": ".", "dataset": "video0/video", "shape": [1, 8, 8, 1]}
        file["videos_json"][0] = json.dumps({"backend": record})
        file.create_group("video0")["video"] = h5py.ExternalLink(str(secret), "/values")
    with pytest.raises(LabelError, match="video0/video is a link to another file"):
        read_sleap(path, tmp_path / "images")
    assert not (tmp_path / "images").exists()


def test_a_video_in_another_hdf5_is_looked_at_too(tmp_path, secret):
    outside = tmp_path / "v.h5"
    with h5py.File(secret, "w") as file:
        file["values"] = np.zeros((1, 8, 8, 1), np.uint8)
    with h5py.File(outside, "w") as file:
        file["frames"] = h5py.ExternalLink(str(secret), "/values")
    project = Project()
    project.add("v.mp4", 0, [(1, 2), (3, 4)])
    path = project.save(tmp_path / "a.slp")
    with h5py.File(path, "a") as file:
        record = {"filename": str(outside), "dataset": "frames", "shape": [1, 8, 8, 1]}
        file["videos_json"][0] = json.dumps({"backend": record})
    with pytest.raises(LabelError, match=r"v\.h5: /frames is a link to another file"):
        read_sleap(path, tmp_path / "images")


def test_json_and_names_of_a_sleap_file_run_nothing(tmp_path, marker):
    """Read text that looks like jsonpickle's or Python's objects as text."""
    project = Project()
    Image.new("L", (64, 48)).save(tmp_path / "0.png")
    project.add([str(tmp_path / "0.png")], 0, [(1, 2), (3, 4)])
    path = project.save(tmp_path / "a.slp")
    with h5py.File(path, "a") as file:
        metadata = json.loads(file["metadata"].attrs["json"])
        call = {"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": [str(marker)]}]}
        metadata["provenance"] = {"a": call}
        metadata["nodes"][0]["extra"] = call
        file["metadata"].attrs["json"] = np.bytes_(json.dumps(metadata).encode())
        file["metadata"].attrs["pickled"] = np.bytes_(pickle.dumps(Payload(marker), 0))
    read_sleap(path, tmp_path / "images")
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_only_regular_files_are_opened(tmp_path, kind):
    path = tmp_path / "a.h5"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    with pytest.raises(StoreError, match=r"a\.h5: "), open_hdf5(path):
        pass


def test_own_files_are_still_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.arange(10.0), compression="gzip", shuffle=True)
        file.create_dataset("big", data=np.zeros(10**6), compression="gzip")
        file["soft"] = h5py.SoftLink("/x")
        file["hard"] = file["x"]
        file["loop"] = file["/"]
    with open_hdf5(Path(tmp_path / "a.h5")) as file:
        assert file["soft"][3] == 3
