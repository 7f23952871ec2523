"""Assembling and tracking DeepLabCut's detections of one video, without a config."""

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core import versions
from pipeline_lib.core.config import hash_settings
from pipeline_lib.core.settings_individuals import AssemblySettings, TrackingSettings
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL, FrameStatus, TrackStatus
from pipeline_lib.io.detections_deeplabcut import DeepLabCutDetections, read_detections
from pipeline_lib.io.measures import hash_path
from pipeline_lib.io.pose_writing import create_poses
from pipeline_lib.kernels.assembly import assemble_individuals
from pipeline_lib.kernels.detections import Detections, count_individuals
from pipeline_lib.kernels.following import TrackRules
from pipeline_lib.kernels.similarity import find_individuals
from pipeline_lib.kernels.tracks import Tracks, track_individuals

_log = logging.getLogger(__name__)

_ENDING = "_full.pickle"

# As DeepLabCut's own Assembler has them by default: its detections are put together as it would.
_MIN_AFFINITY = 0.05
_MAX_OVERLAP = 0.8


def track_detections(
    source: Path,
    target: Path | None = None,
    *,
    individuals: int | None = None,
    fps: float | None = None,
) -> Path:
    """Put the detections of one video together to individuals and follow these.

    Parameters
    ----------
    source
        DeepLabCut's ``*_full.pickle``.
    target
        Receives the tracks, a pose file; None: beside the source, with the ending
        ``.zarr.zip``.
    individuals
        Most individuals at a time; None: as many as
        `pipeline_lib.kernels.detections.count_individuals` tells.
    fps
        Frames per second; None: those that ``*_meta.pickle`` beside the source names, else the
        times are the numbers of the frames.

    Returns
    -------
    Path
        The pose file.

    Raises
    ------
    StoreError
        If the source is missing or no such file.
    """
    found = read_detections(source)
    video = source.name.removesuffix(_ENDING).removesuffix(source.suffix)
    target = target or source.with_name(f"{video}.zarr.zip")
    assembly, tracking = AssemblySettings(min_affinity=_MIN_AFFINITY), TrackingSettings()
    animal = [place for place in range(len(found.bodyparts)) if place not in found.unique]
    if individuals is None:
        individuals = count_individuals(found.confidence[:, animal], assembly.pcutoff)
        _log.info("%s: at most %d individuals at a time", source.name, individuals)
    detections = _assemble(found, individuals, assembly)
    tracks = track_individuals(
        detections,
        individuals,
        TrackRules(**tracking.what_matters()),
        segment_frames=tracking.segment_frames,
    )
    fps = fps or found.fps
    names = [f"individual{number}" for number in range(1, individuals + 1)]
    put_together = {**assembly.what_matters(), "max_overlap": _MAX_OVERLAP}
    settings = (put_together, tracking.what_matters(), versions.TRACK)
    attributes = {
        "video": video,
        "fps": fps,
        "key": hash_settings(hash_path(source), individuals, *settings),
        "assembly": put_together,
        "tracking": tracking.what_matters(),
        "source": source.name,
        "versions": {"track": versions.TRACK},
    }
    position, confidence, status = _add_unique(tracks, found)
    with create_poses(
        target,
        found.frame / (fps or 1.0),
        found.bodyparts,
        [*names, UNIQUE_INDIVIDUAL] if found.unique else names,
        attributes,
        tracked=True,
    ) as writer:
        writer.write(
            0,
            position.transpose(0, 3, 2, 1).astype(np.float32),
            confidence.transpose(0, 2, 1).astype(np.float32),
            np.full(len(found.frame), FrameStatus.DECODED, np.uint8),
            track_status=status,
        )
    return target


def _assemble(
    found: DeepLabCutDetections, individuals: int, settings: AssemblySettings
) -> Detections:
    """Put peaks together, unless that has been done."""
    if found.assembled:
        position, confidence = found.position.copy(), found.confidence.copy()
        position[:, list(found.unique)] = np.nan
        confidence[:, list(found.unique)] = np.nan
        position, confidence = position.swapaxes(1, 2), confidence.swapaxes(1, 2)
        return Detections(position, np.nan_to_num(confidence, nan=0.0))
    assemblies = assemble_individuals(
        found.position,
        found.confidence,
        found.affinity,
        found.edges,
        individuals=individuals,
        min_affinity=settings.min_affinity,
        min_keypoints=settings.min_keypoints,
        unique=found.unique,
        pcutoff=settings.pcutoff,
        max_overlap=_MAX_OVERLAP,
    )
    return Detections(assemblies.position, np.nan_to_num(assemblies.confidence, nan=0.0))


def _add_unique(
    tracks: Tracks, found: DeepLabCutDetections
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.uint8]]:
    """Return position, confidence and status, with the unique bodyparts as a last individual."""
    if not found.unique:
        return tracks.position, tracks.confidence, tracks.status
    frames, keypoints = found.confidence.shape[:2]
    position = np.full((frames, 1, keypoints, 2), np.nan)
    confidence = np.zeros((frames, 1, keypoints))
    unique = list(found.unique)
    if found.confidence.shape[2]:
        # Peaks are best first.
        position[:, 0, unique] = found.position[:, unique, 0]
        confidence[:, 0, unique] = np.nan_to_num(found.confidence[:, unique, 0], nan=0.0)
    status = np.where(find_individuals(position), TrackStatus.FOLLOWED, TrackStatus.ABSENT).astype(
        np.uint8
    )
    return (
        np.concatenate([tracks.position, position], axis=1),
        np.concatenate([tracks.confidence, confidence], axis=1),
        np.concatenate([tracks.status, status], axis=1),
    )
