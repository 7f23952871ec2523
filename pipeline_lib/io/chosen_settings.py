"""Read and write the settings that were chosen from the labels, and put them into a config."""

import json
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.chosen import Choices, ChosenSetting, list_auto, replace_auto
from pipeline_lib.core.settings.run import Config, ResolvedConfig
from pipeline_lib.core.untrusted.yaml_files import YamlError, read_yaml
from pipeline_lib.io.publish import publish_text

_HEAD = """\
# Values of settings that are `auto`, chosen by import-labels from the labels of training frames.
# A setting that the config states has the config's value instead.
"""
_AGAIN = "run `cohortpose import-labels` again"


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    settings: dict[str, ChosenSetting]


def write_choices(path: Path, choices: Choices) -> None:
    """Publish chosen settings as YAML, each with its reason."""
    record = _File(version=1, settings=dict(choices)).model_dump(mode="json")
    text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=1000)
    publish_text(path, _HEAD + text)


def read_choices(path: Path) -> dict[str, ChosenSetting]:
    """Read chosen settings.

    Raises
    ------
    StoreError
        If the file is missing or is none of `write_choices`.
    """
    try:
        return _File.model_validate(read_yaml(path)).settings
    except FileNotFoundError:
        raise StoreError(
            f"{path}: no such file; settings that are `auto` are chosen by `cohortpose "
            "import-labels`: run it, or state them in the config"
        ) from None
    except YamlError as error:
        raise StoreError(f"{path}: {error}; {_AGAIN}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise StoreError(f"{path}: `{where}`: {first['msg']}; {_AGAIN}") from None


def read_choices_in_force(config: Config, results: Results) -> dict[str, ChosenSetting]:
    """Return the choices of the settings that are `auto`, by dotted name.

    Raises
    ------
    StoreError
        If one is needed and missing.
    """
    names = list_auto(config)
    choices = read_choices(results.chosen_settings) if names else {}
    missing = [name for name in names if name not in choices]
    if missing:
        raise StoreError(f"{results.chosen_settings}: lacks {', '.join(missing)}; {_AGAIN}")
    return {name: choices[name] for name in names}


def resolve_settings(config: Config, results: Results) -> ResolvedConfig:
    """Return the settings with every value fixed: the one way from `auto` to a value.

    Parameters
    ----------
    config, results
        The run. The choices of its import of labels are read if a setting is `auto`.

    Raises
    ------
    StoreError
        If a choice is needed and missing, or is none that the setting may have.
    """
    choices = read_choices_in_force(config, results)
    try:
        return replace_auto(config, choices)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StoreError(
            f"{results.chosen_settings}: `{where}`: {first['msg']}, found "
            f"{json.dumps(first['input'], default=str)}; {_AGAIN}"
        ) from None
