"""Read networks that DeepLabCut 3 trained with PyTorch: a snapshot and its ``pytorch_config.yaml``.

Only tensors and plain values of a snapshot are read (``weights_only``); the config is plain YAML.
Networks with one head of heat maps on a ResNet or HRNet are known, with the detector that finds the
animals for those of crops; others are refused by name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.untrusted.yaml_files import YamlError, read_yaml
from pipeline_lib.models.card import DeconvolutionLayout, DeepLabCutLayout, DetectorLayout
from pipeline_lib.models.zoo.foreign.deeplabcut_config import HEAD, ConfigReader
from pipeline_lib.models.zoo.foreign.snapshots import read_snapshot
from pipeline_lib.models.zoo.foreign.superanimal import find_superanimal, read_conversion

CONFIG = "pytorch_config.yaml"
_SNAPSHOT = re.compile(r"snapshot-(best-)?(\d+)\.pt")
_DETECTOR = re.compile(r"snapshot-detector-(best-)?(\d+)\.pt")
# Names in a snapshot, and names in our network of the same layers.
PREFIXES = {
    "backbone.model.": "backbone.",
    f"heads.{HEAD}.heatmap_head.": "heatmap_head.",
    f"heads.{HEAD}.locref_head.": "locref_head.",
}
DETECTOR_PREFIXES = {"model.": "model."}


@dataclass(frozen=True)
class DeepLabCutDetector:
    """Hold the detector of a network of DeepLabCut.

    Attributes
    ----------
    snapshot
        File of the weights.
    layout
        Layout of the detector.
    state
        Weights by the names of `pipeline_lib.models.network.detector.DetectorNetwork`.
    epochs
        Epochs that it was trained; 0 if unknown.
    """

    snapshot: Path
    layout: DetectorLayout
    state: dict[str, Tensor]
    epochs: int


@dataclass(frozen=True)
class DeepLabCutModel:
    """Hold a network of DeepLabCut.

    Attributes
    ----------
    snapshot, config
        Files of the weights and of their description.
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
    detector
        Its detector; None for a network of whole frames.
    individuals
        Largest number of animals in a frame.
    """

    snapshot: Path
    config: Path
    bodyparts: tuple[str, ...]
    layout: DeepLabCutLayout
    refinement_scale: float
    state: dict[str, Tensor]
    epochs: int
    detector: DeepLabCutDetector | None = None
    individuals: int = 1


@dataclass(frozen=True)
class DeepLabCutSource:
    """Say where a network of DeepLabCut is.

    Attributes
    ----------
    place
        Folder with ``pytorch_config.yaml`` and snapshots, of which the best one is read, else that
        of the last epoch; one snapshot beside its config; or a checkpoint of a SuperAnimal.
    detector
        Snapshot of its detector; None: chosen as the snapshot of the network is.
    individuals
        Largest number of animals in a frame; None: that of the config.
    conversion
        ``config.yaml`` of a project with a table of the SuperAnimal's bodyparts: the network then
        predicts the bodyparts of the project.
    """

    place: Path
    detector: Path | None = None
    individuals: int | None = None
    conversion: Path | None = None


def read_deeplabcut(source: DeepLabCutSource) -> DeepLabCutModel:
    """Read a network of DeepLabCut, with its detector.

    Raises
    ------
    ModelError
        If there is none, it is damaged, or of a kind that is not known.
    """
    path = source.place
    folder = path if path.is_dir() else path.parent
    config, detector, name = folder / CONFIG, source.detector, ""
    if path.is_file() and not config.exists():
        found = find_superanimal(path, detector, source.individuals)
        config, detector, name, values = found.place, found.detector, found.name, found.values
    else:
        values = _read_config(config)
    reader = ConfigReader(config, values)
    layout, scale = reader.read_layout()
    snapshot = path if path.is_file() else _choose_snapshot(folder, _SNAPSHOT)
    state, epochs = read_snapshot(snapshot, PREFIXES)
    model = DeepLabCutModel(snapshot, config, reader.read_bodyparts(), layout, scale, state, epochs)
    if reader.top_down:
        chosen = detector or _choose_snapshot(folder, _DETECTOR)
        state, epochs = read_snapshot(chosen, DETECTOR_PREFIXES)
        found_detector = DeepLabCutDetector(chosen, reader.read_detector(), state, epochs)
        count = source.individuals or reader.count_individuals()
        model = replace(model, detector=found_detector, individuals=count)
    elif source.detector is not None or source.individuals is not None:
        raise ModelError(
            f"{config}: is a network of whole frames and one animal: leave out --detector and "
            "--individuals"
        )
    if source.conversion is None:
        return model
    return _convert(model, read_conversion(source.conversion, name or model.snapshot.stem))


def _read_config(config: Path) -> Any:  # noqa: ANN401 - YAML
    try:
        return read_yaml(config)
    except FileNotFoundError:
        raise ModelError(f"{config}: no such file; expected a folder of DeepLabCut 3") from None
    except (YamlError, OSError) as error:
        raise ModelError(f"{config}: {error}") from None


def _choose_snapshot(folder: Path, pattern: re.Pattern[str]) -> Path:
    """Return the best snapshot, else the one of the last epoch."""
    found = [
        (bool(match[1]), int(match[2]), path)
        for path in sorted(folder.glob("snapshot-*.pt"))
        if (match := pattern.fullmatch(path.name))
    ]
    if found:
        return max(found)[2]
    if pattern is _DETECTOR:
        raise ModelError(
            f"{folder}: no snapshot-detector-NUMBER.pt: top-down networks need their detector; "
            "give --detector"
        )
    raise ModelError(f"{folder}: no snapshot-NUMBER.pt; train the network first")


def _convert(model: DeepLabCutModel, table: Mapping[str, str]) -> DeepLabCutModel:
    """Return a network that predicts other bodyparts: some of its own, by other names."""
    if unknown := sorted(set(table.values()) - set(model.bodyparts)):
        raise ModelError(f"{model.config}: the network has no bodypart {unknown[0]!r}")
    chosen = [model.bodyparts.index(name) for name in table.values()]
    pairs = [2 * number + axis for number in chosen for axis in (0, 1)]
    state, changed = dict(model.state), {}
    heads = {"heatmap": chosen, "locref": pairs}
    for name, channels in heads.items():
        layout = getattr(model.layout, name)
        if layout is not None:
            _take_channels(state, f"{name}_head.", layout, channels, model.snapshot)
            changed[name] = _resize(layout, len(channels))
    layout = model.layout.model_copy(update=changed)
    return replace(model, bodyparts=tuple(table), layout=layout, state=state)


def _take_channels(
    state: dict[str, Tensor],
    prefix: str,
    layout: DeconvolutionLayout,
    channels: list[int],
    snapshot: Path,
) -> None:
    """Keep some outputs of a head, in another order."""
    last = f"{prefix}final_conv." if layout.final_kernel else ""
    last = last or f"{prefix}deconv_layers.{2 * len(layout.strides) - 2}."
    # Of a transposed convolution the outputs are the second axis.
    axis = 0 if layout.final_kernel else 1
    try:
        weight, bias = state[f"{last}weight"], state[f"{last}bias"]
        state[f"{last}weight"] = weight.index_select(axis, _number(channels, weight))
        state[f"{last}bias"] = bias[_number(channels, bias)]
    except (KeyError, IndexError) as error:
        raise ModelError(f"{snapshot}: has no outputs of all bodyparts ({error})") from error


def _number(channels: list[int], like: Tensor) -> Tensor:
    return like.new_tensor(channels).long()


def _resize(layout: DeconvolutionLayout, outputs: int) -> DeconvolutionLayout:
    if layout.final_kernel:
        return layout.model_copy(update={"final_channels": outputs})
    return layout.model_copy(update={"channels": (*layout.channels[:-1], outputs)})
