"""Find the highest rate of a simulated camera that `cohortpose live` sustains, by bisection.

    python benchmarks/live/rates.py [--networks lite0 mobilenetv3] [--seconds 4] [--recording]

Camera, network and rule are those of `latency.py`. A rate is sustained if at most 1 % of the
captured frames are dropped. Each try takes some seconds; every try is printed, and the highest rate
that was sustained with the lowest that was not. Other work on the machine lowers both: a rate is
tried twice before it counts as not sustained.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.inference.networks import write_model
from benchmarks.live.latency import BACKBONES, INT8, Condition, measure, quantize, render
from pipeline_lib.core.layout import ModelFiles

MOST_DROPPED = 0.01
LOWEST, HIGHEST, CLOSE = 20.0, 180.0, 10.0


def prepare(folder: Path, network: str) -> ModelFiles:
    """Write an untrained network."""
    plain = ModelFiles(folder / network.partition(" ")[0])
    if not plain.card.is_file():
        write_model(plain, BACKBONES[network.partition(" ")[0]], "none")
    if network != INT8:
        return plain
    files = ModelFiles(folder / network.replace(" ", "-"))
    quantize(plain, files, render(16)[0])
    return files


def is_sustained(files: ModelFiles, rate: float, arguments: argparse.Namespace) -> bool:
    """Tell whether a rate is sustained, in one of two tries."""
    condition = Condition(recording=arguments.recording, busy=False, passes=0)
    for _ in range(2):
        found: dict[str, Any] = measure(
            files, arguments.cropping, rate, arguments.seconds, condition
        )
        share = found["dropped"] / found["captured"]
        told = f"{100 * share:.1f} % dropped, p50 {found['p50']:.2f} ms, p99 {found['p99']:.2f} ms"
        print(f"  {rate:.0f} frames/s: {told}", flush=True)
        if share <= MOST_DROPPED:
            return True
    return False


def main() -> None:
    """Find the rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["lite0", INT8])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--cropping", type=int, default=256)
    parser.add_argument("--recording", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for network in arguments.networks:
            files = prepare(Path(folder), network)
            low, high = LOWEST, HIGHEST
            while high - low > CLOSE:
                rate = (low + high) / 2
                if is_sustained(files, rate, arguments):
                    low = rate
                else:
                    high = rate
            print(f"{network}: {low:.0f} frames/s are sustained, {high:.0f} are not", flush=True)


if __name__ == "__main__":
    main()
