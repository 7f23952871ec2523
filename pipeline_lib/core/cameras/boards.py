"""Describe calibration boards: chessboards and ChArUco boards."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["chessboard", "charuco"]
KINDS: tuple[Kind, ...] = ("chessboard", "charuco")
# ArUco dictionaries of OpenCV, named by the bits of a marker and the number of markers.
DICTIONARIES = tuple(
    f"{bits}X{bits}_{count}" for bits in (4, 5, 6, 7) for count in (50, 100, 250, 1000)
)
# Squares in each direction; OpenCV needs at least this many to find a chessboard.
_FEWEST, _MOST = 4, 100


@dataclass(frozen=True)
class Board:
    """Describe a calibration board.

    Attributes
    ----------
    kind
        ``chessboard`` or ``charuco`` (a chessboard with a marker in each light square).
    columns, rows
        Number of squares in each direction; there is one inner corner fewer than squares.
    square
        Side of a square, in the unit of the calibration.
    marker
        Side of a marker, in the same unit; 0 for a chessboard.
    dictionary
        One of `DICTIONARIES`, for ChArUco.

    Raises
    ------
    ValueError
        With what is wrong.
    """

    kind: Kind
    columns: int
    rows: int
    square: float
    marker: float = 0.0
    dictionary: str = "4X4_250"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is no kind of board; there are {', '.join(KINDS)}")
        if not (_FEWEST <= self.columns <= _MOST and _FEWEST <= self.rows <= _MOST):
            raise ValueError(
                f"a board has {_FEWEST} to {_MOST} squares each way, not {self.columns} x "
                f"{self.rows}"
            )
        if not 0 < self.square < float("inf"):
            raise ValueError(f"the side of a square is {self.square}, expected more than 0")
        if self.kind != "charuco":
            return
        if not 0 < self.marker < self.square:
            raise ValueError(
                f"markers of {self.marker} do not fit in squares of {self.square}: their side is "
                "less, usually some three quarters"
            )
        if self.dictionary not in DICTIONARIES:
            raise ValueError(
                f"{self.dictionary!r} is no dictionary; there are {', '.join(DICTIONARIES)}"
            )
        needed, there = self.columns * self.rows // 2, int(self.dictionary.split("_")[1])
        if needed > there:
            raise ValueError(
                f"{self.columns} x {self.rows} squares need {needed} markers; the dictionary "
                f"{self.dictionary} has {there}"
            )

    @property
    def is_ambiguous(self) -> bool:
        """Tell whether the board looks the same when it is turned by half a turn."""
        return self.kind == "chessboard" and (self.columns + self.rows) % 2 == 0

    @property
    def corners(self) -> tuple[int, int]:
        """Return the number of corners between squares, in columns and rows."""
        return self.columns - 1, self.rows - 1

    def describe(self) -> str:
        """Return the board in words."""
        return f"{self.kind} of {self.columns} x {self.rows} squares"
