"""Time DeepLabCut-Live on a window, in an environment of its own.

    PEER/bin/python benchmarks/live/dlclive_peer.py [--side 256] [--passes 200]

PEER is `build/peers/dlclive`, which `make peers NAME=dlclive` makes. The network is a ResNet-50 of
DeepLabCut 3 with heat maps at an eighth of the frame and location refinement, untrained, which
changes nothing of the time it takes. PyTorch uses all cores, and all its threads have the real-time
priority that the loop of `cohortpose live` has, where the system allows it. Printed are median and
99th percentile of `DLCLive.get_pose` in ms. `latency.py --peer PEER/bin/python` runs it beside
ours.
"""

import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from dlclive import DLCLive
from dlclive.pose_estimation_pytorch.models import PoseModel

POINTS = 4
PRIORITY = 10
CHANNELS = 2048


def write_network(path: Path) -> None:
    """Write an untrained network as DeepLabCut exports one."""

    def output(channels: int) -> dict:
        return {"channels": [CHANNELS, channels], "kernel_size": [3], "strides": [2]}

    predictor = {
        "type": "HeatmapPredictor",
        "apply_sigmoid": True,
        "clip_scores": False,
        "location_refinement": True,
        "locref_std": 7.2801,
    }
    head = {
        "type": "HeatmapHead",
        "predictor": predictor,
        "heatmap_config": output(POINTS),
        "locref_config": output(2 * POINTS),
    }
    model = {
        "backbone": {"type": "ResNet", "model_name": "resnet50", "output_stride": 16},
        "backbone_output_channels": CHANNELS,
        "heads": {"bodypart": head},
    }
    config = {
        "method": "bu",
        "model": model,
        "data": {"inference": {"normalize_images": True}},
        "metadata": {"bodyparts": [f"point{n}" for n in range(POINTS)], "individuals": ["one"]},
    }
    weights = PoseModel.build(config["model"]).state_dict()
    torch.save({"config": config, "pose": weights}, path)


def main() -> None:
    """Time it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--passes", type=int, default=200)
    arguments = parser.parse_args()
    with contextlib.suppress(OSError, AttributeError):
        # Threads that PyTorch starts from now on have it, too.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    torch.set_num_threads(os.cpu_count() or 1)
    frame = np.random.default_rng(0).integers(0, 255, (arguments.side, arguments.side, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.pt"
        write_network(path)
        live = DLCLive(path, model_type="pytorch", device="cpu")
        live.init_inference(frame)
        seconds = []
        for number in range(arguments.passes + 10):
            start = time.perf_counter()
            live.get_pose(frame)
            if number >= 10:
                seconds.append(time.perf_counter() - start)
    print(f"{1000 * np.quantile(seconds, 0.5):.2f}\t{1000 * np.quantile(seconds, 0.99):.2f}")


if __name__ == "__main__":
    main()
