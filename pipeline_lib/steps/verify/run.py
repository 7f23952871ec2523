"""The verb `verify`: whether inputs and results are what they were when the run made them."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.io.targets import TargetStore
from pipeline_lib.models.card import read_card
from pipeline_lib.steps.plan import read_plan
from pipeline_lib.steps.provenance.checksums import compare_contents, read_contents
from pipeline_lib.steps.provenance.run import hash_inputs, list_outputs, read_provenance
from pipeline_lib.steps.train import training_key
from pipeline_lib.steps.verify.shard import Finding, Problem, list_planned_shards, verify_shard

__all__ = ["Finding", "Problem", "Verification", "verify_results"]


@dataclass(frozen=True)
class Verification:
    """What was looked at, and what differs.

    Attributes
    ----------
    quick
        Whether files were compared by size and time of change only.
    checked
        How many were looked at of each kind.
    findings
        What differs; empty if all is as it was.
    settings
        Names of the settings that differ from those of the last run, which may explain findings.
    """

    quick: bool
    checked: Mapping[str, int]
    findings: tuple[Finding, ...]
    settings: tuple[str, ...]


def verify_results(config: Config, results: Results, *, quick: bool = False) -> Verification:
    """Compare inputs and results with the records of the run that made them.

    Parameters
    ----------
    config, results
        The run.
    quick
        Compare size and time of change of videos and results, without reading them.

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
        *_verify_networks(config, results, record, checked),
        *_verify_outputs(config, results, checked, quick=quick),
    ]
    for shard in list_planned_shards(results):
        findings += verify_shard(config, results, shard, checked, quick=quick)
    findings += _find_strangers(config, results)
    return Verification(
        quick=quick,
        checked=dict(checked),
        findings=tuple(findings),
        settings=tuple(_compare_settings(record["settings"], config.model_dump(mode="json"))),
    )


def _verify_inputs(
    config: Config, record: Mapping[str, Any], checked: Counter[str]
) -> Iterator[Finding]:
    now, then = hash_inputs(config), record["hashes"]
    pairs = [("sheet", {config.cohort: now["cohort"]}, {config.cohort: then["cohort"]})]
    pairs += [(kind, now[kind], then[kind]) for kind in ("labels", "weights")]
    for kind, found, recorded in pairs:
        for path in {**recorded, **found}:
            checked[kind] += 1
            if path not in recorded:
                yield Finding(kind, path, Problem.UNEXPLAINED, "no input of the last run")
            elif found.get(path, recorded[path]) is None or not Path(path).exists():
                yield Finding(kind, path, Problem.MISSING, "it was an input of the last run")
            elif path not in found:
                yield Finding(kind, path, Problem.UNEXPLAINED, "the settings name it no more")
            elif found[path] != recorded[path]:
                yield Finding(kind, path, Problem.CHANGED, "not as the last run read it")


def _verify_networks(
    config: Config, results: Results, record: Mapping[str, Any], checked: Counter[str]
) -> Iterator[Finding]:
    if not config.labels:
        return
    model = results.model(config.training.name)
    yield from _verify_network(config, model, results.targets, checked)
    if config.uses_locator:
        locator = config.for_locator()
        yield from _verify_network(locator, model.locator, results.locator_targets, checked)
    for name, recorded in record["networks"].items():
        path = results.root / name
        # The ONNX file has been compared with its card.
        if path.suffix != model.network.suffix and path.is_file() and hash_path(path) != recorded:
            yield Finding("network", name, Problem.CHANGED, "not as the last run left it")


