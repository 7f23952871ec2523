"""Compare the runtimes of a network: frames per second on all cores, and shifts of keypoints.

Frames are the labelled ones of the open field. Peaks of an untrained network are ties that
rounding decides. The last layers are therefore fitted to half of the frames, by weighted ridge
regression on the features of the untrained layers, and keypoints are compared on the other half. A
trained network can be given instead. The ways are timed in turn, each several times.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.inference.networks import Way, open_lanes, stack_frames, write_model
from benchmarks.projects import PROJECTS, exit_with, locate_project
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.process import count_cores
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels.deeplabcut import read_deeplabcut
from pipeline_lib.kernels.maps.score_maps import (
    encode_gaussian,
    encode_location_refinement,
    map_shape,
)
from pipeline_lib.kernels.metrics.keypoints import keypoint_distance
from pipeline_lib.models.card import ModelCard, read_card
from pipeline_lib.models.inference.predictor import (
    Predictor,
    RuntimeOptions,
    count_gpus,
    load_predictor,
)
from pipeline_lib.models.inference.torch_runtime import TorchRuntime
from pipeline_lib.models.network.backbone import Backbone
from pipeline_lib.models.network.network import DeployedNetwork, PoseNetwork
from pipeline_lib.models.training.export_onnx import export_onnx, save_weights

BACKBONES = {"tf_efficientnet_lite0": "package", "resnet50": "none"}
SIZES = {"480x640": (480, 640), "240x320": (240, 320)}
SIGMA, RADIUS = 8.0, 12.0  # of the fitted maps, px
RIDGE = 1e-2
PLAIN_BATCH = 8
UNIT = RuntimeOptions("onnx")  # the reference of all ratios

Image = NDArray[np.uint8]
Run = Callable[[], object]


@dataclass(frozen=True)
class Scene:
    """Hold labelled frames of one size.

    Attributes
    ----------
    frames
        Each (height, width, 3), uint8 RGB.
    points
        Shape (frame, keypoint, 2), px; NaN where not labelled.
    """

    frames: list[Image]
    points: NDArray[np.float64]

    def shrink(self, height: int, width: int) -> "Scene":
        """Return the frames at another size, and their points."""
        factor = np.array([width, height]) / self.frames[0].shape[1::-1]
        frames = [
            np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))
            for frame in self.frames
        ]
        return Scene(frames, (self.points + 0.5) * factor - 0.5)

    def take(self, rows: slice) -> "Scene":
        """Return some of the frames."""
        return Scene(self.frames[rows], self.points[rows])


def read_scene(project: Path, count: int) -> Scene:
    """Read at most N labelled frames of a DeepLabCut project."""
    table = read_deeplabcut(project).groupby("image", sort=True)
    groups = [group for _, group in itertools.islice(table, count)]
    return Scene(
        [read_image(Path(group["image"].iloc[0])) for group in groups],
        np.stack([group[["x", "y"]].to_numpy() for group in groups]),
    )


def load_network(files: ModelFiles, card: ModelCard) -> PoseNetwork:
    """Load a network's weights into PyTorch."""
    backbone = Backbone(card.backbone, "none", card.stride)
    network = PoseNetwork(backbone, len(card.skeleton.bodyparts), card.head_channels)
    network.load_state_dict(torch.load(files.weights, weights_only=True))
    return network.eval()


