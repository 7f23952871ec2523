"""Measure training beside busy processes: time of a step against that on the machine as it is.

    python benchmarks/training/busy_machine.py DIR [--busy 0 2 4] [--rounds 3] [--cores 2]

A small demo cohort is written to DIR. In each round the trainings below take turns, with each
number of busy processes; the shortest time of all rounds counts. They differ in how threads wait:

- ``spinning``: OpenMP's default, 300,000 turns of an empty loop;
- ``cohortpose``: the setting of the command line.

With N busy processes on C cores, N + C threads compete, so that a training of C threads should
take (N + C) / C times as long. Other users' processes on the machine add to N.
"""

import argparse
import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import yaml

COMMAND = str(Path(sys.executable).parent / "cohortpose")
WAYS = {"spinning": {"GOMP_SPINCOUNT": "300000"}, "cohortpose": {}}
# Epochs that are measured, after the first.
EPOCHS = 2
FRAMES, BATCH = 12, 4
STEPS = FRAMES // BATCH

_LINE = re.compile(r"^(\S+ \S+) DEBUG epoch (\d+) of")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    given = parser.parse_args()
    config = prepare(given.folder)
    least: dict[tuple[str, int], float] = {}
    for number in range(given.rounds):
        for busy in given.busy:
            for way in given.ways:
                with keep_busy(busy):
                    seconds = measure(config, way, given.cores)
                least[way, busy] = min(seconds, least.get((way, busy), seconds))
                print(f"round {number + 1}: {busy} busy, {way}: {seconds:.3f} s", flush=True)
    print(f"\n{given.cores} threads, seconds per step (times that of no busy process)")
    print("busy  share  " + "".join(f"{way:>20}" for way in given.ways))
    for busy in given.busy:
        share = (busy + given.cores) / given.cores
        cells = [
            f"{least[way, busy]:12.3f} ({least[way, busy] / least[way, given.busy[0]]:4.1f})"
            for way in given.ways
        ]
        print(f"{busy:4d}  {share:5.1f}  " + "".join(f"{cell:>20}" for cell in cells))


def prepare(folder: Path) -> Path:
    """Write a demo cohort and its targets; return the config."""
    config = folder / "config.yaml"
    if not config.exists():
        frames = ["--videos", "2", "--frames", "40", "--labelled-frames", str(FRAMES)]
        subprocess.run([COMMAND, "demo", folder, *frames], check=True)
    values = yaml.safe_load(config.read_text())
    values["training"] |= {
        "batch_size": BATCH,
        "epochs": 1000,
        "validate_every": 1000,
        "split": {"test_fraction": 0.0},
    }
    config.write_text(yaml.safe_dump(values))
    for verb in ("import-labels", "make-targets"):
        subprocess.run([COMMAND, verb, "--config", config.name], cwd=folder, check=True)
    return config


@contextmanager
def keep_busy(number: int) -> Iterator[None]:
    """Run N processes that do nothing but compute."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def measure(config: Path, way: str, cores: int) -> float:
    """Return the seconds of a step in the fastest epoch of a training."""
    shutil.rmtree(config.parent / "results" / "models", ignore_errors=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores), **WAYS[way]}
    process = subprocess.Popen(
        [COMMAND, "--verbose", "train", "--config", config.name],
        cwd=config.parent,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    ends: list[datetime] = []
    said: list[str] = []
    try:
        for line in process.stderr or ():
            said.append(line)
            found = _LINE.match(line)
            if found:
                ends.append(datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f"))  # noqa: DTZ007
            if len(ends) > EPOCHS:
                break
    finally:
        process.kill()
        process.wait()
    if len(ends) <= EPOCHS:
        raise SystemExit("".join(said))
    spans = [(b - a).total_seconds() for a, b in itertools.pairwise(ends)]
    return min(spans) / STEPS


if __name__ == "__main__":
    main()
