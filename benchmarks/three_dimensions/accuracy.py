"""Measure three dimensions: real recordings, several animals, and what smoothing changes.

With ``COHORTPOSE_DATA`` naming the folder of test data, the person of ``human-4cam-pose2sim`` is
triangulated from OpenPose's files, once those of the subject alone and once those of all people,
and compared with Pose2Sim's points; each camera is left out in turn and predicted. The fly of
``fly-7cam-df3d`` is triangulated from DeepFly3D's points. Rendered scenes of several animals have
exact truth: keypoints are lost and wrong, animals are not found for a while, and pairs of slots are
exchanged where they are nearest to each other in a view. Printed is how many detections were given
to another animal, and how many of them were not marked as uncertain.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from pipeline_lib.core.cameras.calibration import Calibration, Camera
from pipeline_lib.core.cameras.records import read_description
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.settings.cameras import TriangulationSettings
from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.io.calibrations.files import read_calibration
from pipeline_lib.io.foreign.restricted_pickle import as_array, load_pickle
from pipeline_lib.kernels.geometry.projection import project
from pipeline_lib.kernels.geometry.triangulation import triangulate_linear
from pipeline_lib.steps.triangulate.session import View, triangulate_session

# Marker of Pose2Sim's .trc and keypoint of BODY_25B.
MARKERS = {"Neck": 17, "LWrist": 9, "RWrist": 10, "LAnkle": 15, "RAnkle": 16}
BONES = ((17, 5), (17, 6), (5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16))
SHAPE = np.array([[60, 0, 5], [30, 0, 12], [-10, 0, 18], [-70, 0, 2], [25, 18, 0], [25, -18, 0]])
EDGES = (("0", "1"), ("1", "2"), ("2", "3"), ("1", "4"), ("1", "5"))


def make_poses(
    pixels: np.ndarray, confidence: np.ndarray, fps: float, *, tracked: bool = False
) -> Poses:
    """Return poses of pixels (frame, slot, keypoint, 2)."""
    frames, slots, keypoints = pixels.shape[:3]
    return Poses(
        pixels.astype(np.float32),
        np.nan_to_num(confidence).astype(np.float32),
        np.zeros(frames, np.uint8),
        np.arange(frames) / fps,
        tuple(str(number) for number in range(keypoints)),
        tuple(f"animal{number}" for number in range(slots)),
        {"fps": fps},
        np.full((frames, slots), TrackStatus.FOLLOWED, np.uint8) if tracked else None,
    )


def read_people(trial: Path, kind: str, names: tuple[str, ...]) -> list[View]:
    """Return what the four cameras saw of people, from OpenPose's files."""
    views = []
    for number, name in enumerate(names, 1):
        found = {
            int(path.stem.split(".")[-1]): [
                np.reshape(one["pose_keypoints_2d"], (-1, 3))
                for one in json.loads(path.read_text())["people"]
                if one
            ]
            for path in (trial / kind / f"cam0{number}_json").iterdir()
        }
        seen = np.full((100, max(map(len, found.values())), 25, 3), np.nan)
        for frame, people in found.items():
            for slot, person in enumerate(people):
                seen[frame, slot] = np.where(person[:, 2:] > 0, person, np.nan)
        views.append(View(name, make_poses(seen[..., :2], seen[..., 2], 60.0)))
    return views


