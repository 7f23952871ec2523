"""Parse the address of a bundle, a network in one file: a path, https, or a Hugging Face file."""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

ENDING = ".cohortpose"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FRAGMENT = "#sha256="
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]*")
_NEWEST = "main"


@dataclass(frozen=True)
class BundleAddress:
    """Say where a bundle lies.

    Attributes
    ----------
    kind
        ``path``, ``https`` or ``hf`` (a file in a repository of Hugging Face).
    place
        The path, or the address without its fragment.
    sha256
        Hash that the file must have; empty if none was given.
    repository, file, revision
        Parts of an address of Hugging Face; else empty.
    """

    kind: Literal["path", "https", "hf"]
    place: str
    sha256: str = ""
    repository: str = ""
    file: str = ""
    revision: str = ""


def names_bundle(text: str) -> bool:
    """Tell whether a text is the address of a bundle, and not the name of a network."""
    return "://" in text or text.partition("#")[0].endswith(ENDING)


def parse_address(text: str) -> BundleAddress:
    """Parse the address of a bundle.

    Parameters
    ----------
    text
        A path, ``https://…`` or ``hf://owner/name/file@revision``, each with or without
        ``#sha256=`` and 64 hexadecimal digits at its end.

    Raises
    ------
    ValueError
        If it is another address, or no address.
    """
    place, mark, digest = text.partition(_FRAGMENT)
    if mark and not _SHA256.fullmatch(digest):
        raise ValueError(f"expected 64 hexadecimal digits after {_FRAGMENT}, found {digest!r}")
    if not place.strip() or not place.isprintable():
        raise ValueError(f"expected a path or an address, found {place!r}")
    scheme, found, rest = place.partition("://")
    if not found:
        return BundleAddress("path", place, digest)
    match scheme.lower():
        case "https":
            return BundleAddress("https", _check_https(place), digest)
        case "hf":
            return _parse_hugging_face(place, rest, digest)
    raise ValueError(f"expected a path, https:// or hf://, found {scheme}://")


def _check_https(place: str) -> str:
    parts = urlsplit(place)
    if not parts.hostname:
        raise ValueError(f"{place}: names no host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address must hold no user or password: settings are published")
    if parts.fragment:
        raise ValueError(f"{place}: expected nothing but {_FRAGMENT}… after #")
    return place


def _parse_hugging_face(place: str, rest: str, digest: str) -> BundleAddress:
    path, mark, revision = rest.partition("@")
    owner, *more = path.split("/")
    revision = revision if mark else _NEWEST
    parts = [owner, *more]
    good = len(parts) >= 3 and all(_PART.fullmatch(part) for part in parts)
    if not good or not _REVISION.fullmatch(revision) or ".." in revision:
        raise ValueError(f"expected hf://owner/name/file@revision, found {place}")
    return BundleAddress("hf", place, digest, f"{owner}/{more[0]}", "/".join(more[1:]), revision)
