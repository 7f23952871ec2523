"""Show labels that are probably wrong in the report, as `refine` lists them."""

from dataclasses import dataclass
from typing import Any

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.io.stage_tables import read_table

_COLUMNS = ("video", "frame", "individual", "bodypart", "what", "suggestion", "seen")
_SHOWN = 8


@dataclass(frozen=True)
class LabelErrors:
    """Hold the number of labels that are probably wrong, and the rows of the worst."""

    number: int
    worst: list[dict[str, Any]]


def read_label_errors(results: Results, model: str, gaps: list[str]) -> LabelErrors | None:
    """Return the labels that `refine` listed as probably wrong; None if there are none.

    Parameters
    ----------
    results, model
        Name the table.
    gaps
        Receives why a table cannot be read.
    """
    path = results.label_errors(model)
    if not path.is_file():
        return None
    try:
        rows: list[dict[str, Any]] = read_table(path, _COLUMNS)
    except CohortposeError as error:
        gaps.append(str(error))
        return None
    return LabelErrors(len(rows), rows[:_SHOWN]) if rows else None
