"""Compare videos with their cohort: usual values, robust z, views, proportions, frame sizes."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Worse = Literal["low", "high", "both"]

# Robust estimate of a normal distribution's standard deviation (Rousseeuw & Croux 1993,
# doi:10.1080/01621459.1993.10476408).
_NORMAL = 1.4826
# Of normal values of which few are known, the same share, 1 in 1000, lies beyond a multiple of the
# estimate that is larger by 1 + 34.6 / n^1.5: simulated for 8 to 100 values, within 3 %.
_FEW, _FEW_POWER = 34.6, 1.5
# A view is compared with the most similar part of the cohort: there may be several arenas.
_SIMILAR = 0.25
# Share of the pixels of two views that is compared.
_COMPARED = 0.85
# Least pixels of a thumbnail that a view is shifted by, and correlation after the shift undone.
_LEAST_SHIFT, _LEAST_MATCH = 0.8, 0.7


class Standard(NamedTuple):
    """Hold the usual value of a measure in a cohort.

    Attributes
    ----------
    centre, scale
        Median and robust standard deviation; of a logarithmic measure, those of the logarithm.
    number
        Videos that have the measure.
    """

    centre: float
    scale: float
    number: int


def describe_standard(
    values: Doubles, floor: float, *, logarithmic: bool, relative_floor: float = 0.0
) -> Standard:
    """Return the usual value of a measure.

    The robust standard deviation of few values is uncertain, and is widened for that.

    Parameters
    ----------
    values
        Shape (video,); NaN where a video has none.
    floor
        Least robust standard deviation.
    logarithmic
        Whether ratios count. Values of 0 or less are left out then.
    relative_floor
        Least robust standard deviation as a share of the median.
    """
    known = _scale_values(values, logarithmic=logarithmic)
    known = known[np.isfinite(known)]
    if not len(known):
        return Standard(np.nan, np.nan, 0)
    centre = float(np.median(known))
    least = max(floor, relative_floor * abs(centre))
    return Standard(centre, max(least, _estimate_scale(known, centre)), len(known))


def describe_quarters(
    quarters: Doubles, floor: float, worse: Worse, *, logarithmic: bool
) -> Standard:
    """Return the standard that the worst quarters of videos are compared with.

    Its centre is the median of whole videos. Its scale is their robust standard deviation, or half
    the robust size of the differences of worst quarters: light that usually changes is usual.

    Parameters
    ----------
    quarters
        Shape (video, quarter); NaN where there is none.
    floor, logarithmic
        As in `describe_standard`.
    worse
        Which values are bad.
    """
    middles = _median_over(_scale_values(quarters, logarithmic=logarithmic), axis=1)
    known = middles[np.isfinite(middles)]
    if not len(known):
        return Standard(np.nan, np.nan, 0)
    centre = float(np.median(known))
    least = max(floor, _estimate_scale(known, centre))
    plain = Standard(centre, least, len(known))
    worst = choose_worst(quarters, plain, worse, logarithmic=logarithmic)
    away = _scale_values(worst, logarithmic=logarithmic) - plain.centre
    size = _estimate_scale(away[np.isfinite(away)], 0.0)
    return plain._replace(scale=max(least, size / 2.0))


def choose_worst(
    quarters: Doubles, standard: Standard, worse: Worse, *, logarithmic: bool
) -> Doubles:
    """Return the worst quarter of each video, as measured; shape (video,), NaN: it has none."""
    away = _scale_values(quarters, logarithmic=logarithmic) - standard.centre
    size = {"low": -away, "high": away, "both": np.abs(away)}[worse]
    place = np.where(np.isfinite(size), size, -np.inf).argmax(axis=1)
    return np.asarray(quarters[np.arange(len(quarters)), place], np.float64)


def measure_z(value: float, standard: Standard, *, logarithmic: bool) -> float:
    """Return how many robust standard deviations a value is away; NaN: nothing tells it."""
    scaled = float(_scale_values(np.array([value]), logarithmic=logarithmic)[0])
    if logarithmic and value == 0:
        scaled = -np.inf
    if np.isnan(scaled) or not standard.number:
        return np.nan
    away = scaled - standard.centre
    if standard.scale > 0:
        return away / standard.scale
    return 0.0 if away == 0 else float(np.copysign(np.inf, away))


def place_limit(standard: Standard, z: float, *, logarithmic: bool) -> float:
    """Return the value that is some robust standard deviations away."""
    limit = standard.centre + z * standard.scale
    return float(np.exp(limit)) if logarithmic else limit


def measure_views(thumbnails: NDArray[np.float32]) -> Doubles:
    """Measure how different each view is from those of the most similar quarter of the cohort.

    Parameters
    ----------
    thumbnails
        Shape (video, height, width), grey values.

    Returns
    -------
    ndarray
        Shape (video,), 0..2: 1 - the correlation that a quarter of the other videos reaches, by
        those 85 % of the pixels that are most alike. NaN: there is no other video.
    """
    number = len(thumbnails)
    if number < 2:
        return np.full(number, np.nan)
    flat = _normalise(thumbnails.reshape(number, -1).astype(np.float32))
    rank = max(1, int(np.ceil(_SIMILAR * (number - 1))))
    found = np.empty(number)
    step = 512
    for start in range(0, number, step):
        match = flat[start : start + step] @ flat.T
        match[np.arange(len(match)), np.arange(start, start + len(match))] = -2.0
        other = np.argpartition(-match, rank - 1, axis=1)[:, rank - 1]
        found[start : start + step] = _correlate(flat[start : start + step], flat[other])
    # Rounding may give a correlation beyond 1.
    return np.maximum(1.0 - found, 0.0)


def _normalise(flat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of mean 0 and length 1; of one grey value, rows of zeros."""
    flat = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(np.divide(flat, norm, out=np.zeros_like(flat), where=norm > 1e-6))


