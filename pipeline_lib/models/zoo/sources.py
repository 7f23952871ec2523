"""Find the file of a bundle: on this machine, in the cache, or elsewhere."""

import re
from pathlib import Path

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.untrusted.bundle_address import BundleAddress, parse_address
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


def _find_https(address: BundleAddress) -> Bundle:
    """Return the bundle of an https address; its hash is given, or is in a file beside it."""
    cache = BundleCache()
    digest = address.sha256 or cache.recall(address.location)
    if digest:
        path = cache.locate(digest)
        if path.is_file():
            return read_bundle(path, digest)
    # Imported only if something has to be downloaded.
    from pipeline_lib.models.zoo.download import download, read_text  # noqa: PLC0415

    if not digest:
        digest = _parse_sidecar(read_text(f"{address.location}.sha256"), address.location)
    path = cache.locate(digest)
    download(address.location, path, digest)
    bundle = read_bundle(path, digest)
    cache.remember(address.location, digest)
    return bundle


def _parse_sidecar(text: str, url: str) -> str:
    """Return the hash in a file as `sha256sum` writes it."""
    digest = text.split(maxsplit=1)[0].lower() if text.strip() else ""
    if not _SHA256.fullmatch(digest):
        raise ModelError(
            f"{url}.sha256: expected 64 hexadecimal digits; append #sha256=… to the address of "
            "the bundle if you know its hash"
        )
    return digest


def _find_hugging_face(address: BundleAddress) -> Path:
    """Return the file of a repository of Hugging Face, from its library's cache if possible."""
    import huggingface_hub as hub  # noqa: PLC0415 - only where it is wanted

    where = f"{address.location} (revision {address.revision})"
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
    except Exception as error:  # errors of the library, of HTTP and of sockets
        first = (str(error).strip().splitlines() or [""])[0]
        raise ModelError(
            f"{where}: Hugging Face did not give it ({type(error).__name__}: {first}), and the "
            "cache does not have it"
        ) from error
    if got is None:
        raise ModelError(f"{where}: {size} bytes, and a bundle has at most {MOST_BYTES}")
    return Path(got).resolve()


def list_cached() -> list[Path]:
    """Return the bundles in the cache of https addresses, in the order of their hashes."""
    return BundleCache().list_bundles()
