"""Choose the seconds of a video that are most in need of a look."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.io.poses.format import LAYOUT
from pipeline_lib.io.poses.read import read_arrays, read_poses, read_times
from pipeline_lib.kernels.drawing.poses import find_worst
from pipeline_lib.steps.multiqc.decisions import Decision

# Frames that are read at a time.
_BLOCK_FRAMES = 2**16
# As the table of decisions has them: 12.0-13.5, 40.2-41.0.
_STRETCH = re.compile(r"(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)")

Stretches = tuple[tuple[float, float], ...]


def list_findings(decision: Decision | None) -> tuple[Stretches, ...]:
    """Return the seconds of each finding about a video, worst first; those without are left out."""
    cells = [row["seconds"] for row in decision.findings] if decision else []
    found = (
        tuple((float(first), float(last)) for first, last in _STRETCH.findall(cell))
        for cell in cells
    )
    return tuple(stretches for stretches in found if stretches)


@dataclass(frozen=True)
class WorstSeconds:
    """Find the worst consecutive frames of one video.

    Those of the worst finding count first; without a finding, those in which tracks are in doubt;
    then those with the lowest confidence.

    Attributes
    ----------
    poses
        The pose file.
    findings
        Seconds of each finding, of `list_findings`.
    """

    poses: Path
    findings: tuple[Stretches, ...] = ()

    def make_key(self, key: str) -> str:
        """Return the key of the clip, given that of the labelled video."""
        return hash_settings(key, repr(self.findings)) if self.findings else key

    def find(self, count: int) -> tuple[int, str]:
        """Return the first of so many frames, and why they were chosen."""
        marked, why = self._mark_findings(), "decisions"
        if not marked.any():
            marked, why = self._mark_doubts(), "doubtful tracks"
        confidence = self._sum_confidence()
        if not marked.any():
            return find_worst(confidence, count), "lowest confidence"
        # One more frame of these counts more than all the confidence there can be.
        weight = 1 + confidence.max(initial=0) * count
        return find_worst(confidence - weight * marked, count), why

    def _mark_findings(self) -> NDArray[np.bool_]:
        """Return the frames of the worst finding that has any."""
        times = read_times(self.poses)
        for stretches in self.findings:
            marked = np.zeros(len(times), bool)
            for first, last in stretches:
                marked |= (times >= first) & (times <= last)
            if marked.any():
                return marked
        return np.zeros(len(times), bool)

    def _mark_doubts(self) -> NDArray[np.bool_]:
        """Return the frames in which an individual may have been exchanged for another one."""
        frames = len(read_times(self.poses))
        marked = np.zeros(frames, bool)
        if read_poses(self.poses, 0, 0).track_status is None:
            return marked
        for block in _cut(frames):
            status = read_arrays(self.poses, LAYOUT, block, ("track_status",))[0]["track_status"]
            marked[block] = (status == TrackStatus.UNCERTAIN).any(axis=1)
        return marked

    def _sum_confidence(self) -> NDArray[np.float64]:
        """Return the sum of the confidence of all points of each frame; a missing one has none."""
        sums = np.zeros(len(read_times(self.poses)))
        for block in _cut(len(sums)):
            confidence = read_arrays(self.poses, LAYOUT, block, ("confidence",))[0]["confidence"]
            sums[block] = np.nansum(confidence, axis=(1, 2), dtype=np.float64)
        return sums


def _cut(frames: int) -> list[slice]:
    """Return blocks of frames."""
    return [
        slice(start, min(start + _BLOCK_FRAMES, frames))
        for start in range(0, frames, _BLOCK_FRAMES)
    ]
