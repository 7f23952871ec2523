"""Measure how close `cohortpose infer` comes to the limit of the machine, and its overheads.

Every ratio compares runs that took turns (A B A B ...) on one machine; medians are given. The exit
status is 1 if a target is missed.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from benchmarks.inference.figures import FIGURE_COLUMNS, LITE, NETWORKS, RESNET, Bench, Figure
from benchmarks.inference.overheads import measure_many, measure_memory
from benchmarks.inference.precision import measure_precision
from benchmarks.inference.throughput import RUNTIMES, measure_throughput
from benchmarks.projects import PROJECTS, exit_with, locate_project
from pipeline_lib.core.errors import CohortposeError

MEASURES: Mapping[str, Callable[[Bench], list[Figure]]] = {
    "throughput": measure_throughput,
    "precision": measure_precision,
    "memory": measure_memory,
    "many": measure_many,
}


def measure_all(bench: Bench) -> list[Figure]:
    """Measure everything with the defaults of each part."""
    figures = []
    for name, measure in MEASURES.items():
        own = parse_arguments([name, str(bench.folder)])
        own.settings = bench.given.settings
        figures += measure(Bench(bench.folder, bench.source, own))
    return figures


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("folder", metavar="DIR", type=Path, help="receives the runs and tables")
    common.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        type=parse_setting,
        action="append",
        default=[],
        help="a setting of the config's `inference`, such as workers=1",
    )
    _add_throughput(commands.add_parser("throughput", parents=[common], help="frames per second"))
    _add_precision(
        commands.add_parser("precision", parents=[common], help="what a precision gains")
    )
    _add_memory(commands.add_parser("memory", parents=[common], help="peak memory of a worker"))
    _add_many(commands.add_parser("many", parents=[common], help="many short videos; restart"))
    commands.add_parser("all", parents=[common], help="all of them, in half an hour on two cores")
    given = parser.parse_args(arguments)
    given.settings = dict(given.settings)
    return given


def parse_setting(text: str) -> tuple[str, object]:
    """Return key and value of ``KEY=VALUE``; the value is YAML."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"{text!r}: expected KEY=VALUE")
    return key, yaml.safe_load(value)


def _add_throughput(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[RESNET, LITE])
    parser.add_argument("--scales", nargs="+", type=float, default=[1.0, 0.5])
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument("--videos", type=int, default=8, help="copies of the video")
    parser.add_argument("--frames", type=int, help="of each copy, instead of --seconds")
    parser.add_argument("--seconds", type=float, default=15.0, help="of one run, about")
    parser.add_argument("--ceiling-seconds", type=float, default=4.0, help="of the network alone")
    parser.add_argument("--rounds", type=int, default=3)


def _add_precision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[LITE, RESNET])
    parser.add_argument("--scales", nargs="+", type=float, default=[1.0, 0.5])
    parser.add_argument("--frames", type=int, default=120, help="of the video, in each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--target", type=float, default=2.0, help="at full size")
    parser.add_argument("--small-target", type=float, default=1.5, help="at other sizes")


def _add_memory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--short", type=int, default=1000, help="frames of the short video")
    parser.add_argument("--long", type=int, default=200_000, help="frames of the long one")
    parser.add_argument("--whole", type=int, default=300, help="frames of real size")
    parser.add_argument("--rounds", type=int, default=1)


def _add_many(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--many", type=int, default=500, help="number of short videos")
    parser.add_argument("--short", type=int, default=60, help="frames of each")
    parser.add_argument("--size", type=int, nargs=2, default=[160, 128], help="width and height")
    parser.add_argument("--rounds", type=int, default=1)


def main() -> None:
    """Run the chosen measurements; fail if a target is missed."""
    given = parse_arguments()
    try:
        project = PROJECTS["openfield"]
        source = locate_project(project) / project.video[1]
        bench = Bench(given.folder.absolute(), source, given)
        figures = {**MEASURES, "all": measure_all}[given.command](bench)
    except CohortposeError as error:
        raise exit_with(error) from None
    bench.report(
        f"{given.command}-figures", FIGURE_COLUMNS, [figure.describe() for figure in figures]
    )
    missed = [figure.name for figure in figures if not figure.reached]
    if missed:
        raise SystemExit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
