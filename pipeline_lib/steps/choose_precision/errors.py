"""Compare the errors of two precisions on labelled frames, keypoint by keypoint."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_ROW = ["image", "individual", "bodypart"]


class ErrorGrowth(NamedTuple):
    """Hold how errors on labelled frames differ from those of float32.

    Attributes
    ----------
    error
        Mean error of the keypoints that both found, px; NaN without any.
    growth, noise
        Growth of the mean error in percent, and its standard error; NaN without any, and for the
        noise with a single image.
    missed
        Number of labelled keypoints that were not found.
    moved, moved_median
        Mean and median distance from the keypoints of float32, px.
    points, images
        Number of labelled keypoints and of their images.
    """

    error: float
    growth: float
    noise: float
    missed: int
    moved: float
    moved_median: float
    points: int
    images: int


def compare_errors(plain: pd.DataFrame, other: pd.DataFrame) -> ErrorGrowth:
    """Compare the predictions of a precision with those of float32.

    Parameters
    ----------
    plain, other
        Columns ``PREDICTION_COLUMNS``, of the same images. Rows without labels, such as those of
        false animals, do not count.
    """
    reference = _index(plain)
    found = _index(other).reindex(reference.index)
    labelled = reference[["label_x", "label_y"]].to_numpy(np.float64)
    before, after = (one[["x", "y"]].to_numpy(np.float64) for one in (reference, found))
    both = np.isfinite(before).all(1) & np.isfinite(after).all(1)
    old = np.linalg.norm(before - labelled, axis=1)[both]
    new = np.linalg.norm(after - labelled, axis=1)[both]
    moved = np.linalg.norm(after - before, axis=1)[both]
    image = reference.index.get_level_values("image")
    growth, noise = _measure_growth(old, new, pd.factorize(image[both])[0])
    return ErrorGrowth(
        error=_mean(new),
        growth=growth,
        noise=noise,
        missed=int((~np.isfinite(after).all(1)).sum()),
        moved=_mean(moved),
        moved_median=float(np.median(moved)) if moved.size else float("nan"),
        points=len(reference),
        images=image.nunique(),
    )


def _index(predictions: pd.DataFrame) -> pd.DataFrame:
    labelled = np.isfinite(predictions[["label_x", "label_y"]].to_numpy(np.float64)).all(1)
    kept: pd.DataFrame = predictions[labelled].set_index(_ROW)
    return kept


def _measure_growth(
    old: NDArray[np.float64], new: NDArray[np.float64], image: NDArray[np.int64]
) -> tuple[float, float]:
    """Return the growth of a mean in percent, and its standard error over images."""
    total = float(old.sum())
    if not total:
        # No error can be told from none: keypoints that stay have no growth either.
        return (0.0 if old.size and not new.any() else float("nan")), float("nan")
    growth = float(new.sum()) / total - 1.0
    images = int(image.max()) + 1
    if images == 1:
        return 100.0 * growth, float("nan")
    # Error of a ratio of sums: keypoints of an image are not independent.
    residual = np.bincount(image, new - (1.0 + growth) * old, images)
    noise = np.sqrt(images / (images - 1) * float((residual**2).sum())) / total
    return 100.0 * growth, 100.0 * float(noise)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")
