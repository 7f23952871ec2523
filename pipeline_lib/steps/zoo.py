"""List, show and verify bundles: `cohortpose zoo`."""

from collections.abc import Iterator
from pathlib import Path

from pipeline_lib.core.errors import CohortposeError, ConfigError, ModelError
from pipeline_lib.core.untrusted.bundle_address import ENDING
from pipeline_lib.core.untrusted.credentials import show_address
from pipeline_lib.io.stage_tables import format_table
from pipeline_lib.models.zoo.archive import Bundle, read_bundle
from pipeline_lib.models.zoo.sources import find_bundle, list_cached

COLUMNS = ("bundle", "name", "bodyparts", "animals", "frames", "licence", "problem")


def list_bundles(folder: Path) -> str:
    """Return a table of the bundles in a folder and of those in the cache.

    Parameters
    ----------
    folder
        The folder; folders in it are not searched.

    Raises
    ------
    ModelError
        If there is no such folder.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder")
    paths = [*sorted(folder.glob(f"[!.]*{ENDING}")), *list_cached(), *_list_hugging_face()]
    return format_table(COLUMNS, map(_describe, dict.fromkeys(paths)))


def show_bundle(address: str) -> str:
    """Return the card of a bundle, in Markdown, and its hash.

    Raises
    ------
    CohortposeError
        If the bundle cannot be found or used.
    """
    bundle = require_bundle(address)
    return f"{bundle.readme}\nSHA-256 {bundle.sha256}\n"


def verify_bundle(address: str) -> str:
    """Verify hashes, networks and weights of a bundle; return a line that says so.

    Raises
    ------
    CohortposeError
        If the bundle cannot be found, is damaged, or its networks are not those of its weights
        and cards.
    """
    # PyTorch takes seconds to import.
    from pipeline_lib.models.zoo.agreement import check_agreement  # noqa: PLC0415

    bundle = require_bundle(address)
    check_agreement(bundle)
    licence = bundle.manifest.licence or "no licence"
    count = len(bundle.manifest.members)
    return f"{show_address(address)}: {count} files as listed, {licence}, SHA-256 {bundle.sha256}"


def require_bundle(address: str) -> Bundle:
    """Return a bundle by its address.

    Raises
    ------
    ConfigError
        If it is no address.
    ModelError
        If the bundle cannot be found or used.
    """
    try:
        return find_bundle(address)
    except ValueError as error:
        raise ConfigError("bundle", [str(error)]) from None


def _describe(path: Path) -> dict[str, object]:
    try:
        found = read_bundle(path)
    except CohortposeError as error:
        return {"bundle": path, "problem": str(error)}
    card = found.card
    return {
        "bundle": path,
        "name": found.manifest.name,
        "bodyparts": len(card.skeleton.bodyparts),
        "animals": found.animals,
        "frames": sum(card.training.frames.values()),
        "licence": found.manifest.licence.splitlines()[0] if found.manifest.licence else "",
    }


def _list_hugging_face() -> Iterator[Path]:
    """Yield the bundles in the cache of Hugging Face's library."""
    import huggingface_hub as hub  # noqa: PLC0415 - only where it is wanted

    try:
        found = hub.scan_cache_dir()
    except (hub.CacheNotFound, OSError):
        return
    for repository in found.repos:
        for revision in repository.revisions:
            for file in revision.files:
                if file.file_name.endswith(ENDING):
                    yield Path(file.file_path)
