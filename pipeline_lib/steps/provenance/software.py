"""Describe the software that runs: packages, libraries inside them, and the state of git."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pipeline_lib import __version__
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.io.publish import publish_text

_PACKAGE = "cohortpose"
# Where pip and the packagers of Linux put packages.
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")


@cache
def describe_software(cache: Path | None = None) -> dict[str, Any]:
    """Return the versions of all software that numbers may depend on.

    Parameters
    ----------
    cache
        Folder for a cached list of installed packages: finding them takes longer than many jobs.

    Returns
    -------
    dict
        ``cohortpose``, ``git``, ``python``, ``packages`` (all that cohortpose depends on,
        directly or not, by name) and ``ffmpeg`` (the libraries inside PyAV).
    """
    return {
        "cohortpose": __version__,
        "git": describe_git(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **(_list_installed() if cache is None else _find_installed(cache)),
    }


def write_environment(results: Results) -> str:
    """Publish the description of this process's software unless it is there; return its hash."""
    software = describe_software(results.environments)
    name = hash_settings(software)
    path = results.environments / f"{name}.json"
    if not path.exists():
        publish_text(path, json.dumps(software, indent=2) + "\n")
    return name


def list_packages(name: str) -> dict[str, str]:
    """Return the installed version of each package that a package depends on, directly or not.

    Parameters
    ----------
    name
        A distribution; one that is not installed has no dependencies.

    Returns
    -------
    dict of str to str
        By name, sorted; the package itself left out. What is not installed is not there.
    """
    from packaging.utils import canonicalize_name  # noqa: PLC0415 - see `_find_installed`

    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(name, frozenset[str]())]
    while waiting:
        package = waiting.pop()
        if package in seen:
            continue
        seen.add(package)
        try:
            distribution = importlib.metadata.distribution(package[0])
        except importlib.metadata.PackageNotFoundError:
            continue
        found[canonicalize_name(package[0])] = distribution.version
        waiting += _list_requirements(distribution, package[1])
    found.pop(canonicalize_name(name), None)
    return dict(sorted(found.items()))


def list_required() -> list[str]:
    """Return the names of the packages that cohortpose itself requires, sorted."""
    from packaging.utils import canonicalize_name  # noqa: PLC0415

    try:
        distribution = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return []
    return sorted(canonicalize_name(name) for name, _ in _list_requirements(distribution))


def describe_git() -> dict[str, Any] | None:
    """Return ``commit`` and ``dirty`` of the code that runs; None where neither is known.

    ``dirty`` is None where pip installed from a commit, or an image was built from one (which
    says so in ``COHORTPOSE_COMMIT``): what was changed since is not known.
    """
    command = ("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    try:
        found = subprocess.run(  # noqa: S603 - a fixed command
            command,
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        found = ""
    if found:
        return {"commit": found.removesuffix("-dirty"), "dirty": found.endswith("-dirty")}
    return _find_installed_commit()


def _list_installed() -> dict[str, Any]:
    return {"packages": list_packages(_PACKAGE), "ffmpeg": _list_ffmpeg_libraries()}


def _find_installed(cache: Path) -> dict[str, Any]:
    """Return the installed packages that an earlier job of the same environment found.

    Installing, updating and removing a package each change the folder that packages are in.
    """
    folders = [Path(name) for name in sys.path if Path(name).name in _PACKAGE_FOLDERS]
    found = [(str(path), path.stat()) for path in folders if path.is_dir()]
    times = [(name, status.st_ino, status.st_mtime_ns) for name, status in found]
    state = hash_settings(sys.version, str(times))
    path = cache / f".installed-{state}.json"
    try:
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = _list_installed()
        publish_text(path, json.dumps(known))
    return known


def _find_installed_commit() -> dict[str, Any] | None:
    if commit := os.environ.get("COHORTPOSE_COMMIT"):
        return {"commit": commit, "dirty": None}
    try:
        origin = importlib.metadata.distribution(_PACKAGE).read_text("direct_url.json")
        return {"commit": json.loads(origin or "{}")["vcs_info"]["commit_id"], "dirty": None}
    except (importlib.metadata.PackageNotFoundError, ValueError, KeyError):
        return None


def _list_requirements(
    distribution: importlib.metadata.Distribution, extras: frozenset[str] = frozenset()
) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the requirements of a distribution on this machine, with extras."""
    from packaging.requirements import Requirement  # noqa: PLC0415

    for text in distribution.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement.name, frozenset(requirement.extras)


def _list_ffmpeg_libraries() -> dict[str, str]:
    import av  # noqa: PLC0415 - only here does a light verb need it

    return {name: ".".join(map(str, parts)) for name, parts in sorted(av.library_versions.items())}
