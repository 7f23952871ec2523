"""Test that the exported network of a bundle is that of its weights."""

import hashlib
import json

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from safetensors.torch import load, save

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.skeleton import CENTRE, Skeleton
from pipeline_lib.models.card import DetectorLayout, ModelCard
from pipeline_lib.models.inference.torch_runtime import build_network
from pipeline_lib.models.zoo.agreement import check_agreement
from pipeline_lib.models.zoo.archive import Bundle, read_bundle
from pipeline_lib.models.zoo.foreign.pack import describe_origin, pack_foreign
from pipeline_lib.models.zoo.manifest import Manifest
from tests.models.zoo.bundles import (
    UNET_LAYOUT,
    change,
    edit_card,
    read_members,
    write_int8_bundle,
    write_tiny_bundle,
)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("good"))


def refuse(path):
    with pytest.raises(ModelError) as caught:
        check_agreement(read_bundle(path))
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(f"{path}: ")


def with_weights(source, target, edit):
    """Write a bundle of which the tensors alone are others."""
    state = load(read_members(source)["weights.safetensors"])
    edit(state)
    return change(source, target, weights_safetensors=save(state))


def with_network(source, target, edit):
    """Write a bundle of which the exported network alone is another."""
    members = read_members(source)
    model = onnx.load_model_from_string(members["network.onnx"])
    edit(model.graph)
    content = model.SerializeToString()
    card = json.loads(members["model.json"])
    card["network_sha256"] = hashlib.sha256(content).hexdigest()
    return change(source, target, network_onnx=content, model_json=json.dumps(card).encode())


def test_a_bundle_as_it_was_written_agrees(good, tmp_path):
    assert check_agreement(read_bundle(good)) is None
    assert check_agreement(read_bundle(write_int8_bundle(tmp_path))) is None


def test_weights_of_another_seed_do_not(good, tmp_path):
    other = read_members(write_tiny_bundle(tmp_path, "other", seed=1))["weights.safetensors"]
    message = refuse(change(good, tmp_path / "b", weights_safetensors=other))
    assert message.startswith("network.onnx is another network than weights.safetensors beside it")
    assert "of the same frames, score differs by" in message


def test_a_single_bodypart_that_differs_is_found(good, tmp_path):
    def move(state):
        state["score.bias"][2] += 0.5

    assert "score differs" in refuse(with_weights(good, tmp_path / "b", move))


def test_the_refinement_scale_of_the_card_is_that_of_the_network(good, tmp_path):
    own = json.loads(read_members(good)["model.json"])["refinement_scale"]
    for scale in (2 * own, own / 2, 1e-300):
        message = refuse(edit_card(good, tmp_path / "b", refinement_scale=scale))
        assert "offset differs" in message
    message = refuse(edit_card(good, tmp_path / "b", refinement_scale=1e300))
    assert message.startswith("weights.safetensors: draws offset with values that are not finite")


def set_nan(graph):
    tensor = next(one for one in graph.initializer if one.dims and len(one.dims) == 4)
    values = np.full(tuple(tensor.dims), np.nan, np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def take_one_map(graph):
    """Let the network draw a single score map, and state no shape."""
    score = graph.output[0]
    score.type.tensor_type.ClearField("shape")
    last = next(node for node in graph.node if "score" in node.output)
    last.output[0] = "whole"
    graph.initializer.append(helper.make_tensor("first", onnx.TensorProto.INT64, [1], [0]))
    graph.node.append(helper.make_node("Gather", ["whole", "first"], ["score"], axis=1))


def test_an_exported_network_draws_finite_maps_of_the_shape_of_the_card(good, tmp_path):
    message = refuse(with_network(good, tmp_path / "b", set_nan))
    assert message.startswith("network.onnx: draws score with values that are not finite")
    message = refuse(with_network(good, tmp_path / "b", take_one_map))
    assert "it draws score of shape (2, 1, 16, 24); its card" in message
    assert "describes (2, 3, 16, 24)" in message


def bundle_foreign(tmp_path, card, seed=0, **state):
    """Return a bundle of a network of another tool with random weights, in memory."""
    torch.manual_seed(seed)
    given = build_network(card).state_dict() | state
    card, members = pack_foreign(card, given, tmp_path / "snapshot")

    class InMemory(Bundle):
        def read(self, name):
            return members.get(name)

    manifest = Manifest(name="other", written_by="test", members={})
    return InMemory(tmp_path / "b", "", manifest, card, None, ""), members


# Verified as any other, not on frames of this size.
UNET = UNET_LAYOUT.model_copy(update={"height": 2**16, "width": 2**16})


def describe(tmp_path, **layout):
    (tmp_path / "snapshot").write_bytes(b"weights")
    told = {"bodyparts": ("a", "b")} if "sleap_nn" in layout else {"bodyparts": (CENTRE,)}
    origin = describe_origin(tmp_path / "snapshot", 0, "other", "test", "another tool")
    if "sleap_nn" in layout:
        origin |= {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    return ModelCard(
        **origin,
        backbone="other",
        stride=1,
        refinement_scale=1.0,
        skeleton=Skeleton(**told),
        **layout,
    )


@pytest.mark.parametrize(
    "layout",
    [
        {"sleap_nn": UNET},
        {"detector": DetectorLayout(variant="ssdlite320_mobilenet_v3_large", score_threshold=0.5)},
    ],
)
def test_networks_of_other_tools_are_compared(tmp_path, layout):
    card = describe(tmp_path, **layout)
    bundle, members = bundle_foreign(tmp_path, card)
    assert check_agreement(bundle) is None
    with torch.random.fork_rng():
        torch.manual_seed(1)
        members["weights.safetensors"] = save(build_network(card).state_dict())
    with pytest.raises(ModelError, match=r"network\.onnx is another network than weights"):
        check_agreement(bundle)
