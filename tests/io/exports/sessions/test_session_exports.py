"""Test that other tools read from every export of a session the values that were exported."""

import re
import warnings
from datetime import UTC, datetime

import c3d
import ezc3d
import h5py
import numpy as np
import nwbinspector
import pandas as pd
import pynwb
import pytest
import trc
from nwbinspector import Importance

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.formats import exports, session_exports
from pipeline_lib.io.exports.session import Session, Subject
from pipeline_lib.io.exports.sessions import registry, source
from pipeline_lib.io.poses.session import write_session_poses
from tests.io.poses.session_examples import make_session

FORMATS = session_exports.FORMATS
# Recordings for Rerun need the calibration of the session: see test_rerun.
PLAIN_FORMATS = [name for name in FORMATS if name != "rerun"]
PLAIN = ("nose", "tail tip")
ODD = ("鼻", "a,b", 'x "y"', "=1+1", "it's")


def export(folder, poses, name, **more):
    pose_file = folder / "s 1.zarr.zip"
    write_session_poses(pose_file, poses)
    path = folder / f"s 1.{FORMATS[name].suffix}"
    made = source.SessionSource(pose_file, edges=(("nose", "tail tip"), ("nose", "absent")), **more)
    registry.write_session_export(name, path, made)
    assert sorted(entry.name for entry in folder.iterdir()) == sorted([path.name, pose_file.name])
    return path


SCENES = {
    "two": lambda **more: make_session(7, PLAIN, **more),
    "one": lambda **more: make_session(7, PLAIN, ("animal",), **more),
    "odd names": lambda **more: make_session(5, ODD, ("a b", "b"), **more),
}


def find_duplicate_free(values):
    assert len(set(values)) == len(values)
    return list(values)


def test_each_format_has_a_suffix_that_no_export_of_a_video_has():
    suffixes = find_duplicate_free([one.suffix for one in FORMATS.values()])
    assert not {*suffixes} & {one.suffix for one in exports.FORMATS.values()}
    assert list(FORMATS) == ["csv", "trc", "c3d", "nwb", "deeplabcut-3d", "sleap-points3d", "rerun"]
    with pytest.raises(ValueError, match=r"'vtk' is no format of session exports; there are csv"):
        session_exports.find_format("vtk")


@pytest.mark.parametrize("scene", SCENES)
def test_pandas_reads_tidy_tables(tmp_path, monkeypatch, scene):
    poses = SCENES[scene](unit="cm")
    monkeypatch.setattr(source, "BLOCK_MOMENTS", 2)
    table = pd.read_csv(export(tmp_path, poses, "csv"))
    assert len(table) == poses.views.size
    assert set(table.unit) == {"cm"}
    for (moment, individual, bodypart), row in table.groupby(["moment", "individual", "bodypart"]):
        place = poses.individuals.index(individual), poses.bodyparts.index(bodypart)
        np.testing.assert_array_equal(
            row[["x", "y", "z"]].to_numpy(np.float32)[0], poses.position[(moment, *place)]
        )
        assert row.time.item() == poses.time[moment]
        assert row.views.item() == poses.views[(moment, *place)]
        for name in ("confidence", "error", "uncertainty"):
            found = np.float32(row[name].item())
            np.testing.assert_array_equal(found, getattr(poses, name)[(moment, *place)])


@pytest.mark.parametrize("scene", SCENES)
def test_a_reader_of_trc_finds_metres_with_y_up(tmp_path, monkeypatch, scene):
    poses = SCENES[scene](unit="cm")
    monkeypatch.setattr(source, "BLOCK_MOMENTS", 3)
    path = export(tmp_path, poses, "trc")
    found = trc.TRCData()
    found.load(path)
    assert (found["Units"], found["DataRate"], found["NumFrames"]) == ("m", 50.0, len(poses.time))
    names = [part.replace(" ", "_") for part in poses.bodyparts]
    if len(poses.individuals) > 1:
        names = [f"{one.replace(' ', '_')}_{part}" for one in poses.individuals for part in names]
    assert found["Markers"] == names
    assert found["Frame#"] == list(range(1, len(poses.time) + 1))
    np.testing.assert_allclose(found["Time"], poses.time, atol=1e-6)
    expected = (poses.position[..., [1, 2, 0]].astype(float) / 100).reshape(len(poses.time), -1, 3)
    for number, name in enumerate(names):
        np.testing.assert_allclose(found[name], expected[:, number], rtol=1e-8)
    # As Pose2Sim reads it: columns divided by tabs, five lines of head.
    table = pd.read_csv(path, sep="\t", skiprows=5, header=None)
    np.testing.assert_allclose(table.iloc[:, 2:].to_numpy(), expected.reshape(len(table), -1))
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t") == ["PathFileType", "4", "(X/Y/Z)", path.name]
    assert lines[3].rstrip("\n").split("\t")[2::3] == names
    assert {line.count("\t") for line in lines[3:]} == {1 + 3 * len(names)}


