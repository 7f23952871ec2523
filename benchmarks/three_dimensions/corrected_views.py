"""Measure what views gain from a session: corrected 2D, and frames in which views disagree.

The scenes of `accuracy.py` have exact truth: of each view 5 % of the keypoints are
missing, 2 % are wrong by 60 px or so, animals are not found for up to 40 frames, and slots are
exchanged. Printed is the error of the poses before and after correction. With ``COHORTPOSE_DATA``,
keypoints of one camera at a time of the person of ``human-4cam-pose2sim`` and of the fly of
``fly-7cam-df3d`` are removed or put elsewhere; what was there before is the truth, which other
tools found with errors of their own. At last errors of several sizes are put into single views, and
the frames with the largest distance from where the other views see them are compared with these.
"""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.three_dimensions.accuracy import (
    EDGES,
    make_ring,
    read_fly,
    read_people,
    see,
    walk,
)
from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.cameras.records import read_description
from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.settings.cameras import TriangulationSettings
from pipeline_lib.core.tables import PointSource
from pipeline_lib.io.calibrations.files import read_calibration
from pipeline_lib.kernels.geometry.projection import project
from pipeline_lib.kernels.geometry.sessions.disagreement import measure_disagreement
from pipeline_lib.kernels.geometry.sessions.reprojection import CorrectionRules
from pipeline_lib.steps.triangulate.corrected_views import correct_poses
from pipeline_lib.steps.triangulate.points import observe
from pipeline_lib.steps.triangulate.session import View, triangulate_session
from pipeline_lib.steps.triangulate.synchronise import synchronise
from pipeline_lib.steps.triangulate.views import arrange_views

NEW = (PointSource.CORRECTED, PointSource.FILLED)


def correct(views: list[View], session: SessionPoses) -> list[Poses]:
    """Return the corrected poses of each view."""
    calibration = read_description(session.attributes["calibration"])
    rules = CorrectionRules(session.attributes["gate"], session.attributes["pcutoff"])
    return [
        correct_poses(view.poses, session, calibration.find(view.camera), rules) for view in views
    ]


def measure_scene(animals: int, cameras: int, noise: float, moments: int, seeds: int) -> None:
    """Print the error of rendered poses before and after correction."""
    before, after, source, worse = [], [], [], []
    for seed in range(seeds):
        rig, points = make_ring(cameras, seed), walk(moments, animals, seed)
        views, _ = see(rig, points, noise, seed, tracked=animals > 1)
        settings = TriangulationSettings()
        session = triangulate_session(views, Calibration(tuple(rig), "mm"), EDGES, settings, 2)
        off = np.linalg.norm(session.position[:, :, None] - points[:, None], axis=-1)
        own = [np.nanmedian(off[:, n], axis=(0, 2)).argmin() for n in range(animals)]
        for place, (fixed, view) in enumerate(zip(correct(views, session), views, strict=True)):
            truth = project(rig[place], points)[:, own]
            slots = session.camera_individual[:, place]
            rows = np.arange(moments)[:, None]
            raw = np.where((slots >= 0)[..., None, None], view.poses.position[rows, slots], np.nan)
            before.append(np.linalg.norm(raw - truth, axis=-1).ravel())
            after.append(np.linalg.norm(fixed.position - truth, axis=-1).ravel())
            source.append(fixed.point_source.ravel())
            with np.errstate(invalid="ignore"):
                worse.append((after[-1] > before[-1] + 3 * noise).sum())
    first, second, where = (np.concatenate(one) for one in (before, after, source))
    print(
        f"{animals} animals, {cameras} cameras, noise {noise} px: root mean square "
        f"{rms(first):.2f} -> {rms(second):.2f} px, missing {100 * np.isnan(first).mean():.1f} -> "
        f"{100 * np.isnan(second).mean():.1f} %; {(where == PointSource.CORRECTED).sum():,} "
        f"corrected ({rms(first[where == PointSource.CORRECTED]):.1f} -> "
        f"{rms(second[where == PointSource.CORRECTED]):.1f} px, {sum(worse)} made worse), "
        f"{(where == PointSource.FILLED).sum():,} filled "
        f"({rms(second[where == PointSource.FILLED]):.1f} px)"
    )


