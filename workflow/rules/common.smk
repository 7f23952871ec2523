# Settings, plan and names that the rules share.
import sys
from pathlib import Path

from pipeline_lib.core import versions
from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.config import hash_settings, parse_config
from pipeline_lib.core.layout import Results
from pipeline_lib.io.label_sources import label_inputs
from pipeline_lib.steps.check import check_run
from pipeline_lib.steps.plan import plan_shards, read_shards
from pipeline_lib.steps.provenance import write_provenance

# Where no environment brings `cohortpose`, the one beside this Snakemake is taken.
shell.prefix(f'set -euo pipefail; export PATH="$PATH:{Path(sys.executable).parent}"; ')


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
except Exception as error:
    # One readable message; Snakemake adds the place in this file.
    raise WorkflowError(str(error)) from None


onstart:
    # Not above, where a dry run, or a run that finds the folder locked, would change the settings
    # that jobs at work are about to read.
    write_provenance(SETTINGS, RESULTS)


MODEL = SETTINGS.training.name
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


def export_source():
    """Return the table of the poses that are exported."""
    stage = "filter" if SETTINGS.exports.source == "filtered" else "infer"
    return shard_file(stage, MODEL)


def pretrained_files():
    """Return the file of pretrained weights, where the settings name a file."""
    weights = Path(SETTINGS.training.weights)
    return [str(weights)] if weights.is_file() else []


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
        files += every_shard(shard_file("filter", MODEL))
        files += (
            every_shard(shard_file("export", MODEL)) if SETTINGS.exports.formats else []
        )
        files += [str(RESULTS.metrics(MODEL)), str(RESULTS.predictions(MODEL))]
    return files


def init_source():
    """Return what `init` starts from: the first labels, else the folder of the first video."""
    if SETTINGS.labels:
        return SETTINGS.labels[0].path
    return str(read_cohort(Path(SETTINGS.cohort))[0].path.parent)
