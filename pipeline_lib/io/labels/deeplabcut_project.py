"""Read the ``config.yaml`` of a DeepLabCut project: bodyparts, skeleton and individuals."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.untrusted.yaml_files import YamlError, read_yaml

PROJECT_CONFIG = "config.yaml"

# What DeepLabCut writes under `bodyparts` in a multi-animal project.
_MULTI = "MULTI!"

_log = logging.getLogger(__name__)


def find_project_config(folder: Path) -> Path | None:
    """Return the project file at or nearest above a folder; None if there is none."""
    # A folder of labelled images is at most two levels below its project.
    for candidate in (folder, *folder.absolute().parents[:2]):
        if (candidate / PROJECT_CONFIG).is_file():
            return candidate / PROJECT_CONFIG
    return None


def read_project_config(path: Path) -> dict[str, Any]:
    """Read a DeepLabCut project's ``config.yaml``, with every value as text.

    Raises
    ------
    LabelError
        If it is not YAML with ``key: value`` lines.
    """
    try:
        # Texts: a bodypart `on` or a scorer `007` is a name, not a truth value or a number.
        values = read_yaml(path, texts=True)
    except FileNotFoundError:
        raise LabelError(str(path), ["no such file"]) from None
    except YamlError as error:
        raise LabelError(str(path), [str(error)]) from None
    if not isinstance(values, dict):
        raise LabelError(str(path), ["expected `key: value` lines, found none"])
    return values


def project_skeleton(values: Mapping[str, Any], where: str) -> Skeleton:
    """Return the skeleton that a project file describes.

    Parameters
    ----------
    values
        As `read_project_config` gives them.
    where
        Name of the file in messages.

    Returns
    -------
    Skeleton
        Bodyparts, of a multi-animal project with its unique ones last; empty where the file
        names none. Edges that do not join two bodyparts of an animal are left out: they are
        leftovers of DeepLabCut's template.

    Raises
    ------
    LabelError
        If bodyparts are named twice.
    """
    several = is_multi_animal(values)
    unique = _names(values.get("uniquebodyparts")) if several else []
    animal = _names(values.get("multianimalbodyparts" if several else "bodyparts"))
    try:
        return Skeleton(
            bodyparts=(*animal, *unique),
            edges=tuple(_keep_edges(values.get("skeleton"), animal)),
            unique_bodyparts=tuple(unique),
        )
    except ValidationError as error:
        problems = [one["msg"].removeprefix("Value error, ") for one in error.errors()]
        raise LabelError(where, problems) from None


def read_project_skeleton(path: Path) -> Skeleton:
    """Read the skeleton of the project that a label source belongs to.

    Parameters
    ----------
    path
        As in `pipeline_lib.io.labels.deeplabcut.read_deeplabcut`.

    Returns
    -------
    Skeleton
        Empty where there is no project file; so it is, with a log entry, where the file cannot be
        used: labels do not need it.
    """
    file = find_project_config(path if path.is_dir() else path.parent)
    if file is None:
        return Skeleton()
    try:
        return project_skeleton(read_project_config(file), str(file))
    except LabelError as error:
        _log.warning("no skeleton is taken from the project: %s", error)
        return Skeleton()


def is_multi_animal(values: Mapping[str, Any]) -> bool:
    """Tell whether a project file is that of a multi-animal project."""
    flag = str(values.get("multianimalproject")).lower() == "true"
    return flag or values.get("bodyparts") == _MULTI


def project_individuals(values: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    """Return the individuals of a multi-animal project.

    Returns
    -------
    names
        Empty where the project is of one animal.
    identity
        Whether each name means the same animal in all images (the project's ``identity``).
    """
    names = tuple(_names(values.get("individuals"))) if is_multi_animal(values) else ()
    return names, str(values.get("identity")).lower() == "true"


def _names(values: Any) -> list[str]:  # noqa: ANN401 - whatever stands in the file
    return [str(name) for name in values] if isinstance(values, list) else []


def _keep_edges(edges: Any, bodyparts: Iterable[str]) -> Iterable[tuple[str, str]]:  # noqa: ANN401
    known = set(bodyparts)
    for edge in edges if isinstance(edges, list) else []:
        pair = _names(edge)
        if len(pair) == 2 and pair[0] != pair[1] and set(pair) <= known:
            yield pair[0], pair[1]
        else:
            _log.info("skeleton edge %s does not join two bodyparts: left out", edge)
