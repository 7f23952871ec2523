"""Measure the members of an ensemble one by one, beside the ensemble."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from pipeline_lib.core.tables import MEMBER_COLUMNS
from pipeline_lib.kernels.metrics import keypoints as similarity
from pipeline_lib.models.card import ModelCard

ENSEMBLE = "ensemble"
_SPLITS = ("train", "validation", "test")


def measure_members(
    predictions: pd.DataFrame,
    cards: Sequence[ModelCard],
    predict: Callable[[int], pd.DataFrame],
) -> Iterator[dict[str, object]]:
    """Yield the errors of each member and of the ensemble, by split.

    Parameters
    ----------
    predictions
        Columns `PREDICTION_COLUMNS`, of the ensemble.
    cards
        Cards of the members.
    predict
        Return the same table of one member, by its place in `cards`.

    Yields
    ------
    dict
        Columns `MEMBER_COLUMNS`; errors in px, of labelled keypoints that were found.
    """
    yield from _measure(predictions, ENSEMBLE, "")
    for place, card in enumerate(cards):
        yield from _measure(predict(place), str(place + 1), card.training.seed)


def _measure(table: pd.DataFrame, name: str, seed: object) -> Iterator[dict[str, object]]:
    distance = similarity.keypoint_distance(
        table[["x", "y"]].to_numpy(np.float64), table[["label_x", "label_y"]].to_numpy(np.float64)
    )
    splits = table["split"].to_numpy()
    for split in _SPLITS:
        errors = distance[splits == split]
        errors = errors[np.isfinite(errors)]
        if len(errors):
            values = (
                name,
                seed,
                split,
                len(errors),
                similarity.mean_error(errors),
                similarity.median_error(errors),
                similarity.root_mean_square_error(errors),
            )
            yield dict(zip(MEMBER_COLUMNS, values, strict=True))
