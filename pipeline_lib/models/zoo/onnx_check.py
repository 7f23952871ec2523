"""Check an exported network from a stranger before any runtime loads it."""

from collections.abc import Iterator
from typing import Any

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.onnx_file import check_onnx

# A runtime may load the operators of other domains as code from elsewhere.
_DOMAINS = ("", "ai.onnx")
# Numbers of ONNX for types of tensors.
_FLOAT, _UINT8 = 1, 2


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
    (frames,) = (port for port in graph.input if port.name not in constants)
    _check_frames(frames, card, where)
    for port in graph.output:
        _check_output(port, card, where)


def _check_frames(port: Any, card: ModelCard, where: str) -> None:  # noqa: ANN401
    """Refuse an input that is not frames of any size, as bytes."""
    found = _list_axes(port)
    # Detectors see one frame at a time.
    free = (None, None, None, 3) if card.detector is None else (1, None, None, 3)
    if port.type.tensor_type.elem_type != _UINT8 or found != free:
        raise ModelError(
            f"{where}: takes frames as {_describe(port)}; expected uint8 of shape (batch, height, "
            "width, 3), of which only the last axis is fixed: it cannot see every video"
        )


def _check_output(port: Any, card: ModelCard, where: str) -> None:  # noqa: ANN401
    """Refuse an output of another kind, or whose stated axes are others than those of the card.

    What it does not state is compared when the network is run.
    """
    keypoints, edges = len(card.skeleton.bodyparts), len(card.edges)
    expected = {
        "score": (None, keypoints, None, None),
        "offset": (None, keypoints, 2, None, None),
        "affinity": (None, edges, 2, None, None),
        "identity": (None, len(card.identities), None, None),
        "boxes": (None, 4),
        "scores": (None,),
    }[port.name]
    found = _list_axes(port)
    fits = found is None or (
        len(found) == len(expected)
        and all(one is None or two in (None, one) for one, two in zip(expected, found, strict=True))
    )
    if port.type.tensor_type.elem_type != _FLOAT or not fits:
        axes = ", ".join("any" if one is None else str(one) for one in expected)
        raise ModelError(
            f"{where}: gives {port.name} as {_describe(port)}, but a network as the card describes "
            f"it gives float of shape ({axes}): it is a network of other bodyparts"
        )


def _list_axes(port: Any) -> tuple[int | None, ...] | None:  # noqa: ANN401
    """Return the lengths of the axes, None for free ones; None if there is no shape."""
    if not port.type.tensor_type.HasField("shape"):
        return None
    dims = port.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)


def _describe(port: Any) -> str:  # noqa: ANN401
    kind = {_UINT8: "uint8", _FLOAT: "float"}.get(port.type.tensor_type.elem_type, "another type")
    axes = _list_axes(port)
    if axes is None:
        return f"{kind} of no stated shape"
    return f"{kind} of shape ({', '.join('any' if one is None else str(one) for one in axes)})"
