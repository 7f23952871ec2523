"""Read networks that DeepLabCut 3 trained with PyTorch: a snapshot and its ``pytorch_config.yaml``.

Only tensors and plain values of a snapshot are read (``weights_only``); the config is plain YAML.
Networks with one head of heat maps on a ResNet or HRNet are known; others are refused by name.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.untrusted.names import find_text_problem
from pipeline_lib.core.untrusted.yaml_files import YamlError, read_yaml
from pipeline_lib.models.card import DeconvolutionLayout, DeepLabCutLayout

CONFIG = "pytorch_config.yaml"
_SNAPSHOT = re.compile(r"snapshot-(best-)?(\d+)\.pt")
_HEAD = "bodypart"
# Names in a snapshot, and names in our network of the same layers.
_PREFIXES = {
    "backbone.model.": "backbone.",
    f"heads.{_HEAD}.heatmap_head.": "heatmap_head.",
    f"heads.{_HEAD}.locref_head.": "locref_head.",
}
_REFINEMENT_SCALE = 7.2801


@dataclass(frozen=True)
class DeepLabCutModel:
    """Hold a network of DeepLabCut.

    Attributes
    ----------
    snapshot
        File of the weights.
    bodyparts
        Names along the keypoint axis.
    layout
        Layout of the network.
    refinement_scale
        Unit of its offsets in px.
    state
        Weights by the names of `pipeline_lib.models.network.deeplabcut.DeepLabCutNetwork`, without
        the statistics of its input.
    epochs
        Epochs that it was trained; 0 if unknown.
    """

    snapshot: Path
    bodyparts: tuple[str, ...]
    layout: DeepLabCutLayout
    refinement_scale: float
    state: dict[str, Tensor]
    epochs: int


def read_deeplabcut(path: Path) -> DeepLabCutModel:
    """Read a network of DeepLabCut.

    Parameters
    ----------
    path
        Folder with ``pytorch_config.yaml`` and snapshots, of which the best one is read, else that
        of the last epoch; or one snapshot beside its config.

    Raises
    ------
    ModelError
        If there is none, it is damaged, or of a kind that is not known.
    """
    folder = path if path.is_dir() else path.parent
    config = folder / CONFIG
    try:
        values = read_yaml(config)
    except FileNotFoundError:
        raise ModelError(f"{config}: no such file; expected a folder of DeepLabCut 3") from None
    except (YamlError, OSError) as error:
        raise ModelError(f"{config}: {error}") from None
    found = _Reader(config, values)
    layout, scale = found.read_layout()
    snapshot = path if path.is_file() else _choose_snapshot(folder)
    state, epochs = _read_snapshot(snapshot)
    return DeepLabCutModel(snapshot, found.read_bodyparts(), layout, scale, state, epochs)


def _choose_snapshot(folder: Path) -> Path:
    """Return the best snapshot, else the one of the last epoch."""
    found = [
        (bool(match[1]), int(match[2]), path)
        for path in sorted(folder.glob("snapshot-*.pt"))
        if (match := _SNAPSHOT.fullmatch(path.name))
    ]
    if not found:
        raise ModelError(f"{folder}: no snapshot-NUMBER.pt; train the network first")
    return max(found)[2]


def _read_snapshot(path: Path) -> tuple[dict[str, Tensor], int]:
    """Return the weights under our names, and the number of epochs."""
    try:
        snapshot: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle and zipfile have no common base class
        # Its name only: PyTorch's message advises to load untrusted files.
        raise ModelError(
            f"{path}: expected tensors and plain values alone, PyTorch refuses it "
            f"({type(error).__name__})"
        ) from error
    weights = snapshot.get("model") if isinstance(snapshot, dict) else None
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise ModelError(f"{path}: expected the tensors of a network under `model`")
    state = {}
    for name, value in weights.items():
        prefix = next((one for one in _PREFIXES if name.startswith(one)), None)
        if prefix is None:
            raise ModelError(f"{path}: {name[:200]!r} is no layer of a network with one head")
        state[_PREFIXES[prefix] + name.removeprefix(prefix)] = value
    metadata = snapshot.get("metadata")
    epochs = metadata.get("epoch") if isinstance(metadata, Mapping) else 0
    return state, epochs if isinstance(epochs, int) else 0


class _Reader:
    """Read the values of a config that a network depends on."""

    def __init__(self, path: Path, values: Any) -> None:  # noqa: ANN401 - YAML
        self._path, self._values = path, values

    def read_bodyparts(self) -> tuple[str, ...]:
        names = self._get("metadata.bodyparts", list)
        for name in names:
            problem = find_text_problem(name) if isinstance(name, str) else "is no text"
            if problem:
                raise self._refuse(f"a bodypart {problem}: {name!r}")
        if not names or len(set(names)) < len(names):
            raise self._refuse("`metadata.bodyparts` must be different names")
        return tuple(names)

    def read_layout(self) -> tuple[DeepLabCutLayout, float]:
        """Return the layout and the unit of offsets, or refuse a network that is not known."""
        self._require("data.colormode", "RGB", default="RGB")
        self._require("data.inference.normalize_images", expected=True, default=False)
        method = str(self._get("method", str, "bu")).lower()
        if method != "bu":
            raise self._refuse(
                f"`method` is {method}: top-down networks need their detector, which is not read; "
                "take a network that sees whole frames (`bu`)"
            )
        if resized := self._get("data.inference.resize", dict, {}):
            raise self._refuse(f"`data.inference.resize` is {resized}: expected frames as they are")
        heads = self._get("model.heads", dict)
        if set(heads) != {_HEAD} or self._get("model.neck", dict, {}):
            raise self._refuse(
                f"`model.heads` are {', '.join(map(str, heads))}: expected the head {_HEAD} alone, "
                "without a neck; networks of several animals, identities or unique bodyparts are "
                "not read"
            )
        head, backbone = f"model.heads.{_HEAD}", "model.backbone"
        self._require(f"{head}.type", "HeatmapHead")
        self._require(f"{head}.predictor.type", "HeatmapPredictor")
        kind = self._get(f"{backbone}.type", str)
        if kind not in ("ResNet", "HRNet"):
            raise self._refuse(f"`{backbone}.type` is {kind}: expected ResNet or HRNet")
        refined = self._get(f"{head}.predictor.location_refinement", bool, default=True)
        scale = float(self._get(f"{head}.predictor.locref_std", float, _REFINEMENT_SCALE))
        if not 0.0 < scale < math.inf:
            raise self._refuse(f"`{head}.predictor.locref_std` is {scale}")
        layout = DeepLabCutLayout(
            backbone=kind,
            model_name=self._get(f"{backbone}.model_name", str),
            output_stride=(
                self._get(f"{backbone}.output_stride", int, 32)
                if kind == "ResNet"
                else self._get(f"{backbone}.stride", int, 4)
            ),
            interpolate_branches=self._get(f"{backbone}.interpolate_branches", bool, default=False),
            increased_channel_count=self._get(
                f"{backbone}.increased_channel_count", bool, default=False
            ),
            heatmap=self._read_deconvolutions(f"{head}.heatmap_config"),
            locref=self._read_deconvolutions(f"{head}.locref_config") if refined else None,
            sigmoid=self._get(f"{head}.predictor.apply_sigmoid", bool, default=True),
        )
        return layout, scale

    def _read_deconvolutions(self, where: str) -> DeconvolutionLayout:
        final = self._get(f"{where}.final_conv", dict, {})
        return DeconvolutionLayout(
            channels=self._get_integers(f"{where}.channels"),
            kernel_size=self._get_integers(f"{where}.kernel_size"),
            strides=self._get_integers(f"{where}.strides"),
            final_channels=self._get(f"{where}.final_conv.out_channels", int) if final else 0,
            final_kernel=self._get(f"{where}.final_conv.kernel_size", int) if final else 0,
        )

    def _get_integers(self, where: str) -> tuple[int, ...]:
        found = self._get(where, list)
        if not all(isinstance(one, int) and not isinstance(one, bool) for one in found):
            raise self._refuse(f"`{where}` must be whole numbers, found {found}")
        return tuple(found)

    def _require(self, where: str, expected: object, default: object = None) -> None:
        found = self._get(where, type(expected), default)
        if found != expected:
            raise self._refuse(f"`{where}` is {found}: only {expected} is read")

    def _get(self, where: str, kind: type, default: Any = None) -> Any:  # noqa: ANN401
        """Return a value by its dotted name; the default where it is not there, or null."""
        found = self._values
        for part in where.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is None:
            found = default
        if kind is float and isinstance(found, int) and not isinstance(found, bool):
            return found
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            raise self._refuse(f"`{where}` must be a {kind.__name__}, found {str(found)[:200]}")
        return found

    def _refuse(self, problem: str) -> ModelError:
        return ModelError(f"{self._path}: {problem}")
