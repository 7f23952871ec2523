"""Replace settings that are `auto` by the values chosen from the labels."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.run import Config, ResolvedConfig
from pipeline_lib.core.untrusted.credentials import show_address

# Settings that labels can decide, in the order in which they depend on each other.
TUNABLE = (
    "training.backbone",
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
    "training.stop.plateau",
    "training.freeze",
)
# Off where the length of the training is stated: such trainings are as stated.
_WITH_LENGTH = frozenset({"training.stop.plateau", "training.freeze"})

# Settings whose value others are chosen for.
_DEPENDENTS = {
    "training.augmentation.rotation": ("training.augmentation.mirror",),
    "targets.scale": (
        "targets.stride",
        "targets.sigma",
        "locating.scale",
        "locating.window",
        "training.crop",
        "training.batch_size",
    ),
    "targets.stride": ("targets.sigma", "training.batch_size"),
    "targets.sigma": ("targets.pos_dist_thresh",),
    "training.crop": ("training.batch_size",),
    "locating.window": ("training.batch_size",),
    "training.weights": ("training.freeze",),
    "training.goal": ("training.backbone",),
}
# Settings that must be those of a network that the training starts from.
_OF_START = frozenset({"training.backbone", "targets.scale", "targets.stride", "locating.scale"})


class ChosenSetting(BaseModel):
    """Hold a value chosen from the labels, and the reason in one sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: bool | int | float | str | None
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
    stated = frozenset() if config.training.decides_length else _WITH_LENGTH
    return tuple(
        name for name in TUNABLE if name not in stated and get_setting(config, name) == AUTO
    )


def list_upstream(config: Config) -> dict[str, Any]:
    """Return the stated settings that a choice depends on, by dotted name.

    They are few, so that a change of the other settings chooses nothing anew.
    """
    auto = set(list_auto(config))
    upstream = {
        name: get_setting(config, name)
        for name, dependents in _DEPENDENTS.items()
        if name not in auto and not auto.isdisjoint(dependents)
    }
    # Only top-down networks are trained on windows.
    upstream.pop("training.crop" if config.top_down else "locating.window", None)
    if fits_start(config):
        upstream["training.start_from"] = show_address(config.training.start_from or "")
    return upstream


def fits_start(config: Config) -> bool:
    """Tell whether settings are chosen to be those of the network that the training starts from."""
    return config.training.start_from is not None and not _OF_START.isdisjoint(list_auto(config))


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
    chosen = {name: choices[name].value for name in list_auto(config)}
    off = {name: False for name in _WITH_LENGTH if get_setting(config, name) == AUTO}
    for name, value in (off | chosen).items():
        *sections, last = name.split(".")
        inner = values
        for section in sections:
            inner = inner[section]
        inner[last] = value
    return ResolvedConfig.model_validate(values)
