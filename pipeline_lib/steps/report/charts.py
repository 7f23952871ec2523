"""Lay out the report's charts; ``charts.html.j2`` draws them as inline SVG."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 520.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 54.0, 16.0, 28.0, 42.0

# The colours of Okabe and Ito (Color Universal Design, 2008), told apart by nearly all readers,
# and seen on photographs and on both of the page's grounds.
_PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#7f7f7f")
ANIMALS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#7f7f7f")

# Start to end of a trajectory.
TIME_COLOURS = (
    "#4f63e0",
    "#5f6ad6",
    "#8a6fd6",
    "#b56ac6",
    "#d8619f",
    "#ee6a72",
    "#f88b4a",
    "#f9b233",
)


@dataclass(frozen=True)
class Tick:
    """Describe a mark on an axis: its position in the drawing and its text."""

    at: float
    label: str


@dataclass(frozen=True)
class Curve:
    """Hold the data of one line or cloud of a chart.

    Attributes
    ----------
    name
        For the legend.
    points
        Data coordinates, in the order to join them.
    tone
        Which of the page's series colours, from 1.
    kind
        ``line`` or ``dots``.
    """

    name: str
    points: Sequence[tuple[float, float]]
    tone: int = 1
    kind: str = "line"


@dataclass(frozen=True)
class Axes:
    """Describe the layout of the axes of a chart.

    Attributes
    ----------
    x_label, y_label
        What the axes show, or their unit.
    x_range, y_range
        Ends; None: those of the data, the y axis from zero where it is linear.
    logarithmic
        Whether the y axis is.
    guides
        Values of x to mark with a vertical line.
    """

    x_label: str
    y_label: str
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    logarithmic: bool = False
    guides: Sequence[float] = ()


@dataclass(frozen=True)
class Mark:
    """Describe a point in the drawing with the text of its tooltip."""

    x: float
    y: float
    tip: str


@dataclass(frozen=True)
class Drawing:
    """Hold one curve in the coordinates of the drawing."""

    name: str
    tone: int
    kind: str
    path: str
    marks: list[Mark]


@dataclass(frozen=True)
class Chart:
    """Describe a chart that is ready to be drawn."""

    title: str
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    drawings: list[Drawing]
    guides: list[Tick]
    width: float = WIDTH
    height: float = HEIGHT


@dataclass(frozen=True)
class Scale:
    """Map data to the drawing, linearly or by logarithm.

    Attributes
    ----------
    low, high
        Ends of the data.
    start, stop
        Ends in the drawing.
    logarithmic
        If so, both ends of the data are above zero.
    """

    low: float
    high: float
    start: float
    stop: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the position of a value in the drawing, clipped to the ends."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.stop - self.start), 2)

    def ticks(self, count: int = 5) -> list[Tick]:
        """Return about this number of marks at round values."""
        values = (
            logarithmic_ticks(self.low, self.high)
            if self.logarithmic
            else linear_ticks(self.low, self.high, count)
        )
        return [Tick(self(value), format_number(value)) for value in values]


def draw_chart(title: str, curves: Sequence[Curve], axes: Axes) -> Chart | None:
    """Lay out lines or clouds of points.

    Points that are not finite, or not above zero on a logarithmic axis, are left out.

    Returns
    -------
    Chart or None
        None if there is nothing to draw.
    """
    curves = [_keep_drawable(curve, logarithmic=axes.logarithmic) for curve in curves]
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return None
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points]
    x_low, x_high = axes.x_range or _pad_range(min(xs), max(xs))
    y_low, y_high = axes.y_range or _pad_range(min(ys) if axes.logarithmic else 0.0, max(ys))
    x_scale = Scale(x_low, x_high, LEFT, WIDTH - RIGHT)
    y_scale = Scale(y_low, y_high, HEIGHT - BOTTOM, TOP, axes.logarithmic)
    return Chart(
        title=title,
        x_label=axes.x_label,
        y_label=axes.y_label,
        x_ticks=x_scale.ticks(),
        y_ticks=y_scale.ticks(),
        drawings=[_draw_curve(curve, x_scale, y_scale, axes) for curve in curves],
        guides=[
            Tick(x_scale(value), format_number(value))
            for value in axes.guides
            if x_low <= value <= x_high
        ],
    )


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten within a range."""
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def logarithmic_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten within a range; with 2 and 5 times them where these are few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    values = [float(f"{factor}e{decade}") for decade in decades for factor in factors]
    return [value for value in values if low * 0.999 <= value <= high * 1.001]


def format_number(value: float | None, digits: int = 3) -> str:
    """Return a number for people: thousands apart, about three digits, a dash if unknown."""
    if value is None or not math.isfinite(value):
        return "–"  # noqa: RUF001 - the dash that tables use
    if value == int(value) or abs(value) >= 10**digits:
        # A narrow no-break space is the SI's thousands separator.
        return f"{round(value):,}".replace(",", "\u202f")
    text = f"{value:.{digits}g}"
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def format_fixed(value: float | None, digits: int = 1) -> str:
    """Return a number with a fixed number of decimals, for columns that are compared."""
    if value is None or not math.isfinite(value):
        return format_number(None)
    return f"{value:.{digits}f}"


def colour_bodyparts(bodyparts: Sequence[str]) -> dict[str, str]:
    """Return a colour per bodypart, the same in all drawings."""
    return _colour_names(bodyparts, _PALETTE, (0.62, 0.82))


def colour_individuals(individuals: Sequence[str]) -> dict[str, str]:
    """Return a colour per animal, the same in all drawings."""
    return _colour_names(individuals, ANIMALS, (0.42, 0.58))


def draw_bars(counts: NDArray[np.int64]) -> list[tuple[float, float]]:
    """Return position and height of a histogram's bars, both as shares of the drawing."""
    most = max(int(counts.max()), 1)
    return [
        (round(index / len(counts), 4), round(float(count) / most, 4))
        for index, count in enumerate(counts)
    ]


def join_points(points: Sequence[tuple[float, float]]) -> str:
    """Return the SVG path through points; one that is not finite is a gap."""
    parts = []
    pen = "M"
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            parts.append(f"{pen}{x:.5g} {y:.5g}")
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)


def _colour_names(
    names: Sequence[str], palette: Sequence[str], lightness: tuple[float, float]
) -> dict[str, str]:
    if len(names) <= len(palette):
        return dict(zip(names, palette, strict=False))
    return {
        name: _to_hex(index / len(names), lightness[index % 2]) for index, name in enumerate(names)
    }


def _keep_drawable(curve: Curve, *, logarithmic: bool) -> Curve:
    kept = [
        (x, y)
        for x, y in curve.points
        if math.isfinite(x) and math.isfinite(y) and (y > 0 or not logarithmic)
    ]
    return Curve(curve.name, kept, curve.tone, curve.kind)


def _draw_curve(curve: Curve, x_scale: Scale, y_scale: Scale, axes: Axes) -> Drawing:
    marks = [
        Mark(
            x_scale(x),
            y_scale(y),
            f"{curve.name}: {axes.y_label} {format_number(y)} at {axes.x_label} {format_number(x)}",
        )
        for x, y in curve.points
    ]
    path = join_points([(mark.x, mark.y) for mark in marks]) if curve.kind == "line" else ""
    return Drawing(curve.name, curve.tone, curve.kind, path, marks)


def _pad_range(low: float, high: float) -> tuple[float, float]:
    if high > low:
        return low, high
    return (low * 0.5, high * 2.0) if low > 0 else (low, low + 1.0)


def _to_hex(hue: float, lightness: float) -> str:
    channels = colorsys.hls_to_rgb(hue, lightness, 0.9)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)
