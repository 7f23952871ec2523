"""Measure what a precision gains: a worker's whole work on a video, against the network alone.

The reference is ONNX Runtime alone in float32, in the way that was the fastest: frames in memory,
decoded and shrunk. A worker decodes the video, shrinks its frames, runs the network and finds the
peaks; neither its start nor the writing of poses counts. Seconds of the processor count, not those
of the clock, and all take turns in one process, so that other work on the machine changes little.
Weights do not affect the speed: the networks are untrained, and those in 8-bit integers are
calibrated on frames of the video. Errors are another matter: `cohortpose choose-precision` measures
them on a project with labels.
"""

import itertools
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.inference.figures import Bench, Figure, Row
from benchmarks.inference.networks import (
    Forward,
    Way,
    call_apart,
    count_cores,
    measure_processor_rate,
    open_lanes,
    place_model,
    stack_frames,
)
from benchmarks.inference.throughput import BATCHES, describe_size
from benchmarks.inference.videos import Image, read_images
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.io.publish import publish_file
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.models.inference.predictor import Predictor, RuntimeOptions, load_predictor
from pipeline_lib.models.inference.tuning.quantisation import quantise

VARIANTS = (
    RuntimeOptions("onnx", "float32", threads=1),
    RuntimeOptions("openvino", "float32", threads=1),
    RuntimeOptions("openvino", "bfloat16", threads=1),
    RuntimeOptions("onnx", "int8", threads=1),
    RuntimeOptions("openvino", "int8", threads=1),
)
_CALIBRATION_FRAMES = 32
_GROUP = 8

PRECISION_COLUMNS = (
    "network",
    "size",
    "precision",
    "runtime",
    "frames",
    "worker",
    "alone",
    "worker_of_alone",
)
Rates = dict[RuntimeOptions, list[float]]


def measure_precision(bench: Bench) -> list[Figure]:
    """Measure a worker with every precision against ONNX Runtime alone in float32."""
    given, rows, figures = bench.given, list[Row](), list[Figure]()
    for network, scale in itertools.product(given.networks, given.scales):
        files = ModelFiles(bench.folder / "precision" / f"{network}-{scale:g}")
        place_model(bench.network(network), files, scale)
        size = describe_size(bench.source, scale)
        print(f"{network} {size}", flush=True)
        rates, alone = call_apart(
            measure_worker, files.folder, bench.source, given.frames, given.rounds
        )
        gains = list[float]()
        for options, found in rates.items():
            # Ratios are taken within a round.
            ratio = statistics.median(a / b for a, b in zip(found, alone, strict=True))
            gains.append(ratio)
            rows.append(
                {
                    "network": network,
                    "size": size,
                    "precision": options.precision,
                    "runtime": options.runtime,
                    "frames": given.frames,
                    "worker": statistics.median(found),
                    "alone": statistics.median(alone),
                    "worker_of_alone": ratio,
                }
            )
        target = given.target if scale == 1.0 else given.small_target
        figures.append(Figure(f"{network} {size}, fastest precision", max(gains), target))
        bench.report("precision", PRECISION_COLUMNS, rows)
    return figures


def measure_worker(
    folder: Path, video: Path, frames: int, rounds: int
) -> tuple[Rates, list[float]]:
    """Measure frames per processor second of each variant, and of ONNX Runtime alone.

    Parameters
    ----------
    folder
        The model's folder; it receives the network in 8-bit integers.
    video
        The video.
    frames
        Number of its frames in each turn.
    rounds
        Number of turns of each.
    """
    files = ModelFiles(folder)
    block = stack_frames(read_images(video, 10 * _CALIBRATION_FRAMES)[::10], files)
    with publish_file(files.quantised) as part:
        quantise(files.network, list(block), part)
    predictors = {options: load_predictor(files, options) for options in VARIANTS}
    # One lane of as many as there are cores, so that its session has one thread.
    lanes = {
        size: open_lanes(files.network, Way("onnx", size, count_cores()), ())[:1]
        for size in BATCHES
    }
    for predictor in predictors.values():
        predictor.predict(read_images(video, 1))
    rates: Rates = {options: [] for options in VARIANTS}
    alone = list[float]()
    for _ in range(rounds):
        alone.append(_measure_best(lanes, block))
        for options, predictor in predictors.items():
            rates[options].append(_time_worker(predictor, video, frames))
    return rates, alone


def _measure_best(lanes: dict[int, Sequence[Forward]], block: Image) -> float:
    """Return the rate of the batch size that is the fastest now."""
    return max(
        measure_processor_rate(forward, block[:size], 1.0) for size, forward in lanes.items()
    )


def _time_worker(predictor: Predictor, video: Path, frames: int) -> float:
    """Return frames per processor second of decoding and predicting a video."""
    reader = VideoReader(video)
    begin = time.process_time()
    images = (image for _, image in reader.read(0, frames) if image is not None)
    done = 0
    while group := list(itertools.islice(images, _GROUP)):
        predictor.predict(group)
        done += len(group)
    return done / (time.process_time() - begin)