@torch.inference_mode()
def fit_last_layers(files: ModelFiles, scene: Scene) -> None:
    """Fit the score and offset layers to labelled frames, and publish the network again."""
    card = read_card(files.card)
    network = load_network(files, card)
    shape = map_shape(*stack_frames(scene.frames[:1], files).shape[1:3], card.stride)
    points = torch.from_numpy(scene.points)[:, None]
    score = encode_gaussian(points, shape, SIGMA)
    offset, mask = encode_location_refinement(points, shape, RADIUS)
    features = torch.cat([_draw_features(network, frame, files) for frame in scene.frames])
    for keypoint in range(score.shape[1]):
        # Logits from -6 to 6; the few cells near a point weigh as much as all others.
        near = score[:, keypoint].flatten()
        fitted = _fit_ridge(features, 12 * near - 6, 1 + 50 * near)
        _set_channel(network.score, keypoint, fitted)
        for axis in (0, 1):
            wanted = offset[:, keypoint, axis].flatten() / card.refinement_scale
            fitted = _fit_ridge(features, wanted, mask[:, keypoint].flatten().float())
            _set_channel(network.offset, 2 * keypoint + axis, fitted)
    save_weights(network, files.weights)
    export_onnx(network, card.refinement_scale, files.network)


def list_options(cores: int) -> list[RuntimeOptions]:
    """Return the options to compare on this machine."""
    ways = [
        RuntimeOptions("openvino", threads=cores),
        RuntimeOptions("openvino", threads=cores, batch_size=4),
        RuntimeOptions("openvino", "bfloat16", threads=cores),
        RuntimeOptions("onnx", threads=cores),
        RuntimeOptions("onnx", threads=cores, batch_size=4),
        RuntimeOptions("torch", threads=cores),
        RuntimeOptions("torch", "bfloat16", threads=cores),
    ]
    if count_gpus():
        ways += [
            RuntimeOptions("torch", "float16"),
            RuntimeOptions("torch", "float16", compile=True),
        ]
    return ways


def open_ways(files: ModelFiles, frames: Sequence[Image]) -> dict[str, tuple[int, Run]]:
    """Load the network in every way; return frames per run and its function, by description."""
    cores, ways = count_cores(), {}
    for options in list_options(cores):
        predictor = load_predictor(files, options)
        count = min(len(frames), 2 * cores * (options.batch_size or 1))
        ways[describe(options)] = count, _bind(predictor, frames[:count])
    for runtime, batch in itertools.product(("openvino", "onnx"), (1, PLAIN_BATCH)):
        block = stack_frames(frames[:batch], files)
        forward = open_lanes(files.network, Way(runtime, batch), block.shape)[0]  # type: ignore[arg-type]
        name = f"{runtime}, float32, all cores on a batch of {batch}"
        ways[name] = batch, _bind_forward(forward, block)
    ways[f"torch, float32, all cores on a batch of {PLAIN_BATCH}"] = (
        PLAIN_BATCH,
        _open_plain(files, frames[:PLAIN_BATCH]),
    )
    return ways


def describe(options: RuntimeOptions) -> str:
    """Return a line for a table."""
    compiled = ", compiled" if options.compile else ""
    batch = f", batch {options.batch_size}" if options.batch_size else ""
    return f"{options.runtime}, {options.precision}{compiled}{batch}"


def time_ways(ways: Mapping[str, tuple[int, Run]], seconds: float, rounds: int) -> dict[str, float]:
    """Return the median frames per second of each way; the ways take turns."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _, run in ways.values():
        run()  # warm
    for _, (name, (count, run)) in itertools.product(range(rounds), ways.items()):
        begin, frames = time.perf_counter(), 0
        while not frames or time.perf_counter() - begin < seconds:
            run()
            frames += count
        rates[name].append(frames / (time.perf_counter() - begin))
    return {name: statistics.median(values) for name, values in rates.items()}


def compare_keypoints(files: ModelFiles, frames: Sequence[Image]) -> dict[str, NDArray[np.float64]]:
    """Return the shift in px of each way's keypoints from PyTorch in float32 on the CPU."""
    card = read_card(files.card)
    reference = Predictor(card, TorchRuntime(files.weights, card, device="cpu"))
    wanted = reference.predict(frames)[0]
    moved = {}
    for options in list_options(count_cores()):
        found = load_predictor(files, options).predict(frames)[0]
        moved[describe(options)] = keypoint_distance(found[:, 0], wanted[:, 0])
    return moved


