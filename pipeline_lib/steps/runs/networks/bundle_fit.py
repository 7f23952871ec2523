"""Compare the settings of a run with the bundle that it runs."""

import logging
from collections.abc import Iterator
from pathlib import Path

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.chosen import get_setting
from pipeline_lib.core.settings.run import Config
from pipeline_lib.models.card import read_card
from pipeline_lib.models.zoo.archive import Bundle
from pipeline_lib.models.zoo.sources import find_bundle, list_unclear_addresses
from pipeline_lib.models.zoo.used_settings import list_used_settings
from pipeline_lib.steps.runs.networks.start_network import show_value

logger = logging.getLogger(__name__)


def check_bundle(config: Config) -> list[str]:
    """Return what is wrong with ``model.bundle``: it is found and verified now.

    One from elsewhere is downloaded, so that the jobs of a cluster find it in the cache.

    Parameters
    ----------
    config
        The run.
    """
    if config.model.bundle is None:
        return []
    try:
        bundle = find_bundle(config.model.bundle)
    except ModelError as error:
        return [f"`model.bundle`: {error}"]
    if not bundle.manifest.licence:
        logger.warning(
            "%s names no licence: ask whoever made it whether you may use it, and publish what "
            "it predicts",
            bundle.path,
        )
    problems = [*list_bundle_problems(config, bundle), *_list_unstated_problems(config, bundle)]
    if not problems:
        _warn_of_defaults(config, bundle)
    if not config.has_only_existing:
        problems += find_trained(Results(Path(config.results)).model(config.training.name))
    problems += list_unclear_addresses("model.bundle", config.model.bundle)
    return problems


def find_trained(files: ModelFiles, *, begun: bool = False) -> list[str]:
    """Return why a bundle must not be imported over a network: it was trained here.

    Parameters
    ----------
    files
        Where the network of the bundle would be published.
    begun
        The run has begun: Snakemake has removed the network that an import replaces, and what an
        earlier release left beside it must not stop the import.

    Returns
    -------
    list of str
        One line; none if the place is free, or has a network of a bundle.
    """
    if files.card.exists():
        # Beside the network of a bundle, earlier releases left files of the training before it.
        trained = _is_trained(files.card)
    else:
        # An import removes members that are there.
        trained = any(map(_is_trained, files.members.glob("*/model.json")))
        # A training that has not ended left checkpoints alone.
        trained |= not begun and (files.checkpoints.exists() or _is_trained(files.locator.card))
    problem = (
        f"`training.name`: {files.folder} has a network that was trained here, which the bundle "
        "would replace: set `training.name` to another name, or move that folder away"
    )
    return [problem] if trained else []


def _is_trained(path: Path) -> bool:
    """Tell whether a card is not of a bundle; one that cannot be read may be of a training."""
    try:
        return path.exists() and read_card(path).bundle is None
    except ModelError:
        return True


def find_imported(address: str, files: ModelFiles) -> Bundle:
    """Return the bundle that networks were imported from.

    Parameters
    ----------
    address
        Its address.
    files
        The network that was imported.

    Raises
    ------
    ModelError
        If it cannot be found or used, or another one lies there now.
    """
    bundle, record = find_bundle(address), read_card(files.card).bundle
    if record is None or record.sha256 != bundle.sha256:
        raise ModelError(
            f"{bundle.path}: is not the bundle that {files.folder} was imported from: run "
            "`cohortpose import-model` again"
        )
    return bundle


