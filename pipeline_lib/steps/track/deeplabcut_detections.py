"""Assemble and track DeepLabCut's detections of one video, without a config."""

import logging
import os
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core import versions
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.settings.individuals import TrackingSettings
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL, FrameStatus, TrackStatus
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.io.detections.deeplabcut import (
    DeepLabCutDetections,
    check_fps,
    read_detections,
)
from pipeline_lib.io.poses.bounds import MOST_NAMES
from pipeline_lib.io.poses.format import is_packed
from pipeline_lib.io.poses.write import create_poses
from pipeline_lib.kernels.assembly.assemble import assemble_individuals
from pipeline_lib.kernels.assembly.deeplabcut import DeepLabCutRules, assemble_as_deeplabcut
from pipeline_lib.kernels.assembly.selection import AssemblyRules
from pipeline_lib.kernels.metrics.keypoints import find_individuals
from pipeline_lib.kernels.tracking.detections import Detections, count_individuals
from pipeline_lib.kernels.tracking.tracks import track_individuals
from pipeline_lib.steps.track.run import make_track_rules

_log = logging.getLogger(__name__)

_ENDING = "_full.pickle"
_POSE_FILES = (".zarr", ".zarr.zip")

# Defaults of DeepLabCut's own Assembler, so that its detections are assembled as it would. Neither
# of its two files holds the values that were used before.
PCUTOFF = 0.1
MIN_AFFINITY = 0.05
_MIN_LINKS = 2
_MIN_KEYPOINTS = 3
_MAX_OVERLAP = 0.8
# Peaks of a bodypart that are read, at least; memory grows with its square.
_PEAKS = 16


def track_detections(  # noqa: PLR0913 - what can be asked for
    source: Path,
    target: Path | None = None,
    *,
    individuals: int | None = None,
    fps: float | None = None,
    assemblies: Path | None = None,
    fill_gaps: bool = False,
    pcutoff: float = PCUTOFF,
    min_affinity: float = MIN_AFFINITY,
) -> Path:
    """Assemble the detections of one video into individuals and track them.

    Parameters
    ----------
    source
        DeepLabCut's ``*_full.pickle``.
    target
        Receives the tracks, a pose file; None: beside the source, with the ending
        ``.zarr.zip``.
    individuals
        Largest number of individuals at a time; None: estimated by
        `pipeline_lib.kernels.tracking.detections.count_individuals`.
    fps
        Frames per second; None: those that ``*_meta.pickle`` beside the source names, else the
        times are the numbers of the frames.
    assemblies
        Receives the individuals of each frame before tracking, best first, as a pose file; None:
        they are not written.
    fill_gaps
        Whether keypoints without a link are added to individuals that they fit; DeepLabCut does
        not do so.
    pcutoff
        Peaks of a lower confidence, 0..1, are not linked.
    min_affinity
        Pairs of peaks of a lower affinity are not linked: DeepLabCut's ``pafthreshold``.

    Returns
    -------
    Path
        The tracks.

    Raises
    ------
    StoreError
        If the source is missing or no such file, if there are no such frames per second, if
        anything but a pose file stands where one is to be written, or if there are more
        individuals than a pose file has.
    """
    if fps is not None:
        check_fps(fps, "--fps")
    video = source.name.removesuffix(_ENDING).removesuffix(source.suffix)
    target = target or source.parent / f"{video}.zarr.zip"
    if source.is_file():
        _check_targets(source, target, assemblies)
    if individuals is not None and individuals > MOST_NAMES:
        raise StoreError(f"--individuals is {individuals}, expected at most {MOST_NAMES}")
    most_peaks = max(_PEAKS, individuals or 0)
    found = read_detections(source, most_peaks=most_peaks, read_fps=fps is None)
    if individuals is None:
        individuals = _count_individuals(found, pcutoff)
        _log.info("%s: at most %d individuals at a time", source.name, individuals)
    rules = (
        filling_rules(individuals, pcutoff=pcutoff, min_affinity=min_affinity)
        if fill_gaps
        else deeplabcut_rules(individuals, pcutoff=pcutoff, min_affinity=min_affinity)
    )
    detections = _assemble(found, rules)
    tracking = TrackingSettings()
    tracks = track_individuals(
        detections,
        individuals,
        make_track_rules(tracking),
        segment_frames=tracking.segment_frames,
    )
    fps = fps or found.fps
    # DeepLabCut 3 has assembled these detections itself: none of our rules applies.
    put_together = {} if found.assembled else asdict(rules)
    follow = tracking.result_settings()
    attributes = {
        "video": video,
        "fps": fps,
        "assembly": put_together,
        "source": source.name,
        "versions": {"track": versions.TRACK},
    }
    key = (hash_path(source), individuals, put_together, versions.TRACK)
    if assemblies is not None:
        of_frames = {**attributes, "key": hash_settings(*key)}
        animals = _add_unique(found, pcutoff, detections.position, detections.confidence)
        _write(assemblies, found, of_frames, animals)
    attributes |= {"key": hash_settings(*key, follow), "tracking": follow}
    followed = _add_unique(found, pcutoff, tracks.position, tracks.confidence, tracks.status)
    _write(target, found, attributes, followed)
    return target


