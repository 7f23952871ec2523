"""Measure how the workflow scales to ten thousand videos and more, without decoding any.

The exit status is 1 if a target is missed.
"""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from benchmarks.inference.figures import FIGURE_COLUMNS, NETWORKS, Bench, Figure
from benchmarks.projects import exit_with
from benchmarks.scale.measures import measure_cohort, measure_growth
from benchmarks.scale.overhead import Shard, measure_overhead
from benchmarks.scale.simulation import SIMULATION_COLUMNS, Workload, tabulate_simulation
from pipeline_lib.core.errors import CohortposeError

GPUS = (1, 2, 4, 8, 16, 32, 64)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("folder", metavar="DIR", type=Path, help="receives cohorts and tables")

    cohort = commands.add_parser("cohort", parents=[common], help="plan, dry run, full run, rerun")
    cohort.add_argument("--videos", type=int, default=10_000, help="100000: plan and dry run only")
    cohort.add_argument("--look", action="store_true", help="also with all ends forgotten")
    growth = commands.add_parser("growth", parents=[common], help="jobs that new videos cause")
    growth.add_argument("--videos", type=int, default=640)
    growth.add_argument("--more", type=int, default=50)
    overhead = commands.add_parser("overhead", parents=[common], help="of Snakemake and Dask")
    overhead.add_argument("--videos", type=int, default=Shard.videos)
    overhead.add_argument("--frames", type=int, default=Shard.frames, help="of each video")
    overhead.add_argument("--backbone", choices=NETWORKS, default=Shard.backbone)
    simulate = commands.add_parser("simulate", parents=[common], help="the schedule on many GPUs")
    simulate.add_argument("--gpus", type=int, nargs="+", default=list(GPUS))
    simulate.add_argument("--seed", type=int, default=0)
    for field in fields(Workload):
        option = f"--{field.name.replace('_', '-')}"
        simulate.add_argument(option, type=type(field.default), default=field.default)
    return parser.parse_args(arguments)


def main() -> None:
    """Run the chosen measurement or simulation; fail if a target is missed."""
    given = parse_arguments()
    given.folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(given.folder.absolute(), Path(), given)
    if given.command == "simulate":
        load = Workload(**{field.name: getattr(given, field.name) for field in fields(Workload)})
        bench.report(
            "simulate", SIMULATION_COLUMNS, tabulate_simulation(load, given.gpus, given.seed)
        )
        return
    try:
        figures = measure(bench.folder, given)
    except CohortposeError as error:
        raise exit_with(error) from None
    name = f"{given.command}-{given.videos}"
    bench.report(name, FIGURE_COLUMNS, [figure.describe() for figure in figures])
    missed = [figure.name for figure in figures if not figure.reached]
    if missed:
        raise SystemExit(f"missed: {'; '.join(missed)}")


def measure(folder: Path, given: argparse.Namespace) -> list[Figure]:
    """Return the figures of one command."""
    if given.command == "cohort":
        return measure_cohort(folder, given.videos, look=given.look)
    if given.command == "growth":
        return measure_growth(folder, given.videos, given.more)
    return measure_overhead(folder, Shard(given.videos, given.frames, given.backbone))


if __name__ == "__main__":
    main()
