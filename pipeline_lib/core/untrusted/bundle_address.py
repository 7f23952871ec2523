"""Parse the address of a bundle, a network in one file: a path, https, or a Hugging Face file."""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from pipeline_lib.core.untrusted.credentials import HIDDEN, hide_credentials, show_address

ENDING = ".cohortpose"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FRAGMENT = "#sha256="
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]*")
_NEWEST = "main"


@dataclass(frozen=True)
class BundleAddress:
    """Describe the location of a bundle.

    Attributes
    ----------
    kind
        ``path``, ``https`` or ``hf`` (a file in a repository of Hugging Face).
    location
        The path, or the address without its fragment.
    sha256
        Hash that the file must have; empty if none was given.
    repository, file, revision
        Parts of an address of Hugging Face; else empty.
    """

    kind: Literal["path", "https", "hf"]
    location: str
    sha256: str = ""
    repository: str = ""
    file: str = ""
    revision: str = ""

    @property
    def shown(self) -> str:
        """Return the location without its query, as it is stored, logged and printed."""
        return show_address(self.location)

    @property
    def lacks_query(self) -> bool:
        """Tell whether the location was stored, and its query left out."""
        return self.kind == "https" and self.location.endswith(HIDDEN)

    @property
    def name(self) -> str:
        """Return the last part of the path."""
        return self.shown.removesuffix(HIDDEN).rpartition("/")[2]

    @property
    def sidecar(self) -> str:
        """Return the https address of the file with the hash, beside the bundle."""
        parts = urlsplit(self.location)
        return parts._replace(path=f"{parts.path}.sha256").geturl()


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
    location, mark, digest = text.partition(_FRAGMENT)
    if mark and not _SHA256.fullmatch(digest):
        found_there = hide_credentials(digest)
        raise ValueError(f"expected 64 hexadecimal digits after {_FRAGMENT}, found {found_there!r}")
    if not location.strip() or not location.isprintable():
        raise ValueError(f"expected a path or an address, found {show_address(location)!r}")
    scheme, found, rest = location.partition("://")
    if not found:
        return BundleAddress("path", location, digest)
    match scheme.lower():
        case "https":
            return BundleAddress("https", _check_https(location), digest)
        case "hf":
            return _parse_hugging_face(location, rest, digest)
    raise ValueError(f"expected a path, https:// or hf://, found {scheme}://")


def _check_https(location: str) -> str:
    try:
        parts = urlsplit(location)
    except ValueError:
        # Its message quotes users and passwords.
        raise ValueError(f"{show_address(location)}: is no address") from None
    if not parts.hostname:
        raise ValueError(f"{show_address(location)}: names no host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address must hold no user or password: settings are published")
    if parts.fragment:
        raise ValueError(f"{show_address(location)}: expected nothing but {_FRAGMENT}… after #")
    return location


def _parse_hugging_face(location: str, rest: str, digest: str) -> BundleAddress:
    path, mark, revision = rest.partition("@")
    owner, *more = path.split("/")
    revision = revision if mark else _NEWEST
    parts = [owner, *more]
    good = len(parts) >= 3 and all(_PART.fullmatch(part) for part in parts)
    if not good or not _REVISION.fullmatch(revision) or ".." in revision:
        raise ValueError(f"expected hf://owner/name/file@revision, found {show_address(location)}")
    return BundleAddress("hf", location, digest, f"{owner}/{more[0]}", "/".join(more[1:]), revision)
