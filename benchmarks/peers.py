"""Compare with other tools in one run, each in its own environment, on the same videos.

    python benchmarks/peers.py DIR [--rounds 3] [--minutes 14] [--config config.yaml]

Each peer makes a network with random weights, and ours imports that very network; so both compute
the same. A peer, ours in each precision, and for our own ResNet-50 a plain loop run one after the
other, round by round, on one long video and on many short ones. `runs.tsv` has a row for each run:
a rerun does only the missing ones. A peer that is not there, or fails, has a row that says so.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.inference.figures import Bench, Row
from benchmarks.inference.networks import call_apart
from benchmarks.inference.videos import copy_video, read_images, write_small_video
from benchmarks.peer_programs.contestants import (
    INT8,
    OWN,
    PEERS,
    Contestant,
    Work,
    convert_to_int8,
    prepare_network,
    read_count,
)
from benchmarks.projects import PROJECTS, exit_with, locate_project
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.settings.outputs.costs import CostSettings
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.io.video.reader import probe_video
from pipeline_lib.steps.costs.run import Used as Spent
from pipeline_lib.steps.costs.run import price

RUN_COLUMNS = ("round", "work", "network", "tool", "videos", "frames")
RUN_COLUMNS += ("seconds", "cpu_seconds", "peak_bytes", "problem")
SUMMARY_COLUMNS = ("network", "tool", "work", "runs", "frames_per_second", "cpu_per_1000_frames")
SUMMARY_COLUMNS += ("peak_mb", "cost_per_1000_h", "times_peer", "cpu_times_peer", "problem")
NOT_THERE = "not there"
_FPS = 30
_MEGA = 1e6


@dataclass(frozen=True)
class Plan:
    """Hold who runs, and on what.

    Attributes
    ----------
    contestants
        Those that can run, in the order of their turns.
    absent
        Rows for those that cannot.
    works
        The videos.
    """

    contestants: Sequence[Contestant]
    absent: Sequence[Row]
    works: Sequence[Work]


def prepare(bench: Bench) -> Plan:
    """Cut the videos and make the networks; what exists is kept."""
    given = bench.given
    works = cut_videos(bench)
    contestants, absent = list[Contestant](), list[Row]()
    for network in given.networks:
        folder = bench.folder / network
        peer = PEERS.get(network)
        problem = "" if peer is None or peer.python.exists() else NOT_THERE
        if not problem:
            try:
                prepare_network(folder, network, given.size)
            except CohortposeError as error:
                problem = str(error)
        if problem:
            absent.append({"network": network, "tool": network, "problem": problem})
            continue
        if INT8 in given.precisions:
            call_apart(convert_to_int8, folder, works[0].videos[0])
        contestants.append(Contestant(folder, network, "loop" if peer is None else "peer"))
        contestants += [Contestant(folder, network, "ours", one) for one in given.precisions]
    return Plan(contestants, absent, works)


def cut_videos(bench: Bench) -> list[Work]:
    """Return one long video and many short ones, each with bytes of its own."""
    given = bench.given
    width, height = given.size
    wanted = {"long": (1, given.frames), "short": (given.videos, given.short_frames)}
    works = []
    for name in given.works:
        count, frames = wanted[name]
        folder = bench.folder / f"videos-{width}x{height}"
        source = folder / f"{frames}.mp4"
        if not source.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_small_video(bench.source, source, frames, (width, height))
        videos = folder / f"{frames}-{count}"
        paths = sorted(videos.glob("*.mp4"))
        if len(paths) != count:
            paths = copy_video(source, videos, count)
        each = probe_video(paths[0]).frames
        works.append(Work(name, [path.absolute() for path in paths], count * each))
    return works


def run_rounds(bench: Bench, plan: Plan) -> list[Row]:
    """Run what is missing, in turn; return all rows, the finished ones included."""
    path, given = bench.folder / "runs.tsv", bench.given
    # What failed is tried again.
    rows: list[Row] = [
        row for row in (read_table(path, RUN_COLUMNS) if path.exists() else ()) if row["seconds"]
    ]
    done = {(row["round"], row["work"], row["network"], row["tool"]) for row in rows}
    begin = time.monotonic()
    for number in range(given.rounds):
        for work in plan.works:
            for one in plan.contestants:
                key = (str(number), work.name, one.network, one.name)
                if key in done:
                    continue
                if time.monotonic() - begin > 60 * given.minutes:
                    print("the time is up: run again for the rest")
                    return rows
                print(f"round {number + 1}: {work.name}, {one.network}, {one.name}", flush=True)
                rows.append(
                    dict(zip(RUN_COLUMNS[:4], key, strict=True)) | measure(one, work, given.timeout)
                )
                write_table(path, RUN_COLUMNS, rows)
    return rows


def measure(one: Contestant, work: Work, timeout: float) -> Row:
    """Return the figures of one run, or its problem."""
    facts: Row = {"videos": len(work.videos), "frames": work.frames}
    try:
        used = one.run(work, timeout)
    except CohortposeError as error:
        return facts | {"problem": " ".join(str(error).split())}
    return facts | {
        "seconds": f"{used.seconds:.2f}",
        "cpu_seconds": f"{used.cpu_seconds:.2f}",
        "peak_bytes": used.peak_bytes,
    }


def summarise(plan: Plan, rows: Sequence[Row], prices: CostSettings) -> list[Row]:
    """Return medians over rounds for each tool and work; ratios are taken within a round."""
    found: list[Row] = []
    for work in plan.works:
        for one in plan.contestants:
            mine = select(rows, work.name, one.network, one.name)
            first = next(other for other in plan.contestants if other.network == one.network)
            theirs = select(rows, work.name, one.network, first.name)
            row: Row = {"network": one.network, "tool": one.name, "work": work.name}
            row["runs"] = len(mine)
            found.append(row)
            if not mine:
                row["problem"] = find_problem(rows, work.name, one)
                continue
            frames = statistics.median(rate(r, "frames", "seconds") for r in mine.values())
            work_each = statistics.median(rate(r, "cpu_seconds", "frames") for r in mine.values())
            peak = statistics.median(float(str(r["peak_bytes"])) for r in mine.values())
            row |= {
                "frames_per_second": frames,
                "cpu_per_1000_frames": 1000 * work_each,
                "peak_mb": peak / _MEGA,
                "cost_per_1000_h": price_videos(work_each, prices),
                "times_peer": compare(theirs, mine, "seconds"),
                "cpu_times_peer": compare(theirs, mine, "cpu_seconds"),
            }
    return [*found, *plan.absent]


def select(rows: Sequence[Row], work: str, network: str, tool: str) -> dict[str, Row]:
    """Return the finished runs of a tool by round."""
    wanted = (work, network, tool)
    return {
        str(row["round"]): row
        for row in rows
        if (row["work"], row["network"], row["tool"]) == wanted and row.get("seconds")
    }


def find_problem(rows: Sequence[Row], work: str, one: Contestant) -> str:
    """Return why a tool has no finished run."""
    wanted = (work, one.network, one.name)
    problems = [
        str(row["problem"])
        for row in rows
        if (row["work"], row["network"], row["tool"]) == wanted and row.get("problem")
    ]
    return problems[-1] if problems else "not run yet"


def rate(row: Row, part: str, whole: str) -> float:
    """Return the ratio of two columns."""
    return float(str(row[part])) / float(str(row[whole]))


def compare(theirs: dict[str, Row], mine: dict[str, Row], column: str) -> float:
    """Return how many times as much the other used, as the median over common rounds; or NaN."""
    both = sorted(theirs.keys() & mine.keys())
    ratios = [float(str(theirs[n][column])) / float(str(mine[n][column])) for n in both]
    return statistics.median(ratios) if ratios else float("nan")


def price_videos(seconds: float, prices: CostSettings) -> str | float:
    """Return the price of the processor time of 1,000 hours of video of 30 frames/s.

    Parameters
    ----------
    seconds
        Processor time of a frame, s.
    prices
        The price list; without a price of processor time, nothing is returned.
    """
    hours = seconds * _FPS * 1000
    paid = price(Spent(cpu_hours=hours), CostSettings(cpu_hour=prices.cpu_hour))
    return "" if paid is None else paid


def compare_poses(plan: Plan) -> list[Row]:
    """Return how far ours in float32 are from the peer's own poses, px, on the last long video."""
    rows: list[Row] = []
    for work in plan.works:
        for one in plan.contestants:
            if one.tool != "ours":
                continue
            first = next(other for other in plan.contestants if other.network == one.network)
            try:
                ours, theirs = one.read_poses(work), first.read_poses(work)
            except (CohortposeError, OSError):
                continue
            apart = np.linalg.norm(ours - theirs, axis=-1)
            rows.append(
                {
                    "network": one.network,
                    "tool": one.name,
                    "work": work.name,
                    "frames": read_count(work),
                    "median_px": float(np.nanmedian(apart)),
                    "largest_px": float(np.nanmax(apart)),
                }
            )
    return rows


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path)
    networks = (*PEERS, OWN)
    parser.add_argument("--networks", nargs="+", choices=networks, default=list(networks))
    parser.add_argument("--works", nargs="+", choices=("long", "short"), default=["long", "short"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=200, help="of the long video")
    parser.add_argument("--videos", type=int, default=100, help="number of short videos")
    parser.add_argument("--short-frames", type=int, default=5, help="of each")
    parser.add_argument("--size", nargs=2, type=int, default=(640, 480), metavar=("W", "H"))
    parser.add_argument("--minutes", type=float, default=1e9, help="after which no run starts")
    parser.add_argument("--timeout", type=float, default=1800.0, help="of one run, s")
    parser.add_argument("--config", type=Path, help="its `costs` are the price list")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure and print."""
    given = parse_arguments()
    given.size = tuple(given.size)
    try:
        source = locate_project(PROJECTS["openfield"]) / PROJECTS["openfield"].video[1]
        prices = CostSettings() if given.config is None else read_config(given.config).costs
        bench = Bench(given.folder.absolute(), source, given)
        read_images(source, 1)
        plan = prepare(bench)
        rows = run_rounds(bench, plan)
    except CohortposeError as error:
        raise exit_with(error) from None
    for one in plan.contestants:
        print(f"{one.network}, {one.name}: {one.given}")
    bench.report("peers", SUMMARY_COLUMNS, summarise(plan, rows, prices))
    columns = ("network", "tool", "work", "frames", "median_px", "largest_px")
    bench.report("poses", columns, compare_poses(plan))


if __name__ == "__main__":
    main()
