"""Record the outcome of a verb for each session of a shard, after `triangulate`."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import TRIANGULATION_NEEDED, SessionStatus
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.runs.plan import read_plan
from pipeline_lib.steps.runs.sessions.shards import read_sessions

_log = logging.getLogger(__name__)

Row = dict[str, Any]
Views = Sequence[Mapping[str, str]]


def end_sessions(
    verb: str,
    config: Config,
    results: Results,
    shard: str,
    work: Callable[[Mapping[str, str], Views], Mapping[str, Any]],
) -> list[Row]:
    """Work on each session of a shard that was triangulated; a failed one does not stop the others.

    Parameters
    ----------
    verb
        Named in the log.
    config, results, shard
        The run. Sessions that its plan does not have any more are left out.
    work
        Is given the row of a session in the table of `triangulate`, and its planned views; returns
        further cells of its row, its key among them. A `CohortposeError` is this session's fate.

    Returns
    -------
    list of dict
        Rows of the stage's table. A session that was not triangulated keeps its status and reason.

    Raises
    ------
    StoreError
        If the table of `triangulate` is missing.
    """
    planned = read_sessions(results, read_plan(results)).group(shard)
    rows = read_table(
        STAGES["triangulate"].find_table(config, results, shard), TRIANGULATION_NEEDED
    )
    ended = [
        _end_session(verb, row, lambda row: work(row, planned[row["session"]]))
        for row in rows
        if row["session"] in planned
    ]
    done = sum(row["status"] == SessionStatus.DONE for row in ended)
    _log.info("%s %s: %d of %d sessions done", verb, shard, done, len(ended))
    return ended


def _end_session(
    verb: str, row: Mapping[str, str], work: Callable[[Mapping[str, str]], Mapping[str, Any]]
) -> Row:
    session, began = row["session"], time.perf_counter()
    if row["status"] != SessionStatus.DONE:
        return {"session": session, "status": row["status"], "reason": row["reason"]}
    try:
        made = work(row)
    except CohortposeError as error:
        _log.warning("%s %s: %s", verb, session, error)
        return {"session": session, "status": SessionStatus.FAILED, "reason": str(error)}
    return {
        "session": session,
        "status": SessionStatus.DONE,
        "seconds": time.perf_counter() - began,
        "source_key": row["key"],
        **made,
    }
