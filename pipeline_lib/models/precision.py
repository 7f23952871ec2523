"""Read and write what was measured of the precisions of a network, and which one was chosen.

`status` and Snakemake read it: nothing heavy is imported.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.models.card import needs_locator, read_card
from pipeline_lib.models.members import count_members

Precision = Literal["float32", "bfloat16", "float16", "int8"]
StatedPrecision = Literal["auto", "float32", "bfloat16", "float16", "int8"]
RuntimeName = Literal["openvino", "onnx", "torch"]

_Number = Annotated[float, Field(allow_inf_nan=False, ge=0.0)]
# Folder of a network below that of the model.
Place = Annotated[str, Field(pattern=r"^(\.|locator|members/[1-9][0-9]{0,3})$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_MOST_BYTES = 2**20
_Count = Annotated[int, Field(ge=0, le=10**9)]


class PrecisionMeasurement(BaseModel):
    """Hold what was measured of one runtime with one precision.

    Attributes
    ----------
    runtime, precision
        What was measured.
    frames_per_second
        Frames in a second of one core (of a GPU: in a second).
    test_error, all_error
        Mean error on the labelled test frames, and on all labelled frames, px; None: there are
        none.
    growth
        Growth of the mean error over that of float32 on the frames that the choice is judged on,
        in percent.
    growth_noise
        Standard error of `growth`, in percent, from the differences of the images.
    missed
        Labelled keypoints of these frames that were not found.
    moved, moved_median
        Mean and median distance from the keypoints of float32 on all labelled frames, px.
    reason
        Why nothing could be measured; empty where all was.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    runtime: RuntimeName
    precision: Precision
    frames_per_second: _Number | None = None
    test_error: _Number | None = None
    all_error: _Number | None = None
    growth: Annotated[float, Field(allow_inf_nan=False)] | None = None
    growth_noise: _Number | None = None
    missed: _Count | None = None
    moved: _Number | None = None
    moved_median: _Number | None = None
    reason: str = ""


class PrecisionRecord(BaseModel):
    """Tell which precision a network runs with: the content of ``precision.json``.

    Attributes
    ----------
    stated
        Setting that it was measured for.
    precision, runtime
        What was chosen. The precision is a property of the results and is part of their keys;
        the runtime is one of the machine.
    reason
        Why, in one sentence.
    networks
        SHA-256 of each network that was measured, by its folder below that of the model.
    quantised
        SHA-256 of each network in 8-bit integers; empty if int8 was not chosen.
    judged_on
        Frames that the error was judged on: ``test``, or ``all`` labelled frames where there are
        few test frames; empty without any.
    images, points
        Number of these frames, and of their labelled keypoints.
    calibrated_on
        Number of training frames that the quantisation saw.
    processor
        Name of the processor, with what it can compute.
    versions
        Versions of the runtimes.
    measured
        All measurements.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    stated: Literal["auto", "int8"]
    precision: Precision
    runtime: RuntimeName | None = None
    reason: str
    networks: dict[Place, Sha256]
    quantised: dict[Place, Sha256] = {}
    judged_on: Literal["test", "all", ""] = ""
    images: _Count = 0
    points: _Count = 0
    calibrated_on: _Count = 0
    processor: str = ""
    versions: dict[str, str] = {}
    measured: tuple[PrecisionMeasurement, ...] = ()


def read_precision(path: Path) -> PrecisionRecord:
    """Read and check a record.

    Raises
    ------
    ModelError
        If it is missing, damaged or too large.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"{path}: expected a small file of measurements; run choose-precision")
        return parse_precision(path.read_bytes(), str(path), "; run choose-precision")
    except FileNotFoundError:
        raise ModelError(
            f"{path}: the precision was not measured; run `cohortpose choose-precision`, or set "
            "inference.precision to float32"
        ) from None