def make_table(
    title: str, rates: Mapping[str, float], moved: Mapping[str, NDArray[np.float64]]
) -> Table:
    """Return the measurements as a table."""
    table = Table(title=title, title_justify="left")
    for name in ("way", "frames/s", "ratio", "largest px", "median px"):
        table.add_column(name, justify="left" if name == "way" else "right")
    unit = rates[describe(UNIT)]
    for name, rate in rates.items():
        far = moved.get(name)
        cells = ("", "") if far is None else (f"{far.max():.1e}", f"{np.median(far):.1e}")
        table.add_row(name, f"{rate:.1f}", f"{rate / unit:.2f}", *cells)
    return table


def main() -> None:
    """Print a table for each network and size of frame."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", choices=BACKBONES, action="append")
    parser.add_argument("--size", choices=SIZES, action="append")
    parser.add_argument("--model", type=Path, help="a trained model's folder; no backbone then")
    parser.add_argument("--frames", type=int, default=48, help="labelled frames to use")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each way in each round")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        whole = read_scene(locate_project(PROJECTS["openfield"]), given.frames)
    except CohortposeError as error:
        raise exit_with(error) from error
    for size in given.size or SIZES:
        scene = whole.shrink(*SIZES[size])
        if given.model:
            measure(ModelFiles(given.model), scene, f"{given.model.name}, {size}", given)
            continue
        for backbone in given.backbone or BACKBONES:
            with tempfile.TemporaryDirectory() as folder:
                files = ModelFiles(Path(folder))
                write_model(files, backbone, BACKBONES[backbone])
                fit_last_layers(files, scene.take(slice(0, None, 2)))
                measure(files, scene, f"{backbone}, {size}", given)


def measure(files: ModelFiles, scene: Scene, title: str, given: argparse.Namespace) -> None:
    """Print the table of a network and a size of frames."""
    moved = compare_keypoints(files, scene.frames[1::2])
    rates = time_ways(open_ways(files, scene.frames), given.seconds, given.rounds)
    Console().print(make_table(f"{title}, {count_cores()} cores", rates, moved))


def _draw_features(network: PoseNetwork, frame: Image, files: ModelFiles) -> Tensor:
    """Return the inputs of the last layers for a frame; shape (cell, channel)."""
    block = torch.from_numpy(stack_frames([frame], files))
    image = block.permute(0, 3, 1, 2).float() / 255
    features = network.head(network.backbone((image - network.mean) / network.std))
    return features[0].flatten(1).T


def _fit_ridge(features: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Return weights and bias (channel + 1) of the weighted least squares."""
    given = torch.cat([features, torch.ones(len(features), 1)], 1).double()
    weighted = (given * weight[:, None]).T
    square = weighted @ given
    square += RIDGE * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
    return torch.linalg.solve(square, weighted @ wanted.double())


def _set_channel(layer: nn.Conv2d, channel: int, fitted: Tensor) -> None:
    layer.weight[channel] = fitted[:-1, None, None].float()
    layer.bias[channel] = fitted[-1].float()  # type: ignore[index]


def _bind(predictor: Predictor, frames: Sequence[Image]) -> Run:
    return lambda: predictor.predict(frames)


def _bind_forward(forward: Callable[[Image], object], block: Image) -> Run:
    return lambda: forward(block)


def _open_plain(files: ModelFiles, frames: Sequence[Image]) -> Run:
    """Return PyTorch with its default threads."""
    card = read_card(files.card)
    network = DeployedNetwork(load_network(files, card), card.refinement_scale)
    block = torch.from_numpy(stack_frames(frames, files))

    @torch.inference_mode()
    def run() -> object:
        torch.set_num_threads(count_cores())
        try:
            return network(block)
        finally:
            torch.set_num_threads(1)  # as the runtime has it

    return run


if __name__ == "__main__":
    main()