def _check_targets(source: Path, target: Path, assemblies: Path | None) -> None:
    """Refuse to write two pose files to one place, or over anything but a pose file."""
    for option, path in (("--output", target), ("--assemblies", assemblies)):
        if path is None:
            continue
        if not path.name.endswith(_POSE_FILES) or path.name in _POSE_FILES:
            expected = " or ".join(f"NAME{ending}" for ending in _POSE_FILES)
            raise StoreError(f"{path}: {option} is a pose file, expected {expected}")
        if _is_other(path) or os.path.realpath(path) == os.path.realpath(source):
            raise StoreError(
                f"{path}: is there and is no pose file: it is not replaced; choose another "
                f"{option}, or remove it"
            )
    if assemblies is not None and os.path.realpath(assemblies) == os.path.realpath(target):
        raise StoreError(f"{assemblies}: --assemblies and --output are the same file")


def _is_other(path: Path) -> bool:
    """Tell whether something stands at the path of a pose file that is none."""
    if is_packed(path) and path.is_file():
        return not zipfile.is_zipfile(path)
    if not is_packed(path) and path.is_dir():
        return any(path.iterdir()) and not (path / "zarr.json").is_file()
    return path.exists()


def deeplabcut_rules(
    individuals: int, *, pcutoff: float = PCUTOFF, min_affinity: float = MIN_AFFINITY
) -> DeepLabCutRules:
    """Return DeepLabCut's rules of assembly for a number of individuals."""
    return DeepLabCutRules(
        individuals=individuals,
        pcutoff=pcutoff,
        min_affinity=min_affinity,
        min_links=_MIN_LINKS,
        max_overlap=_MAX_OVERLAP,
    )


def filling_rules(
    individuals: int, *, pcutoff: float = PCUTOFF, min_affinity: float = MIN_AFFINITY
) -> AssemblyRules:
    """Return rules of assembly that also add keypoints without a link if they fit."""
    return AssemblyRules(
        individuals=individuals,
        min_affinity=min_affinity,
        min_keypoints=_MIN_KEYPOINTS,
        pcutoff=pcutoff,
        max_overlap=_MAX_OVERLAP,
    )


def _count_individuals(found: DeepLabCutDetections, pcutoff: float) -> int:
    """Estimate how many animals the video shows at a time."""
    animal = [index for index in range(len(found.bodyparts)) if index not in found.unique]
    return count_individuals(found.confidence[:, animal], pcutoff)


def _assemble(found: DeepLabCutDetections, rules: DeepLabCutRules | AssemblyRules) -> Detections:
    """Assemble peaks into individuals unless DeepLabCut has done so."""
    if found.assembled:
        position, confidence = found.position.copy(), found.confidence.copy()
        position[:, list(found.unique)] = np.nan
        confidence[:, list(found.unique)] = np.nan
        position, confidence = position.swapaxes(1, 2), confidence.swapaxes(1, 2)
        return Detections(position, np.nan_to_num(confidence, nan=0.0))
    peaks = found.position, found.confidence, found.affinity, found.edges
    if isinstance(rules, DeepLabCutRules):
        assemblies = assemble_as_deeplabcut(*peaks, rules, unique=found.unique, number=found.number)
    else:
        assemblies = assemble_individuals(*peaks, rules, unique=found.unique)
    return Detections(assemblies.position, np.nan_to_num(assemblies.confidence, nan=0.0))


class _Animals(NamedTuple):
    """Hold the individuals of each frame, unique bodyparts last; without status, no tracks."""

    position: NDArray[np.floating]
    confidence: NDArray[np.floating]
    status: NDArray[np.uint8] | None


def _add_unique(
    found: DeepLabCutDetections,
    pcutoff: float,
    position: NDArray[np.floating],
    confidence: NDArray[np.floating],
    status: NDArray[np.uint8] | None = None,
) -> _Animals:
    """Return animals (frame, individual, keypoint), with the unique bodyparts as a last one."""
    if not found.unique:
        return _Animals(position, confidence, status)
    frames, keypoints = found.confidence.shape[:2]
    last, certainty = np.full((frames, 1, keypoints, 2), np.nan), np.zeros((frames, 1, keypoints))
    unique = list(found.unique)
    if found.confidence.shape[2]:
        # Peaks are best first.
        best = np.nan_to_num(found.confidence[:, unique, 0], nan=0.0)
        certain = best > pcutoff  # DeepLabCut asks for more, not for as much
        last[:, 0, unique] = np.where(certain[..., None], found.position[:, unique, 0], np.nan)
        certainty[:, 0, unique] = np.where(certain, best, 0.0)
    if status is not None:
        there = np.where(find_individuals(last), TrackStatus.FOLLOWED, TrackStatus.ABSENT)
        status = np.concatenate([status, there.astype(np.uint8)], axis=1)
    return _Animals(
        np.concatenate([position, last], axis=1),
        np.concatenate([confidence, certainty], axis=1),
        status,
    )


def _write(
    target: Path, found: DeepLabCutDetections, attributes: dict[str, Any], animals: _Animals
) -> None:
    """Write a pose file; with a status, one of tracks."""
    count = animals.position.shape[1] - bool(found.unique)
    names = [f"individual{number}" for number in range(1, count + 1)]
    with create_poses(
        target,
        found.frame / (attributes["fps"] or 1.0),
        found.bodyparts,
        [*names, UNIQUE_INDIVIDUAL] if found.unique else names,
        attributes,
        tracked=animals.status is not None,
    ) as writer:
        writer.write(
            0,
            animals.position.astype(np.float32),
            animals.confidence.astype(np.float32),
            np.where(found.present, FrameStatus.DECODED, FrameStatus.MISSING).astype(np.uint8),
            track_status=animals.status,
        )
