"""Triangulate real recordings: a person with four cameras, a fly with seven."""

import json

import numpy as np
import pytest

from pipeline_lib.core.cameras.calibration import Camera
from pipeline_lib.io.calibrations.files import read_calibration
from pipeline_lib.io.foreign.restricted_pickle import as_array, load_pickle
from pipeline_lib.kernels.geometry.projection import project
from pipeline_lib.kernels.geometry.triangulation import find_gate, triangulate, triangulate_linear

pytestmark = pytest.mark.real

# Marker of the .trc and keypoint of BODY_25B.
MARKERS = {"Neck": 17, "LWrist": 9, "RWrist": 10, "LAnkle": 15, "RAnkle": 16}


def solve(cameras, pixels, weights):
    gate = find_gate(cameras, pixels, weights, threads=1)
    return triangulate(cameras, pixels, weights, gate=gate, noise=2.0, threads=1)


@pytest.fixture(scope="module")
def person(data_folder):
    """Return cameras, pixels (frame, camera, keypoint, 2), confidences and the tool's own 3D."""
    folder = data_folder / "human-4cam-pose2sim"
    calibration = read_calibration(folder / "S00_Calibration" / "Calib_qualisys.toml")
    trial = folder / "S00_P00_SingleParticipant" / "S00_P00_T01_BalancingTrial"
    seen = np.full((100, 4, 25, 3), np.nan)
    for camera in range(4):
        for path in (trial / "pose-associated" / f"cam0{camera + 1}_json").iterdir():
            people = json.loads(path.read_text())["people"]
            if people and people[0]:
                values = np.reshape(people[0]["pose_keypoints_2d"], (-1, 3))
                seen[int(path.stem.split(".")[-1]), camera] = values
    lines = next((trial / "pose-3d").glob("*_0-100.trc")).read_text().splitlines()
    names = lines[3].split("\t")[2::3]
    rows = [[float(cell) for cell in line.split("\t")[2:] if cell] for line in lines[5:] if line]
    table = np.array(rows)
    own = {name: table[:, 3 * n : 3 * n + 3][:, [2, 0, 1]] for n, name in enumerate(names) if name}
    seen[..., 2] = np.where(seen[..., 2] > 0.1, seen[..., 2], np.nan)
    return calibration.cameras, seen[..., :2], seen[..., 2], own


def test_a_persons_points_are_those_of_pose2sim(person):
    cameras, pixels, confidence, own = person
    found = solve(cameras, pixels, confidence)
    assert np.isfinite(found.points[..., 0]).mean() > 0.99
    for marker, keypoint in MARKERS.items():
        points = found.points[:, keypoint]
        off = np.linalg.norm(points - own[marker], axis=1) * 1000
        assert np.nanmedian(off) <= 10
        assert np.isfinite(off).mean() > 0.95


def test_a_view_that_was_left_out_is_predicted_better_than_by_dlt(person):
    cameras, pixels, confidence, _ = person
    errors = {"ours": [], "dlt": []}
    for left_out in range(4):
        others = [place for place in range(4) if place != left_out]
        kept = [cameras[place] for place in others]
        seen = np.where(np.isfinite(confidence)[..., None], pixels, np.nan)[:, others]
        ours = solve(kept, seen, confidence[:, others]).points
        plain = triangulate_linear(kept, seen)
        target = np.where(
            np.isfinite(confidence[:, left_out, :, None]), pixels[:, left_out], np.nan
        )
        for name, points in (("ours", ours), ("dlt", plain)):
            off = np.linalg.norm(project(cameras[left_out], points) - target, axis=-1)
            errors[name].append(off)
    ours, plain = (np.stack(errors[name]) for name in ("ours", "dlt"))
    both = np.isfinite(ours) & np.isfinite(plain)
    assert both.sum() / np.isfinite(plain).sum() > 0.9
    assert np.median(ours[both]) < np.median(plain[both])
    assert ours[both].mean() < plain[both].mean()


def test_a_fly_is_seen_where_its_points_are(data_folder):
    result = load_pickle(data_folder / "fly-7cam-df3d" / "reference_df3d" / "df3d_result.pkl")
    cameras, order = [], [0, 1, 2, 4, 5, 6]
    for number in order:
        values = result[number]
        rotation, shift, matrix = (as_array(values[key]) for key in ("R", "tvec", "intr"))
        cameras.append(
            Camera(
                f"c{number}", (960, 480), matrix, np.zeros(5), "pinhole", rotation, shift.ravel()
            )
        )
    raw = as_array(result["points2d"])[order]
    pixels = np.stack([raw[..., 1] * 960, raw[..., 0] * 480], axis=-1)
    missing = (raw == 0).all(-1) | ((raw[..., 0] == 0) & (raw[..., 1] == 1))
    pixels[missing] = np.nan
    pixels = np.moveaxis(pixels, 0, 1)
    found = solve(cameras, pixels, np.ones(pixels.shape[:-1]))
    # Of all observed views, those that were left out included.
    assert np.nanmedian(found.errors) <= 2.5
    assert (np.isfinite(found.errors) == np.isfinite(pixels[..., 0])).all()
    assert found.used.sum() > 0.97 * np.isfinite(pixels[..., 0]).sum()
    theirs = as_array(result["points3d_wo_procrustes"])
    off = [project(one, theirs) - pixels[:, n] for n, one in enumerate(cameras)]
    assert np.nanmedian(found.errors) < np.nanmedian(np.linalg.norm(off, axis=-1))