def _verify_network(
    config: Config, files: ModelFiles, targets: Path, checked: Counter[str]
) -> Iterator[Finding]:
    """Compare a network with its card, and the card with targets and settings."""
    checked["network"] += 1
    name = str(files.network)
    try:
        card = read_card(files.card)
    except ModelError as error:
        yield Finding("network", str(files.card), Problem.MISSING, str(error))
        return
    if not files.network.is_file():
        yield Finding("network", name, Problem.MISSING, "run snakemake")
    elif hash_path(files.network) != card.network_sha256:
        yield Finding("network", name, Problem.CHANGED, f"{files.card.name} names another hash")
    try:
        key = training_key(config, TargetStore(targets))
    except CohortposeError as error:
        yield Finding("targets", str(targets), Problem.MISSING, str(error))
        return
    if key != card.key:
        yield Finding("network", name, Problem.UNEXPLAINED, "trained otherwise than is asked now")


def _verify_outputs(
    config: Config, results: Results, checked: Counter[str], *, quick: bool
) -> Iterator[Finding]:
    """Compare the files of the whole cohort with the record of the last run's end."""
    recorded = read_contents(results.contents)
    kinds = {
        path.relative_to(results.root).as_posix(): kind
        for kind, path in list_outputs(config, results)
    }
    for name, kind in kinds.items():
        # Networks have been compared with their cards.
        if kind == "network":
            continue
        there = (results.root / name).is_file()
        if name in recorded:
            checked[kind] += 1
            if not there:
                yield Finding(kind, name, Problem.MISSING, "it was there when the last run ended")
            elif difference := compare_contents(recorded[name], results.root, quick=quick):
                yield Finding(kind, name, Problem.CHANGED, difference)
        elif there:
            yield Finding(kind, name, Problem.UNRECORDED, "the run that wrote it has not ended")


def _find_strangers(config: Config, results: Results) -> Iterator[Finding]:
    """Find results of videos that no plan knows."""
    model = config.training.name
    videos = set(read_plan(results).homes)
    places: dict[str, Callable[[str], Path]] = {
        "poses": partial(results.poses, model),
        "tracked": partial(results.tracked, model),
        "filtered": partial(results.filtered, model),
        **{
            suffix: partial(results.exported, model, suffix=suffix)
            for suffix in config.exports.formats
        },
    }
    # Also those of other kinds: VIDEO.analysis.h5 is one of the files that end in .h5.
    known = {locate(video) for locate in places.values() for video in videos}
    for kind, locate in places.items():
        pattern = locate("[!.]*").name
        strangers = set(locate("x").parent.glob(pattern)) - known
        known |= strangers
        for path in sorted(strangers):
            name = path.relative_to(results.root).as_posix()
            yield Finding(kind, name, Problem.UNEXPLAINED, "no video of that name was planned")


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
# Nobody reads more in a terminal.
_ROWS_SHOWN = 100


def show_verification(found: Verification, console: Console) -> None:
    """Show a table of what differs, and how much was looked at."""
    looked = ", ".join(f"{count} {kind}" for kind, count in found.checked.items())
    how = "size and time of change" if found.quick else "content"
    console.print(f"Compared by {how}: {looked}", soft_wrap=True)
    if not found.findings:
        console.print("All is as the run left it.", style="green")
        return
    console.print(_tabulate(found))
    more = len(found.findings) - _ROWS_SHOWN
    if more > 0:
        console.print(f"... and {more} more; --format json lists all of them")
    if found.settings:
        listed = ", ".join(found.settings)
        console.print(f"Settings that differ from the last run's: {listed}", soft_wrap=True)


def format_verification(found: Verification) -> str:
    """Return the same for scripts: a JSON object with ``checked``, ``findings``, ``settings``."""
    return json.dumps(asdict(found), indent=2, ensure_ascii=False) + "\n"


def _tabulate(found: Verification) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("kind", no_wrap=True)
    table.add_column("name", overflow="fold")
    table.add_column("problem", no_wrap=True)
    table.add_column("detail", overflow="fold")
    for finding in found.findings[:_ROWS_SHOWN]:
        table.add_row(
            finding.kind,
            escape(finding.name),
            Text(finding.problem, style=_STYLES[finding.problem]),
            escape(finding.detail),
        )
    return table
