"""Serve files over https or http on loopback, with a certificate of the test's own."""

import contextlib
import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# Status, headers and bytes of an answer.
Answer = tuple[int, dict[str, str], bytes]


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate of 127.0.0.1 and its key, good for an hour."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


class Server:
    """Answer requests by path.

    Attributes
    ----------
    address
        Beginning of addresses.
    answers
        Answer by path: bytes, an answer, or a function of the handler that answers itself.
    asked
        Methods and paths of all requests so far.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: dict[str, bytes | Answer | Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: list[str] = []


@contextlib.contextmanager
def serve(certificate: tuple[Path, Path] | None) -> Iterator[Server]:
    """Serve on a free port of loopback; without a certificate over http."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.asked.append(f"{self.command} {self.path}")
            answer = server.answers.get(self.path, (404, {}, b"nothing"))
            if callable(answer):
                answer(self)
                return
            status, headers, content = (200, {}, answer) if isinstance(answer, bytes) else answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            # Without this header a client sends its next request into a connection that is closed.
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)
            self.close_connection = True

        do_HEAD = do_GET  # noqa: N815 - its name in the base class

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        http.socket = context.wrap_socket(http.socket, server_side=True)
    scheme = "http" if certificate is None else "https"
    server = Server(f"{scheme}://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
