"""Read the members of a ZIP file that may be anything, before anything in it is believed."""

import hashlib
import stat
import zipfile
from pathlib import Path

from pipeline_lib.core.errors import ModelError
from pipeline_lib.models.zoo.manifest import (
    MANIFEST,
    MEMBERS,
    NETWORK,
    QUANTISED,
    WEIGHTS,
    Member,
)

MOST_TEXT_BYTES = 4 * 2**20
_BINARY = (NETWORK, WEIGHTS, QUANTISED)
_ENCRYPTED = 0x1
# Each member has one entry in the directory at the file's end, with little beside its name.
_KNOWN = MEMBERS | {MANIFEST}
_MOST_ENTRIES = len(_KNOWN)
_MOST_DIRECTORY_BYTES = 512 * _MOST_ENTRIES
# Records at the end of a ZIP file: that of the directory, and that of a larger one before it.
_END, _END_BYTES = b"PK\5\6", 22
_LARGE, _LARGE_BYTES = b"PK\6\7", 20
_MOST_COMMENT = 2**16


def open_archive(path: Path) -> zipfile.ZipFile:
    """Open a ZIP file whose directory is no longer than that of a bundle.

    Raises
    ------
    ModelError
        If it is none, or has more entries than a bundle may have.
    """
    try:
        _bound_directory(path)
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise ModelError(f"{path}: expected a bundle, a ZIP file ({error}): is it whole?") from None


def _bound_directory(path: Path) -> None:
    """Refuse a long directory, for which Python would make an object of each of its entries."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END_BYTES - _MOST_COMMENT - _LARGE_BYTES))
        tail = file.read()
    # As Python looks for it: without a comment, else the last one.
    start = len(tail) - _END_BYTES
    if start < 0 or tail[start : start + 4] != _END or tail[-2:] != b"\0\0":
        start = tail.rfind(_END)
    if start < 0:
        return  # no ZIP file, as Python will say
    entries = int.from_bytes(tail[start + 10 : start + 12], "little")
    length = int.from_bytes(tail[start + 12 : start + 16], "little")
    large = tail[max(0, start - _LARGE_BYTES) : start].startswith(_LARGE)
    if large or entries > _MOST_ENTRIES or length > _MOST_DIRECTORY_BYTES:
        raise ModelError(
            f"{path}: has {'countless' if large else entries} entries in a directory of {length} "
            f"bytes; a bundle has at most {_MOST_ENTRIES} in {_MOST_DIRECTORY_BYTES}"
        )


def list_names(archive: zipfile.ZipFile, where: str, size: int) -> set[str]:
    """Return the names of all members, and refuse entries that no bundle of ours has.

    Parameters
    ----------
    archive
        The ZIP file.
    where
        Its name in messages.
    size
        Bytes of the file.

    Raises
    ------
    ModelError
        Naming the first member that no bundle has, or has in this way.
    """
    entries = archive.infolist()
    # The count beside the directory may be wrong.
    if len(entries) > _MOST_ENTRIES:
        raise ModelError(
            f"{where}: has {len(entries)} members; a bundle has at most {_MOST_ENTRIES}"
        )
    names = set[str]()
    for entry in entries:
        name = entry.filename
        if name in names:
            raise ModelError(f"{where}: has {name[:200]!r} twice")
        names.add(name)
        _check_entry(entry, where)
    # Overlapping members would be read many times.
    if sum(entry.file_size for entry in entries) > size:
        raise ModelError(f"{where}: its members are larger than the file")
    return names


def _check_entry(entry: zipfile.ZipInfo, where: str) -> None:
    name = entry.filename
    if name not in _KNOWN:
        raise ModelError(f"{where}: has a member {name[:200]!r}, which no bundle has")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise ModelError(f"{where}: {name} is a link or another special file")
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise ModelError(f"{where}: {name} is compressed; the members of a bundle are not")
    if entry.flag_bits & _ENCRYPTED:
        raise ModelError(f"{where}: {name} is encrypted")
    if name.rpartition("/")[2] not in _BINARY and entry.file_size > MOST_TEXT_BYTES:
        raise ModelError(
            f"{where}: {name} has {entry.file_size} bytes, too many for a text: at most "
            f"{MOST_TEXT_BYTES}"
        )


def read_plain(archive: zipfile.ZipFile, name: str, where: str) -> bytes:
    """Return the bytes of a member as they are.

    Raises
    ------
    ModelError
        If they cannot be read, or their checksum of ZIP is wrong.
    """
    try:
        return archive.read(name)
    except (OSError, zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        raise ModelError(f"{where}: {name} cannot be read ({error}): is it whole?") from None


def read_member(archive: zipfile.ZipFile, name: str, member: Member, where: str) -> bytes:
    """Return the bytes of a member that are those that the manifest lists.

    Raises
    ------
    ModelError
        If they cannot be read, or are others.
    """
    content = read_plain(archive, name, where)
    found = hashlib.sha256(content).hexdigest()
    advice = "the bundle is damaged or was changed; get it again"
    if len(content) != member.bytes:
        raise ModelError(
            f"{where}: {name} has {len(content)} bytes, but {MANIFEST} says {member.bytes}: "
            f"{advice}"
        )
    if found != member.sha256:
        raise ModelError(
            f"{where}: {name} has SHA-256 {found}, but {MANIFEST} says {member.sha256}: {advice}"
        )
    return content
