"""Run the verb `verify`: compare inputs and results with the records of the run."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipeline_lib.core.errors import CohortposeError, ModelError, StoreError
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES, VIDEO_STAGES, VideoResults, list_cohort_files
from pipeline_lib.core.untrusted.unseen import escape_unseen
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.io.chosen_settings import resolve_settings
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.models.card import read_card
from pipeline_lib.models.precision import require_precision
from pipeline_lib.models.zoo.sources import find_bundle
from pipeline_lib.steps.evaluate.evaluated import find_mismatch
from pipeline_lib.steps.provenance.checksums import compare_checksums, read_checksums
from pipeline_lib.steps.provenance.outputs import identify_sources, knows_all
from pipeline_lib.steps.provenance.run import hash_inputs, read_provenance
from pipeline_lib.steps.runs.networks.start_network import BundledStart, find_start
from pipeline_lib.steps.runs.plan import read_plan
from pipeline_lib.steps.train import choose_member, skip_missing_locator, training_key
from pipeline_lib.steps.verify.sessions import (
    list_session_files,
    verify_calibrations,
    verify_sessions,
)
from pipeline_lib.steps.verify.shard import Finding, Problem, list_planned_shards, verify_shard
from pipeline_lib.steps.verify.unknown import list_unknown_files

__all__ = ["Finding", "Problem", "Verification", "verify_results"]

_CHECKED_BY_CARD = ".onnx"
_MAKE_AGAIN = "delete it and run snakemake, which makes it again"
_MADE_FROM_OTHERS = "made with other settings, or from other results than the present ones"


@dataclass(frozen=True)
class Verification:
    """Hold the number of checked files and the differences.

    Attributes
    ----------
    quick
        Whether files were compared by size and modification time only.
    checked
        Number of checked files of each kind.
    findings
        What differs; empty if all is as it was.
    settings
        Names of the settings that differ from those of the last run, which may explain findings.
    unknown
        Files in the results folder that no run of this version wrote: a note, no difference.
    """

    quick: bool
    checked: Mapping[str, int]
    findings: tuple[Finding, ...]
    settings: tuple[str, ...]
    unknown: tuple[str, ...] = ()


def verify_results(config: Config, results: Results, *, quick: bool = False) -> Verification:
    """Compare inputs and results with the records of the run that made them.

    Parameters
    ----------
    config, results
        The run.
    quick
        Compare size and modification time of videos and results, without reading them.

    Raises
    ------
    StoreError
        If there is no run to compare with.
    SheetError
        If the cohort sheet cannot be read.
    """
    record = read_provenance(results)
    if not record:
        raise StoreError(
            f"{results.provenance}: no provenance of this version; run snakemake first"
        )
    checked: Counter[str] = Counter()
    findings = [
        *_verify_inputs(config, record, checked),
        *_verify_networks(config, results, checked),
        *_verify_precision(config, results, checked),
        *_verify_evaluation(config, results),
        *_verify_outputs(config, results, checked, quick=quick),
        *_verify_descriptions(results, checked),
        *verify_calibrations(config, results, checked, quick=quick),
    ]
    for shard in list_planned_shards(results):
        try:
            findings += verify_shard(config, results, shard, checked, quick=quick)
        except StoreError as error:
            findings.append(Finding("shard", shard.name, Problem.CHANGED, str(error)))
    findings += verify_sessions(config, results, checked, quick=quick)
    findings += _find_strangers(config, results)
    return Verification(
        quick=quick,
        checked=dict(checked),
        findings=tuple(findings),
        settings=tuple(_compare_settings(record["settings"], config.model_dump(mode="json"))),
        unknown=tuple(list_unknown_files(config, results)),
    )


def _verify_inputs(
    config: Config, record: Mapping[str, Any], checked: Counter[str]
) -> Iterator[Finding]:
    now, then = hash_inputs(config), record["hashes"]
    pairs = [("sheet", {config.cohort: now["cohort"]}, {config.cohort: then["cohort"]})]
    pairs += [(kind, now[kind], then[kind]) for kind in ("labels", "weights")]
    # Records of older releases have none.
    pairs.append(("corrections", now["corrections"], then.get("corrections", {})))
    pairs.append(("refinement", now["refinement"], then.get("refinement", now["refinement"])))
    yield from _verify_bundles(now["bundles"], then.get("bundles", {}), checked)
    for kind, found, recorded in pairs:
        for path in {**recorded, **found}:
            checked[kind] += 1
            if path not in recorded:
                yield Finding(kind, path, Problem.UNEXPLAINED, "no input of the last run")
            elif found.get(path, recorded[path]) is None or not Path(path).exists():
                yield Finding(kind, path, Problem.MISSING, "it was an input of the last run")
            elif path not in found:
                yield Finding(kind, path, Problem.UNEXPLAINED, "the settings no longer name it")
            elif found[path] != recorded[path]:
                yield Finding(kind, path, Problem.CHANGED, "not as the last run read it")


def _verify_bundles(
    now: Mapping[str, str | None], then: Mapping[str, str | None], checked: Counter[str]
) -> Iterator[Finding]:
    for text in {**then, **now}:
        checked["bundle"] += 1
        if text not in then or text not in now:
            yield Finding("bundle", text, Problem.UNEXPLAINED, "the settings name another one")
        elif now[text] is None:
            yield Finding("bundle", text, Problem.MISSING, "it was an input of the last run")
        elif now[text] != then[text]:
            yield Finding("bundle", text, Problem.CHANGED, "not as the last run read it")


def _verify_networks(config: Config, results: Results, checked: Counter[str]) -> Iterator[Finding]:
    if not config.has_network:
        return
    if config.model.bundle is not None:
        yield from _verify_imported(config, results.model(config.training.name), checked)
        return
    try:
        config = resolve_settings(config, results)
    except StoreError as error:
        # A missing file is reported among those of the whole cohort.
        if results.chosen_settings.exists():
            yield Finding(
                "chosen settings", str(results.chosen_settings), Problem.CHANGED, str(error)
            )
        return
    model = results.model(config.training.name)
    try:
        start = None if config.training.start_from is None else find_start(config)
    except ModelError:
        # A bundle that is gone is reported among the inputs.
        return
    for number, member in enumerate(model.list_members(config.training.ensemble), 1):
        own = choose_member(config, number)
        first = None if start is None else find_start(config, member=number)
        yield from _verify_network(own, member, results.targets, checked, first)
    if config.uses_locator:
        locator = config.for_locator()
        start = skip_missing_locator(start.locator if start else None)
        yield from _verify_network(locator, model.locator, results.locator_targets, checked, start)


def _verify_precision(config: Config, results: Results, checked: Counter[str]) -> Iterator[Finding]:
    """Compare what was measured of precisions with the networks, and these with their hashes."""
    files = results.model(config.training.name)
    if not (STAGES["choose-precision"].wanted(config) and files.precision.exists()):
        # A missing file is reported among those of the whole cohort.
        return
    checked["precision"] += 1
    try:
        record = require_precision(config, results)
    except ModelError as error:
        yield Finding("precision", str(files.precision), Problem.UNEXPLAINED, str(error))
        return
    for place, sha256 in (record.quantised if record else {}).items():
        path = ModelFiles(files.folder / place).quantised
        # A missing one is reported among the files of the whole cohort.
        if path.is_file() and hash_path(path) != sha256:
            told = f"{files.precision.name} names another hash"
            yield Finding("quantised network", str(path), Problem.CHANGED, told)


def _verify_evaluation(config: Config, results: Results) -> Iterator[Finding]:
    """Compare the networks that were evaluated with those that there are."""
    if config.has_network and (mismatch := find_mismatch(config, results)):
        name = results.metrics(config.training.name).parent.relative_to(results.root).as_posix()
        yield Finding("evaluation", name, Problem.UNEXPLAINED, mismatch)


def _verify_imported(config: Config, model: ModelFiles, checked: Counter[str]) -> Iterator[Finding]:
    """Compare networks from a bundle with their cards, and the cards with the bundle."""
    sha256 = _hash_bundle(config.model.bundle)
    for files in (*_list_imported(model), *([model.locator] if config.uses_locator else [])):
        checked["network"] += 1
        try:
            card = read_card(files.card)
        except ModelError as error:
            if files.card.exists():
                yield Finding("network", str(files.card), Problem.CHANGED, str(error))
            continue
        name = str(files.network)
        if files.network.is_file() and hash_path(files.network) != card.network_sha256:
            yield Finding("network", name, Problem.CHANGED, f"{files.card.name} names another hash")
        if sha256 and (card.bundle is None or card.bundle.sha256 != sha256):
            yield Finding("network", name, Problem.UNEXPLAINED, "is not from the present bundle")


def _list_imported(model: ModelFiles) -> tuple[ModelFiles, ...]:
    """Return the networks of a bundle, as many as its card says."""
    try:
        record = read_card(model.card).bundle
    except ModelError:
        record = None
    return model.list_members(1 if record is None else record.members)


def _hash_bundle(text: str | None) -> str:
    """Return the hash of a bundle; empty if it cannot be had, which its inputs report."""
    try:
        return find_bundle(text).sha256 if text else ""
    except ModelError:
        return ""


def _verify_network(
    config: Config,
    files: ModelFiles,
    targets: Path,
    checked: Counter[str],
    start: ModelFiles | BundledStart | None,
) -> Iterator[Finding]:
    """Compare a network with its card, and the card with targets, settings and its start."""
    checked["network"] += 1
    name = str(files.network)
    try:
        card = read_card(files.card)
    except ModelError as error:
        # A missing network is reported among the files of the whole cohort.
        if files.card.exists():
            yield Finding("network", str(files.card), Problem.CHANGED, str(error))
        return
    if files.network.is_file() and hash_path(files.network) != card.network_sha256:
        yield Finding("network", name, Problem.CHANGED, f"{files.card.name} names another hash")
    if start is not None and not start.weights.is_file():
        yield Finding("network", str(start.weights), Problem.MISSING, "a training started from it")
        return
    try:
        key = training_key(config, TargetStore(targets), start)
    except CohortposeError as error:
        if targets.exists():
            yield Finding("targets", str(targets), Problem.CHANGED, str(error))
        return
    if key != card.key:
        yield Finding(
            "network",
            name,
            Problem.UNEXPLAINED,
            "trained with other settings or targets",
        )


def _verify_outputs(
    config: Config, results: Results, checked: Counter[str], *, quick: bool
) -> Iterator[Finding]:
    """Compare the files of the whole cohort with their records and their sources.

    A network's card shows whether the network is intact and made from the present sources.
    """
    recorded = read_checksums(results.checksums)
    for stage, file in list_cohort_files(config, results):
        name = file.path.relative_to(results.root).as_posix()
        row, kind = recorded.get(name), file.kind
        trained = any(one.kind == "network" for one in stage.files(config, results))
        if not file.path.exists():
            if row is not None or not file.optional:
                yield Finding(kind, name, Problem.MISSING, "run snakemake, which makes it")
            continue
        # Networks have been counted with their cards.
        checked[kind] += kind != "network"
        if row is None:
            if knows_all(recorded):
                yield Finding(kind, name, Problem.UNRECORDED, "no checksum of it; run snakemake")
        elif trained and file.path.suffix == _CHECKED_BY_CARD:
            continue
        elif difference := _compare(row, results, quick=quick):
            yield Finding(kind, name, Problem.CHANGED, f"{difference}; {_MAKE_AGAIN}")
        elif not trained and row["key"] not in ("", identify_sources(config, results, stage)):
            yield Finding(kind, name, Problem.UNEXPLAINED, _MADE_FROM_OTHERS)


def _verify_descriptions(results: Results, checked: Counter[str]) -> Iterator[Finding]:
    """Compare the files that describe the run with their records."""
    recorded = read_checksums(results.checksums)
    for kind, path in results.list_descriptions():
        name = path.relative_to(results.root).as_posix()
        if kind == "costs" and name not in recorded and not path.exists():
            # Runs of earlier versions did not write it.
            continue
        checked[kind] += 1
        if not path.exists():
            yield Finding(kind, name, Problem.MISSING, "run snakemake, which writes it again")
        elif name in recorded and (difference := _compare(recorded[name], results, quick=False)):
            yield Finding(kind, name, Problem.CHANGED, f"{difference}; {_MAKE_AGAIN}")


def _compare(row: Mapping[str, str], results: Results, *, quick: bool) -> str:
    """Return how a file differs from its record; empty if it does not.

    Snakemake gives the outputs of a job a new time once the job has ended: a file of another time
    is read before it is said to have changed.
    """
    try:
        if quick and not compare_checksums(row, results.root, quick=True):
            return ""
        return compare_checksums(row, results.root, quick=False)
    except OSError as error:
        return str(error)


def _find_strangers(config: Config, results: Results) -> Iterator[Finding]:
    """Find results of videos that are not in the plan."""
    videos = set(read_plan(results).shard_of)
    locators = {
        kind: partial(_locate, stage.videos, kind, config, results)
        for stage in STAGES.values()
        if stage.videos and stage.name in VIDEO_STAGES
        for kind in stage.videos.locate(config, results, "x")
    }
    # Also those of other kinds: VIDEO.analysis.h5 is one of the files that end in .h5.
    known = {locate(video) for locate in locators.values() for video in videos}
    known |= list_session_files(config, results)
    for kind, locate in locators.items():
        pattern = locate("[!.]*").name
        strangers = set(locate("x").parent.glob(pattern)) - known
        known |= strangers
        for path in sorted(strangers):
            name = path.relative_to(results.root).as_posix()
            yield Finding(kind, name, Problem.UNEXPLAINED, "no video of that name was planned")


def _locate(videos: VideoResults, kind: str, config: Config, results: Results, video: str) -> Path:
    return videos.locate(config, results, video)[kind]


def _compare_settings(
    then: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> Iterable[str]:
    """Yield the dotted names of settings that differ."""
    for name in {**then, **now}:
        before, after = then.get(name), now.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _compare_settings(before, after, f"{prefix}{name}.")
        elif before != after:
            yield f"{prefix}{name}"


_STYLES = {
    Problem.CHANGED: "bold red",
    Problem.MISSING: "red",
    Problem.UNEXPLAINED: "yellow",
    Problem.UNRECORDED: "cyan",
}
# More lines are of no use in a terminal.
_ROWS_SHOWN = 100
_UNKNOWN_SHOWN = 20


def show_verification(found: Verification, console: Console) -> None:
    """Show a table of the differences, and the number of checked files."""
    looked = ", ".join(f"{count} {kind}" for kind, count in found.checked.items())
    how = "size and modification time" if found.quick else "content"
    console.print(f"Compared by {how}: {looked}", soft_wrap=True)
    if found.unknown:
        console.print(_describe_unknown(found.unknown), soft_wrap=True, markup=False)
    if not found.findings:
        console.print("Everything is as the run left it.", style="green")
        return
    console.print(_tabulate(found))
    more = len(found.findings) - _ROWS_SHOWN
    if more > 0:
        console.print(f"... and {more} more; --format json lists all of them")
    if found.settings:
        listed = ", ".join(found.settings)
        console.print(f"Settings that differ from the last run's: {listed}", soft_wrap=True)


def _describe_unknown(names: Sequence[str]) -> str:
    listed = ", ".join(map(escape_unseen, names[:_UNKNOWN_SHOWN]))
    more = f" and {len(names) - _UNKNOWN_SHOWN} more" if len(names) > _UNKNOWN_SHOWN else ""
    return f"Not written by this workflow, and not checked: {listed}{more}"


def format_verification(found: Verification) -> str:
    """Return the same for scripts: a JSON object with ``checked``, ``findings`` ..."""
    return json.dumps(asdict(found), indent=2) + "\n"


def _tabulate(found: Verification) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("kind", no_wrap=True)
    table.add_column("name", overflow="fold")
    table.add_column("problem", no_wrap=True)
    table.add_column("detail", overflow="fold")
    for finding in found.findings[:_ROWS_SHOWN]:
        table.add_row(
            finding.kind,
            escape(escape_unseen(finding.name)),
            Text(finding.problem, style=_STYLES[finding.problem]),
            escape(escape_unseen(finding.detail)),
        )
    return table
