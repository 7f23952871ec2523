"""Test `calibrate --refine-from`: animals refine a calibration that is off, and no good one."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline_lib.cli import app
from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.calibrations.files import read_calibration, write_calibration
from pipeline_lib.io.exports.registry import write_export
from pipeline_lib.steps.calibrate import refine
from tests.io.exports.export_examples import make_source
from tests.steps.triangulate.scenes import make_rig, move_animals, see
from tests.steps.triangulate.test_cameras import push, solve


@pytest.fixture
def scene(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    rig = make_rig(4)
    views = see(move_animals(200, 1), rig.cameras, noise=0.5)
    stream = np.random.default_rng(1)
    for view in views:
        # Wrong points, which are not to move cameras.
        wrong = stream.random(view.poses.position.shape[:3]) < 0.02
        view.poses.position[wrong] += 70
        folder = tmp_path / view.camera
        folder.mkdir()
        write_export("csv", folder / "v.csv", make_source(folder, view.poses, skeleton=Skeleton()))
    return tmp_path, rig


def call(names, *arguments):
    poses = [f"--poses={name}={name}/v.csv" for name in names]
    return CliRunner().invoke(app, ["calibrate", *arguments, *poses])


def predict(folder, rig):
    """Return the median error of other animals, triangulated with the calibration of a file."""
    views = see(move_animals(100, 1, seed=5), rig.cameras)
    return float(np.nanmedian(solve(views, read_calibration(folder)).camera_error))


def test_a_calibration_that_is_off_is_refined(scene):
    folder, rig = scene
    cameras = list(push(rig, 0.004, 3.0).cameras)
    matrix = cameras[2].matrix.copy()
    matrix[[0, 1], [0, 1]] *= 1.06
    cameras[2] = replace(cameras[2], matrix=matrix)
    write_calibration(folder / "off.toml", Calibration(tuple(cameras), "mm"), "aniposelib")
    found = call(rig.names, "--refine-from=off.toml", "--output=new.toml")
    assert found.exit_code == 0, found.output
    assert "px before" in found.output
    before, after = (predict(folder / name, rig) for name in ("off.toml", "new.toml"))
    assert before > 1.0
    assert after < 0.1
    refined = read_calibration(folder / "new.toml")
    assert refined.unit == "mm"
    assert np.allclose(refined.cameras[0].centre, cameras[0].centre, atol=1e-6)
    assert refined.cameras[2].matrix[0, 0] == pytest.approx(rig.cameras[2].matrix[0, 0], rel=0.004)


def test_the_limit_of_movement_holds_for_all_rounds_together(scene, monkeypatch):
    folder, rig = scene
    write_calibration(folder / "off.toml", push(rig, 0.004, 3.0), "aniposelib")
    monkeypatch.setattr(refine, "FARTHEST", 1e-3)
    found = call(rig.names, "--refine-from=off.toml", "--output=new.toml")
    assert found.exit_code == 1, found.output
    assert "do not refine it: a camera moved by" in found.output
    assert not (folder / "new.toml").exists()


def test_what_is_in_doubt_is_told(scene):
    folder, rig = scene
    write_calibration(folder / "off.toml", push(rig, 0.004, 3.0), "aniposelib")
    short = folder / rig.names[1] / "v.csv"
    short.write_text("".join(short.read_text().splitlines(keepends=True)[:-2]))
    found = call(rig.names, "--refine-from=off.toml", "--output=new.toml")
    assert found.exit_code == 0, found.output
    assert f"warning: camera {rig.names[1]} has no frame at the end, at 2 of 200" in found.output


def test_a_good_calibration_is_not_made_worse_and_problems_are_told(scene):
    folder, rig = scene
    write_calibration(folder / "good.toml", rig, "aniposelib")
    found = call(rig.names, "--refine-from=good.toml", "--output=new.toml")
    assert found.exit_code == 1, found.output
    assert "the animals do not refine it: points that were not used did not" in found.output
    assert not (folder / "new.toml").exists()
    wrong = call([*rig.names[:3], "roof"], "--refine-from=good.toml")
    assert wrong.exit_code == 1
    assert "has no camera 'roof'; it has" in wrong.output
    lonely = call([], "--refine-from=good.toml")
    assert "expected --refine-from and --poses" in lonely.output
