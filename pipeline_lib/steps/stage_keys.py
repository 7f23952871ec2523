"""Keys of stages: hashes of all that the results of a stage depend on, besides earlier stages.

They are the settings of the stage, the version of its step, and the contents of the files that the
user gave to it. The key file in the results folder says from which key a stage's results were made;
see `pipeline_lib.io.key_files`.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES, Stage
from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.io.exports.session import hash_sessions
from pipeline_lib.io.key_files import claim_key, list_other_keys
from pipeline_lib.io.labels.detect import label_inputs
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.plan import Plan
from pipeline_lib.steps.result_keys import locate_results


def find_stage_key(config: Config, results: Results, name: str) -> Path:
    """Return the key file that a stage has if its results are those of the present settings.

    Parameters
    ----------
    config, results
        The run.
    name
        Name of the stage in `pipeline_lib.core.stages.STAGES`.
    """
    stage = STAGES[name]
    digest = hash_settings(
        stage.hash_settings(config),
        *(f"{path}: {_hash_file(path)}" for path in _list_given_files(config, stage)),
    )
    return results.stage_key(name, config.training.name if stage.per_model else "", digest)


def find_claimed_key(config: Config, results: Results, name: str) -> Path:
    """Return the key file that a stage has, whatever the files of the user are by now.

    A file that the user changes while a run is at work concerns the next run.
    """
    model = config.training.name if STAGES[name].per_model else ""
    path = results.stage_key(name, model, "none")
    return next(iter(list_other_keys(path)), path)


def find_claimed_manifest(results: Results, shard: str) -> Path:
    """Return the key file that the manifest of a shard has."""
    path = results.shard(shard).manifest_key("none")
    return next(iter(list_other_keys(path)), path)


def find_result_keys(config: Config, results: Results, plan: Plan, rule: str) -> dict[str, Path]:
    """Return the key file of each shard that tells Snakemake whether results are missing.

    Poses and what is made of them are no outputs of rules, so that a retry does not lose them. A
    key file with a number takes their place: its number is one higher than that of the last one
    if a table says that a result was made, and it is not there.

    Parameters
    ----------
    config, results, plan
        The run.
    rule
        ``infer``, or ``postprocess`` for what comes after it.
    """
    stages = ("infer",) if rule == "infer" else ("track", "filter", "export")
    wanted = [name for name in stages if STAGES[name].wanted(config)]
    keys = {}
    for shard in plan.shards:
        last = find_claimed_result(config, results, shard, rule)
        number = int(last.name.rpartition("-")[2])
        missing = any(_lacks_results(config, results, plan, shard, name) for name in wanted)
        model = config.training.name
        keys[shard] = results.result_key(rule, model, shard, number + missing)
    return keys


def find_claimed_result(config: Config, results: Results, shard: str, rule: str) -> Path:
    """Return the key file of the results that a rule has made of a shard."""
    path = results.result_key(rule, config.training.name, shard, 0)
    others = [one for one in list_other_keys(path) if one.name.rpartition("-")[2].isdecimal()]
    return max(others, key=lambda one: int(one.name.rpartition("-")[2]), default=path)


def _lacks_results(config: Config, results: Results, plan: Plan, shard: str, stage: str) -> bool:
    """Tell whether a result is missing that the table of a stage says was made."""
    table = getattr(results.shard(shard), stage)(config.training.name)
    if not table.exists():
        return False
    removed = plan.list_removed(shard)
    return any(
        not path.exists()
        for row in read_table(table, ("video", "status"))
        if row["status"] == VideoStatus.DONE and row["video"] not in removed
        for path in locate_results(config, results, stage, row["video"])
    )


def find_claimed_sessions(results: Results, shard: str) -> Path:
    """Return the key file that the sessions of a shard have."""
    path = results.shard(shard).session_key("none")
    return next(iter(list_other_keys(path)), path)


def claim_stage(config: Config, results: Results, name: str) -> None:
    """Record that results of a stage are about to be made from the present settings."""
    claim_key(find_stage_key(config, results, name))


def list_wanted_keys(config: Config, results: Results, plan: Plan) -> list[Path]:
    """Return the key files of all stages that a run wants, and of all manifests of its plan."""
    stages = [
        find_stage_key(config, results, stage.name)
        for stage in STAGES.values()
        if stage.wanted(config)
    ]
    manifests = [
        results.shard(shard).manifest_key(plan.hash_manifest(shard)) for shard in plan.shards
    ]
    made = [
        path
        for rule in (("infer", "postprocess") if config.labels else ())
        for path in find_result_keys(config, results, plan, rule).values()
    ]
    return [*stages, *manifests, *find_session_keys(config, results, plan).values(), *made]


def find_session_keys(config: Config, results: Results, plan: Plan) -> dict[str, Path]:
    """Return the key file of the sessions of each shard, if exports describe sessions."""
    if not (STAGES["export"].wanted(config) and config.exports.described):
        return {}
    videos = read_cohort(Path(config.cohort))
    return {
        shard: results.shard(shard).session_key(
            hash_sessions(video for video in videos if plan.homes[video.video] == shard)
        )
        for shard in plan.shards
    }


def list_outdated_keys(wanted: Iterable[Path]) -> list[Path]:
    """Return the key files of other settings that stand beside the wanted ones."""
    return [other for path in wanted for other in list_other_keys(path)]


def _list_given_files(config: Config, stage: Stage) -> Iterator[Path]:
    """Yield the files that the user gave to a stage."""
    match stage.name:
        case "import-labels":
            yield from label_inputs(config)
        case "train" | "train-locator":
            one = config if stage.name == "train" else config.for_locator()
            weights = Path(one.training.weights)
            if weights.is_file():
                yield weights
        case "status" | "report":
            yield Path(config.cohort)


def _hash_file(path: Path) -> str:
    """Return the SHA-256 of a file; empty for one that cannot be read, which its step reports."""
    try:
        return hash_path(path)
    except OSError:
        return ""
