"""Score the frames of a cohort by every criterion, a block of a video at a time."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.formats.criteria import find_criterion
from pipeline_lib.core.poses import Poses, drop_added, find_decoded
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.io.poses.read import read_poses, read_times
from pipeline_lib.kernels.refinement.blocks import (
    CONTEXT,
    SEGMENT,
    PoseBlock,
    PoseNames,
    Scored,
    make_block,
)
from pipeline_lib.kernels.refinement.choice import BINS, count_scores, keep_worst

_BLOCK_FRAMES = 2**14
_SAMPLED_FRAMES, _SAMPLED_VIDEOS, _RUN_FRAMES = 50_000, 200, 2 * SEGMENT
# Starting processes takes as long as scoring so many frames.
_FEW_FRAMES = 500_000
_TASKS_PER_CORE = 16


# Where fewer keypoints than this share reach the cut-off, it is lowered until the other share does:
# what an uncertain network misplaces would count as not found, and its worst frames as faultless.
_FEW_CONFIDENT, _ENOUGH_CONFIDENT = 0.75, 0.9


class _Sample(NamedTuple):
    poses: list[tuple[int, Poses]]
    names: PoseNames


class Fitted(NamedTuple):
    """Hold what a sample of the cohort shows.

    Attributes
    ----------
    usual
        What each criterion learned.
    names
        Names of the axes of poses, and bones.
    share
        Share of the keypoints that reach the cut-off asked for.
    pcutoff
        Cut-off to use: the one asked for, or a lower one where too few keypoints reach it.
    """

    usual: tuple[Any, ...]
    names: PoseNames
    share: float
    pcutoff: float


@dataclass(frozen=True)
class Scoring:
    """Hold all that the scores of a frame depend on.

    Attributes
    ----------
    criteria
        Names of the criteria.
    usual
        What each criterion has learned of the cohort.
    names
        Names of the axes of poses, and bones.
    pcutoff
        Smallest confidence of a keypoint.
    gap
        Least time in seconds between two candidates of one video and criterion.
    number
        Most candidates of one video and criterion.
    """

    criteria: tuple[str, ...]
    usual: tuple[Any, ...]
    names: PoseNames
    pcutoff: float
    gap: float
    number: int


class Candidates(NamedTuple):
    """Hold the worst frames of a video.

    Attributes
    ----------
    frame, time
        Shape (candidate,): row in the pose file, and seconds.
    score, culprit
        Shape (candidate, criterion), as in `pipeline_lib.kernels.refinement.blocks.Scored`.
    """

    frame: NDArray[np.int64]
    time: NDArray[np.float64]
    score: NDArray[np.float32]
    culprit: NDArray[np.int32]


class CohortScores(NamedTuple):
    """Hold what is known of the frames of a cohort.

    Attributes
    ----------
    candidates
        The worst frames of each video, in the order of the pose files; for a video whose poses
        cannot be read, why.
    counts
        Shape (criterion, bin): scores of all frames, as `count_scores` counts them.
    """

    candidates: list[Candidates | str]
    counts: NDArray[np.int64]


def load_criterion(name: str) -> Any:  # noqa: ANN401 - a module
    """Import the functions of a criterion: `fit`, `score` and `explain`.

    Raises
    ------
    ValueError
        If no criterion has this name.
    """
    return import_module(find_criterion(name).module)


def fit_criteria(  # noqa: PLR0913 - what to learn from, and what counts
    criteria: Sequence[str],
    paths: Sequence[Path],
    edges: Sequence[tuple[str, str]],
    *,
    pcutoff: float,
    seed: int,
    weak: float = 0.0,
) -> Fitted | None:
    """Learn from a sample of the cohort what is usual.

    Parameters
    ----------
    criteria
        Their names.
    paths
        Pose files.
    edges
        Pairs of names of bodyparts; those that poses do not have are left out.
    pcutoff
        Smallest confidence of a keypoint. It is lowered where fewer than three quarters of the
        keypoints reach it, until nine tenths do.
    seed
        Seed of the sample.
    weak
        Keypoints of a lower confidence, of which several animals have many, do not count in these
        shares.

    Returns
    -------
    Fitted or None
        None if no pose can be read.
    """
    sample = _take_sample(paths, edges, np.random.default_rng(seed))
    if sample is None:
        return None
    confidence = np.concatenate(
        [one.confidence[np.isfinite(one.position).all(axis=-1)] for _, one in sample.poses]
    )
    confidence = confidence[confidence >= min(weak, pcutoff)]
    share = float((confidence >= pcutoff).mean()) if len(confidence) else 0.0
    if len(confidence) and share < _FEW_CONFIDENT:
        pcutoff = min(pcutoff, float(np.nanquantile(confidence, 1 - _ENOUGH_CONFIDENT)))
    blocks = [_convert(one, pcutoff, missing) for missing, one in sample.poses]
    usual = tuple(load_criterion(name).fit(blocks, sample.names) for name in criteria)
    return Fitted(usual, sample.names, share, pcutoff)


def score_cohort(
    scoring: Scoring,
    paths: Sequence[Path],
    left_out: Sequence[frozenset[int]],
    views: Sequence[Path | None] = (),
) -> CohortScores:
    """Score every frame of the cohort on all cores.

    Parameters
    ----------
    scoring
        What scores depend on.
    paths
        Pose files.
    left_out
        Frames of each video that are no candidates.
    views
        Scores of each video by the criterion that judges views, as `save_scores` wrote them; None:
        it has none. Needed if there is such a criterion.
    """
    jobs = list(zip(paths, left_out, views or [None] * len(paths), strict=True))
    cores = min(count_cores(), len(jobs))
    size = max(1, math.ceil(len(jobs) / (max(1, cores) * _TASKS_PER_CORE)))
    batches = [jobs[start : start + size] for start in range(0, len(jobs), size)]
    found: list[CohortScores]
    if cores < 2 or _guess_frames(paths) < _FEW_FRAMES:
        found = [_score_batch(scoring, batch) for batch in batches]
    else:
        import dask  # noqa: PLC0415 - slow to import

        tasks = [dask.delayed(_score_batch, pure=False)(scoring, batch) for batch in batches]
        found = list(dask.compute(*tasks, scheduler="processes", num_workers=cores))
    counts = np.zeros((len(scoring.criteria), BINS), np.int64)
    for one in found:
        counts += one.counts
    return CohortScores([video for one in found for video in one.candidates], counts)


def save_scores(path: Path, scored: Scored) -> None:
    """Write the scores of all frames of a video."""
    np.savez(path, score=scored.score, culprit=scored.culprit)


def _load_scores(path: Path | None) -> Scored:
    """Return the scores that `save_scores` wrote; none of a video without any."""
    if path is None:
        return Scored(np.empty(0, np.float32), np.empty(0, np.int32))
    with np.load(path) as arrays:
        return Scored(arrays["score"], arrays["culprit"])


def _take_part(scored: Scored, start: int, frames: int) -> Scored:
    """Return the scores of some frames; NaN for those that have none."""
    score, culprit = np.full(frames, np.nan, np.float32), np.zeros(frames, np.int32)
    found = scored.score[start : start + frames]
    score[: len(found)] = found
    culprit[: len(found)] = scored.culprit[start : start + frames]
    return Scored(score, culprit)


def score_video(
    scoring: Scoring,
    path: Path,
    left_out: frozenset[int] = frozenset(),
    views: Path | None = None,
) -> tuple[Candidates, NDArray[np.int64]]:
    """Score the frames of one video, a block at a time.

    Returns
    -------
    candidates
        The worst frames by each criterion.
    counts
        Shape (criterion, bin), of all frames.

    Raises
    ------
    StoreError
        If the pose file is missing, damaged, or of other bodyparts than the sample.
    """
    counts = np.zeros((len(scoring.criteria), BINS), np.int64)
    kept: list[Candidates] = []
    given = _load_scores(views)
    for start, poses, block in _read_blocks(path, scoring):
        scored = [
            _take_part(given, start, len(block.usable) - CONTEXT)
            if find_criterion(name).judges == "views"
            else load_criterion(name).score(block, usual)
            for name, usual in zip(scoring.criteria, scoring.usual, strict=True)
        ]
        counts += [count_scores(one.score) for one in scored]
        found = _list_candidates(start, poses.time[-len(scored[0].score) :], scored)
        kept.append(_keep_candidates(found, scoring, left_out))
    if not kept:
        return _make_none(len(scoring.criteria)), counts
    whole = Candidates(*(np.concatenate(parts) for parts in zip(*kept, strict=True)))
    return _keep_candidates(whole, scoring, frozenset()), counts


def _make_none(criteria: int) -> Candidates:
    return Candidates(
        np.empty(0, np.int64),
        np.empty(0),
        np.empty((0, criteria), np.float32),
        np.empty((0, criteria), np.int32),
    )


def _score_batch(
    scoring: Scoring, jobs: Sequence[tuple[Path, frozenset[int], Path | None]]
) -> CohortScores:
    counts = np.zeros((len(scoring.criteria), BINS), np.int64)
    candidates: list[Candidates | str] = []
    for path, left_out, views in jobs:
        try:
            found, counted = score_video(scoring, path, left_out, views)
        except CohortposeError as error:
            candidates.append(str(error))
            continue
        candidates.append(found)
        counts += counted
    return CohortScores(candidates, counts)


def _read_blocks(path: Path, scoring: Scoring) -> Iterator[tuple[int, Poses, PoseBlock]]:
    """Yield the first frame of each block, its poses with what comes before, and the block."""
    start = 0
    while True:
        first = max(0, start - CONTEXT)
        poses = drop_added(read_poses(path, first, start + _BLOCK_FRAMES))
        if not start:
            _check_axes(path, poses, scoring.names)
        if len(poses.time) > start - first:
            yield start, poses, _convert(poses, scoring.pcutoff, CONTEXT - (start - first))
        start += _BLOCK_FRAMES
        if len(poses.time) < start - first:
            return


def _check_axes(path: Path, poses: Poses, names: PoseNames) -> None:
    if (poses.bodyparts, poses.individuals) != (names.bodyparts, names.individuals):
        raise StoreError(
            f"{path}: expected the bodyparts {', '.join(names.bodyparts)} and the individuals "
            f"{', '.join(names.individuals)} as in other videos, found "
            f"{', '.join(poses.bodyparts)} and {', '.join(poses.individuals)}; run snakemake"
        )


def _convert(poses: Poses, pcutoff: float, missing: int) -> PoseBlock:
    doubtful = None
    if poses.track_status is not None:
        doubtful = poses.track_status == TrackStatus.UNCERTAIN
    return make_block(
        poses.position,
        poses.confidence,
        find_decoded(poses.frame_status),
        doubtful,
        pcutoff=pcutoff,
        missing=missing,
        spread=poses.spread,
    )


def _list_candidates(start: int, time: NDArray[np.float64], scored: Sequence[Scored]) -> Candidates:
    frames = len(scored[0].score)
    return Candidates(
        np.arange(start, start + frames),
        time[:frames],
        np.stack([one.score for one in scored], axis=1),
        np.stack([one.culprit for one in scored], axis=1),
    )


def _keep_candidates(found: Candidates, scoring: Scoring, left_out: frozenset[int]) -> Candidates:
    """Keep the worst frames by each criterion, in the order of time."""
    free = ~np.isin(found.frame, np.fromiter(left_out, np.int64, len(left_out)))
    kept = [
        keep_worst(
            np.where(free, score, np.nan), found.time, number=scoring.number, gap=scoring.gap
        )
        for score in found.score.T
    ]
    places = np.unique(np.concatenate(kept))
    return Candidates(
        found.frame[places], found.time[places], found.score[places], found.culprit[places]
    )


def _take_sample(
    paths: Sequence[Path],
    edges: Sequence[tuple[str, str]],
    random: np.random.Generator,
) -> _Sample | None:
    """Read runs of frames of videos drawn at random; videos that cannot be read are left out."""
    drawn = np.sort(random.permutation(len(paths))[:_SAMPLED_VIDEOS])
    runs = math.ceil(_SAMPLED_FRAMES / _RUN_FRAMES / max(1, len(drawn)))
    read: list[tuple[int, Poses]] = []
    names: PoseNames | None = None
    for number in drawn.tolist():
        try:
            poses = _read_runs(paths[number], runs, random)
        except CohortposeError:
            # Its scoring tells why.
            continue
        head = poses[0][1]
        own = _name_axes(head.bodyparts, head.individuals, edges)
        names = names or own
        if own == names:
            read += poses
    return None if names is None else _Sample(read, names)


def _read_runs(path: Path, runs: int, random: np.random.Generator) -> list[tuple[int, Poses]]:
    """Read runs of a video with the context before; tell how many frames of it there are not."""
    starts = np.arange(0, max(1, len(read_times(path))), _RUN_FRAMES)
    read = []
    for start in np.sort(random.permutation(starts)[:runs]).tolist():
        first = max(0, start - CONTEXT)
        poses = drop_added(read_poses(path, first, start + _RUN_FRAMES))
        read.append((CONTEXT - (start - first), poses))
    return read


def _name_axes(
    bodyparts: tuple[str, ...], individuals: tuple[str, ...], edges: Sequence[tuple[str, str]]
) -> PoseNames:
    places: Mapping[str, int] = {name: place for place, name in enumerate(bodyparts)}
    pairs = tuple(
        (places[first], places[second])
        for first, second in edges
        if first in places and second in places
    )
    return PoseNames(bodyparts, individuals, pairs)


def _guess_frames(paths: Sequence[Path]) -> int:
    """Return about how many frames pose files hold, without opening them all."""
    for path in paths:
        try:
            return len(read_times(path)) * len(paths)
        except CohortposeError:
            continue
    return 0
