"""Run the verb `import-model`: verify a bundle and publish its network as that of the run."""

import logging
import shutil

from pipeline_lib.core import versions
from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import HISTORY_COLUMNS
from pipeline_lib.core.untrusted.bundle_address import parse_address
from pipeline_lib.io.publish import publish_file, publish_text
from pipeline_lib.models.card import BundleRecord, ModelCard, format_card
from pipeline_lib.models.regions import format_regions
from pipeline_lib.models.zoo.archive import Bundle
from pipeline_lib.models.zoo.manifest import HISTORY, LOCATOR, NETWORK, WEIGHTS
from pipeline_lib.models.zoo.sources import find_bundle
from pipeline_lib.steps.runs.networks.bundle_fit import find_trained, list_bundle_problems
from pipeline_lib.steps.runs.stage_keys import require_claimed

logger = logging.getLogger(__name__)


def run_import_model(config: Config, results: Results) -> None:
    """Publish the network of ``model.bundle`` under ``models/NAME``, where trainings publish.

    Parameters
    ----------
    config, results
        The run.

    Raises
    ------
    ConfigError
        If the settings name no bundle, or do not go with it, or a network that was trained here
        has its name.
    ModelError
        If the bundle cannot be found or used, or its exported networks are not those of its
        weights.
    StoreError
        If it is another one than when the run started.
    """
    if config.model.bundle is None:
        raise ConfigError("config", ["`model.bundle`: expected a bundle to import, found null"])
    bundle = find_bundle(config.model.bundle)
    files = results.model(config.training.name)
    if problems := [*list_bundle_problems(config, bundle), *find_trained(files, begun=True)]:
        raise ConfigError("config", problems)
    require_claimed(config, results, "import-model", bundles=[bundle.sha256])
    # PyTorch takes seconds to import: only this verb pays.
    from pipeline_lib.models.zoo.agreement import check_agreement  # noqa: PLC0415

    # Before anything is replaced. Whether this machine runs networks in 8-bit integers,
    # choose-precision finds out, and no run fails for it.
    check_agreement(bundle, quantised=False)
    name = parse_address(config.model.bundle).name
    record = BundleRecord(file=name, sha256=bundle.sha256, members=1 + len(bundle.ensemble))
    # Of another bundle.
    shutil.rmtree(files.members, ignore_errors=True)
    for path in (files.regions, files.precision, files.quantised, files.locator.quantised):
        path.unlink(missing_ok=True)
    for number, folder in enumerate(bundle.manifest.list_ensemble(), 2):
        import_network(bundle, folder, config.training.name, files.member(number), record)
    if bundle.locator is not None:
        import_network(bundle, LOCATOR, config.training.name, files.locator, record)
    if bundle.regions is not None:
        publish_text(files.regions, format_regions(bundle.regions))
    import_network(bundle, "", config.training.name, files, record)
    logger.info("network of %s in %s", name, files.folder)


def import_network(
    bundle: Bundle, folder: str, name: str, files: ModelFiles, record: BundleRecord
) -> None:
    """Publish one network of a bundle, its card last.

    Parameters
    ----------
    bundle, folder
        The bundle, and the folder of the network in it.
    name
        Name that the network has in the run.
    files
        Where its files go.
    record
        Where it comes from.

    Raises
    ------
    ModelError
        If the weights are not those of the network that the card describes.
    """
    # PyTorch takes seconds to import: only this verb pays.
    from pipeline_lib.models.zoo.weights import format_weights, unpack_weights  # noqa: PLC0415

    card = bundle.networks.get(folder)
    if card is None:
        raise ValueError(f"{bundle.path} has no network in {folder!r}")
    where = f"{bundle.path}: {folder}{WEIGHTS}"
    state = unpack_weights(_require(bundle, folder + WEIGHTS), card, where)
    with publish_file(files.weights) as part:
        part.write_bytes(format_weights(state))
    with publish_file(files.network) as part:
        part.write_bytes(_require(bundle, folder + NETWORK))
    history = bundle.read(folder + HISTORY) or "\t".join(HISTORY_COLUMNS).encode() + b"\n"
    with publish_file(files.history) as part:
        part.write_bytes(history)
    publish_text(files.card, format_card(_adopt(card, name, record)))


def _adopt(card: ModelCard, name: str, record: BundleRecord) -> ModelCard:
    """Return the card of a network in this run; its key depends on the whole bundle."""
    key = hash_settings("bundle", record.sha256, versions.IMPORT_MODEL)
    return card.model_copy(update={"name": name, "key": key, "bundle": record})


def _require(bundle: Bundle, name: str) -> bytes:
    content = bundle.read(name)
    if content is None:
        raise ValueError(f"{bundle.path} has no {name}")
    return content
