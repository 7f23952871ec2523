"""Find the file of a bundle: on this machine, in the cache, or elsewhere."""

import re
from pathlib import Path

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.untrusted.bundle_address import BundleAddress, parse_address
from pipeline_lib.core.untrusted.credentials import hide_credentials, show_address
from pipeline_lib.models.zoo.archive import MOST_BYTES, Bundle, read_bundle
from pipeline_lib.models.zoo.cache import BundleCache

_SHA256 = re.compile(r"[0-9a-f]{64}")


def find_bundle(text: str) -> Bundle:
    """Find and verify a bundle; a remote one is taken from the cache if it is there.

    Parameters
    ----------
    text
        Its address, as `pipeline_lib.core.untrusted.bundle_address.parse_address` takes it.

    Raises
    ------
    ModelError
        If it cannot be found or got, has another hash, or is no bundle.
    ValueError
        If the text is no address.
    """
    address = parse_address(text)
    match address.kind:
        case "path":
            return read_bundle(Path(address.location), address.sha256)
        case "https":
            return _find_https(address)
        case "hf":
            return read_bundle(_find_hugging_face(address), address.sha256)


def list_unclear_addresses(setting: str, text: str) -> list[str]:
    """Return why jobs would not find the bundle of an address, of which they read no query.

    Parameters
    ----------
    setting
        Name of the setting, for the message.
    text
        Its address; the bundle has been found.
    """
    address = parse_address(text)
    if address.kind != "https" or address.sha256:
        return []
    try:
        BundleCache().recall(parse_address(address.shown))
    except ModelError as error:
        return [f"`{setting}`: {error}"]
    return []


def _find_https(address: BundleAddress) -> Bundle:
    """Return the bundle of an https address; its hash is given, or is in a file beside it."""
    cache = BundleCache()
    known = address.sha256 or cache.recall(address)
    there = bool(known) and cache.holds(known)
    digest = known if there else _download(address, known, cache)
    bundle = read_bundle(cache.locate(digest), digest)
    # The jobs of a run read settings that were stored, without the query: they are told, too.
    recalled = not address.sha256 and address.shown != address.location
    if not there or recalled:
        cache.remember(address, digest)
    return bundle


def _download(address: BundleAddress, digest: str, cache: BundleCache) -> str:
    """Put a bundle into the cache; return its hash."""
    if address.lacks_query:
        raise ModelError(
            f"{address.shown}: its query was left out where the address was stored, and the cache "
            f"({cache.folder}) does not have the bundle: give the whole address"
        )
    # Imported only if something has to be downloaded.
    from pipeline_lib.models.zoo.download import Downloads  # noqa: PLC0415

    downloads = Downloads()
    # Told before a download, not after it.
    cache.require_writable()
    if not digest:
        digest = _parse_sidecar(downloads.read_text(address.sidecar), address.sidecar)
    with cache.writing():
        downloads.save(address.location, cache.locate(digest), digest)
    return digest


def _parse_sidecar(text: str, url: str) -> str:
    """Return the hash in a file as `sha256sum` writes it."""
    digest = text.split(maxsplit=1)[0].lower() if text.strip() else ""
    if not _SHA256.fullmatch(digest):
        raise ModelError(
            f"{show_address(url)}: expected 64 hexadecimal digits; append #sha256=… to the address "
            "of the bundle if you know its hash"
        )
    return digest


def _find_hugging_face(address: BundleAddress) -> Path:
    """Return the file of a repository of Hugging Face, from its library's cache if possible."""
    import huggingface_hub as hub  # noqa: PLC0415 - only where it is wanted

    where = f"{address.shown} (revision {address.revision})"
    repository, file, revision = address.repository, address.file, address.revision
    cached = hub.try_to_load_from_cache(repository, file, revision=revision)
    if isinstance(cached, str):
        return Path(cached).resolve()
    try:
        size = hub.get_hf_file_metadata(hub.hf_hub_url(repository, file, revision=revision)).size
        got = (
            hub.hf_hub_download(repository, file, revision=revision)
            if size and size <= MOST_BYTES
            else None
        )
    except Exception as error:  # noqa: BLE001 - errors of the library, of HTTP and of sockets
        first = (str(error).strip().splitlines() or [""])[0]
        mend = ""
        if isinstance(error, OSError) and error.filename:
            mend = f": set HF_HOME to a folder that you can write to ({hub.constants.HF_HOME})"
        raise ModelError(
            f"{where}: Hugging Face did not give it ({type(error).__name__}: "
            f"{hide_credentials(first)}), and the cache does not have it{mend}"
        ) from None
    if got is None:
        raise ModelError(f"{where}: {size} bytes, and a bundle has at most {MOST_BYTES}")
    return Path(got).resolve()


def list_cached() -> list[Path]:
    """Return the bundles in the cache of https addresses, in the order of their hashes."""
    return BundleCache().list_bundles()
