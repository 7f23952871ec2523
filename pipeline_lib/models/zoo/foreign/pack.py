"""Pack a network of another tool as the members of a bundle."""

import hashlib
import importlib.metadata
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.card import ModelCard, TrainingRecord, format_card
from pipeline_lib.models.inference.torch_runtime import build_network
from pipeline_lib.models.network.deeplabcut import MEAN, STD
from pipeline_lib.models.network.plain_tensors import check_tensors
from pipeline_lib.models.training.export_onnx import export_onnx
from pipeline_lib.models.zoo.bounds import check_bounds
from pipeline_lib.models.zoo.manifest import CARD, NETWORK, WEIGHTS
from pipeline_lib.models.zoo.weights import STATISTICS, pack_weights

# Buffers of ours, which no checkpoint has.
Complete = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]]


def describe_origin(
    snapshot: Path, epochs: int, name: str, program: str, tool: str
) -> dict[str, Any]:
    """Return what the cards of networks of all other tools have in common.

    Parameters
    ----------
    snapshot
        File of the weights.
    epochs
        Epochs that the network was trained; 0 if unknown.
    name
        Name of the network.
    program
        Program that packs it.
    tool
        Tool that trained it.
    """
    with snapshot.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    packages = ("timm", "torchvision")
    return {
        "name": name,
        "key": digest,
        "head_channels": 0,
        "parameters": 0,
        "scale": 1.0,
        "mean": MEAN,
        "std": STD,
        "network_sha256": "",
        "training": TrainingRecord(
            epochs=epochs,
            steps=0,
            seconds=0.0,
            seed=0,
            frames={},
            checkpoint=snapshot.name,
            settings={"program": tool},
        ),
        "versions": {"program": program, "torch": torch.__version__}
        | {one: importlib.metadata.version(one) for one in packages},
    }


def pack_foreign(
    card: ModelCard,
    state: Mapping[str, Tensor],
    snapshot: Path,
    complete: Complete = lambda state, _: dict(state),
) -> tuple[ModelCard, dict[str, bytes]]:
    """Return the card of a network with what only the network tells, and the bundle's members.

    Parameters
    ----------
    card
        Card of the network, without its hash and its number of parameters.
    state
        Weights by the names of our network of the same layers.
    snapshot
        File of the weights, for messages.
    complete
        Function that adds weights that not every checkpoint has, given those of our network.

    Raises
    ------
    ModelError
        If the card has impossible numbers, or the weights are those of another network, or are
        not real and finite.
    """
    check_bounds(card, str(snapshot))
    network = build_network(card)
    own = network.state_dict()
    statistics = {name: own[name] for name in STATISTICS if name in own}
    given = {**complete(state, own), **statistics}
    check_tensors(given, own, str(snapshot))
    try:
        network.load_state_dict(given)
    except RuntimeError as error:
        first = str(error).splitlines()
        raise ModelError(
            f"{snapshot}: its weights are not those of the network that its config describes: "
            f"{' '.join(line.strip() for line in first[:3])}"
        ) from error
    network.eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NETWORK
        export_onnx(network, card.refinement_scale, path)
        content = path.read_bytes()
    card = card.model_copy(
        update={
            "network_sha256": hashlib.sha256(content).hexdigest(),
            "parameters": sum(one.numel() for one in network.parameters()),
        }
    )
    members = {
        CARD: format_card(card).encode(),
        NETWORK: content,
        WEIGHTS: pack_weights(network.state_dict()),
    }
    return card, members
