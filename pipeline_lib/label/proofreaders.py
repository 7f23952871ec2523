"""Keep a proofreader for each video, and answer the page's requests about tracks."""

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.track_decisions import DecisionKind, TrackDecision
from pipeline_lib.io.corrections.files import format_time, parse_time
from pipeline_lib.kernels.proofreading.corrections import Result
from pipeline_lib.kernels.proofreading.doubts import TrackDoubt
from pipeline_lib.label.project import Project
from pipeline_lib.label.survey import Survey, describe_cohort_doubt
from pipeline_lib.steps.correct.proofreading import (
    Proofreader,
    ProofreadState,
    list_runs,
    make_doubt_rules,
)

# Largest number of videos whose tracks are kept in memory.
_MOST_HELD = 4
# Probability above which the exchanged tracks fit better than the present ones.
_EVEN = 0.5


class Proofreaders:
    """Proofread the videos of a project.

    Tracks and decisions are read again when their files have changed. All methods may be called
    from several threads.

    Parameters
    ----------
    project
        The run.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._readers: OrderedDict[str, Proofreader] = OrderedDict()
        self.survey = Survey(project)

    def list_videos(self) -> list[dict[str, Any]]:
        """Return the videos of the cohort, and whether each has tracks."""
        model = self.project.config.training.name
        tracked = self.project.results.tracked
        return [
            {"video": video, "tracked": tracked(model, video).exists()}
            for video in self.project.videos
        ]

    def list_doubts(self) -> dict[str, Any]:
        """Return the doubts of all videos, worst first, as far as they have been looked at."""
        doubts, state = self.survey.read()
        return {**state, "doubts": [describe_cohort_doubt(one) for one in doubts]}

    def describe(self, video: str, known: str = "") -> dict[str, Any]:
        """Return animals, doubts and decisions of a video; nothing if its version is known.

        Raises
        ------
        CohortposeError
            If the tracks or the decisions cannot be read.
        """
        with self._open(video) as reader:
            state = reader.read()
            if state.version == known:
                return {"version": known}
            return self._describe(video, state)

    def read_poses(self, video: str, start: int, stop: int) -> dict[str, Any]:
        """Return the poses of some frames: of each frame and animal a list of x, y or None."""
        with self._open(video) as reader:
            state = reader.read()
        rounded = np.round(state.position[start:stop].astype(np.float64), 1)
        frames = [
            [[point if math.isfinite(point[0]) else None for point in animal] for animal in frame]
            for frame in rounded.tolist()
        ]
        return {"version": state.version, "start": start, "frames": frames}

    def decide(
        self, video: str, what: DecisionKind, frames: tuple[int, int | None], slots: Sequence[int],
        seen: str,
    ) -> dict[str, Any]:  # fmt: skip
        """Save a decision, and return the updated video.

        Raises
        ------
        LabelError
            If it cannot be made there, or others have decided since.
        """
        with self._open(video) as reader:
            reader.decide(what, *frames, slots, seen)
            return self._describe(video, reader.read())

    def withdraw(self, video: str, time: str) -> dict[str, Any]:
        """Withdraw the author's decision made at a time, and return the updated video.

        Raises
        ------
        LabelError
            If there is none.
        """
        try:
            when = parse_time(time)
        except ValueError as error:
            raise LabelError(video, [str(error)]) from None
        with self._open(video) as reader:
            withdrawn = reader.withdraw(when)
            found = self._describe(video, reader.read())
            return {**found, "withdrawn": withdrawn.first_frame}

    @contextmanager
    def _open(self, video: str) -> Iterator[Proofreader]:
        """Yield what proofreads a video, for one thread at a time."""
        with self._lock:
            lock = self._locks.setdefault(video, threading.Lock())
        with lock:
            with self._lock:
                reader = self._readers.pop(video, None) or self._make_reader(video)
                self._readers[video] = reader
                while len(self._readers) > _MOST_HELD:
                    self._readers.popitem(last=False)
            yield reader

    def _make_reader(self, video: str) -> Proofreader:
        project = self.project
        return Proofreader(
            project.corrections,
            video,
            project.results.tracked(project.config.training.name, video),
            project.author,
            make_doubt_rules(project.config.corrections, project.config.tracking),
        )

    def _describe(self, video: str, state: ProofreadState) -> dict[str, Any]:
        self.survey.take(video, state)
        steps = np.diff(state.times)
        fps = 1.0 / float(np.median(steps)) if len(steps) and np.median(steps) > 0 else 0.0
        pairs = zip(state.decisions, state.arrangement.results, strict=True)
        return {
            "video": video,
            "version": state.version,
            "frames": len(state.times),
            "fps": round(fps, 3),
            "individuals": state.individuals,
            "bodyparts": state.bodyparts,
            "lanes": list_runs(state.status),
            "doubts": [_describe_doubt(doubt, state) for doubt in state.doubts],
            "decisions": [self._describe_decision(one, result) for one, result in pairs],
        }

    def _describe_decision(self, one: TrackDecision, result: Result) -> dict[str, Any]:
        return {
            "what": str(one.what),
            "first": one.first_frame,
            "last": one.last_frame,
            "individual": one.individual,
            "other": one.other,
            "author": one.author,
            "own": one.author == self.project.author,
            "time": format_time(one.time),
            "outcome": str(result.outcome),
            "reason": result.reason,
        }


def _describe_doubt(doubt: TrackDoubt, state: ProofreadState) -> dict[str, Any]:
    names = " and ".join(state.individuals[slot] for slot in doubt.slots)
    if doubt.probability > _EVEN:
        why = f"{names}: exchanged, they would fit better"
    elif len(doubt.slots) > 1:
        why = f"{names}: they may have been exchanged"
    else:
        why = f"{names}: the tracker was not sure"
    return {
        "frame": doubt.frame,
        "first": doubt.first,
        "last": min(doubt.last, len(state.times) - 1),
        "slots": doubt.slots,
        "probability": round(doubt.probability, 3),
        "why": why,
    }
