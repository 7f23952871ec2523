"""List the doubts about the tracks of a whole cohort, worst first."""

import logging
from pathlib import Path
from typing import NamedTuple

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.io.stage_tables import format_table, write_table
from pipeline_lib.kernels.proofreading.doubts import TrackDoubt
from pipeline_lib.steps.correct.proofreading import Proofreader, ProofreadState, make_doubt_rules

COLUMNS = ("rank", "video", "frame", "first", "last", "individuals", "probability")
_log = logging.getLogger(__name__)


class CohortDoubt(NamedTuple):
    """Hold a doubt about the tracks of a video, and the names of its animals."""

    video: str
    doubt: TrackDoubt
    individuals: tuple[str, ...]


def name_doubts(video: str, state: ProofreadState) -> list[CohortDoubt]:
    """Return the doubts about a video with the names of their animals."""
    return [
        CohortDoubt(video, doubt, tuple(state.individuals[slot] for slot in doubt.slots))
        for doubt in state.doubts
    ]


def rank_doubts(doubts: list[CohortDoubt]) -> list[CohortDoubt]:
    """Return the doubts of several videos, worst first; equal ones by video and frame."""
    return sorted(doubts, key=lambda one: (-one.doubt.probability, one.video, one.doubt.frame))


def run_list_doubts(config: Config, results: Results, path: Path | None) -> str:
    """Return the doubts of all videos that have tracks as a table; a broken video is named.

    Parameters
    ----------
    config, results
        The run.
    path
        Table to write; None: none.
    """
    found: list[CohortDoubt] = []
    rules = make_doubt_rules(config.corrections, config.tracking)
    tracked = 0
    for video in read_cohort(Path(config.cohort)):
        tracks = results.tracked(config.training.name, video.video)
        if not tracks.exists():
            continue
        tracked += 1
        reader = Proofreader(Path(config.corrections.path), video.video, tracks, "", rules)
        try:
            found += name_doubts(video.video, reader.read())
        except CohortposeError as error:
            _log.warning("%s is left out: %s", video.video, error)
    rows = [_describe(rank, one) for rank, one in enumerate(rank_doubts(found), start=1)]
    _log.info("%d places in doubt in %d videos with tracks", len(rows), tracked)
    if path is not None:
        write_table(path, COLUMNS, rows)
    return format_table(COLUMNS, rows)


def _describe(rank: int, one: CohortDoubt) -> dict[str, object]:
    doubt = one.doubt
    return {
        "rank": rank,
        "video": one.video,
        "frame": doubt.frame,
        "first": doubt.first,
        "last": doubt.last,
        "individuals": " and ".join(one.individuals),
        "probability": f"{doubt.probability:.3f}",
    }
