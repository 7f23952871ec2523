"""Run a simulated camera for long, to see whether memory and latency stay as they are.

    python benchmarks/live/soak.py [--minutes 60] [--rate 50]

The camera, the light and the network are those of `latency.py`; poses and video are recorded.
Printed are the memory of the process and the latency in each tenth of the time, and the frames that
the camera gave beside those that were captured, predicted and dropped, and those in the recording.
"""

import argparse
import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inference.networks import write_model
from benchmarks.live.latency import (
    BACKBONES,
    REGION,
    SIZE,
    Led,
    SimulatedCamera,
    SteeredPredictor,
    render,
)
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.settings.outputs.live import LiveSettings
from pipeline_lib.live.latency import LatencyCounter
from pipeline_lib.live.run import CameraRun, LiveRequest, run_live

PARTS = 10


def read_memory() -> float:
    """Return the resident memory of this process in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=50.0)
    arguments = parser.parse_args()
    frames, truth = render()
    led = Led()
    camera = SimulatedCamera(frames, truth[:, 0, 0] > REGION[0][0], arguments.rate, led)
    known = {id(image): one for image, one in zip(camera.all, [*truth, *truth], strict=True)}
    settings = LiveSettings.model_validate(
        {
            "cameras": [{"name": "top", "source": "camera:0"}],
            "seconds": 60 * arguments.minutes,
            "prediction": {"cropping": 256},
            "recording": {"minutes": arguments.minutes / 2},
        }
    )

    def sample(run: CameraRun, end: threading.Event) -> None:
        run.capture.ready.wait()
        for part in range(PARTS):
            run.loop.counts.latency = LatencyCounter()
            if end.wait(60 * arguments.minutes / PARTS):
                break
            p50, p99 = (1000 * run.loop.counts.latency.quantile(share) for share in (0.5, 0.99))
            told = f"{read_memory():.1f} MiB, p50 {p50:.2f} ms, p99 {p99:.2f} ms"
            print(f"{part + 1}/{PARTS}: {told}", flush=True)

    @contextlib.contextmanager
    def watch(runs: list[CameraRun]) -> Iterator[None]:
        end = threading.Event()
        thread = threading.Thread(target=sample, args=(runs[0], end), daemon=True)
        thread.start()
        yield
        end.set()
        thread.join()

    with tempfile.TemporaryDirectory() as place:
        files = ModelFiles(Path(place) / "lite0")
        write_model(files, BACKBONES["lite0"], "none")
        predictor = SteeredPredictor(files, 256, known)
        predictor.warm_up(SIZE)
        folder = Path(place) / "live"
        request = LiveRequest(settings, "lite0", folder)
        start = time.monotonic()
        found: dict[str, Any] = run_live(
            request, sources={"top": camera}, predictors=[predictor], watch=watch
        )["top"]
        print(f"{time.monotonic() - start:.0f} s, camera gave {camera.given} frames; {found}")
        rows = [
            line.split("\t")
            for path in sorted(folder.glob("*.times.tsv"))
            for line in path.read_text(encoding="utf-8").splitlines()[1:]
        ]
        states = np.array([row[-2] for row in rows])
        kinds, counts = np.unique(states, return_counts=True)
        print("recorded:", dict(zip(kinds.tolist(), counts.tolist(), strict=True)))
    led.close()


if __name__ == "__main__":
    main()
