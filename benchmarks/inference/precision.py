"""Measure what a precision gains: processor seconds of `infer` against the network alone.

The reference of a round is ONNX Runtime alone in float32, in the way that was the fastest: frames
in memory, decoded and shrunk. Processor seconds of a whole process tree count, not the clock, so
that other work on the machine changes little. Weights do not affect the speed: the networks are
untrained, and those in 8-bit integers are calibrated on frames of the video. Errors are another
matter: `cohortpose choose-precision` measures them on a project with labels.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.inference.figures import Bench, Figure, Row
from benchmarks.inference.networks import (
    MODEL,
    Way,
    call_apart,
    count_cores,
    measure_processor_ways,
    stack_frames,
)
from benchmarks.inference.throughput import (
    SWEEP_ROUNDS,
    SWEEP_SECONDS,
    Cohorts,
    Subject,
    choose_best,
    compute_running_rate,
    list_ways,
)
from benchmarks.inference.videos import read_images
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.io.publish import publish_file, publish_text
from pipeline_lib.io.video.reader import probe_video
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference.quantisation import quantise
from pipeline_lib.models.precision import PrecisionRecord, format_precision

# What is measured: the setting `inference.precision`, and the runtime.
VARIANTS = (
    ("float32", "onnx"),
    ("float32", "openvino"),
    ("bfloat16", "openvino"),
    ("int8", "onnx"),
    ("int8", "openvino"),
)
_CALIBRATION_FRAMES = 32

PRECISION_COLUMNS = (
    "network",
    "size",
    "precision",
    "runtime",
    "frames",
    "engine",
    "running",
    "alone",
    "engine_of_alone",
    "running_of_alone",
)


@dataclass(frozen=True)
class PrecisionTurn:
    """Hold frames per processor second: of the engine, of it without its start, and alone."""

    engine: float
    running: float
    alone: float


def measure_precision(bench: Bench) -> list[Figure]:
    """Measure the engine with every precision against ONNX Runtime alone in float32."""
    rows: list[Row] = []
    figures: list[Figure] = []
    for network in bench.given.networks:
        for scale in bench.given.scales:
            subject = Subject(bench, network, scale)
            frames, turns = _measure(subject)
            for (precision, runtime), taken in turns.items():
                row = {"precision": precision, "runtime": runtime, **summarise_turns(taken)}
                rows.append({"network": network, "size": subject.size, "frames": frames, **row})
            best = max(row["running_of_alone"] for row in _of(rows, network, subject.size))
            target = bench.given.target if scale == 1.0 else bench.given.small_target
            figures.append(Figure(f"{network} {subject.size}, fastest precision", best, target))
    bench.report("precision", PRECISION_COLUMNS, rows)
    return figures


def _of(rows: Sequence[Row], network: str, size: str) -> list[dict[str, float]]:
    return [
        {"running_of_alone": float(str(row["running_of_alone"]))}
        for row in rows
        if (row["network"], row["size"]) == (network, size)
    ]


def _measure(
    subject: Subject,
) -> tuple[int, dict[tuple[str, str], list[PrecisionTurn]]]:
    """Return the number of frames of the cohort, and the turns of each variant."""
    bench, given = subject.bench, subject.bench.given
    brief = subject.prepare("brief", 1)
    files = brief.results.model(MODEL)
    ways = list_ways(("onnx",), count_cores())
    found = call_apart(
        measure_processor_ways, files.folder, bench.source, ways, SWEEP_SECONDS, SWEEP_ROUNDS
    )
    best = choose_best({way: statistics.median(values) for way, values in found.items()})
    whole = subject.prepare("whole", min(given.frames, probe_video(bench.source).frames))
    for run in (brief, whole):
        call_apart(write_quantised, run.results.model(MODEL).folder, bench.source)
    cohorts = Cohorts(brief, whole)
    turns: dict[tuple[str, str], list[PrecisionTurn]] = {one: [] for one in VARIANTS}
    for number in range(given.rounds):
        print(f"{subject.network} {subject.size}: round {number + 1} of {given.rounds}", flush=True)
        alone = _measure_alone(bench, files, best)
        for (precision, runtime), taken in turns.items():
            start = brief.infer_processor(runtime=runtime, precision=precision)
            end = whole.infer_processor(runtime=runtime, precision=precision)
            few, many = brief.count_frames(), cohorts.whole.count_frames()
            running = compute_running_rate(few, start, many, end)
            taken.append(PrecisionTurn(many / end, running, alone))
    return whole.count_frames(), turns


def _measure_alone(bench: Bench, files: ModelFiles, best: Sequence[Way]) -> float:
    """Return frames per processor second of ONNX Runtime, the better of its best ways."""
    found = call_apart(
        measure_processor_ways, files.folder, bench.source, best, bench.given.ceiling_seconds, 1
    )
    return max(values[0] for values in found.values())


def write_quantised(folder: Path, source: Path) -> None:
    """Publish a network in 8-bit integers beside one in float, and the record that names it."""
    files = ModelFiles(folder)
    frames = stack_frames(read_images(source, 10 * _CALIBRATION_FRAMES)[::10], files)
    with publish_file(files.quantised) as part:
        quantise(files.network, list(frames), part)
    record = PrecisionRecord(
        stated="int8",
        precision="int8",
        reason="int8: of a benchmark",
        networks={".": read_card(files.card).network_sha256},
        quantised={".": hash_path(files.quantised)},
    )
    publish_text(files.precision, format_precision(record))


def summarise_turns(turns: Sequence[PrecisionTurn]) -> dict[str, float]:
    """Return medians over rounds, by column; each ratio is taken within its round."""
    return {
        "engine": statistics.median(one.engine for one in turns),
        "running": statistics.median(one.running for one in turns),
        "alone": statistics.median(one.alone for one in turns),
        "engine_of_alone": statistics.median(one.engine / one.alone for one in turns),
        "running_of_alone": statistics.median(one.running / one.alone for one in turns),
    }
