"""Measure frames per second of the engine, of the network alone, and of a plain PyTorch loop."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.inference.figures import Bench, Figure, Row
from benchmarks.inference.networks import (
    MODEL,
    RuntimeName,
    Way,
    call_apart,
    count_cores,
    measure_plain_loop,
    measure_ways,
)
from benchmarks.inference.timed_runs import Run, prepare_run
from benchmarks.inference.videos import copy_video
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.io.video.reader import probe_video

RUNTIMES: tuple[RuntimeName, ...] = ("onnx", "openvino")
BATCHES = (1, 2, 4, 8, 16)
LANE_BATCHES = (1, 4)
SWEEP_ROUNDS = 2
SWEEP_SECONDS = 1.0
LOOP_FRAMES = 200

CEILING_COLUMNS = ("network", "size", "runtime", "lanes", "batch", "frames_per_second")
# Frames per second, then ratios of them. `engine` counts the start of the process, `running`
# does not.
THROUGHPUT_COLUMNS = (
    "network",
    "size",
    "runtime",
    "frames",
    "engine",
    "running",
    "ceiling",
    "best_ceiling",
    "own_ceiling",
    "loop",
    "engine_of_ceiling",
    "running_of_ceiling",
    "running_of_best",
    "running_of_own",
    "engine_of_loop",
)

Rates = Mapping[Way, float]


@dataclass(frozen=True)
class Turn:
    """Hold rates in frames per second of the engine, and of the network alone just before it.

    Attributes
    ----------
    engine
        Rate of the command from its start to its end.
    running
        Rate without starting and stopping, which a cohort of few frames measures.
    ceiling
        ONNX Runtime alone, all cores at work on one batch.
    best_ceiling
        ONNX Runtime alone, that or a batch for each core.
    own_ceiling
        The engine's runtime alone, either way.
    """

    engine: float
    running: float
    ceiling: float
    best_ceiling: float
    own_ceiling: float


@dataclass(frozen=True)
class Round:
    """Hold a turn, and the frames per second of the plain loop in the same round."""

    turn: Turn
    loop: float


@dataclass(frozen=True)
class Cohorts:
    """Hold two cohorts with the same number of videos, one of few frames and one of many."""

    brief: Run
    whole: Run

    @property
    def model(self) -> ModelFiles:
        """Return the network of both cohorts."""
        return self.whole.results.model(MODEL)

    def measure(self, runtime: str) -> tuple[float, float]:
        """Return the engine's frames per second, with and without starting and stopping."""
        start, end = self.brief.infer(runtime=runtime), self.whole.infer(runtime=runtime)
        few, many = self.brief.count_frames(), self.whole.count_frames()
        return many / end, compute_running_rate(few, start, many, end)


@dataclass(frozen=True)
class Subject:
    """Describe a network and the size of its frames.

    Attributes
    ----------
    bench
        Folder and arguments of the benchmark.
    network
        Backbone of the network.
    scale
        Factor by which frames of the open field are shrunk for the network.
    """

    bench: Bench
    network: str
    scale: float

    @property
    def size(self) -> str:
        """Return width and height of the shrunk frames in px."""
        return describe_size(self.bench.source, self.scale)

    def prepare(self, name: str, frames: int) -> Run:
        """Cut a cohort of copies of the open field's video and probe it."""
        given, folder = self.bench.given, self.bench.folder / "throughput"
        paths = copy_video(self.bench.source, folder / f"videos-{frames}", given.videos, frames)
        return prepare_run(
            folder / f"{self.network}-{self.scale:g}" / name,
            paths,
            self.bench.network(self.network),
            scale=self.scale,
            settings=given.settings,
        )


def describe_size(video: Path, scale: float) -> str:
    """Return width and height in px of the frames of a video, shrunk."""
    facts = probe_video(video)
    return f"{round(facts.width * scale)} x {round(facts.height * scale)}"


def measure_throughput(bench: Bench) -> list[Figure]:
    """Measure the engine against the network alone and against a plain PyTorch loop."""
    ceilings: list[Row] = []
    rows: list[Row] = []
    figures: list[Figure] = []
    for network in bench.given.networks:
        for scale in bench.given.scales:
            subject = Subject(bench, network, scale)
            common: Row = {"network": network, "size": subject.size}
            rates, frames, rounds = _measure(subject)
            ceilings += [common | _describe_way(way, rate) for way, rate in rates.items()]
            for runtime, turns in rounds.items():
                row = summarise_rounds(turns)
                rows.append(common | {"runtime": runtime, "frames": frames} | row)
                name = f"{network} {subject.size} {runtime}"
                figures += [
                    Figure(f"{name}, running, of the ceiling", row["running_of_ceiling"], 0.9),
                    Figure(f"{name}, times the plain loop", row["engine_of_loop"], 3.0),
                ]
    bench.report("ceilings", CEILING_COLUMNS, ceilings)
    bench.report("throughput", THROUGHPUT_COLUMNS, rows, upright=True)
    return figures


