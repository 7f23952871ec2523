"""Measure how far predicted keypoints are from labelled ones."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pipeline_lib.kernels.metrics import keypoints as kernels

ALL_KEYPOINTS = "all"


def compute_metrics(
    predicted: ArrayLike,
    labelled: ArrayLike,
    *,
    keypoints: Sequence[str] | None = None,
    pck_thresholds: Sequence[float] = (5.0,),
) -> pd.DataFrame:
    """Measure the error of predicted keypoints, as the stage `evaluate` does.

    Parameters
    ----------
    predicted
        Shape (..., keypoint, 2), px; NaN where a keypoint was not found.
    labelled
        The same shape, px; NaN where a keypoint was not labelled. Several individuals must be in
        the same order in both.
    keypoints
        Names of the keypoints, for the rows; None: their numbers.
    pck_thresholds
        Distances in px for the percentage of correct keypoints (PCK).

    Returns
    -------
    DataFrame
        One row for all keypoints together (``all``) and one for each. Columns: ``points``, the
        number of labelled keypoints; ``detected``, the share of them that was found;
        ``mean_error``, ``median_error`` and ``rmse`` in px over those that were found, NaN where
        none was; ``pck@T`` for each threshold, the share of labelled keypoints that were found
        within T px.

    Notes
    -----
    The table of `evaluate` calls a keypoint detected if its confidence reaches
    ``evaluation.pcutoff``. To count so, set the others to NaN before.

    Raises
    ------
    ValueError
        If the shapes differ or do not end in (keypoint, 2), or the names are not one for each.

    Examples
    --------
    Two images with two keypoints; the second keypoint is labelled in one of them only:

    >>> import numpy as np
    >>> import pipeline_lib
    >>> labelled = np.array([[[10.0, 10.0], [20.0, 20.0]], [[30.0, 30.0], [np.nan, np.nan]]])
    >>> predicted = np.array([[[13.0, 14.0], [20.0, 30.0]], [[30.0, 30.0], [7.0, 7.0]]])
    >>> table = pipeline_lib.compute_metrics(predicted, labelled, keypoints=["nose", "tail"])
    >>> table[["points", "mean_error", "pck@5"]]
              points  mean_error     pck@5
    keypoint
    all            3         5.0  0.666667
    nose           2         2.5  1.000000
    tail           1        10.0  0.000000
    """
    found, truth = np.asarray(predicted, np.float64), np.asarray(labelled, np.float64)
    if found.shape != truth.shape or found.ndim < 2 or found.shape[-1] != 2:
        raise ValueError(
            "predicted and labelled must have one shape (..., keypoint, 2), found "
            f"{found.shape} and {truth.shape}"
        )
    count = found.shape[-2]
    names = [str(number) for number in range(count)] if keypoints is None else list(keypoints)
    if len(names) != count:
        raise ValueError(f"expected {count} names of keypoints, found {len(names)}")
    distance = kernels.keypoint_distance(found, truth).reshape(-1, count)
    labels = np.isfinite(truth).all(-1).reshape(-1, count)
    # A label without a prediction counts in PCK, as wrong.
    distance[np.isnan(distance) & labels] = np.inf
    rows = [(ALL_KEYPOINTS, distance), *zip(names, distance.T, strict=True)]
    table = [{"keypoint": name, **_measure(part, pck_thresholds)} for name, part in rows]
    return pd.DataFrame(table).set_index("keypoint")


def _measure(distance: NDArray[np.float64], thresholds: Sequence[float]) -> dict[str, float]:
    labelled = ~np.isnan(distance)
    points = int(labelled.sum())
    return {
        "points": points,
        "detected": float(np.isfinite(distance).sum() / points) if points else float("nan"),
        "mean_error": kernels.mean_error(distance),
        "median_error": kernels.median_error(distance),
        "rmse": kernels.root_mean_square_error(distance),
        **{
            f"pck@{threshold:g}": kernels.share_of_correct_keypoints(distance, threshold)
            for threshold in thresholds
        },
    }
