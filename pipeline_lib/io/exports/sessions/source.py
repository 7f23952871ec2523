"""Read the poses of one session for export, block by block, with the metadata other tools need."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.io.exports.session import Session
from pipeline_lib.io.poses.session import read_session_poses, read_session_times

# Moments and values held at a time, so that memory does not grow with the length of the session.
BLOCK_MOMENTS = 2**14
BLOCK_VALUES = 2**21


@dataclass(frozen=True)
class SessionSource:
    """Hold the poses of one session and the metadata that other tools need.

    Attributes
    ----------
    poses
        The pose file of the session.
    edges
        Pairs of bodyparts that the skeleton links; those that the poses lack are left out.
    scorer
        Name of the network or person that located the keypoints.
    key
        Hash of what the exported file depends on.
    session
        Time and subject of the recording.
    """

    poses: Path
    edges: tuple[tuple[str, str], ...] = ()
    scorer: str = "cohortpose"
    key: str = ""
    session: Session = field(default_factory=Session)

    @cached_property
    def head(self) -> SessionPoses:
        """Return the poses of no moment: names, unit and attributes."""
        return read_session_poses(self.poses, 0, 0)

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """Return the time of every moment in s, shape (time,)."""
        return read_session_times(self.poses)

    @property
    def frames(self) -> int:
        """Return the number of moments."""
        return len(self.times)

    @property
    def fps(self) -> float:
        """Return the mean rate in moments per second; 0 if unknown."""
        told = self.head.attributes.get("fps")
        if isinstance(told, int | float) and np.isfinite(told) and told > 0:
            return float(told)
        span = float(self.times[-1] - self.times[0]) if self.frames else 0.0
        return (self.frames - 1) / span if span > 0 else 0.0

    @property
    def edge_places(self) -> tuple[tuple[int, int], ...]:
        """Return the edges as pairs of positions on the keypoint axis."""
        names = self.head.bodyparts
        known = [pair for pair in self.edges if pair[0] in names and pair[1] in names]
        return tuple((names.index(first), names.index(second)) for first, second in known)

    @property
    def name(self) -> str:
        """Return the name of the session: that of its pose file."""
        return self.poses.name.removesuffix(".zip").removesuffix(".zarr")

    def read_blocks(self) -> Iterator[tuple[slice, SessionPoses]]:
        """Yield consecutive moments and their poses; one empty block if there is no moment."""
        points = len(self.head.bodyparts) * len(self.head.individuals)
        values = max(1, points * max(3, len(self.head.cameras)))
        count = max(1, min(BLOCK_MOMENTS, BLOCK_VALUES // values))
        for start in range(0, max(1, self.frames), count):
            moments = slice(start, min(start + count, self.frames))
            yield moments, read_session_poses(self.poses, start, start + count)

    def name_markers(self, separator: str) -> list[str]:
        """Return one name per point, bodyparts of the first individual first.

        A single individual is not named.
        """
        head = self.head
        several = len(head.individuals) > 1
        return [
            f"{individual}{separator}{bodypart}" if several else bodypart
            for individual in head.individuals
            for bodypart in head.bodyparts
        ]
