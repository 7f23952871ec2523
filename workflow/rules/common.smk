# Settings, plan and names that the rules share.
import functools
import os
import shlex
import sys
from pathlib import Path

from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod

from pipeline_lib.core.environment import name_user, require_utf8
from pipeline_lib.core.errors import describe_error
from pipeline_lib.core.layout import Results
from pipeline_lib.core.process import forget_launchers
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.stages import (
    STAGES,
    VIDEO_STAGES,
    list_cohort_files,
    list_session_stages,
    list_stages_of,
)
from pipeline_lib.core.untrusted.unseen import escape_logs, escape_unseen
from pipeline_lib.steps.import_labels.correction_inputs import list_corrections
from pipeline_lib.steps.runs.plan import make_plan, read_plan
from pipeline_lib.steps.runs.preflight import check_config_files, check_run
from pipeline_lib.steps.runs.sessions.shards import (
    find_claimed_session_result,
    find_claimed_views,
    find_session_result_keys,
    find_view_keys,
    plan_sessions,
    read_sessions,
)
from pipeline_lib.steps.runs.srun_launcher import ask_for_tasks, write_launcher
from pipeline_lib.steps.runs.stage_keys import (
    SHARD_RULES,
    find_claimed_decisions,
    find_claimed_key,
    find_claimed_manifest,
    find_claimed_result,
    find_claimed_sessions,
    find_decision_keys,
    find_lost_key,
    find_result_keys,
    find_session_keys,
    find_stage_key,
    list_outdated_keys,
    list_wanted_keys,
    reads_sheet,
)
from pipeline_lib.steps.runs.start_run import end_run, find_run_settings, start_run

# Snakemake records its user, who may have no name in a container.
name_user()
escape_logs()
# A training is not one of the tasks as which Snakemake was started: see `write_launcher`.
forget_launchers()


def choose_search_path():
    """Return the PATH of jobs: the `cohortpose` beside this Snakemake, unless Snakemake deploys one.

    No other installation of the user may run in its place.
    """
    own = shlex.quote(str(Path(sys.executable).parent))
    deployed = workflow.deployment_settings.deployment_method & {
        DeploymentMethod.CONDA,
        DeploymentMethod.APPTAINER,
    }
    return f'"$PATH":{own}' if deployed else f'{own}:"$PATH"'


shell.prefix(f"set -euo pipefail; export PATH={choose_search_path()}; ")

# Files that the description of the run lists.
SNAKEFILES = {
    name: Path(workflow.source_path(f"../{name}"))
    for name in (
        "Snakefile",
        "rules/bundle.smk",
        "rules/common.smk",
        "rules/keys.smk",
        "rules/labels.smk",
        "rules/precision.smk",
        "rules/refine.smk",
        "rules/sessions.smk",
        "rules/summary.smk",
        "rules/videos.smk",
    )
}
# A script of the conda environment installs the package from there.
CHECKOUT = SNAKEFILES["Snakefile"].parents[1]
if (CHECKOUT / "pyproject.toml").is_file():
    os.environ.setdefault("COHORTPOSE_SOURCE", str(CHECKOUT.resolve()))


def prepare_run():
    """Check and plan in the main process, and write nothing: this may be a dry run."""
    require_utf8()
    where = ", ".join(str(file) for file in workflow.configfiles) or "config"
    if not workflow.is_main_process:
        settings = parse_config(
            config, where, warn=False
        )  # the main process has warned
        results = Results(Path(settings.results))
        plan = read_plan(results)
        return settings, results, plan, read_sessions(results, plan)
    check_config_files(map(Path, workflow.configfiles))
    settings, videos = check_run(config, where)
    results = Results(Path(settings.results))
    plan = make_plan(videos, results, settings.inference)
    return settings, results, plan, plan_sessions(settings, videos, plan)


try:
    SETTINGS, RESULTS, PLAN, SESSIONS = prepare_run()
    # Tasks of a training over several nodes.
    TASKS = ask_for_tasks(SETTINGS.training)
    # Jobs find the key files of their run.
    SESSION_KEYS = DECISION_KEYS = RESULT_KEYS = WANTED_KEYS = ()
    VIEW_KEYS = SESSION_RESULT_KEYS = ()
    if workflow.is_main_process:
        SESSION_KEYS = find_session_keys(SETTINGS, RESULTS, PLAN)
        DECISION_KEYS = find_decision_keys(SETTINGS, RESULTS, PLAN)
        RESULT_KEYS = {
            name: find_result_keys(SETTINGS, RESULTS, PLAN, name)
            for name in SHARD_RULES
        }
        LOST_KEYS = {name: find_lost_key(SETTINGS, RESULTS, name) for name in STAGES}
        VIEW_KEYS = find_view_keys(SETTINGS, RESULTS, SESSIONS)
        SESSION_RESULT_KEYS = find_session_result_keys(SETTINGS, RESULTS, SESSIONS)
        WANTED_KEYS = list_wanted_keys(SETTINGS, RESULTS, PLAN, SESSIONS)
except Exception as error:
    # One readable message; Snakemake adds the position in this file.
    raise WorkflowError(describe_error(error)) from None

