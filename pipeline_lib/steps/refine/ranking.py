"""Rank the candidates of all videos in one list, and thin and spread them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.refinement.blocks import PoseNames
from pipeline_lib.kernels.refinement.choice import (
    count_scores,
    keep_worst,
    rank_scores,
    spread_candidates,
)
from pipeline_lib.steps.refine.appearance import Look, Place
from pipeline_lib.steps.refine.scoring import CohortScores, load_criterion

LISTED, PEAKS = "list", "peaks"
# Reasons of frames drawn at random, before they are judged: candidates, and those near one.
DRAWN, NEAR = "drawn at random", "drawn at random near a candidate"
# Most frames have no surplus peak, so that any is beyond the fence. It is an outlier only if rarer
# than one in so many frames.
_RARE = math.log10(20)


@dataclass(frozen=True)
class Choice:
    """Describe a frame that may be labelled.

    Attributes
    ----------
    video, frame
        Name of the video, and row in its pose file.
    score
        How far out the frame is by the criterion, as `rank_scores` has it; infinite for a frame
        that the user named.
    value
        The score, less what worse frames of the same video and group have taken from it.
    criterion
        Name of the criterion with the highest score.
    reason
        The same in words.
    group
        Group of the video; empty where there are none.
    """

    video: str
    frame: int
    score: float
    value: float
    criterion: str
    reason: str
    group: str = ""


def rank_candidates(  # noqa: PLR0913 - what a ranking depends on
    videos: Sequence[str],
    groups: Sequence[str],
    scores: CohortScores,
    criteria: Sequence[str],
    names: PoseNames,
    *,
    taken: Mapping[str, NDArray[np.float64]],
    gap: float,
    number: int,
) -> list[Choice]:
    """Return the worst candidates of the cohort, thinned in time and spread.

    Parameters
    ----------
    videos, groups
        Name and group of each video, in the order of ``scores.candidates``.
    scores
        Candidates and histograms.
    criteria, names
        As the scores were made.
    taken
        Times in seconds of frames of a video that are chosen already.
    gap
        Least time in seconds between two frames of a video.
    number
        Most candidates to return.
    """
    numbers = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    rows: list[tuple[int, int]] = []
    rarity: list[float] = []
    why: list[int] = []
    for part, found in enumerate(scores.candidates):
        if isinstance(found, str) or not len(found.frame):
            continue
        ranks = np.stack(
            [
                rank_scores(counts, column)
                for counts, column in zip(scores.counts, found.score.T, strict=True)
            ],
            axis=1,
        )
        best = ranks.argmax(axis=1)
        score = ranks.max(axis=1)
        for time in taken.get(videos[part], ()):
            score = np.where(np.abs(found.time - time) < gap, -np.inf, score)
        # Frames within the usual range come last, and are candidates all the same.
        positive = score + 1.0 + np.log10(max(1, scores.counts.sum()))
        kept = keep_worst(positive, found.time, number=number, gap=gap)
        rows += [(part, place) for place in kept.tolist()]
        rarity += score[kept].tolist()
        why += best[kept].tolist()
    if not rows:
        return []
    parts = np.array([part for part, _ in rows])
    owners = np.array([numbers[groups[part]] for part, _ in rows])
    value = spread_candidates(np.array(rarity), parts, owners)
    order = np.argsort(-value, kind="stable")[:number]
    return [
        _describe(
            *(videos, groups, scores, criteria, names),
            *(rows[place], rarity[place], value[place], why[place]),
        )
        for place in order.tolist()
    ]


def add_peaks(
    ranked: Sequence[Choice],
    drawn: Sequence[Choice],
    looks: Mapping[Place, Look],
    bodyparts: Sequence[str],
) -> list[Choice]:
    """Rank candidates by the criterion `peaks`, too.

    How rare surplus peaks are is estimated from a random sample of the cohort, because score maps
    are not stored.

    Parameters
    ----------
    ranked
        Candidates of the other criteria.
    drawn
        The sample; outliers in it that have the reason `DRAWN` become candidates.
    looks
        Look of each of these frames that can be read.
    bodyparts
        Names along the keypoint axis.

    Returns
    -------
    list of Choice
        Candidates, each with the criterion by which it is rarest.
    """
    names = PoseNames(tuple(bodyparts), ("",), ())
    kernel = load_criterion(PEAKS)
    sample = [look for one in drawn if (look := looks.get((one.video, one.frame)))]
    surplus = [look.surplus for look in sample if look.surplus is not None]
    if not surplus:
        return list(ranked)
    usual = kernel.fit(np.stack(surplus), names)
    counts = count_scores(kernel.score(np.stack(surplus), usual).score)
    judged = []
    for one in (*ranked, *(one for one in drawn if one.reason == DRAWN)):
        look = looks.get((one.video, one.frame))
        if look is None or look.surplus is None:
            continue
        scored = kernel.score(look.surplus[None], usual)
        rarity = float(rank_scores(counts, scored.score)[0])
        if 0 < rarity < _RARE:
            rarity -= math.log10(len(surplus))
        if rarity <= one.score:
            judged.append(one)
            continue
        words = kernel.explain(float(scored.score[0]), int(scored.culprit[0]), names)
        # What worse frames of the same video have taken stays taken.
        lost = one.score - one.value if math.isfinite(one.score) else 0.0
        reason = f"{words}; {_describe_share(rarity)}"
        judged.append(
            replace(one, score=rarity, value=rarity - lost, criterion=PEAKS, reason=reason)
        )
    return [one for one in judged if math.isfinite(one.score)]


def _describe(  # noqa: PLR0913, PLR0917
    videos: Sequence[str],
    groups: Sequence[str],
    scores: CohortScores,
    criteria: Sequence[str],
    names: PoseNames,
    row: tuple[int, int],
    rarity: float,
    value: float,
    why: int,
) -> Choice:
    part, place = row
    found = scores.candidates[part]
    assert not isinstance(found, str)  # noqa: S101 - such a video has no rows
    criterion = criteria[why]
    words = load_criterion(criterion).explain(
        float(found.score[place, why]), int(found.culprit[place, why]), names
    )
    return Choice(
        video=videos[part],
        frame=int(found.frame[place]),
        score=rarity,
        value=float(value),
        criterion=criterion,
        reason=f"{words}; {_describe_share(rarity)}",
        group=groups[part],
    )


def _describe_share(score: float) -> str:
    if score <= 0:
        return "still within the usual range: no outlier"
    return f"1 in {max(1, round(10**score)):,} frames is as bad or worse"
