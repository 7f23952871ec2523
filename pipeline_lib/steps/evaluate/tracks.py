"""Measure the tracks of a video against labels with the identities of its animals.

It is no verb: benchmarks and tests call it where the frames of a video are labelled one after
another, as in projects of proofread tracks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.network import EvaluationSettings
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL, FrameStatus
from pipeline_lib.io.labels.table import Labels, label_arrays
from pipeline_lib.kernels.metrics.tracks import TrackMetrics, measure_tracks


@dataclass(frozen=True)
class TrueTracks:
    """Hold the labelled tracks of one video.

    Attributes
    ----------
    frames
        Shape (image,), int64, the labelled frames, rising, each once.
    position
        Shape (image, individual, keypoint, 2), float64, x and y in px of the full-resolution
        frame; NaN where not labelled. Each slot of the individual axis is one animal.
    bodyparts
        Names along the keypoint axis; those of every animal, not the unique ones.
    """

    frames: NDArray[np.int64]
    position: NDArray[np.float64]
    bodyparts: tuple[str, ...]

    def between(self, first: int, stop: int) -> "TrueTracks":
        """Return the labels of the frames from `first` to `stop` (excluded)."""
        kept = (self.frames >= first) & (self.frames < stop)
        return TrueTracks(self.frames[kept], self.position[kept], self.bodyparts)


def find_true_tracks(labels: Labels, video: str) -> TrueTracks:
    """Return the labelled tracks of one video.

    Raises
    ------
    LabelError
        If no frame of the video is labelled, or one twice.
    """
    images, position = label_arrays(labels)
    rows = np.flatnonzero((images["video"] == video).to_numpy())
    numbers = images["frame"].to_numpy(np.int64)[rows]
    frames, order = np.unique(numbers, return_index=True)
    if not rows.size:
        known = ", ".join(sorted(set(images["video"])))
        raise LabelError("labels", [f"no frame of video {video}; there are frames of {known}"])
    if frames.size < rows.size or frames[0] < 0:
        problem = f"video {video} has images with the same or no frame number: no track is known"
        raise LabelError("labels", [problem])
    animals = [i for i, name in enumerate(labels.slots) if name != UNIQUE_INDIVIDUAL]
    parts = list(labels.skeleton.animal_indices)
    tracks = position[rows[order]][:, animals][:, :, parts]
    return TrueTracks(frames, tracks, tuple(labels.bodyparts[part] for part in parts))


def measure_video_tracks(
    poses: Poses,
    truth: TrueTracks,
    settings: EvaluationSettings,
    *,
    min_similarity: float = 0.5,
    max_distance: float | None = None,
) -> TrackMetrics:
    """Compare the tracks of a video with the labelled ones.

    Parameters
    ----------
    poses
        Tracked poses of every frame of the video.
    truth
        Labelled tracks; other frames do not count.
    settings
        ``oks_sigma`` is used.
    min_similarity
        OKS from which a track and a labelled animal may be the same.
    max_distance
        If given, px: they are compared by the mean distance of their keypoints instead, and may be
        the same up to this one at a `min_similarity` of 0.5. For animals of a single bodypart,
        which have no OKS.

    Raises
    ------
    LabelError
        If the poses lack a labelled bodypart or frame, or a labelled frame lies behind a gap of
        the video.
    """
    missing = [name for name in truth.bodyparts if name not in poses.bodyparts]
    if missing:
        raise LabelError("labels", [f"bodypart {name} is not in the poses" for name in missing])
    if truth.frames.size and truth.frames[-1] >= len(poses.time):
        problem = f"frame {truth.frames[-1]} is labelled, but the poses have {len(poses.time)}"
        raise LabelError("labels", [problem])
    _refuse_beyond_gap(poses, truth)
    parts = [poses.bodyparts.index(name) for name in truth.bodyparts]
    animals = [i for i, name in enumerate(poses.individuals) if name != UNIQUE_INDIVIDUAL]
    position = poses.position[truth.frames][:, animals][:, :, parts]
    return measure_tracks(
        position,
        truth.position,
        sigmas=settings.oks_sigma,
        max_distance=max_distance,
        min_similarity=min_similarity,
    )


def _refuse_beyond_gap(poses: Poses, truth: TrueTracks) -> None:
    """Raise `LabelError` if a labelled frame lies behind the first gap of the video.

    Poses have a row for each missing frame. Other tools number only the frames that are there, so
    that the same number means another frame behind a gap.
    """
    gaps = np.flatnonzero(poses.frame_status == FrameStatus.MISSING)
    behind = truth.frames[truth.frames >= gaps[0]] if gaps.size else gaps
    if behind.size:
        problem = (
            f"frame {behind[0]} is labelled, but the video lacks {gaps.size} frames (frame "
            f"{gaps[0]} first), and tools do not number frames alike behind a gap; label frames "
            "before it"
        )
        raise LabelError("labels", [problem])
