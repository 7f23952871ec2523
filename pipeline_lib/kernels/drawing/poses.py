"""Draw points, edges, trails and names on an image, in place, and choose the worst seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

# Okabe and Ito's colours, which all people can tell apart; RGB.
COLOURS: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_OUTLINE = (0, 0, 0)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# OpenCV takes whole numbers of sixteenths of a pixel.
_SHIFT = 4
# OpenCV draws nothing sensible farther out.
_FARTHEST = 1e6


@dataclass(frozen=True)
class Style:
    """Say how poses are drawn.

    Attributes
    ----------
    radius
        Of points, px.
    pcutoff
        Points of lower confidence are rings.
    edges
        Pairs of positions on the keypoint axis.
    names
        Names of the individuals; empty: none are written.
    """

    radius: int
    pcutoff: float
    edges: tuple[tuple[int, int], ...] = ()
    names: tuple[str, ...] = ()


def draw_poses(image: Image, position: Floats, confidence: Floats, style: Style) -> None:
    """Draw the poses of a frame.

    Several individuals have a colour each, the bodyparts of a single one have.

    Parameters
    ----------
    image
        Shape (height, width, 3), RGB; drawn on.
    position
        Shape (individual, keypoint, 2) in px; NaN is not drawn.
    confidence
        Shape (individual, keypoint).
    style
        How.
    """
    several = len(position) > 1
    thin = max(1, style.radius // 2)
    for slot, points in enumerate(position):
        known = _is_drawn(points)
        for first, second in style.edges:
            if known[first] and known[second]:
                colour = _choose(slot if several else first)
                ends = _fix(points[first]), _fix(points[second])
                cv2.line(image, *ends, colour, thin, cv2.LINE_AA, _SHIFT)
        for keypoint in np.flatnonzero(known):
            colour = _choose(slot if several else int(keypoint))
            sure = confidence[slot, keypoint] >= style.pcutoff
            thickness, radius = (cv2.FILLED if sure else 1), style.radius << _SHIFT
            place = _fix(points[keypoint])
            cv2.circle(image, place, radius, colour, thickness, cv2.LINE_AA, _SHIFT)
        if style.names and known.any():
            x, y = points[known].mean(axis=0)
            origin = round(float(x)) + 2 * style.radius, round(float(y)) - 2 * style.radius
            # The outline makes it readable on every picture.
            for colour, thickness in ((_OUTLINE, 3), (_choose(slot), 1)):
                cv2.putText(
                    image, style.names[slot], origin, _FONT, 0.4, colour, thickness, cv2.LINE_AA
                )


def draw_trails(image: Image, centre: Floats, radius: int) -> None:
    """Draw the way of each individual.

    Parameters
    ----------
    image
        Drawn on.
    centre
        Shape (time, individual, 2) in px, up to the frame; gaps are NaN.
    radius
        Of points, px; trails are half as wide.
    """
    for slot in range(centre.shape[1]):
        way = centre[:, slot]
        known = _is_drawn(way)
        cuts = np.flatnonzero(np.diff(known.astype(np.int8))) + 1
        for part in np.split(np.arange(len(way)), cuts):
            if len(part) > 1 and known[part[0]]:
                line = np.round(way[part] * (1 << _SHIFT)).astype(np.int32)[:, None]
                wide = max(1, radius // 2)
                cv2.polylines(
                    image,
                    [line],
                    isClosed=False,
                    color=_choose(slot),
                    thickness=wide,
                    lineType=cv2.LINE_AA,
                    shift=_SHIFT,
                )


def find_worst(confidence: Floats, frames: int) -> int:
    """Return the first of the consecutive frames in which confidence is lowest.

    Parameters
    ----------
    confidence
        Shape (time, ...): of points, or its sum over those of a frame; NaN counts as 0.
    frames
        Number of consecutive frames.
    """
    total = len(confidence)
    if frames >= total:
        return 0
    score = np.nan_to_num(confidence).reshape(total, -1).sum(axis=1, dtype=np.float64)
    ends = np.concatenate(([0.0], np.cumsum(score)))
    # Rounding must not decide between equal ones: the first counts.
    return int(np.round(ends[frames:] - ends[:-frames], 6).argmin())


def choose_radius(width: int, height: int) -> int:
    """Return a radius of points that fits the size of a frame."""
    return max(2, round(min(width, height) / 120))


def mark_missing(image: Image, text: str) -> None:
    """Make an image grey, with a text: there is no such frame."""
    image[:] = 96
    cv2.putText(image, text, (8, image.shape[0] // 2), _FONT, 0.5, (255, 255, 255), 1, cv2.LINE_AA)


def _choose(number: int) -> Colour:
    return COLOURS[number % len(COLOURS)]


def _is_drawn(points: Floats) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(points) < _FARTHEST).all(axis=-1))


def _fix(point: Sequence[float] | Floats) -> tuple[int, int]:
    return round(float(point[0]) * (1 << _SHIFT)), round(float(point[1]) * (1 << _SHIFT))
