"""Triangulate points by the direct linear transformation (DLT).

Hartley and Zisserman, Multiple View Geometry, section 12.2: the right singular vector of the
smallest singular value. It is found by inverse iteration on the 4 x 4 normal matrices of all points
at once, so that each step is a few operations on long arrays; NumPy would call LAPACK for each
point. LAPACK computes the points for which the iteration converges slowly (rays that disagree).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.geometry.views import View

Floats = NDArray[np.float64]

_STEPS = 6
_TOLERANCE = 1e-13
# Smallest pivot, as a share of the largest entry: exact rays make a singular matrix.
_SMALLEST = 1e-30
_PAIRS = tuple((row, column) for row in range(4) for column in range(row, 4))


def triangulate_linearly(views: Sequence[View], *, weighted: bool) -> Floats:
    """Triangulate points from linear equations.

    Parameters
    ----------
    views
        Of the same points.
    weighted
        Multiply the squared equations of each view by its weights; else by 1 where it is seen.

    Returns
    -------
    NDArray[np.float64]
        Shape (3, points); NaN where fewer than two views see a point, infinite where rays are
        parallel.
    """
    normal = {pair: np.zeros_like(views[0].weight) for pair in _PAIRS}
    count = np.zeros(views[0].weight.shape)
    for view in views:
        seen = view.weight > 0
        count += seen
        weight = view.weight if weighted else seen.astype(np.float64)
        for row in view.rows:
            scaled = [weight * one for one in row]
            for first, second in _PAIRS:
                normal[first, second] += scaled[first] * row[second]
    with np.errstate(all="ignore"):
        vector = _find_smallest(normal)
        points: Floats = vector[:3] / vector[3]
    points[:, count < 2] = np.nan
    return points


def _find_smallest(normal: dict[tuple[int, int], Floats]) -> Floats:
    """Return the eigenvectors of the smallest eigenvalues; shape (4, points)."""
    factor = _factorise(normal)
    # The first step then solves least squares with the fourth coordinate 1, which is nearly the
    # solution.
    vector = np.zeros((4, *normal[0, 0].shape))
    vector[3] = 1
    change = np.full(normal[0, 0].shape, np.inf)
    for step in range(_STEPS):
        new = _solve(factor, vector)
        new /= np.sqrt((new * new).sum(axis=0))
        new *= np.where((new * vector).sum(axis=0) < 0, -1.0, 1.0)
        change = np.abs(new - vector).max(axis=0)
        vector = new
        if step and not (change > _TOLERANCE).any():
            break
    slow = np.flatnonzero(~(change <= _TOLERANCE))
    if len(slow):
        vector[:, slow] = _ask_lapack(normal, slow)
    return vector


def _ask_lapack(normal: dict[tuple[int, int], Floats], which: NDArray[np.intp]) -> Floats:
    matrices = np.empty((len(which), 4, 4))
    for (row, column), values in normal.items():
        matrices[:, row, column] = matrices[:, column, row] = values[which]
    good = np.isfinite(matrices).all(axis=(1, 2))
    vectors = np.full((len(which), 4), np.nan)
    vectors[good] = np.linalg.eigh(matrices[good])[1][:, :, 0]
    return vectors.T


def _factorise(
    normal: dict[tuple[int, int], Floats],
) -> tuple[dict[tuple[int, int], Floats], list[Floats]]:
    """Return the factors L and D of L D L^T."""
    smallest = _SMALLEST * (1e-300 + sum(normal[index, index] for index in range(4)))
    lower: dict[tuple[int, int], Floats] = {}
    pivots: list[Floats] = []
    for column in range(4):
        pivot = normal[column, column].copy()
        for before in range(column):
            pivot -= lower[column, before] ** 2 * pivots[before]
        pivots.append(np.maximum(pivot, smallest))
        for row in range(column + 1, 4):
            value = normal[column, row].copy()
            for before in range(column):
                value -= lower[row, before] * lower[column, before] * pivots[before]
            lower[row, column] = value / pivots[column]
    return lower, pivots


def _solve(factor: tuple[dict[tuple[int, int], Floats], list[Floats]], right: Floats) -> Floats:
    lower, pivots = factor
    solution = right.copy()
    for row in range(4):
        for before in range(row):
            solution[row] -= lower[row, before] * solution[before]
    for row in range(4):
        solution[row] /= pivots[row]
    for row in reversed(range(4)):
        for after in range(row + 1, 4):
            solution[row] -= lower[after, row] * solution[after]
    return solution
