"""Test the exact layout of DeepLabCut's tables, read by our own reader and by others."""

import tempfile
import time
from pathlib import Path

import hypothesis.extra.numpy as npst
import numpy as np
import pandas as pd
import pytest
import sleap_io
import tables
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.poses import Poses
from pipeline_lib.io.exports.deeplabcut import (
    PIXEL_OFFSET,
    read_deeplabcut_predictions,
    write_deeplabcut_predictions,
)
from tests.io.exports.export_examples import make_several

NAN = np.nan
POINTS = [("a", "nose"), ("a", "tail"), ("b", "nose"), ("b", "tail"), ("single", "corner")]
both_formats = pytest.mark.parametrize("suffix", ["h5", "csv"])


def make_poses(position, confidence, bodyparts, individuals):
    frames = len(position)
    return Poses(
        position=np.asarray(position, np.float32),
        confidence=np.asarray(confidence, np.float32),
        frame_status=np.zeros(frames, np.uint8),
        time=np.arange(frames) / 30,
        bodyparts=bodyparts,
        individuals=individuals,
    )


def make_single():
    """Return three frames: found, gated (likelihood without a point), undecodable."""
    position = np.array([[[1.5, 3], [2, 4]], [[5, 6], [NAN, NAN]], np.full((2, 2), NAN)])
    confidence = np.array([[0.75, 0.5], [1, 0.25], [NAN, NAN]])
    return make_poses(position[:, None], confidence[:, None], ("nose", "tail"), ("animal",))


def make_double():
    position = [[[[1, 5], [3, 7]], [[2, 6], [4, 8]]]]
    confidence = [[[1 / 8, 3 / 8], [2 / 8, 4 / 8]]]
    return make_poses(position, confidence, ("nose", "tail"), ("a", "b"))


def split(poses, frame):
    cuts = (slice(0, frame), slice(frame, None))
    return [
        make_poses(poses.position[cut], poses.confidence[cut], poses.bodyparts, poses.individuals)
        for cut in cuts
    ]


def test_one_individual_has_deeplabcuts_three_levels(tmp_path):
    write_deeplabcut_predictions(tmp_path / "v.h5", [make_single()], "net")
    table = pd.read_hdf(tmp_path / "v.h5", key="df_with_missing")
    assert table.columns.names == ["scorer", "bodyparts", "coords"]
    assert list(table.columns) == [
        ("net", part, coord) for part in ("nose", "tail") for coord in ("x", "y", "likelihood")
    ]
    assert table.index.tolist() == [0, 1, 2]
    assert set(table.dtypes) == {np.dtype("float64")}
    expected = [[1.5, 3, 0.75, 2, 4, 0.5], [5, 6, 1, NAN, NAN, 0.25], [NAN] * 6]
    np.testing.assert_array_equal(table.to_numpy(), expected)


def test_several_individuals_have_deeplabcuts_four_levels(tmp_path):
    write_deeplabcut_predictions(tmp_path / "v.h5", [make_double()], "net")
    table = pd.read_hdf(tmp_path / "v.h5")
    assert table.columns.names == ["scorer", "individuals", "bodyparts", "coords"]
    assert table.columns[3] == ("net", "a", "tail", "x")
    row = [1, 5, 0.125, 3, 7, 0.375, 2, 6, 0.25, 4, 8, 0.5]
    assert table.iloc[0].tolist() == row


@both_formats
def test_single_is_last_and_has_the_unique_bodyparts_alone(tmp_path, suffix):
    path, poses = tmp_path / f"v.{suffix}", make_several()
    write_deeplabcut_predictions(path, [poses], "net", ("corner",))
    table = pd.read_hdf(path) if suffix == "h5" else pd.read_csv(path, header=[0, 1, 2, 3])
    points = [(*pair, coord) for pair in POINTS for coord in ("x", "y", "likelihood")]
    assert list(table.columns[-15:]) == [("net", *point) for point in points]
    first = [10, 20, 0.75, 30, 40, 0.25, 50.5, 60.25, 0.5, 70, 80, 1, 1, 2, 1]
    second = [NAN, NAN, 0, NAN, NAN, 0, 51.5, 61.25, 0.5, NAN, NAN, 0.25, NAN, NAN, 0]
    np.testing.assert_array_equal(table.to_numpy()[:, -15:], [first, second, [NAN] * 15])
    found = read_deeplabcut_predictions(path)
    assert found.individuals == ("a", "b", "single")
    assert found.bodyparts == ("nose", "tail", "corner")
    np.testing.assert_array_equal(found.position, poses.position)


