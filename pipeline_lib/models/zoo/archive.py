"""Write and read bundles: ZIP files that hold a network and all that it needs to run.

A bundle comes from strangers. So nothing of it is executed, unpickled or unpacked by its own
names: members have fixed names, are stored without compression, are listed with size and SHA-256
in ``bundle.json``, and are read only after all of this has been checked.
"""

import hashlib
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.untrusted.regular_files import require_regular_file
from pipeline_lib.io.publish import publish_file
from pipeline_lib.models.card import ModelCard, count_animals, parse_card
from pipeline_lib.models.members import check_members
from pipeline_lib.models.precision import PrecisionRecord, parse_precision
from pipeline_lib.models.regions import ConfidenceRegions, parse_regions
from pipeline_lib.models.zoo.bounds import check_bounds, check_window
from pipeline_lib.models.zoo.manifest import (
    CARD,
    CONFIDENCE,
    LOCATOR,
    MANIFEST,
    NETWORK,
    PRECISION,
    QUANTISED,
    Manifest,
    Member,
    format_manifest,
    name_place,
    parse_manifest,
)
from pipeline_lib.models.zoo.onnx_check import check_network
from pipeline_lib.models.zoo.zip_file import list_names, open_archive, read_member, read_plain

MOST_BYTES = 2 * 2**30
_MOST_REASON = 2000
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Bundle:
    """Describe a verified bundle.

    Attributes
    ----------
    path
        Its file.
    sha256
        Hash of the whole file.
    manifest
        Content of ``bundle.json``.
    card
        Card of the network.
    locator
        Card of the network that finds the animals; None if there is none.
    readme
        The card in Markdown, for people.
    ensemble
        Cards of the networks that predict together with the first.
    regions
        Calibration of confidence; None if there is none.
    precision
        Precision that was chosen where the bundle was written; None if none was measured.
    """

    path: Path
    sha256: str
    manifest: Manifest
    card: ModelCard
    locator: ModelCard | None
    readme: str
    ensemble: tuple[ModelCard, ...] = ()
    regions: ConfidenceRegions | None = None
    precision: PrecisionRecord | None = None

    @property
    def animals(self) -> int:
        """Return the largest number of animals found in a frame."""
        return count_animals(self.card, self.locator)

    @property
    def networks(self) -> dict[str, ModelCard]:
        """Return the cards of all networks by their folders in the bundle."""
        own = {"": self.card}
        own |= dict(zip(self.manifest.list_ensemble(), self.ensemble, strict=True))
        return own if self.locator is None else {**own, LOCATOR: self.locator}

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a member, verified again; None if the bundle has none."""
        member = self.manifest.members.get(name)
        if member is None:
            return None
        with open_archive(self.path) as archive:
            return read_member(archive, name, member, str(self.path))


def write_bundle(path: Path, manifest: Manifest, members: Mapping[str, bytes]) -> str:
    """Write a bundle; the same members give the same bytes.

    Parameters
    ----------
    path
        File to publish.
    manifest
        Its `members` are replaced by the hashes of those given.
    members
        Bytes of each member by name.

    Returns
    -------
    str
        SHA-256 of the file.

    Raises
    ------
    ModelError
        If it would be no bundle: a text is too long, or networks and cards do not go together.
    """
    listed = {
        name: Member(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in sorted(members.items())
    }
    head = format_manifest(manifest.model_copy(update={"members": listed}))
    with publish_file(path) as part:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            for name, content in ((MANIFEST, head), *sorted(members.items())):
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.create_system = 3  # whatever the system is
                entry.external_attr = (stat.S_IFREG | 0o644) << 16
                archive.writestr(entry, content)
        try:
            read_bundle(part)
        except ModelError as error:
            # The temporary file is removed, and its name means nothing to people.
            raise ModelError(str(error).replace(part.name, path.name)) from None
        return _hash_file(part)


def read_bundle(path: Path, sha256: str = "") -> Bundle:
    """Verify a bundle and read its cards.

    Parameters
    ----------
    path
        The file.
    sha256
        Hash that it must have; empty for any.

    Raises
    ------
    ModelError
        If the file is missing, truncated or changed, of another version, or holds anything that
        no bundle may hold.
    """
    try:
        require_regular_file(path)
        facts = path.stat()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such bundle") from None
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; expected a bundle") from None
    if facts.st_size > MOST_BYTES:
        raise ModelError(f"{path}: {facts.st_size} bytes; a bundle has at most {MOST_BYTES}")
    bundle = _read_once(path.absolute(), facts.st_size, facts.st_mtime_ns, facts.st_ino)
    if sha256 and bundle.sha256 != sha256:
        raise ModelError(
            f"{path}: expected a bundle with SHA-256 {sha256}, found {bundle.sha256}: it is "
            "another one, or it was changed"
        )
    return bundle


# The workflow asks several times; a network is large.
@lru_cache(maxsize=8)
def _read_once(path: Path, size: int, modified: int, inode: int) -> Bundle:
    del size, modified, inode
    where = str(path)
    with open_archive(path) as archive:
        names = list_names(archive, where, path.stat().st_size)
        if MANIFEST not in names:
            raise ModelError(f"{where}: has no {MANIFEST}; is it a bundle?")
        manifest = parse_manifest(read_plain(archive, MANIFEST, where), where)
        members = manifest.members
        if strange := sorted((names ^ members.keys()) - {MANIFEST}):
            raise ModelError(
                f"{where}: {strange[0]!r} must be both in the file and in its {MANIFEST}"
            )
        contents = {
            name: read_member(archive, name, member, where) for name, member in members.items()
        }
    window = manifest.settings.locating.window
    check_window(window, f"{where}: {MANIFEST}: `settings.locating.window`")
    card = _check_model(contents, "", where)
    locator = _check_model(contents, LOCATOR, where) if LOCATOR + CARD in members else None
    if card.window is not None and locator is None:
        raise ModelError(
            f"{where}: its network sees windows around animals, but there is no locator"
        )
    _check_detector(card, locator, where)
    others = {name: _check_model(contents, name, where) for name in manifest.list_ensemble()}
    cards = {"": card, **others}
    check_members([(f"{where}: {folder}{CARD}", one) for folder, one in cards.items()])
    regions = None
    if CONFIDENCE in members:
        told = f"{where}: {CONFIDENCE}"
        regions = parse_regions(contents[CONFIDENCE], list(cards.values()), told)
    precision = _check_precision(contents, {**cards, LOCATOR: locator}, where)
    return Bundle(
        path,
        _hash_file(path),
        manifest,
        card,
        locator,
        _decode(contents["README.md"]),
        tuple(others.values()),
        regions,
        precision,
    )


def _check_model(contents: Mapping[str, bytes], folder: str, where: str) -> ModelCard:
    card = parse_card(contents[folder + CARD], f"{where}: {folder}{CARD}")
    network = contents[folder + NETWORK]
    if hashlib.sha256(network).hexdigest() != card.network_sha256:
        raise ModelError(f"{where}: {folder}{CARD} is of another network than {folder}{NETWORK}")
    check_bounds(card, f"{where}: {folder}{CARD}")
    check_network(network, card, f"{where}: {folder}{NETWORK}")
    return card


def _check_precision(
    contents: Mapping[str, bytes], cards: Mapping[str, ModelCard | None], where: str
) -> PrecisionRecord | None:
    """Return the record of precisions, whose networks in 8-bit integers are all there."""
    quantised = {
        name.removesuffix(QUANTISED): content
        for name, content in contents.items()
        if name.endswith(QUANTISED)
    }
    if PRECISION not in contents:
        if quantised:
            raise ModelError(
                f"{where}: has networks in 8-bit integers, but no {PRECISION}: it was changed; get "
                "it again"
            )
        return None
    record = _clean(parse_precision(contents[PRECISION], f"{where}: {PRECISION}"))
    own = {name_place(folder): card for folder, card in cards.items() if card is not None}
    found = {
        name_place(folder): hashlib.sha256(content).hexdigest()
        for folder, content in quantised.items()
    }
    if record.networks != {place: card.network_sha256 for place, card in own.items()}:
        raise ModelError(
            f"{where}: {PRECISION} is of other networks than those of the bundle: it was changed; "
            "get it again"
        )
    complete = own.keys() if record.precision == "int8" else set[str]()
    if record.quantised != found or found.keys() != complete:
        raise ModelError(
            f"{where}: {PRECISION} and the files {QUANTISED} do not go together: every network has "
            "one if the precision is int8, else none; the bundle was changed; get it again"
        )
    for folder, content in quantised.items():
        card = own[name_place(folder)]
        check_network(content, card, f"{where}: {folder}{QUANTISED}")
    return record


def _clean(record: PrecisionRecord) -> PrecisionRecord:
    """Return a record whose texts, which are logged, are short and control no terminal."""
    measured = [
        one.model_copy(update={"reason": _make_plain(one.reason)}) for one in record.measured
    ]
    return record.model_copy(
        update={
            "reason": _make_plain(record.reason),
            "processor": _make_plain(record.processor),
            "measured": tuple(measured),
        }
    )


def _make_plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text[:_MOST_REASON])


def _check_detector(card: ModelCard, locator: ModelCard | None, where: str) -> None:
    """Refuse a detector without the network that sees its boxes, and that network without one."""
    boxed = card.deeplabcut is not None and card.deeplabcut.crop is not None
    finds = locator is not None and locator.detector is not None
    if card.detector is not None or boxed != finds:
        raise ModelError(
            f"{where}: a detector goes with a network of DeepLabCut that sees its boxes, and only "
            "with such a network"
        )


def _decode(content: bytes) -> str:
    """Return a text without characters that control a terminal or are invisible."""
    text = content.decode("utf-8", "replace").replace("\r\n", "\n")
    return "".join(letter for letter in text if letter == "\n" or letter.isprintable())


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
