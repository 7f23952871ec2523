"""Compare the settings of a run with the bundle that it runs."""

import logging

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.run import Config
from pipeline_lib.models.zoo.archive import Bundle
from pipeline_lib.models.zoo.sources import find_bundle

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
    return list_bundle_problems(config, bundle)


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
