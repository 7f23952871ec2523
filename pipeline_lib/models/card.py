"""Read and write model cards, which tell how to run a network and how it was made."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.chosen import ChosenSetting
from pipeline_lib.core.settings.network import LocatingSettings, StatedLocating
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL, UNIQUE_INDIVIDUAL


class TrainingRecord(BaseModel):
    """Describe how the network was trained.

    Attributes
    ----------
    iteration
        Labelling iteration.
    start_from, start_sha256
        Name of the network that the training started from, and the hash of its weights; None:
        from pretrained or random weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int
    steps: int
    seconds: float
    seed: int
    frames: dict[str, int]
    checkpoint: str
    iteration: int = 0
    start_from: str | None = None
    start_sha256: str | None = None
    settings: dict[str, Any]


class ModelCard(BaseModel):
    """Describe a trained network: the content of ``model.json``.

    Attributes
    ----------
    individuals
        Names of the slots on the individual axis of the results; with unique bodyparts, the last
        one is `UNIQUE_INDIVIDUAL`.
    edges
        Pairs of positions on the keypoint axis that have a part affinity field.
    used_edges
        Positions in `edges` of the edges used to assemble individuals.
    identities
        Names of the individuals that the network tells apart.
    window
        Side in network px of the windows around an animal that the network was trained on; None
        for a network of whole frames.
    chosen
        Values of settings that were `auto`, by name, each with the reason; those of the locator
        are in the card of its network.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    name: str
    key: str
    backbone: str
    head_channels: int
    parameters: int
    stride: int
    scale: float
    refinement_scale: float
    skeleton: Skeleton
    individuals: tuple[str, ...] = (SINGLE_INDIVIDUAL,)
    edges: tuple[tuple[int, int], ...] = ()
    used_edges: tuple[int, ...] = ()
    identities: tuple[str, ...] = ()
    window: int | None = None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    network_sha256: str
    training: TrainingRecord
    chosen: dict[str, ChosenSetting] = {}
    versions: dict[str, str]

    @property
    def animals(self) -> int:
        """Return the largest number of animals found in a frame."""
        return sum(name != UNIQUE_INDIVIDUAL for name in self.individuals)


def read_card(path: Path) -> ModelCard:
    """Read and check a model card.

    Raises
    ------
    ModelError
        If the card is missing, damaged or has another format.
    """
    try:
        return ModelCard.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"{path}: no model; run train") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{path}: not a model card: `{where}`: {first['msg']}") from None


def format_card(card: ModelCard) -> str:
    """Return the JSON text of a card."""
    return json.dumps(card.model_dump(mode="json"), indent=2) + "\n"


def check_locator(files: ModelFiles, *, top_down: bool) -> None:
    """Raise an error if the locator, the network that finds the animal, is missing.

    Parameters
    ----------
    files
        Files of the network for windows, with its locator.
    top_down
        Whether each of several animals has a window.

    Raises
    ------
    ModelError
        If the locator is missing.
    """
    if files.locator.card.exists():
        return
    instead = (
        "set individuals.method to bottom-up and train again"
        if top_down
        else "set locating.enabled to false"
    )
    raise ModelError(
        f"{files.locator.folder}: no network that finds the animal; run `cohortpose "
        f"make-targets --locator` and `cohortpose train --locator`, or {instead}"
    )


def settle_locating(locating: StatedLocating, card: ModelCard) -> LocatingSettings:
    """Return the settings of the locator with every value fixed.

    Parameters
    ----------
    locating
        Settings of the config. What is `auto` has the value that was chosen when the network was
        trained, so that a network predicts the same wherever it is used.
    card
        Card of the network that predicts in windows.
    """
    values = locating.model_dump()
    for name, default in LocatingSettings().model_dump().items():
        if values[name] == AUTO:
            chosen = card.chosen.get(f"locating.{name}")
            values[name] = default if chosen is None else chosen.value
    return LocatingSettings.model_validate(values)


def locating_key(files: ModelFiles, locating: StatedLocating) -> str:
    """Return the hash of the locator and its settings; empty if poses depend on neither.

    Parameters
    ----------
    files
        Files of the network, with its locator.
    locating
        Settings of the locator.

    Raises
    ------
    ModelError
        If the settings require a locator and it is missing.
    """
    own = read_card(files.card)
    top_down = own.window is not None
    if not (locating.enabled or top_down):
        return ""
    check_locator(files, top_down=top_down)
    card = read_card(files.locator.card)
    settings = settle_locating(locating, own).result_settings(top_down=top_down)
    return hash_settings(settings, card.key, card.network_sha256)
