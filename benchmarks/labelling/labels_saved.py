"""Simulate how many labels the choice of `refine` saves (takes hours; resumes).

Each seed starts with labels of 10 frames drawn at random. In four iterations 10 frames are added,
either chosen by `refine` from what the last network predicts, or drawn at random from the rest;
their labels come from truth. Each network goes on from that of the first 10 labels, with the same
number of steps however many labels there are, and is measured on the same test frames. A finished
training is a row of `runs.tsv`, which a rerun skips.
"""

import argparse
import json
import logging
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.labelling.labels_saved_data import Material, prepare_openfield, prepare_rendered
from benchmarks.labelling.labels_saved_figures import write_figures
from benchmarks.projects import merge_settings
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import LocatingSettings
from pipeline_lib.core.settings.run import Config, ResolvedConfig
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import (
    LABEL_COLUMNS,
    PLAN_COLUMNS,
    PROBE_COLUMNS,
    SINGLE_INDIVIDUAL,
    STAGE_COLUMNS,
)
from pipeline_lib.io.images import write_png
from pipeline_lib.io.labels.table import Labels, write_labels
from pipeline_lib.io.poses.write import create_poses
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.models.inference.locating.coarse_to_fine import load_pose_predictor
from pipeline_lib.models.inference.predictor import PosePredictor, RuntimeOptions
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.refine.run import REFINEMENT_COLUMNS, run_refine
from pipeline_lib.steps.train import run_train

START, STEP, ITERATIONS = 10, 10, 4  # labelled frames
STRATEGIES = ("chosen", "random")
BEFORE = "before"  # name of the network to start from
BATCH, FIRST = 8, 300  # frames in a batch, and steps of the first training
FIRST_RATE = 3e-3  # learning rate of the first training
RUN_COLUMNS = (
    "seed",
    "strategy",
    "labels",
    "error",
    "usual",
    "unusual",
    "unusual_labels",
    "seconds",
)
SHARD = "00001"
_GROUP = 16  # frames predicted at a time

Frame = tuple[int, int]  # number of the clip, and frame of it


@dataclass(frozen=True)
class Simulation:
    """Hold what the trainings of a simulation share."""

    material: Material
    pixels: Sequence[Sequence[NDArray[np.uint8]]]
    folder: Path
    steps: int
    rate: float

    @property
    def pool(self) -> list[Frame]:
        """Every frame that may be labelled."""
        clips = enumerate(self.material.clips)
        return [(number, frame) for number, clip in clips for frame in range(len(clip.position))]

    def is_unusual(self, frame: Frame) -> bool:
        """Tell whether a frame is of an unusual video."""
        return self.material.clips[frame[0]].kind != "usual"


def simulate(simulation: Simulation, seed: int, strategy: str) -> None:
    """Run one strategy of a seed, leaving out what is done."""
    random = np.random.default_rng(seed)
    order = [simulation.pool[place] for place in random.permutation(len(simulation.pool))]
    labelled = order[:START]
    for number in range(ITERATIONS + 1):
        name = strategy if number else "start"
        next_frames = simulation.folder / f"frames-{seed}-{strategy}-{number}.json"
        choose = strategy == "chosen" and number < ITERATIONS
        undecided = choose and not next_frames.is_file()
        if undecided or not _is_done(simulation, seed, name, len(labelled)):
            found = train_and_choose(simulation, seed, name, labelled, choose=choose)
            if choose:
                publish_text(next_frames, json.dumps([*map(list, found)]))
        if choose:
            added = [(clip, frame) for clip, frame in json.loads(next_frames.read_text())]
        else:
            added = order[START + number * STEP :][:STEP]
        labelled = labelled + added