def test_deeplabcut_finds_animals_and_unique_bodyparts_in_it(tmp_path):
    """Read it as DeepLabCut's functions do: names of a level, and one individual's columns."""
    write_deeplabcut_predictions(tmp_path / "v.h5", [make_several()], "net", ("corner",))
    table = pd.read_hdf(tmp_path / "v.h5")
    animals = table.columns.get_level_values("individuals").unique().tolist()
    assert animals == ["a", "b", "single"]
    one = table.xs("b", axis=1, level="individuals")
    assert one["net"].columns.get_level_values("bodyparts").unique().tolist() == ["nose", "tail"]
    # Per animal, (frame, bodypart, coord), as its evaluation and its tracks are.
    several = table.drop("single", axis=1, level="individuals")
    values = several.to_numpy().reshape(len(table), 2, 2, 3)
    assert values[0, 1, 0].tolist() == [50.5, 60.25, 0.5]


def test_csv_is_deeplabcuts_to_the_letter(tmp_path):
    write_deeplabcut_predictions(tmp_path / "v.csv", split(make_single(), 2), "net")
    assert (tmp_path / "v.csv").read_text() == (
        "scorer,net,net,net,net,net,net\n"
        "bodyparts,nose,nose,nose,tail,tail,tail\n"
        "coords,x,y,likelihood,x,y,likelihood\n"
        "0,1.5,3.0,0.75,2.0,4.0,0.5\n"
        "1,5.0,6.0,1.0,,,0.25\n"
        "2,,,,,,\n"
    )


def test_hdf_can_be_read_by_pandas_2_and_queried(tmp_path):
    path = tmp_path / "v.h5"
    write_deeplabcut_predictions(path, split(make_single(), 1), "net")
    # pandas 2 (DeepLabCut asks for it) cannot read a file that lacks this attribute.
    with tables.open_file(path) as file:
        assert file.root.df_with_missing._v_attrs.pandas_version == "0.15.2"
    # Only the layout called "table" can be read in part.
    assert pd.read_hdf(path, where="index == 1").index.tolist() == [1]


@both_formats
def test_pixel_centres_are_at_integers_in_deeplabcut_too(tmp_path, suffix):
    assert PIXEL_OFFSET == 0.0
    poses = make_poses(np.zeros((1, 1, 1, 2)), np.ones((1, 1, 1)), ("nose",), ("animal",))
    path = tmp_path / f"v.{suffix}"
    write_deeplabcut_predictions(path, [poses], "net")
    table = pd.read_hdf(path) if suffix == "h5" else pd.read_csv(path, header=[0, 1, 2])
    # The centre of the top-left pixel stays (0, 0).
    assert table.iloc[0, -3:].tolist() == [0.0, 0.0, 1.0]


names = st.lists(st.text("abcé尾 _-1", min_size=1, max_size=4), min_size=1, max_size=3, unique=True)


@st.composite
def any_poses(draw):
    frames = draw(st.integers(0, 4))
    stripped = names.map(lambda items: tuple(f"n{item}x" for item in items))
    bodyparts, individuals = draw(stripped), draw(stripped)
    points, floats = (len(individuals), len(bodyparts)), st.floats(width=32, allow_infinity=False)
    position = draw(npst.arrays(np.float32, (frames, *points, 2), elements=floats))
    confidence = draw(npst.arrays(np.float32, (frames, *points), elements=floats))
    return make_poses(position, confidence, bodyparts, individuals)


