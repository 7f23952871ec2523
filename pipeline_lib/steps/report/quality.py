"""Show the decisions about videos in the cohort table of the report."""

from typing import Any

from pipeline_lib.core.layout import Results
from pipeline_lib.steps.quality.table import read_findings
from pipeline_lib.steps.report.privacy import Redactor

# Findings that a cell tells.
_TOLD = 3
# The decision stands after name and status.
_PLACE = 2


def add_decisions(table: dict[str, Any], results: Results, redactor: Redactor) -> dict[str, Any]:
    """Return the cohort table with the decision about each video after its status, and the reason.

    Parameters
    ----------
    table
        As `pipeline_lib.steps.report.videos.tabulate_videos` returns it.
    results
        Has the decisions; without any the table stays as it is.
    redactor
        Hides paths in reasons.
    """
    rows = read_findings(results)
    if not rows:
        return table
    decisions: dict[str, str] = {}
    reasons: dict[str, list[str]] = {}
    for row in rows:
        decisions.setdefault(row["video"], row["decision"])
        by = "" if row["decided_by"] == "rules" else f"{row['decided_by']}: "
        if row["reason"]:
            reasons.setdefault(row["video"], []).append(f"{by}{redactor.hide(row['reason'])}")
    added = (("Quality", "metadata"), ("Why", "reason"))
    columns = [{"label": label, "kind": kind} for label, kind in added]
    return {
        **table,
        "columns": [*table["columns"][:_PLACE], *columns, *table["columns"][_PLACE:]],
        "rows": [
            [*row[:_PLACE], decisions.get(row[0]), _join(reasons.get(row[0], [])), *row[_PLACE:]]
            for row in table["rows"]
        ],
    }


def _join(reasons: list[str]) -> str:
    more = len(reasons) - _TOLD
    told = "; ".join(reasons[:_TOLD])
    return f"{told}; and {more} more" if more > 0 else told
