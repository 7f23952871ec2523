"""Run the verb `evaluate`: predict every labelled image and measure the error."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError, ModelError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import EvaluationSettings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import (
    MEMBER_COLUMNS,
    METRIC_COLUMNS,
    PREDICTION_COLUMNS,
    SINGLE_INDIVIDUAL,
)
from pipeline_lib.io.image_header import read_header
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels.image_paths import shorten_images
from pipeline_lib.io.labels.table import Labels, label_arrays, read_labels
from pipeline_lib.io.publish import publish_file
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.kernels.metrics import keypoints as similarity
from pipeline_lib.models.inference.locating.coarse_to_fine import CoarseToFine, load_pose_predictor
from pipeline_lib.models.inference.predictor import PosePredictor, RuntimeOptions
from pipeline_lib.models.members import count_members, read_member_cards
from pipeline_lib.models.precision import hash_networks, in_float32, list_networks
from pipeline_lib.steps.evaluate.evaluated import publish_networks
from pipeline_lib.steps.evaluate.individuals import (
    LabelledIndividuals,
    measure_individuals,
    predict_individuals,
)
from pipeline_lib.steps.evaluate.members import measure_members
from pipeline_lib.steps.evaluate.regions import publish_regions, remove_regions
from pipeline_lib.steps.evaluate.score_maps import publish_score_maps

logger = logging.getLogger(__name__)

ALL_BODYPARTS = "all"
SPLITS = ("train", "validation", "test")


def run_evaluate(config: Config, results: Results) -> None:
    """Publish predictions and metrics of the trained network on all labelled images.

    The score maps of the worst test frames are kept as well.

    Raises
    ------
    LabelError
        If an image cannot be read; nothing is replaced then.
    ModelError
        If the network was trained for other bodyparts than the labels have.
    """
    labels = read_labels(results.labels)
    # Before anything is loaded or replaced.
    check_images(labels)
    # Labelled images may differ in size: they are predicted one by one.
    # Other precisions are compared with this evaluation.
    options = replace(RuntimeOptions.of(in_float32(config).inference), batch_size=1)
    # Each image is judged by itself: there is no video over which to choose.
    assembly = config.assembly.model_copy(update={"surplus": 0})
    files = results.model(config.training.name)
    members = files.list_members(count_members(config, results))
    networks = hash_networks(list_networks(config, results))
    predictor = load_pose_predictor(files, options, config.locating, assembly, members)
    if predictor.card.skeleton.bodyparts != labels.bodyparts:
        raise ModelError(
            f"model {predictor.card.name} locates {', '.join(predictor.card.skeleton.bodyparts)}; "
            f"the labels have {', '.join(labels.bodyparts)}: run train again"
        )
    images, labelled = label_arrays(labels)

    def predict(one: PosePredictor) -> pd.DataFrame:
        if config.individuals.max > 1:
            truth = LabelledIndividuals(images, labelled, labels.slots)
            return predict_individuals(one, truth, config.evaluation)
        return predict_images(one, images, labelled[:, 0])

    predictions = predict(predictor)
    _log_counts(predictor)
    rows = list(measure_predictions(predictions, labels.bodyparts, config.evaluation))
    if config.individuals.max > 1:
        rows += measure_splits(predictions, config.evaluation)
    # A stop in between leaves tables of two evaluations.
    publish_networks(results, config.training.name, {})
    with publish_file(results.predictions(config.training.name)) as part:
        shorten_images(predictions, results.root).to_parquet(part, index=False)
    cards = read_member_cards(files, len(members)) if config.calibrates else []
    if len(members) > 1:

        def predict_member(place: int) -> pd.DataFrame:
            alone = (members[place],)
            return predict(load_pose_predictor(files, options, config.locating, assembly, alone))

        measured = measure_members(predictions, cards, predict_member)
        write_table(results.members(config.training.name), MEMBER_COLUMNS, measured)
    else:
        # Of an ensemble of before.
        results.members(config.training.name).unlink(missing_ok=True)
    if config.calibrates:
        publish_regions(config, results, cards, predictions)
    else:
        remove_regions(config, results)
    publish_score_maps(results, config.training.name, predictor.card, predictions)
    write_table(results.metrics(config.training.name), METRIC_COLUMNS, rows)
    publish_networks(results, config.training.name, networks)
    for row in rows:
        if row["bodypart"] == ALL_BODYPARTS and row["metric"] == "mean_error":
            logger.info("%s: mean error %.2f px", row["split"], row["value"])


def _log_counts(predictor: PosePredictor) -> None:
    if not isinstance(predictor, CoarseToFine):
        return
    counts = predictor.counts
    if not counts.frames:
        logger.info("predicted in whole images: windows would be as slow")
        return
    logger.info(
        "predicted in whole images: %d of %d without an animal that fits a window, %d cut by it",
        counts.not_found,
        counts.frames,
        counts.cut,
    )


def check_images(labels: Labels) -> None:
    """Raise `LabelError` with every labelled image that cannot be read, by its header."""
    problems = []
    for image in labels.table["image"].unique():
        try:
            read_header(Path(image))
        except StoreError as error:
            problems.append(str(error))
    if problems:
        raise LabelError("labelled images", problems)


def measure_predictions(
    predictions: pd.DataFrame, bodyparts: tuple[str, ...], settings: EvaluationSettings
) -> Iterator[dict[str, object]]:
    """Yield every metric of every bodypart and split.

    A metric named with ``(pcutoff)`` includes keypoints of at least that confidence; in PCK
    those below it count as wrong, as do labelled keypoints without a prediction.

    Parameters
    ----------
    predictions
        Columns `PREDICTION_COLUMNS`.
    bodyparts
        In the order of the rows to yield, after `ALL_BODYPARTS`.
    settings
        Thresholds.
    """
    predicted = predictions[["x", "y"]].to_numpy(np.float64)
    labelled = predictions[["label_x", "label_y"]].to_numpy(np.float64)
    distance = similarity.keypoint_distance(predicted, labelled)
    distance[np.isnan(distance) & np.isfinite(labelled).all(-1)] = np.inf
    found = predictions["confidence"].to_numpy() >= settings.pcutoff
    names, splits = predictions["bodypart"].to_numpy(), predictions["split"].to_numpy()
    for split in SPLITS:
        for bodypart in (ALL_BODYPARTS, *bodyparts):
            rows = (splits == split) & ((bodypart == ALL_BODYPARTS) | (names == bodypart))
            if rows.any():
                for metric, value in _measure(distance[rows], found[rows], settings).items():
                    yield {"bodypart": bodypart, "split": split, "metric": metric, "value": value}


def measure_splits(
    predictions: pd.DataFrame, settings: EvaluationSettings
) -> Iterator[dict[str, object]]:
    """Yield, for every split, the metrics of whole animals; see `measure_individuals`."""
    for split in SPLITS:
        rows = predictions[predictions["split"] == split]
        if len(rows):
            for metric, value in measure_individuals(rows, settings).items():
                yield {
                    "bodypart": ALL_BODYPARTS,
                    "split": split,
                    "metric": metric,
                    "value": value,
                }


def _measure(
    distance: NDArray[np.float64], found: NDArray[np.bool_], settings: EvaluationSettings
) -> dict[str, float]:
    labelled = ~np.isnan(distance)
    kept = distance[found]
    metrics = {
        "points": float(labelled.sum()),
        "detected": float(found[labelled].mean()) if labelled.any() else float("nan"),
        "mean_error": similarity.mean_error(distance),
        "median_error": similarity.median_error(distance),
        "rmse": similarity.root_mean_square_error(distance),
        "mean_error (pcutoff)": similarity.mean_error(kept),
        "median_error (pcutoff)": similarity.median_error(kept),
        "rmse (pcutoff)": similarity.root_mean_square_error(kept),
    }
    for threshold in settings.pck_thresholds:
        name = f"pck@{threshold:g}"
        metrics[name] = similarity.share_of_correct_keypoints(distance, threshold)
        metrics[f"{name} (pcutoff)"] = similarity.share_of_correct_keypoints(
            distance, threshold, found
        )
    return metrics


def predict_images(
    predictor: PosePredictor, images: pd.DataFrame, labelled: NDArray[np.float64]
) -> pd.DataFrame:
    """Predict images one by one.

    Parameters
    ----------
    predictor
        What predicts.
    images
        As `pipeline_lib.io.labels.table.label_arrays` gives them.
    labelled
        Shape (image, keypoint, 2), px; NaN where unlabelled.

    Returns
    -------
    DataFrame
        Columns `PREDICTION_COLUMNS`, and ``spread`` of an ensemble; one row per image and
        bodypart.
    """
    bodyparts = predictor.card.skeleton.bodyparts
    rows, spreads = [], []
    for image, points in zip(images.to_dict("records"), labelled, strict=True):
        found = predictor.predict([read_image(Path(image["image"]))])
        position, confidence = found.position, found.confidence
        if found.spread is not None:
            spreads += found.spread[0, 0].tolist()
        for number, bodypart in enumerate(bodyparts):
            rows.append(
                (
                    image["image"],
                    image["video"],
                    image["frame"],
                    image["split"],
                    SINGLE_INDIVIDUAL,
                    bodypart,
                    *position[0, 0, number].tolist(),
                    float(confidence[0, 0, number]),
                    *points[number].tolist(),
                )
            )
    table = pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS))
    return table.assign(spread=spreads) if spreads else table
