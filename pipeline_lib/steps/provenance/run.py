"""Describe the run that made the results.

Nothing in it changes by itself: a run that has nothing to do leaves the file as it is. When and
where single results were made is in the job records (`pipeline_lib.steps.provenance.jobs`).
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline_lib.core import versions
from pipeline_lib.core.cameras.sessions import list_sessions
from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings, write_resolved_config
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES, list_cohort_files
from pipeline_lib.core.untrusted.bundle_address import names_bundle
from pipeline_lib.core.untrusted.credentials import show_address
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.io.labels.detect import label_inputs
from pipeline_lib.io.publish import publish_text
from pipeline_lib.models.zoo.sources import find_bundle
from pipeline_lib.steps.import_labels.correction_inputs import hash_corrections
from pipeline_lib.steps.provenance.checksums import read_checksums
from pipeline_lib.steps.provenance.jobs import read_all_jobs, summarise_jobs
from pipeline_lib.steps.provenance.machine import describe_machine
from pipeline_lib.steps.provenance.outputs import complete_outputs, record_descriptions
from pipeline_lib.steps.provenance.software import describe_software, write_environment

FORMAT_VERSION = 1


def write_provenance(config: Config, results: Results) -> None:
    """Publish the resolved config and ``provenance.json``, as a run starts.

    Unchanged files are not written again. Records of the stages of earlier runs are kept.
    """
    publish_text(results.config, write_resolved_config(config))
    before = read_provenance(results)
    record = {
        "format_version": FORMAT_VERSION,
        **describe_software(),
        "environment": write_environment(results),
        "machine": describe_machine(),
        "steps": {
            **{name.lower(): value for name, value in vars(versions).items() if name.isupper()},
            **{
                stage.name: stage.version_number
                for stage in STAGES.values()
                if isinstance(stage.version, int)
            },
        },
        "seeds": {
            "frames": config.frames.seed,
            "split": config.training.split.seed,
            "training": config.training.seed,
            "report": config.report.seed,
        },
        "settings": config.model_dump(mode="json"),
        "hashes": {"settings": hash_settings(config), **hash_inputs(config)},
        "networks": before.get("networks", {}),
        "stages": before.get("stages", {}),
    }
    _publish(results, record)


def complete_provenance(config: Config, results: Results) -> None:
    """Add outputs and cost of a run at its end, whether it succeeded or not.

    Adds the hashes of the networks and the time, energy and hosts of each stage, and records the
    checksums of files of the whole cohort that no verb of this version has recorded. Inputs are
    not read again: what counts is how they were when the run started. Without a record of the
    start nothing is written.
    """
    record = read_provenance(results)
    if not record:
        return
    complete_outputs(config, results)
    networks = {
        path.relative_to(results.root).as_posix()
        for kind, path in list_outputs(config, results)
        if kind == "network" and path.is_file()
    }
    record["networks"] = {
        name: row["sha256"]
        for name, row in read_checksums(results.checksums).items()
        if name in networks
    }
    record["stages"] = summarise_jobs(read_all_jobs(results))
    _publish(results, record)


def read_provenance(results: Results) -> dict[str, Any]:
    """Return the published record; empty if it is missing or of another version."""
    try:
        record: dict[str, Any] = json.loads(results.provenance.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if record.get("format_version") == FORMAT_VERSION else {}


def hash_inputs(config: Config) -> dict[str, Any]:
    """Return the SHA-256 of the files that the user gave, videos and labelled images left out.

    Videos have their fingerprints in the tables of the probe; the images that were trained on
    are in the target store.

    Returns
    -------
    dict
        ``cohort``: a hash; ``labels`` and ``weights``: hash by path; None for a missing file.
        ``calibrations``: hash of each calibration file of the sheet, if sessions are
        triangulated; images of boards are told by the key of their calibration.
        ``refinement``: hash of the list of frames that a user named, by path.
        ``corrections``: hash of the corrected labels in use by path of their table. What people
        label meanwhile for the next round is no part of it.
        ``bundles``: hash of the bundles that the settings name, by address without its query.
    """
    weights = {config.training.weights, config.for_locator().training.weights}
    return {
        "cohort": _hash_if_there(Path(config.cohort)),
        "labels": _hash_each(label_inputs(config)),
        "corrections": hash_corrections(config),
        "refinement": _hash_each(_list_named(config)),
        "weights": _hash_each(path for path in map(Path, sorted(weights)) if path.is_file()),
        **_hash_calibrations(config),
        "bundles": _hash_bundles(config),
    }


def list_outputs(config: Config, results: Results) -> list[tuple[str, Path]]:
    """Return kind and path of the files of the whole cohort, whether they exist or not."""
    return [(file.kind, file.path) for _, file in list_cohort_files(config, results)]


def _hash_calibrations(config: Config) -> dict[str, dict[str, str | None]]:
    if not STAGES["calibrate"].wanted(config):
        return {}
    sessions = list_sessions(config, read_cohort(Path(config.cohort)))
    paths = (Path(source) for source in sorted({one.source for one in sessions if one.source}))
    return {"calibrations": _hash_each(path for path in paths if not path.is_dir())}


def _hash_bundles(config: Config) -> dict[str, str | None]:
    start = config.training.start_from
    named = [config.model.bundle, start if start and names_bundle(start) else None]
    return {show_address(text): _hash_bundle(text) for text in named if text is not None}


def _hash_bundle(text: str) -> str | None:
    try:
        return find_bundle(text).sha256
    except ModelError:
        return None


def _list_named(config: Config) -> list[Path]:
    named = (
        config.refinement.frame_list if config.refinement.enabled else None,
        config.kinematics.regions_file if config.kinematics.enabled else None,
    )
    decisions = Path(config.quality.decisions)
    # People need not have decided anything.
    decided = [decisions] if config.quality.enabled and decisions.is_file() else []
    return [*(Path(path) for path in named if path is not None), *decided]


def _hash_each(paths: Iterable[Path]) -> dict[str, str | None]:
    return {str(path): _hash_if_there(path) for path in paths}


def _hash_if_there(path: Path) -> str | None:
    return hash_path(path) if path.exists() else None


def _publish(results: Results, record: dict[str, Any]) -> None:
    publish_text(results.provenance, json.dumps(record, indent=2) + "\n")
    record_descriptions(results, "settings", "provenance")
