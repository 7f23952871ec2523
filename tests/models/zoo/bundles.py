"""Make bundles of a tiny network, and change them as strangers might."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from pipeline_lib.core.layout import Results
from pipeline_lib.models.card import SleapLayout
from pipeline_lib.models.zoo.manifest import MANIFEST
from pipeline_lib.steps.bundle import BundleTexts, run_bundle
from pipeline_lib.steps.choose_precision.run import run_choose_precision
from pipeline_lib.steps.make_targets.run import run_make_targets
from tests.models.synthetic import tiny_config, write_tiny_labels, write_tiny_model

TEXTS = BundleTexts("CC0-1.0", citation="Doe 2026", description="Discs from above.")

# A U-Net of SLEAP-NN, as small as it can be.
UNET_LAYOUT = SleapLayout(
    channels=1,
    filters=8,
    filters_rate=1.5,
    kernel_size=3,
    convs_per_block=2,
    max_stride=16,
    output_stride=2,
    up_interpolate=True,
    whole_greys=False,
)


def write_tiny_bundle(folder: Path, name: str = "pose", seed: int = 0) -> Path:
    """Write a bundle of an untrained network; return its path."""
    results = Results(folder / f"results-{name}")
    write_tiny_model(results.model("pose"), seed=seed)
    return run_bundle(tiny_config(), results, TEXTS, folder / f"{name}.cohortpose")


def write_int8_bundle(folder: Path) -> Path:
    """Write a bundle of an untrained network with the same in 8-bit integers; return its path."""
    results, config = Results(folder / "results-int8"), tiny_config()
    write_tiny_labels(results, train=6, test=2)
    run_make_targets(config, results)
    write_tiny_model(results.model("pose"))
    inference = config.inference.model_copy(update={"precision": "int8", "runtime": "onnx"})
    config = config.model_copy(update={"inference": inference})
    run_choose_precision(config, results)
    return run_bundle(config, results, TEXTS, folder / "int8.cohortpose")


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
