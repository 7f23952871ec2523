"""Create, share and read the credentials that protect the links of a Dask cluster.

Anybody who reaches an open Dask port can run code as its owner. Every link of a cluster that this
run starts therefore uses TLS 1.3, and both ends present a certificate that is made for this run.
Its key stays in memory (Python's TLS reads it through a temporary folder of the owner, for a
moment); workers in jobs read it from a folder that only the owner can open.
"""

import datetime as dt
import fcntl
import logging
import os
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from distributed import Security

from pipeline_lib.core.errors import ConfigError, StoreError
from pipeline_lib.core.settings.videos import ClusterSecuritySettings

logger = logging.getLogger(__name__)

# Names of the files that workers in jobs read, by the field of `Security`.
_FILES = {
    "tls_ca_file": "ca.pem",
    "tls_worker_cert": "certificate.pem",
    "tls_worker_key": "key.pem",
}
# Folders of credentials begin so; a process that uses one holds the locks of the files in it.
_PREFIX = ".dask-"
_ROLES = ("client", "scheduler", "worker")
# The clocks of nodes differ: a certificate dated now may lie in the future on another node.
_CLOCKS_DIFFER = dt.timedelta(days=1)
_LONGEST_RUN = dt.timedelta(days=365)


def create_security() -> Security:
    """Create a certificate and its key in memory, for every end of one cluster.

    `Security.temporary` does not serve: a node whose clock is behind would refuse its certificate.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign(key).public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    return _describe_security(certificate, certificate, private)


def _sign(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Return a self-signed certificate that can sign no other."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cohortpose run")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + _LONGEST_RUN)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _describe_security(authority: str, certificate: str, key: str) -> Security:
    """Return the same credentials for every role, each as a PEM text or as a path."""
    pairs = {f"tls_{role}_cert": certificate for role in _ROLES}
    pairs |= {f"tls_{role}_key": key for role in _ROLES}
    # Given in full, so that a person's own Dask settings do not weaken any of it.
    return Security(
        require_encryption=True,
        tls_ca_file=authority,
        tls_min_version=ssl.TLSVersion.TLSv1_3,
        tls_max_version=None,
        tls_ciphers=None,
        **pairs,
    )


@contextmanager
def share_security(security: Security, parent: Path) -> Iterator[Security]:
    """Yield the credentials as files that other nodes of the same owner read.

    Parameters
    ----------
    security
        Credentials from `create_security`.
    parent
        Folder that all nodes see. The files lie in a new folder inside, removed at the end.

    Raises
    ------
    StoreError
        If the file system lets others read the files, or makes another user their owner.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(parent.resolve())
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent.resolve()))
    try:
        with ExitStack() as files:
            _refuse_readers(folder)
            for field, name in _FILES.items():
                files.enter_context(_hold_file(folder / name, getattr(security, field)))
            yield _describe_security(*(str(folder / name) for name in _FILES.values()))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            logger.warning("%s: cannot be removed; delete it (its key is no longer in use)", folder)


@contextmanager
def _hold_file(path: Path, text: str) -> Iterator[None]:
    """Write a file that only its owner may read, and lock it for as long as this process needs it.

    It gets its name once it is locked, so that no process removes it as abandoned before.
    """
    part = path.with_suffix(".part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        _refuse_readers(part)
        file.write(text)
        file.flush()
        # Without locks, no process removes the files of others.
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        part.rename(path)
        yield


def _remove_abandoned(parent: Path) -> None:
    """Remove folders of credentials that processes of this user have left, killed without warning.

    The kernel releases the lock of a process that has died, also on another node.
    """
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            with (folder / _FILES["tls_worker_key"]).open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


def _refuse_readers(path: Path) -> None:
    facts = path.stat()
    if facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise StoreError(
            f"{path}: expected a file that only user {os.geteuid()} may read, found owner "
            f"{facts.st_uid} and mode {facts.st_mode & 0o777:o}: this file system keeps no "
            "secret; put the results on another one, or set `inference.cluster: local`"
        )


def read_security(settings: ClusterSecuritySettings) -> Security:
    """Return the client's credentials for a scheduler that somebody else started.

    Raises
    ------
    ConfigError
        If a file is missing or unreadable, if others may read the key, if key and certificate do
        not match, or if neither these settings nor Dask's own name credentials.
    """
    if settings.insecure:
        logger.warning(
            "`inference.cluster_security.insecure`: anybody who reaches the ports of this Dask "
            "cluster can run code as the owner of its workers"
        )
        return Security()
    given = {
        "tls_ca_file": settings.ca_file,
        "tls_client_cert": settings.cert,
        "tls_client_key": settings.key,
    }
    paths = [path for path in given.values() if path]
    # All from these settings or all from Dask's: key and certificate must match.
    security = Security(require_encryption=True, **(given if paths else {}))
    if security.tls_ca_file is None or security.tls_client_cert is None:
        problem = (
            "`cluster` tls:// needs credentials: expected `cluster_security` with `ca_file`, "
            "`cert` and `key` (or Dask's own settings distributed.comm.tls), found none"
        )
        raise ConfigError("inference", [problem])
    key = security.tls_client_key or security.tls_client_cert
    problems = _list_readers(Path(key)) if "\n" not in key else []
    if not problems:
        try:
            security.get_connection_args("client")
        except OSError as error:  # `ssl.SSLError` is one, too.
            named = ", ".join(paths) or "Dask's own settings"
            problems = [f"`cluster_security`: {named}: {error}; expected PEM files"]
    if problems:
        raise ConfigError("inference", problems)
    return security


def _list_readers(key: Path) -> list[str]:
    """Return a problem if users other than its owner may read a private key."""
    try:
        facts = key.stat()
    except OSError as error:
        return [f"`cluster_security`: {key}: {error.strerror}; expected a PEM file"]
    # The owner of a key, such as root, may share it with a group.
    others = 0o077 if facts.st_uid == os.geteuid() else 0o007
    if facts.st_mode & others:
        mode = facts.st_mode & 0o777
        return [f"`cluster_security`: {key} has mode {mode:o}, others may read it: `chmod 600` it"]
    return []
