"""Test `cohortpose triangulate` of one session whose poses other tools found."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trc
from typer.testing import CliRunner

from pipeline_lib.cli import app
from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.calibrations.files import write_calibration
from pipeline_lib.io.exports.registry import write_export
from pipeline_lib.io.poses.session import read_session_poses
from tests.io.exports.export_examples import make_source
from tests.steps.triangulate.scenes import make_rig, move_animals, see

DATA = os.environ.get("COHORTPOSE_DATA")
FILES = ("v.zarr", "v.csv", "v.h5", "v.slp")


@pytest.fixture
def session(tmp_path, monkeypatch):
    """Write a calibration, and what each of four cameras saw as the file of another tool."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    points, rig = move_animals(20, 1), make_rig()
    write_calibration(tmp_path / "cams.toml", rig, "aniposelib")
    for view, name in zip(see(points, rig.cameras), FILES, strict=True):
        folder = tmp_path / view.camera
        folder.mkdir()
        source = make_source(folder, view.poses, skeleton=Skeleton())
        if name != "v.zarr":
            write_export(name.rpartition(".")[2], folder / name, source)
    return tmp_path, points[:, 0], rig.names


def call(*arguments, poses=()):
    given = [f"--poses={text}" for text in poses]
    return CliRunner().invoke(app, ["triangulate", *map(str, arguments), *given])


def name_poses(names):
    return [f"{name}={name}/{file}" for name, file in zip(names, FILES, strict=True)]


def test_files_of_four_tools_make_one_session_and_its_exports(session):
    folder, points, names = session
    options = ("--calibration=cams.toml", "--output=s 1.zarr.zip", "--fps=25", "--export=trc")
    found = call(*options, "--export=c3d", "--export=csv", poses=name_poses(names))
    assert found.exit_code == 0, found.output
    lines = found.output.splitlines()
    assert "20 moments from" in lines[0]
    assert "100.0% of the points found; median error 0." in lines[0]
    assert [Path(line).name for line in lines[1:]] == ["s 1.trc", "s 1.c3d", "s 1.3d.csv"]
    poses = read_session_poses(folder / "s 1.zarr.zip")
    assert (poses.unit, poses.cameras, len(poses.individuals)) == ("mm", names, 1)
    np.testing.assert_allclose(poses.position[:, 0], points, atol=0.05)
    np.testing.assert_allclose(poses.time, np.arange(20) / 25)
    assert (poses.views == 4).all()
    assert poses.attributes["sources"][names[3]] == {"file": "v.slp", "format": "sleap"}
    markers = trc.TRCData()
    markers.load(folder / "s 1.trc")
    assert (markers["DataRate"], markers["Units"]) == (25.0, "m")
    np.testing.assert_allclose(markers["nose"], points[:, 0][:, [1, 2, 0]] / 1000, atol=5e-5)
    before = (folder / "s 1.zarr.zip").read_bytes()
    assert call(*options, poses=name_poses(names)[::-1]).exit_code == 0
    assert (folder / "s 1.zarr.zip").read_bytes() == before


def test_what_is_in_doubt_is_told(session):
    folder, _, names = session
    short = folder / names[1] / "v.csv"
    short.write_text("".join(short.read_text().splitlines(keepends=True)[:-3]))
    found = call("--calibration=cams.toml", "--output=s.zarr.zip", poses=name_poses(names))
    assert found.exit_code == 0, found.output
    assert found.output.splitlines()[-1] == (
        f"in doubt: camera {names[1]} has no frame at the end, at 3 of 20 moments: frames of one "
        "number may be of different moments"
    )


