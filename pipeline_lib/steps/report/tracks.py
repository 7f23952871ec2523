"""Show the tracked animals in the report: timelines, trajectories and frames to check."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import find_decoded
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL, TrackStatus
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.kernels.summaries.tracks import Flag, find_flags
from pipeline_lib.steps.report.charts import draw_bars
from pipeline_lib.steps.report.labelling.proofreading import read_proofreading
from pipeline_lib.steps.report.lanes import Lane, draw_counts, draw_lanes
from pipeline_lib.steps.report.summaries import (
    TrackFigures,
    VideoSummary,
    find_poses,
    read_path_summary,
)
from pipeline_lib.steps.runs.ledger import LedgerRow

_log = logging.getLogger(__name__)

_CARDS = 8
_PATH_POINTS = 400
_FLAGS_OF_A_KIND = 8
_HISTOGRAM_VIDEOS = 8


@dataclass(frozen=True)
class FlagLine:
    """Describe frames to check, both ends included, and the time of the first in seconds."""

    kind: str
    animals: list[str]
    first: int
    last: int
    seconds: float


@dataclass(frozen=True)
class TrackCard:
    """Describe the tracked animals of one video.

    Attributes
    ----------
    absence
        Why there are no figures, as in `VideoSummary`; empty where there are.
    band, line
        Fewest to most and mean number of animals over time, SVG paths in a box of width and
        height 1.
    most
        Animals at the top of that box.
    flags, left_out
        Frames to check, the longest of each kind, and the number of others.
    """

    video: str
    frames: int
    absence: str
    seconds: float
    width: float
    height: float
    bodypart: str
    figures: TrackFigures
    most: int
    band: str
    line: str
    lanes: list[Lane]
    flags: list[FlagLine]
    left_out: int


def describe_animals(
    config: Config,
    results: Results,
    rows: Sequence[LedgerRow],
    summaries: Mapping[str, VideoSummary],
) -> dict[str, Any] | None:
    """Return the data on several animals for the page; None if nothing was tracked.

    Returns
    -------
    dict or None
        ``followed``: share of the decoded frames of the cohort in which all animals of their
        video are followed; ``videos``, ``swaps``, ``gaps``: counts; ``swapped``: videos with
        possible swaps; ``crowded``: videos with frames that show more animals than are kept,
        most such frames first; ``surplus``: these frames, ``most``: animals in one of them at
        most; ``histogram``: of the videos' shares, bars or None; ``cards``: a few videos, those
        with the most to check first; ``proofread``: what people decided, or None; ``undecodable``:
        whether one of the cards has frames that could not be decoded.
    """
    tracks = {video: summary.tracks for video, summary in summaries.items() if summary.tracks}
    if not tracks:
        return None
    decoded = {video: summaries[video].frames - summaries[video].undecodable for video in tracks}
    known = [video for video, figures in tracks.items() if math.isfinite(figures.followed)]
    total = sum(decoded[video] for video in known)
    good = sum(decoded[video] * tracks[video].followed for video in known)
    cards = _draw_cards(config, results, rows, summaries)
    counts, _ = np.histogram([tracks[video].followed for video in known], np.linspace(0, 1, 21))
    return {
        "followed": good / total if total else math.nan,
        "median": float(np.median([tracks[video].followed for video in known] or [math.nan])),
        "videos": len(tracks),
        "swaps": sum(figures.swaps for figures in tracks.values()),
        "gaps": sum(figures.gaps for figures in tracks.values()),
        "crowded": sorted(
            (video for video in tracks if tracks[video].surplus),
            key=lambda video: (-tracks[video].surplus, video),
        ),
        "surplus": sum(figures.surplus for figures in tracks.values()),
        "most": max(figures.most for figures in tracks.values()),
        "kept": config.individuals.max,
        "swapped": [video for video in rank_tracks(tracks) if tracks[video].swaps],
        "histogram": draw_bars(counts) if len(tracks) >= _HISTOGRAM_VIDEOS else None,
        "cards": cards,
        "proofread": read_proofreading(config, results),
        "undecodable": any(lane.undecodable for card in cards for lane in card.lanes),
    }


def rank_tracks(tracks: Mapping[str, TrackFigures]) -> list[str]:
    """Rank the videos by possible swaps, then by untracked frames, the most first."""

    def order(video: str) -> tuple[int, float, str]:
        figures = tracks[video]
        return -figures.swaps, -1.0 if math.isnan(figures.followed) else figures.followed, video

    return sorted(tracks, key=order)


def _draw_cards(
    config: Config,
    results: Results,
    rows: Sequence[LedgerRow],
    summaries: Mapping[str, VideoSummary],
) -> list[TrackCard]:
    """Draw half of the cards for the videos that rank first, the others for random ones."""
    usable = [row for row in rows if row["width"] and row["height"] and row["fps"]]
    known = {row["video"]: row for row in usable}
    tracks = {
        video: summary.tracks
        for video, summary in summaries.items()
        if summary.tracks and video in known
    }
    ranked = rank_tracks(tracks)
    order = np.random.default_rng(config.report.seed).permutation(len(ranked[_CARDS // 2 :]))
    others = [ranked[_CARDS // 2 :][index] for index in order[: _CARDS // 2]]
    chosen = [video for video in ranked if video in {*ranked[: _CARDS // 2], *others}]
    cards = (_draw_card(config, results, known[video], summaries[video]) for video in chosen)
    return [card for card in cards if card is not None]


def _draw_card(
    config: Config, results: Results, row: LedgerRow, summary: VideoSummary
) -> TrackCard | None:
    video, figures = row["video"], summary.tracks
    path = find_poses(results, config.training.name, video, several=True)
    try:
        poses = read_path_summary(path, config.evaluation.pcutoff, _PATH_POINTS)
        names = read_poses(path, 0, 0)
    except CohortposeError as error:
        _log.warning("the report shows no animals of %s: %s", video, error)
        return None
    status = poses["track_status"]
    if status is None or figures is None or not summary.detection:
        return None
    slots = [i for i, name in enumerate(names.individuals) if name != UNIQUE_INDIVIDUAL]
    decoded = find_decoded(poses["frame_status"])
    status, animals = status[:, slots], [names.individuals[slot] for slot in slots]
    bodypart = max(summary.detection, key=lambda part: _to_rank(summary.detection[part]))
    way = poses["path"][:, slots, names.bodyparts.index(bodypart)]
    band, line = draw_counts(status, decoded)
    flags, left_out = _choose_flags(find_flags(status, decoded))
    return TrackCard(
        video=video,
        frames=poses["frames"],
        absence=summary.absence,
        seconds=poses["frames"] / row["fps"],
        width=row["width"],
        height=row["height"],
        bodypart=bodypart,
        figures=figures,
        most=len(animals),
        band=band,
        line=line,
        lanes=draw_lanes(animals, status, way, decoded),
        flags=[_describe_flag(flag, animals, row["fps"]) for flag in flags],
        left_out=left_out,
    )


def _to_rank(rate: float) -> float:
    return -1.0 if math.isnan(rate) else rate


def _choose_flags(flags: Sequence[Flag]) -> tuple[list[Flag], int]:
    """Return the longest flags of each kind in the order of time, and how many are left out."""
    chosen: list[Flag] = []
    for status in (TrackStatus.UNCERTAIN, TrackStatus.GAP):
        of_kind = sorted((f for f in flags if f.status == status), key=lambda flag: -flag.frames)
        chosen += of_kind[:_FLAGS_OF_A_KIND]
    return sorted(chosen, key=lambda flag: flag.first), len(flags) - len(chosen)


def _describe_flag(flag: Flag, animals: Sequence[str], fps: float) -> FlagLine:
    names: Iterable[str] = (animals[slot] for slot in flag.individuals)
    kind = "swap" if flag.status == TrackStatus.UNCERTAIN else "gap"
    return FlagLine(kind, list(names), flag.first, flag.last, flag.first / fps)
