"""Find what describes a SuperAnimal network in the folder ``modelzoo`` of a DeepLabCut.

Its checkpoints lie in ``checkpoints``, and are named by the project and by the network, which are
described in ``project_configs`` and ``model_configs``. The descriptions are read where they are.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.untrusted.yaml_files import YamlError, read_yaml

MODELS, PROJECTS = "model_configs", "project_configs"
TABLES = "SuperAnimalConversionTables"
# Where a description says how many channels there are.
_NUMBER = re.compile(r"(num_bodyparts|backbone_output_channels)(?: (x|\+|//) (\d{1,6}))?")


@dataclass(frozen=True)
class SuperAnimal:
    """Describe a SuperAnimal network.

    Attributes
    ----------
    name
        Name of the project, such as ``superanimal_quadruped``.
    place
        File of its description, for messages.
    values
        The description, as a ``pytorch_config.yaml`` would be.
    detector
        File of the weights of its detector.
    """

    name: str
    place: Path
    values: dict[str, Any]
    detector: Path


def find_superanimal(snapshot: Path, detector: Path | None, individuals: int | None) -> SuperAnimal:
    """Find the description of a checkpoint of a SuperAnimal network, and its detector.

    Parameters
    ----------
    snapshot
        Its file, in the folder ``checkpoints`` of ``modelzoo``.
    detector
        File of the weights of its detector; None: the only one beside it.
    individuals
        Largest number of animals in a frame.

    Raises
    ------
    ModelError
        If there is no description, or not one detector.
    """
    zoo = next(
        (one for one in (snapshot.parent.parent, snapshot.parent) if (one / MODELS).is_dir()), None
    )
    if zoo is None:
        raise ModelError(
            f"{snapshot}: no description of the network; expected pytorch_config.yaml beside it, "
            f"or the folders {MODELS} and {PROJECTS} of DeepLabCut's modelzoo"
        )
    name, model = _split(snapshot, zoo)
    if individuals is None:
        raise ModelError(
            f"{snapshot}: a SuperAnimal network does not say how many animals there are: give "
            "--individuals, the most in a frame"
        )
    place = zoo / MODELS / f"{model}.yaml"
    project, values = _read(zoo / PROJECTS / f"{name}.yaml"), _read(place)
    bodyparts = project.get("bodyparts")
    if not isinstance(bodyparts, list):
        raise ModelError(f"{zoo / PROJECTS / name}.yaml: expected a list `bodyparts`")
    found = detector or _find_detector(snapshot, zoo, name)
    _, found_model = _split(found, zoo)
    own = values.get("model")
    channels = own.get("backbone_output_channels") if isinstance(own, dict) else None
    filled = _fill(values, {"num_bodyparts": len(bodyparts), "backbone_output_channels": channels})
    filled |= {
        "method": "td",
        "detector": _read(zoo / MODELS / f"{found_model}.yaml"),
        "metadata": {
            "bodyparts": bodyparts,
            "individuals": [f"animal{number}" for number in range(individuals)],
        },
    }
    return SuperAnimal(name, place, filled, found)


def read_conversion(project: Path, superanimal: str) -> dict[str, str]:
    """Return the bodyparts of a project by name, each with its name in a SuperAnimal network.

    Parameters
    ----------
    project
        ``config.yaml`` of a project of DeepLabCut.
    superanimal
        Name of the SuperAnimal, which the project must have a table of.

    Raises
    ------
    ModelError
        If there is no such table, or it is damaged.
    """
    values = _read(project)
    tables = values.get(TABLES)
    table = tables.get(superanimal) if isinstance(tables, dict) else None
    if not isinstance(table, dict) or not table:
        raise ModelError(f"{project}: has no table for {superanimal} in `{TABLES}`")
    if not all(isinstance(one, str) for pair in table.items() for one in pair):
        raise ModelError(f"{project}: `{TABLES}.{superanimal}` must be names of bodyparts")
    named = [values.get(key) for key in ("multianimalbodyparts", "bodyparts")]
    order = next((one for one in named if isinstance(one, list)), list(table))
    if unknown := sorted(set(table) - set(map(str, order))):
        raise ModelError(f"{project}: `{TABLES}.{superanimal}`: no bodypart {unknown[0]!r}")
    return {name: table[name] for name in order if name in table}


def _split(snapshot: Path, zoo: Path) -> tuple[str, str]:
    """Return the names of the project and of the network in the name of a checkpoint."""
    projects = sorted(path.stem for path in (zoo / PROJECTS).glob("*.yaml"))
    models = {path.stem for path in (zoo / MODELS).glob("*.yaml")}
    for name in projects:
        model = snapshot.stem.removeprefix(f"{name}_")
        if model != snapshot.stem and model in models:
            return name, model
    raise ModelError(
        f"{snapshot}: is not named as a project of {zoo / PROJECTS} and a network of {MODELS}: "
        f"expected {' or '.join(projects) or 'a project'}, _, and one of "
        f"{', '.join(sorted(models)) or 'no network'}"
    )


def _find_detector(snapshot: Path, zoo: Path, name: str) -> Path:
    """Return the only checkpoint of a detector of a SuperAnimal."""
    found = []
    for path in sorted(snapshot.parent.glob(f"{name}_*.pt")):
        place = zoo / MODELS / f"{path.stem.removeprefix(f'{name}_')}.yaml"
        model = _read(place).get("model") if place.is_file() else None
        if isinstance(model, dict) and model.get("type") in ("FasterRCNN", "SSDLite"):
            found.append(path)
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found) or "none"
    raise ModelError(
        f"{snapshot}: top-down networks need their detector, of which there are beside it: "
        f"{names}; give --detector"
    )


def _fill(values: Any, numbers: dict[str, Any]) -> Any:  # noqa: ANN401 - YAML
    """Return values with numbers instead of the names of numbers."""
    if isinstance(values, dict):
        return {name: _fill(value, numbers) for name, value in values.items()}
    if isinstance(values, list):
        return [_fill(value, numbers) for value in values]
    match = _NUMBER.fullmatch(values) if isinstance(values, str) else None
    number = numbers[match[1]] if match else None
    if match is None or not isinstance(number, int):
        return values
    by = int(match[3] or 1)
    ways = {None: number, "x": number * by, "+": number + by, "//": number // max(1, by)}
    return ways[match[2]]


def _read(path: Path) -> dict[str, Any]:
    try:
        values = read_yaml(path)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except (YamlError, OSError) as error:
        raise ModelError(f"{path}: {error}") from None
    if not isinstance(values, dict):
        raise ModelError(f"{path}: expected names and values")
    return values