def measure_person(folder: Path) -> None:
    """Print how the points of a person compare with Pose2Sim's."""
    calibration = read_calibration(folder / "S00_Calibration" / "Calib_qualisys.toml")
    trial = folder / "S00_P00_SingleParticipant" / "S00_P00_T01_BalancingTrial"
    lines = next((trial / "pose-3d").glob("*_0-100.trc")).read_text().splitlines()
    names = lines[3].split("\t")[2::3]
    table = np.array([[float(c) for c in line.split("\t")[2:] if c] for line in lines[5:] if line])
    own = {name: table[:, 3 * n : 3 * n + 3][:, [2, 0, 1]] for n, name in enumerate(names) if name}
    bones = [(str(one), str(other)) for one, other in BONES]
    for kind, smooth in (("pose-associated", False), ("pose", False), ("pose-associated", True)):
        views = read_people(trial, kind, calibration.names)
        settings = TriangulationSettings(pcutoff=0.1, smoothing={"enabled": smooth})
        found = triangulate_session(views, calibration, bones, settings, count_cores())
        seen = np.isfinite(found.camera_error[:, :, 0])
        off = [
            1000 * np.nanmedian(np.linalg.norm(found.position[:, 0, keypoint] - own[name], axis=-1))
            for name, keypoint in MARKERS.items()
        ]
        step = np.diff(found.position[:, 0], 3, axis=0)
        print(
            f"person, {kind}{', smoothed' if smooth else ''}: median distance from Pose2Sim "
            + ", ".join(f"{name} {one:.1f}" for name, one in zip(MARKERS, off, strict=True))
            + f" mm; median error {np.nanmedian(found.camera_error[:, :, 0]):.1f} px over all "
            f"views, {100 * (1 - found.views[:, 0].sum() / seen.sum()):.1f} % of them dropped; "
            f"third differences {1000 * np.nanmedian(np.linalg.norm(step, axis=-1)):.1f} mm"
        )
    views = read_people(trial, "pose-associated", calibration.names)
    leave_out(views, calibration, bones)
    half = len(views[0].poses.time) // 2
    parts = [[take(view, rows) for view in views] for rows in (slice(half), slice(half, None))]
    for fit, check in (parts, parts[::-1]):
        print("one half of the recording, with the calibration that was given:")
        leave_out(check, calibration, bones)
        settings = TriangulationSettings(pcutoff=0.1, refine_cameras=True)
        refined = triangulate_session(fit, calibration, (), settings, count_cores()).attributes
        print(f"the same half, cameras refined on the other one: {refined['refinement']}")
        leave_out(check, read_description(refined["calibration"]), bones)


def take(view: View, rows: slice) -> View:
    """Return some frames of a view."""
    poses = view.poses
    return View(
        view.camera,
        make_poses(poses.position[rows], poses.confidence[rows], poses.attributes["fps"]),
    )


def leave_out(views: list[View], calibration: Calibration, bones: list[tuple[str, str]]) -> None:
    """Print how a camera that was left out is predicted, by us and by a plain DLT."""
    errors = {"ours": [], "smoothed": [], "DLT": []}
    for camera, view in zip(calibration.cameras, views, strict=True):
        others = [one for one in views if one is not view]
        kept = [calibration.find(one.camera) for one in others]
        for name, smooth in (("ours", False), ("smoothed", True)):
            settings = TriangulationSettings(pcutoff=0.1, smoothing={"enabled": smooth})
            points = triangulate_session(others, calibration, bones, settings, 1).position[:, 0]
            errors[name].append(measure(camera, points.astype(float), view))
        pixels = np.stack([one.poses.position[:, 0] for one in others], 1).astype(float)
        sure = np.stack([one.poses.confidence[:, 0] for one in others], 1)
        pixels[sure < 0.1] = np.nan
        errors["DLT"].append(measure(camera, triangulate_linear(kept, pixels), view))
    both = np.isfinite(errors["ours"]) & np.isfinite(errors["DLT"])
    told = ", ".join(
        f"{name} {np.median(np.array(one)[both]):.2f} (mean {np.mean(np.array(one)[both]):.2f})"
        for name, one in errors.items()
    )
    print(
        f"person, a camera left out and predicted: median px {told}; "
        f"{100 * both.sum() / np.isfinite(errors['DLT']).sum():.1f} % of the DLT's points"
    )


def measure(camera: Camera, points: np.ndarray, view: View) -> np.ndarray:
    """Return distances in px between points and what a view saw surely."""
    seen = np.where(view.poses.confidence[:, 0, :, None] >= 0.1, view.poses.position[:, 0], np.nan)
    return np.linalg.norm(project(camera, points) - seen, axis=-1)


