"""Provenance of a run: what made these results."""

import hashlib
import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path

from pipeline_lib import __version__
from pipeline_lib.core import versions
from pipeline_lib.core.config import hash_settings, write_resolved_config
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings import Config
from pipeline_lib.io.publish import publish_text

_PACKAGES = (
    "snakemake",
    "numpy",
    "pytorch-lightning",
    "torch",
    "timm",
    "dask",
    "zarr",
    "pandas",
    "opencv-python",
    "av",
    "onnxruntime",
)


def write_provenance(config: Config, results: Results) -> None:
    """Publish the resolved config and ``provenance.json``; files that would not change stay.

    There is no time of day in it: the same inputs give the same file.
    """
    publish_text(results.config, write_resolved_config(config))
    record = {
        "cohortpose": __version__,
        "git": _describe_git(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _find_version(name) for name in _PACKAGES},
        "steps": {name.lower(): value for name, value in vars(versions).items() if name.isupper()},
        "seeds": {"frames": config.frames.seed, "training": config.training.seed},
        "hashes": {
            "settings": hash_settings(config),
            "cohort": hashlib.sha256(Path(config.cohort).read_bytes()).hexdigest(),
        },
    }
    publish_text(results.provenance, json.dumps(record, indent=2) + "\n")


def _find_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _describe_git() -> str | None:
    """Return commit and state of the checkout this package runs from; None outside of one."""
    command = ("git", "describe", "--always", "--dirty", "--abbrev=40")
    try:
        found = subprocess.run(  # noqa: S603 - a fixed command
            command,
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
