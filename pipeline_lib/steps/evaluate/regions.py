"""Calibrate the confidence of a network on held-out labels, and judge the calibration."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import REGION_COLUMNS
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.kernels.ensembles.regions import (
    LEAST_IMAGES,
    LEAST_POINTS,
    LEVELS,
    HeldOut,
    calibrate,
    judge,
)
from pipeline_lib.kernels.metrics.keypoints import keypoint_distance
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.regions import format_regions, make_regions

_log = logging.getLogger(__name__)

_ALL = "all"


def publish_regions(
    config: Config, results: Results, cards: Sequence[ModelCard], predictions: pd.DataFrame
) -> None:
    """Publish the calibration of confidence with the network, and a table of its coverage.

    It is fitted on the test frames, and on the validation frames where nothing was chosen by
    these. With too few of them there is none, and the log says so.

    Parameters
    ----------
    config, results
        The run.
    cards
        Cards of the networks that predicted.
    predictions
        Columns `PREDICTION_COLUMNS`, and ``spread`` if there are several networks.
    """
    model = config.training.name
    path, table = results.model(model).regions, results.regions(model)
    bodyparts = cards[0].skeleton.bodyparts
    points = take_held_out(predictions, bodyparts, list_held_out(config))
    images = len(np.unique(points.image))
    if len(points.error) < LEAST_POINTS or images < LEAST_IMAGES:
        _log.warning(
            "confidence is not calibrated: %d held-out points of %d images, and %d of %d are "
            "needed: raise training.split.test_fraction",
            *(len(points.error), images, LEAST_POINTS, LEAST_IMAGES),
        )
        remove_regions(config, results)
        return
    radius = judge(points, len(bodyparts))
    inside = points.error[:, None] <= radius
    regions = make_regions(
        cards,
        calibrate(points, len(bodyparts)),
        [round(float(share), 4) for share in inside.mean(axis=0)],
        points=len(points.error),
        images=images,
    )
    publish_text(path, format_regions(regions))
    write_table(table, REGION_COLUMNS, _tabulate(points, radius, bodyparts))
    share = float(inside[:, LEVELS.index(0.9)].mean())
    _log.info("confidence: regions of 90 %% hold %.1f %% of held-out points", 100 * share)


def remove_regions(config: Config, results: Results) -> None:
    """Remove a calibration that an earlier evaluation left, and its table."""
    model = config.training.name
    results.model(model).regions.unlink(missing_ok=True)
    results.regions(model).unlink(missing_ok=True)


def list_held_out(config: Config) -> tuple[str, ...]:
    """Return the splits of frames that no network was fitted to."""
    chosen = config.training.checkpoint == "best" or config.training.start_from is not None
    return ("test",) if chosen else ("test", "validation")


def take_held_out(
    predictions: pd.DataFrame, bodyparts: Sequence[str], splits: Sequence[str]
) -> HeldOut:
    """Return the held-out points that are labelled and were found."""
    error = keypoint_distance(
        predictions[["x", "y"]].to_numpy(np.float64),
        predictions[["label_x", "label_y"]].to_numpy(np.float64),
    )
    confidence = predictions["confidence"].to_numpy(np.float64)
    kept = predictions["split"].isin(splits).to_numpy() & np.isfinite(error) & (confidence > 0)
    names = predictions["bodypart"].to_numpy()
    number = {name: place for place, name in enumerate(bodyparts)}
    images, _ = pd.factorize(predictions["image"])
    spread = (
        predictions["spread"].to_numpy(np.float64)
        if "spread" in predictions.columns
        else np.full(len(predictions), np.nan)
    )
    return HeldOut(
        error[kept],
        confidence[kept],
        spread[kept],
        np.array([number[name] for name in names[kept]], np.int64),
        np.asarray(images, np.int64)[kept],
    )


def _tabulate(
    points: HeldOut, radius: NDArray[np.float64], bodyparts: Sequence[str]
) -> Iterator[dict[str, object]]:
    """Yield, for each level and bodypart, the share of points inside and the usual radius.

    Both are None where there are too few points to tell: every point lies in an endless region.
    """
    for column, level in enumerate(LEVELS):
        for number, name in enumerate((_ALL, *bodyparts), -1):
            rows = (points.bodypart == number) | (number < 0)
            if rows.any():
                usual = float(np.median(radius[rows, column]))
                share = float((points.error[rows] <= radius[rows, column]).mean())
                told = (share, usual) if np.isfinite(usual) else (None, None)
                values = (name, level, int(rows.sum()), *told)
                yield dict(zip(REGION_COLUMNS, values, strict=True))
