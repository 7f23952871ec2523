"""Measure the tracks of the demo against the truth, and how often its animals meet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline_lib.core.layout import Results
from pipeline_lib.demo.encounters import Encounters, count_encounters
from pipeline_lib.demo.truth import (
    ErrorSummary,
    VideoTruth,
    align_positions,
    list_truths,
    read_truth,
    summarise_distances,
)
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.kernels.metrics.keypoints import keypoint_distance, median_error
from pipeline_lib.kernels.metrics.tracks import TrackMetrics, measure_tracks

_MIDLINE = ("snout", "neck", "back", "tail_base")
# A track matches an animal in a frame if its visible bodyparts are closer than this share of a
# body length.
_NEAR = 0.25


@dataclass(frozen=True)
class TrackError:
    """Summarise the agreement of tracks and truth over all good videos.

    Attributes
    ----------
    animals
        Number of true animals with a visible bodypart, summed over all frames.
    identity_switches, mota, idf1
        As `pipeline_lib.kernels.metrics.tracks.TrackMetrics`, over all videos.
    error
        Distances between each animal and its track, with one track per animal throughout a video.
    """

    animals: int
    identity_switches: int
    mota: float
    idf1: float
    error: ErrorSummary


@dataclass(frozen=True)
class DemoEncounters:
    """Summarise how the animals of a demo meet.

    Attributes
    ----------
    encounters
        Counts over all good videos.
    hidden
        Share of the bodyparts that are hidden or outside the image.
    """

    encounters: Encounters
    hidden: float


def measure_demo_tracks(folder: Path, results: Results, model: str) -> TrackError:
    """Compare the tracks of a demo cohort with its truth.

    Parameters
    ----------
    folder
        Demo folder.
    results
        The results folder of a run on it.
    model
        Name of the model.

    Raises
    ------
    StoreError
        If there is no truth, or if the tracks of a good video are missing or have other frames or
        bodyparts.
    """
    metrics: list[TrackMetrics] = []
    distances: list[NDArray[np.float64]] = []
    for path in list_truths(folder):
        truth = read_truth(path)
        tracked = find_tracks(results, model, path.stem)
        predicted = align_positions(tracked, read_poses(tracked), truth)
        visible = np.where(truth.visible[..., None], truth.position, np.nan)
        near = _NEAR * _measure_length(truth)
        metrics.append(measure_tracks(predicted, visible, max_distance=near))
        kept = _keep_identity(predicted, visible, near)
        distances.append(keypoint_distance(kept, truth.position)[truth.visible])
    return _add_up(metrics, summarise_distances(distances))


def find_tracks(results: Results, model: str, video: str) -> Path:
    """Return the tracks of a video: the corrected ones if there are any."""
    corrected = results.corrected(model, video)
    return corrected if corrected.exists() else results.tracked(model, video)


def measure_encounters(folder: Path) -> DemoEncounters:
    """Count the encounters of the animals of a demo cohort, from its truth.

    Raises
    ------
    StoreError
        If there is no truth.
    """
    encounters = Encounters(0, 0, 0)
    hidden = total = 0
    for path in list_truths(folder):
        truth = read_truth(path)
        encounters += count_encounters(_take_midlines(truth))
        hidden += int((~truth.visible).sum())
        total += truth.visible.size
    return DemoEncounters(encounters, hidden / total)


def describe_demo_tracks(folder: Path, results: Results, model: str) -> list[str]:
    """Return the results of `measure_encounters` and `measure_demo_tracks` as lines of text."""
    met, tracks = measure_encounters(folder), measure_demo_tracks(folder, results, model)
    error = tracks.error
    truth = (
        f"In the truth: two animals come within a body length {met.encounters.close} times, touch "
        f"or cross {met.encounters.crossings} times ({met.encounters.crossing_frames} frames); "
        f"{met.hidden:.1%} of the keypoints are hidden"
    )
    agreement = (
        f"Tracks against the truth: {tracks.identity_switches} ID switches, IDF1 "
        f"{tracks.idf1:.3f}, MOTA {tracks.mota:.3f} over {tracks.animals} animals in all frames"
    )
    kept = (
        f"Error of the tracks, identity kept: median {error.median:.2f} px, mean "
        f"{error.mean:.2f} px over {error.visible} visible keypoints, {error.missed} not found"
    )
    return [truth, agreement, kept]


def _keep_identity(
    predicted: NDArray[np.float64], visible: NDArray[np.float64], near: float
) -> NDArray[np.float64]:
    """Return the track closest to each true animal over the whole video."""
    kept = np.full_like(visible, np.nan)
    wanted = np.isfinite(visible).all(axis=-1)
    cost = np.zeros((predicted.shape[1], visible.shape[1]))
    for track in range(len(cost)):
        gaps = keypoint_distance(predicted[:, track, None], visible)
        # A missing bodypart, and one at another animal, cost the same at any distance.
        capped = np.where(np.isfinite(gaps), np.minimum(gaps, near), near)
        cost[track] = np.where(wanted, capped, 0.0).sum(axis=(0, 2))
    tracks, animals = linear_sum_assignment(cost)
    kept[:, animals] = predicted[:, tracks]
    return kept


def _add_up(metrics: Sequence[TrackMetrics], error: ErrorSummary) -> TrackError:
    animals = sum(video.truths for video in metrics)
    predictions = sum(video.predictions for video in metrics)
    switches = sum(video.identity_switches for video in metrics)
    wrong = sum(video.misses + video.false_positives for video in metrics) + switches
    right = sum(video.id_recall * video.truths for video in metrics if video.truths)
    return TrackError(
        animals=animals,
        identity_switches=switches,
        mota=1.0 - wrong / animals if animals else float("nan"),
        idf1=2.0 * right / (animals + predictions) if animals + predictions else float("nan"),
        error=error,
    )


def _measure_length(truth: VideoTruth) -> float:
    pieces = np.diff(_take_midlines(truth), axis=2)
    return median_error(np.linalg.norm(pieces, axis=-1).sum(axis=2))


def _take_midlines(truth: VideoTruth) -> NDArray[np.float64]:
    return truth.position[:, :, [truth.bodyparts.index(name) for name in _MIDLINE]]
