"""Keep the score maps that the network draws for the worst test frames, for the report."""

import logging
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import ModelError, StoreError
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.io.labels.image_paths import shorten_path
from pipeline_lib.io.targets.score_maps import PredictedMaps, write_score_maps
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.kernels.metrics.keypoints import keypoint_distance
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.inference.decoding import MapDecoder
from pipeline_lib.models.inference.onnx_runtime import OnnxRuntime

_log = logging.getLogger(__name__)

MOST_SAMPLES = 4


def publish_score_maps(
    results: Results, model: str, card: ModelCard, predictions: pd.DataFrame
) -> None:
    """Publish the score maps that the network draws for the worst test samples.

    The network sees the images of the target store, so that its maps and the stored ones have
    the same cells. Where there is nothing to draw, the file says why.

    Parameters
    ----------
    results, model, card
        The run, the name of its network, and the network's card.
    predictions
        Columns `PREDICTION_COLUMNS`, with absolute paths of images.
    """
    try:
        maps = _draw_worst(results, results.model(model), card, predictions)
    except (StoreError, ModelError) as error:
        # A page that is passed on must not show the paths of its author.
        said = str(error).replace(f"{results.root}/", "")
        maps = PredictedMaps.empty(f"The targets or the network cannot be read: {said}.")
    if maps.reason:
        _log.info("no score maps for the report: %s", maps.reason)
    write_score_maps(results.score_maps(model), maps)


def _draw_worst(
    results: Results, files: ModelFiles, card: ModelCard, predictions: pd.DataFrame
) -> PredictedMaps:
    if not (predictions["split"] == "test").any():
        return PredictedMaps.empty(
            "No labelled frame is held out for testing: see training.split.test_fraction."
        )
    store = TargetStore(results.targets)
    if _describe_store(store) != _describe_card(card):
        return PredictedMaps.empty(
            "The target store is not that of this network: run make-targets and train."
        )
    ranked = rank_samples(store, predictions, results)[:MOST_SAMPLES]
    if not ranked:
        return PredictedMaps.empty("No test frame of the target store has a measured error.")
    numbers = [number for number, _ in ranked]
    score = _draw_score(files, card, store, numbers)
    errors = np.array([error for _, error in ranked])
    return PredictedMaps(store.key, np.array(numbers, np.int64), errors, score)


def rank_samples(
    store: TargetStore, predictions: pd.DataFrame, results: Results
) -> list[tuple[int, float]]:
    """Return number and mean error in px of the test samples, the largest error first.

    A labelled keypoint without a prediction counts as much as the largest error of all.
    """
    table = predictions[predictions["split"] == "test"]
    predicted, labelled = (
        table[names].to_numpy(np.float64) for names in (["x", "y"], ["label_x", "label_y"])
    )
    error = keypoint_distance(predicted, labelled)
    missing = np.isnan(error) & np.isfinite(labelled).all(axis=-1)
    error[missing] = np.nanmax(error, initial=0.0)
    known = {path: shorten_path(path, results.root)[1] for path in table["image"].unique()}
    measured = pd.DataFrame(
        {
            "image": [known[path] for path in table["image"]],
            "individual": table["individual"].to_numpy(),
            "error": error,
        }
    ).dropna()
    means = [
        (number, float(rows["error"].mean()))
        for number, rows in _find_rows(store, measured)
        if len(rows)
    ]
    return sorted(means, key=lambda one: -one[1])


def _find_rows(store: TargetStore, measured: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield the rows of each test sample: of an image, or of one animal's window."""
    by_image = dict(list(measured.groupby("image")))
    for number in store.of_split("test"):
        record = store.samples[number]
        rows = by_image.get(record.image, measured.iloc[:0])
        yield number, rows[rows["individual"] == record.individual] if record.individual else rows


def _draw_score(
    files: ModelFiles, card: ModelCard, store: TargetStore, numbers: list[int]
) -> NDArray[np.float32]:
    """Return the network's score maps of samples (sample, keypoint, rows, columns)."""
    network = OnnxRuntime(files.network, MapDecoder(card))
    drawn = []
    for number in numbers:
        image = store.read_seen("image", number)
        drawn.append(network.draw(np.ascontiguousarray(image)[None])["score"][0])
    return np.stack(drawn)


def _describe_store(store: TargetStore) -> tuple[object, ...]:
    layout = store.layout
    return layout.bodyparts, layout.stride, layout.scale, layout.window


def _describe_card(card: ModelCard) -> tuple[object, ...]:
    return card.skeleton.bodyparts, card.stride, card.scale, card.window
