"""Define ``bundle.json``, which describes a bundle and lists the hashes of its members."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.core.settings.network import MOST_MEMBERS, LocatingSettings
from pipeline_lib.core.untrusted.finite_json import parse_finite
from pipeline_lib.core.untrusted.names import NAME_PATTERN

MANIFEST = "bundle.json"
FORMAT: Literal["cohortpose bundle"] = "cohortpose bundle"
FORMAT_VERSION: Literal[1] = 1

README, LICENCE, METRICS = "README.md", "LICENSE", "metrics.tsv"
CARD, NETWORK, WEIGHTS, HISTORY = (
    "model.json",
    "network.onnx",
    "weights.safetensors",
    "history.tsv",
)
LOCATOR = "locator/"
CONFIDENCE = "confidence.json"
PRECISION, QUANTISED = "precision.json", "network-int8.onnx"


def name_member(number: int) -> str:
    """Return the folder of a network of an ensemble, from 2 on; the first has none."""
    return f"members/{number}/"


def name_place(folder: str) -> str:
    """Return a network's folder in a bundle as a record of precisions names it."""
    return folder.rstrip("/") or "."


REQUIRED = frozenset({README, CARD, NETWORK, WEIGHTS})
# A locator has all of these members or none.
LOCATOR_REQUIRED = frozenset(f"{LOCATOR}{name}" for name in (CARD, NETWORK, WEIGHTS))
_NETWORK_FILES = (CARD, NETWORK, WEIGHTS, HISTORY, QUANTISED)
ENSEMBLE_MEMBERS = frozenset(
    name_member(number) + name for number in range(2, MOST_MEMBERS + 1) for name in _NETWORK_FILES
)
MEMBERS = (
    REQUIRED
    | LOCATOR_REQUIRED
    | ENSEMBLE_MEMBERS
    | {LICENCE, METRICS, HISTORY, f"{LOCATOR}{HISTORY}", CONFIDENCE}
    | {PRECISION, QUANTISED, f"{LOCATOR}{QUANTISED}"}
)

_MOST_TEXT = 20_000


class Member(BaseModel):
    """Hold size in bytes and SHA-256 of a member."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int = Field(ge=0)
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class UsedSettings(BaseModel):
    """Hold settings that the network was used with, beside those in its card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["bottom-up", "top-down"] = "bottom-up"
    locating: LocatingSettings = LocatingSettings()
    assembly: AssemblySettings = AssemblySettings()

    @field_validator("assembly", mode="before")
    @classmethod
    def _keep_no_weak_keypoints(cls, given: object) -> object:
        """Older bundles were used without keypoints below the cutoff."""
        if isinstance(given, dict) and "pcutoff" in given and "min_confidence" not in given:
            return {**given, "min_confidence": given["pcutoff"]}
        return given


class Manifest(BaseModel):
    """Describe a bundle.

    Attributes
    ----------
    name
        Name of the network.
    licence
        SPDX identifier or name of the licence; empty if none was given.
    citation
        How to cite the network; may be empty.
    description
        What the network is for; may be empty.
    written_by
        Program and version that wrote the bundle.
    settings
        Settings that the network was used with.
    members
        Every other file of the bundle, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cohortpose bundle"] = FORMAT
    format_version: Literal[1] = FORMAT_VERSION
    name: Annotated[str, Field(pattern=NAME_PATTERN, max_length=200)]
    licence: Annotated[str, Field(max_length=_MOST_TEXT)] = ""
    citation: Annotated[str, Field(max_length=_MOST_TEXT)] = ""
    description: Annotated[str, Field(max_length=_MOST_TEXT)] = ""
    written_by: Annotated[str, Field(max_length=200)]
    settings: UsedSettings = UsedSettings()
    members: dict[str, Member]

    def list_ensemble(self) -> list[str]:
        """Return the folders of the networks of an ensemble beside the first."""
        known = (name_member(number) for number in range(2, MOST_MEMBERS + 1))
        return [folder for folder in known if folder + CARD in self.members]


def format_manifest(manifest: Manifest) -> bytes:
    """Return the JSON text of a manifest."""
    values = manifest.model_dump(mode="json")
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Parse and check ``bundle.json``.

    Parameters
    ----------
    content
        Its bytes.
    where
        Name of the bundle in messages.

    Raises
    ------
    ModelError
        If it is damaged or of another version, or if members are missing or unknown.
    """
    try:
        values: Any = parse_finite(content)
    except ValueError as error:
        raise ModelError(f"{where}: {MANIFEST}: expected JSON, {error}") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ModelError(f"{where}: {MANIFEST}: expected `format` to be {FORMAT!r}")
    if values.get("format_version") != FORMAT_VERSION:
        raise ModelError(
            f"{where}: is a bundle of version {values.get('format_version')!r}, and this release "
            f"reads version {FORMAT_VERSION}: install the release that wrote it "
            f"({str(values.get('written_by'))[:200]!r}) or a newer one"
        )
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{where}: {MANIFEST}: `{key}`: {first['msg']}") from None
    _check_members(set(manifest.members), where)
    return manifest


def _require_members(names: set[str]) -> set[str]:
    """Return what an ensemble must have: every network up to the last one there is."""
    there = [int(name.split("/")[1]) for name in names & ENSEMBLE_MEMBERS]
    return {
        name_member(number) + name
        for number in range(2, max(there, default=1) + 1)
        for name in (CARD, NETWORK, WEIGHTS)
    }


def _check_members(names: set[str], where: str) -> None:
    locator = LOCATOR_REQUIRED if any(name.startswith(LOCATOR) for name in names) else frozenset()
    missing = sorted((REQUIRED | locator | _require_members(names)) - names)
    unknown = sorted(names - MEMBERS)
    if missing:
        raise ModelError(f"{where}: {MANIFEST}: lists no {', '.join(missing)}")
    if unknown:
        raise ModelError(f"{where}: {MANIFEST}: lists {unknown[0]!r}, which no bundle has")
