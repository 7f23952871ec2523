"""Download files over https: bounded in size and time, and compared with their hash."""

import contextlib
import hashlib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_ import create_urllib3_context

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.untrusted.credentials import hide_credentials, show_address
from pipeline_lib.io.publish import publish_file
from pipeline_lib.models.zoo.archive import MOST_BYTES

_CONNECT_SECONDS, _READ_SECONDS = 10.0, 30.0
_MOST_SECONDS = 3600.0
_MOST_REDIRECTS = 5
_MOST_TEXT = 4096
# Of what a server says, in characters.
_MOST_SHOWN = 200
_CHUNK = 2**20
_REDIRECTS = (301, 302, 303, 307, 308)
_GOOD = 200


class Downloads:
    """Get files over https, all of them together within an hour."""

    def __init__(self) -> None:
        self._deadline = _Deadline(_MOST_SECONDS)

    def save(self, address: str, path: Path, sha256: str) -> None:
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
        OSError
            If the file cannot be written.
        """
        digest = hashlib.sha256()
        with publish_file(path) as part:
            with part.open("wb") as file:
                for chunk in _stream(address, MOST_BYTES, self._deadline):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != sha256:
                raise ModelError(
                    f"{show_address(address)}: expected a file with SHA-256 {sha256}, got "
                    f"{digest.hexdigest()}: it was changed, or the hash is of another one"
                )

    def read_text(self, address: str) -> str:
        """Return a short text from an https address.

        Raises
        ------
        ModelError
            If the server does not give one.
        """
        return b"".join(_stream(address, _MOST_TEXT, self._deadline)).decode("utf-8", "replace")


class _Deadline:
    """Tell how much is left of a time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def limit(self, seconds: float) -> float:
        """Return a time to wait, at most what is left.

        Raises
        ------
        TimeoutError
            If nothing is left.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"not there after {self.seconds:.0f} s")
        return min(seconds, left)

    @property
    def is_over(self) -> bool:
        """Tell whether nothing is left."""
        return time.monotonic() >= self._end


class _BoundAdapter(HTTPAdapter):
    """Let no socket wait beyond a deadline, whatever it reads: head, redirect or body.

    The time limits of the libraries are for one read: a server that gives a byte now and then
    would never meet them.
    """

    def __init__(self, deadline: _Deadline) -> None:
        self._context = create_urllib3_context()
        self._context.sslsocket_class = _bind_sockets(deadline)
        super().__init__()

    def init_poolmanager(self, *sizes: Any, **options: Any) -> None:  # noqa: ANN401
        super().init_poolmanager(*sizes, **options, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:  # noqa: ANN401
        return super().proxy_manager_for(proxy, **options, ssl_context=self._context)


def _bind_sockets(deadline: _Deadline) -> type[ssl.SSLSocket]:
    """Return a class of sockets that read until a deadline."""

    class BoundSocket(ssl.SSLSocket):
        def recv_into(self, *place: Any, **options: Any) -> int:  # noqa: ANN401
            self.settimeout(deadline.limit(_READ_SECONDS))
            return super().recv_into(*place, **options)

    return BoundSocket


def _stream(address: str, most: int, deadline: _Deadline) -> Iterator[bytes]:
    """Yield the bytes of a file, whole, or raise an error."""
    shown = show_address(address)
    try:
        with (
            requests.Session() as session,
            contextlib.closing(_open(session, address, deadline)) as response,
        ):
            length = _read_length(response, shown, most)
            received = 0
            while chunk := response.raw.read(_CHUNK, decode_content=False):
                received += len(chunk)
                if received > most:
                    raise ModelError(f"{shown}: gives more than {most} bytes")
                yield chunk
    # urllib3's errors, which reading may raise, are no errors of requests.
    except (requests.RequestException, HTTPError, OSError, ValueError) as error:
        if deadline.is_over:
            raise ModelError(
                f"{shown}: not there after {deadline.seconds:.0f} s; download it elsewhere and "
                "give its path"
            ) from None
        raise ModelError(
            f"{shown}: cannot be downloaded ({type(error).__name__}: "
            f"{hide_credentials(str(error))}); check the address and the network, or download it "
            "elsewhere and give its path"
        ) from None
    if length is not None and received != length:
        raise ModelError(f"{shown}: only {received} of {length} bytes arrived; try again")


def _open(session: requests.Session, address: str, deadline: _Deadline) -> requests.Response:
    """Return the answer to a request; redirects lead to https only."""
    url, shown = address, show_address(address)
    session.mount("https://", _BoundAdapter(deadline))
    for _ in range(_MOST_REDIRECTS + 1):
        if urlsplit(url).scheme != "https":
            there = show_address(url)[:_MOST_SHOWN]
            raise ModelError(f"{shown}: leads to {there}, expected https alone")
        response = session.get(
            url,
            stream=True,
            allow_redirects=False,
            timeout=(deadline.limit(_CONNECT_SECONDS), deadline.limit(_READ_SECONDS)),
            # A compressed answer could expand to any size.
            headers={"Accept-Encoding": "identity"},
        )
        if response.status_code not in _REDIRECTS:
            return response
        target = response.headers.get("Location", "")
        response.close()
        url = urljoin(url, target)
    raise ModelError(f"{shown}: more than {_MOST_REDIRECTS} redirects")


def _read_length(response: requests.Response, shown: str, most: int) -> int | None:
    """Check an answer's head; return its length in bytes, None if the server does not say."""
    if response.status_code != _GOOD:
        raise ModelError(
            f"{shown}: the server answers {response.status_code} {response.reason[:_MOST_SHOWN]}, "
            "expected the file"
        )
    coding = response.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        raise ModelError(f"{shown}: is encoded as {coding[:_MOST_SHOWN]!r}, expected plain bytes")
    text = response.headers.get("Content-Length")
    if text is None:
        return None
    if not text.isdecimal():
        raise ModelError(f"{shown}: the server gives a length of {text[:_MOST_SHOWN]!r}")
    if int(text) > most:
        raise ModelError(f"{shown}: {text} bytes, expected at most {most}")
    return int(text)
