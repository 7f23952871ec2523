"""Make peaks and affinities of known animals, for tests of the assembly."""

from typing import NamedTuple

import numpy as np

from pipeline_lib.kernels.assembly.selection import AssemblyRules

SAME, OTHER = 0.9, 0.05


def make_rules(individuals, **changes):
    """Return the rules that most of the tests go by."""
    rules = {"min_affinity": 0.1, "min_keypoints": 3, "pcutoff": 0.0, "max_overlap": 1.0}
    return AssemblyRules(individuals, **{**rules, **changes})


class Detections(NamedTuple):
    position: np.ndarray  # (frame, keypoint, peak, 2)
    confidence: np.ndarray  # (frame, keypoint, peak)
    affinity: np.ndarray  # (frame, edge, peak, peak)
    edges: list[tuple[int, int]]


def detect(animals, edges, confidence=None, *, same=SAME, other=OTHER) -> Detections:
    """Return a peak of each keypoint of animals (frame, individual, keypoint, 2), NaN missing.

    Peaks are in the order of animals, whose confidence (frame, individual, keypoint) is 0.9
    unless it is given; affinities tell animals perfectly apart.
    """
    position = np.swapaxes(np.array(animals, np.float32), 1, 2).copy()
    missing = np.isnan(position).any(axis=-1)
    position[missing] = np.nan
    if confidence is None:
        values = np.full(missing.shape, 0.9, np.float32)
    else:
        values = np.swapaxes(np.array(confidence, np.float32), 1, 2).copy()
    values[missing] = np.nan
    frames, _, peaks, _ = position.shape
    affinity = np.where(np.eye(peaks), np.float32(same), np.float32(other))
    affinity = np.tile(affinity, (frames, len(edges), 1, 1))
    for edge, (a, b) in enumerate(edges):
        affinity[:, edge][missing[:, a]] = np.nan
        affinity[:, edge].swapaxes(1, 2)[missing[:, b]] = np.nan
    return Detections(position, values, affinity, edges)


def as_set(assembled) -> list[set[bytes]]:
    """Return the individuals of each frame without their order."""
    there = np.isfinite(assembled.score)
    return [
        {pose.tobytes() for pose in frame[shown]}
        for frame, shown in zip(assembled.position, there, strict=True)
    ]


def poses_as_set(animals) -> list[set[bytes]]:
    """Return animals (frame, individual, keypoint, 2) as `as_set` does."""
    poses = np.array(animals, np.float32)
    poses[np.isnan(poses).any(axis=-1)] = np.nan
    return [{pose.tobytes() for pose in frame if np.isfinite(pose).any()} for frame in poses]
