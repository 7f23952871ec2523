"""Predict several animals top-down: find the centre of each, then predict a window around it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.core.settings.network import LocatingSettings
from pipeline_lib.kernels.ensembles.members import combine_members
from pipeline_lib.kernels.tracking.similarity import centre_poses
from pipeline_lib.kernels.window_poses import SharingRules, rank_poses, share_peaks
from pipeline_lib.kernels.windows import centre_windows, cut_window
from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.locating.blocks import predict_blocks
from pipeline_lib.models.inference.predictor import Image, PosePredictor

# Share of a window by which a followed animal may move between frames.
_FARTHEST_MOVE = 0.25


class TopDown:
    """Predict with two networks: one finds the animals, the other the keypoints of each.

    The result of a frame depends on that frame alone, or in blocks of frames on the earlier frames
    of its block. Several threads may call `predict`.

    Parameters
    ----------
    locator
        Network that finds the centres of animals in a shrunk frame, at most as many as it has
        slots.
    networks
        Network that locates the keypoints of the animal in the middle of a window, or several as an
        ensemble; the card of the first one gives the size of the window. Their slots hold the peaks
        of each keypoint, best first.
    settings
        Confidence from which an animal counts as found.
    assembly
        Thresholds for keypoints and individuals.

    Attributes
    ----------
    card
        Card of the network, with the individuals of the locator.
    surplus
        Number of the locator's slots beyond the individuals of the card.
    """

    def __init__(
        self,
        locator: PosePredictor,
        networks: Sequence[PosePredictor],
        settings: LocatingSettings,
        assembly: AssemblySettings,
    ) -> None:
        network = networks[0]
        self.card = network.card.model_copy(update={"individuals": locator.card.individuals})
        self.surplus = locator.surplus
        self._locator, self._networks = locator, tuple(networks)
        self._settings, self._assembly = settings, assembly
        scale = network.card.scale
        # Window in frame px that shrinks to the network's window exactly.
        self._side = round((network.card.window or settings.window) / scale)
        self._cell = network.card.stride / scale

    def predict(self, frames: Sequence[Image], first: Sequence[bool] | None = None) -> Located:
        """Locate keypoints; see `pipeline_lib.models.inference.predictor.Predictor.predict`.

        The windows of all frames form batches. A keypoint below ``min_confidence`` is NaN with
        confidence 0. So is an individual with too few keypoints, and one that another window
        found with a higher confidence. A keypoint that two windows found belongs to one of them
        if the other one has another peak. Individuals are sorted by confidence.

        In a block, the windows of a frame lie around the poses of the frame before. The locator
        searches the frame if an animal of the frame before is not found again, has moved by more
        than a quarter of its window, or if there was none. An animal that appears within a block
        is thus found when the next block begins, or when another one is lost.
        """
        if first is None:
            return self._look(frames)
        return predict_blocks(frames, first, self._look, self._follow)

    def warm_up(self, frame: Image) -> None:
        """Let both networks compute, as predicting a frame with an animal would."""
        self._locator.predict([frame])
        corner = np.zeros(2, np.int64)
        for network in self._networks:
            network.predict([cut_window(frame, corner, (self._side, self._side))])

    def _look(self, frames: Sequence[Image]) -> Located:
        """Predict each frame alone."""
        return self._look_inside(frames, *self._find_centres(frames))[0]

    def _follow(
        self, frames: Sequence[Image], before: Located
    ) -> tuple[Located, NDArray[np.bool_]]:
        """Predict frames in windows around earlier poses; return which are not to be trusted."""
        centres = self._centre(before)
        there = np.isfinite(centres).all(-1)
        row, slot = np.nonzero(there)
        found, order = self._look_inside(frames, row, slot, centres[row, slot])
        came_from = np.take_along_axis(centres, order[..., None], axis=1)
        moved = np.linalg.norm(self._centre(found) - came_from, axis=-1)
        kept = (moved <= _FARTHEST_MOVE * self._side).sum(axis=1)
        wanted = np.count_nonzero(there, axis=1)
        return found, (kept < wanted) | (wanted == 0)

    def _centre(self, found: Located) -> NDArray[np.float64]:
        """Return the centres (frame, individual, 2) of the certain keypoints of individuals."""
        certain = found.confidence >= self._assembly.pcutoff
        return centre_poses(np.where(certain[..., None], found.position, np.nan))

    def _look_inside(
        self,
        frames: Sequence[Image],
        row: NDArray[np.intp],
        slot: NDArray[np.intp],
        centre: NDArray[np.floating],
    ) -> tuple[Located, NDArray[np.intp]]:
        """Predict animals of frames in their windows; return the slot that each pose was in."""
        corner = centre_windows(centre, self._side, max(1, int(self._cell)))
        size = (self._side, self._side)
        windows = [cut_window(frames[r], one, size) for r, one in zip(row, corner, strict=True)]
        inside = self._predict_windows(windows, row, corner)
        slots = len(self.card.individuals) + self.surplus
        shape = (len(frames), slots, len(self.card.skeleton.bodyparts))
        position = np.full((*shape, 2), np.nan, np.float32)
        confidence = np.zeros(shape, np.float32)
        position[row, slot], confidence[row, slot] = inside.position, inside.confidence
        spread = None
        if inside.spread is not None:
            spread = np.full(shape, np.nan, np.float32)
            spread[row, slot] = inside.spread
        position, confidence, order = rank_poses(
            position,
            confidence,
            pcutoff=self._assembly.pcutoff,
            min_confidence=self._assembly.lowest_confidence,
            min_keypoints=self._assembly.min_keypoints,
            least_size=self._cell,
        )
        if spread is not None:
            spread = np.take_along_axis(spread, order[..., None], axis=1)
            spread = np.where(np.isnan(position[..., 0]), np.float32(np.nan), spread)
        return Located(position, confidence, None, spread), order

    def _predict_windows(
        self, windows: Sequence[Image], row: NDArray[np.intp], corner: NDArray[np.int64]
    ) -> Located:
        """Predict the animal of each window; axes window and keypoint, in px of the frames."""
        found = [network.predict(windows) for network in self._networks]
        shift = corner[:, None, None].astype(np.float32)
        peaks = np.stack([one.position + shift for one in found])
        sure = np.stack([one.confidence for one in found])
        position, confidence = peaks[:, :, 0].copy(), sure[:, :, 0].copy()
        rules = SharingRules(self._assembly.pcutoff, self._assembly.min_keypoints, self._cell)
        for frame in np.flatnonzero(np.bincount(row) > 1) if row.size else ():
            at = row == frame
            position[:, at], confidence[:, at] = share_peaks(peaks[:, at], sure[:, at], rules)
        if len(found) == 1:
            return Located(position[0], confidence[0])
        # As if each window was a frame with one individual.
        combined = combine_members(position[:, :, None], confidence[:, :, None])
        return Located(
            combined.position[:, 0], combined.confidence[:, 0], None, combined.spread[:, 0]
        )

    def _find_centres(
        self, frames: Sequence[Image]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """Return frame, slot and centre (x and y in px) of each animal."""
        position, confidence = self._locator.predict(frames)[:2]
        centre = position[:, :, 0]
        found = (confidence[:, :, 0] >= self._settings.pcutoff) & np.isfinite(centre).all(-1)
        row, slot = np.nonzero(found)
        return row, slot, centre[row, slot]
