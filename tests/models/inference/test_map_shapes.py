"""Test that a network is run only where it draws the maps that its card describes."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.models.card import DeconvolutionLayout, DeepLabCutLayout, ModelCard
from pipeline_lib.models.inference.detector import OnnxDetector
from pipeline_lib.models.inference.map_shapes import check_maps, expect_shapes
from pipeline_lib.models.inference.predictor import RuntimeOptions, load_predictor
from pipeline_lib.models.network.deeplabcut import DeepLabCutNetwork
from tests.models.synthetic import write_tiny_model

FRAMES = (2, 96, 128, 3)


def make_card(**values):
    unset = dict.fromkeys(("deeplabcut", "lightning_pose", "sleap_nn", "detector"))
    known = {"stride": 8, "edges": (), "identities": (), **unset}
    return ModelCard.model_construct(skeleton=Skeleton(bodyparts=("a", "b", "c")), **known | values)


def test_shapes_follow_from_card_and_frames():
    card = make_card(edges=((0, 1), (1, 2)), identities=("i", "j", "k", "l"))
    assert expect_shapes(card, FRAMES) == {
        "score": (2, 3, 12, 16),
        "offset": (2, 3, 2, 12, 16),
        "affinity": (2, 2, 2, 12, 16),
        "identity": (2, 4, 12, 16),
    }
    # Networks that tell positions have one cell.
    for name in ("lightning_pose", "sleap_nn"):
        assert expect_shapes(make_card(**{name: object()}), FRAMES)["score"] == (2, 3, 1, 1)


@pytest.mark.parametrize("sides", [(128, 192), (97, 131), (250, 33)])
@pytest.mark.parametrize(
    ("stride", "kernels", "strides", "final"),
    [(16, (3,), (2,), 0), (32, (3, 4), (2, 2), 1), (16, (), (), 3)],
)
def test_shapes_of_deeplabcut_are_those_of_its_layers(sides, stride, kernels, strides, final):
    """Transposed convolutions have no padding: maps are a little larger than the frame."""
    last = 3 if kernels else 512
    heatmap = DeconvolutionLayout(
        channels=(512, *(last for _ in kernels)),
        kernel_size=kernels,
        strides=strides,
        final_channels=3 if final else 0,
        final_kernel=final,
    )
    layout = DeepLabCutLayout(
        backbone="ResNet",
        model_name="resnet18",
        output_stride=stride,
        heatmap=heatmap,
        locref=None,
        sigmoid=True,
    )
    with torch.inference_mode():
        maps = DeepLabCutNetwork(layout, 3).eval()(torch.zeros(1, 3, *sides))
    frames = (1, *sides, 3)
    named = dict(zip(("score", "offset"), maps, strict=True))
    assert check_maps(named, make_card(deeplabcut=layout), frames, "file") is None
    assert tuple(maps[0].shape) == expect_shapes(make_card(deeplabcut=layout), frames)["score"]


def test_maps_of_another_network_are_refused():
    good = {name: np.zeros(shape) for name, shape in expect_shapes(make_card(), FRAMES).items()}
    assert check_maps(good, make_card(), FRAMES, "file") is None
    for name, shape, found in (
        ("score", (2, 1, 12, 16), "(2, 1, 12, 16)"),
        ("score", (2, 4, 12, 16), "(2, 4, 12, 16)"),
        ("score", (1, 3, 12, 16), "(1, 3, 12, 16)"),
        ("score", (2, 3, 24, 32), "(2, 3, 24, 32)"),
        ("score", (2, 3, 12), "(2, 3, 12)"),
        ("offset", (2, 1, 2, 12, 16), "(2, 1, 2, 12, 16)"),
        ("offset", (2, 3, 2, 1, 1), "(2, 3, 2, 1, 1)"),
    ):
        with pytest.raises(ModelError) as caught:
            check_maps(good | {name: np.zeros(shape)}, make_card(), FRAMES, "file")
        assert str(caught.value).startswith(
            f"file: from frames of shape (2, 96, 128, 3) it draws {name} of shape {found}; its"
        )
    with pytest.raises(ModelError, match=r"draws affinity of shape \(none\)"):
        check_maps(good, make_card(edges=((0, 1),)), FRAMES, "file")


def write_network(path, bodyparts=3, stride=8, offsets=None, sides=None):
    """Write a network of pooled frames, of which nothing states the shapes of its maps.

    With `sides`, it takes frames of this height and width alone, whatever it says.
    """
    fixed = helper.make_node("Reshape", ["frames", "shape"], ["seen"])
    shape = [1, *sides, 3] if sides else [0, 0, 0, 3]
    pool = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
    nodes = [
        fixed,
        helper.make_node("Cast", ["seen"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["pooled"], **pool),
        helper.make_node("ReduceMean", ["pooled"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["grey", "scale"], ["map"]),
        helper.make_node("Concat", ["map"] * bodyparts, ["score"], axis=1),
        helper.make_node("Mul", ["grey", "zero"], ["none"]),
        helper.make_node("Unsqueeze", ["none", "second"], ["one"]),
        helper.make_node("Concat", ["one", "one"], ["two"], axis=2),
        helper.make_node("Concat", ["two"] * (offsets or bodyparts), ["offset"], axis=1),
    ]
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 255]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("second", TensorProto.INT64, [1], [2]),
        helper.make_tensor("shape", TensorProto.INT64, [4], shape),
    ]
    takes = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["b", "h", "w", 3])
    gives = [helper.make_tensor_value_info(one, 1, None) for one in ("score", "offset")]
    graph = helper.make_graph(nodes, "g", [takes], gives, constants)
    opset = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    made = ModelFiles(tmp_path_factory.mktemp("model"))
    write_tiny_model(made)
    return made


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_runtimes_refuse_a_network_that_is_not_that_of_its_card(files, runtime):
    frame = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)

    def predict(**network):
        write_network(files.network, **network)
        return load_predictor(files, RuntimeOptions(runtime)).predict([frame])

    found = predict()
    assert found.position.shape == (1, 1, 3, 2)
    # The brightest cell of 12 x 16, for all bodyparts.
    cell = frame.reshape(12, 8, 16, 8, 3).mean((1, 3, 4))
    row, column = np.unravel_index(cell.argmax(), cell.shape)
    np.testing.assert_allclose(found.position[0, 0], [[8 * column + 3.5, 8 * row + 3.5]] * 3)
    for network, drawn in (
        ({"bodyparts": 1}, r"score of shape \(1, 1, 12, 16\)"),
        ({"bodyparts": 4}, r"score of shape \(1, 4, 12, 16\)"),
        ({"offsets": 1}, r"offset of shape \(1, 1, 2, 12, 16\)"),
        ({"stride": 4}, r"score of shape \(1, 3, 24, 32\)"),
        ({"stride": 16}, r"score of shape \(1, 3, 6, 8\)"),
        ({"sides": (64, 64)}, r"cannot run it on frames of shape \(1, 96, 128, 3\)"),
    ):
        with pytest.raises(ModelError, match=drawn) as caught:
            predict(**network)
        assert str(caught.value).startswith(f"{files.network}: ")


def test_a_detector_gives_a_score_for_each_box(tmp_path):
    path, frame = tmp_path / "network.onnx", np.zeros((32, 32, 3), np.uint8)

    def find(boxes, scores):
        constants = [
            helper.make_tensor("boxes", 1, boxes, np.zeros(np.prod(boxes))),
            helper.make_tensor("scores", 1, scores, np.ones(np.prod(scores))),
        ]
        takes = helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, "h", "w", 3])
        gives = [helper.make_tensor_value_info(one, 1, None) for one in ("boxes", "scores")]
        nodes = [helper.make_node("Constant", [], [one.name], value=one) for one in constants]
        graph = helper.make_graph(nodes, "g", [takes], gives)
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        path.write_bytes(model.SerializeToString())
        return OnnxDetector(path).find(frame)

    assert find((2, 4), (2,)).box.shape == (2, 4)
    for boxes, scores in (((2, 5), (2,)), ((2, 4), (3,)), ((8,), (2,)), ((2, 4), (2, 1))):
        with pytest.raises(ModelError, match="it is no detector") as caught:
            find(boxes, scores)
        assert str(caught.value).startswith(f"{path}: it gives boxes of shape ({boxes[0]},")
