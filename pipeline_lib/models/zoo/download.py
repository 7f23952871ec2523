"""Download files over https: bounded in size and time, and compared with their hash."""

import contextlib
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests

from pipeline_lib.core.errors import ModelError
from pipeline_lib.io.publish import publish_file
from pipeline_lib.models.zoo.archive import MOST_BYTES

_CONNECT_SECONDS, _READ_SECONDS = 10.0, 30.0
_MOST_SECONDS = 3600.0
_MOST_REDIRECTS = 5
_MOST_TEXT = 4096
_CHUNK = 2**20
_REDIRECTS = (301, 302, 303, 307, 308)
_GOOD = 200


def download(address: str, path: Path, sha256: str) -> None:
    """Download a file and publish it if it has the expected hash.

    Parameters
    ----------
    address
        Its address, ``https://…``.
    path
        File to publish.
    sha256
        Hash that it must have.

    Raises
    ------
    ModelError
        If the server does not answer, or with anything else than that file, whole; nothing is
        published then.
    """
    digest = hashlib.sha256()
    with publish_file(path) as part:
        with part.open("wb") as file:
            for chunk in _stream(address, MOST_BYTES):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != sha256:
            raise ModelError(
                f"{address}: expected a file with SHA-256 {sha256}, got {digest.hexdigest()}: it "
                "was changed, or the hash is of another one"
            )


def read_text(address: str) -> str:
    """Return a short text from an https address.

    Raises
    ------
    ModelError
        If the server does not give one.
    """
    return b"".join(_stream(address, _MOST_TEXT)).decode("utf-8", "replace")


def _stream(address: str, most: int) -> Iterator[bytes]:
    """Yield the bytes of a file, whole, or raise an error."""
    end = time.monotonic() + _MOST_SECONDS
    try:
        with (
            requests.Session() as session,
            contextlib.closing(_open(session, address)) as response,
        ):
            length = _read_length(response, address, most)
            received = 0
            while chunk := response.raw.read(_CHUNK, decode_content=False):
                received += len(chunk)
                if received > most:
                    raise ModelError(f"{address}: gives more than {most} bytes")
                if time.monotonic() > end:
                    raise ModelError(f"{address}: not there after {_MOST_SECONDS:.0f} s")
                yield chunk
    # urllib3's errors, which reading may raise, are no errors of requests.
    except (requests.RequestException, _find_errors(), OSError, ValueError) as error:
        raise ModelError(
            f"{address}: cannot be downloaded ({type(error).__name__}: {error}); check the "
            "address and the network, or download it elsewhere and give its path"
        ) from None
    if length is not None and received != length:
        raise ModelError(f"{address}: only {received} of {length} bytes arrived; try again")


def _find_errors() -> type[Exception]:
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - comes with requests

    return HTTPError


def _open(session: requests.Session, address: str) -> requests.Response:
    """Return the answer to a request; redirects lead to https only."""
    url = address
    for _ in range(_MOST_REDIRECTS + 1):
        if urlsplit(url).scheme != "https":
            raise ModelError(f"{address}: leads to {url}, expected https alone")
        response = session.get(
            url,
            stream=True,
            allow_redirects=False,
            timeout=(_CONNECT_SECONDS, _READ_SECONDS),
            # A compressed answer could expand to any size.
            headers={"Accept-Encoding": "identity"},
        )
        if response.status_code not in _REDIRECTS:
            return response
        target = response.headers.get("Location", "")
        response.close()
        url = urljoin(url, target)
    raise ModelError(f"{address}: more than {_MOST_REDIRECTS} redirects")


def _read_length(response: requests.Response, address: str, most: int) -> int | None:
    """Check an answer's head; return its length in bytes, None if the server does not say."""
    if response.status_code != _GOOD:
        raise ModelError(
            f"{address}: the server answers {response.status_code} {response.reason}, expected "
            "the file"
        )
    coding = response.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        raise ModelError(f"{address}: is encoded as {coding[:50]!r}, expected plain bytes")
    text = response.headers.get("Content-Length")
    if text is None:
        return None
    if not text.isdecimal():
        raise ModelError(f"{address}: the server gives a length of {text[:50]!r}")
    if int(text) > most:
        raise ModelError(f"{address}: {text} bytes, expected at most {most}")
    return int(text)