NEW_KEYS = [str(path) for path in WANTED_KEYS if not path.exists()]
OUTDATED_KEYS = [str(path) for path in list_outdated_keys(WANTED_KEYS)]
LOCKS = []


def record_start():
    """Write settings and plan for the jobs, and keep other runs out."""
    if workflow.touch:
        refuse_touching()
        return
    try:
        LOCKS.append(start_run(SETTINGS, RESULTS, PLAN, SESSIONS))
    except Exception as error:
        raise WorkflowError(describe_error(error)) from None


def refuse_touching():
    """Refuse `--touch` if it would mark outdated results as up to date."""
    if NEW_KEYS:
        raise WorkflowError(
            "--touch: results are missing, or were made with other settings or files than these: "
            f"there is no {NEW_KEYS[0]}; run snakemake without --touch"
        )


def record_end(succeeded):
    """Write outputs and cost of the run."""
    if not LOCKS:
        return
    end_run(SETTINGS, RESULTS, SNAKEFILES, succeeded=succeeded)
    if find_stage_key(SETTINGS, RESULTS, "status") not in WANTED_KEYS:
        logger.warning(
            f"{escape_unseen(SETTINGS.cohort)} was changed while the run was at work: run the same command again"
        )
    while LOCKS:
        LOCKS.pop().release()


if workflow.is_main_process and getattr(workflow.execution_settings, "no_hooks", False):
    record_start()


# A workflow that uses this one as a module calls these in its own: see docs/how-to/run/module.md.
onstart:
    record_start()


onsuccess:
    record_end(True)


onerror:
    record_end(False)


MODEL = SETTINGS.training.name
LOGS = str(RESULTS.root / "logs")
BENCHMARKS = str(RESULTS.root / "benchmarks")


wildcard_constraints:
    shard=r"\d+",


def table(stage):
    """Return the path of a stage's table of a shard, with the wildcard in it."""
    return str(STAGES[stage].find_table(SETTINGS, RESULTS, "{shard}"))


def every_shard(path):
    """Return the paths of all shards."""
    return expand(path, shard=PLAN.shards)


def settings_file(wildcards, output):
    """Return the file of this run's settings, which no other run changes.

    A function of the output, which Snakemake does not count as a reason to run a rule again.
    """
    return str(find_run_settings(SETTINGS, RESULTS))


def key_file(stage):
    """Return the file named by the hash of a stage's dependencies besides earlier stages."""
    find = find_stage_key if workflow.is_main_process else find_claimed_key
    found = functools.cache(lambda: str(find(SETTINGS, RESULTS, stage)))
    return lambda wildcards: found()


def manifest_key(wildcards):
    """Return the file named by the hash of a shard's manifest."""
    shard = wildcards.shard
    if workflow.is_main_process:
        return str(RESULTS.shard(shard).manifest_key(PLAN.hash_manifest(shard)))
    return str(find_claimed_manifest(RESULTS, shard))


def session_key(wildcards):
    """Return the file named by the hash of what results of a shard tell of the sheet."""
    if not reads_sheet(SETTINGS):
        return []
    if workflow.is_main_process:
        return str(SESSION_KEYS[wildcards.shard])
    return str(find_claimed_sessions(RESULTS, wildcards.shard))


def decision_key(wildcards):
    """Return the key file of the decisions about the tracks of a shard."""
    if not STAGES["correct"].wanted(SETTINGS):
        return []
    if workflow.is_main_process:
        return str(DECISION_KEYS[wildcards.shard])
    return str(find_claimed_decisions(RESULTS, wildcards.shard))


def result_key(name):
    """Return the file whose number is raised if results of a shard are missing."""

    def find(wildcards):
        if workflow.is_main_process:
            path = RESULT_KEYS[name][wildcards.shard]
        else:
            path = find_claimed_result(SETTINGS, RESULTS, wildcards.shard, name)
        return [] if path is None else str(path)

    return find


def view_key(wildcards):
    """Return the file named by the hash of the views and calibrations of a shard's sessions."""
    if workflow.is_main_process:
        return str(VIEW_KEYS[wildcards.shard])
    return str(find_claimed_views(RESULTS, wildcards.shard))


def session_result_key(wildcards):
    """Return the file whose number is raised if results of sessions of a shard are missing."""
    if workflow.is_main_process:
        return str(SESSION_RESULT_KEYS[wildcards.shard])
    return str(find_claimed_session_result(SETTINGS, RESULTS, wildcards.shard))


def lost_key(stage):
    """Return the file whose number is raised if a file of a stage that is no output is lost.

    There is none as long as nothing was ever lost.
    """

    def find(wildcards):
        if workflow.is_main_process:
            path = LOST_KEYS[stage]
        else:
            path = find_lost_key(SETTINGS, RESULTS, stage)
        return [] if path is None else str(path)

    return find


def list_settings(*stages):
    """Return one parameter for each setting that stages depend on: the reasons of a rerun.

    Functions, because Snakemake treats braces in texts as wildcards.
    """
    lines = [line for stage in stages for line in STAGES[stage].list_settings(SETTINGS)]
    return [lambda wildcards, line=line: line for line in lines]


