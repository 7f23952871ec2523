"""Measure which runtime is the fastest on this processor, once, and remember it.

The runtime is a property of the machine, not of the results: no key contains it. What was measured
is kept in the user's cache, by network, precision, processor and versions of the runtimes.
"""

import hashlib
import importlib.metadata
import json
import logging
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.processor import describe_processor
from pipeline_lib.io.publish import publish_text
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference.predictor import (
    PRECISIONS,
    RuntimeOptions,
    count_gpus,
    load_predictor,
)
from pipeline_lib.models.inference.tuning.rates import make_noise, measure_rates
from pipeline_lib.models.precision import Precision, RuntimeName
from pipeline_lib.models.zoo.cache import find_cache

logger = logging.getLogger(__name__)

_RUNTIMES: tuple[RuntimeName, ...] = ("openvino", "onnx")
# The first one is kept unless another one is faster by this factor, so that noise changes nothing.
_LEAST_GAIN = 1.1


def list_versions() -> dict[str, str]:
    """Return the versions of the installed runtimes."""
    versions = {}
    for name in ("onnxruntime", "openvino", "torch"):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def recall_runtime(files: ModelFiles, precision: Precision) -> RuntimeName | None:
    """Return the fastest runtime of a network on this processor; None if it was not measured.

    Raises
    ------
    ModelError
        If the network is missing.
    """
    try:
        known = _name_record(files, precision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return next((name for name in _RUNTIMES if name == known and _is_installed(name)), None)


def find_fastest_runtime(files: ModelFiles, precision: Precision) -> RuntimeName:
    """Measure a network with each runtime of CPUs, remember the fastest one and return it.

    Parameters
    ----------
    files
        Files of the network.
    precision
        Arithmetic of the network.

    Raises
    ------
    ModelError
        If the network is missing or cannot be loaded.
    """
    known = recall_runtime(files, precision)
    if known is not None:
        return known
    names = [
        name
        for name in _RUNTIMES
        if _is_installed(name) and (precision != "bfloat16" or name == "openvino")
    ]
    loaded = {
        name: load_predictor(files, RuntimeOptions(name, precision, threads=1)) for name in names
    }
    rates = measure_rates(loaded, make_noise())
    fastest = choose_fastest(rates)
    listed = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    logger.info("runtime %s: frames/s of a core: %s", fastest, listed)
    # Without a cache it is measured again.
    with suppress(OSError, CohortposeError):
        publish_text(_name_record(files, precision), f"{fastest}\n")
    return fastest


def find_obstacle(runtime: RuntimeName, precision: Precision) -> str:
    """Return why this machine cannot compute in a precision, or gains nothing; else nothing.

    Parameters
    ----------
    runtime, precision
        One of `pipeline_lib.models.inference.predictor.PRECISIONS`.
    """
    if runtime == "torch" and precision != "float32" and not count_gpus():
        return "PyTorch computes in lower precision on GPUs only, and there is none"
    if runtime == "openvino" and precision == "bfloat16":
        from pipeline_lib.models.inference.openvino_runtime import (  # noqa: PLC0415
            has_bfloat16,
        )

        if not has_bfloat16():
            return "this processor has no bfloat16 arithmetic"
    return ""


def choose_fastest(rates: dict[RuntimeName, float]) -> RuntimeName:
    """Return the first runtime, or another one that is clearly faster.

    Parameters
    ----------
    rates
        Frames per second by name, the usual runtime first.
    """
    usual, *others = rates
    best = max(others, key=lambda name: rates[name], default=usual)
    return best if rates[best] >= _LEAST_GAIN * rates[usual] else usual


def can_compute(precision: Precision, runtime: str) -> bool:
    """Tell whether a runtime of this machine, or with ``auto`` some, computes in a precision."""
    return any(
        runtime in ("auto", name)
        and precision in known
        and (name == "torch" or _is_installed(name))
        and not find_obstacle(name, precision)
        for name, known in PRECISIONS.items()
    )


def _is_installed(name: RuntimeName) -> bool:
    return name == "onnx" or find_spec(name) is not None


def _name_record(files: ModelFiles, precision: Precision) -> Path:
    told = {
        "network": read_card(files.card).network_sha256,
        "precision": precision,
        "processor": describe_processor(),
        "versions": list_versions(),
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return find_cache() / "runtimes" / digest
