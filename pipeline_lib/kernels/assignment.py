"""Solve the assignment problem, without the start of SciPy where nothing is to be assigned."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def assign_most(worth: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pair rows and columns one to one so that the sum of their worth is greatest.

    Parameters
    ----------
    worth
        Worth of each pair, shape (row, column), finite.

    Returns
    -------
    rows, columns
        Indices of the pairs, as many as there are rows or columns, whichever are fewer; rows
        ascend.
    """
    # It takes half a second, which inference of one animal does without.
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415

    rows, columns = linear_sum_assignment(worth, maximize=True)
    return rows, columns