def _measure(subject: Subject) -> tuple[Rates, int, dict[str, list[Round]]]:
    """Return the rates of the network alone, the cohort's frames, and rounds by runtime."""
    bench, given = subject.bench, subject.bench.given
    # The same number of videos with the fewest frames measures the cost of starting.
    brief = subject.prepare("brief", 1)
    model = brief.results.model(MODEL)
    print(f"{subject.network} {subject.size}: the network alone")
    ways = list_ways(given.runtimes, count_cores())
    found = call_apart(measure_ways, model.folder, bench.source, ways, SWEEP_SECONDS, SWEEP_ROUNDS)
    rates = {way: statistics.median(values) for way, values in found.items()}
    wanted = given.frames or math.ceil(given.seconds * max(rates.values()) / given.videos)
    whole = subject.prepare("whole", min(wanted, probe_video(bench.source).frames))
    cohorts = Cohorts(brief, whole)
    rounds: dict[str, list[Round]] = {runtime: [] for runtime in given.runtimes}
    for number in range(given.rounds):
        print(f"{subject.network} {subject.size}: round {number + 1} of {given.rounds}")
        loop = call_apart(
            measure_plain_loop, model.folder, bench.source, given.ceiling_seconds, LOOP_FRAMES
        )
        for runtime, taken in rounds.items():
            turn = _take_turn(bench, runtime, cohorts, choose_best(rates))
            taken.append(Round(turn, loop))
    return rates, whole.count_frames(), rounds


def _take_turn(bench: Bench, runtime: str, cohorts: Cohorts, best: Sequence[Way]) -> Turn:
    """Measure the network alone, and the engine immediately after it."""
    found = call_apart(
        measure_ways,
        cohorts.model.folder,
        bench.source,
        [way for way in best if way.runtime in ("onnx", runtime)],
        bench.given.ceiling_seconds,
        1,
    )
    rates = {way: values[0] for way, values in found.items()}
    onnx = {way.lanes: rate for way, rate in rates.items() if way.runtime == "onnx"}
    engine, running = cohorts.measure(runtime)
    return Turn(
        engine=engine,
        running=running,
        ceiling=onnx[1],
        best_ceiling=max(onnx.values()),
        own_ceiling=max(rate for way, rate in rates.items() if way.runtime == runtime),
    )


def list_ways(runtimes: Sequence[RuntimeName], cores: int) -> list[Way]:
    """Return the ways to run the network alone: ONNX Runtime's, and those of other runtimes."""
    ways = []
    for runtime in dict.fromkeys((RUNTIMES[0], *runtimes)):
        ways += [Way(runtime, batch) for batch in BATCHES]
        if cores > 1:
            ways += [Way(runtime, batch, cores) for batch in LANE_BATCHES]
    return ways


def choose_best(rates: Rates) -> list[Way]:
    """Return the batch size that is fastest, for each runtime and number of lanes."""
    best: dict[tuple[str, int], Way] = {}
    for way in sorted(rates, key=lambda way: rates[way]):
        best[way.runtime, way.lanes] = way
    return list(best.values())


def compute_running_rate(few: int, start: float, many: int, end: float) -> float:
    """Return the frames per second of the additional frames of a longer cohort.

    Parameters
    ----------
    few, start
        Frames of the short cohort, and its duration in s.
    many, end
        Frames and duration of the long cohort.

    Returns
    -------
    float
        NaN if the long cohort took no longer, which needs more frames.
    """
    return (many - few) / (end - start) if end > start else math.nan


def summarise_rounds(rounds: Sequence[Round]) -> dict[str, float]:
    """Return medians over rounds, by column; each ratio is taken within its round."""
    values: dict[str, Callable[[Round], float]] = {
        "engine": lambda one: one.turn.engine,
        "running": lambda one: one.turn.running,
        "ceiling": lambda one: one.turn.ceiling,
        "best_ceiling": lambda one: one.turn.best_ceiling,
        "own_ceiling": lambda one: one.turn.own_ceiling,
        "loop": lambda one: one.loop,
        "engine_of_ceiling": lambda one: one.turn.engine / one.turn.ceiling,
        "running_of_ceiling": lambda one: one.turn.running / one.turn.ceiling,
        "running_of_best": lambda one: one.turn.running / one.turn.best_ceiling,
        "running_of_own": lambda one: one.turn.running / one.turn.own_ceiling,
        "engine_of_loop": lambda one: one.turn.engine / one.loop,
    }
    return {name: statistics.median(map(value, rounds)) for name, value in values.items()}


def _describe_way(way: Way, rate: float) -> Row:
    return {
        "runtime": way.runtime,
        "lanes": way.lanes,
        "batch": way.batch,
        "frames_per_second": rate,
    }