@pytest.mark.parametrize("scene", SCENES)
def test_two_readers_of_c3d_find_millimetres(tmp_path, monkeypatch, scene):
    poses = SCENES[scene](unit="cm")
    monkeypatch.setattr(source, "BLOCK_MOMENTS", 3)
    path = export(tmp_path, poses, "c3d")
    names = list(poses.bodyparts)
    if len(poses.individuals) > 1:
        names = [f"{one}:{part}" for one in poses.individuals for part in names]
    expected = poses.position.reshape(len(poses.time), -1, 3) * np.float32(10)
    found = ezc3d.c3d(str(path))
    points = found["parameters"]["POINT"]
    assert points["LABELS"]["value"] == names
    assert (points["UNITS"]["value"], points["RATE"]["value"][0]) == (["mm"], 50.0)
    position = found["data"]["points"][:3].transpose(2, 1, 0)
    np.testing.assert_allclose(position, expected, rtol=1e-6)
    residual = found["data"]["meta_points"]["residuals"][0].T
    uncertainty = np.round(poses.uncertainty.reshape(residual.shape) * 10)
    np.testing.assert_array_equal(residual, np.where(np.isnan(uncertainty), -1, uncertainty))
    with path.open("rb") as file, warnings.catch_warnings():
        # There are no analogue channels.
        warnings.simplefilter("ignore")
        reader = c3d.Reader(file)
        frames = np.array([points for _, points, _ in reader.read_frames()])
        assert [label.rstrip() for label in reader.point_labels] == names
    seen = ~np.isnan(expected).any(axis=-1)
    np.testing.assert_allclose(frames[..., :3][seen], expected[seen], rtol=1e-6)
    assert (frames[..., 3][~seen] == -1).all()
    assert (frames[..., 3][seen] >= 0).all()


@pytest.mark.parametrize(("scene", "unit"), [("two", "mm"), ("one", None), ("odd names", "mm")])
def test_pynwb_reads_three_axes(tmp_path, monkeypatch, scene, unit):
    poses = SCENES[scene](unit=unit)
    monkeypatch.setattr(source, "BLOCK_MOMENTS", 3)
    path = export(tmp_path, poses, "nwb", key="0123")
    single = len(poses.individuals) == 1
    with pynwb.NWBHDF5IO(path, "r") as reader:
        module = reader.read().processing["behavior"]
        skeleton = module["Skeletons"].skeletons["skeleton"]
        assert tuple(skeleton.nodes[:]) == poses.bodyparts
        assert np.array(skeleton.edges).tolist() == ([[0, 1]] if scene != "odd names" else [])
        for animal, name in enumerate(poses.individuals):
            estimation = module["PoseEstimation" if single else name]
            for place, bodypart in enumerate(poses.bodyparts):
                series = estimation[bodypart]
                np.testing.assert_array_equal(series.data[:], poses.position[:, animal, place])
                np.testing.assert_array_equal(
                    series.confidence[:], poses.confidence[:, animal, place]
                )
                assert series.rate == pytest.approx(50.0)
                told = (series.unit, series.conversion)
                assert told == (("meters", 1e-3) if unit else ("unknown", 1.0))


def test_the_inspector_of_archives_finds_nothing(tmp_path):
    poses = make_session(20, PLAIN)
    poses.time[5:] += 0.013
    subject = Subject("m1", "Mus musculus", "F", "P90D")
    session = Session(
        datetime(2024, 5, 17, 9, 30, tzinfo=UTC),
        "s 1",
        subject,
        ("Doe, Jane",),
        "A university",
        experiment_description="Mice in an open field",
        keywords=("pose",),
    )
    path = export(tmp_path, poses, "nwb", key="0123", session=session)
    found = list(nwbinspector.inspect_nwbfile(nwbfile_path=path))
    assert [
        one.message for one in found if one.importance != Importance.BEST_PRACTICE_SUGGESTION
    ] == []
    with pynwb.NWBHDF5IO(path, "r") as reader:
        series = reader.read().processing["behavior"]["b"]["nose"]
        np.testing.assert_array_equal(series.timestamps[:], poses.time)


