"""A network's predictions as a dataset, whose axes are those of pose files."""

import numpy as np
import pytest

import pipeline_lib
from pipeline_lib.api.network import Network
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.decoding import Located


class Counts:
    """Stands for a predictor of two animals of three bodyparts: each number is its own."""

    surplus = 0
    card = ModelCard.model_construct(
        name="pose", individuals=("a", "b"), skeleton=Skeleton(bodyparts=("nose", "back", "tail"))
    )

    def predict(self, frames):
        position = np.arange(len(frames) * 12, dtype=np.float32).reshape(-1, 2, 3, 2)
        return Located(position, position[..., 0] / 100)


def test_predictions_have_the_axes_of_pose_files():
    found = Network(Counts()).predict(np.zeros((4, 8, 8, 3), np.uint8))
    assert found.position.dims == ("frame", "space", "keypoint", "individual")
    assert found.position.shape == (4, 2, 3, 2)
    assert found.confidence.dims == ("frame", "keypoint", "individual")
    # Frame 1, the second animal's last bodypart: 12 + 6 + 4, and y is the number after x.
    tail = found.isel(frame=1).sel(individual="b", keypoint="tail")
    assert tail.position.sel(space=["x", "y"]).values.tolist() == [22.0, 23.0]
    assert tail.confidence.item() == np.float32(0.22)


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        (np.zeros((8, 8, 3), np.uint8), "of a single frame give frame"),
        (np.zeros((1, 8, 8), np.uint8), r"found \(8, 8\), uint8$"),
        (np.zeros((1, 8, 8, 3)), r"found \(8, 8, 3\), float64$"),
        (np.zeros((1, 0, 8, 3), np.uint8), r"found \(0, 8, 3\), uint8$"),
        ([[1, 2], [3, 4]], r"found \(2,\), int64$"),
    ],
)
def test_what_are_no_frames_is_refused(frames, found):
    with pytest.raises(ValueError, match=found):
        Network(Counts()).predict(frames)


def test_frames_may_come_one_by_one():
    frames = (np.zeros((8, 8, 3), np.uint8) for _ in range(3))
    assert Network(Counts()).predict(frames).sizes["frame"] == 3


def test_a_network_says_what_it_is():
    assert repr(Network(Counts())) == "<Network 'pose': 3 keypoints, 2 individuals>"


def test_an_unknown_runtime_is_named(tmp_path):
    with pytest.raises(ValueError, match="'tensorrt' is none of auto, openvino, onnx, torch"):
        pipeline_lib.load_network(tmp_path, runtime="tensorrt")
