"""Check whether runs will work on this machine, and say what to repair (``doctor``)."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from pipeline_lib import __version__
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.untrusted.unseen import escape_unseen
from pipeline_lib.steps.doctor.check import Check, Level, judge
from pipeline_lib.steps.doctor.machine import check_machine, check_torch
from pipeline_lib.steps.doctor.software import check_software, check_weights
from pipeline_lib.steps.doctor.storage import check_storage

Group = Callable[[], Iterable[Check]]


def examine(config: Config | None, results: Results) -> list[Check]:
    """Return the outcome of every check.

    Parameters
    ----------
    config
        The run, whose weights are looked for; None: no config.
    results
        Where its results are to go.
    """
    groups: dict[str, Group] = {
        "machine": partial(check_machine, os.environ),
        "GPU": check_torch,
        "storage": partial(check_storage, results, os.environ),
        "software": partial(check_software, os.environ),
    }
    if config is not None:
        groups["weights"] = partial(check_weights, config, os.environ)
    return [check for name, group in groups.items() for check in _try(name, group)]


def _try(name: str, group: Group) -> Iterator[Check]:
    """Yield the checks of a group; one that breaks ends its group, and says so."""
    try:
        yield from group()
    except Exception as error:  # noqa: BLE001 - odd machines are what this is for
        yield judge(
            name,
            f"could not be checked: {type(error).__name__}: {error}",
            warn="this is a fault of `doctor`: please report it with this line",
        )


def has_failed(checks: Iterable[Check]) -> bool:
    """Tell whether something must be mended before a run can work."""
    return any(check.level is Level.FAIL for check in checks)


def describe_checks(checks: Sequence[Check]) -> Iterator[str]:
    """Yield a line for each check, and one with what to repair below it."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        yield escape_unseen(f"{check.level:4}  {check.name:{width}}  {check.found}")
        if check.mend:
            yield escape_unseen(f"{'':4}  {'':{width}}  -> {check.mend}")
    counts = [sum(check.level is level for check in checks) for level in Level]
    yield f"{counts[0]} ok, {counts[1]} warn, {counts[2]} fail"


def format_checks(checks: Sequence[Check]) -> str:
    """Return the checks as JSON."""
    values = {
        "cohortpose": __version__,
        "ok": not has_failed(checks),
        "checks": [
            {"name": one.name, "level": one.level, "found": one.found, "mend": one.mend}
            for one in checks
        ],
    }
    return json.dumps(values, indent=2, ensure_ascii=False)
