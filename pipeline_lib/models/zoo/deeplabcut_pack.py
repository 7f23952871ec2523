"""Pack a network of DeepLabCut as the members of a bundle."""

import hashlib
import importlib.metadata
import tempfile
from pathlib import Path

import torch

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.models.card import ModelCard, TrainingRecord, format_card
from pipeline_lib.models.inference.torch_runtime import build_network
from pipeline_lib.models.network.deeplabcut import MEAN, STD, DeepLabCutNetwork
from pipeline_lib.models.training.export_onnx import export_onnx
from pipeline_lib.models.zoo.bounds import check_bounds
from pipeline_lib.models.zoo.deeplabcut import CONFIG, DeepLabCutModel
from pipeline_lib.models.zoo.manifest import CARD, NETWORK, WEIGHTS
from pipeline_lib.models.zoo.weights import pack_weights

_STATISTICS = frozenset({"mean", "std"})


def pack_deeplabcut(
    model: DeepLabCutModel, name: str, program: str
) -> tuple[ModelCard, dict[str, bytes]]:
    """Return the card of a network of DeepLabCut, and the members of its bundle.

    Parameters
    ----------
    model
        The network.
    name
        Name of the network.
    program
        Program that packs it, for the card.

    Raises
    ------
    ModelError
        If its weights are not those of the network that its config describes.
    """
    card = _describe(model, name, program)
    check_bounds(card, str(model.snapshot.with_name(CONFIG)))
    network = _load(model, card)
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


def _load(model: DeepLabCutModel, card: ModelCard) -> DeepLabCutNetwork:
    network = build_network(card)
    if not isinstance(network, DeepLabCutNetwork):
        raise TypeError("the card is of another network")
    own = network.state_dict()
    try:
        network.load_state_dict({**model.state, **{key: own[key] for key in _STATISTICS}})
    except RuntimeError as error:
        first = str(error).splitlines()
        raise ModelError(
            f"{model.snapshot}: its weights are not those of the network of {CONFIG}: "
            f"{' '.join(line.strip() for line in first[:3])}"
        ) from error
    return network.eval()


def _describe(model: DeepLabCutModel, name: str, program: str) -> ModelCard:
    with model.snapshot.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ModelCard(
        name=name,
        key=digest,
        backbone=model.layout.model_name,
        head_channels=0,
        parameters=0,
        # Checked against the layout.
        stride=round(model.layout.stride),
        scale=1.0,
        refinement_scale=model.refinement_scale,
        skeleton=Skeleton(bodyparts=model.bodyparts),
        mean=MEAN,
        std=STD,
        network_sha256="",
        training=TrainingRecord(
            epochs=model.epochs,
            steps=0,
            seconds=0.0,
            seed=0,
            frames={},
            checkpoint=model.snapshot.name,
            settings={"program": "DeepLabCut"},
        ),
        versions={"program": program, "torch": torch.__version__}
        | {"timm": importlib.metadata.version("timm")},
        deeplabcut=model.layout,
    )