@both_formats
@settings(max_examples=25, deadline=None)
@given(poses=any_poses())
def test_written_tables_are_read_back(suffix, poses):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"v.{suffix}")
        write_deeplabcut_predictions(path, [poses], "net")
        found = read_deeplabcut_predictions(path)
    np.testing.assert_array_equal(found.position, poses.position)
    np.testing.assert_array_equal(found.confidence, poses.confidence)
    assert found.bodyparts == poses.bodyparts
    assert found.individuals == (poses.individuals if len(poses.individuals) > 1 else ("animal",))
    assert found.frame.tolist() == list(range(len(poses.time)))
    assert found.scorer == "net"


@both_formats
@pytest.mark.parametrize("frame", [1, 2])
def test_blocks_make_the_same_table(tmp_path, suffix, frame):
    path = tmp_path / f"v.{suffix}"
    write_deeplabcut_predictions(path, split(make_single(), frame), "net")
    found = read_deeplabcut_predictions(path)
    np.testing.assert_array_equal(found.position, make_single().position)
    assert found.frame.tolist() == [0, 1, 2]


@both_formats
def test_the_same_poses_give_the_same_bytes(tmp_path, suffix):
    paths = [tmp_path / f"{name}.{suffix}" for name in ("one", "two")]
    write_deeplabcut_predictions(paths[0], split(make_single(), 1), "net")
    # HDF5's stamps, if there were any, count whole seconds of the system's clock.
    time.sleep(1.1)
    write_deeplabcut_predictions(paths[1], split(make_single(), 1), "net")
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_columns_are_found_by_name(tmp_path):
    path = tmp_path / "v.h5"
    write_deeplabcut_predictions(path, [make_double()], "net")
    table = pd.read_hdf(path)
    shuffled = table.iloc[:, [5, 2, 0, 4, 1, 3, *range(7, 12)]]
    shuffled.to_hdf(path, key="df_with_missing", format="table", mode="w")
    found = read_deeplabcut_predictions(path)
    assert found.bodyparts == ("tail", "nose")
    # Column 6, x of b's nose, was left out.
    np.testing.assert_array_equal(found.position[0], [[[3, 7], [1, 5]], [[4, 8], [NAN, 6]]])


def test_sleap_io_knows_the_csv_for_deeplabcuts(tmp_path):
    path = tmp_path / "v.csv"
    write_deeplabcut_predictions(path, [make_double()], "net")
    labels = sleap_io.load_file(str(path))
    assert labels.skeleton.node_names == ["nose", "tail"]
    assert [track.name for track in labels.tracks] == ["a", "b"]
    write_deeplabcut_predictions(path, [make_several()], "net", ("corner",))
    labels = sleap_io.load_file(str(path))
    assert sorted(labels.skeleton.node_names) == ["corner", "nose", "tail"]
    assert [track.name for track in labels.tracks] == ["a", "b", "single"]


@both_formats
def test_a_table_appears_whole_or_not_at_all(tmp_path, suffix):
    def fail_at_the_second():
        yield make_single()
        raise StoreError("spoilt block")

    path = tmp_path / f"v.{suffix}"
    path.write_text("before")
    with pytest.raises(StoreError, match="spoilt block"):
        write_deeplabcut_predictions(path, fail_at_the_second(), "net")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_suffix_chooses_the_format_and_blocks_are_needed(tmp_path):
    with pytest.raises(ValueError, match=r"end in \.h5 or \.csv"):
        write_deeplabcut_predictions(tmp_path / "v.slp", [make_single()], "net")
    with pytest.raises(ValueError, match="no block"):
        write_deeplabcut_predictions(tmp_path / "v.csv", [], "net")
    assert list(tmp_path.iterdir()) == []


@both_formats
@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n", b"\x89HDF\r\n\x1a\n", b"scorer,n\nbodyparts,p\ncoords,x\n0,1\n"]
)
def test_foreign_tables_are_told(tmp_path, suffix, content):
    path = tmp_path / f"v.{suffix}"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="not a DeepLabCut table") as caught:
        read_deeplabcut_predictions(path)
    assert str(path) in str(caught.value)


@both_formats
def test_a_missing_table_is_told(tmp_path, suffix):
    with pytest.raises(StoreError, match="no such file"):
        read_deeplabcut_predictions(tmp_path / f"v.{suffix}")