def read_fly(folder: Path) -> tuple[list[View], Calibration]:
    """Return what the cameras saw of a fly, and the cameras."""
    result = load_pickle(folder / "reference_df3d" / "df3d_result.pkl")
    cameras, views = [], []
    for number in (0, 1, 2, 4, 5, 6):
        rotation, shift, matrix = (as_array(result[number][key]) for key in ("R", "tvec", "intr"))
        own = (np.zeros(5), "pinhole", rotation, shift.ravel())
        cameras.append(Camera(f"c{number}", (960, 480), matrix, *own))
        raw = as_array(result["points2d"])[number]
        pixels = np.stack([raw[..., 1] * 960, raw[..., 0] * 480], axis=-1)
        pixels[(raw == 0).all(-1) | ((raw[..., 0] == 0) & (raw[..., 1] == 1))] = np.nan
        pixels = pixels[:, None]
        views.append(
            View(f"c{number}", make_poses(pixels, np.isfinite(pixels[..., 0]) * 1.0, 100.0))
        )
    return views, Calibration(tuple(cameras))


def measure_fly(folder: Path) -> None:
    """Print how the points of a fly agree with what its cameras saw."""
    found = triangulate_session(*read_fly(folder), (), TriangulationSettings(), 1)
    seen = np.isfinite(found.camera_error).sum()
    print(
        f"fly: median error {np.nanmedian(found.camera_error):.2f} px over all views of six "
        f"cameras, {100 * (1 - found.views.sum() / seen):.1f} % of them dropped"
    )


def make_ring(count: int, seed: int) -> list[Camera]:
    """Return cameras with distortion around the origin."""
    stream, cameras = np.random.default_rng(seed), []
    matrix = np.array([[900, 0, 640], [0, 905, 512], [0, 0, 1.0]])
    for number in range(count):
        angle = 2 * np.pi * number / count + stream.uniform(-0.2, 0.2)
        centre = 1000 * np.array([np.cos(angle), np.sin(angle), stream.uniform(0.2, 0.8)])
        forward = -centre / np.linalg.norm(centre)
        aside = np.cross(forward, [0, 0, 1.0])
        aside /= np.linalg.norm(aside)
        rotation = np.stack([aside, np.cross(forward, aside), forward])
        own = (np.array([-0.2, 0.05, 0.001, -0.002, 0.01]), "pinhole", rotation, -rotation @ centre)
        cameras.append(Camera(f"c{number}", (1280, 1024), matrix, *own))
    return cameras


def walk(moments: int, animals: int, seed: int) -> np.ndarray:
    """Return points of animals that walk at random and keep apart in space."""
    stream = np.random.default_rng(seed)
    steps = stream.normal(0, 1, (moments + 200, animals, 2))
    place = gaussian_filter1d(steps, 25, axis=0)[100:-100]
    place = place / place.std() * 100
    for _ in range(200):
        for one in range(animals):
            for other in range(one):
                off = place[:, one] - place[:, other]
                apart = np.linalg.norm(off, axis=-1, keepdims=True)
                push = np.clip(110 - apart, 0, None) / 2 * off / np.maximum(apart, 1e-9)
                place[:, one] += 0.5 * push
                place[:, other] -= 0.5 * push
    place = gaussian_filter1d(place, 3, axis=0)
    speed = np.gradient(place, axis=0)
    heading = np.unwrap(np.arctan2(speed[..., 1], speed[..., 0]), axis=0)
    heading = gaussian_filter1d(heading, 5, axis=0)[..., None]
    cosine, sine = np.cos(heading), np.sin(heading)
    along, across, up = SHAPE.T
    turned = [cosine * along - sine * across, sine * along + cosine * across, up + 0 * cosine]
    centre = np.concatenate([place, np.zeros((moments, animals, 1))], axis=-1)
    return centre[:, :, None] + np.stack(turned, axis=-1)


