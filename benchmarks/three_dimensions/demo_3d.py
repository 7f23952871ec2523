"""Measure calibration from rendered board images, and points triangulated from true keypoints.

For each seed, images of a board are rendered for the cameras of `make demo-3d`, the cameras are
calibrated from them alone, and animals walk through the arena. Their true keypoints in each image,
those that lie on it, are triangulated with that calibration and with the true one. Printed are the
largest errors of a camera (focal length, principal point, position) and those of the points, as
shares of the scene's size (the diagonal of the arena), after the axes were moved onto each other.
Targets: focal length 0.5 %, position 0.2 %, points 0.05 %.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.settings.cameras import TriangulationSettings
from pipeline_lib.demo.cohort import BOARDS
from pipeline_lib.demo.recording import locate_bodyparts, walk_animals
from pipeline_lib.demo.render.animal import BODYPARTS, EDGES
from pipeline_lib.demo.render.lens import Lens
from pipeline_lib.demo.rig import BOARD
from pipeline_lib.demo.scene import generate_scene, measure_arena
from pipeline_lib.demo.space import fit_most, measure_calibration
from pipeline_lib.demo.write import build_lenses, make_settings, write_boards
from pipeline_lib.steps.calibrate.run import CalibrationRequest, calibrate
from pipeline_lib.steps.triangulate.session import View, triangulate_session

Floats = NDArray[np.float64]

FPS = 30


def make_views(lenses: Sequence[Lens], points: Floats) -> list[View]:
    """Return what each camera sees of points, shape (frame, animal, bodypart, 3)."""
    views = []
    for lens in lenses:
        pixels = lens.locate(points)
        seen = lens.contains(pixels)
        poses = Poses(
            np.where(seen[..., None], pixels, np.nan).astype(np.float32),
            np.where(seen, 1.0, 0.0).astype(np.float32),
            np.zeros(len(points), np.uint8),
            np.arange(len(points)) / FPS,
            BODYPARTS,
            tuple(f"mouse{number}" for number in range(points.shape[1])),
            {"video": lens.camera.name, "key": "truth", "fps": FPS},
        )
        views.append(View(lens.camera.name, poses))
    return views


def measure_points(
    views: list[View], calibration: Calibration, points: Floats, size: float
) -> tuple[float, float, float]:
    """Return median, 99th percentile and largest error as shares of the scene's size."""
    settings = TriangulationSettings(enabled=True, match="names")
    poses = triangulate_session(views, calibration, EDGES, settings, count_cores())
    found = poses.position.astype(np.float64)
    known = np.isfinite(found).all(axis=-1)
    turn, shift = fit_most(found[known], points[known])
    off = np.linalg.norm(found[known] @ turn.T + shift - points[known], axis=-1) / size
    return float(np.median(off)), float(np.quantile(off, 0.99)), float(off.max())


def main() -> None:
    """Print a row per seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--boards", type=int, default=72)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--frames", type=int, default=150)
    options = parser.parse_args()
    print("seed\trender_s\tcalibrate_s\tfocal\tprincipal\tposition\tmedian\tp99\tmax\twith_truth")
    for seed in range(options.seeds):
        settings = make_settings(
            cameras=4, individuals=2, boards=options.boards, width=options.size,
            height=options.size, frames=options.frames, seed=seed,
        )  # fmt: skip
        lenses, scale = build_lenses(settings), (options.size, options.size)
        size = 2 * float(np.hypot(*measure_arena(scale)))
        truth = Calibration(tuple(lens.camera for lens in lenses), "mm")
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            write_boards(Path(folder), settings, lenses)
            rendered = time.perf_counter()
            request = CalibrationRequest(BOARD, "pinhole", 4, "mm", None, 2.0)
            found, _, _ = calibrate(sorted((Path(folder) / BOARDS).iterdir()), request)
            ended = time.perf_counter()
        error = measure_calibration(found, truth, size)
        scene = generate_scene((seed, 0), 2, 4, scale, lenses)
        walks = walk_animals(scene, np.random.default_rng([seed, 0, 1]), options.frames, FPS)
        points = locate_bodyparts(scene, walks)
        views = make_views(lenses, points)
        shares = (*error.__dict__.values(), *measure_points(views, found, points, size))
        exact = measure_points(views, truth, points, size)[2]
        told = "\t".join(f"{100 * share:.4f} %" for share in (*shares, exact))
        print(f"{seed}\t{rendered - began:.1f}\t{ended - rendered:.1f}\t{told}", flush=True)


if __name__ == "__main__":
    main()
