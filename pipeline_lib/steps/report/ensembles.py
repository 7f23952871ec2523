"""Show an ensemble in the report: errors of its members, and how well confidence is calibrated."""

import math
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import MEMBER_COLUMNS, REGION_COLUMNS
from pipeline_lib.io.stage_tables import read_table

_ALL = "all"
_SHOWN = ("test", "validation", "train")


@dataclass(frozen=True)
class EnsembleSummary:
    """Hold what the report shows of members and of calibrated confidence.

    Attributes
    ----------
    members
        Rows of the table of members, the test split first, the ensemble first in each.
    regions
        Rows of all bodyparts together, by level: share of held-out points inside, usual radius;
        None where there are too few points to tell.
    worst
        Bodypart of which the regions of 90 % hold the fewest points, with that share; None without
        a calibration.
    missing
        Whether confidence should be calibrated and is not.
    """

    members: list[dict[str, str]]
    regions: list[dict[str, float | None]]
    worst: tuple[str, float] | None
    missing: bool


def summarise_ensemble(config: Config, results: Results, gaps: list[str]) -> EnsembleSummary | None:
    """Return what is known of the members and the calibration of a network; None if nothing is.

    Parameters
    ----------
    config, results
        The run.
    gaps
        Receives why a table cannot be read.
    """
    model = config.training.name
    if not (config.calibrates and results.metrics(model).is_file()):
        return None
    several = config.training.ensemble > 1
    members = _read(results.members(model), MEMBER_COLUMNS, gaps) if several else []
    rows = _read(results.regions(model), REGION_COLUMNS, gaps)
    try:
        regions = [
            {name: _read_number(row[name]) for name in REGION_COLUMNS[1:]}
            for row in rows
            if row["bodypart"] == _ALL
        ]
        shares = {
            row["bodypart"]: float(row["coverage"])
            for row in rows
            if row["bodypart"] != _ALL and row["coverage"] and float(row["level"]) == 0.9
        }
    except ValueError as error:
        gaps.append(f"{results.regions(model)}: {error}")
        regions, shares = [], {}
    members.sort(key=lambda row: _SHOWN.index(row["split"]) if row["split"] in _SHOWN else 3)
    worst = min(shares.items(), key=lambda item: item[1]) if shares else None
    return EnsembleSummary(members, regions, worst, missing=not regions)


def _read_number(cell: str) -> float | None:
    """Return the number of a cell; None where it is empty, or infinite as in older tables."""
    return value if cell and math.isfinite(value := float(cell)) else None


def _read(path: Path, columns: tuple[str, ...], gaps: list[str]) -> list[dict[str, str]]:
    """Return the rows of a table of the evaluation; none if there is none or it is damaged."""
    if not path.is_file():
        return []
    try:
        return read_table(path, columns)
    except CohortposeError as error:
        gaps.append(str(error))
        return []