def train_and_choose(
    simulation: Simulation, seed: int, name: str, labelled: Sequence[Frame], *, choose: bool
) -> list[Frame]:
    """Train on labelled frames, note the error, and return what to label next."""
    began = time.process_time()
    work = simulation.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    config, results = _write_run(simulation, work, seed, labelled)
    kept = simulation.folder / f"network-{seed}-{name}-{len(labelled)}"
    model = results.model(config.training.name)
    if kept.is_dir():
        shutil.copytree(kept, model.folder)
    else:
        if name != "start":
            # Each has had as many steps as any other, however many labels it learns from.
            first = simulation.folder / f"network-{seed}-start-{START}"
            shutil.copytree(first, results.model(BEFORE).folder)
        run_make_targets(config, results)
        run_train(config, results)
        shutil.rmtree(model.checkpoints)
        shutil.copytree(model.folder, kept)
    predictor = load_pose_predictor(
        results.model(config.training.name), RuntimeOptions("onnx", threads=1), LocatingSettings()
    )
    errors = _measure(simulation.material, predictor)
    if not _is_done(simulation, seed, name, len(labelled)):
        row = {
            "seed": seed,
            "strategy": name,
            "labels": len(labelled),
            **{key: f"{value:.4f}" for key, value in errors.items()},
            "unusual_labels": sum(map(simulation.is_unusual, labelled)),
            "seconds": f"{time.process_time() - began:.1f}",
        }
        table = simulation.folder / "runs.tsv"
        write_table(table, RUN_COLUMNS, [*_read_runs(table), row])
        print(*row.values(), sep="\t", flush=True)
    found: list[Frame] = []
    if choose:
        _write_poses(simulation, predictor, config, results)
        run_refine(config, results)
        numbers = {clip.name: place for place, clip in enumerate(simulation.material.clips)}
        rows = read_table(results.refined_table(config.training.name), REFINEMENT_COLUMNS)
        found = [(numbers[row["video"]], int(row["frame"])) for row in rows]
        shutil.copy(
            results.refined_table(config.training.name),
            simulation.folder / f"refined-{seed}-{len(labelled)}.tsv",
        )
    shutil.rmtree(work)
    return found


def _write_run(
    simulation: Simulation, work: Path, seed: int, labelled: Sequence[Frame]
) -> tuple[Config, Results]:
    """Write labels, sheet and plan of a run; return its config and results folder."""
    material, results = simulation.material, Results(work / "results")
    sheet = "".join(f"{clip.name}\t{clip.path.resolve()}\n" for clip in material.clips)
    publish_text(work / "cohort.tsv", f"video\tpath\n{sheet}")
    steps = FIRST if len(labelled) == START else simulation.steps
    epochs = max(1, round(steps / math.ceil(len(labelled) / BATCH)))
    edges = [list(edge) for edge in material.edges]
    values: dict[str, Any] = {
        "cohort": str(work / "cohort.tsv"),
        "skeleton": {"bodyparts": list(material.bodyparts), "edges": edges},
        "labels": [{"path": "truth.csv", "format": "deeplabcut"}],
        "training": {
            "epochs": epochs,
            "batch_size": BATCH,
            "seed": seed,
            "measure_every": 0,
            # Checkpoints once, at the end.
            "validate_every": epochs,
            "learning_rate": FIRST_RATE if len(labelled) == START else simulation.rate,
            "start_from": BEFORE if len(labelled) > START else None,
            "head_channels": 64,
            "accelerator": "cpu",
            "devices": 1,
        },
        "refinement": {"frames": STEP, "seed": seed},
    }
    # The usual values instead of `auto`, whatever is labelled.
    config = ResolvedConfig.model_validate(merge_settings(values, material.settings))
    rows = []
    for clip, frame in labelled:
        image = work / "images" / material.clips[clip].name / f"frame-{frame:07d}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        write_png(image, simulation.pixels[clip][frame])
        rows += [
            {
                "video": material.clips[clip].name,
                "frame": frame,
                "bodypart": bodypart,
                "individual": SINGLE_INDIVIDUAL,
                "x": x,
                "y": y,
                "visible": np.isfinite(x),
                "source": "truth",
                "split": "train",
                "image": str(image),
                "iteration": 0,
            }
            for bodypart, (x, y) in zip(
                material.bodyparts, material.clips[clip].position[frame].tolist(), strict=True
            )
        ]
    table = pd.DataFrame(rows, columns=list(LABEL_COLUMNS))
    skeleton = Skeleton(**config.skeleton.model_dump())
    write_labels(results.labels, Labels(table, material.bodyparts, (SINGLE_INDIVIDUAL,), skeleton))
    _write_tables(simulation, config, results)
    return config, results


