"""Read the table of decisions about videos, as the ledger and the report do."""

import logging

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.tables import QUALITY_COLUMNS
from pipeline_lib.io.stage_tables import read_table

_log = logging.getLogger(__name__)


def read_findings(results: Results) -> list[dict[str, str]]:
    """Return the rows of ``qc.tsv``: of each video the decision in force first.

    Empty if there is no such table, or it is damaged, which is logged.
    """
    if not results.quality.exists():
        return []
    try:
        return read_table(results.quality, QUALITY_COLUMNS)
    except StoreError as error:
        _log.warning("%s", error)
        return []
