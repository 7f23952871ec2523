"""Make bundles of a tiny network, and change them as strangers might."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from pipeline_lib.core.layout import Results
from pipeline_lib.models.zoo.manifest import MANIFEST
from pipeline_lib.steps.bundle import BundleTexts, run_bundle
from tests.models.synthetic import tiny_config, write_tiny_model

TEXTS = BundleTexts("CC0-1.0", citation="Doe 2026", description="Discs from above.")


def write_tiny_bundle(folder: Path, name: str = "pose", seed: int = 0) -> Path:
    """Write a bundle of an untrained network; return its path."""
    results = Results(folder / f"results-{name}")
    write_tiny_model(results.model("pose"), seed=seed)
    return run_bundle(tiny_config(), results, TEXTS, folder / f"{name}.cohortpose")


def read_members(path: Path) -> dict[str, bytes]:
    """Return the bytes of each member, the manifest among them."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path: Path, members: dict[str, bytes]) -> Path:
    """Write a ZIP file of members as they are."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def change(
    source: Path,
    target: Path,
    *,
    manifest: Callable[[dict], object] = dict.copy,
    **contents: bytes,
) -> Path:
    """Write a bundle with other members and a manifest that lists them rightly.

    `contents` are given by member, with ``_`` for the dots and hyphens of its name.
    """
    members = read_members(source)
    values = json.loads(members.pop(MANIFEST))
    members |= {name: contents[key] for name in members if (key := key_of(name)) in contents}
    values["members"] = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
    }
    manifest(values)
    return write_members(target, {MANIFEST: json.dumps(values).encode(), **members})


def key_of(name: str) -> str:
    """Return the name of a member as a keyword."""
    return name.replace(".", "_").replace("/", "_").replace("-", "_")


def edit_card(source: Path, target: Path, **values: object) -> Path:
    """Write a bundle whose card has other values."""
    card = json.loads(read_members(source)["model.json"]) | values
    return change(source, target, model_json=json.dumps(card).encode())