def test_a_bad_calibration_is_refused_or_in_doubt(session):
    folder, _, names = session
    rig, poses = make_rig(), name_poses(names)
    copied = replace(rig.cameras[0].rename(names[1]), size=rig.cameras[1].size)
    twins = Calibration((rig.cameras[0], copied, *rig.cameras[2:]), "mm")
    write_calibration(folder / "twins.toml", twins, "aniposelib")
    output = "--output=s.zarr.zip"
    found = call("--calibration=twins.toml", output, poses=poses)
    assert found.exit_code == 1
    assert f"cameras {names[0]} and {names[1]} have identical parameters" in found.output
    assert not (folder / "s.zarr.zip").exists()
    # Cameras without poses are not judged.
    assert call("--calibration=twins.toml", output, poses=poses[1:]).exit_code == 0
    write_calibration(folder / "metres.toml", replace(rig, unit="m"), "aniposelib")
    found = call("--calibration=metres.toml", output, poses=poses)
    assert found.exit_code == 0
    assert "m apart: is another unit meant (mm for m)?" in found.output
    (folder / "s.zarr.zip").unlink()
    large = replace(rig, errors=dict.fromkeys(names, 2.5))
    write_calibration(folder / "large.toml", large, "aniposelib")
    found = call("--calibration=large.toml", output, poses=poses)
    assert found.exit_code == 1
    assert found.output.count("the reprojection error is 2.50 px, more than 2;") == len(names)
    assert not (folder / "s.zarr.zip").exists()
    assert call("--calibration=large.toml", output, "--max-error=3", poses=poses).exit_code == 0


def test_what_is_wrong_is_one_line_and_nothing_is_written(session):
    folder, _, names = session
    poses, output = name_poses(names), "--output=s.zarr.zip"
    calibration = "--calibration=cams.toml"
    two = poses[:2]
    for arguments, given, message in [
        ((calibration, output), [*two, "top=x.h5"], "has no camera 'top'; it has"),
        ((calibration, output), [poses[0], f"{names[1]}=none.h5"], "none.h5: no such file"),
        ((calibration, output), [poses[0]], "1 of its cameras can be used; at least 2 are needed"),
        ((calibration, "--output=s.csv"), two, "expected a name that ends in .zarr.zip"),
        (("--calibration=no.toml", output), two, "no.toml"),
        ((calibration, output, "--unit=m"), two, "says that its unit is mm, not m"),
    ]:
        found = call(*arguments, poses=given)
        assert found.exit_code == 1, (arguments, found.output)
        assert message in found.output
        assert "Traceback" not in found.output
    write_calibration(folder / "unknown.toml", replace(make_rig(), unit=None), "aniposelib")
    found = call("--calibration=unknown.toml", output, "--export=trc", poses=two)
    assert found.exit_code == 1
    assert "does not tell its own" in found.output
    for arguments, given, message in [
        ((calibration,), two, "expected --calibration, --poses and --output"),
        ((calibration, output), [], "expected --calibration, --poses and --output"),
        ((output,), two, "expected --calibration, --poses and --output"),
        ((calibration, output, "--shard=00000"), two, "and no --shard"),
        ((calibration, output), [*two, two[0]], "is given twice"),
        ((calibration, output), ["left"], "expected CAMERA=PATH"),
        ((calibration, output, "--export=vtk"), two, "expected one of csv, trc, c3d"),
        ((calibration, output, "--unit=parsec"), two, "expected one of um, mm"),
    ]:
        found = call(*arguments, poses=given)
        assert found.exit_code == 2, (arguments, found.output)
        assert message in found.output
    assert not [path for path in folder.iterdir() if path.name.startswith("s.")]


@pytest.mark.skipif(not DATA, reason="COHORTPOSE_DATA does not name the data")
def test_openpose_of_a_real_recording_agrees_with_pose2sims_own_markers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path(DATA, "human-4cam-pose2sim")
    trial = folder / "S00_P00_SingleParticipant" / "S00_P00_T01_BalancingTrial"
    calibration = folder / "S00_Calibration" / "Calib_qualisys.toml"
    poses = [
        f"cam0{number}={trial / 'pose-associated' / f'cam0{number}_json'}" for number in range(1, 5)
    ]
    options = (f"--calibration={calibration}", "--output=balance.zarr.zip", "--unit=m")
    found = call(*options, "--fps=60", "--export=trc", poses=poses)
    assert found.exit_code == 0, found.output
    assert "in doubt" not in found.output
    ours, theirs = trc.TRCData(), trc.TRCData()
    ours.load(tmp_path / "balance.trc")
    theirs.load(trial / "pose-3d" / "S00_P00_T01_BalancingTrial_0-100.trc")
    assert ours["NumFrames"] == theirs["NumFrames"] == 100
    assert {*theirs["Markers"]} <= {*ours["Markers"]}
    for name in ("Neck", "RWrist", "LWrist", "RAnkle", "LAnkle"):
        distance = np.linalg.norm(np.array(ours[name]) - np.array(theirs[name]), axis=1)
        assert np.nanmedian(distance) <= 0.010, name
        assert np.isfinite(distance).mean() > 0.9, name
