"""Read the decisions about the tracks of a video, and determine what they change."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core import versions
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL
from pipeline_lib.core.track_decisions import TrackDecision
from pipeline_lib.io.corrections.tracks import read_decision_tables
from pipeline_lib.io.poses.read import read_poses, read_track_status, require_pose_key
from pipeline_lib.kernels.proofreading.corrections import Arrangement, arrange_slots, find_followed
from pipeline_lib.steps.runs.decision_tables import DecisionTables

# Frames read at a time when anchors are looked up.
_NEAR_FRAMES = 256
_BLOCKS_HELD = 8


class VideoDecisions(DecisionTables):
    """Read the decisions about the tracks of each video.

    Parameters
    ----------
    config
        Names the folder of corrections.
    """

    def read(self, video: str) -> tuple[TrackDecision, ...]:
        """Return the decisions about a video; none if nobody decided.

        Raises
        ------
        LabelError
            With each row that is damaged, by file and line.
        """
        return read_decision_tables(self.list_tables(video))

    def make_key(self, video: str, tracked: Path) -> str:
        """Return the key of the corrected tracks of a video.

        It is that of the tracks where the decisions change nothing.

        Raises
        ------
        LabelError
            With each row of the decisions that is damaged, by file and line.
        StoreError
            If the tracks are missing, damaged or have no key.
        """
        source_key = require_pose_key(tracked)
        decisions = self.read(video)
        if not decisions:
            return source_key
        return correction_key(source_key, arrange_tracks(tracked, decisions))


def correction_key(source_key: str, arrangement: Arrangement) -> str:
    """Return the key of corrected tracks, given that of the tracks.

    It depends on which slots are exchanged, not on who decided it; decisions that change nothing
    leave the key as it is.
    """
    if arrangement.changes_nothing:
        return source_key
    return hash_settings(
        source_key, {"correction": describe_arrangement(arrangement)}, versions.CORRECT
    )


def describe_arrangement(arrangement: Arrangement) -> list[dict[str, Any]]:
    """Return the slots of tracks in each slot of corrected tracks, block by block, as in JSON."""
    return [
        {"first_frame": int(start), "slots": source.tolist()}
        for start, source in zip(arrangement.starts, arrangement.source, strict=True)
    ]


def arrange_tracks(tracked: Path, decisions: tuple[TrackDecision, ...]) -> Arrangement:
    """Assign the animals of a video to slots, by all decisions about it.

    Raises
    ------
    StoreError
        If the tracks are missing or damaged.
    """
    animals = count_animals(read_poses(tracked, 0, 0))
    status = read_track_status(tracked)[:, :animals]
    frames = _Frames(tracked, animals)
    return arrange_slots(decisions, find_followed(status), frames.read)


def count_animals(poses: Poses) -> int:
    """Count the slots of animals, without that of the unique bodyparts."""
    return sum(name != UNIQUE_INDIVIDUAL for name in poses.individuals)


def name_slots(head: Poses, slots: int) -> tuple[str, ...]:
    """Return the names of the individuals; added animals are numbered."""
    animals = count_animals(head)
    names = list(head.individuals[:animals])
    number = animals
    while len(names) < slots:
        number += 1
        if (name := f"individual{number}") not in head.individuals:
            names.append(name)
    return (*names, *head.individuals[animals:])


@dataclass
class _Frames:
    """Read single frames of a pose file, of which a few blocks are held."""

    path: Path
    animals: int

    def __post_init__(self) -> None:
        self._held: dict[int, NDArray[np.float32]] = {}

    def read(self, frame: int) -> NDArray[np.float32]:
        """Return the poses of a frame, shape (slot, keypoint, 2)."""
        block = frame // _NEAR_FRAMES
        if block not in self._held:
            while len(self._held) >= _BLOCKS_HELD:
                self._held.pop(next(iter(self._held)))
            start = block * _NEAR_FRAMES
            poses = read_poses(self.path, start, start + _NEAR_FRAMES)
            self._held[block] = poses.position[:, : self.animals]
        return np.asarray(self._held[block][frame % _NEAR_FRAMES])
