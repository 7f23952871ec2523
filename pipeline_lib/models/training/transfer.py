"""Start a network from one of other bodyparts; shared channels keep their weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.network.backbone_weights import put_tensors
from pipeline_lib.models.network.network import PoseNetwork

# Weights with channels of bodyparts, edges or individuals.
_OUTPUTS = ("score.", "offset.", "affinity.", "identity.", "first_score.", "second.read.weight")
# Layers of torchvision's ResNets by their numbers in Lightning Pose's backbones.
_LAYERS = {
    "0": "conv1",
    "1": "bn1",
    **{str(number): f"layer{number - 3}" for number in range(4, 8)},
}
# Layers of timm's HRNets that those of DeepLabCut may lack; then they are new, as the head is.
_INCREASE = "incre_modules."


@dataclass(frozen=True)
class ChannelSources:
    """Say where the channels of a new network come from.

    Attributes
    ----------
    bodyparts
        For each bodypart of the new network its position in the other one; None: it is new.
    edges
        For each edge of the new network its position in the other one, and whether it runs the
        other way there; None: it is new.
    offset_factor
        Factor from offsets of the other network to those of the new one, in their units.
    """

    bodyparts: tuple[int | None, ...]
    edges: tuple[tuple[int, bool] | None, ...] = ()
    offset_factor: float = 1.0


def match_channels(
    bodyparts: tuple[str, ...],
    edges: tuple[tuple[int, int], ...],
    known: tuple[str, ...],
    known_edges: tuple[tuple[int, int], ...],
    names: Mapping[str, str],
) -> ChannelSources:
    """Match bodyparts by name, and edges by the bodyparts that they join.

    Parameters
    ----------
    bodyparts, edges
        Of the new network; edges are pairs of positions.
    known, known_edges
        Of the other network.
    names
        Names in the other network of bodyparts that are called otherwise there.
    """
    place = {name: number for number, name in enumerate(known)}
    found = tuple(place.get(names.get(name, name)) for name in bodyparts)
    ways = {pair: (number, False) for number, pair in enumerate(known_edges)}
    ways |= {(b, a): (number, True) for number, (a, b) in enumerate(known_edges)}

    def match(a: int, b: int) -> tuple[int, bool] | None:
        first, second = found[a], found[b]
        return None if first is None or second is None else ways.get((first, second))

    return ChannelSources(found, tuple(match(a, b) for a, b in edges))


@torch.no_grad()
def transfer_weights(
    network: PoseNetwork, state: Mapping[str, Tensor], sources: ChannelSources
) -> None:
    """Copy the weights of another network; channels without a source stay as they are.

    Parameters
    ----------
    network
        The new network, of the same backbone and head; changed in place.
    state
        Weights of the other network.
    sources
        Where the channels of the outputs come from.

    Raises
    ------
    RuntimeError
        If backbone or head are not those of the network.
    """
    own = network.state_dict()
    scores = ("score", "first_score") if network.stages > 1 else ("score",)
    body = {name: value for name, value in state.items() if not name.startswith(_OUTPUTS)}
    # What is not there remains as it is: the outputs.
    network.load_state_dict({**own, **body})
    if network.stages > 1:
        # The second stage reads a map of each bodypart.
        for new, old in enumerate(sources.bodyparts):
            if old is not None:
                network.second.read.weight[:, new] = state["second.read.weight"][:, old]
    for kind in ("weight", "bias"):
        for new, old in enumerate(sources.bodyparts):
            if old is None:
                continue
            for name in scores:
                _row(network, name, kind)[new] = state[f"{name}.{kind}"][old]
            offset = state[f"offset.{kind}"][2 * old : 2 * old + 2]
            _row(network, "offset", kind)[2 * new : 2 * new + 2] = offset * sources.offset_factor
        for new, source in enumerate(sources.edges):
            if source is None:
                continue
            old, turned = source
            field = state[f"affinity.{kind}"][2 * old : 2 * old + 2]
            _row(network, "affinity", kind)[2 * new : 2 * new + 2] = -field if turned else field
    _take_statistics(network)


@torch.no_grad()
def transfer_backbone(
    network: PoseNetwork, state: Mapping[str, Tensor], card: ModelCard, where: str
) -> None:
    """Copy the backbone of a network that another tool trained; the head stays as it is.

    Parameters
    ----------
    network
        The new network, whose backbone has the same name; changed in place.
    state
        Weights of the other network.
    card
        Its card.
    where
        Setting and file, for messages.

    Raises
    ------
    ModelError
        If the backbone is another one.
    """
    prefix = "backbone."
    tensors = {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
    if card.lightning_pose is not None:
        parts = (name.partition(".") for name in tensors)
        renamed = [f"{_LAYERS.get(first, first)}.{rest}" for first, _, rest in parts]
        tensors = dict(zip(renamed, tensors.values(), strict=True))
    put_tensors(network.backbone.network, tensors, where, spared=_INCREASE)
    network.mean.copy_(torch.tensor(card.mean).view(3, 1, 1))
    network.std.copy_(torch.tensor(card.std).view(3, 1, 1))
    _take_statistics(network)


def _take_statistics(network: PoseNetwork) -> None:
    """Let the backbone state what its input is normalised by."""
    network.backbone.mean, network.backbone.std = (
        (red, green, blue)
        for red, green, blue in (network.mean.flatten().tolist(), network.std.flatten().tolist())
    )


def _row(network: PoseNetwork, output: str, kind: str) -> Tensor:
    value: Tensor = getattr(getattr(network, output), kind)
    return value