@pytest.mark.parametrize("scene", SCENES)
def test_pandas_reads_deeplabcuts_tables(tmp_path, monkeypatch, scene):
    poses = SCENES[scene]()
    monkeypatch.setattr(source, "BLOCK_MOMENTS", 3)
    table = pd.read_hdf(
        export(tmp_path, poses, "deeplabcut-3d", scorer="DLC_3D"), "df_with_missing"
    )
    several = ["individuals"] if len(poses.individuals) > 1 else []
    assert list(table.columns.names) == ["scorer", *several, "bodyparts", "coords"]
    assert table.index.tolist() == list(range(len(poses.time)))
    for animal, name in enumerate(poses.individuals):
        for place, bodypart in enumerate(poses.bodyparts):
            column = table["DLC_3D"][name][bodypart] if several else table["DLC_3D"][bodypart]
            assert list(column.columns) == ["x", "y", "z"]
            np.testing.assert_array_equal(column.to_numpy(), poses.position[:, animal, place])


@pytest.mark.parametrize("scene", SCENES)
def test_points3d_has_the_layout_of_sleap_anipose(tmp_path, monkeypatch, scene):
    poses = SCENES[scene]()
    monkeypatch.setattr(source, "BLOCK_MOMENTS", 3)
    with h5py.File(export(tmp_path, poses, "sleap-points3d")) as file:
        np.testing.assert_array_equal(file["tracks"][:], poses.position)
        assert file["frames"][:].tolist() == [0, len(poses.time)]
        assert tuple(file["node_names"].asstr()[:]) == poses.bodyparts
        assert tuple(file["track_names"].asstr()[:]) == poses.individuals
        assert file["tracks"].attrs["unit"] == "mm"


@pytest.mark.parametrize("name", PLAIN_FORMATS)
def test_the_same_poses_make_the_same_bytes_and_no_moment_is_no_traceback(tmp_path, name):
    files = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        files.append(export(folder, make_session(9, PLAIN), name, key="0123").read_bytes())
    assert files[0] == files[1]
    (tmp_path / "c").mkdir()
    empty = make_session(0, PLAIN, individuals=("one",))
    if name == "c3d":
        with pytest.raises(StoreError, match="without moments"):
            export(tmp_path / "c", empty, name)
        assert [one.name for one in (tmp_path / "c").iterdir()] == ["s 1.zarr.zip"]
    else:
        assert export(tmp_path / "c", empty, name).stat().st_size > 0


@pytest.mark.parametrize("name", PLAIN_FORMATS)
def test_a_format_with_a_unit_wants_that_of_the_calibration(tmp_path, name):
    poses = make_session(4, PLAIN, unit=None)
    if FORMATS[name].metric:
        with pytest.raises(StoreError, match=r"does not tell its own: write it with its unit"):
            export(tmp_path, poses, name)
    else:
        export(tmp_path, poses, name)


def test_what_a_format_cannot_hold_is_told(tmp_path, monkeypatch):
    long = make_session(4, tuple(f"{number:03d}{'x' * 190}" for number in range(200)), ("one",))
    with pytest.raises(StoreError, match=r"name of 193 bytes for 200 points.*choose another"):
        export(tmp_path, long, "c3d")
    monkeypatch.setattr("pipeline_lib.io.exports.sessions.c3d._MOST_MOMENTS", 3)
    with pytest.raises(StoreError, match=r"4 moments of 4 points.*at most 3 each"):
        export(tmp_path, make_session(4), "c3d")
    with pytest.raises(StoreError, match="more than one marker of the TRC file is named 'a_b'"):
        export(tmp_path, make_session(4, ("a b", "a_b"), ("one",)), "trc")
    with pytest.raises(StoreError, match="NWB takes no slashes"):
        export(tmp_path, make_session(4, ("a/b", "a:b"), ("one",)), "nwb")


def test_many_points_have_all_their_names(tmp_path):
    poses = make_session(3, tuple(f"p{number}" for number in range(300)), ("one",))
    points = ezc3d.c3d(str(export(tmp_path, poses, "c3d")))["parameters"]["POINT"]
    assert points["LABELS"]["value"] + points["LABELS2"]["value"] == list(poses.bodyparts)


def test_without_ezc3d_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ezc3d", None)
    with pytest.raises(StoreError, match=re.escape("pip install 'cohortpose[c3d]'")):
        export(tmp_path, make_session(4), "c3d")
