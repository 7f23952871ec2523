"""Find coloured discs without a network, so that what is predicted is known exactly."""

import numpy as np

from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.live.cropping import CroppingRules
from pipeline_lib.live.networks import LiveNetworks
from pipeline_lib.live.predictor import LivePredictor
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.decoding import Located

BODYPARTS = ("red", "green", "blue")
RADIUS = 4.0


def draw(points, size=(120, 160)):
    """Draw a disc per bodypart at points (individual, keypoint, 2); NaN draws none."""
    image = np.full((*size, 3), 90, np.uint8)
    rows, columns = np.mgrid[: size[0], : size[1]]
    for animal, pose in enumerate(np.asarray(points)):
        for channel, (x, y) in enumerate(pose):
            if np.isfinite(x):
                here = np.hypot(columns - x, rows - y) <= RADIUS
                image[here] = animal
                image[here, channel] = 255
    return image


class DiscFinder:
    """Stands for a network of `animals` animals: finds the centre of each disc."""

    surplus = 0

    def __init__(self, animals=1):
        self.card = ModelCard.model_construct(
            name="discs",
            individuals=tuple(f"animal{n}" for n in range(1, animals + 1)),
            skeleton=Skeleton(bodyparts=BODYPARTS, edges=(("red", "green"),)),
            scale=1.0,
            stride=8,
            window=None,
        )
        self.sizes = []

    def predict(self, frames):
        animals = self.card.animals
        position = np.full((len(frames), animals, 3, 2), np.nan, np.float32)
        confidence = np.zeros((len(frames), animals, 3), np.float32)
        for row, frame in enumerate(frames):
            self.sizes.append(frame.shape[:2])
            for animal in range(animals):
                for channel in range(3):
                    other = (channel + 1) % 3
                    here = (frame[..., channel] == 255) & (frame[..., other] == animal)
                    ys, xs = np.nonzero(here)
                    if len(xs):
                        position[row, animal, channel] = xs.mean(), ys.mean()
                        confidence[row, animal, channel] = 0.9
            # A network finds animals in any order: those further left first.
            order = np.argsort(np.nan_to_num(position[row, :, 0, 0], nan=1e9))
            position[row], confidence[row] = position[row][order], confidence[row][order]
        return Located(position, confidence)


def make_predictor(animals=1, ahead_ms=0.0, **rules):
    """Return a live predictor of discs, and the finder that it asks."""
    finder = DiscFinder(animals)
    predictor = LivePredictor.__new__(LivePredictor)
    predictor._set_up(LiveNetworks(finder, finder, "discs"), CroppingRules(**rules))
    predictor.ahead_ms, predictor._noise, predictor._acceleration = ahead_ms, 1.0, 3000.0
    return predictor, finder