def measure_animals(moments: int, seeds: int) -> None:
    """Print how often animals are exchanged, and the error with and without smoothing."""
    print("animals cameras noise tracks: detections wrong (not marked), marked, error, smoothed, s")
    for animals, count, noise, tracked in (
        *((2, 2, 1.0, True), (2, 4, 1.0, True), (3, 3, 2.0, True), (4, 4, 2.0, True)),
        *((2, 4, 1.0, False), (4, 4, 2.0, False)),
    ):
        total, wrong, hidden, marked, seconds = 0, 0, 0, [], 0.0
        errors: dict[bool, list] = {False: [], True: []}
        for seed in range(seeds):
            cameras, points = make_ring(count, seed), walk(moments, animals, seed)
            views, truth = see(cameras, points, noise, seed, tracked=tracked)
            for smooth in (False, True):
                settings = TriangulationSettings(smoothing={"enabled": smooth})
                began = time.perf_counter()
                found = triangulate_session(
                    views, Calibration(tuple(cameras), "mm"), EDGES, settings, count_cores()
                )
                seconds += 0 if smooth else time.perf_counter() - began
                slots = found.camera_individual
                shape = np.indices(slots.shape)
                who = np.where(slots >= 0, truth[shape[0], shape[1], np.maximum(slots, 0)], -1)
                own = [np.bincount(who[..., n][who[..., n] >= 0]).argmax() for n in range(animals)]
                off = np.linalg.norm(found.position - points[:, own], axis=-1)
                errors[smooth].append(np.sqrt(np.nanmean(off**2)))
            bad = (who >= 0) & (who != own)
            doubt = (found.track_status == TrackStatus.UNCERTAIN)[:, None]
            total, wrong = total + (who >= 0).sum(), wrong + bad.sum()
            hidden += (bad & ~doubt).sum()
            marked.append(doubt.mean())
        print(
            f"{animals} {count} {noise} {tracked}: {wrong} ({hidden}) of {total:,}, "
            f"{100 * np.mean(marked):.2f} %, {np.mean(errors[False]):.2f} mm, "
            f"{np.mean(errors[True]):.2f} mm, {seconds / seeds:.1f} s"
        )


def see(
    cameras: list[Camera], points: np.ndarray, noise: float, seed: int, *, tracked: bool
) -> tuple[list[View], np.ndarray]:
    """Return views with faults, and which animal each slot is (moment, camera, slot)."""
    stream, views, truth = np.random.default_rng(seed), [], []
    moments, animals = points.shape[:2]
    for camera in cameras:
        pixels = project(camera, points) + stream.normal(0, noise, (*points.shape[:-1], 2))
        pixels[stream.random(pixels.shape[:3]) < 0.05] = np.nan
        wrong = stream.random(pixels.shape[:3]) < 0.02
        pixels[wrong] += stream.normal(0, 60, (wrong.sum(), 2))
        for _ in range(3):
            start = stream.integers(moments - 40)
            pixels[start : start + stream.integers(1, 40), stream.integers(animals)] = np.nan
        order = np.tile(np.arange(animals), (moments, 1))
        for _ in range(5 if tracked else 0):
            first, second = stream.choice(animals, 2, replace=False)
            centres = np.median(project(camera, points), axis=2)
            apart = np.linalg.norm(centres[:, first] - centres[:, second], axis=-1)
            near = np.flatnonzero(apart <= np.quantile(apart, 0.03))
            start = stream.choice(near)
            order[start:, [first, second]] = order[start:, [second, first]]
        if not tracked:
            order = stream.permuted(order, axis=1)
        pixels = np.take_along_axis(pixels, order[:, :, None, None], axis=1)
        confidence = np.isfinite(pixels[..., 0]) * 0.9
        view = View(camera.name, make_poses(pixels, confidence, 50.0, tracked=tracked))
        views.append(view)
        truth.append(order)
    return views, np.stack(truth, axis=1)


def main() -> None:
    """Measure all that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    if data := os.environ.get("COHORTPOSE_DATA"):
        measure_person(Path(data) / "human-4cam-pose2sim")
        measure_fly(Path(data) / "fly-7cam-df3d")
    measure_animals(options.moments, options.seeds)


if __name__ == "__main__":
    main()
