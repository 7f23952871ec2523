"""Learn from clips without labels: smooth, plausible and consistent poses.

References
----------
.. [1] Biderman et al., Lightning Pose: improved animal pose estimation via semi-supervised
   learning, Bayesian ensembling and cloud-native open-source tools, Nature Methods 2024.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.settings.network import TargetSettings
from pipeline_lib.core.settings.training.unsupervised import UnsupervisedSettings
from pipeline_lib.io.targets.clips import ClipStore
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.kernels.pose_subspace import Subspace, fit_subspace
from pipeline_lib.models.network.network import PoseNetwork

LOSSES = ("temporal", "pose_pca", "view_pca")
# Logits are sharpened by it, so that the thousand cells without a bodypart weigh nothing.
_SHARPNESS = 4.0
# Keypoints of lower confidence are not seen: where they are means nothing.
_SEEN = 0.05
# Share of the training in which the weights grow from 0: poses mean little at first.
_RAMP = 0.3
# Bodyparts in three dimensions, seen by any number of orthographic cameras.
_VIEW_COMPONENTS = 3
_FEWEST_POSES = 5


class PixelPoses(NamedTuple):
    """Hold poses that gradients flow through.

    Attributes
    ----------
    position
        Shape (frame, keypoint, 2), network px.
    seen
        Shape (frame, keypoint), bool; without a gradient.
    """

    position: Tensor
    seen: Tensor


def locate_softly(score: Tensor, offset: Tensor, stride: int) -> PixelPoses:
    """Return the mean position of each score map, so that maps can be learned from positions.

    Parameters
    ----------
    score
        Logits, shape (frame, keypoint, rows, columns).
    offset
        Shape (frame, keypoint, 2, rows, columns), network px.
    stride
        Network px per cell.
    """
    weight = functional.softmax(score.flatten(2) * _SHARPNESS, dim=2)
    rows, columns = score.shape[2:]
    y, x = torch.meshgrid(
        *(
            torch.arange(count, device=score.device, dtype=score.dtype) * stride + (stride - 1) / 2
            for count in (rows, columns)
        ),
        indexing="ij",
    )
    cells = torch.stack([x, y]).flatten(1)
    position = (weight[:, :, None] * (cells + offset.flatten(3))).sum(dim=3)
    return PixelPoses(position, torch.sigmoid(score.detach()).amax(dim=(2, 3)) >= _SEEN)


def measure_jumps(poses: PixelPoses, tolerance: float) -> Tensor:
    """Return the mean movement between neighbouring frames beyond a tolerance, px.

    Keypoints that are not seen in both frames do not count; without any, it is 0.
    """
    way = poses.position[1:] - poses.position[:-1]
    both = poses.seen[1:] & poses.seen[:-1]
    return _average(functional.relu(_length(way) - tolerance), both)


def measure_implausibility(poses: PixelPoses, subspace: "TorchSubspace") -> Tensor:
    """Return the mean distance of points from a subspace beyond its tolerance, px.

    Parameters
    ----------
    poses
        Poses of the points of the subspace. One counts only if all of its points are seen.
    subspace
        The subspace.
    """
    flat = poses.position.flatten(1) - subspace.mean
    off = (flat - flat @ subspace.basis.T @ subspace.basis).view_as(poses.position)
    whole = poses.seen.all(dim=1, keepdim=True).expand_as(poses.seen)
    return _average(functional.relu(_length(off) - subspace.tolerance), whole)


class TorchSubspace(NamedTuple):
    """Hold a subspace as tensors."""

    mean: Tensor
    basis: Tensor
    tolerance: float

    @classmethod
    def of(cls, subspace: Subspace, like: Tensor) -> "TorchSubspace":
        """Return a subspace in the precision of a tensor, and on its device."""
        mean, basis = (
            torch.from_numpy(values).to(like.device, like.dtype)
            for values in (subspace.mean, subspace.basis)
        )
        return cls(mean, basis, subspace.tolerance)


class UnsupervisedLosses(nn.Module):
    """Measure what is wrong with the poses of clips without labels.

    Every device of a training measures the same clip, which depends on seed and step alone, so
    that several devices learn what one would, and a training resumes with the clip it was at.

    Parameters
    ----------
    settings
        Which losses, with which weight.
    targets
        Scale and stride of the maps.
    clips
        Store of the clips.
    subspaces
        By name of the loss: the positions of keypoints, shape (pose, point), and the subspace that
        these points span.
    seed
        Seed of the order of clips.

    Attributes
    ----------
    losses
        Names of the losses with a weight above 0.
    """

    def __init__(
        self,
        settings: UnsupervisedSettings,
        targets: TargetSettings,
        clips: Path,
        subspaces: dict[str, tuple[NDArray[np.int64], Subspace]],
        seed: int,
    ) -> None:
        super().__init__()
        self._targets, self._seed = targets, seed
        self._path, self._store = clips, ClipStore(clips)
        self._weights = {name: float(getattr(settings, name)) for name in LOSSES}
        self.losses = tuple(name for name in LOSSES if self._weights[name] > 0.0)
        self._max_jump = settings.max_jump * targets.scale
        self._subspaces = subspaces

    def read_clip(self, step: int) -> NDArray[np.uint8]:
        """Return the frames of a step: each clip once, in an order of its own for each round."""
        round_, place = divmod(step, len(self._store))
        order = np.random.default_rng((self._seed, round_)).permutation(len(self._store))
        return self._store.read(int(order[place]))

    def measure(self, network: PoseNetwork, image: Tensor) -> dict[str, Tensor]:
        """Return each loss of the frames of a clip, (frame, 3, rows, columns), in cells."""
        drawn = dict(zip(network.outputs, network(image), strict=True))
        # Mixed precision is for the network: positions would be rounded to whole pixels.
        with torch.autocast(image.device.type, enabled=False):
            return self._compare(_widen(drawn["score"]), _widen(drawn["offset"]))

    def _compare(self, score: Tensor, offset: Tensor) -> dict[str, Tensor]:
        stride = self._targets.stride
        poses = locate_softly(score, offset * self._targets.location_refinement_scale, stride)
        found = {}
        if self._weights["temporal"]:
            found["temporal"] = measure_jumps(poses, self._max_jump)
        for name, (points, subspace) in self._subspaces.items():
            own = self._take(poses, torch.from_numpy(points).to(score.device))
            found[name] = measure_implausibility(own, TorchSubspace.of(subspace, score))
        return {name: value / stride for name, value in found.items()}

    def weigh(self, found: dict[str, Tensor], progress: float) -> Tensor:
        """Return the weighted sum of losses at a point of the training, 0..1."""
        total = sum((self._weights[name] * value for name, value in found.items()), torch.zeros(()))
        return total * min(1.0, progress / _RAMP)

    @staticmethod
    def _take(poses: PixelPoses, points: Tensor) -> PixelPoses:
        """Return the poses of groups of points: (frame * group, point, ...)."""
        return PixelPoses(
            poses.position[:, points].flatten(0, 1), poses.seen[:, points].flatten(0, 1)
        )


def plan_unsupervised(
    settings: UnsupervisedSettings,
    targets: TargetSettings,
    store: TargetStore,
    clips: Path,
    seed: int,
) -> UnsupervisedLosses:
    """Fit the subspaces to the training frames of a store.

    Raises
    ------
    ModelError
        If there are too few labels for a subspace, or no clip.
    """
    names = store.layout.bodyparts
    labelled = np.stack([store.read("keypoint", one)[0] for one in store.of_split("train")])
    subspaces = {}
    if settings.pose_pca:
        points = _find(settings.bodyparts or names, names, "bodyparts")[None]
        poses = _keep_whole(labelled, points, "pose_pca", "leave out some in `bodyparts`")
        subspaces["pose_pca"] = (points, fit_subspace(poses, variance=settings.variance))
    if settings.view_pca:
        points = np.stack([_find(view, names, "views") for view in settings.views], axis=1)
        poses = _keep_whole(labelled, points, "view_pca", "label more frames in all views")
        subspaces["view_pca"] = (points, fit_subspace(poses, most=_VIEW_COMPONENTS))
    losses = UnsupervisedLosses(settings, targets, clips, subspaces, seed)
    if not len(ClipStore(clips)):
        raise ModelError(
            f"{clips}: no clip; name other `training.unsupervised.videos`, or set the weights to 0"
        )
    return losses


def _find(wanted: Sequence[str], names: Sequence[str], setting: str) -> NDArray[np.int64]:
    strange = [name for name in wanted if name not in names]
    if strange:
        raise ModelError(
            f"training.unsupervised.{setting}: {strange[0]!r} is no bodypart; there are "
            f"{', '.join(names)}"
        )
    return np.array([list(names).index(name) for name in wanted], np.int64)


def _keep_whole(
    labelled: NDArray[np.floating], points: NDArray[np.int64], loss: str, advice: str
) -> NDArray[np.floating]:
    """Return the poses of groups of points of which every point is labelled."""
    poses = labelled[:, points].reshape(-1, points.shape[1], 2)
    whole: NDArray[np.floating] = poses[np.isfinite(poses).all(axis=(1, 2))]
    if len(whole) < _FEWEST_POSES:
        raise ModelError(
            f"training.unsupervised.{loss}: {len(whole)} poses are labelled as a whole, at least "
            f"{_FEWEST_POSES} are needed: {advice}, or set it to 0"
        )
    return whole


def _widen(values: Tensor) -> Tensor:
    """Return half precision as single; single and double unchanged."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _length(way: Tensor) -> Tensor:
    """Return lengths whose gradient is finite at 0, too."""
    return torch.sqrt((way**2).sum(dim=-1) + math.ulp(1.0))


def _average(values: Tensor, counted: Tensor) -> Tensor:
    return torch.where(counted, values, 0.0).sum() / counted.sum().clamp(min=1)