def _write_tables(simulation: Simulation, config: Config, results: Results) -> None:
    """Write the tables that planning, probing and inference leave."""
    clips = simulation.material.clips
    plan = [{"video": clip.name, "shard": SHARD, "state": "active"} for clip in clips]
    write_table(results.plan, PLAN_COLUMNS, plan)
    done: Sequence[Mapping[str, object]] = [
        {
            "video": clip.name,
            "status": "done",
            "path": clip.path.resolve(),
            "frames": len(clip.position),
            "fps": simulation.material.fps,
        }
        for clip in clips
    ]
    files = results.shard(SHARD)
    write_table(files.probe, PROBE_COLUMNS, done)
    ended = [{"video": clip.name, "status": "done"} for clip in clips]
    write_table(files.infer(config.training.name), STAGE_COLUMNS, ended)


def _write_poses(
    simulation: Simulation, predictor: PosePredictor, config: Config, results: Results
) -> None:
    """Write the poses of every frame that may be labelled."""
    material = simulation.material
    for clip, images in zip(material.clips, simulation.pixels, strict=True):
        position, confidence = _predict(predictor, images)
        path = results.poses(config.training.name, clip.name)
        times = np.arange(len(images)) / material.fps
        names = (material.bodyparts, (SINGLE_INDIVIDUAL,))
        with create_poses(path, times, *names, {"key": clip.name}) as writer:
            writer.write(0, position, confidence, np.zeros(len(images), np.uint8))


def _predict(
    predictor: PosePredictor, images: Sequence[NDArray[np.uint8]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    parts = [
        predictor.predict(images[start : start + _GROUP])[:2]
        for start in range(0, len(images), _GROUP)
    ]
    return np.concatenate([one[0] for one in parts]), np.concatenate([one[1] for one in parts])


def _measure(material: Material, predictor: PosePredictor) -> dict[str, float]:
    """Return the mean distance from truth in px over all visible keypoints, and by kind."""
    position, _ = _predict(predictor, [image for image, _, _ in material.test])
    truth = np.stack([points for _, _, points in material.test])
    distance = np.linalg.norm(position[:, 0] - truth, axis=-1)
    usual = np.array([kind == "usual" for _, kind, _ in material.test])
    return {
        "error": float(np.nanmean(distance)),
        "usual": float(np.nanmean(distance[usual])),
        "unusual": float(np.nanmean(distance[~usual])) if (~usual).any() else math.nan,
    }


def _read_runs(table: Path) -> list[dict[str, str]]:
    return read_table(table, RUN_COLUMNS) if table.is_file() else []


def _is_done(simulation: Simulation, seed: int, name: str, labels: int) -> bool:
    return any(
        (row["seed"], row["strategy"], row["labels"]) == (str(seed), name, str(labels))
        for row in _read_runs(simulation.folder / "runs.tsv")
    )


def main() -> None:
    """Run the simulation of a kind of material, and draw its curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("material", choices=("rendered", "openfield"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=120, help="of each training but the first")
    parser.add_argument(
        "--rate",
        type=float,
        default=FIRST_RATE,
        help="learning rate of those",
    )
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    parser.add_argument("--draw", action="store_true", help="only draw what is there")
    given = parser.parse_args()
    folder = given.folder / f"{given.material}-runs"
    folder.mkdir(parents=True, exist_ok=True)
    if not given.draw:
        torch.set_num_threads(1)
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        prepare = {"rendered": prepare_rendered, "openfield": prepare_openfield}[given.material]
        material = prepare(given.folder)
        pixels = [clip.read() for clip in material.clips]
        simulation = Simulation(material, pixels, folder, given.steps, given.rate)
        for seed in range(given.seeds):
            for strategy in given.strategies:
                simulate(simulation, seed, strategy)
    write_figures(folder, _read_runs(folder / "runs.tsv"))


if __name__ == "__main__":
    main()
