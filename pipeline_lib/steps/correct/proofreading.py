"""Proofread the tracks of one video: list doubts, and save decisions at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.core.settings.corrections import CorrectionSettings
from pipeline_lib.core.settings.individuals import TrackingSettings
from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.core.track_decisions import DecisionKind, TrackDecision
from pipeline_lib.io.corrections.tracks import (
    hash_tables,
    index_decision_tables,
    read_decision_tables,
    remove_track_decision,
    write_track_decision,
)
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.kernels.proofreading.corrections import (
    Arrangement,
    Outcome,
    anchor_decision,
    arrange_slots,
    determine_status,
    find_followed,
    place_decisions,
    rearrange,
)
from pipeline_lib.kernels.proofreading.doubts import (
    DoubtRules,
    TrackDoubt,
    drop_decided,
    find_doubts,
    keep_worst_of_events,
)
from pipeline_lib.steps.correct.decisions import count_animals, name_slots

# Doubts about the same animals within this number of frames are one event.
NEAR = 8
# Number of animals in a swap or join.
_PAIR = 2


@dataclass(frozen=True)
class ProofreadState:
    """Hold the tracks of a video after all decisions about it, and the doubts that remain.

    Attributes
    ----------
    version
        Identifies the tracks and the decisions; changes whenever one of them does.
    times
        Shape (frame,), seconds.
    individuals, bodyparts
        Names of the animals, one per slot, and of the keypoints.
    position
        Shape (frame, slot, keypoint, 2), px; NaN where missing.
    status
        Shape (frame, slot), values of `TrackStatus`.
    decisions
        All decisions about the video.
    arrangement
        What the decisions change, and the outcome of each.
    doubts
        Doubts that no decision settles, worst first.
    """

    version: str
    times: NDArray[np.float64]
    individuals: tuple[str, ...]
    bodyparts: tuple[str, ...]
    position: NDArray[np.float32]
    status: NDArray[np.uint8]
    decisions: tuple[TrackDecision, ...]
    arrangement: Arrangement
    doubts: tuple[TrackDoubt, ...]


def make_doubt_rules(corrections: CorrectionSettings, tracking: TrackingSettings) -> DoubtRules:
    """Return the rules by which doubts are listed."""
    return DoubtRules(corrections.min_probability, NEAR, tracking.max_stitch_gap)


class Proofreader:
    """Proofread the tracks of one video.

    Parameters
    ----------
    folder
        ``corrections.path``.
    video
        Name of the video.
    tracked
        Pose file of its tracks, which is only read.
    author
        Who decides.
    rules
        Rules by which doubts are listed; see `make_doubt_rules`.
    """

    def __init__(
        self, folder: Path, video: str, tracked: Path, author: str, rules: DoubtRules
    ) -> None:
        self.video, self._folder, self._tracked, self._author = video, folder, tracked, author
        self._rules = rules
        self._state: ProofreadState | None = None

    def read(self) -> ProofreadState:
        """Return the tracks after the decisions of all authors, as they are on the disk now.

        Raises
        ------
        StoreError
            If the tracks are missing or damaged.
        LabelError
            If a table of decisions is damaged, by file and line.
        """
        version = self.name_version()
        if self._state is None or self._state.version != version:
            self._state = self._make_state(version)
        return self._state

    def decide(
        self, what: DecisionKind, frame: int, last: int | None, slots: Sequence[int], seen: str
    ) -> TrackDecision:
        """Save a decision about the tracks, if they have not changed since the author saw them.

        Parameters
        ----------
        what, frame, last, slots
            As in `pipeline_lib.kernels.proofreading.corrections.anchor_decision`.
        seen
            Version of the tracks on which the decision was made.

        Raises
        ------
        LabelError
            If the decision is not possible at this place, or the tracks have changed since.
        """
        state = self.read()
        if seen != state.version:
            problem = "these tracks have changed since they were shown: look again, then decide"
            raise LabelError(self.video, [problem])
        self._check(state, what, frame, last, slots)
        passages, ends = anchor_decision(state.position, what, frame, last, slots)
        names = [state.individuals[slot] for slot in slots]
        decision = TrackDecision(
            self.video,
            what,
            frame,
            last,
            names[0],
            names[1] if len(names) == _PAIR else "",
            passages,
            ends,
            self._author,
            datetime.now(UTC),
        )
        write_track_decision(self._folder, decision)
        return decision

    def withdraw(self, time: datetime) -> TrackDecision:
        """Withdraw the author's decision made at `time`, and return it.

        Raises
        ------
        LabelError
            If there is none.
        """
        own = [
            one for one in self.read().decisions if one.author == self._author and one.time == time
        ]
        if not own:
            raise LabelError(self.video, ["this decision is no longer there: load the page again"])
        remove_track_decision(self._folder, own[-1])
        return own[-1]

    def _check(
        self,
        state: ProofreadState,
        what: DecisionKind,
        frame: int,
        last: int | None,
        slots: Sequence[int],
    ) -> None:
        frames, animals = state.status.shape
        problems = []
        if not 1 <= frame < frames or (last is not None and not frame <= last < frames):
            problems.append(f"frames {frame} to {last}: expected frames from 1 to {frames - 1}")
        pair = what in (DecisionKind.SWAP, DecisionKind.JOIN)
        single = what in (DecisionKind.NEW, DecisionKind.CUT)
        wrong = (pair and len(slots) != _PAIR) or (single and len(slots) != 1)
        if wrong or not 1 <= len(slots) <= _PAIR or len(set(slots)) < len(slots):
            problems.append(f"{what} of {len(slots)} animals: expected {_PAIR if pair else 1}")
        if any(not 0 <= slot < animals for slot in slots):
            problems.append(f"animals {list(slots)}: expected 0 to {animals - 1}")
        if problems:
            raise LabelError(self.video, problems)

    def name_version(self) -> str:
        """Return what changes whenever the tracks or the decisions do.

        Raises
        ------
        StoreError
            If there are no tracks.
        """
        try:
            facts = self._tracked.stat()
        except OSError as error:
            raise StoreError(f"{self._tracked}: {error.strerror}; run `track` first") from None
        return f"{facts.st_mtime_ns}-{facts.st_size}-{hash_tables(self._list_tables())}"

    def _list_tables(self) -> tuple[Path, ...]:
        return index_decision_tables(self._folder).get(self.video, ())

    def _make_state(self, version: str) -> ProofreadState:
        poses = read_poses(self._tracked)
        decisions = read_decision_tables(self._list_tables())
        animals = count_animals(poses)
        position = poses.position[:, :animals]
        if poses.track_status is None:
            raise StoreError(f"{self._tracked}: holds no tracks; run `track` again")
        status = poses.track_status[:, :animals]
        arrangement = arrange_slots(decisions, find_followed(status), lambda frame: position[frame])
        sources = arrangement.list_sources(0, len(position))
        corrected = rearrange(position, sources, np.nan)
        corrected_status = determine_status(status, sources)
        held = tuple(
            decision
            for decision, result in zip(decisions, arrangement.results, strict=True)
            if result.outcome in (Outcome.APPLIED, Outcome.RIGHT)
        )
        decided = place_decisions(held, len(corrected), lambda frame: corrected[frame])
        found = find_doubts(corrected, corrected_status, self._rules)
        near = self._rules.near
        # What is decided must not hide another doubt of the same event.
        doubts = keep_worst_of_events(drop_decided(found, decided, near), near)
        return ProofreadState(
            version=version,
            times=poses.time,
            individuals=name_slots(poses, sources.shape[1])[: sources.shape[1]],
            bodyparts=poses.bodyparts,
            position=corrected,
            status=corrected_status,
            decisions=decisions,
            arrangement=arrangement,
            doubts=tuple(doubts),
        )


def list_runs(status: NDArray[np.uint8]) -> list[list[tuple[int, int, str]]]:
    """Return the runs of each slot that a timeline shows: first frame, last frame, what.

    Parameters
    ----------
    status
        Shape (frame, slot), values of `TrackStatus`.
    """
    lanes = []
    for lane in status.T:
        change = np.flatnonzero(np.diff(lane.astype(np.int16), prepend=-1, append=-1))
        lanes.append(
            [
                (int(first), int(stop) - 1, TrackStatus(int(lane[first])).name.lower())
                for first, stop in pairwise(change)
                if lane[first] != TrackStatus.ABSENT
            ]
        )
    return lanes
