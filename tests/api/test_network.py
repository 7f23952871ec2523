"""A network's predictions as a dataset, whose axes are those of pose files."""

import numpy as np

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
