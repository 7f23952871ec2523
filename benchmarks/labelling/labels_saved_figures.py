"""Draw the curves of `labels_saved.py`, and say how many labels choosing saves."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student

from pipeline_lib.io.publish import publish_text

START, STRATEGIES = "start", ("random", "chosen")
MEASURES = {"error": "all test frames", "usual": "usual videos", "unusual": "unusual videos"}
_COLOURS = {"random": "#8a8f98", "chosen": "#0b6e99"}
_NAMES = {"random": "drawn at random", "chosen": "chosen by refine"}
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 300, 240, 42, 34, 40


def write_figures(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write ``curves.tsv``, ``curves.svg`` and ``summary.txt`` of the finished seeds.

    Parameters
    ----------
    folder
        The runs' folder, which receives the files.
    rows
        Rows of ``runs.tsv``.
    """
    curves = tabulate(rows)
    publish_text(folder / "curves.tsv", curves.to_csv(sep="\t", index=False, float_format="%.3f"))
    publish_text(folder / "curves.svg", draw(curves))
    publish_text(folder / "summary.txt", "\n".join(summarise(rows)) + "\n")
    print("\n".join(summarise(rows)))


def tabulate(rows: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Return mean, 95 % interval (Student's t over seeds) and number of seeds of each point."""
    table = _arrange(rows)
    points = []
    for (strategy, labels), own in table.groupby(["strategy", "labels"], sort=True):
        for measure in MEASURES:
            values = own[measure].dropna()
            if not len(values):
                continue
            half = np.nan
            if len(values) > 1:
                half = student.ppf(0.975, len(values) - 1) * values.sem()
            points.append((measure, strategy, labels, values.mean(), half, len(values)))
    columns = ["measure", "strategy", "labels", "mean", "half_interval", "seeds"]
    return pd.DataFrame(points, columns=columns)


def summarise(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Say with how many labels choosing reaches random's error at the end of the curve."""
    curves = tabulate(rows)
    error = curves[curves["measure"] == "error"]
    random, chosen = (
        error[error["strategy"] == strategy].set_index("labels")["mean"] for strategy in STRATEGIES
    )
    if random.empty or chosen.empty:
        return ["no curve yet"]
    last = int(random.index.max())
    needed = find_needed(chosen, float(random[last]))
    lines = [
        f"mean error at {last} labels: random {random[last]:.2f} px, chosen {chosen[last]:.2f} px"
        if last in chosen.index
        else f"mean error at {last} labels: random {random[last]:.2f} px",
        f"chosen labels that reach random's error at {last}: "
        + (f"{needed:.0f}" if np.isfinite(needed) else f"more than {chosen.index.max()}"),
    ]
    table = _arrange(rows).pivot_table(index="seed", columns=["strategy", "labels"], values="error")
    for labels in chosen.index.drop(10, errors="ignore"):
        pairs = table["random"].get(labels), table["chosen"].get(labels)
        if all(one is not None for one in pairs):
            difference = (pairs[1] - pairs[0]).dropna()
            better = int((difference < 0).sum())
            lines.append(
                f"{labels} labels: chosen less random {difference.mean():+.2f} px, better in "
                f"{better} of {len(difference)} seeds"
            )
    return lines


def find_needed(errors: pd.Series, goal: float) -> float:
    """Return the number of labels at which a falling curve reaches an error, between its points."""
    labels, values = errors.index.to_numpy(float), errors.to_numpy(float)
    for place in range(len(values)):
        if values[place] <= goal:
            if place == 0:
                return float(labels[0])
            fall = values[place - 1] - values[place]
            share = (values[place - 1] - goal) / fall
            return float(labels[place - 1] + share * (labels[place] - labels[place - 1]))
    return np.inf


def draw(curves: pd.DataFrame) -> str:
    """Return the curves as SVG: a panel for each measure, the interval as a band."""
    measures = [name for name in MEASURES if (curves["measure"] == name).any()]
    width = _WIDTH * len(measures)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" width="{width}">',
        "<style>text { font: 11px sans-serif } polyline { stroke-width: 2 }</style>",
        f'<rect width="{width}" height="{_HEIGHT}" fill="white"/>',
    ]
    for number, measure in enumerate(measures):
        own = curves[curves["measure"] == measure]
        parts.append(f'<g transform="translate({number * _WIDTH} 0)">{_draw_panel(own, measure)}')
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _draw_panel(curves: pd.DataFrame, measure: str) -> str:
    top = float((curves["mean"] + curves["half_interval"].fillna(0)).max()) * 1.05
    first, last = curves["labels"].min(), curves["labels"].max()

    def place(labels: float, error: float) -> tuple[float, float]:
        x = _LEFT + (labels - first) / max(1, last - first) * (_WIDTH - _LEFT - 16)
        y = _HEIGHT - _BOTTOM - max(0.0, error) / top * (_HEIGHT - _BOTTOM - _TOP)
        return round(x, 1), round(y, 1)

    parts = [f'<text x="{_LEFT}" y="18" font-weight="bold">{MEASURES[measure]}</text>']
    for tick in np.linspace(0, top, 5)[:-1]:
        x, y = place(first, tick)
        parts.append(f'<line x1="{x}" x2="{_WIDTH - 16}" y1="{y}" y2="{y}" stroke="#e4e6ea"/>')
        parts.append(f'<text x="{x - 6}" y="{y + 4}" text-anchor="end">{tick:.1f}</text>')
    for labels in sorted(curves["labels"].unique()):
        x, y = place(labels, 0)
        parts.append(f'<text x="{x}" y="{y + 16}" text-anchor="middle">{labels}</text>')
    middle = (_LEFT + _WIDTH) / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">labelled frames; mean error in '
        "px</text>"
    )
    for row, strategy in enumerate(STRATEGIES):
        own = curves[curves["strategy"] == strategy].sort_values("labels")
        colour = _COLOURS[strategy]
        half = own["half_interval"].fillna(0)
        upper = [place(*pair) for pair in zip(own["labels"], own["mean"] + half, strict=True)]
        lower = [place(*pair) for pair in zip(own["labels"], own["mean"] - half, strict=True)]
        line = [place(*pair) for pair in zip(own["labels"], own["mean"], strict=True)]
        band = " ".join(f"{x},{y}" for x, y in [*upper, *lower[::-1]])
        parts.append(f'<polygon points="{band}" fill="{colour}" opacity="0.18"/>')
        points = " ".join(f"{x},{y}" for x, y in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in line]
        parts.append(
            f'<text x="{_WIDTH - 20}" y="{_TOP + 4 + 14 * row}" text-anchor="end" fill="{colour}">'
            f"{_NAMES[strategy]}</text>"
        )
    return "\n".join(parts)


def _arrange(rows: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Return numbers; both strategies share the first point."""
    table = pd.DataFrame(rows)
    for name in ("seed", "labels"):
        table[name] = table[name].astype(int)
    for name in MEASURES:
        table[name] = table[name].astype(float)
    start = table[table["strategy"] == START]
    shared = [start.assign(strategy=strategy) for strategy in STRATEGIES]
    return pd.concat([table[table["strategy"] != START], *shared], ignore_index=True)
