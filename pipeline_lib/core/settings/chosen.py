"""Replace settings that are `auto` by the values chosen from the labels."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.run import Config, ResolvedConfig

# Settings that labels can decide, in the order in which they depend on each other.
TUNABLE = (
    "training.augmentation.rotation",
    "training.augmentation.mirror",
    "targets.scale",
    "targets.stride",
    "targets.sigma",
    "targets.pos_dist_thresh",
    "locating.scale",
    "locating.window",
    "training.crop",
    "training.batch_size",
    "training.epochs",
)


class ChosenSetting(BaseModel):
    """Hold a value chosen from the labels, and the reason in one sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: bool | int | float | None
    reason: str


Choices = Mapping[str, ChosenSetting]


def get_setting(config: Config, name: str) -> Any:  # noqa: ANN401 - any setting's value
    """Return the value of a setting by its dotted name."""
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def list_auto(config: Config) -> tuple[str, ...]:
    """Return the dotted names of the settings that the labels decide."""
    return tuple(name for name in TUNABLE if get_setting(config, name) == AUTO)


def replace_auto(config: Config, choices: Choices) -> ResolvedConfig:
    """Return settings with every value fixed.

    Raises
    ------
    KeyError
        If a setting is `auto` and was not chosen.
    ValidationError
        If a chosen value is none that the setting may have.
    """
    values = config.model_dump()
    for name in list_auto(config):
        *sections, last = name.split(".")
        inner = values
        for section in sections:
            inner = inner[section]
        inner[last] = choices[name].value
    return ResolvedConfig.model_validate(values)
