"""Measure what is saved by searching for animals in every Nth frame only, and what it changes.

    python benchmarks/inference/locating_every.py CONFIG VIDEO [--frames 600] [--every 1 4 8]
    python benchmarks/inference/locating_every.py --flies CLIP [--frames 128]

CONFIG is that of a trained run with a locator. With `--flies`, two untrained EfficientNet-Lite0 of
the sizes of `flies.py --way top-down` compute, and the labels of every frame of that clip stand for
what they predict: the time and the motion are real, and keypoints do not differ.

Each N predicts the video as `infer` does, on one core and in turn, round by round. The table has
the processor time of a frame, with decoding, the ratio to N = 1 (median of rounds), the share of
frames that were searched, and how far keypoints with at least `--pcutoff` of confidence are from
those of N = 1, px.
"""

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import sleap_io
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.inference.networks import call_apart, write_model
from benchmarks.projects import locate_project
from benchmarks.several_animals.flies_runs import PROJECT, WAYS
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.core.settings.network import LocatingSettings
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.skeleton import CENTRE, Skeleton
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.kernels.tracking.similarity import centre_poses
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.locating.blocks import mark_blocks
from pipeline_lib.models.inference.locating.coarse_to_fine import CoarseToFine, load_pose_predictor
from pipeline_lib.models.inference.locating.top_down import TopDown
from pipeline_lib.models.inference.predictor import PosePredictor, RuntimeOptions, load_predictor

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


class ToldTopDown(TopDown):
    """Compute as top-down networks do, and tell the labelled poses."""

    truth: NDArray[np.float32]
    numbers: Mapping[int, int]

    def _find_centres(
        self, frames: Sequence[NDArray[np.uint8]]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        super()._find_centres(frames)
        centres = centre_poses(self.truth[[self.numbers[id(frame)] for frame in frames]])
        row, slot = np.nonzero(np.isfinite(centres).all(-1))
        return row, slot, centres[row, slot].astype(np.float32)

    def _look_inside(
        self,
        frames: Sequence[NDArray[np.uint8]],
        row: NDArray[np.intp],
        slot: NDArray[np.intp],
        centre: NDArray[np.floating],
    ) -> tuple[Located, NDArray[np.intp]]:
        found, order = super()._look_inside(frames, row, slot, centre)
        found.position[:], order = np.nan, np.broadcast_to(np.arange(order.shape[1]), order.shape)
        for r, s, place in zip(row, slot, centre, strict=True):
            poses = self.truth[self.numbers[id(frames[r])]]
            apart = np.linalg.norm(centre_poses(poses) - place, axis=-1)
            if np.nanmin(apart) < self._side / 2:
                found.position[r, s] = poses[np.nanargmin(apart)]
        found.confidence[:] = np.isfinite(found.position).all(-1)
        return found, order


def load_told(clip: str, folder: Path, runtime: str) -> ToldTopDown:
    """Return untrained networks of flies, which tell the labels of a clip."""
    source = locate_project(PROJECT)
    labels = sleap_io.load_slp(str(source / f"{clip}.slp"), open_videos=False)
    truth = labels.numpy().astype(np.float32)
    animals = tuple(f"fly{number}" for number in range(truth.shape[1]))
    loaded = []
    for name, scale, individuals, parts, window in (
        ("locator", WAYS["top-down"]["locating"]["scale"], animals, (CENTRE,), None),
        ("flies", 1.0, ("fly",), labels.skeletons[0].node_names, 192),
    ):
        files = ModelFiles(folder / name)
        if not files.card.exists():
            call_apart(write_model, files, "tf_efficientnet_lite0", "package")
        network = load_predictor(files, RuntimeOptions(runtime, threads=1))
        network.card = network.card.model_copy(update={"scale": scale})
        skeleton = Skeleton(bodyparts=tuple(parts))
        told = {"individuals": individuals, "skeleton": skeleton, "window": window}
        loaded.append(FirstSlots(network, network.card.model_copy(update=told)))
    locator, *networks = loaded
    predictor = ToldTopDown(locator, networks, LocatingSettings(), AssemblySettings())
    predictor.truth, predictor.numbers = truth, {}
    return predictor


class FirstSlots:
    """Compute with a network, and tell as many keypoints as another card has."""

    def __init__(self, network: PosePredictor, card: ModelCard) -> None:
        self.card, self.surplus, self._network = card, 0, network
        self._shape = (len(card.individuals), len(card.skeleton.bodyparts))

    def predict(self, frames: Sequence[NDArray[np.uint8]]) -> Located:
        """Compute."""
        self._network.predict(frames)
        position = np.zeros((len(frames), *self._shape, 2), np.float32)
        return Located(position, np.ones(position.shape[:-1], np.float32))


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
            if isinstance(predictor, ToldTopDown):
                predictor.numbers = dict(zip(map(id, images), numbers, strict=True))
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
    parser.add_argument("config", type=Path, nargs="?")
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--flies", metavar="CLIP", help="such as three_flies")
    parser.add_argument("--folder", type=Path, default=Path("build/flies"), help="for networks")
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--every", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runtime", default="openvino")
    parser.add_argument("--pcutoff", type=float, default=0.6)
    given = parser.parse_args()
    if given.flies:
        predictor: PosePredictor = load_told(given.flies, given.folder, given.runtime)
        given.video = locate_project(PROJECT) / f"{given.flies}.mp4"
    elif given.video:
        config, root = read_config(given.config), given.config.absolute().parent
        predictor = load(config, root, given.runtime)
    else:
        parser.error("give CONFIG and VIDEO, or --flies")
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
