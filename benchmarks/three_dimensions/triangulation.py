"""Measure how long it takes to triangulate a million points from four views, and to adjust cameras.

Points of a known scene are projected into four cameras with distortion, with noise, and every
tenth point has one wrong view. Printed are seconds and the error of weighted triangulation and of
the exact choice of views, and those of a bundle adjustment of 8 cameras and 300 board images.
With ``--aniposelib PYTHON``, an interpreter that has aniposelib 0.8 triangulates the same points
by its linear method in the same run; the largest difference of both linear results is printed.
Targets on two cores: 5 s, 60 s for the choice of views, 60 s for the adjustment.
"""

import argparse
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline_lib.core.cameras.calibration import Calibration, Camera
from pipeline_lib.core.process import count_cores
from pipeline_lib.io.calibrations.files import write_calibration
from pipeline_lib.kernels.geometry.adjustment import (
    BoardView,
    Bundle,
    Pose,
    adjust,
    list_parameters,
    move_cameras,
    move_poses,
)
from pipeline_lib.kernels.geometry.projection import project, project_all
from pipeline_lib.kernels.geometry.triangulation import triangulate, triangulate_linear

CHILD = """
import sys, time
import numpy as np
from aniposelib.cameras import CameraGroup
group = CameraGroup.load(sys.argv[1])
pixels = np.load(sys.argv[2])
group.triangulate(pixels[:, :1000])
began, worked = time.perf_counter(), time.process_time()
points = group.triangulate(pixels)
print(time.perf_counter() - began, time.process_time() - worked)
np.save(sys.argv[3], points)
few = pixels[:, : int(sys.argv[4])]
began, worked = time.perf_counter(), time.process_time()
group.triangulate_ransac(few)
print(time.process_time() - worked)
"""
RANSAC_POINTS = 200


def make_cameras(count: int, seed: int) -> list[Camera]:
    """Return cameras with distortion around a scene."""
    stream = np.random.default_rng(seed)
    cameras = []
    for number in range(count):
        angle = 2 * np.pi * number / count
        centre = np.array([1000 * np.cos(angle), 1000 * np.sin(angle), stream.uniform(300, 700)])
        forward = -centre / np.linalg.norm(centre)
        aside = np.cross(forward, [0, 0, 1.0])
        aside /= np.linalg.norm(aside)
        rotation = np.stack([aside, np.cross(forward, aside), forward])
        matrix = np.array([[900, 0, 640], [0, 905, 512], [0, 0, 1.0]])
        distortion = np.array([-0.2, 0.05, 0.001, -0.001, 0.01])
        cameras.append(
            Camera(
                *(f"c{number}", (1280, 1024), matrix, distortion, "pinhole"),
                *(rotation, -rotation @ centre),
            )
        )
    return cameras


def measure_points(number: int, aniposelib: Path | None) -> None:
    """Print what triangulation takes."""
    stream = np.random.default_rng(0)
    cameras = make_cameras(4, 0)
    points = stream.uniform(-200, 200, (number, 3))
    pixels = project_all(cameras, points) + stream.normal(0, 1, (number, 4, 2))
    weights = stream.uniform(0.3, 1, (number, 4))
    threads = count_cores()
    print(f"{number:,} points, 4 views, {threads} threads")
    linear, seconds = time_call(lambda: triangulate_linear(cameras, pixels))
    print(f"linear, one thread: {seconds}")
    found, seconds = time_call(
        lambda: triangulate(cameras, pixels, weights, gate=None, noise=1.0, threads=threads)
    )
    print(f"weighted and refined: {seconds}, error {rms(found.points - points):.3f} mm")
    pixels[::10, 1] += stream.uniform(30, 200, (len(pixels[::10]), 2))
    chosen, seconds = time_call(
        lambda: triangulate(cameras, pixels, weights, gate=8.0, noise=1.0, threads=threads)
    )
    wrong = chosen.used[::10, 1].mean()
    print(
        f"views chosen exactly, every tenth point with a wrong view: {seconds}, error "
        f"{rms(chosen.points - points):.3f} mm, wrong views used: {100 * wrong:.2f} %"
    )
    pixels = project_all(cameras, points) + np.random.default_rng(1).normal(0, 1, pixels.shape)
    linear = triangulate_linear(cameras, pixels)
    if aniposelib is not None:
        compare(aniposelib, cameras, pixels, linear)