def parse_precision(content: bytes, where: str, advice: str = "") -> PrecisionRecord:
    """Parse and check the JSON text of a record.

    Parameters
    ----------
    content
        Its bytes.
    where, advice
        Name of the file in messages, and what they end with.

    Raises
    ------
    ModelError
        If it is damaged.
    """
    if len(content) > _MOST_BYTES:
        raise ModelError(f"{where}: expected a small file of measurements{advice}")
    try:
        return PrecisionRecord.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ModelError(
            f"{where}: not a record of precisions: `{key}`: {first['msg']}{advice}"
        ) from None


def format_precision(record: PrecisionRecord) -> str:
    """Return the JSON text of a record."""
    return json.dumps(record.model_dump(mode="json", exclude_none=True), indent=2) + "\n"


def hash_networks(networks: Mapping[str, ModelFiles]) -> dict[str, str]:
    """Return the hashes of networks, as `list_networks` names them.

    Raises
    ------
    ModelError
        If one is missing.
    """
    return {place: read_card(files.card).network_sha256 for place, files in networks.items()}


def list_networks(config: Config, results: Results) -> dict[str, ModelFiles]:
    """Return the networks that predict together, by their folder below that of the model.

    They are the network, the other members of an ensemble, and the locator.

    Raises
    ------
    ModelError
        If the network of a bundle was not imported.
    """
    files = results.model(config.training.name)
    found = list(files.list_members(count_members(config, results)))
    if needs_locator(config.locating, read_card(files.card)):
        found.append(files.locator)
    return {one.folder.relative_to(files.folder).as_posix(): one for one in found}


def require_precision(config: Config, results: Results) -> PrecisionRecord | None:
    """Return the record that decides the precision of a run; None if the settings state it.

    Raises
    ------
    ModelError
        If there is no usable one, or it is of other networks or of another setting.
    """
    stated = config.inference.precision
    if not config.inference.measures_precision:
        return None
    files = results.model(config.training.name)
    record = read_own_precision(files)
    known = record.stated == stated or (stated == "int8" and record.precision == "int8")
    if not known:
        raise ModelError(
            f"{files.precision}: was measured for inference.precision {record.stated}, and the "
            f"setting is {stated}; run `cohortpose choose-precision`"
        )
    if set(record.networks) != set(list_networks(config, results)):
        raise ModelError(
            f"{files.precision}: is of other networks; run `cohortpose choose-precision` again"
        )
    return record


def read_own_precision(files: ModelFiles) -> PrecisionRecord:
    """Return the record of a network that is still the one that was measured.

    Raises
    ------
    ModelError
        If there is none, it is damaged, or one of its networks has changed since.
    """
    record = read_precision(files.precision)
    for place, sha256 in record.networks.items():
        if read_card((ModelFiles(files.folder / place)).card).network_sha256 != sha256:
            raise ModelError(
                f"{files.precision}: is of other networks; run `cohortpose choose-precision` again"
            )
    return record


def settle_precision(config: Config, results: Results) -> Config:
    """Return settings whose precision is fixed: neither ``auto``, nor int8 that cannot be had.

    Raises
    ------
    ModelError
        As `require_precision`.
    """
    record = require_precision(config, results)
    if record is None:
        return config
    inference = config.inference.model_copy(update={"precision": record.precision})
    return config.model_copy(update={"inference": inference})


def describe_result_settings(config: Config, results: Results) -> tuple[Mapping[str, object], ...]:
    """Return what poses depend on of the settings of inference, for their keys.

    The precision is the one that was chosen, so that results of different precision never mix;
    networks in 8-bit integers count by their checksums.

    Raises
    ------
    ModelError
        As `require_precision`.
    """
    record = require_precision(config, results)
    settled = settle_precision(config, results).inference.result_settings()
    if record is None or not record.quantised:
        return (settled,)
    return settled, {"quantised": record.quantised}


def in_float32(config: Config) -> Config:
    """Return settings with float32 where a measurement decides the precision."""
    if not config.inference.measures_precision:
        return config
    inference = config.inference.model_copy(update={"precision": "float32"})
    return config.model_copy(update={"inference": inference})