def _correlate(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the correlation of rows without the pixels that differ most: an animal at rest."""
    away = np.abs(one - other)
    number = max(1, round(_COMPARED * away.shape[1]))
    kept = np.argpartition(away, number - 1, axis=1)[:, :number]
    rows = [_normalise(np.take_along_axis(flat, kept, axis=1)) for flat in (one, other)]
    return np.asarray((rows[0] * rows[1]).sum(axis=1))


def estimate_shift(
    thumbnail: NDArray[np.float32], usual: NDArray[np.float32]
) -> tuple[float, float] | None:
    """Estimate by how much a view is shifted (phase correlation).

    Parameters
    ----------
    thumbnail, usual
        Shape (height, width).

    Returns
    -------
    tuple or None
        Shift to the right and downwards as a share of width and height; None: no shift makes the
        view the usual one.
    """
    window = cv2.createHanningWindow(usual.shape[::-1], cv2.CV_32F)
    # OpenCV multiplies the window into the images themselves.
    one, other = (np.array(image, np.float32, order="C") for image in (usual, thumbnail))
    (right, down), _ = cv2.phaseCorrelate(one, other, window)
    if max(abs(right), abs(down)) < _LEAST_SHIFT:
        return None
    height, width = usual.shape
    x, y = round(right), round(down)
    there = usual[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)]
    moved = thumbnail[max(0, y) : height - max(0, -y), max(0, x) : width - max(0, -x)]
    if min(there.shape) < 8 or there.std() < 1e-3 or moved.std() < 1e-3:
        return None
    match = float(np.corrcoef(there.ravel(), moved.ravel())[0, 1])
    return (right / width, down / height) if match >= _LEAST_MATCH else None


def measure_proportions(lengths: Doubles, usual: NDArray[np.bool_] | None = None) -> Doubles:
    """Measure how much the proportions of bodies differ from those usual in the cohort.

    Parameters
    ----------
    lengths
        Shape (video, edge), px; NaN where a video has none.
    usual
        Shape (video,): which videos tell what is usual; None: all.

    Returns
    -------
    ndarray
        Shape (video,): root mean square of the logarithms of the edges' ratios to the usual ones,
        after the size of the body is taken out. NaN: a video has fewer than three edges.
    """
    if not lengths.size:
        return np.full(len(lengths), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = np.log(np.where(lengths > 0, lengths, np.nan))
    # Sizes first: a cohort of one size more or less has the same usual proportions.
    told = logarithm if usual is None or not usual.any() else logarithm[usual]
    away = logarithm - _median_over(told, axis=0)
    away -= _median_over(away, axis=1)[:, None]
    count = np.isfinite(away).sum(axis=1)
    square = np.where(np.isfinite(away), np.square(away), 0.0).sum(axis=1)
    return np.where(count >= 3, np.sqrt(square / np.maximum(1, count)), np.nan)


def compare_sizes(sizes: Sequence[Hashable | None]) -> Doubles:
    """Return for each video the share of the cohort that has the usual size, if it has another.

    Parameters
    ----------
    sizes
        Size of each video's frames; None: unknown.

    Returns
    -------
    ndarray
        Shape (video,), 0..1; 0 for videos of the usual size, NaN where it is unknown.
    """
    counts = Counter(size for size in sizes if size is not None)
    if not counts:
        return np.full(len(sizes), np.nan)
    usual, most = counts.most_common(1)[0]
    share = most / counts.total()
    return np.array(
        [np.nan if size is None else 0.0 if size == usual else share for size in sizes], np.float64
    )


def _median_over(values: Doubles, axis: int) -> Doubles:
    """Return medians of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    filled = np.sort(np.where(known, values, np.inf), axis=axis)
    count = known.sum(axis=axis)
    low, high = ((np.maximum(count, 1) - 1) // 2, np.maximum(count, 1) // 2)
    take = [
        np.take_along_axis(filled, np.expand_dims(place, axis), axis).squeeze(axis)
        for place in (low, np.maximum(low, high))
    ]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(count > 0, (take[0] + take[1]) / 2.0, np.nan))


def _estimate_scale(values: Doubles, centre: float) -> float:
    """Return the robust standard deviation of values, widened where they are few."""
    widened = 1.0 + _FEW / len(values) ** _FEW_POWER
    return float(widened * _NORMAL * np.median(np.abs(values - centre)))


def _scale_values(values: Doubles, *, logarithmic: bool) -> NDArray[Any]:
    if not logarithmic:
        return np.asarray(values, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(np.where(values > 0, values, np.nan))
