"""Predict from coarse to fine: find the animal in a small frame, then predict a window around it.

The window costs a fraction of a whole frame at full resolution.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.core.settings.network import LocatingSettings, StatedLocating
from pipeline_lib.core.skeleton import CENTRE
from pipeline_lib.kernels.windows import WindowShape, are_worth_windows, cut_window
from pipeline_lib.models.card import (
    ModelCard,
    check_locator,
    needs_locator,
    read_card,
    settle_locating,
)
from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.detector import load_detector
from pipeline_lib.models.inference.ensemble import Ensemble
from pipeline_lib.models.inference.locating.blocks import predict_blocks
from pipeline_lib.models.inference.locating.boxed import BoxedTopDown
from pipeline_lib.models.inference.locating.top_down import TopDown
from pipeline_lib.models.inference.predictor import (
    Image,
    PosePredictor,
    Predictor,
    RuntimeOptions,
    load_predictor,
    store_located,
)
from pipeline_lib.models.inference.preprocessing import PADDING_MULTIPLE
from pipeline_lib.models.members import check_members

# Batches are padded with black frames: one whole frame must not cost as much as 32.
_FEW = 4


@dataclass(frozen=True)
class LookCounts:
    """Count the frames predicted as a whole, and those that needed no locator.

    Attributes
    ----------
    frames
        Number of frames, without those that were followed.
    not_found
        Frames predicted as a whole because no animal was found that fits into the window.
    cut
        Frames predicted as a whole after the window, which seemed to cut off part of the animal.
    followed
        Frames with a window around the pose of the frame before.
    """

    frames: int = 0
    not_found: int = 0
    cut: int = 0
    followed: int = 0

    def __add__(self, other: "LookCounts") -> "LookCounts":
        return LookCounts(
            self.frames + other.frames,
            self.not_found + other.not_found,
            self.cut + other.cut,
            self.followed + other.followed,
        )


class CoarseToFine:
    """Predict with two networks: a locator on small frames, and a network on windows.

    The result of a frame depends on that frame alone, or in blocks of frames on the earlier frames
    of its block. Several threads may call `predict`.

    Parameters
    ----------
    locator
        Network that finds the animal in a shrunk frame.
    network
        Network that locates keypoints in a window or in a whole frame.
    settings
        Size of the window, and the confidence from which an animal counts as found.
    whole_network
        The same network in smaller batches, for whole frames; None uses `network`.

    Attributes
    ----------
    network
        Network that locates keypoints in a window.
    """

    def __init__(
        self,
        locator: PosePredictor,
        network: PosePredictor,
        settings: LocatingSettings,
        whole_network: PosePredictor | None = None,
    ) -> None:
        self.card, self.surplus = network.card, network.surplus
        self._locator, self._settings = locator, settings
        self.network = network
        self._whole_network = whole_network or network
        self._least = math.ceil(settings.min_found * len(self.card.skeleton.bodyparts))
        self._counts, self._lock = LookCounts(), threading.Lock()

    @property
    def counts(self) -> LookCounts:
        """Return the counts of the frames predicted so far."""
        return self._counts

    def predict(self, frames: Sequence[Image], first: Sequence[bool] | None = None) -> Located:
        """Locate keypoints; see `pipeline_lib.models.inference.predictor.Predictor.predict`.

        Where the settings leave it open, all frames of a size are predicted as wholes unless
        networks see at most half of the pixels in windows.

        A frame is predicted as a whole if the locator finds too few keypoints, or keypoints too
        far apart for a window. It is predicted again as a whole if the window seems to cut off
        part of the animal: a keypoint lies in the outermost cells, or the locator found a keypoint
        that the window lacks.

        In a block, the window of a frame lies around the pose of the frame before. The frame is
        predicted as one alone if that pose has too few certain keypoints for a window, or if the
        window seems to cut off part of the animal.
        """
        if not frames or not self.uses_windows(frames[0].shape[:2]):
            return self.network.predict(frames)
        if first is None:
            return self._look(frames)
        return predict_blocks(frames, first, self._look, self._follow)

    def uses_windows(self, frame: tuple[int, int]) -> bool:
        """Tell whether frames of a size, height and width in px, are predicted in windows."""
        if self._shape_window(frame).holds_frame:
            return False
        if self._settings.enabled != AUTO:
            return True
        scales = (self.card.scale, self._locator.card.scale)
        return are_worth_windows(frame, *scales, self._settings.window**2)

    def warm_up(self, frame: Image) -> None:
        """Let the networks compute all that predicting a frame may need, whatever it shows."""
        size = frame.shape[:2]
        if self.uses_windows(size):
            shape = self._shape_window(size)
            self._locator.predict([frame])
            self.network.predict([cut_window(frame, np.zeros(2, np.int64), shape.window)])
        self._whole_network.predict([frame])

    def _follow(
        self, frames: Sequence[Image], before: Located
    ) -> tuple[Located, NDArray[np.bool_]]:
        """Predict frames in windows around earlier poses; return which are not to be trusted."""
        shape = self._shape_window(frames[0].shape[:2])
        known = before.confidence[:, 0] >= self._settings.pcutoff
        points = np.where(known[..., None], before.position[:, 0], np.nan)
        corner, placed = shape.place(points, self._least)
        rows = np.flatnonzero(placed).tolist()
        lost = ~placed
        if rows:
            inside = self._look_inside(frames, rows, corner, shape)
            store_located(before, rows, inside)
            lost[rows] = self._seems_cut(inside, corner[rows], known[rows], shape)
        with self._lock:
            self._counts += LookCounts(followed=int((~lost).sum()))
        return before, lost

    def _look_inside(
        self,
        frames: Sequence[Image],
        rows: Sequence[int],
        corner: NDArray[np.int64],
        shape: WindowShape,
    ) -> Located:
        """Predict some of the frames in their windows, in px of the frame."""
        windows = [cut_window(frames[row], corner[row], shape.window) for row in rows]
        inside = self.network.predict(windows)
        moved = inside.position + corner[rows].astype(np.float32)[:, None, None]
        return inside._replace(position=moved)

    def _seems_cut(
        self,
        inside: Located,
        corner: NDArray[np.int64],
        known: NDArray[np.bool_],
        shape: WindowShape,
    ) -> NDArray[np.bool_]:
        """Return which windows have a keypoint at their border, or lack one that was known."""
        certain = inside.confidence[:, 0] >= self._settings.pcutoff
        border = shape.find_cut(inside.position[:, 0], corner) & certain
        return np.asarray((border | (known & ~certain)).any(axis=1))

    def _look(self, frames: Sequence[Image]) -> Located:
        """Predict each frame alone."""
        shape = self._shape_window(frames[0].shape[:2])
        coarse, coarse_confidence = self._locator.predict(frames)[:2]
        found = coarse_confidence[:, 0] >= self._settings.pcutoff
        points = np.where(found[..., None], coarse[:, 0], np.nan)
        corner, placed = shape.place(points, self._least)
        position, confidence = np.empty_like(coarse), np.empty_like(coarse_confidence)
        spread = np.full_like(coarse_confidence, np.nan)
        several = False
        whole = ~placed
        rows = np.flatnonzero(placed).tolist()
        if rows:
            inside = self._look_inside(frames, rows, corner, shape)
            position[rows], confidence[rows] = inside.position, inside.confidence
            if inside.spread is not None:
                several, spread[rows] = True, inside.spread
            whole[rows] = self._seems_cut(inside, corner[rows], found[rows], shape)
        rows = np.flatnonzero(whole).tolist()
        if rows:
            seen = self._whole_network.predict([frames[row] for row in rows])
            position[rows], confidence[rows] = seen.position, seen.confidence
            if seen.spread is not None:
                several, spread[rows] = True, seen.spread
        not_found = len(frames) - int(placed.sum())
        with self._lock:
            self._counts += LookCounts(len(frames), not_found, len(rows) - not_found)
        return Located(position, confidence, None, spread if several else None)

    def _shape_window(self, frame: tuple[int, int]) -> WindowShape:
        """Return height and width of the window in frame px; the network shrinks it as a frame."""
        return shape_window(self.card, self._settings.window, frame)


def shape_window(card: ModelCard, window: int, frame: tuple[int, int]) -> WindowShape:
    """Return the shape of the window that a network sees of a frame.

    Parameters
    ----------
    card
        Model card of the network.
    window
        Side of the window, network px.
    frame
        Height and width of the frames, px.
    """
    # Rounded down, so that the shrunk window is not larger than set.
    grid = int(PADDING_MULTIPLE / card.scale)
    side = window // PADDING_MULTIPLE * grid
    return WindowShape.of(frame, side, card.stride / card.scale, grid)


def load_pose_predictor(
    files: ModelFiles,
    options: RuntimeOptions,
    locating: StatedLocating,
    assembly: AssemblySettings | None = None,
    members: Sequence[ModelFiles] = (),
) -> PosePredictor:
    """Load the network, with its locator if the settings ask for one, as a predictor.

    A network that was trained on windows around animals always needs its locator.

    Parameters
    ----------
    files
        Files of the model.
    options
        Runtime of the networks.
    locating
        Settings of the locator; for what is `auto`, see `settle_locating`.
    assembly
        Settings of the assembly of individuals.
    members
        Files of the networks of an ensemble; one of them alone is no ensemble. Empty: the network
        of `files`. All share its locator.

    Raises
    ------
    ModelError
        As `load_predictor`, if the two networks locate different bodyparts, or if networks cannot
        be members of one ensemble.
    """
    networks = members or (files,)
    loaded = [load_predictor(one, options, assembly) for one in networks]
    check_members([(str(one.card), two.card) for one, two in zip(networks, loaded, strict=True)])
    settled = settle_locating(locating, loaded[0].card)
    if loaded[0].card.window is not None:
        return _load_top_down(files, options, settled, loaded, assembly)
    network = _join_networks(loaded, assembly)
    if not needs_locator(locating, network.card):
        return network
    check_locator(files, top_down=False)
    locator = load_predictor(files.locator, options)
    theirs, ours = (one.card.skeleton.bodyparts for one in (locator, network))
    if theirs != ours:
        raise ModelError(
            f"{files.locator.folder}: locates {', '.join(theirs)}; {files.folder} locates "
            f"{', '.join(ours)}: run `train --locator` again"
        )
    few = network
    if network.batch_size > _FEW:
        fewer = replace(options, batch_size=_FEW)
        few = _join_networks([load_predictor(one, fewer) for one in networks])
    return CoarseToFine(locator, network, settled, few)


def _join_networks(
    networks: Sequence[Predictor], assembly: AssemblySettings | None = None
) -> Predictor | Ensemble:
    """Return the only network, or an ensemble of several."""
    return networks[0] if len(networks) == 1 else Ensemble(networks, assembly)


def _load_top_down(
    files: ModelFiles,
    options: RuntimeOptions,
    locating: LocatingSettings,
    networks: Sequence[Predictor],
    assembly: AssemblySettings | None,
) -> TopDown | BoxedTopDown:
    check_locator(files, top_down=True)
    assembly = assembly or AssemblySettings(surplus=0)
    layout = networks[0].card.deeplabcut
    if layout is not None and layout.crop is not None:
        card = read_card(files.locator.card)
        cores = options.threads or count_cores()
        finder = load_detector(files.locator, card, options, cores)
        network = _join_networks(networks)
        return BoxedTopDown(finder, network, layout.crop, locating.pcutoff, assembly)
    # Every centre with sufficient confidence is an animal.
    centres = AssemblySettings(
        pcutoff=locating.pcutoff,
        min_confidence=locating.pcutoff,
        min_keypoints=1,
        surplus=assembly.surplus,
    )
    locator = load_predictor(files.locator, options, centres)
    found = locator.card.skeleton.bodyparts
    if found != (CENTRE,):
        raise ModelError(
            f"{files.locator.folder}: locates {', '.join(found)}, not the centres of animals: run "
            "`make-targets --locator` and `train --locator` again"
        )
    return TopDown(locator, networks, locating, assembly)
