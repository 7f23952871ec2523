"""Refuse every request without the token of this server, also those of other sites' pages."""

import hmac
import html
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN = "token"  # noqa: S105 - its name in the address
_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
_READING = frozenset({"GET", "HEAD"})
# What the page sends at once: an annotation of a frame.
MOST_BYTES = 2**22
# Vue compiles templates in the browser, and NiceGUI's page has scripts within.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; font-src 'self'; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
# The first page replaces itself: its address would keep the token in the history, and a cookie
# that is `Strict` is not sent along a redirect that began on another page.
_WELCOME = (
    '<!doctype html><meta charset="utf-8"><title>cohortpose</title>'
    "<script>location.replace('/')</script>"
    '<noscript><meta http-equiv="refresh" content="0;url=/"></noscript>'
)
_REFUSAL = "open the address that the command has printed: it holds the token of this server"


class Access:
    """Pass on the requests of whoever holds the token, and refuse all others.

    The token comes in the address once; from then on the browser has a cookie that scripts cannot
    read and that is not sent from pages of other sites. Every request must name this machine as its
    host, which a foreign name that leads to loopback does not (DNS rebinding). Requests that change
    something, and websockets, must come from a page of this server: `Origin` says so.

    Parameters
    ----------
    app
        The ASGI application that answers admitted requests.
    token
        The token; without it, a random one of 256 bits.
    """

    def __init__(self, app: Application, token: str | None = None) -> None:
        self.app = app
        self.token = secrets.token_urlsafe(32) if token is None else token
        self._session = secrets.token_urlsafe(32)
        # Cookies of all ports of a host are one jar: two servers must not take each other's.
        self._cookie = f"cohortpose_{secrets.token_hex(4)}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            return
        headers = _Headers(scope["headers"])
        problem = _find_foreign(scope, headers)
        if problem:
            await _refuse(scope, send, 403, problem)
        elif self._brings_token(scope):
            await self._welcome(send)
        elif not self._has_cookie(headers):
            await _refuse(scope, send, 401, _REFUSAL)
        elif problem := _find_forged(scope, headers):
            await _refuse(scope, send, 403, problem)
        elif scope["type"] == "http" and _is_too_long(scope, headers):
            await _refuse(scope, send, 413, f"at most {MOST_BYTES} bytes are taken at once")
        else:
            await self.app(scope, receive, _with_headers(send))

    def _brings_token(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            return False
        given = parse_qs(scope["query_string"].decode("latin-1")).get(TOKEN, [""])[-1]
        return _is_same(given, self.token)

    def _has_cookie(self, headers: "_Headers") -> bool:
        # By hand: cookies of other ports of this host come along, and `http.cookies` drops all of
        # them where one is no cookie to it, such as JSON.
        for line in headers.list("cookie"):
            for part in line.split(";"):
                name, _, value = part.strip().partition("=")
                if name == self._cookie and _is_same(value, self._session):
                    return True
        return False

    async def _welcome(self, send: Send) -> None:
        cookie = f"{self._cookie}={self._session}; Path=/; HttpOnly; SameSite=Strict"
        await _answer(
            send, 200, "text/html; charset=utf-8", _WELCOME, [(b"set-cookie", cookie.encode())]
        )


class _Headers:
    """Give the values of headers, which may come several times."""

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._pairs = [(name.lower(), value.decode("latin-1")) for name, value in pairs]

    def list(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for key, value in self._pairs if key == name.encode()]


def _find_foreign(scope: Scope, headers: _Headers) -> str:
    """Explain why a request is not for this machine; empty if it is."""
    client = scope.get("client")
    if client is not None and client[0] not in ("127.0.0.1", "::1"):
        return "requests of this machine only"
    hosts = headers.list("host")
    if len(hosts) != 1 or _split_host(hosts[0]) not in _HOSTS:
        return "the address must begin with http://127.0.0.1 or http://localhost"
    return ""


def _find_forged(scope: Scope, headers: _Headers) -> str:
    """Explain why a request may come from a page that is not ours; empty if it cannot."""
    origins, sites = headers.list("origin"), headers.list("sec-fetch-site")
    changes = scope["type"] == "websocket" or scope["method"] not in _READING
    own = [f"http://{headers.list('host')[0]}"]
    if (changes or origins) and origins != own:
        return "requests of this page only"
    if any(site not in ("same-origin", "none") for site in sites):
        return "requests of this page only"
    return ""


def _split_host(host: str) -> str:
    """Return the name in a header `Host`; empty if its port is no port."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host.lower()
    return name.lower() if port.isascii() and port.isdecimal() else ""


def _is_too_long(scope: Scope, headers: _Headers) -> bool:
    if scope["method"] in _READING:
        return False
    lengths = headers.list("content-length")
    if not lengths:
        # Of unknown length it could be endless.
        return bool(headers.list("transfer-encoding"))
    known = len(lengths) == 1 and lengths[0].isascii() and lengths[0].isdecimal()
    return not known or int(lengths[0]) > MOST_BYTES


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _with_headers(send: Send) -> Send:
    async def pass_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
        await send(message)

    return pass_on


async def _refuse(scope: Scope, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        # Before it was accepted, this is the answer 403.
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    await _answer(send, status, "text/plain; charset=utf-8", f"{html.escape(reason)}\n", [])


async def _answer(
    send: Send, status: int, kind: str, text: str, more: list[tuple[bytes, bytes]]
) -> None:
    body = text.encode()
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *more,
        *_HEADERS,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
