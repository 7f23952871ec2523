"""Read the decisions about videos, as the table of findings has them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.tables import QUALITY_COLUMNS
from pipeline_lib.io.stage_tables import read_table

_log = logging.getLogger(__name__)

RULES = "rules"
DECISIONS = ("pass", "warn", "fail")


@dataclass(frozen=True)
class Decision:
    """Hold what was decided about one video.

    Attributes
    ----------
    decision
        `pass`, `warn` or `fail`: a person's decision; without one, the worst of the findings.
    decided_by
        `rules`, or the person's name.
    findings
        Rows of the table with a reason, in its order.
    """

    decision: str
    decided_by: str
    findings: tuple[dict[str, str], ...]

    def join(self, column: str) -> str:
        """Return the different cells of a column of the findings, in one line."""
        cells = (row[column] for row in self.findings)
        return "; ".join(dict.fromkeys(cell for cell in cells if cell))


def read_decisions(path: Path) -> dict[str, Decision]:
    """Return the decision about each video; none where the table is missing or damaged."""
    if not path.exists():
        return {}
    try:
        rows = read_table(path, QUALITY_COLUMNS)
    except StoreError as error:
        _log.warning("the decisions are left out: %s", error)
        return {}
    videos: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if row["decision"] in DECISIONS:
            videos.setdefault(row["video"], []).append(row)
    return {video: _decide(own) for video, own in videos.items()}


def _decide(rows: Sequence[dict[str, str]]) -> Decision:
    people = [row for row in rows if row["decided_by"] not in ("", RULES)]
    worst = max(rows, key=lambda row: DECISIONS.index(row["decision"]))
    # The decision in force stands first.
    chosen = people[0] if people else worst
    found = tuple(row for row in rows if row["reason"])
    return Decision(chosen["decision"], chosen["decided_by"] or RULES, found)
