"""Run the verb `merge-tracks`: derive decisions from tracks that were corrected in SLEAP."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL
from pipeline_lib.core.track_decisions import Anchor, DecisionKind, Passage, TrackDecision
from pipeline_lib.io.corrections.tracks import read_track_decisions, write_track_decision
from pipeline_lib.io.labels.returned import ReturnedFrame
from pipeline_lib.io.labels.sleap.tracks import SleapTracks, read_sleap_tracks
from pipeline_lib.io.poses.read import read_poses, read_times
from pipeline_lib.kernels.proofreading.corrections import measure_tolerance
from pipeline_lib.kernels.proofreading.returned import TrackChange, find_changes, match_slots
from pipeline_lib.kernels.tracking.similarity import centre_poses, measure_sizes
from pipeline_lib.steps.filter import locate_unfiltered
from pipeline_lib.steps.label_projects.cohort import Cohort
from pipeline_lib.steps.label_projects.frame_finder import (
    FrameFinder,
    GoneError,
    UnknownFrameError,
    find_mixed_videos,
)

_BLOCK_FRAMES = 2**14

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Tracks:
    """Hold the tracks of a video: names, centres (frame, slot, 2) and tolerance of matches, px."""

    names: tuple[str, ...]
    centres: NDArray[np.float64]
    tolerance: float


def run_merge_tracks(
    config: Config, results: Results, path: Path, author: str = "", time: datetime | None = None
) -> int:
    """Compare the tracks of a SLEAP file with ours, and write the differences as decisions.

    An animal that continues in another slot is a `join`, two animals that are exchanged are a
    `swap`, and a track that begins in the slot of another one is a `new` animal. Animals are found
    by their positions, so that names of tracks do not matter. Unchanged tracks make no decision.
    Frames that the file lacks stay as they are.

    Parameters
    ----------
    config
        The run; ``corrections.path`` receives the decisions.
    results
        Has the tracks, corrected ones if there are any.
    path
        A ``.slp`` of whole videos, as ``exports.formats: [slp]`` writes it.
    author, time
        Who decided, and when; without them ``sleap`` and the time of the file.

    Returns
    -------
    int
        Number of decisions that were written.

    Raises
    ------
    LabelError
        If the file cannot be read, has no tracks, or is of other videos, or if the project is of
        one animal; then nothing is written.
    """
    if config.individuals.max < 2:
        problem = "is 1: tracks are of several animals; `cohortpose merge-labels` merges labels"
        raise LabelError("individuals.max", [problem])
    videos = read_sleap_tracks(path)
    _check_tracks(path, videos)
    finder = FrameFinder(Cohort(config, results), None, path.absolute().parent)
    time = time or datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
    decisions: list[TrackDecision] = []
    problems: list[str] = []
    recorded: list[tuple[str, str]] = []
    for video in videos:
        if not len(video.frame):
            continue
        try:
            name = _find_video(finder, video)
            tracks = _read_tracks(config, results, name, int(video.frame.max()))
        except (UnknownFrameError, GoneError) as error:
            problems.append(f"{video.recorded}: {error}")
            continue
        recorded.append((name, video.recorded))
        decisions += _decide(name, tracks, video, author or "sleap", time)
    problems += find_mixed_videos(recorded)
    if problems:
        raise LabelError(str(path), problems)
    folder = Path(config.corrections.path)
    known = {_describe(one) for one in read_track_decisions(folder)}
    new = [one for one in decisions if _describe(one) not in known]
    for one in new:
        write_track_decision(folder, one)
    _log.info("%s: %d decisions about tracks, %d of them new", path, len(decisions), len(new))
    return len(new)


def _check_tracks(path: Path, videos: Sequence[SleapTracks]) -> None:
    """Refuse a file that holds labels of single frames, or no tracks at all."""
    expected = (
        "expected a SLEAP file of whole videos with tracks, as `exports.formats: [slp]` writes it; "
        "`cohortpose merge-labels` merges labels"
    )
    if any(video.embedded and len(video.frame) for video in videos):
        raise LabelError(str(path), [f"holds single frames, not whole videos: {expected}"])
    tracked = [video for video in videos if _list_used(video)]
    if not tracked:
        raise LabelError(str(path), [f"no instance has a track: {expected}"])
    if not any(_has_neighbours(video) for video in tracked):
        problem = f"no track has two frames in succession: {expected}"
        raise LabelError(str(path), [problem])


def _list_used(video: SleapTracks) -> list[int]:
    """Return the tracks of the animals in the video, without the track of unique bodyparts."""
    used: list[int] = np.unique(video.track).tolist()
    return [track for track in used if video.names[track] != UNIQUE_INDIVIDUAL]


def _has_neighbours(video: SleapTracks) -> bool:
    return any(
        bool((np.diff(np.sort(video.frame[video.track == track])) == 1).any())
        for track in _list_used(video)
    )


def _find_video(finder: FrameFinder, video: SleapTracks) -> str:
    last = int(video.frame.max())
    frame = ReturnedFrame(video.recorded, last, None, (), datetime.now(UTC), count=video.count)
    key, _ = finder.find(frame)
    return key.video


def _read_tracks(config: Config, results: Results, video: str, last: int) -> _Tracks:
    path = locate_unfiltered(config, results, video)
    if not path.exists():
        raise GoneError(f"video {video} has no tracks; run the workflow first")
    count = len(read_times(path))
    if last >= count:
        raise UnknownFrameError(f"frame {last} is labelled, but the tracks have {count} frames")
    blocks, sizes = [], []
    for start in range(0, count, _BLOCK_FRAMES):
        poses = read_poses(path, start, start + _BLOCK_FRAMES)
        kept = [n for n, name in enumerate(poses.individuals) if name != UNIQUE_INDIVIDUAL]
        names = tuple(poses.individuals[n] for n in kept)
        blocks.append(centre_poses(poses.position[:, kept]))
        sizes.append(measure_sizes(poses.position[:, kept]).ravel())
    return _Tracks(names, np.concatenate(blocks), measure_tolerance(np.concatenate(sizes)))


def _decide(
    video: str, tracks: _Tracks, returned: SleapTracks, author: str, time: datetime
) -> Iterator[TrackDecision]:
    used = _list_used(returned)
    place = {track: column for column, track in enumerate(used)}
    kept = np.isin(returned.track, used)
    centres = np.full((len(tracks.centres), len(used), 2), np.nan)
    columns = [place[track] for track in returned.track[kept].tolist()]
    centres[returned.frame[kept], columns] = returned.centre[kept]
    own = [
        tracks.names.index(name) if name in tracks.names else -1
        for name in (returned.names[track] for track in used)
    ]
    matched = match_slots(tracks.centres, centres, own, tracks.tolerance)
    for change in find_changes(matched):
        yield _make_decision(video, tracks, change, author, time)


def _make_decision(
    video: str, tracks: _Tracks, change: TrackChange, author: str, time: datetime
) -> TrackDecision:
    def anchor(frame: int, slot: int) -> Anchor:
        x, y = tracks.centres[frame, slot].tolist()
        return Anchor(frame, x, y)

    (_, before), (_, after) = change.passages[0]
    other = "" if change.what is DecisionKind.NEW else tracks.names[after]
    return TrackDecision(
        video=video,
        what=change.what,
        first_frame=change.first_frame,
        last_frame=None,
        individual=tracks.names[before],
        other=other,
        passages=tuple(Passage(anchor(*one), anchor(*two)) for one, two in change.passages),
        ends=(),
        author=author,
        time=time,
    )


def _describe(one: TrackDecision) -> tuple[object, ...]:
    """Return the content of a decision, without author and time."""
    anchors = [
        (anchor.frame, round(anchor.x, 2), round(anchor.y, 2)) if anchor else None
        for passage in one.passages
        for anchor in passage
    ]
    return (one.video, one.what, one.first_frame, one.last_frame, *anchors)
