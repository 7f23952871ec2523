"""Run the verb `bundle`: write a trained network as one file that others can run."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from pipeline_lib import __version__
from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.base import AUTO
from pipeline_lib.core.settings.network import LocatingSettings, StatedLocating
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.untrusted.bundle_address import ENDING
from pipeline_lib.core.untrusted.regular_files import require_regular_file
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.io.chosen_settings import resolve_settings
from pipeline_lib.models.card import ModelCard, count_animals, format_card, read_card
from pipeline_lib.models.members import check_members, count_members
from pipeline_lib.models.precision import (
    PrecisionRecord,
    format_precision,
    require_precision,
)
from pipeline_lib.models.regions import format_regions, read_regions_file
from pipeline_lib.models.zoo.archive import write_bundle
from pipeline_lib.models.zoo.manifest import (
    CARD,
    CONFIDENCE,
    HISTORY,
    LICENCE,
    LOCATOR,
    METRICS,
    NETWORK,
    PRECISION,
    QUANTISED,
    README,
    WEIGHTS,
    Manifest,
    UsedSettings,
    name_member,
    name_place,
)
from pipeline_lib.models.zoo.readme import Described, Metrics, format_readme
from pipeline_lib.models.zoo.weights import pack_weights
from pipeline_lib.models.zoo.zip_file import MOST_TEXT_BYTES
from pipeline_lib.steps.evaluate.evaluated import find_mismatch, is_recorded
from pipeline_lib.steps.report.inputs import read_metrics
from pipeline_lib.steps.report.privacy import Redactor

if TYPE_CHECKING:
    from pipeline_lib.models.zoo.foreign.deeplabcut import DeepLabCutSource

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BundleTexts:
    """Hold what only people know about a network.

    Attributes
    ----------
    licence
        SPDX identifier or name of its licence.
    licence_file
        Text of the licence; None: the name says it all.
    citation
        How to cite it.
    description
        What it is for.
    """

    licence: str
    licence_file: Path | None = None
    citation: str = ""
    description: str = ""


def run_bundle(
    config: Config, results: Results, texts: BundleTexts, output: Path | None = None
) -> Path:
    """Write the network of a run as a bundle.

    Parameters
    ----------
    config, results
        The run.
    texts
        Licence, citation and description.
    output
        File to write; None: NAME.cohortpose in the working directory.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ModelError
        If the network is missing or damaged, there is no licence, or the file exists.
    """
    name = config.training.name
    path = _choose_output(name, texts, output)
    files = results.model(name)
    redactor = Redactor(results)
    card = _read_own_card(files, redactor)
    members = _pack_network(files, card, "")
    networks = files.list_members(count_members(config, results))
    cards = [card]
    for number, one in enumerate(networks[1:], 2):
        cards.append(_read_own_card(one, redactor))
        members |= _pack_network(one, cards[-1], name_member(number))
    check_members([(str(one.card), own) for one, own in zip(networks, cards, strict=True)])
    regions = None
    if files.regions.is_file():
        regions = read_regions_file(files.regions, cards)
        members[CONFIDENCE] = format_regions(regions).encode()
    locator = None
    if config.uses_locator:
        locator = _read_own_card(files.locator, redactor)
        members |= _pack_network(files.locator, locator, LOCATOR)
    precision = _pack_precision(config, results, members)
    metrics = _pack_metrics(config, results, members)
    # Where settings were chosen from the labels, what was chosen.
    used = resolve_settings(config, results) if results.chosen_settings.is_file() else config
    settings = UsedSettings(
        method=config.individuals.method if count_animals(card, locator) > 1 else "bottom-up",
        locating=LocatingSettings(**_list_fixed(used.locating)),
        assembly=config.assembly,
    )
    described = Described(card, locator, metrics, len(cards), regions, precision)
    return _write(path, texts, settings, members, described)


def _pack_metrics(config: Config, results: Results, members: dict[str, bytes]) -> Metrics:
    """Add the errors on labelled frames, if they are those of the networks of the bundle."""
    name = config.training.name
    metrics = results.metrics(name)
    if not metrics.is_file():
        return {}
    if mismatch := find_mismatch(config, results):
        logger.warning("the bundle has no errors on labelled frames: %s", mismatch)
        return {}
    if not is_recorded(results, name):
        logger.warning(
            "%s: an earlier release did not record of which network it is; run `cohortpose "
            "evaluate` before, to be sure that the bundle has the errors of its own network",
            metrics,
        )
    members[METRICS] = metrics.read_bytes()
    return read_metrics(metrics)


def _pack_precision(
    config: Config, results: Results, members: dict[str, bytes]
) -> PrecisionRecord | None:
    """Add what was measured of precisions, with the networks in 8-bit integers if chosen."""
    files = results.model(config.training.name)
    if config.inference.measures_precision and not files.precision.is_file():
        logger.warning(
            "the bundle has no precision, because none was measured; run `cohortpose "
            "choose-precision` before, if it is to have one"
        )
        return None
    record = require_precision(config, results)
    if record is None:
        return None
    folders = [name.removesuffix(CARD) for name in members if name.endswith(CARD)]
    if {name_place(folder) for folder in folders} != record.networks.keys():
        logger.warning("%s: is of other networks and not in the bundle", files.precision)
        return None
    for folder in folders if record.quantised else ():
        own = ModelFiles(files.folder / folder).quantised
        if not own.is_file() or hash_path(own) != record.quantised[name_place(folder)]:
            raise ModelError(f"{own}: is missing or changed; run `cohortpose choose-precision`")
        members[folder + QUANTISED] = own.read_bytes()
    members[PRECISION] = format_precision(record).encode()
    return record


def _list_fixed(locating: StatedLocating) -> dict[str, Any]:
    """Return settings without those that labels decide: networks from bundles have none."""
    values = locating.model_dump(exclude={"weights"})
    # The size of the frames decides whether there are windows.
    return {name: value for name, value in values.items() if value != AUTO or name == "enabled"}


def run_deeplabcut_bundle(
    source: "DeepLabCutSource", name: str, texts: BundleTexts, output: Path | None = None
) -> Path:
    """Write a network that DeepLabCut 3 trained as a bundle, with its detector if it has one.

    Parameters
    ----------
    source
        Where it is.
    name
        Name of the network.
    texts
        Licence, citation and description.
    output
        File to write; None: NAME.cohortpose in the working directory.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ModelError
        If the network is missing, damaged, or of a kind that is not known, there is no licence,
        or the file exists.
    """
    # PyTorch takes seconds to import.
    from pipeline_lib.models.zoo.foreign.deeplabcut import read_deeplabcut  # noqa: PLC0415
    from pipeline_lib.models.zoo.foreign.deeplabcut_pack import pack_deeplabcut  # noqa: PLC0415

    path = _choose_output(name, texts, output)
    model = read_deeplabcut(source)
    card, locator, members = pack_deeplabcut(model, name, f"cohortpose {__version__}")
    settings = UsedSettings()
    if locator is not None and locator.detector is not None:
        # Faster R-CNN leaves out boxes itself; of SSDlite DeepLabCut takes all.
        settings = UsedSettings(
            method="top-down" if locator.animals > 1 else "bottom-up",
            locating=LocatingSettings(window=card.window, pcutoff=0.0),
        )
    return _write(path, texts, settings, members, Described(card, locator, {}))


def run_foreign_bundle(
    tool: Literal["lightning-pose", "sleap-nn"],
    place: Path,
    name: str,
    texts: BundleTexts,
    output: Path | None = None,
) -> Path:
    """Write a network that Lightning Pose or SLEAP-NN trained as a bundle.

    Parameters
    ----------
    tool
        The tool that trained it.
    place
        Folder of the model, or one checkpoint; see the tool's reader in
        `pipeline_lib.models.zoo.foreign`.
    name
        Name of the network.
    texts
        Licence, citation and description.
    output
        File to write; None: NAME.cohortpose in the working directory.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ModelError
        If the network is missing, damaged, or of a kind that is not known, there is no licence,
        or the file exists.
    """
    # PyTorch takes seconds to import.
    from pipeline_lib.models.zoo.foreign import lightning_pose, sleap_nn  # noqa: PLC0415

    path, program = _choose_output(name, texts, output), f"cohortpose {__version__}"
    if tool == "lightning-pose":
        model = lightning_pose.read_lightning_pose(place)
        card, members = lightning_pose.pack_lightning_pose(model, name, program)
    else:
        card, members = sleap_nn.pack_sleap(sleap_nn.read_sleap(place), name, program)
    return _write(path, texts, UsedSettings(), members, Described(card, None, {}))


def _choose_output(name: str, texts: BundleTexts, output: Path | None) -> Path:
    """Return the file to write, before anything is computed for it."""
    path = output or Path(f"{name}{ENDING}")
    if not texts.licence.strip():
        raise ModelError(
            "a bundle needs a licence, without which nobody may use it: give --licence, such as "
            "CC-BY-4.0"
        )
    _describe(name, texts)
    _read_licence(texts)
    # A link that leads nowhere is there, too.
    if os.path.lexists(path):
        raise ModelError(f"{path}: exists; remove it, or give another --output")
    return path


def _describe(name: str, texts: BundleTexts) -> Manifest:
    """Return what a bundle says of itself.

    Raises
    ------
    ModelError
        Naming the option whose text is too long or not allowed.
    """
    try:
        return Manifest(
            name=name,
            licence=texts.licence.strip(),
            citation=texts.citation.strip(),
            description=texts.description.strip(),
            written_by=f"cohortpose {__version__}",
            members={},
        )
    except ValidationError as error:
        first = error.errors()[0]
        (option,) = first["loc"]
        raise ModelError(
            f"--{option}: {str(first['input'])[:40]!r} … of {len(str(first['input']))} characters: "
            f"{first['msg']}"
        ) from None


def _read_licence(texts: BundleTexts) -> bytes | None:
    """Return the text of the licence; None if there is none.

    Raises
    ------
    ModelError
        If it cannot be read, or is too long for a bundle.
    """
    path = texts.licence_file
    if path is None:
        return None
    try:
        require_regular_file(path)
        size = path.stat().st_size
        if size > MOST_TEXT_BYTES:
            raise ModelError(
                f"--licence-file: {path}: {size} bytes; expected a text of at most "
                f"{MOST_TEXT_BYTES}"
            )
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"--licence-file: {path}: expected the text of the licence: {error.strerror or error}"
        ) from None


def _write(
    path: Path,
    texts: BundleTexts,
    settings: UsedSettings,
    members: dict[str, bytes],
    described: Described,
) -> Path:
    """Add licence and card for people, and write the bundle."""
    if (licence := _read_licence(texts)) is not None:
        members[LICENCE] = licence
    manifest = _describe(described.card.name, texts).model_copy(update={"settings": settings})
    members[README] = format_readme(manifest, described).encode()
    digest = write_bundle(path, manifest, members)
    logger.info("%s: SHA-256 %s", path, digest)
    return path


def _read_own_card(files: ModelFiles, redactor: Redactor) -> ModelCard:
    """Return the card of a trained network, without paths of this machine."""
    card = read_card(files.card)
    if not files.network.is_file() or hash_path(files.network) != card.network_sha256:
        raise ModelError(f"{files.network}: is not the network of its card; run train again")
    return ModelCard.model_validate(redactor.hide_record(card.model_dump(mode="json")))


def _pack_network(files: ModelFiles, card: ModelCard, folder: str) -> dict[str, bytes]:
    # PyTorch takes seconds to import.
    from pipeline_lib.models.inference.torch_runtime import load_network  # noqa: PLC0415

    members = {
        CARD: format_card(card).encode(),
        NETWORK: files.network.read_bytes(),
        WEIGHTS: pack_weights(load_network(files.weights, card).state_dict()),
    }
    if files.history.is_file():
        members[HISTORY] = files.history.read_bytes()
    return {folder + name: content for name, content in members.items()}
