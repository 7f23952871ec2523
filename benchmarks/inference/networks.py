"""Measure the references of the engine: forward passes on frames in memory, and a plain loop.

Each function runs in its own process, so that no thread pool and no memory is left while the
engine is timed.
"""

import functools
import hashlib
import importlib.metadata
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.inference.videos import Image, read_images
from pipeline_lib.core.errors import VideoError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.settings.network import TargetSettings, TrainingSettings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.models.card import ModelCard, TrainingRecord, format_card, read_card
from pipeline_lib.models.inference.openvino_runtime import import_openvino
from pipeline_lib.models.inference.preprocessing import FrameFit, fit_frames

MODEL = "pose"
BODYPARTS = ("snout", "leftear", "rightear", "tailbase")
LOOP_BATCH = 8
_FITTING_STEPS = 10

RuntimeName = Literal["onnx", "openvino"]
Forward = Callable[[NDArray[np.uint8]], Any]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Way:
    """Describe a way to run forward passes on all cores.

    Attributes
    ----------
    runtime
        Runtime of the network.
    batch
        Frames per forward pass.
    lanes
        Parallel passes, which share the cores.
    """

    runtime: RuntimeName
    batch: int
    lanes: int = 1


def call_apart(function: Callable[..., Result], *arguments: object) -> Result:
    """Call an importable function in its own process and return the result."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def write_model(files: ModelFiles, backbone: str, weights: str) -> None:
    """Publish an untrained network as training does; weights do not affect the speed.

    Parameters
    ----------
    files
        The model's folder.
    backbone, weights
        Settings of ``training``.
    """
    import torch  # noqa: PLC0415 - seconds

    from pipeline_lib.models.network.backbone import Backbone  # noqa: PLC0415
    from pipeline_lib.models.network.network import PoseNetwork  # noqa: PLC0415
    from pipeline_lib.models.training.export_onnx import export_onnx, save_weights  # noqa: PLC0415

    torch.manual_seed(0)
    targets, head = TargetSettings(), TrainingSettings().head_channels
    body = Backbone(backbone, weights, targets.stride)
    network = PoseNetwork(body, len(BODYPARTS), head_channels=head).train()
    # Batch-norm statistics of noise keep activations in the range of a trained network.
    with torch.no_grad():
        for _ in range(_FITTING_STEPS):
            network(torch.rand(4, 3, 64, 96))
    files.folder.mkdir(parents=True, exist_ok=True)
    save_weights(network.eval(), files.weights)
    export_onnx(network, targets.location_refinement_scale, files.network)
    card = ModelCard(
        name=MODEL,
        key=f"benchmark-{backbone}",
        backbone=backbone,
        head_channels=head,
        parameters=sum(values.numel() for values in network.parameters()),
        stride=targets.stride,
        scale=1.0,
        refinement_scale=targets.location_refinement_scale,
        skeleton=Skeleton(bodyparts=BODYPARTS),
        mean=body.mean,
        std=body.std,
        network_sha256=hashlib.sha256(files.network.read_bytes()).hexdigest(),
        training=TrainingRecord(
            epochs=0, steps=0, seconds=0, seed=0, frames={}, checkpoint="", settings={}
        ),
        versions={name: importlib.metadata.version(name) for name in ("torch", "timm", "onnx")},
    )
    files.card.write_text(format_card(card), encoding="utf-8")


def place_model(source: ModelFiles, target: ModelFiles, scale: float) -> None:
    """Copy a network into a results folder, for frames shrunk by `scale`."""
    target.folder.mkdir(parents=True, exist_ok=True)
    for there, here in ((source.network, target.network), (source.weights, target.weights)):
        here.unlink(missing_ok=True)
        here.symlink_to(there.absolute())
    card = read_card(source.card).model_copy(update={"scale": scale})
    target.card.write_text(format_card(card), encoding="utf-8")


def measure_ways(
    folder: Path, video: Path, ways: Sequence[Way], seconds: float, rounds: int
) -> dict[Way, list[float]]:
    """Measure the rate of forward passes on frames in memory; the ways take turns.

    Parameters
    ----------
    folder
        The model's folder.
    video
        Video whose first frames are decoded, shrunk and padded before the timing starts.
    ways
        Ways to compare.
    seconds
        Shortest duration of each way in a round, in s; at least one pass.
    rounds
        Number of rounds.

    Returns
    -------
    dict
        Frames per second in each round.
    """
    files = ModelFiles(folder)
    frames = stack_frames(read_images(video, max(way.batch for way in ways)), files)
    batches = {way: _cut_batch(frames, way.batch) for way in ways}
    # Sessions of one shape are shared: a session keeps the memory of its largest batch.
    lanes = {way: open_lanes(files.network, way, batches[way].shape) for way in ways}
    rates: dict[Way, list[float]] = {way: [] for way in ways}
    for way in ways:
        measure_rate(lanes[way], batches[way], 0)  # warm
    for _, way in itertools.product(range(rounds), ways):
        rates[way].append(measure_rate(lanes[way], batches[way], seconds))
    return rates


def stack_frames(images: Sequence[Image], files: ModelFiles) -> NDArray[np.uint8]:
    """Shrink and pad frames as the engine does; shape (frame, height, width, 3), uint8."""
    fit = FrameFit.of(*images[0].shape[:2], read_card(files.card).scale)
    return fit_frames(images, fit, len(images))


def open_lanes(network: Path, way: Way, shape: tuple[int, ...]) -> list[Forward]:
    """Load an exported network; return a forward pass for each lane; lanes share the cores.

    Parameters
    ----------
    network
        ONNX file.
    way
        Runtime and number of lanes.
    shape
        Shape of a batch, for which OpenVINO compiles the network.
    """
    if way.runtime == "onnx":
        forward = _open_onnx(network, max(1, count_cores() // way.lanes))
        return [forward] * way.lanes
    return _open_openvino(network, shape, way.lanes)


@functools.cache
def _open_onnx(network: Path, threads: int) -> Forward:
    import onnxruntime  # noqa: PLC0415 - only where it is measured

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(network), options, providers=["CPUExecutionProvider"]
    )
    return lambda batch: session.run(["score", "offset"], {"frames": batch})


def _open_openvino(network: Path, shape: tuple[int, ...], lanes: int) -> list[Forward]:
    core = import_openvino().Core()
    model = core.read_model(str(network))
    model.reshape(list(shape))
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": count_cores(),
        "NUM_STREAMS": lanes,
    }
    compiled = core.compile_model(model, "CPU", options)
    requests = [compiled.create_infer_request() for _ in range(lanes)]
    return [lambda batch, request=request: request.infer({0: batch}) for request in requests]


def measure_rate(lanes: Sequence[Forward], batch: NDArray[np.uint8], seconds: float) -> float:
    """Run forward passes for N seconds; return frames per second of all lanes together."""

    def run(forward: Forward) -> float:
        begin, frames = time.perf_counter(), 0
        while not frames or time.perf_counter() - begin < seconds:
            forward(batch)
            frames += len(batch)
        return frames / (time.perf_counter() - begin)

    with ThreadPoolExecutor(len(lanes)) as pool:
        return sum(pool.map(run, lanes))


def measure_processor_rate(
    lanes: Sequence[Forward], batch: NDArray[np.uint8], seconds: float
) -> float:
    """Run forward passes for N seconds; return frames per second of the processor."""

    def run(forward: Forward) -> int:
        begin, frames = time.perf_counter(), 0
        while not frames or time.perf_counter() - begin < seconds:
            forward(batch)
            frames += len(batch)
        return frames

    begin = time.process_time()
    with ThreadPoolExecutor(len(lanes)) as pool:
        frames = sum(pool.map(run, lanes))
    return frames / (time.process_time() - begin)


def measure_plain_loop(folder: Path, video: Path, seconds: float, most_frames: int) -> float:
    """Measure a plain loop: read a batch, run the network eagerly, take the highest cells.

    Loading and a first pass are not counted.

    Parameters
    ----------
    folder
        The model's folder.
    video
        Video that OpenCV reads from its first frame.
    seconds, most_frames
        Limits; the loop ends with the batch in which one is reached.

    Returns
    -------
    float
        Frames per second.
    """
    import torch  # noqa: PLC0415 - seconds

    files = ModelFiles(folder)
    network = _load_eager(files)
    torch.set_num_threads(count_cores())

    def locate(images: Sequence[Image]) -> NDArray[np.int64]:
        with torch.inference_mode():
            score, _ = network(torch.from_numpy(stack_frames(images, files)))
            cells: NDArray[np.int64] = score.flatten(2).argmax(-1).cpu().numpy()
            return cells

    locate(read_images(video, LOOP_BATCH))
    frames, begin = 0, time.perf_counter()
    for images in _read_batches(video):
        frames += len(locate(images))
        if time.perf_counter() - begin >= seconds or frames >= most_frames:
            break
    return frames / (time.perf_counter() - begin)


def _load_eager(files: ModelFiles) -> Any:  # noqa: ANN401 - torch is imported late
    import torch  # noqa: PLC0415 - seconds

    from pipeline_lib.models.network.backbone import Backbone  # noqa: PLC0415
    from pipeline_lib.models.network.network import DeployedNetwork, PoseNetwork  # noqa: PLC0415

    card = read_card(files.card)
    body = Backbone(card.backbone, "none", card.stride)
    network = PoseNetwork(body, len(card.skeleton.bodyparts), card.head_channels)
    network.load_state_dict(torch.load(files.weights, weights_only=True))
    return DeployedNetwork(network, card.refinement_scale).eval()


def _read_batches(video: Path) -> Iterator[list[Image]]:
    """Yield batches of RGB frames from `cv2.VideoCapture`, repeating the video."""
    while True:
        capture = cv2.VideoCapture(str(video))
        if not capture.isOpened():
            raise VideoError(f"{video}: OpenCV cannot open it")
        images: list[Image] = []
        while (read := capture.read())[0]:
            images.append(np.asarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)))
            if len(images) == LOOP_BATCH:
                yield images
                images = []
        capture.release()
        if images:
            yield images


def _cut_batch(frames: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return N frames; a shorter video starts again."""
    return frames[np.arange(size) % len(frames)]
