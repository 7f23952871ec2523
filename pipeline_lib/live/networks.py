"""Load the networks of a bundle or of a results folder for frames that come one at a time."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path

from pipeline_lib.api.places import find_results
from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.core.settings.network import StatedLocating
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.core.untrusted.bundle_address import names_bundle
from pipeline_lib.core.untrusted.credentials import show_address
from pipeline_lib.models.card import BundleRecord, format_card
from pipeline_lib.models.inference.locating.coarse_to_fine import CoarseToFine, load_pose_predictor
from pipeline_lib.models.inference.predictor import PosePredictor, RuntimeOptions
from pipeline_lib.models.inference.tuning.runtime_choice import can_compute
from pipeline_lib.models.members import count_members
from pipeline_lib.models.precision import (
    Precision,
    PrecisionRecord,
    StatedPrecision,
    read_own_precision,
)
from pipeline_lib.models.zoo.archive import Bundle
from pipeline_lib.models.zoo.manifest import LOCATOR, NETWORK, QUANTISED
from pipeline_lib.models.zoo.sources import find_bundle

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveNetworks:
    """Hold loaded networks.

    Attributes
    ----------
    whole
        Predicts whole frames, with its locator if it has one.
    window
        The network that locates keypoints, alone; None if it needs its locator.
    source
        Where it comes from, for records: the bundle's file and hash, or the network's folder.
    """

    whole: PosePredictor
    window: PosePredictor | None
    source: str


def settle_precision(
    source: str | PathLike[str],
    precision: StatedPrecision,
    model: str | None = None,
    runtime: str = "auto",
) -> Precision:
    """Return the precision that a network runs with.

    Parameters
    ----------
    source, model
        As for `load_networks`.
    runtime
        Setting of the runtime.
    precision
        A precision, or ``auto``: the one that `choose-precision` chose for the network of a
        results folder, or where the bundle was written; float32 where nothing was measured.

    Raises
    ------
    ModelError
        If 8-bit integers are asked for and were not made, or the measurement is of other networks.
    StoreError
        If the folder is no results folder.
    """
    if precision == "auto":
        found = _find_wanted(source, model, runtime)
        if found is None:
            logger.info("float32: no other precision was chosen, or none that this machine has")
        return found or "float32"
    if precision == "int8" and not _has_int8(source, model):
        advice = (
            "choose another precision, or ask those who wrote the bundle for one with it"
            if names_bundle(fspath(source))
            else "set inference.precision to int8 and run Snakemake, or choose another precision"
        )
        shown = show_address(fspath(source))
        raise ModelError(f"{shown}: has no network in 8-bit integers; {advice}")
    return precision


def _find_wanted(source: str | PathLike[str], model: str | None, runtime: str) -> Precision | None:
    """Return the precision that `auto` means; None if nothing was measured, or not for here."""
    if not names_bundle(fspath(source)):
        record = _read_record(source, model)
        return None if record is None else record.precision
    told = find_bundle(fspath(source)).precision
    if told is None:
        return None
    # Pandas and more takes a second to import.
    from pipeline_lib.steps.choose_precision.bundled import choose_bundled  # noqa: PLC0415

    wanted, _ = choose_bundled(told, "auto", runtime)
    return wanted if can_compute(wanted, runtime) else None


def _has_int8(source: str | PathLike[str], model: str | None) -> bool:
    """Tell whether a network has been converted to 8-bit integers."""
    if names_bundle(fspath(source)):
        told = find_bundle(fspath(source)).precision
        return told is not None and bool(told.quantised)
    record = _read_record(source, model)
    return record is not None and record.precision == "int8"


def _read_record(source: str | PathLike[str], model: str | None) -> PrecisionRecord | None:
    """Return what was measured of a network of a results folder; None if nothing was."""
    folder = find_results(source)
    name = read_config(folder.config).training.name if model is None else model
    files = folder.model(name)
    return read_own_precision(files) if files.precision.is_file() else None


def load_networks(
    source: str | PathLike[str], options: RuntimeOptions, model: str | None = None
) -> LiveNetworks:
    """Load the network of a bundle, or of a results folder.

    Parameters
    ----------
    source
        Address of a bundle, as `pipeline_lib.core.untrusted.bundle_address.parse_address` takes
        it, or a results folder.
    options
        Runtime of the networks.
    model
        Name of the network in a results folder; None: that of the last run.

    Raises
    ------
    ConfigError
        If the runtime lacks the precision.
    ModelError
        If there is no such network, or it cannot be loaded.
    StoreError
        If the folder is no results folder.
    ValueError
        If the address is none.
    """
    if names_bundle(fspath(source)):
        if model is not None:
            raise ModelError("a bundle holds one network: give no `model` with it")
        return _load_bundle(find_bundle(fspath(source)), options)
    folder = find_results(source)
    config = read_config(folder.config)
    name = config.training.name if model is None else model
    files = folder.model(name)
    if not files.card.is_file():
        raise ModelError(f"{files.folder}: no network {name!r}; run Snakemake first")
    several = name == config.training.name
    members = files.list_members(count_members(config, folder)) if several else ()
    return _arrange(
        load_pose_predictor(
            files, options, config.locating, _without_surplus(config.assembly), members
        ),
        str(files.folder),
    )


def _load_bundle(bundle: Bundle, options: RuntimeOptions) -> LiveNetworks:
    used = bundle.manifest.settings
    with _unpack(bundle, with_weights=options.runtime == "torch") as files:
        members = files.list_members(1 + len(bundle.ensemble))
        predictor = load_pose_predictor(
            files,
            options,
            # Of the locator, which the bundle may lack, only what a network of windows needs.
            used.locating if bundle.locator is not None else StatedLocating(),
            _without_surplus(used.assembly),
            members,
        )
    return _arrange(predictor, f"{bundle.path.name} (SHA-256 {bundle.sha256})")


def _arrange(predictor: PosePredictor, source: str) -> LiveNetworks:
    if isinstance(predictor, CoarseToFine):
        return LiveNetworks(predictor, predictor.network, source)
    needs_locator = predictor.card.window is not None
    return LiveNetworks(predictor, None if needs_locator else predictor, source)


def _without_surplus(assembly: AssemblySettings) -> AssemblySettings:
    """Return the settings without slots from which only whole videos choose."""
    return assembly.model_copy(update={"surplus": 0})


@contextmanager
def _unpack(bundle: Bundle, *, with_weights: bool) -> Iterator[ModelFiles]:
    """Yield the files of a bundle's networks, until they are loaded."""
    record = BundleRecord(
        file=bundle.path.name, sha256=bundle.sha256, members=1 + len(bundle.ensemble)
    )
    with tempfile.TemporaryDirectory(prefix="cohortpose-live-") as folder:
        files = ModelFiles(Path(folder))
        places = {"": files, LOCATOR: files.locator}
        for number, name in enumerate(bundle.manifest.list_ensemble(), 2):
            places[name] = files.member(number)
        for name, card in bundle.networks.items():
            own = places[name]
            own.folder.mkdir(parents=True, exist_ok=True)
            quantised = bundle.read(name + QUANTISED)
            if quantised is not None:
                own.quantised.write_bytes(quantised)
            if with_weights:
                # PyTorch takes seconds to import.
                from pipeline_lib.steps.import_model import import_network  # noqa: PLC0415

                import_network(bundle, name, card.name, own, record)
                continue
            content = bundle.read(name + NETWORK)
            if content is None:
                raise ModelError(f"{bundle.path} has no {name}{NETWORK}")
            own.network.write_bytes(content)
            text = format_card(card.model_copy(update={"bundle": record}))
            own.card.write_text(text, encoding="utf-8")
        yield files
