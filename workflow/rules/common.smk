# Settings, plan and names that the rules share.
import os
import sys
from pathlib import Path

from pipeline_lib.core import versions
from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.settings.reading import hash_settings, parse_config
from pipeline_lib.core.layout import Results
from pipeline_lib.io.labels.detect import label_inputs
from pipeline_lib.steps.preflight import check_run
from pipeline_lib.steps.provenance.crate import write_crate
from pipeline_lib.steps.srun_launcher import ask_for_tasks, write_launcher
from pipeline_lib.steps.plan import plan_shards, read_shards
from pipeline_lib.steps.provenance.run import complete_provenance, write_provenance

# Where no environment brings `cohortpose`, the one beside this Snakemake is taken.
shell.prefix(f'set -euo pipefail; export PATH="$PATH:{Path(sys.executable).parent}"; ')

# What the description of the run says that ran.
SNAKEFILES = {
    name: Path(workflow.source_path(f"../{name}"))
    for name in (
        "Snakefile",
        "rules/common.smk",
        "rules/labels.smk",
        "rules/people.smk",
        "rules/summary.smk",
        "rules/videos.smk",
    )
}
# A script of the conda environment installs the package from there.
CHECKOUT = SNAKEFILES["Snakefile"].parents[1]
if (CHECKOUT / "pyproject.toml").is_file():
    os.environ.setdefault("COHORTPOSE_SOURCE", str(CHECKOUT.resolve()))


def prepare_run():
    """Check and plan in the main process; jobs, here or elsewhere, read what it wrote."""
    where = ", ".join(str(file) for file in workflow.configfiles) or "config"
    if not workflow.is_main_process:
        settings = parse_config(config, where)
        results = Results(Path(settings.results))
        return settings, results, read_shards(results)
    settings, videos = check_run(config, where)
    results = Results(Path(settings.results))
    shards = plan_shards(videos, results, settings.inference)
    if getattr(workflow.execution_settings, "no_hooks", False):
        write_provenance(settings, results)
    return settings, results, shards


try:
    SETTINGS, RESULTS, SHARDS = prepare_run()
    # Of a training over several nodes.
    TASKS = ask_for_tasks(SETTINGS.training)
except Exception as error:
    # One readable message; Snakemake adds the place in this file.
    raise WorkflowError(str(error)) from None


def record_start():
    """Write the settings that jobs read, and what makes the results.

    Not in `prepare_run`, where a dry run, or a run that finds the folder locked, would change the
    settings that jobs at work are about to read.
    """
    write_provenance(SETTINGS, RESULTS)


def record_end(succeeded):
    """Write what the run made and took."""
    complete_provenance(SETTINGS, RESULTS)
    write_crate(SETTINGS, RESULTS, SNAKEFILES, succeeded=succeeded)


onstart:
    record_start()


onsuccess:
    record_end(True)


onerror:
    record_end(False)


def chain_handlers():
    """Record also where another workflow uses this one as a module.

    Snakemake runs the handlers of the outermost workflow only; one that has its own writes them
    above its `module` statement, and both run.
    """

    def chain(outer, record):
        return lambda log: (record(), outer(log))

    workflow._onstart = chain(workflow._onstart, record_start)
    workflow._onsuccess = chain(workflow._onsuccess, lambda: record_end(True))
    workflow._onerror = chain(workflow._onerror, lambda: record_end(False))


if not workflow.modifier.is_main_snakefile():
    chain_handlers()


MODEL = SETTINGS.training.name
LOCATOR = SETTINGS.for_locator()
# What a step must be told; not an input, since it changes with every setting.
CONFIG = str(RESULTS.config)
LOGS = str(RESULTS.root / "logs")
BENCHMARKS = str(RESULTS.root / "benchmarks")


wildcard_constraints:
    shard=r"\d+",


def shard_file(stage, *arguments):
    """Return the path of a shard's table with the wildcard in it."""
    path = getattr(RESULTS.shard("{shard}"), stage)
    return str(path(*arguments) if arguments else path)


def every_shard(path):
    """Return the paths of all shards."""
    return expand(path, shard=SHARDS)


def depends_on(version, *settings):
    """Return what is computed anew besides changed inputs: version of the step, settings."""
    return hash_settings(version, *settings)


def launcher(wildcards, resources, threads):
    """Return what comes before the command of a training of several tasks."""
    return write_launcher(resources, threads)


def drawn_pairs():
    """Return what exported files depend on of the skeleton; of DeepLabCut's tables, nothing."""
    if not SETTINGS.exports.linked:
        return []
    return [SETTINGS.skeleton.model_dump(mode="json", include={"edges", "symmetries"})]


def list_postprocessing():
    """Return the verbs that come after inference, in order, with what each depends on."""
    verbs = {}
    if SETTINGS.individuals.max > 1:
        verbs["track"] = depends_on(
            versions.TRACK, SETTINGS.tracking.what_matters(), SETTINGS.individuals
        )
    verbs["filter"] = depends_on(versions.FILTER, SETTINGS.filtering)
    if SETTINGS.exports.formats:
        verbs["export"] = depends_on(versions.EXPORT, SETTINGS.exports, *drawn_pairs())
    return verbs


POSTPROCESSING = list_postprocessing()


def pretrained_files(settings):
    """Return the file of pretrained weights, where the settings name a file."""
    weights = Path(settings.training.weights)
    return [str(weights)] if weights.is_file() else []


def network_files():
    """Return what predicting poses needs: network and card, those of the locator with them."""
    files = [RESULTS.model(MODEL)]
    if SETTINGS.uses_locator:
        files.append(RESULTS.model(MODEL).locator)
    return [str(path) for one in files for path in (one.network, one.card)]


def locating_settings():
    """Return what poses depend on of `locating`, besides its network."""
    if not SETTINGS.uses_locator:
        return {}
    return SETTINGS.locating.what_matters(top_down=SETTINGS.top_down)


def window_settings():
    """Return what is cut out of labelled images."""
    return {"window": SETTINGS.locating.window} if SETTINGS.top_down else {}


def assembly_settings():
    """Return what poses of several animals depend on besides the network."""
    if SETTINGS.individuals.max == 1:
        return {}
    return SETTINGS.assembly.what_matters(top_down=SETTINGS.top_down)


def wanted_files():
    """Return what a run is for, as far as the config goes."""
    files = [str(RESULTS.ledger), str(RESULTS.report), str(RESULTS.accepted)]
    if SETTINGS.frames.extract:
        files += every_shard(shard_file("frames"))
    return files


def summarised_files():
    """Return the sheet, the last tables of every shard and the metrics: what aggregates read."""
    files = [SETTINGS.cohort, *every_shard(shard_file("probe"))]
    if SETTINGS.labels:
        files += every_shard(shard_file("infer", MODEL))
        for verb in POSTPROCESSING:
            files += every_shard(shard_file(verb, MODEL))
        files += [str(RESULTS.metrics(MODEL)), str(RESULTS.predictions(MODEL))]
    return files


def init_source():
    """Return what `init` starts from: the first labels, else the folder of the first video."""
    if SETTINGS.labels:
        return SETTINGS.labels[0].path
    return str(read_cohort(Path(SETTINGS.cohort))[0].path.parent)
