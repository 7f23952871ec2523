"""Starting a run: settings, plan and provenance are written, runs of other settings kept out."""

from pathlib import Path

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings, write_resolved_config
from pipeline_lib.core.settings.run import Config
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.run_lock import RunLock
from pipeline_lib.steps.plan import Plan, make_plan, plan_shards
from pipeline_lib.steps.provenance.run import write_provenance


def start_run(config: Config, results: Results, plan: Plan) -> RunLock:
    """Write what the jobs of a run read.

    Parameters
    ----------
    config, results
        The run.
    plan
        The plan that the run was prepared with.

    Returns
    -------
    RunLock
        The lock on the results folder, for as long as the run lasts.

    Raises
    ------
    StoreError
        If a run with other settings or another cohort is at work on the results folder, or the
        folder cannot be written.
    """
    lock = RunLock(results, hash_settings(config))
    try:
        publish_text(find_run_settings(config, results), write_resolved_config(config))
        write_plan(config, results, lock, plan)
        write_provenance(config, results)
    except BaseException:
        lock.release()
        raise
    return lock


def find_run_settings(config: Config, results: Results) -> Path:
    """Return the file of a run's settings, named by their hash: what its jobs read."""
    return results.run_settings(hash_settings(config))


def write_plan(config: Config, results: Results, lock: RunLock, plan: Plan | None = None) -> Plan:
    """Plan the cohort as its sheet is now, unless that would change the plan of a run at work.

    Parameters
    ----------
    config, results
        The run.
    lock
        The lock that this process holds.
    plan
        The plan that the run was prepared with; it must still hold.

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
        if now.is_written(results):
            return now
        if not alone:
            raise StoreError(
                f"{results.root}: a run is at work on this results folder, and the sheet "
                f"{config.cohort} or one of its videos has changed since it started: wait until it "
                "has ended"
            )
        return plan_shards(videos, results, config.inference)
