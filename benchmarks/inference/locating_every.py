"""Measure what is saved by searching for animals in every Nth frame only, and what it changes.

    python benchmarks/inference/locating_every.py CONFIG VIDEO [--frames 600] [--every 1 4 8]

CONFIG is that of a trained run with a locator. Each N predicts the video as `infer` does, on one
core and in turn, round by round. The table has the processor time of a frame, with decoding, the
ratio to N = 1 (median of rounds), the share of frames that were searched, and how far keypoints
with at least `--pcutoff` of confidence are from those of N = 1, px.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.core.settings.run import Config
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.kernels.tracking.similarity import centre_poses
from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.locating.blocks import mark_blocks
from pipeline_lib.models.inference.locating.coarse_to_fine import CoarseToFine, load_pose_predictor
from pipeline_lib.models.inference.locating.top_down import TopDown
from pipeline_lib.models.inference.predictor import PosePredictor, RuntimeOptions

GROUP = 32


class CountedSearches:
    """Count the frames that a locator searches."""

    def __init__(self, locator: PosePredictor) -> None:
        self.card, self.surplus = locator.card, locator.surplus
        self._locator, self.frames = locator, 0

    def predict(self, frames: Sequence[NDArray[np.uint8]]) -> Located:
        """Locate."""
        self.frames += len(frames)
        return self._locator.predict(frames)


def load(config: Config, root: Path, runtime: str) -> PosePredictor:
    """Return the predictor of a trained run, on one core."""
    files = Results(root / config.results).model(config.training.name)
    options = RuntimeOptions(runtime, config.inference.precision, threads=1)
    return load_pose_predictor(files, options, config.locating, config.assembly)


def predict(
    predictor: PosePredictor, video: Path, frames: int, every: int
) -> tuple[float, Located]:
    """Return the processor seconds of a frame, and the poses."""
    reader, found = VideoReader(video), list[Located]()
    size = -(-GROUP // every) * every
    begin = time.process_time()
    numbers, images = list[int](), list[NDArray[np.uint8]]()
    for number, image in reader.read(0, frames):
        if image is not None:
            numbers.append(number)
            images.append(image)
        if (number + 1) % size == 0 or number + 1 == frames:
            first = mark_blocks(numbers, every) if every > 1 else None
            found.append(predictor.predict(images, first))
            numbers, images = [], []
    seconds = (time.process_time() - begin) / frames
    parts = [np.concatenate([one[part] for one in found]) for part in range(2)]
    return seconds, Located(parts[0], parts[1])


def compare(mine: Located, theirs: Located, pcutoff: float) -> NDArray[np.float64]:
    """Return the distances of certain keypoints, px; animals are those with the nearest centres."""
    centres = centre_poses(theirs.position)
    apart = np.linalg.norm(centre_poses(mine.position)[:, :, None] - centres[:, None], axis=-1)
    nearest = np.where(np.isfinite(apart), apart, np.inf).argmin(axis=2)
    matched = np.take_along_axis(theirs.position, nearest[..., None, None], axis=1)
    sure = np.take_along_axis(theirs.confidence, nearest[..., None], axis=1)
    both = (mine.confidence >= pcutoff) & (sure >= pcutoff)
    return np.asarray(np.linalg.norm(mine.position - matched, axis=-1)[both], np.float64)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--every", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runtime", default="openvino")
    parser.add_argument("--pcutoff", type=float, default=0.6)
    given = parser.parse_args()
    config, root = read_config(given.config), given.config.absolute().parent
    predictor = load(config, root, given.runtime)
    if not isinstance(predictor, CoarseToFine | TopDown):
        raise SystemExit(f"{given.config}: its network has no locator to save")
    counted = CountedSearches(predictor._locator)  # noqa: SLF001
    predictor._locator = counted  # noqa: SLF001
    predict(predictor, given.video, GROUP, 1)  # warm
    times: dict[int, list[float]] = {every: [] for every in given.every}
    poses, searched = dict[int, Located](), dict[int, int]()
    for _ in range(given.rounds):
        for every in given.every:
            counted.frames = 0
            seconds, poses[every] = predict(predictor, given.video, given.frames, every)
            times[every].append(seconds)
            searched[every] = counted.frames
    table = Table("N", "ms a frame", "ratio", "searched", "animals", "median", "99 %", "above 1 px")
    base = given.every[0]
    for every, seconds in times.items():
        ratio = statistics.median(a / b for a, b in zip(times[base], seconds, strict=True))
        apart = compare(poses[every], poses[base], given.pcutoff)
        there = (poses[every].confidence >= given.pcutoff).any(axis=-1).sum()
        figures = (1000 * statistics.median(seconds), ratio, searched[every] / given.frames)
        shares = (np.median(apart), np.percentile(apart, 99), (apart > 1).mean())
        table.add_row(
            str(every),
            *(f"{value:.3f}" for value in figures),
            str(there),
            *(f"{value:.3f}" for value in shares),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
