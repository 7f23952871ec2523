"""Measure the latency of `cohortpose live`, split into its parts, with a simulated camera.

    python benchmarks/live/latency.py OUTPUT.tsv [--seconds 20] [--rate 100] [--peer PYTHON]

The camera gives rendered frames of a moving animal at its rate, from memory, in its own thread. It
films the output of the rule that it sets off: the rule sends a datagram when the animal enters a
region, a thread that stands for an LED receives it and lights up, and frames captured from then on
show the light. So `light` is the time from the capture of the first frame with the animal inside to
the light, and `frames` how many frames later the camera sees it.

Networks are untrained, which changes nothing of the time they take; points are then replaced by the
truth, so that windows follow the animal as they would. Everything else is as in a real run.

Each network is first timed alone (`bare`: the same windows, one after the other, without camera,
threads or recording), then with recording off, on, and on with one core busy. Compare figures of
one run only: the machine may have other work.
"""

import argparse
import contextlib
import itertools
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.inference.networks import write_model
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.settings.network import StatedLocating
from pipeline_lib.core.settings.outputs.live import LiveSettings
from pipeline_lib.kernels.windows import WindowShape, cut_window
from pipeline_lib.live.cropping import Cropper, CroppingRules
from pipeline_lib.live.networks import LiveNetworks
from pipeline_lib.live.predictor import LivePredictor
from pipeline_lib.live.priorities import NetworkThreads, raise_priority
from pipeline_lib.live.recording.log import PARTS
from pipeline_lib.live.run import LiveRequest, run_live
from pipeline_lib.live.sources.frames import Frame, LiveSource, now
from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.locating.coarse_to_fine import load_pose_predictor
from pipeline_lib.models.inference.predictor import RuntimeOptions, choose_runtime

# Name of the backbone in timm, by name in the table.
BACKBONES = {
    "lite0": "tf_efficientnet_lite0",
    "lite2": "tf_efficientnet_lite2",
    "mobilenetv2": "mobilenetv2_100",
    "mobilenetv3": "mobilenetv3_large_100",
    "resnet50": "resnet50",
}
INT8 = "lite0 int8"
SIZE = (480, 640)
# Frames of one round of the animal, which it walks in 0.8 s at 100 frames/s.
ROUND = 80
REGION = [[320, 0], [640, 0], [640, 480], [320, 480]]
COLUMNS = (
    *("network", "cropping", "rate", "recording", "busy", "captured", "predicted", "dropped"),
    *("bare_p50", "bare_p99", "p50", "p99", "max"),
    *(f"{part}_{share}" for part in PARTS for share in ("p50", "p99", "max")),
    *("starts", "light_p50", "light_p99", "light_max", "frames_p50", "frames_max"),
)

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Condition:
    """Describe what a run has to bear, and how often the network is timed alone."""

    recording: bool
    busy: bool
    passes: int = 200


