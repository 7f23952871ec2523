"""Tie an evaluation to its networks, so that nobody takes errors of one for those of another.

``evaluation/NAME/networks.json`` holds the hashes of the networks that `evaluate` measured.
Whoever reads tables of an evaluation asks `find_mismatch` first.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.io.publish import publish_text
from pipeline_lib.models.card import ModelCard, read_card
from pipeline_lib.models.precision import Place, Sha256, list_networks
from pipeline_lib.steps.provenance.checksums import read_checksums

_AGAIN = "run `cohortpose evaluate`"


class EvaluatedNetworks(BaseModel):
    """Name the networks of an evaluation: the content of ``networks.json``.

    Attributes
    ----------
    networks
        Hash of each network by its folder below that of the model; empty while they are being
        evaluated, and where an evaluation did not end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    networks: dict[Place, Sha256]


def publish_networks(results: Results, model: str, networks: Mapping[str, str]) -> None:
    """Record the networks that the tables of an evaluation are of.

    Parameters
    ----------
    results, model
        The run, and the name of its network.
    networks
        As `pipeline_lib.models.precision.hash_networks` returns them; empty before tables are
        replaced.
    """
    record = EvaluatedNetworks(networks=dict(networks)).model_dump(mode="json")
    publish_text(results.evaluated_networks(model), json.dumps(record, indent=2) + "\n")


def is_recorded(results: Results, model: str) -> bool:
    """Tell whether an evaluation names its networks; those of earlier releases do not."""
    return results.evaluated_networks(model).exists()


def find_mismatch(config: Config, results: Results, model: str | None = None) -> str:
    """Explain why the tables of an evaluation are not of the networks that there are now.

    An evaluation of an earlier release, which names no networks, counts as one of the present
    networks unless these came from a bundle, which no run evaluates, or were published after it.

    Parameters
    ----------
    config, results
        The run.
    model
        Name of the network; None: that of the run. How many networks belong together is not known
        of another one: those that were evaluated are compared.

    Returns
    -------
    str
        Empty if nothing was evaluated, or nothing speaks against it.
    """
    name = config.training.name if model is None else model
    tables = (results.metrics(name), results.predictions(name), results.score_maps(name))
    if not any(path.exists() for path in tables):
        return ""
    folder = results.metrics(name).parent
    if is_recorded(results, name):
        try:
            recorded = _read_networks(results.evaluated_networks(name))
        except ModelError as error:
            return str(error)
        if not recorded:
            return f"{folder}: the last evaluation did not end; {_AGAIN}"
        changed = _is_changed(recorded, results.model(name))
        if not changed and name == config.training.name:
            changed = _differs(recorded, config, results)
    else:
        changed = _is_later(results, name)
    if not changed:
        return ""
    networks = results.model(name)
    return f"{folder}: is of other networks than {networks.folder}; {_advise(networks, config)}"


def _advise(networks: ModelFiles, config: Config) -> str:
    """Return what to do about an evaluation of other networks."""
    card, name = _read_card(networks), networks.folder.name
    if card is not None and card.bundle is not None:
        return "no run evaluates the network of a bundle: remove that folder"
    if name != config.training.name:
        return f"set `training.name` to {name} and run `cohortpose evaluate`"
    return _AGAIN


def _read_networks(path: Path) -> dict[str, str]:
    try:
        return EvaluatedNetworks.model_validate_json(path.read_bytes()).networks
    except (OSError, ValidationError):
        raise ModelError(f"{path}: cannot be read; {_AGAIN}") from None


def _is_changed(recorded: Mapping[str, str], files: ModelFiles) -> bool:
    """Tell whether a network that was evaluated was replaced; a missing one does not count."""
    found = {place: _read_card(ModelFiles(files.folder / place)) for place in recorded}
    return any(card and card.network_sha256 != recorded[place] for place, card in found.items())


def _differs(recorded: Mapping[str, str], config: Config, results: Results) -> bool:
    """Tell whether other networks predict together than those that were evaluated together."""
    try:
        return set(recorded) != set(list_networks(config, results))
    except ModelError:
        # A network that is gone, or damaged, contradicts nothing.
        return False


def _is_later(results: Results, model: str) -> bool:
    """Tell whether a network was published after an evaluation that names none."""
    files = results.model(model)
    card = _read_card(files)
    if card is not None and card.bundle is not None:
        return True
    # Recorded times stay when a folder is copied.
    rows = read_checksums(results.checksums)
    times = [
        int(rows[name]["modified_ns"] or 0)
        for path in (results.metrics(model), files.network)
        if (name := path.relative_to(results.root).as_posix()) in rows
    ]
    return len(times) == 2 and times[0] < times[1]


def _read_card(files: ModelFiles) -> ModelCard | None:
    try:
        return read_card(files.card)
    except ModelError:
        return None
