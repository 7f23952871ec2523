"""Keep bundles that were downloaded: files named by their hashes, shared by all projects."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.untrusted.bundle_address import ENDING, BundleAddress
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
    """Keep bundles under their hashes, and the hash of each address when it was first read.

    Attributes
    ----------
    folder
        The folder; it may not exist.
    """

    def __init__(self) -> None:
        self.folder = find_cache()

    def locate(self, sha256: str) -> Path:
        """Return the path of the bundle with a hash; it may not exist."""
        return self.folder / f"{sha256}{ENDING}"

    def holds(self, sha256: str) -> bool:
        """Tell whether the bundle with a hash is there."""
        with self._explaining("read"):
            return self.locate(sha256).is_file()

    def list_bundles(self) -> list[Path]:
        """Return all bundles in the cache."""
        with self._explaining("read"):
            return sorted(self.folder.glob(f"[!.]*{ENDING}")) if self.folder.is_dir() else []

    def recall(self, address: BundleAddress) -> str:
        """Return the hash of the bundle at an address; empty if unknown.

        Raises
        ------
        ModelError
            If it is an address without its query, and there were several queries.
        """
        known = self._read(address.location, address)
        if len(known) > 1:
            raise ModelError(
                f"{address.shown}: several bundles came from there, with different queries: end "
                "the address with #sha256=… of the one that you mean"
            )
        return known[0] if known and self.holds(known[0]) else ""

    def remember(self, address: BundleAddress, sha256: str) -> None:
        """Record the hash of the bundle at an address, with and without its query.

        Raises
        ------
        ModelError
            If the cache cannot be written.
        """
        known = {sha256}
        if address.shown != address.location:
            # Bundles that were deleted from the cache do not count.
            known |= {one for one in self._read(address.shown, address) if self.holds(one)}
        with self.writing():
            self._write(address.shown, f"{' '.join(sorted(known))}\n{address.shown}\n")
            self._write(address.location, f"{sha256}\n{address.shown}\n")

    def require_writable(self) -> None:
        """Make the folder.

        Raises
        ------
        ModelError
            If files cannot be written there.
        """
        with self.writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.folder))

    def writing(self) -> AbstractContextManager[None]:
        """Turn errors of the folder into a `ModelError` that says what to set."""
        return self._explaining("written")

    @contextmanager
    def _explaining(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ModelError(
                f"{self.folder}: the cache of downloaded bundles cannot be {done} "
                f"({error.strerror or error}): set {_VARIABLE} to a folder that you can write to, "
                "or give `model.bundle` the path of a bundle"
            ) from None

    def _read(self, text: str, address: BundleAddress) -> list[str]:
        """Return the hashes recorded for an address, or for one without its query."""
        try:
            lines = self._name(text).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return []
        # Records of before hold the whole address.
        known = len(lines) == 2 and lines[1] in (address.shown, text)
        return lines[0].split() if known else []

    def _write(self, text: str, record: str) -> None:
        """Write a record, unless it is there: a cache that a site shares may be read-only."""
        path = self._name(text)
        if not (path.is_file() and path.read_bytes() == record.encode()):
            publish_text(path, record)

    def _name(self, text: str) -> Path:
        return self.folder / "addresses" / hashlib.sha256(text.encode()).hexdigest()
