"""Summarise the decisions about tracks for the report."""

from collections import Counter
from dataclasses import dataclass

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.runs.plan import read_plan

_MOST_LISTED = 20
_APPLIED, _RIGHT = "applied", "already right"


@dataclass(frozen=True)
class Proofreading:
    """Count the decisions about the tracks of a cohort.

    Attributes
    ----------
    decisions, videos
        Number of decisions, and of the videos that they are about.
    applied, right
        Decisions that were applied, and those that changed nothing: the tracks agree with them.
    left_out
        Video, frame, decision and reason of the first decisions that were not applied.
    others
        Number of further ones.
    """

    decisions: int
    videos: int
    applied: int
    right: int
    left_out: list[tuple[str, str, str, str]]
    others: int


def read_proofreading(config: Config, results: Results) -> Proofreading | None:
    """Read the outcomes of all decisions; None if there are no decisions.

    Raises
    ------
    StoreError
        If the plan or a table is damaged.
    """
    if not STAGES["correct"].wanted(config) or not results.plan.exists():
        return None
    rows = []
    for shard in read_plan(results).shards:
        table = results.shard(shard).decisions(config.training.name)
        if table.exists():
            rows += read_table(table, ("video", "what", "first_frame", "outcome", "reason"))
    if not rows:
        return None
    counts = Counter(row["outcome"] for row in rows)
    left_out = [
        (row["video"], row["first_frame"], row["what"], f"{row['outcome']}: {row['reason']}")
        for row in rows
        if row["outcome"] not in (_APPLIED, _RIGHT)
    ]
    return Proofreading(
        decisions=len(rows),
        videos=len({row["video"] for row in rows}),
        applied=counts[_APPLIED],
        right=counts[_RIGHT],
        left_out=left_out[:_MOST_LISTED],
        others=max(0, len(left_out) - _MOST_LISTED),
    )