def measure_real(name: str, views: list[View], calibration: Calibration, cut: float) -> None:
    """Print how keypoints of one camera that were removed or displaced come back."""
    stream = np.random.default_rng(0)
    filled, corrected, spoilt, left, total, kept = [], [], [], 0, 0, []
    for place, view in enumerate(views):
        position = view.poses.position.copy()
        seen = np.isfinite(position).all(-1) & (view.poses.confidence >= cut)
        draw = stream.random(seen.shape)
        gone, wrong = seen & (draw < 0.1), seen & (draw > 0.95)
        size = np.nanmedian(np.nanstd(position[:, 0], axis=1))
        turn = stream.uniform(0, 2 * np.pi, wrong.sum())
        off = size * np.stack([np.cos(turn), np.sin(turn)], -1)
        position[gone] = np.nan
        position[wrong] += off
        bad = replace(view, poses=replace(view.poses, position=position))
        some = [*views[:place], bad, *views[place + 1 :]]
        settings = TriangulationSettings(pcutoff=cut)
        session = triangulate_session(some, calibration, (), settings, count_cores())
        fixed = correct(some, session)[place]
        error = np.linalg.norm(fixed.position - view.poses.position, axis=-1)
        filled.append(error[gone & (fixed.point_source == PointSource.FILLED)])
        corrected.append(error[wrong & (fixed.point_source == PointSource.CORRECTED)])
        spoilt.append(np.full(wrong.sum(), size))
        left += int((gone & (fixed.point_source != PointSource.FILLED)).sum())
        left += int((wrong & (fixed.point_source != PointSource.CORRECTED)).sum())
        total += int((gone | wrong).sum())
        good = seen & ~gone & ~wrong
        kept.append(np.isin(fixed.point_source[good], NEW).mean())
    print(
        f"{name}: of {total:,} keypoints removed or displaced by {np.median(spoilt[0]):.0f} px, "
        f"{total - left:,} came back; removed ones {np.nanmedian(np.concatenate(filled)):.1f} px "
        f"(median) from where they were, displaced ones "
        f"{np.nanmedian(np.concatenate(corrected)):.1f} px; {100 * np.mean(kept):.1f} % of the "
        "others were corrected"
    )


def measure_finding(cameras: int, moments: int, seeds: int) -> None:
    """Print how many injected errors are among as many frames with the largest distances."""
    for size in (3.0, 5.0, 10.0, 30.0):
        hits, total, seconds, points = 0, 0, 0.0, 0
        for seed in range(seeds):
            stream = np.random.default_rng(seed)
            rig, truth = make_ring(cameras, seed), walk(moments, 1, seed)
            wrong = np.zeros((moments, cameras), bool)
            wrong.flat[stream.choice(wrong.size, wrong.size // 50, replace=False)] = True
            views = []
            for place, camera in enumerate(rig):
                pixels = project(camera, truth)
                pixels += stream.normal(0, 1, pixels.shape)
                rows = np.flatnonzero(wrong[:, place])
                turn = stream.uniform(0, 2 * np.pi, len(rows))
                keypoint = stream.integers(pixels.shape[2], size=len(rows))
                pixels[rows, 0, keypoint] += size * np.stack([np.cos(turn), np.sin(turn)], -1)
                template = see([camera], truth, 0.0, seed, tracked=False)[0][0]
                poses = replace(
                    template.poses,
                    position=pixels.astype(np.float32),
                    confidence=np.full(pixels.shape[:-1], 0.9, np.float32),
                )
                views.append(View(camera.name, poses))
            calibration = Calibration(tuple(rig), "mm")
            session = triangulate_session(views, calibration, (), TriangulationSettings(), 2)
            arranged = arrange_views(views, calibration)
            aligned = synchronise(arranged.views, TriangulationSettings().synchronisation)
            seen = observe(arranged, aligned.moments, session.camera_individual, slice(None), 0.3)
            used = session.camera_error <= session.attributes["gate"]
            began = time.perf_counter()
            distances = measure_disagreement(rig, seen.pixels, seen.confidence, used, seen.pixels)
            seconds += time.perf_counter() - began
            points += distances[:, 0].size
            worst = np.nanmax(distances[:, :, 0], axis=2)
            chosen = np.argsort(-worst, axis=None)[: wrong.sum()]
            hits, total = hits + int(wrong.flat[chosen].sum()), total + int(wrong.sum())
        print(
            f"{cameras} cameras, noise 1 px, errors of {size:g} px in 2 % of the frames of each "
            f"view: {hits} of {total} among as many worst frames; "
            f"{1e6 * seconds / points:.1f} s per 1,000,000 points"
        )


def rms(values: np.ndarray) -> float:
    """Return the root mean square of what is known."""
    return float(np.sqrt(np.nanmean(values**2))) if np.isfinite(values).any() else np.nan


def main() -> None:
    """Measure all that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for animals, cameras, noise in ((1, 3, 2.0), (1, 4, 2.0), (2, 4, 1.0), (4, 4, 2.0)):
        measure_scene(animals, cameras, noise, options.moments, options.seeds)
    if data := os.environ.get("COHORTPOSE_DATA"):
        folder = Path(data) / "human-4cam-pose2sim"
        calibration = read_calibration(folder / "S00_Calibration" / "Calib_qualisys.toml")
        trial = folder / "S00_P00_SingleParticipant" / "S00_P00_T01_BalancingTrial"
        views = read_people(trial, "pose-associated", calibration.names)
        measure_real("person, four cameras", views, calibration, 0.1)
        measure_real("fly, six cameras", *read_fly(Path(data) / "fly-7cam-df3d"), 0.1)
    for cameras in (3, 4, 2):
        measure_finding(cameras, options.moments, options.seeds)


if __name__ == "__main__":
    main()
