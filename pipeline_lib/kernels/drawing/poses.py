"""Draw points, edges, trails and names on an image, in place, and choose the worst seconds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
Planes = tuple[Image, Image, Image]
Region = tuple[int, int, int, int]

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
_OUTLINE, _GREY, _WHITE = (0, 0, 0), (96, 96, 96), (255, 255, 255)
# Black, and the range of brightness and of colour, where it is not the full one (BT.601).
_BLACK, _LUMA, _CHROMA, _FULL, _MIDDLE = 16, 219, 224, 255, 128
_SIZE_OF_NAMES = 0.4
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# OpenCV takes whole numbers of sixteenths of a pixel.
_SHIFT = 4
# OpenCV draws nothing sensible farther out.
_FARTHEST = 1e6


@dataclass(frozen=True)
class Palette:
    """Hold colours as the channels of an image have them; RGB unless told otherwise."""

    colours: tuple[Colour, ...] = COLOURS
    outline: Colour = _OUTLINE
    grey: Colour = _GREY
    white: Colour = _WHITE

    @classmethod
    def mix(cls, weights: tuple[float, float], *, full_range: bool) -> Self:
        """Return the colours as brightness, blue and red.

        Parameters
        ----------
        weights
            Of red and blue in brightness.
        full_range
            Whether black and white are 0 and 255, not 16 and 235.
        """
        mixed = [
            _mix(colour, weights, full_range=full_range)
            for colour in (*COLOURS, _OUTLINE, _GREY, _WHITE)
        ]
        return cls(tuple(mixed[:-3]), *mixed[-3:])

    def choose(self, number: int) -> Colour:
        """Return the colour of an individual or bodypart."""
        return self.colours[number % len(self.colours)]


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
    palette
        Colours.
    """

    radius: int
    pcutoff: float
    edges: tuple[tuple[int, int], ...] = ()
    names: tuple[str, ...] = ()
    palette: Palette = Palette()


