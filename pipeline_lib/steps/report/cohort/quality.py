"""Read the decisions about the quality of videos for the report."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.formats.checks import PROCESSED
from pipeline_lib.core.tables import QUALITY_COLUMNS
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.report.privacy import Redactor

# Worst first.
DECISIONS = ("fail", "warn", "pass")
_RULES = ("", "rules")
# What the page shows of a finding, in this order.
FINDING_COLUMNS = (
    "decision",
    "decided_by",
    "check",
    "reason",
    "value",
    "limit",
    "seconds",
    "remedy",
)


@dataclass(frozen=True)
class Quality:
    """Hold the decisions about videos.

    Attributes
    ----------
    decisions
        Decision by video: that of a person, where there is one, else the worst of the rules.
    findings
        By video, the cells of `FINDING_COLUMNS` of each finding, in the order of the table.
    """

    decisions: dict[str, str]
    findings: dict[str, list[list[str]]]

    def count(self) -> dict[str, int]:
        """Return the number of videos of each decision, zeros included."""
        counts = Counter(self.decisions.values())
        return {decision: counts[decision] for decision in DECISIONS}

    def group(self, decision: str) -> list[tuple[str, list[str]]]:
        """Return the checks that videos of a decision did not pass, the most videos first.

        Videos that ended badly in an earlier stage are left out: the page has their reasons.
        """
        checks: dict[str, list[str]] = {}
        for video, made in self.decisions.items():
            for cells in self.findings[video] if made == decision else ():
                check = cells[2] or cells[3] or "a person's decision"
                if check == PROCESSED or cells[0] != decision:
                    continue
                if video not in checks.setdefault(check, []):
                    checks[check].append(video)
        return sorted(checks.items(), key=lambda item: -len(item[1]))


def read_quality(
    path: Path, videos: Iterable[str], redactor: Redactor, gaps: list[str]
) -> Quality | None:
    """Read the table of decisions; None if there is none, or it cannot be read, as `gaps` says.

    Rows of other videos, and rows that decide nothing that is known, are left out.
    """
    if not path.exists():
        return None
    try:
        rows = read_table(path, QUALITY_COLUMNS)
    except (StoreError, OSError, ValueError) as error:
        gaps.append(f"{path.name} cannot be read: {error}")
        return None
    known = set(videos)
    findings: dict[str, list[list[str]]] = {}
    unknown = 0
    for row in rows:
        if row["video"] not in known:
            continue
        if row["decision"] not in DECISIONS:
            unknown += 1
            continue
        cells = [redactor.hide(row[name] or "") for name in FINDING_COLUMNS]
        findings.setdefault(row["video"], []).append(cells)
    if unknown:
        gaps.append(
            f"{path.name}: {unknown} rows are left out: a decision is {', '.join(DECISIONS)}"
        )
    decisions = {video: _decide(cells) for video, cells in findings.items()}
    return Quality(decisions, findings)


def _decide(findings: Sequence[Sequence[str]]) -> str:
    own = [cells[0] for cells in findings if cells[1] not in _RULES]
    return own[0] if own else min((cells[0] for cells in findings), key=DECISIONS.index)
