"""Calibrate confidence: the distance within which the truth lies with a stated probability.

The error of a keypoint is taken to be proportional to a scale that grows with the spread of an
ensemble and falls with the confidence, and that each bodypart has a factor of. How many scales
contain the stated share of errors is read from held-out points: conformal prediction, which
assumes nothing of how errors are distributed.

Points that fit and points that judge never share an image. The scales of a fold of images, from
which the quantiles are read, are fitted on the other folds (cross-conformal prediction). Coverage
is measured in folds of which the whole calibration, these inner folds included, knows nothing.

References
----------
Vovk (2015), Annals of Mathematics and Artificial Intelligence 74, doi:10.1007/s10472-013-9368-4:
cross-conformal predictors. Lei et al. (2018), JASA 113, doi:10.1080/01621459.2017.1307116: errors
relative to a fitted scale.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95, 0.99)
# Fewer held-out points or images say nothing of a share of 90 %.
LEAST_POINTS, LEAST_IMAGES = 50, 5
_FOLDS = 5
_SEED = 0
# px: members agree to less by accident.
_LEAST_SPREAD = 0.05
_LEAST_CONFIDENCE = 0.01
# Points of a bodypart of which half of its factor is believed.
_SHRINKAGE = 20.0


class HeldOut(NamedTuple):
    """Hold labelled points that no network was trained on.

    Attributes
    ----------
    error
        Shape (point,), px: distance between prediction and label.
    confidence
        Shape (point,), 0..1.
    spread
        Shape (point,), px; NaN where it is not known.
    bodypart, image
        Shape (point,), int64: numbers of the bodypart and of the image.
    """

    error: NDArray[np.float64]
    confidence: NDArray[np.float64]
    spread: NDArray[np.float64]
    bodypart: NDArray[np.int64]
    image: NDArray[np.int64]

    def take(self, rows: NDArray[np.bool_]) -> "HeldOut":
        """Return some of the points."""
        return HeldOut(
            self.error[rows],
            self.confidence[rows],
            self.spread[rows],
            self.bodypart[rows],
            self.image[rows],
        )


@dataclass(frozen=True)
class Scale:
    """Predict how large the error of a keypoint may be, but for a factor.

    Attributes
    ----------
    spread_weight, confidence_weight
        Exponents of the spread, and of one over the confidence; not negative.
    factors
        Logarithm of the factor of each bodypart.
    usual_spread
        px: stands for a spread that is not known.
    """

    spread_weight: float
    confidence_weight: float
    factors: tuple[float, ...]
    usual_spread: float

    def measure(
        self, confidence: Floats, spread: Floats, bodypart: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the scale of points, px; arrays are broadcast against each other."""
        logarithm = (
            self.spread_weight * _log_spread(spread, self.usual_spread)
            + self.confidence_weight * _log_doubt(confidence)
            + np.asarray(self.factors)[bodypart]
        )
        return np.asarray(np.exp(logarithm))


class Calibration(NamedTuple):
    """Hold a calibration.

    Attributes
    ----------
    scale
        Fitted on all points.
    quantiles
        Number of scales that contain the error with the probability of each of `LEVELS`; infinite
        where there are too few points to tell.
    """

    scale: Scale
    quantiles: tuple[float, ...]


def calibrate(points: HeldOut, bodyparts: int) -> Calibration:
    """Fit a calibration.

    Parameters
    ----------
    points
        Held-out points; a few hundred, say.
    bodyparts
        Number of bodyparts.
    """
    score = np.empty(len(points.error))
    for fold in _divide(points.image):
        fitted = fit_scale(points.take(~fold), bodyparts)
        own = points.take(fold)
        score[fold] = own.error / fitted.measure(own.confidence, own.spread, own.bodypart)
    ordered = np.sort(score)
    quantiles = tuple(_take_quantile(ordered, level) for level in LEVELS)
    return Calibration(fit_scale(points, bodyparts), quantiles)


def judge(points: HeldOut, bodyparts: int) -> NDArray[np.float64]:
    """Return the radius of each point and level, from a calibration that does not know the image.

    Returns
    -------
    ndarray
        Shape (point, level), px: the truth is within it if the error is not larger.
    """
    radius = np.empty((len(points.error), len(LEVELS)))
    for fold in _divide(points.image):
        known = calibrate(points.take(~fold), bodyparts)
        own = points.take(fold)
        scale = known.scale.measure(own.confidence, own.spread, own.bodypart)
        radius[fold] = scale[:, None] * np.array(known.quantiles)
    return radius


def fit_scale(points: HeldOut, bodyparts: int) -> Scale:
    """Fit the scale of errors by least squares of their logarithm, with weights not negative."""
    # A perfect point must not count for many.
    least = max(0.25 * float(np.median(points.error)), 1e-3)
    target = np.log(np.maximum(points.error, least))
    known = points.spread[np.isfinite(points.spread)]
    usual = float(np.quantile(known, 0.9)) if len(known) else 1.0
    columns = np.stack([_log_spread(points.spread, usual), _log_doubt(points.confidence)], axis=1)
    weights = _fit_weights(columns, target)
    rest = target - columns @ weights
    count = np.bincount(points.bodypart, minlength=bodyparts).astype(np.float64)
    total = np.bincount(points.bodypart, rest - rest.mean(), minlength=bodyparts)
    factors = rest.mean() + total / (count + _SHRINKAGE)
    return Scale(float(weights[0]), float(weights[1]), tuple(factors.tolist()), usual)


def _fit_weights(columns: Floats, target: Floats) -> NDArray[np.float64]:
    """Return the weights, not negative, that explain the target best beside a constant."""
    # SciPy takes as long to load as all else here.
    from scipy.optimize import nnls  # noqa: PLC0415

    centred = columns - columns.mean(axis=0)
    weights, _ = nnls(centred, target - target.mean())
    return np.asarray(weights, np.float64)


def _divide(image: NDArray[np.int64]) -> Iterator[NDArray[np.bool_]]:
    """Yield the points of each fold of images, drawn at random with a fixed seed."""
    images = np.unique(image)
    drawn = np.random.default_rng(_SEED).permutation(len(images))
    number = np.empty(len(images), np.int64)
    number[drawn] = np.arange(len(images)) % _FOLDS
    of_point = number[np.searchsorted(images, image)]
    for fold in range(min(_FOLDS, len(images))):
        yield of_point == fold


def _take_quantile(ordered: Floats, level: float) -> float:
    """Return the score that so large a share of future scores does not exceed."""
    place = int(np.ceil((len(ordered) + 1) * level)) - 1
    return float(ordered[place]) if place < len(ordered) else float("inf")


def _log_spread(spread: Floats, usual: float) -> NDArray[np.float64]:
    known = np.where(np.isfinite(spread), spread, usual).astype(np.float64)
    return np.asarray(np.log(np.maximum(known, _LEAST_SPREAD)))


def _log_doubt(confidence: Floats) -> NDArray[np.float64]:
    sure = np.clip(np.nan_to_num(confidence), _LEAST_CONFIDENCE, 1.0)
    return np.asarray(-np.log(sure.astype(np.float64)))