def draw_poses(image: Image | Planes, position: Floats, confidence: Floats, style: Style) -> None:
    """Draw the poses of a frame.

    Several individuals have a colour each, the bodyparts of a single one have.

    Parameters
    ----------
    image
        Shape (height, width, 3), or a plane for each channel of the style's colours; drawn on.
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
        drawn = np.flatnonzero(known).tolist()
        places = {keypoint: _fix(points[keypoint]) for keypoint in drawn}
        for first, second in style.edges:
            if first in places and second in places:
                colour = style.palette.choose(slot if several else first)
                for plane, ink, line in _list_planes(image, colour):
                    cv2.line(plane, places[first], places[second], ink, thin, line, _SHIFT)
        for keypoint, place in places.items():
            colour = style.palette.choose(slot if several else keypoint)
            sure = confidence[slot, keypoint] >= style.pcutoff
            thickness, radius = (cv2.FILLED if sure else 1), style.radius << _SHIFT
            for plane, ink, line in _list_planes(image, colour):
                cv2.circle(plane, place, radius, ink, thickness, line, _SHIFT)
        if style.names and drawn:
            x, y = points[known].mean(axis=0)
            origin = round(float(x)) + 2 * style.radius, round(float(y)) - 2 * style.radius
            # The outline makes it readable on every picture.
            for colour, thick in ((style.palette.outline, 3), (style.palette.choose(slot), 1)):
                _write(image, style.names[slot], origin, (_SIZE_OF_NAMES, thick), colour)


def draw_trails(image: Image | Planes, centre: Floats, style: Style) -> None:
    """Draw the way of each individual.

    Parameters
    ----------
    image
        Drawn on.
    centre
        Shape (time, individual, 2) in px, up to the frame; gaps are NaN.
    style
        How; trails are half as wide as the radius of points.
    """
    wide = max(1, style.radius // 2)
    for slot in range(centre.shape[1]):
        way = centre[:, slot]
        known = _is_drawn(way)
        cuts = np.flatnonzero(np.diff(known.astype(np.int8))) + 1
        for part in np.split(np.arange(len(way)), cuts):
            if len(part) > 1 and known[part[0]]:
                places = [np.round(way[part] * (1 << _SHIFT)).astype(np.int32)[:, None]]
                for plane, ink, line in _list_planes(image, style.palette.choose(slot)):
                    cv2.polylines(plane, places, False, ink, wide, line, _SHIFT)  # noqa: FBT003


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


def mark_missing(image: Image | Planes, text: str, palette: Palette = Palette()) -> None:
    """Make an image grey, with a text: there is no such frame."""
    for plane, ink, _ in _list_planes(image, palette.grey):
        plane[:] = ink
        height = len(plane)
    _write(image, text, (8, height // 2), (0.5, 1), palette.white)


def find_regions(
    position: Floats, centre: Floats, trail: int, style: Style, size: tuple[int, int]
) -> list[Region | None]:
    """Return the part of each picture in which poses and trails are drawn.

    Parameters
    ----------
    position
        Shape (time, individual, keypoint, 2) in px; NaN is not drawn.
    centre
        Shape (time, individual, 2) in px.
    trail
        Frames of the trails.
    style
        How they are drawn.
    size
        Width and height of the pictures, both even.

    Returns
    -------
    list
        x1, x2, y1, y2 in px, all even; x2 and y2 excluded. None: nothing is drawn.
    """
    texts = (cv2.getTextSize(name, _FONT, _SIZE_OF_NAMES, 3)[0] for name in style.names)
    margin = 2 * style.radius + 4 + max((max(text) for text in texts), default=0)
    most = np.array(size)
    ends = []
    # The largest value, and the least one as the largest of the negatives.
    for sign in (-1, 1):
        of_points = np.where(_is_drawn(position)[..., None], sign * position, -np.inf)
        of_trails = np.where(_is_drawn(centre)[..., None], sign * centre, -np.inf).max(axis=1)
        padded = np.concatenate((np.full((trail, 2), -np.inf), of_trails))
        window = np.lib.stride_tricks.sliding_window_view(padded, trail + 1, axis=0)
        farthest = np.maximum(of_points.max(axis=(1, 2)), window.max(axis=-1))
        ends.append(sign * np.clip(farthest + margin, -_FARTHEST, _FARTHEST))
    low = np.maximum(np.floor(ends[0] / 2) * 2, 0).astype(np.int64)
    high = np.minimum(np.ceil(ends[1] / 2) * 2 + 2, most).astype(np.int64)
    there = (low < high).all(axis=1)
    return [
        (x1, x2, y1, y2) if drawn else None
        for drawn, (x1, y1), (x2, y2) in zip(there, low.tolist(), high.tolist(), strict=True)
    ]


def _mix(colour: Colour, weights: tuple[float, float], *, full_range: bool) -> Colour:
    """Return brightness, blue and red of an RGB colour (ITU-R BT.601, section 2.5)."""
    red, green, blue = (value / _FULL for value in colour)
    of_red, of_blue = weights
    bright = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    blueness, redness = (blue - bright) / (1 - of_blue) / 2, (red - bright) / (1 - of_red) / 2
    low, luma, chroma = (0, _FULL, _FULL) if full_range else (_BLACK, _LUMA, _CHROMA)
    levels = luma * bright + low, chroma * blueness + _MIDDLE, chroma * redness + _MIDDLE
    first, second, third = (min(_FULL, round(level)) for level in levels)
    return first, second, third


def _list_planes(
    image: Image | Planes, colour: Colour
) -> Iterator[tuple[Image, Colour | int, int]]:
    """Yield what is drawn on, what is written there for a colour, and the kind of lines."""
    if isinstance(image, np.ndarray):
        yield image, colour, cv2.LINE_AA
    else:
        # Halving the sides of colour smooths its edges.
        kinds = (cv2.LINE_AA, cv2.LINE_8, cv2.LINE_8)
        yield from zip(image, colour, kinds, strict=True)


def _write(
    image: Image | Planes,
    text: str,
    origin: tuple[int, int],
    size: tuple[float, int],
    colour: Colour,
) -> None:
    """Write a text from its lower left corner on, of a scale and thickness of OpenCV's."""
    for plane, ink, line in _list_planes(image, colour):
        cv2.putText(plane, text, origin, _FONT, size[0], ink, size[1], line)


def _is_drawn(points: Floats) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(points) < _FARTHEST).all(axis=-1))


def _fix(point: Sequence[float] | Floats) -> tuple[int, int]:
    return round(float(point[0]) * (1 << _SHIFT)), round(float(point[1]) * (1 << _SHIFT))