class Led:
    """Receive datagrams, and be on or off."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.on = False
        self.lit: list[float] = []
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                on = self._socket.recv(16) == b"on"
                if on:
                    self.lit.append(now())
                self.on = on

    def close(self) -> None:
        """Stop."""
        self._socket.close()


class SimulatedCamera(LiveSource):
    """Film an animal and an LED at a rate.

    Attributes
    ----------
    entered
        Times at which the first frame with the animal inside the region was captured.
    seen
        Frames between that one and the first that shows the light.
    given
        Number of frames that it gave.
    """

    def __init__(
        self, frames: Sequence[Image], inside: NDArray[np.bool_], rate: float, led: Led
    ) -> None:
        self._frames, self._inside, self._rate, self._led = frames, inside, rate, led
        self._lit = [light(frame) for frame in frames]
        self.all = [*self._frames, *self._lit]
        self.entered: list[float] = []
        self.seen: list[int] = []
        self._number, self._start, self._waiting = 0, now(), 0
        self.given = 0

    def open(self) -> None:
        """Do nothing."""

    def rewind(self) -> None:
        """Begin now."""
        self._number, self._start = 0, now() + 0.1
        self.entered, self.seen, self._led.lit = [], [], []
        self.given = 0

    def read(self, timeout: float) -> Frame | None:
        """Wait for the next frame."""
        del timeout
        due = self._start + self._number / self._rate
        time.sleep(max(0.0, due - now()))
        place, before = ((self._number - back) % len(self._frames) for back in (0, 1))
        captured, on = now(), self._led.on
        if self._inside[place] and not self._inside[before]:
            self.entered.append(captured)
            self._waiting = self._number
        elif on and self._waiting:
            self.seen.append(self._number - self._waiting)
            self._waiting = 0
        self._number += 1
        self.given += 1
        image = (self._lit if on else self._frames)[place]
        return Frame(image, self._number, captured)


def light(frame: Image) -> Image:
    """Return a frame with the light on."""
    lit = frame.copy()
    lit[:24, :24] = 255
    return lit


def render(count: int = ROUND) -> tuple[list[Image], NDArray[np.float32]]:
    """Return frames of a round of the animal, and the truth, shape (frame, keypoint, 2)."""
    stream = np.random.default_rng(0)
    floor = stream.integers(90, 130, (*SIZE, 1), np.uint8).repeat(3, axis=2)
    angle = 2 * np.pi * np.arange(count) / count
    centre = np.stack([320 - 120 * np.cos(angle), 240 + 60 * np.sin(angle)], axis=-1)
    offset = np.array([[0.0, -30.0], [-12.0, -18.0], [12.0, -18.0], [0.0, 32.0]])
    truth = (centre[:, None] + offset).astype(np.float32)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    frames = []
    for x, y in centre:
        frame = floor.copy()
        frame[((columns - x) / 18) ** 2 + ((rows - y) / 34) ** 2 <= 1] = 30
        frames.append(frame)
    return frames, truth


class SteeredCropper(Cropper):
    """See windows with the network, and return the truth."""

    truth: NDArray[np.float32]

    def predict_window(self, frame: Image, shape: WindowShape, corner: Any) -> Located:  # noqa: ANN401
        """See a window."""
        super().predict_window(frame, shape, corner)
        return self.tell()

    def tell(self) -> Located:
        """Return the truth of the frame that is being seen."""
        return Located(self.truth[None, None], np.ones((1, 1, len(self.truth)), np.float32))


class SteeredWhole:
    """See whole frames with the network, and return the truth."""

    def __init__(self, network: Any) -> None:  # noqa: ANN401 - any predictor
        self.card, self.surplus, self._network = network.card, network.surplus, network
        self.cropper: SteeredCropper

    def predict(self, frames: Sequence[Image]) -> Located:
        """See frames."""
        self._network.predict(frames)
        return self.cropper.tell()


class SteeredPredictor(LivePredictor):
    """Predict with a network, then use the truth."""

    def __init__(
        self, files: ModelFiles, cropping: int, truth: dict[int, NDArray[np.float32]]
    ) -> None:
        options = RuntimeOptions(choose_runtime("auto"), batch_size=1, one_frame=True)
        self.bare = load_pose_predictor(files, options, StatedLocating())
        whole = SteeredWhole(self.bare)
        networks = LiveNetworks(whole, self.bare, str(files.folder))
        self._set_up(networks, CroppingRules(cropping))
        self._cropper = whole.cropper = SteeredCropper(networks, CroppingRules(cropping))
        self._cropper.truth = next(iter(truth.values()))
        self._truth = truth
        self.ahead_ms, self._noise, self._acceleration = 0.0, 1.0, 3000.0

    def predict(self, frame: Image, time: float | None = None) -> Any:  # noqa: ANN401
        """Predict a frame of the simulated camera."""
        self._cropper.truth = self._truth[id(frame)]
        return super().predict(frame, time)


def quantize(source: ModelFiles, target: ModelFiles, frames: Sequence[Image]) -> None:
    """Write a network in int8, calibrated on windows of frames."""
    from onnxruntime.quantization import (  # noqa: PLC0415 - slow
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

    class Windows(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            cuts = (cut_window(frame, np.array([192, 96]), (256, 256)) for frame in frames)
            self._windows = ({"frames": window[None]} for window in cuts)

        def get_next(self) -> dict[str, Image] | None:
            return next(self._windows, None)

    target.folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source.card, target.card)
    prepared = target.folder / "prepared.onnx"
    quant_pre_process(str(source.network), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(target.network),
        Windows(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["Conv"],
    )


@contextlib.contextmanager
def keep_a_core_busy(busy: bool) -> Iterator[None]:
    """Let another process compute without a pause."""
    if not busy:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def time_bare(
    predictor: SteeredPredictor, frames: Sequence[Image], cropping: int, passes: int
) -> list[float]:
    """Return seconds of passes of the network alone."""
    side = cropping or None
    seen = [
        frame if side is None else cut_window(frame, np.array([192, 96]), (side, side))
        for frame in frames
    ]
    seconds: list[float] = []

    def run() -> None:
        # With the priorities that the loop and its network have.
        threads = NetworkThreads(wanted=not raise_priority())
        with threads.find():
            predictor.bare.predict(seen[:1])
        for window in itertools.islice(itertools.cycle(seen), passes):
            start = time.perf_counter()
            predictor.bare.predict([window])
            seconds.append(time.perf_counter() - start)
        threads.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return seconds


def quantiles(values: Sequence[float], factor: float = 1.0) -> list[float]:
    """Return median, 99th percentile and maximum."""
    if not values:
        return [float("nan")] * 3
    array = factor * np.asarray(values, float)
    return [float(np.quantile(array, 0.5)), float(np.quantile(array, 0.99)), float(array.max())]


def measure(
    files: ModelFiles, cropping: int, rate: float, seconds: float, condition: Condition
) -> dict[str, Any]:
    """Return a row of the table for a network under a condition."""
    frames, truth = render()
    led = Led()
    camera = SimulatedCamera(frames, truth[:, 0, 0] > REGION[0][0], rate, led)
    known = {id(image): one for image, one in zip(camera.all, [*truth, *truth], strict=True)}
    predictor = SteeredPredictor(files, cropping, known)
    predictor.warm_up(SIZE)
    settings = LiveSettings.model_validate(
        {
            "cameras": [{"name": "top", "source": "camera:0"}],
            "seconds": seconds,
            "prediction": {"cropping": cropping},
            "recording": {"poses": condition.recording, "video": condition.recording},
            "rules": [
                {
                    "name": "in",
                    "measure": "region",
                    "points": [predictor.keypoints[0]],
                    "polygon": REGION,
                    "actions": ["led"],
                }
            ],
            "actions": [
                {"name": "led", "kind": "udp", "address": led.address, "start": "on", "end": "off"}
            ],
        }
    )
    with keep_a_core_busy(condition.busy), tempfile.TemporaryDirectory() as folder:
        bare = time_bare(predictor, frames, cropping, condition.passes)
        request = LiveRequest(settings, str(files.folder), Path(folder) / "live")
        found = run_live(request, sources={"top": camera}, predictors=[predictor])["top"]
        bare += time_bare(predictor, frames, cropping, condition.passes)
    led.close()
    # Each light belongs to the entry just before it.
    lit, entered = np.array(led.lit), np.array(camera.entered)
    entry = np.searchsorted(entered, lit) - 1
    lights = (lit[entry >= 0] - entered[entry[entry >= 0]]).tolist()
    latency = found["latency_ms"]
    values = [*quantiles(bare, 1000)[:2], *latency["whole"].values()]
    for part in PARTS:
        values += latency[part].values()
    values += [found["starts"], *quantiles(lights, 1000)]
    whole_frames = quantiles(camera.seen)
    return {
        **dict(zip(COLUMNS[8:], [*values, whole_frames[0], whole_frames[2]], strict=True)),
        **{name: found[name] for name in ("captured", "predicted", "dropped")},
    }


def time_peer(arguments: argparse.Namespace) -> str:
    """Return median and 99th percentile of DeepLabCut-Live on a window, ms."""
    script = Path(__file__).with_name("dlclive_peer.py")
    found = subprocess.run(
        [
            *(arguments.peer, script, "--side", str(arguments.cropping)),
            *("--passes", str(arguments.passes)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.splitlines()[-1]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--cropping", type=int, default=256)
    parser.add_argument("--networks", nargs="+", default=[*BACKBONES, INT8])
    parser.add_argument("--conditions", nargs="+", default=["off", "on", "busy"])
    parser.add_argument("--passes", type=int, default=200, help="Passes of the network alone.")
    parser.add_argument("--peer", help="Python of an environment with DeepLabCut-Live.")
    arguments = parser.parse_args()
    conditions = {
        "off": Condition(recording=False, busy=False, passes=arguments.passes),
        "on": Condition(recording=True, busy=False, passes=arguments.passes),
        "busy": Condition(recording=True, busy=True, passes=arguments.passes),
    }
    lines = ["\t".join(COLUMNS)]
    with tempfile.TemporaryDirectory() as folder:
        for network in arguments.networks:
            files = ModelFiles(Path(folder) / network.replace(" ", "-"))
            plain = ModelFiles(Path(folder) / network.partition(" ")[0])
            if not plain.card.is_file():
                write_model(plain, BACKBONES[network.partition(" ")[0]], "none")
            if network == INT8:
                quantize(plain, files, render(16)[0])
            for name in arguments.conditions:
                condition = conditions[name]
                row = {
                    "network": network,
                    "cropping": arguments.cropping,
                    "rate": arguments.rate,
                    "recording": "on" if condition.recording else "off",
                    "busy": "one core" if condition.busy else "no",
                    **measure(
                        files, arguments.cropping, arguments.rate, arguments.seconds, condition
                    ),
                }
                cells = (
                    f"{row[column]:.2f}" if isinstance(row[column], float) else str(row[column])
                    for column in COLUMNS
                )
                lines.append("\t".join(cells))
                print(lines[-1], flush=True)
                arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
            if arguments.peer and network == "resnet50":
                p50, p99 = time_peer(arguments).split("\t")
                cells = ["DeepLabCut-Live resnet50", str(arguments.cropping), *[""] * 6, p50, p99]
                lines.append("\t".join(cells + [""] * (len(COLUMNS) - len(cells))))
                print(lines[-1], flush=True)
                arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
