"""Compute the keys of stages: hashes of all their dependencies besides other stages.

They cover the settings of the stage, the version of its step, and the bytes of the files that the
user gave to it. The key file in the results folder says from which key a stage's results were made;
see `pipeline_lib.io.key_files`.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import ModelError, SheetError, StoreError
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.chosen import fits_start
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES, Stage, list_stages_of
from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.core.untrusted.bundle_address import names_bundle
from pipeline_lib.core.untrusted.credentials import show_address
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.io.corrections.tracks import hash_tables, index_decision_tables
from pipeline_lib.io.exports.session import hash_sessions
from pipeline_lib.io.key_files import claim_key, find_last_key, list_other_keys
from pipeline_lib.io.labels.detect import label_inputs
from pipeline_lib.models.zoo.sources import find_bundle
from pipeline_lib.steps.import_labels.correction_inputs import list_corrections
from pipeline_lib.steps.provenance.checksums import is_changed, read_checksums
from pipeline_lib.steps.provenance.outputs import knows_all, list_unrecorded
from pipeline_lib.steps.runs.networks.start_network import (
    BundledStart,
    find_start,
    list_trained,
)
from pipeline_lib.steps.runs.plan import Plan
from pipeline_lib.steps.runs.sessions.shards import (
    SessionPlan,
    lacks_calibrations,
    list_calibration_sources,
    list_session_keys,
)
from pipeline_lib.steps.runs.shard_tables import list_columns, read_shard_table

# Rules whose results are no outputs: they are counted from the first run on, or once one was lost.
_COUNTED = ("infer", "postprocess", "render")
SHARD_RULES = ("probe", "select_frames", *_COUNTED)


def find_stage_key(
    config: Config, results: Results, name: str, *, bundles: Sequence[str] | None = None
) -> Path:
    """Return the key file of a stage for the present settings.

    Parameters
    ----------
    config, results
        The run.
    name
        Name of the stage in `pipeline_lib.core.stages.STAGES`.
    bundles
        Hashes of the bundles that the stage has read; None: those of the present files.
    """
    stage = STAGES[name]
    digest = hash_settings(
        stage.hash_settings(config),
        *(f"{path}: {_hash_file(path)}" for path in _list_given_files(config, stage)),
        *(_hash_bundles(config, stage) if bundles is None else bundles),
        # None where there are no corrections.
        *(list_corrections(config) if "corrections" in stage.given else ()),
        *(_list_calibrations(config) if "calibrations" in stage.given else ()),
    )
    return results.stage_key(name, config.training.name if stage.per_model else "", digest)


def find_claimed_key(config: Config, results: Results, name: str) -> Path:
    """Return the key file that a stage has, whatever the user's files are now.

    A file that the user changes while a run is at work concerns the next run.
    """
    model = config.training.name if STAGES[name].per_model else ""
    path = results.stage_key(name, model, "none")
    return next(iter(list_other_keys(path)), path)


def require_claimed(
    config: Config, results: Results, name: str, *, bundles: Sequence[str] | None = None
) -> None:
    """Raise an error if files that a stage reads were changed after its key was made.

    Else results of one file would count as those of another for good.

    Parameters
    ----------
    config, results, name, bundles
        As in `find_stage_key`. A stage without a key file is not refused.

    Raises
    ------
    StoreError
        If they are other files.
    """
    claimed = find_claimed_key(config, results, name)
    if not claimed.exists() or claimed == find_stage_key(config, results, name, bundles=bundles):
        return
    listed = [str(path) for path in _list_given_files(config, STAGES[name])]
    listed += map(show_address, _name_bundles(config, STAGES[name]))
    raise StoreError(
        f"{name}: a file that it reads was changed after the run had started (one of "
        f"{', '.join(dict.fromkeys(listed)) or 'the corrected labels'}): run the same command again"
    )


def require_same_labels(config: Config, results: Results, name: str) -> None:
    """Refuse the results of `import-labels` if labels were changed while it was at work.

    No other stage has them. The sheet and people's decisions about videos may be edited during a
    run: they concern the next one.

    Raises
    ------
    StoreError
        If labels were changed.
    """
    if {"labels", "corrections", "start card"} & set(STAGES[name].given):
        require_claimed(config, results, name)


def find_claimed_manifest(results: Results, shard: str) -> Path:
    """Return the key file that the manifest of a shard has."""
    path = results.shard(shard).manifest_key("none")
    return next(iter(list_other_keys(path)), path)


def find_result_keys(
    config: Config, results: Results, plan: Plan, rule: str
) -> dict[str, Path | None]:
    """Return the key file of each shard that tells Snakemake whether results are missing.

    Poses and what is made of them are no outputs of rules, so that a retry does not lose them. A
    key file with a number takes their place: its number is one higher than that of the last one
    if a table says that a result was made, and it is not there.

    Parameters
    ----------
    config, results, plan
        The run.
    rule
        One of `SHARD_RULES`.

    Returns
    -------
    dict
        Key file by shard; None for a rule that asks for one only once a result was lost.
    """
    wanted = _list_stages(rule, config)
    keys: dict[str, Path | None] = {}
    for shard in plan.shards:
        last = find_last_key(_name_result(config, results, shard, rule))
        number = int(last.name.rpartition("-")[2])
        missing = any(_lacks_results(config, results, plan, shard, stage) for stage in wanted)
        path = _name_result(config, results, shard, rule, number + missing)
        keys[shard] = path if path.exists() or number + missing or rule in _COUNTED else None
    return keys


def find_lost_key(config: Config, results: Results, name: str) -> Path | None:
    """Return the key file that tells Snakemake about a lost file that is no output of a rule.

    Parameters
    ----------
    config, results
        The run.
    name
        Name of a stage of the whole cohort.

    Returns
    -------
    Path or None
        None if none was ever lost.
    """
    recorded = read_checksums(results.checksums)
    files = STAGES[name].files(config, results)
    made = all(file.path.exists() for file in files if file.declared)
    calibrated = name == "calibrate" and STAGES[name].wanted(config)
    lost = (calibrated and lacks_calibrations(results)) or any(
        not file.path.exists()
        for file in files
        if not file.declared
        and (not file.optional or file.path.relative_to(results.root).as_posix() in recorded)
    )
    model = config.training.name if STAGES[name].per_model else ""
    return _count_up(results, name, model, "cohort", lost=made and lost)


def find_description_key(
    config: Config, results: Results, plan: Plan, planned: SessionPlan
) -> Path | None:
    """Return the key file that makes a run describe itself again with nothing else to do.

    Plan, settings, provenance and the rest are no outputs of rules: they are written as a run
    starts and ends. While one of them is missing, or the checksum of a file is, a run is wanted.

    Returns
    -------
    Path or None
        None if nothing was ever missing.
    """
    written = plan.is_written(results)
    if STAGES["calibrate"].wanted(config):
        written = written and planned.is_written(results)
    missing = not written or any(not path.exists() for _, path in results.list_descriptions())
    unrecorded = bool(list_unrecorded(config, results))
    lost = missing or (unrecorded and knows_all(read_checksums(results.checksums)))
    return _count_up(results, "run", "", "description", lost=lost)


def _count_up(results: Results, rule: str, model: str, shard: str, *, lost: bool) -> Path | None:
    """Return the key file with the next number if something was lost, else the present one."""
    last = find_last_key(results.result_key(rule, model, shard, 0))
    number = int(last.name.rpartition("-")[2])
    if lost:
        return results.result_key(rule, model, shard, number + 1)
    return last if last.exists() else None


def find_claimed_result(config: Config, results: Results, shard: str, rule: str) -> Path | None:
    """Return the key file of the results that a rule made for a shard; None if it has none."""
    path = find_last_key(_name_result(config, results, shard, rule))
    return path if path.exists() or rule in _COUNTED else None


def _name_result(config: Config, results: Results, shard: str, rule: str, number: int = 0) -> Path:
    per_model = rule in _COUNTED
    return results.result_key(rule, config.training.name if per_model else "", shard, number)


def _list_stages(rule: str, config: Config) -> tuple[Stage, ...]:
    return (STAGES["probe"],) if rule == "probe" else list_stages_of(rule, config)


def _lacks_results(config: Config, results: Results, plan: Plan, shard: str, stage: Stage) -> bool:
    """Tell whether a result is missing, or damaged, that the table of a stage lists as done."""
    table = stage.find_table(config, results, shard)
    if not table.exists():
        return False
    removed = plan.list_removed(shard)
    rows = read_shard_table(table, list_columns(stage))
    if rows is None:
        # The rule of the shard writes it again.
        return True
    paths = [
        path
        for row in rows
        if row["status"] == VideoStatus.DONE and row["video"] not in removed and stage.makes(row)
        for path in stage.list_results(config, results, row["video"])
    ]
    if not all(path.exists() for path in paths):
        return True
    if stage.videos is None or not stage.videos.compared:
        return False
    recorded = read_checksums(results.shard(shard).checksums(stage.name, config.training.name))
    return any(is_changed(path, results.root, recorded) for path in paths)


def find_claimed_sessions(results: Results, shard: str) -> Path:
    """Return the key file that the sessions of a shard have."""
    path = results.shard(shard).session_key("none")
    return next(iter(list_other_keys(path)), path)


def find_decision_keys(config: Config, results: Results, plan: Plan) -> dict[str, Path]:
    """Return the key file of the decisions about the tracks of each shard, if there are tracks.

    Raises
    ------
    LabelError
        If links or other files stand among the tables of decisions.
    """
    if not STAGES["correct"].wanted(config):
        return {}
    tables = index_decision_tables(Path(config.corrections.path))
    decided: dict[str, list[str]] = {shard: [] for shard in plan.shards}
    for video in sorted(tables.keys() & plan.shard_of.keys()):
        shard = plan.shard_of[video]
        if shard in decided and video not in plan.list_removed(shard):
            decided[shard] += [video, hash_tables(tables[video])]
    return {
        shard: results.shard(shard).decision_key(hash_settings(*names) if names else "none")
        for shard, names in decided.items()
    }


def find_claimed_decisions(results: Results, shard: str) -> Path:
    """Return the key file that the decisions about the tracks of a shard have."""
    path = results.shard(shard).decision_key("none")
    return next(iter(list_other_keys(path)), path)


def claim_stage(config: Config, results: Results, name: str) -> None:
    """Record that a stage is about to make results with the present settings."""
    claim_key(find_stage_key(config, results, name))


def list_wanted_keys(
    config: Config, results: Results, plan: Plan, planned: SessionPlan
) -> list[Path]:
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
        for rule in SHARD_RULES
        if _list_stages(rule, config)
        for path in find_result_keys(config, results, plan, rule).values()
        if path is not None
    ]
    lost = [
        find_lost_key(config, results, stage.name)
        for stage in STAGES.values()
        if stage.wanted(config) and not (stage.videos or stage.sessions)
    ]
    lost.append(find_description_key(config, results, plan, planned))
    sessions = find_session_keys(config, results, plan).values()
    decisions = find_decision_keys(config, results, plan).values()
    triangulated = list_session_keys(config, results, planned)
    found = [*stages, *manifests, *sessions, *decisions, *made, *triangulated]
    return [*found, *(path for path in lost if path)]


def find_session_keys(config: Config, results: Results, plan: Plan) -> dict[str, Path]:
    """Return the key file of what results of each shard tell of the sheet, if they tell anything.

    Exports describe sessions, and the tables of kinematics have all columns of the sheet.
    """
    if not reads_sheet(config):
        return {}
    videos = read_cohort(Path(config.cohort))
    keys = {}
    for shard in plan.shards:
        here = [video for video in videos if plan.shard_of[video.video] == shard]
        digest = hash_sessions(here)
        if STAGES["kinematics"].wanted(config):
            rows = [[one.video, one.session, one.camera, one.metadata] for one in here]
            digest = hash_settings(digest, {"rows": rows})
        keys[shard] = results.shard(shard).session_key(digest)
    return keys


def reads_sheet(config: Config) -> bool:
    """Tell whether results of videos hold anything of the cohort sheet."""
    described = STAGES["export"].wanted(config) and config.exports.described
    return described or STAGES["kinematics"].wanted(config)


def list_outdated_keys(wanted: Iterable[Path]) -> list[Path]:
    """Return the key files of other settings that stand beside the wanted ones."""
    return [other for path in wanted for other in list_other_keys(path)]


def _list_calibrations(config: Config) -> tuple[str, ...]:
    """Return a line per calibration of the sheet; none for a sheet that cannot be read."""
    try:
        videos = read_cohort(Path(config.cohort))
    except SheetError:
        # Whoever needs the sheet reports it.
        return ()
    return list_calibration_sources(config, videos)


def _list_given_files(config: Config, stage: Stage) -> Iterator[Path]:
    """Yield the files that the user gave to a stage."""
    for kind in stage.given:
        match kind:
            case "labels":
                yield from label_inputs(config)
            case "start card":
                yield from _list_start_cards(config)
            case "weights" | "locator weights":
                yield from _list_weights(config, stage)
            case "sheet":
                yield Path(config.cohort)
            case "quality decisions":
                yield Path(config.quality.decisions)
            case "refinement" | "regions":
                yield from _list_named_files(config, kind)


def _list_named_files(config: Config, kind: str) -> Iterator[Path]:
    """Yield the files that the sections `refinement` and `kinematics` name."""
    refinement, regions = config.refinement, config.kinematics.regions_file
    if kind == "regions" and regions is not None:
        yield Path(regions)
    if kind == "refinement" and refinement.frame_list is not None:
        yield Path(refinement.frame_list)
    if kind == "refinement" and refinement.group is not None:
        yield Path(config.cohort)


def _list_weights(config: Config, stage: Stage) -> Iterator[Path]:
    locator = "locator weights" in stage.given
    one = config.for_locator() if locator else config
    weights = Path(one.training.weights)
    if weights.is_file():
        yield weights
    start = config.training.start_from
    if start and not names_bundle(start):
        first = find_start(config, locator=locator)
        if stage.name == "train-members" and isinstance(first, ModelFiles):
            # The key of a member must not depend on the number of others.
            yield from (one.weights for one in list_trained(first))
        else:
            yield first.weights


def _list_start_cards(config: Config) -> Iterator[Path]:
    """Yield the files that say which maps the network to start from has, if settings fit these."""
    if not fits_start(config):
        return
    for locator in (False, True) if config.uses_locator else (False,):
        start = find_start(config, locator=locator)
        yield start.weights if isinstance(start, BundledStart) else start.card


def _hash_bundles(config: Config, stage: Stage) -> Iterator[str]:
    """Yield the hash of each bundle that a stage reads, wherever it lies; empty without one."""
    if "bundle" in stage.given and config.model.bundle is None:
        yield ""
    for text in _name_bundles(config, stage):
        try:
            yield find_bundle(text).sha256
        except ModelError:
            # Its step reports it.
            yield ""


def _name_bundles(config: Config, stage: Stage) -> list[str]:
    """Return the addresses of the bundles that a stage reads."""
    named = [config.model.bundle] if "bundle" in stage.given and config.model.bundle else []
    start = config.training.start_from
    if {"weights", "locator weights"} & set(stage.given) and start and names_bundle(start):
        named.append(start)
    return named


def _hash_file(path: Path) -> str:
    """Return the SHA-256 of a file; empty if it cannot be read, which its step reports."""
    try:
        return hash_path(path)
    except OSError:
        return ""