def list_bundle_problems(config: Config, bundle: Bundle) -> list[str]:
    """Return the settings that contradict a bundle, one line each.

    Parameters
    ----------
    config
        The run.
    bundle
        The verified bundle.
    """
    card, own = bundle.card, config.skeleton
    problems = []
    if own.bodyparts and own.bodyparts != card.skeleton.bodyparts:
        problems.append(
            f"`skeleton.bodyparts`: {', '.join(own.bodyparts)}, but the bundle predicts "
            f"{', '.join(card.skeleton.bodyparts)}: leave them out; its skeleton counts"
        )
    known = set(card.skeleton.bodyparts)
    for field in ("edges", "symmetries"):
        unknown = {name for pair in getattr(own, field) for name in pair} - known
        if unknown:
            problems.append(
                f"`skeleton.{field}`: the bundle has no bodypart {', '.join(sorted(unknown))}"
            )
    if config.individuals.max != bundle.animals:
        problems.append(
            f"`individuals.max`: {config.individuals.max}, but the bundle finds up to "
            f"{bundle.animals} in a frame: set it to {bundle.animals}"
        )
    problems += _list_method_problems(config, bundle)
    problems += _list_network_problems(config, bundle)
    if config.filtering.method == "ensemble-kalman" and not bundle.ensemble:
        problems.append(
            "`filtering.method`: ensemble-kalman smooths what several networks predict, but the "
            "bundle has one: choose another method"
        )
    if config.uses_locator and not config.top_down and config.locating.window == AUTO:
        problems.append(
            "`locating.window`: auto is chosen from labels: give that of the bundle, which `zoo "
            "show` prints"
        )
    if config.uses_locator and bundle.locator is None:
        problems.append(
            "`locating.enabled`: the bundle has no network that finds the animal: set it to false"
        )
    return problems


def _list_network_problems(config: Config, bundle: Bundle) -> Iterator[str]:
    """Yield the stated settings that describe another network than that of the bundle.

    A value that is the default counts as not stated: the settings that a run writes state all.
    """
    card, locator = bundle.card, bundle.locator
    known: dict[str, object] = {
        "skeleton.unique_bodyparts": card.skeleton.unique_bodyparts,
        "individuals.identity": bool(card.identities),
        "targets.scale": card.scale,
        "targets.stride": card.stride,
        "targets.location_refinement_scale": card.refinement_scale,
        "training.backbone": card.backbone,
        "training.head_channels": card.head_channels,
        "training.head_context": card.head_context,
        "training.head_stages": card.head_stages,
    }
    if card.identities:
        known["individuals.names"] = card.identities
    if card.window is not None:
        known["locating.window"] = card.window
    if locator is not None:
        known["locating.scale"] = locator.scale
    for name, found in known.items():
        section, field = name.split(".")
        stated = get_setting(config, name)
        default = type(getattr(config, section)).model_fields[field].default
        if stated not in (AUTO, default, found):
            yield (
                f"`{name}`: {show_value(stated)}, but the network of the bundle has "
                f"{show_value(found)}: leave it out; the bundle counts"
            )


def _list_unstated_problems(config: Config, bundle: Bundle) -> Iterator[str]:
    """Yield a problem if the config does not state whether the bundle's second network is used."""
    used = bundle.manifest.settings.locating.enabled
    stated = "enabled" in config.locating.model_fields_set
    if bundle.locator is None or stated or config.uses_locator or not used:
        return
    yield (
        "`locating.enabled`: is not stated, and the bundle was used with a second network that "
        f"finds the animal: set it to {str(used).lower()} as it was, with the other settings "
        "that `zoo show` prints, or to false to predict in whole frames"
    )


def _warn_of_defaults(config: Config, bundle: Bundle) -> None:
    """Log each setting that is not stated and differs from that which the bundle was used with."""
    located = bundle.locator is not None and config.uses_locator
    listed = list_used_settings(bundle.manifest.settings, bundle.animals, located=located)
    for section in ("assembly", "locating"):
        own = getattr(config, section)
        for name, used in listed.get(section, {}).items():
            value = getattr(own, name)
            if name not in own.model_fields_set and value not in (AUTO, used):
                logger.warning(
                    "`%s.%s` is not stated: %s is used, but %s where the bundle was written",
                    *(section, name, value, used),
                )


def _list_method_problems(config: Config, bundle: Bundle) -> list[str]:
    """Return whether the run finds several animals otherwise than the bundle does."""
    method = "top-down" if bundle.card.window is not None else "bottom-up"
    if bundle.animals == 1 or config.individuals.method == method:
        return []
    problem = (
        f"`individuals.method`: {config.individuals.method}, but the bundle works {method}: set "
        f"it to {method}"
    )
    return [problem]
