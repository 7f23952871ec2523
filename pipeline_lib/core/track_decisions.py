"""Define the decisions of a proofreader about the tracks of a video.

A decision is a statement about animals, not about slots of a file. It stores the position of each
animal just before and just after a frame (its *anchors*), so that it remains valid if the video is
tracked again and slots are permuted, or the mistake no longer occurs. The *place* of a decision is
the boundary between `first_frame` and the frame before.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class DecisionKind(StrEnum):
    """Name the kinds of decisions."""

    SWAP = "swap"  # two animals were exchanged here
    NEW = "new"  # this is a new animal from here on
    CUT = "cut"  # the track breaks here: what follows is another, unknown animal
    JOIN = "join"  # the track of one animal continues in that of another one
    CONFIRM = "confirm"  # fine as it is


class Anchor(NamedTuple):
    """Hold the centre of an animal (the mean of its keypoints) in a frame.

    Attributes
    ----------
    frame
        0-based.
    x, y
        Position in px of the full upright frame.
    """

    frame: int
    x: float
    y: float


class Passage(NamedTuple):
    """Hold the anchors of one animal before and after a place; None where it is not seen."""

    before: Anchor | None = None
    after: Anchor | None = None

    @property
    def complete(self) -> bool:
        """Tell whether both anchors are known."""
        return self.before is not None and self.after is not None


@dataclass(frozen=True)
class TrackDecision:
    """Hold one decision about a place in the tracks of a video.

    Attributes
    ----------
    video
        Id of the video in the cohort sheet.
    what
        The kind of the decision.
    first_frame
        First frame that it concerns, 1 or more: the place is between this frame and the one before.
    last_frame
        Last frame that it concerns; None: to the end. Of a ``confirm``, the end of the doubt.
    individual, other
        Names of the animals as the tracks had them, for people; ``other`` may be empty.
    passages
        Anchors at the place: of the individual, then of the other one if there is one. Of a
        ``join``, the anchor after lies on the track that continues.
    ends
        The same at the end of the frames, where ``last_frame`` ends a ``swap`` or a ``cut``.
    author, time
        Name of the proofreader, and time of the decision, with its zone.
    """

    video: str
    what: DecisionKind
    first_frame: int
    last_frame: int | None
    individual: str
    other: str
    passages: tuple[Passage, ...]
    ends: tuple[Passage, ...]
    author: str
    time: datetime
