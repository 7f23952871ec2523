"""Check an exported network from a stranger before any runtime loads it."""

from collections.abc import Iterator
from typing import Any

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.onnx_file import check_onnx

# A runtime may load the operators of other domains as code from elsewhere.
_DOMAINS = ("", "ai.onnx")


def check_network(content: bytes, card: ModelCard, where: str) -> None:
    """Refuse an ONNX file that is not a network as its card describes it.

    Parameters
    ----------
    content
        Bytes of the file.
    card
        Card of the network.
    where
        Name of the file in messages.

    Raises
    ------
    ModelError
        If it refers to other files or to operators that are not of ONNX itself, or has other
        inputs or outputs than the card says.
    """
    import onnx  # noqa: PLC0415 - only where there is a bundle

    check_onnx(content, where, advice="get the bundle again")
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf has errors of its own
        raise ModelError(f"{where}: no ONNX model ({error})") from error
    # Domains that the file names without an operator of theirs do nothing.
    domains = {node.domain for node in _list_nodes(model.graph)}
    if strange := sorted(domains - set(_DOMAINS)):
        raise ModelError(f"{where}: uses operators of {strange[0]!r}: expected those of ONNX alone")
    if model.functions:
        raise ModelError(f"{where}: defines operators of its own, which a bundle may not")
    _check_ports(model.graph, card, where)


def name_outputs(card: ModelCard) -> tuple[str, ...]:
    """Return the names of the maps that a network with a card draws, or what a detector finds."""
    if card.detector is not None:
        return ("boxes", "scores")
    more = (("affinity", card.edges), ("identity", card.identities))
    return ("score", "offset", *(name for name, there in more if there))


def _list_nodes(graph: Any) -> Iterator[Any]:  # noqa: ANN401 - protobuf is not typed
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.HasField("g") else []
            for subgraph in (*inner, *attribute.graphs):
                yield from _list_nodes(subgraph)


def _check_ports(graph: Any, card: ModelCard, where: str) -> None:  # noqa: ANN401
    constants = {tensor.name for tensor in graph.initializer}
    inputs = tuple(port.name for port in graph.input if port.name not in constants)
    outputs = tuple(port.name for port in graph.output)
    wanted = name_outputs(card)
    if inputs != ("frames",) or outputs != wanted:
        raise ModelError(
            f"{where}: takes {', '.join(inputs) or 'nothing'} and gives {', '.join(outputs)}; "
            f"expected a network that takes frames and gives {', '.join(wanted)}"
        )
    if card.detector is not None:
        return
    keypoints = len(card.skeleton.bodyparts)
    channels = {"score": keypoints, "offset": keypoints, "affinity": len(card.edges)}
    channels["identity"] = len(card.identities)
    for port in graph.output:
        dims = port.type.tensor_type.shape.dim
        found = dims[1].dim_value if len(dims) > 1 else 0
        if found and found != channels[port.name]:
            raise ModelError(
                f"{where}: draws {found} maps of {port.name}, but the card names "
                f"{channels[port.name]}: it is a network of other bodyparts"
            )
