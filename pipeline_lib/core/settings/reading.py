"""Read a config and report all its problems at once, unknown keys with the nearest valid one."""

import difflib
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.base import FIXED
from pipeline_lib.core.settings.renamed import rename_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.untrusted.credentials import show_address
from pipeline_lib.core.untrusted.yaml_files import YamlError, check_size, read_yaml

logger = logging.getLogger(__name__)


def parse_config(values: Mapping[str, Any], where: str = "config", *, warn: bool = True) -> Config:
    """Check a mapping of settings and complete it with the defaults.

    Parameters
    ----------
    values
        Nested settings as YAML gives them.
    where
        Name of the file in error messages.
    warn
        Whether to log a warning for each setting that is given by its former name.

    Raises
    ------
    ConfigError
        With one line per problem.
    """
    try:
        check_size(values)
    except YamlError as error:
        raise ConfigError(where, [str(error)]) from None
    # Snakemake hands over a section that is present but empty as None.
    given, warnings, problems = rename_settings(
        {key: value for key, value in values.items() if value is not None}
    )
    for warning in warnings if warn else ():
        logger.warning("%s: %s", where, warning)
    try:
        config = Config.model_validate(given)
    except ValidationError as error:
        problems += [_describe_problem(dict(problem)) for problem in error.errors()]
        raise ConfigError(where, problems) from None
    problems += config.list_contradictions()
    if problems:
        raise ConfigError(where, problems)
    return config


def read_config(path: str | os.PathLike[str]) -> Config:
    """Read and check a YAML config file.

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML, or has wrong settings; if it lies in the folder that
        it names for the results and is not the config that a run wrote there.
    """
    path = Path(path)
    try:
        values = read_yaml(path)
    except FileNotFoundError:
        raise ConfigError(
            str(path), ["no such file; `cohortpose init` writes one for a folder of videos"]
        ) from None
    except YamlError as error:
        raise ConfigError(str(path), [str(error)]) from None
    if not isinstance(values, dict):
        raise ConfigError(str(path), ["expected `key: value` lines, found none"])
    config = parse_config(values, where=str(path))
    written = Results(Path(config.results)).config
    if path.name != written.name and written.parent.resolve() == path.parent.resolve():
        problem = (
            f"`results`: is the folder of the config, {path.absolute().parent}: expected a folder "
            "for the results alone: name one below, such as `results`"
        )
        raise ConfigError(str(path), [problem])
    return config


def write_resolved_config(config: Config) -> str:
    """Return the YAML text of every setting in force."""
    text: str = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return text


def hash_settings(*settings: BaseModel | Mapping[str, Any] | str | int) -> str:
    """Return a short hash that changes when one of the given settings does.

    Returns
    -------
    str
        16 hexadecimal digits of a SHA-256.
    """
    plain = [
        item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in settings
    ]
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _describe_problem(problem: dict[str, Any]) -> str:
    location = tuple(part for part in problem["loc"] if part != FIXED)
    key = ".".join(str(part) for part in location) or "config"
    if problem["type"] == "extra_forbidden":
        near = _nearest_key(location)
        hint = f"; did you mean `{near}`?" if near else ""
        return f"unknown key `{key}`{hint}"
    if problem["type"] == "missing":
        return f"missing key `{key}`"
    message = problem["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list")
    shown = problem["input"]
    if isinstance(shown, Mapping):
        return f"`{key}`: {message}"
    found = show_address(shown) if isinstance(shown, str) else shown
    return f"`{key}`: {message}, found {found!r}"


def _nearest_key(location: tuple[str | int, ...]) -> str | None:
    """Return the valid key most like the unknown one, searched in its section, then anywhere."""
    unknown = str(location[-1])
    keys = _all_keys(Config)
    section = ".".join(str(part) for part in location[:-1] if not isinstance(part, int))
    prefix = f"{section}." if section else ""
    siblings = {
        key.removeprefix(prefix): key
        for key in keys
        if key.startswith(prefix) and "." not in key.removeprefix(prefix)
    }
    match = difflib.get_close_matches(unknown, siblings, n=1, cutoff=0.6)
    if match:
        return siblings[match[0]]
    leaves = {key.rsplit(".", 1)[-1]: key for key in keys}
    match = difflib.get_close_matches(unknown, leaves, n=1, cutoff=0.8)
    return leaves[match[0]] if match else None


def _all_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        nested = nested_model(field.annotation)
        if nested is not None:
            keys += _all_keys(nested, f"{prefix}{name}.")
    return keys


def nested_model(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - any annotation
    """Return the settings model inside an annotation, also in a tuple; None if there is none."""
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
