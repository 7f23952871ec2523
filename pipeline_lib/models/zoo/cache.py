"""Keep bundles that were downloaded: files named by their hashes, shared by all projects."""

import hashlib
import os
from pathlib import Path

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.untrusted.bundle_address import ENDING
from pipeline_lib.io.publish import publish_text

_VARIABLE = "COHORTPOSE_CACHE"


def find_cache() -> Path:
    """Return the folder of cached bundles: COHORTPOSE_CACHE, or below the user's cache folder.

    Raises
    ------
    ModelError
        If the user has no home folder and neither variable is set.
    """
    if own := os.environ.get(_VARIABLE):
        return Path(own)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "cohortpose" / "bundles"
    try:
        return Path.home() / ".cache" / "cohortpose" / "bundles"
    except RuntimeError:
        raise ModelError(f"no home folder for downloaded bundles: set {_VARIABLE}") from None


class BundleCache:
    """Keep bundles under their hashes, and the hash of each address when it was first read."""

    def __init__(self) -> None:
        self._folder = find_cache()

    def locate(self, sha256: str) -> Path:
        """Return the path of the bundle with a hash; it may not exist."""
        return self._folder / f"{sha256}{ENDING}"

    def list_bundles(self) -> list[Path]:
        """Return all bundles in the cache."""
        return sorted(self._folder.glob(f"[!.]*{ENDING}")) if self._folder.is_dir() else []

    def recall(self, address: str) -> str:
        """Return the hash of the bundle at an address; empty if unknown."""
        try:
            lines = self._name(address).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return ""
        known = len(lines) == 2 and lines[1] == address
        return lines[0] if known and self.locate(lines[0]).is_file() else ""

    def remember(self, address: str, sha256: str) -> None:
        """Record the hash of the bundle at an address."""
        publish_text(self._name(address), f"{sha256}\n{address}\n")

    def _name(self, address: str) -> Path:
        return self._folder / "addresses" / hashlib.sha256(address.encode()).hexdigest()
