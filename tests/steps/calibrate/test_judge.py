"""Test what refuses a calibration and what makes it doubtful, and the verb that asks."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline_lib.cli import app
from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.io.calibrations.files import read_calibration, write_calibration
from pipeline_lib.steps.calibrate.judge import judge_calibration
from tests.kernels.geometry.rigs import make_camera, make_ring


def make(cameras=None, unit="mm", errors=None):
    return Calibration(tuple(cameras or make_ring(3)), unit, errors or {})


def judge(calibration, sizes=None):
    """Return what refuses a calibration, and what makes it doubtful."""
    findings = judge_calibration(calibration, sizes or {}, 2.0)
    return (
        [one.text for one in findings if one.refuses],
        [one.text for one in findings if not one.refuses],
    )


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("lens", ["plain", "brown", "rational", "fisheye"])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_good_calibrations_have_no_finding(count, lens):
    assert judge(make(make_ring(count, lens), errors={"c0": 0.4})) == ([], [])


def test_large_errors():
    refused, doubts = judge(make(errors={"c0": 0.4, "c1": 1.5, "c2": 2.5}))
    assert len(refused) == len(doubts) == 1
    assert "camera c2: the reprojection error is 2.50 px, more than 2" in refused[0]
    assert "camera c1: the reprojection error is 1.50 px" in doubts[0]


def test_copied_cameras():
    ring = make_ring(3)
    refused, _ = judge(make([*ring, ring[1].rename("copy")]))
    assert refused == [
        "cameras c1 and copy have identical parameters: one was copied from the other"
    ]


def test_cameras_at_one_place():
    ring = make_ring(2)
    other = replace(ring[1], rotation=ring[0].rotation, translation=ring[0].translation)
    refused, _ = judge(make([ring[0], replace(other, matrix=other.matrix + np.diag([9, 0, 0]))]))
    assert "cameras c0 and c1 stand at the same place" in refused[0]


def test_cameras_that_look_elsewhere():
    away = make_camera("away", (0, 0, 3000), target=(0, 0, 9000))
    refused, _ = judge(make([*make_ring(3), away]))
    assert len(refused) == 1
    assert "camera away: shares no view with any other camera" in refused[0]
    refused, _ = judge(make([make_ring(3)[0], away]))
    assert len(refused) == 2


def test_sizes_of_videos():
    good = dict.fromkeys(("c0", "c1", "c2"), (1280, 1024))
    assert judge(make(), good) == ([], [])
    refused, doubts = judge(make(), {"c0": (1280, 1040), "c1": (1280, 1041), "x": (1, 1)})
    assert any("camera c1: was calibrated at 1280 x 1024 px, its videos" in one for one in refused)
    assert any("camera x has videos, but the calibration has only c0, c1, c2" in o for o in refused)
    assert len(refused) == 2
    assert len(doubts) == 1
    assert "taken for padding" in doubts[0]
    assert judge(make(), {"c0": (640, 512)})[0]
    # The same name, as people write it.
    assert judge(
        make([one.rename(f"Cam_{n}") for n, one in enumerate(make_ring(2))]),
        {"cam0": (1280, 1024), "CAM-1": (1280, 1024)},
    ) == ([], [])
    # The only camera, whatever it is called.
    single = make([make_ring(1)[0].rename("Calib_Results_left")])
    assert judge(single, {"left": (1280, 1024)}) == ([], [])
    assert "was calibrated at 1280 x 1024" in judge(single, {"left": (640, 512)})[0][0]
    assert len(judge(single, {"left": (1280, 1024), "right": (1280, 1024)})[0]) == 2


def test_lenses_that_look_odd():
    ring = make_ring(2)
    aside, wide = ring[0].matrix.copy(), ring[0].matrix.copy()
    aside[:2, 2] = (30, 500)
    wide[0, 0] *= 1.3
    assert (
        "optical axis is at (30, 500)"
        in judge(make([replace(ring[0], matrix=aside), ring[1]]))[1][0]
    )
    assert "1.29 times as wide" in judge(make([replace(ring[0], matrix=wide), ring[1]]))[1][0]
    folded = replace(ring[0], distortion=np.array([-0.9]))
    assert "the distortion has no inverse" in judge(make([folded, ring[1]]))[1][0]


@pytest.mark.parametrize(
    ("unit", "factor", "expected"),
    [
        ("mm", 1, ""),
        ("m", 1, "is another unit meant"),
        ("mm", 0.001, "is another unit meant"),
        ("um", 1, "is another unit meant"),
        ("m", 0.001, ""),
        (None, 1, "unit of length is not known"),
    ],
)
def test_units(unit, factor, expected):
    ring = [replace(one, translation=one.translation * factor) for one in make_ring(3)]
    refused, doubts = judge(make(ring, unit))
    assert refused == []
    assert (expected in doubts[0]) if expected else not doubts


def test_the_verb_judges_any_file(tmp_path):
    path = tmp_path / "c.toml"
    write_calibration(path, make(errors={"c0": 0.5}), "aniposelib")
    result = run("calibrate", "--check", path)
    assert result.exit_code == 0
    assert "c0\tpinhole\t1280x1024\t900.0 905.0\t0.500" in result.output
    assert "warning" not in result.output
    result = run("calibrate", "--check", path, "--max-error", 0.4)
    assert result.exit_code == 1
    assert "more than 0.4" in result.output
    write_calibration(path, make(unit=None), "aniposelib")
    assert "warning: the unit of length is not known" in run("calibrate", "--check", path).output
    assert "warning" not in run("calibrate", "--check", path, "--unit", "mm").output


def test_the_verb_compares_images_and_converts(tmp_path):
    path, other = tmp_path / "c.toml", tmp_path / "d.toml"
    write_calibration(path, make(), "aniposelib")
    for name, width in (("c0", 1280), ("c1", 1270), ("c2", 640)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "1.png"), np.zeros((1024, width), np.uint8))
    folders = [tmp_path / name for name in ("c0", "c1")]
    result = run("calibrate", "--check", path, *folders, "--format", "pose2sim", "--output", other)
    assert result.exit_code == 1  # Pose2Sim has four coefficients, and these have five.
    assert "4 coefficients of distortion" in result.output
    result = run("calibrate", "--check", path, *folders, "--format", "caliscope", "--output", other)
    assert result.exit_code == 0
    assert "warning: camera c1: was calibrated at 1280 x 1024 px" in result.output
    assert read_calibration(other).unit == "m"
    before = other.read_bytes()
    result = run("calibrate", "--check", path, tmp_path / "c2", "--output", other)
    assert result.exit_code == 1
    assert "its videos have 640 x 1024: calibrate at the size that is recorded" in result.output
    assert other.read_bytes() == before


def test_a_unit_that_contradicts_the_file(tmp_path):
    path = tmp_path / "c.toml"
    write_calibration(path, make(unit="mm"), "caliscope")
    result = run("calibrate", "--check", path, "--unit", "mm")
    assert result.exit_code == 1
    assert "is in m, not in mm" in result.output