def compare(python: Path, cameras: list[Camera], pixels: np.ndarray, linear: np.ndarray) -> None:
    """Print what aniposelib takes for the same points, and how far the linear results differ."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_calibration(folder / "c.toml", Calibration(tuple(cameras), "mm"), "aniposelib")
        np.save(folder / "pixels.npy", np.moveaxis(pixels, 1, 0))
        (folder / "child.py").write_text(CHILD)
        arguments = ("child.py", "c.toml", "pixels.npy", "points.npy", str(RANSAC_POINTS))
        told = subprocess.run(
            [str(python), *arguments], cwd=folder, check=True, capture_output=True, text=True
        ).stdout.split()
        theirs = np.load(folder / "points.npy")
    ended, worked, ransac = (float(one) for one in told)
    print(f"aniposelib, linear: {ended:.1f} s ({worked:.1f} s of processor time)")
    each = ransac / RANSAC_POINTS
    print(
        f"aniposelib, ransac: {1000 * each:.1f} ms of processor time for each of "
        f"{RANSAC_POINTS} points"
    )
    print(f"largest difference of linear results: {np.abs(theirs - linear).max():.1e} mm")


def measure_adjustment() -> None:
    """Print what a bundle adjustment takes."""
    stream = np.random.default_rng(0)
    cameras = make_cameras(8, 0)
    x, y = np.meshgrid(np.arange(9) * 30.0, np.arange(6) * 30.0)
    grid = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
    poses, views = [], []
    for frame in range(300):
        rotation = Rotation.from_rotvec(stream.normal(0, 1, 3)).as_matrix()
        poses.append(Pose(rotation, stream.uniform(-150, 150, 3) - rotation @ grid.mean(0)))
        world = grid @ rotation.T + poses[-1].translation
        for number, camera in enumerate(cameras):
            pixels = project(camera, world)
            views.append(
                BoardView(number, frame, grid, pixels + stream.normal(0, 0.3, pixels.shape))
            )
    bundle = Bundle(tuple(cameras), tuple(poses), tuple(views), ((0, 1, 2, 3, 4),) * 8)
    step = np.zeros(list_parameters(bundle)[-1].stop)
    for place in list_parameters(bundle):
        step[place][:4] = stream.normal(0, 15, 4)
    turns = stream.normal(0, 0.02, (300, 3))
    shifts = stream.normal(0, 10, (300, 3))
    start = replace(
        bundle,
        cameras=move_cameras(bundle, step),
        poses=move_poses(bundle, np.concatenate([turns, shifts], axis=1)),
    )
    found, seconds = time_call(lambda: adjust(start, scale=1.0, most_steps=100))
    error = rms(np.concatenate(found.errors)[:, None])
    print(f"adjustment of 8 cameras and 300 boards: {seconds}, error {error:.3f} px")


def rms(off: np.ndarray) -> float:
    """Return the root of the mean squared length."""
    return float(np.sqrt((off**2).sum(axis=-1).mean()))


def time_call(call):  # noqa: ANN001, ANN201 - any function without arguments
    """Return a function's result, and the seconds it took in words, those of processors beside."""
    began, worked = time.perf_counter(), time.process_time()
    result = call()
    ended, done = time.perf_counter() - began, time.process_time() - worked
    return result, f"{ended:.1f} s ({done:.1f} s of processor time)"


def main() -> None:
    """Run both measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--aniposelib", type=Path, help="python with aniposelib 0.8")
    arguments = parser.parse_args()
    measure_points(arguments.points, arguments.aniposelib)
    measure_adjustment()


if __name__ == "__main__":
    main()
