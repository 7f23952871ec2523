"""Make a task that a tiny network learns in seconds: coloured discs on grey frames."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import LABEL_COLUMNS, SINGLE_INDIVIDUAL
from pipeline_lib.io.images import write_png
from pipeline_lib.io.labels.table import Labels, write_labels
from pipeline_lib.models.card import ModelCard, TrainingRecord, format_card
from pipeline_lib.models.network.backbone import Backbone
from pipeline_lib.models.network.network import PoseNetwork
from pipeline_lib.models.training.export_onnx import export_onnx, save_weights
from tests.fixed_settings import parse_fixed_config

BODYPARTS = ("red", "green", "blue")
TINY_BACKBONE = "mobilenetv3_small_050"
REFINEMENT_SCALE = 7.2801

_RADIUS = 5.0


def draw_discs(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draw one disc per bodypart at points (keypoint, 2); NaN draws none. Returns RGB uint8."""
    image = np.full((*size, 3), 90, np.uint8)
    rows, columns = np.mgrid[: size[0], : size[1]]
    for channel, (x, y) in enumerate(points):
        image[np.hypot(columns - x, rows - y) <= _RADIUS] = np.eye(3, dtype=np.uint8)[channel] * 255
    return image


def draw_points(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Draw points (image, keypoint, 2) well inside of images."""
    stream = np.random.default_rng(seed)
    height, width = size
    return stream.uniform((8, 8), (width - 8, height - 8), (count, len(BODYPARTS), 2))


def label_images(
    folder: Path,
    points: np.ndarray,
    sizes: list[tuple[int, int]],
    splits: list[str],
) -> Labels:
    """Write images and return their labels; points has shape (image, keypoint, 2)."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (image_points, size, split) in enumerate(zip(points, sizes, splits, strict=True)):
        path = folder / f"img{number:03d}.png"
        write_png(path, draw_discs(image_points, size))
        rows += [
            {
                "video": "discs",
                "frame": number,
                "individual": SINGLE_INDIVIDUAL,
                "bodypart": bodypart,
                "x": x,
                "y": y,
                "visible": bool(np.isfinite(x)),
                "source": str(folder),
                "split": split,
                "image": str(path),
            }
            for bodypart, (x, y) in zip(BODYPARTS, image_points, strict=True)
        ]
    return Labels(pd.DataFrame(rows, columns=list(LABEL_COLUMNS)), BODYPARTS)


def tiny_config(**training) -> Config:
    """Return settings of a training of seconds; augmentation as it is by default."""
    return parse_fixed_config(
        {
            "cohort": "cohort.tsv",
            "targets": {"sigma": 5.0, "pos_dist_thresh": 9.0},
            "training": {
                "backbone": TINY_BACKBONE,
                "weights": "none",
                "head_channels": 8,
                "batch_size": 4,
                "epochs": 4,
                "validate_every": 1,
                "accelerator": "cpu",
                "devices": 1,
                **training,
            },
        }
    )


def write_tiny_labels(
    results: Results, train: int = 6, validation: int = 0, test: int = 1, side: int = 64
) -> Labels:
    """Publish labels of synthetic images under a results folder."""
    count = train + validation + test
    points = draw_points(count, (side, side))
    points[0, 1] = np.nan
    splits = ["train"] * train + ["validation"] * validation + ["test"] * test
    labels = label_images(results.root / "images", points, [(side, side)] * count, splits)
    write_labels(results.labels, labels)
    return labels


def write_tiny_model(
    files: ModelFiles, *, seed: int = 0, scale: float = 1.0, key: str = "k", name: str = "pose"
) -> None:
    """Publish an untrained model as training does.

    Its batch-norm statistics fit noise, so that its maps differ from place to place and the best
    cell is clear.
    """
    torch.manual_seed(seed)
    backbone = Backbone(TINY_BACKBONE, "none", 8)
    network = PoseNetwork(backbone, len(BODYPARTS), head_channels=8).train()
    with torch.no_grad():
        for _ in range(40):
            network(torch.rand(4, 3, 64, 96))
    network.eval()
    files.folder.mkdir(parents=True, exist_ok=True)
    save_weights(network, files.weights)
    export_onnx(network, REFINEMENT_SCALE, files.network)
    card = ModelCard(
        name=name,
        key=key,
        backbone=TINY_BACKBONE,
        head_channels=8,
        parameters=1,
        stride=8,
        scale=scale,
        refinement_scale=REFINEMENT_SCALE,
        skeleton=Skeleton(bodyparts=BODYPARTS),
        mean=backbone.mean,
        std=backbone.std,
        network_sha256=hashlib.sha256(files.network.read_bytes()).hexdigest(),
        training=TrainingRecord(
            epochs=1, steps=1, seconds=0, seed=0, frames={}, checkpoint="last.ckpt", settings={}
        ),
        versions={"torch": torch.__version__},
    )
    files.card.write_text(format_card(card))
