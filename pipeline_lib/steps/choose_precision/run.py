"""Run the verb `choose-precision`: measure speed and error of each precision, and choose one.

Networks in 8-bit integers are made here, from the labelled training frames.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.processor import describe_processor
from pipeline_lib.core.settings.run import Config
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.io.labels.table import Labels, label_arrays, read_labels
from pipeline_lib.io.publish import publish_file, publish_text
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.models.inference.locating.coarse_to_fine import load_pose_predictor
from pipeline_lib.models.inference.predictor import PosePredictor, RuntimeOptions
from pipeline_lib.models.inference.tuning.quantisation import FloatPart, QuantisationError, quantise
from pipeline_lib.models.inference.tuning.runtime_choice import list_versions
from pipeline_lib.models.members import count_members
from pipeline_lib.models.precision import (
    Precision,
    PrecisionMeasurement,
    PrecisionRecord,
    format_precision,
    hash_networks,
    list_networks,
)
from pipeline_lib.steps.choose_precision.bundled import adopt_precision
from pipeline_lib.steps.choose_precision.choice import MOST_GROWTH, choose
from pipeline_lib.steps.choose_precision.measure import (
    Candidate,
    Load,
    Measured,
    list_candidates,
    measure_candidates,
)
from pipeline_lib.steps.evaluate.individuals import LabelledIndividuals, predict_individuals
from pipeline_lib.steps.evaluate.run import check_images, predict_images
from pipeline_lib.steps.runs.networks.bundle_fit import find_imported

logger = logging.getLogger(__name__)

# More frames hardly widen the ranges, and each takes the time of a few predictions.
_CALIBRATION_FRAMES = 32
_MOST_IMAGES = 200
_PRECISIONS: Mapping[str, tuple[Precision, ...]] = {
    "auto": get_args(Precision),
    "int8": ("float32", "int8"),
}
_KEPT: Mapping[FloatPart, str] = {"ends": "the first and last layers", "head": "the whole head"}


@dataclass(frozen=True)
class _Labelled:
    """Hold the labelled images that errors are measured on."""

    images: pd.DataFrame
    positions: NDArray[np.float64]
    slots: tuple[str, ...]

    def predict(self, predictor: PosePredictor, config: Config) -> pd.DataFrame:
        """Return predictions and labels, columns ``PREDICTION_COLUMNS``."""
        if config.individuals.max > 1:
            truth = LabelledIndividuals(self.images, self.positions, self.slots)
            return predict_individuals(predictor, truth, config.evaluation)
        return predict_images(predictor, self.images, self.positions[:, 0])


def run_choose_precision(config: Config, results: Results) -> None:
    """Publish what was measured of each precision, and which one the network runs with.

    Parameters
    ----------
    config, results
        The run.

    Raises
    ------
    ConfigError
        If the settings state the precision, so that there is nothing to measure.
    LabelError
        If a labelled image cannot be read; nothing is replaced then.
    ModelError
        If a network is missing.
    """
    stated = config.inference.precision
    if stated not in ("auto", "int8"):
        problem = f"`inference.precision`: {stated} needs no measurement: set it to auto, or int8"
        raise ConfigError("config", [problem])
    networks = list_networks(config, results)
    record = PrecisionRecord(
        stated=stated,
        precision="float32",
        reason="",
        networks=hash_networks(networks),
        processor=describe_processor(),
        versions=list_versions(),
    )
    if config.model.bundle is not None:
        record = adopt_precision(
            find_imported(config.model.bundle, results.model(config.training.name)),
            config.inference,
            networks,
            record,
            _find_loader(config, results),
        )
    else:
        record = _measure(config, results, networks, record)
    _publish(results.model(config.training.name), networks, record)
    if stated == "int8" and record.precision != "int8":
        logger.warning("int8 was asked for and cannot be had: precision %s", record.reason)
    else:
        logger.info("precision %s", record.reason)
    if record.precision == "int8" and stated == "int8":
        _warn_of_error(record)


def _measure(
    config: Config, results: Results, networks: Mapping[str, ModelFiles], record: PrecisionRecord
) -> PrecisionRecord:
    labels = read_labels(results.labels)
    check_images(labels)
    labelled = _choose_images(labels)
    candidates, without = list_candidates(config.inference, _PRECISIONS[record.stated])
    obstacle, calibrated = "", 0
    for keep in get_args(FloatPart):
        if any(precision == "int8" for _, precision in candidates):
            obstacle, calibrated = _quantise_all(config, results, networks, keep)
        tried = [one for one in candidates if not (obstacle and one[1] == "int8")]
        measured = _measure_all(config, results, labelled, tried)
        if not _is_sensitive(measured.rows):
            break
        logger.info("int8: mean error too large with %s in float", _KEPT[keep])
    without += [
        PrecisionMeasurement(runtime=runtime, precision=precision, reason=obstacle)
        for runtime, precision in candidates
        if obstacle and precision == "int8"
    ]
    rows = (*measured.rows, *without)
    choice = choose(rows, record.stated, measured.points, measured.judged_on)
    chosen = choice.measurement
    in_integers = chosen is not None and chosen.precision == "int8"
    return record.model_copy(
        update={
            "precision": chosen.precision if chosen else "float32",
            "runtime": chosen.runtime if chosen else None,
            "reason": choice.reason,
            "quantised": {
                place: hash_path(one.quantised) for place, one in networks.items() if in_integers
            },
            "judged_on": measured.judged_on,
            "images": measured.images,
            "points": measured.points,
            "calibrated_on": calibrated if in_integers else 0,
            "measured": rows,
        }
    )


def _choose_images(labels: Labels) -> _Labelled:
    """Return the labelled images, or of many the test images and some others."""
    images, positions = label_arrays(labels)
    rows = np.arange(len(images))
    if len(images) > _MOST_IMAGES:
        test = (images["split"] == "test").to_numpy()
        rows = np.sort(
            np.concatenate(
                [_spread(rows[test], _MOST_IMAGES // 2), _spread(rows[~test], _MOST_IMAGES // 2)]
            )
        )
    return _Labelled(images.iloc[rows].reset_index(drop=True), positions[rows], labels.slots)


def _spread(rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Return at most so many rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.intp)]


def _quantise_all(
    config: Config, results: Results, networks: Mapping[str, ModelFiles], keep: FloatPart
) -> tuple[str, int]:
    """Write every network in 8-bit integers.

    Returns
    -------
    obstacle : str
        Why one of them cannot be converted; empty if all can.
    frames : int
        Number of frames that they were calibrated on.
    """
    seen = dict[Path, list[NDArray[np.uint8]]]()
    for place, files in networks.items():
        store = results.locator_targets if files == _locator(config, results) else results.targets
        if store not in seen:
            seen[store] = _read_training_frames(store)
        try:
            with publish_file(files.quantised) as part:
                quantise(files.network, seen[store], part, keep)
        except QuantisationError as error:
            where = "" if place == "." else f"{place}: "
            return f"{where}{error}", 0
    return "", len(seen[results.targets])


def _locator(config: Config, results: Results) -> ModelFiles:
    return results.model(config.training.name).locator


def _read_training_frames(path: Path) -> list[NDArray[np.uint8]]:
    """Return training frames as the network sees them, evenly spaced among all."""
    store = TargetStore(path)
    samples = _spread(np.array(store.of_split("train"), np.intp), _CALIBRATION_FRAMES)
    return [store.read_seen("image", int(sample)) for sample in samples]


def _measure_all(
    config: Config, results: Results, labelled: _Labelled, candidates: Sequence[Candidate]
) -> Measured:
    return measure_candidates(
        candidates,
        _find_loader(config, results),
        lambda predictor: labelled.predict(predictor, config),
        [Path(image) for image in labelled.images["image"]],
        config.inference.batch_size,
    )


def _find_loader(config: Config, results: Results) -> Load:
    """Return a function that loads the predictor of all networks, with a runtime."""
    files = results.model(config.training.name)
    members = files.list_members(count_members(config, results))
    # Each image is judged by itself: there is no video over which to choose.
    assembly = config.assembly.model_copy(update={"surplus": 0})

    def load(options: RuntimeOptions) -> PosePredictor:
        return load_pose_predictor(files, options, config.locating, assembly, members)

    return load


def _is_sensitive(rows: Sequence[PrecisionMeasurement]) -> bool:
    """Tell whether 8-bit integers let the error grow by too much."""
    growths = [one.growth for one in rows if one.precision == "int8" and one.growth is not None]
    return bool(growths) and min(growths) > MOST_GROWTH


def _publish(
    files: ModelFiles, networks: Mapping[str, ModelFiles], record: PrecisionRecord
) -> None:
    for one in networks.values():
        if record.precision != "int8":
            one.quantised.unlink(missing_ok=True)
    publish_text(files.precision, format_precision(record))


def _warn_of_error(record: PrecisionRecord) -> None:
    chosen = [one for one in record.measured if one.precision == "int8" and one.growth is not None]
    growth = min((one.growth or 0.0 for one in chosen), default=0.0)
    if growth > MOST_GROWTH:
        logger.warning(
            "int8 was asked for: its mean error on labelled frames is %.1f %% larger; `auto` "
            "would not have chosen it",
            growth,
        )