def list_corrected():
    """Return one parameter for each table of corrected labels in use: the reasons of a rerun.

    Functions, as in `list_settings`.
    """
    return [lambda wildcards, line=line: line for line in list_corrections(SETTINGS)]


def launcher(wildcards, resources, threads):
    """Return the prefix of the command of a training of several tasks."""
    return write_launcher(resources, threads)


# The verbs that come after inference, in order.
POSTPROCESSING = [stage.name for stage in list_stages_of("postprocess", SETTINGS)]
# Those of sessions.
SESSION_VERBS = [stage.name for stage in list_session_stages(SETTINGS)]


def session_sources(wildcards):
    """Return the tables of the poses of all videos of a shard's sessions."""
    stage = STAGES["triangulate"].sessions.source(SETTINGS)
    shards = SESSIONS.list_video_shards(wildcards.shard)
    return expand(table(stage), shard=shards)


def chosen_settings():
    """Return the file of the settings chosen from the labels; none if the config states all."""
    return [
        str(file.path)
        for file in STAGES["import-labels"].files(SETTINGS, RESULTS)
        if file.path == RESULTS.chosen_settings
    ]


def clips():
    """Return the store of clips without labels; none if nothing is learned from them."""
    stage = STAGES["make-clips"]
    if not stage.wanted(SETTINGS):
        return []
    return [str(file.path) for file in stage.files(SETTINGS, RESULTS)]


def clip_tables():
    """Return the tables of the probe of the videos that clips are from."""
    videos = SETTINGS.training.unsupervised.videos
    shards = PLAN.shards
    if videos is not None:
        shards = {PLAN.shard_of[name] for name in videos if name in PLAN.shard_of}
    return expand(table("probe"), shard=sorted(shards))


def network_files():
    """Return the files that inference needs: networks and cards, also those of the locator.

    None where all poses are there already.
    """
    if SETTINGS.has_only_existing:
        return []
    files = list(RESULTS.model(MODEL).list_members(SETTINGS.training.ensemble))
    if SETTINGS.uses_locator:
        files.append(RESULTS.model(MODEL).locator)
    return [str(path) for one in files for path in (one.network, one.card)]


def measured_files():
    """Return the files that precisions are measured on; a bundle brings none."""
    if SETTINGS.model.bundle is not None:
        return []
    files = [RESULTS.labels, RESULTS.targets]
    if SETTINGS.uses_locator:
        files.append(RESULTS.locator_targets)
    return [str(path) for path in files]


def precision_file():
    """Return the file of the chosen precision; none if the config states it."""
    if not STAGES["choose-precision"].wanted(SETTINGS):
        return []
    return [str(RESULTS.model(MODEL).precision)]


def wanted_files():
    """Return the files that the config asks a run for."""
    # All are listed, because Snakemake ignores missing files between existing results.
    return [
        *(
            str(file.path)
            for _, file in list_cohort_files(SETTINGS, RESULTS)
            if file.declared
        ),
        *(str(path) for path in WANTED_KEYS),
        *shard_tables(*(stage for stage in STAGES.values() if stage.table)),
        *session_tables(),
    ]


def shard_tables(*stages):
    """Return the tables that wanted stages write for every shard."""
    return [
        path
        for stage in stages
        if stage.wanted(SETTINGS) and not stage.sessions
        for path in every_shard(table(stage.name))
    ]


def judged_files():
    """Return the decisions about videos that clips of worst seconds depend on; none if none do."""
    if SETTINGS.rendering.worst_seconds and STAGES["judge"].wanted(SETTINGS):
        return [str(RESULTS.quality)]
    return []


def judged_tables(stage):
    """Return the tables of a stage that refinement reads."""
    return (
        expand(table(stage), shard=SESSIONS.shards)
        if STAGES[stage].sessions
        else every_shard(table(stage))
    )


def session_tables():
    """Return the tables that wanted stages write for every shard with sessions."""
    return [
        path
        for verb in SESSION_VERBS
        for path in expand(table(verb), shard=SESSIONS.shards)
    ]


def reported(path, category, caption, what):
    """Return an output that `snakemake --report` shows, with what it is and a text about it."""
    return report(
        str(path),
        caption=f"../report/{caption}.rst",
        category=category,
        labels={"file": path.name, "what": what},
    )


def wanted_names():
    """Return the names of the stages that the run wants."""
    return {stage.name for stage in STAGES.values() if stage.wanted(SETTINGS)}


def summarised_files():
    """Return the files that ledger and report read: tables of every shard, and metrics."""
    files = shard_tables(*(STAGES[name] for name in VIDEO_STAGES)) + session_tables()
    if STAGES["judge"].wanted(SETTINGS):
        files.append(str(RESULTS.quality))
    if STAGES["calibrate"].wanted(SETTINGS):
        files.append(str(RESULTS.calibrations))
    if STAGES["evaluate"].wanted(SETTINGS):
        files += [
            str(file.path)
            for file in STAGES["evaluate"].files(SETTINGS, RESULTS)
            if file.declared
        ]
    return files
