"""Several animals bottom-up: in an ensemble, certain keypoints win over weak ones."""

import numpy as np

from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.ensemble import Ensemble

NAN = np.nan
NAMES = ("nose", "back", "tail", "paw")
BODY = [[50.0, 50.0], [60.0, 50.0], [70.0, 50.0], [60.0, 60.0]]


class Tells:
    """Simulate a member: it finds the same animal in every frame."""

    surplus, batch_size = 0, 1
    card = ModelCard.model_construct(
        name="pose",
        scale=1.0,
        stride=8,
        individuals=("a", "b"),
        skeleton=Skeleton(bodyparts=NAMES),
    )

    def __init__(self, position, confidence):
        self.position = np.full((1, 2, 4, 2), NAN, np.float32)
        self.confidence = np.zeros((1, 2, 4), np.float32)
        self.position[0, 0], self.confidence[0, 0] = position, confidence

    def predict(self, frames):
        del frames
        return Located(self.position, self.confidence)


def test_a_weak_keypoint_counts_only_where_no_member_is_certain():
    moved = [BODY[0], BODY[1], BODY[2], [90.0, 90.0]]
    one = Tells(BODY, [0.9, 0.9, 0.06, 0.9])
    other = Tells(moved, [0.9, 0.9, 0.04, 0.03])
    settings = AssemblySettings(pcutoff=0.1, min_confidence=0.02)
    found = Ensemble([one, other], settings).predict([None])
    # The paw is that of the certain member, which is half of them; the tail is weak in both.
    np.testing.assert_allclose(found.position[0, 0], BODY, rtol=1e-6)
    np.testing.assert_allclose(found.confidence[0, 0], [0.9, 0.9, 0.05, 0.45], rtol=1e-6)
    assert np.isnan(found.position[0, 1]).all()


def test_the_median_may_be_too_weak():
    one = Tells(BODY, [0.9, 0.9, 0.9, 0.03])
    other = Tells([*BODY[:3], [NAN, NAN]], [0.9, 0.9, 0.9, 0.0])
    found = Ensemble([one, other], AssemblySettings(min_confidence=0.02)).predict([None])
    assert np.isnan(found.position[0, 0, 3]).all()
    assert found.confidence[0, 0, 3] == 0.0
