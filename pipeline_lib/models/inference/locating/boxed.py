"""Predict animals top-down as DeepLabCut does: a detector draws boxes, a network sees each."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.kernels.window_poses import keep_certain
from pipeline_lib.kernels.windows import cut_window, lay_crop
from pipeline_lib.models.card import CropLayout
from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.detector import BoxFinder
from pipeline_lib.models.inference.predictor import Image, PosePredictor


class BoxedTopDown:
    """Predict with a detector and a network of DeepLabCut.

    The result of a frame depends on that frame alone. Several threads may call `predict`.

    Parameters
    ----------
    finder
        The detector.
    network
        Network that sees the animal of a box.
    crop
        How boxes are cut out.
    pcutoff
        Score of a box from which it is an animal.
    assembly
        Thresholds for keypoints and individuals; a single animal keeps all its keypoints.

    Attributes
    ----------
    card
        Card of the network, with the individuals of the detector.
    surplus
        Number of slots beyond the individuals of the card.
    """

    def __init__(
        self,
        finder: BoxFinder,
        network: PosePredictor,
        crop: CropLayout,
        pcutoff: float,
        assembly: AssemblySettings,
    ) -> None:
        self.card = network.card.model_copy(update={"individuals": finder.card.individuals})
        self.surplus = assembly.surplus if self.card.animals > 1 else 0
        self._finder, self._network, self._crop = finder, network, crop
        self._pcutoff, self._assembly = pcutoff, assembly

    def predict(self, frames: Sequence[Image], first: Sequence[bool] | None = None) -> Located:
        """Locate keypoints; see `pipeline_lib.models.inference.predictor.Predictor.predict`.

        Individuals are in the order of their boxes, best first; where there is no box, all is NaN
        and the confidence 0. The detector searches each frame, also in a block.
        """
        del first  # a box around a pose is not the box that the network was trained with
        slots = self.card.animals + self.surplus
        crops, places, moves = [], [], []
        for row, found in enumerate(self._finder.find(frames, slots)):
            for slot, (box, score) in enumerate(zip(found.box, found.score, strict=True)):
                corner, size = lay_crop(
                    box, (self._crop.height, self._crop.width), self._crop.margin
                )
                if score < self._pcutoff or 0 in size:
                    continue
                crops.append(self._cut(frames[row], corner, size))
                places.append((row, slot))
                moves.append((corner, size))
        shape = (len(frames), slots, len(self.card.skeleton.bodyparts))
        position = np.full((*shape, 2), np.nan, np.float32)
        confidence = np.zeros(shape, np.float32)
        inside = self._network.predict(crops)
        for number, (place, (corner, size)) in enumerate(zip(places, moves, strict=True)):
            scale = np.array([size[1] / self._crop.width, size[0] / self._crop.height])
            position[place] = inside.position[number, 0] * scale + corner
            confidence[place] = inside.confidence[number, 0]
        return self._leave_out(position, confidence)

    def warm_up(self, frame: Image) -> None:
        """Let both networks compute, as predicting a frame with an animal would."""
        self._finder.find([frame], 1)
        self._network.predict([np.zeros((self._crop.height, self._crop.width, 3), np.uint8)])

    def _cut(self, frame: Image, corner: NDArray[np.int64], size: tuple[int, int]) -> Image:
        window = cut_window(frame, corner, size)
        wanted = (self._crop.width, self._crop.height)
        resized = cv2.resize(window, wanted, interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized, np.uint8)

    def _leave_out(self, position: NDArray[np.float32], confidence: NDArray[np.float32]) -> Located:
        """Leave out uncertain keypoints, and animals with too few, where there are several."""
        if self.card.animals > 1:
            position, confidence = keep_certain(
                position,
                confidence,
                pcutoff=self._assembly.pcutoff,
                min_confidence=self._assembly.lowest_confidence,
                min_keypoints=self._assembly.min_keypoints,
            )
        return Located(position, confidence)
