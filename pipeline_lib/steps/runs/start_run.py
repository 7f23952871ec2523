"""Start and end a run: write settings, plan and provenance, and keep other runs out."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import SheetError, StoreError
from pipeline_lib.core.formats.dictionary import list_dictionary
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings, write_resolved_config
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import DICTIONARY_COLUMNS
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.run_lock import RunLock
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.costs.run import write_costs
from pipeline_lib.steps.provenance.crate import write_crate
from pipeline_lib.steps.provenance.outputs import record_descriptions
from pipeline_lib.steps.provenance.run import complete_provenance, write_provenance
from pipeline_lib.steps.runs.plan import Plan, make_plan, plan_shards
from pipeline_lib.steps.runs.sessions.shards import SessionPlan, plan_sessions

_STORE_SUFFIX = ".zarr"
_NAMED = 5

_log = logging.getLogger(__name__)


def start_run(
    config: Config, results: Results, plan: Plan, sessions: SessionPlan | None = None
) -> RunLock:
    """Write the files that the jobs of a run read.

    Parameters
    ----------
    config, results
        The run.
    plan, sessions
        The plan that the run was prepared with, and the sessions of its shards.

    Returns
    -------
    RunLock
        The lock on the results folder, for as long as the run lasts.

    Raises
    ------
    StoreError
        If a run is at work on the results folder, or a folder in it cannot be written.
    """
    require_writable(results)
    lock = RunLock(results, hash_settings(config))
    try:
        publish_text(find_run_settings(config, results), write_resolved_config(config))
        write_plan(config, results, lock, plan, sessions)
        lock.claim_run()
        write_provenance(config, results)
    except BaseException:
        lock.release()
        raise
    return lock


def end_run(
    config: Config, results: Results, workflow: Mapping[str, Path], *, succeeded: bool
) -> None:
    """Write provenance, cost and descriptions of a run at its end.

    Parameters
    ----------
    config, results
        The run.
    workflow
        Snakefiles, by their path below ``workflow/``.
    succeeded
        Whether the run ended well.
    """
    complete_provenance(config, results)
    try:
        write_costs(config, results)
    except (SheetError, StoreError) as error:
        # The sheet may have been changed meanwhile; the results stand all the same.
        _log.warning("%s is not written: %s", results.costs, error)
    write_table(results.dictionary, DICTIONARY_COLUMNS, list_dictionary())
    write_crate(config, results, workflow, succeeded=succeeded)
    record_descriptions(results)


def require_writable(results: Results) -> None:
    """Refuse to start where a folder of the results cannot be written.

    Stores, which are replaced whole, are not looked into.

    Raises
    ------
    StoreError
        Naming the folders.
    """
    refused = []
    for folder, inside, _ in os.walk(results.root):
        inside[:] = [name for name in inside if not name.endswith(_STORE_SUFFIX)]
        if not os.access(folder, os.W_OK | os.X_OK):
            refused.append(folder)
    if refused:
        more = f" and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
        raise StoreError(
            f"cannot write to {', '.join(refused[:_NAMED])}{more}: expected folders that this user "
            "may write; give back the permission (`chmod u+w`), ask their owner, or set `results` "
            "in the config to another folder"
        )


def find_run_settings(config: Config, results: Results) -> Path:
    """Return the file of a run's settings, named by their hash, which its jobs read."""
    return results.run_settings(hash_settings(config))


def write_plan(
    config: Config,
    results: Results,
    lock: RunLock,
    plan: Plan | None = None,
    sessions: SessionPlan | None = None,
) -> Plan:
    """Plan the cohort by its present sheet, unless that would change the plan of a live run.

    Parameters
    ----------
    config, results
        The run.
    lock
        The lock that this process holds.
    plan, sessions
        The plan that the run was prepared with, which must still hold, and its sessions; None:
        those of the present sheet.

    Raises
    ------
    StoreError
        If the plan is another one than `plan`, or another process of the same settings is at
        work and the sheet or a video has changed since it started.
    """
    with lock.work_alone() as alone:
        videos = read_cohort(Path(config.cohort))
        now = make_plan(videos, results, config.inference)
        if plan is not None and now.rows != plan.rows:
            raise StoreError(
                f"{results.plan}: another run has planned the cohort meanwhile, or the sheet has "
                "changed; start again"
            )
        if sessions is None:
            sessions = plan_sessions(config, videos, now)
        triangulated = STAGES["calibrate"].wanted(config)
        if now.is_written(results) and (not triangulated or sessions.is_written(results)):
            return now
        if not alone:
            raise StoreError(
                f"{results.root}: a run is at work on this results folder, and the sheet "
                f"{config.cohort} or one of its videos has changed since it started: wait until it "
                "has ended"
            )
        written = plan_shards(videos, results, config.inference)
        if triangulated:
            sessions.write(results)
        return written
