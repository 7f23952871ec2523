"""Lay out the timeline of a video's animals: its lanes, in boxes of width and height 1."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.kernels.summaries.tracks import (
    count_track_statuses,
    thin_animal_counts,
    thin_track_statuses,
)
from pipeline_lib.steps.report.charts import colour_individuals, join_points

_STRETCHES = 300
# A single bad frame of a long video is to be seen, too.
_LEAST_SHARE = 0.2
# Status of an animal in a frame that could not be decoded.
_UNDECODABLE = 255
# A bodypart that is missed a few points in a row does not interrupt its trajectory.
_BRIDGED = 6


@dataclass(frozen=True)
class Lane:
    """Describe one animal in the timeline of a video; blocks are SVG paths in a unit box.

    Attributes
    ----------
    trajectory
        SVG path in px of the frame.
    start
        Where it begins; None if the animal is nowhere.
    shares
        Share of the frames by status, and of those that could not be decoded: what the animal did
        in them is not known, neither that it was absent.
    """

    name: str
    colour: str
    followed: str
    uncertain: str
    gap: str
    undecodable: str
    trajectory: str
    start: tuple[float, float] | None
    shares: dict[str, float]


def draw_lanes(
    animals: Sequence[str],
    status: NDArray[np.uint8],
    way: NDArray[np.float32],
    decoded: NDArray[np.bool_] | None = None,
) -> list[Lane]:
    """Draw the timeline and the trajectory of each animal.

    Parameters
    ----------
    animals
        Names along the individual axis.
    status
        Shape (time, individual), uint8, values of `TrackStatus`.
    way
        Shape (point, individual, 2), px of the frame; NaN: a gap.
    decoded
        Shape (time,), whether a frame could be decoded; None: all.
    """
    colours = colour_individuals(animals)
    lost = np.zeros(len(status), bool) if decoded is None else ~decoded
    status = np.where(lost[:, None], np.uint8(_UNDECODABLE), status)
    shares = thin_track_statuses(status, _STRETCHES)
    totals = count_track_statuses(status) / max(len(status), 1)
    lanes = []
    for index, name in enumerate(animals):
        undecodable = np.clip(1.0 - shares[:, index].sum(axis=1), 0.0, 1.0).round(6)
        flagged = shares[:, index, [TrackStatus.UNCERTAIN, TrackStatus.GAP]]
        flagged = np.column_stack([flagged, undecodable])
        flagged = np.where(flagged > 0, np.maximum(flagged, _LEAST_SHARE), 0.0)
        # Short ones that were made higher may be more than fits.
        flagged /= np.maximum(flagged.sum(axis=1, keepdims=True), 1.0)
        uncertain, gap, undecodable = flagged.T
        room = 1.0 - flagged.sum(axis=1)
        followed = np.minimum(shares[:, index, TrackStatus.FOLLOWED], room)
        points = _bridge(way[:, index])
        lanes.append(
            Lane(
                name=name,
                colour=colours[name],
                followed=draw_blocks(np.zeros_like(followed), followed),
                uncertain=draw_blocks(followed, followed + uncertain),
                gap=draw_blocks(1.0 - undecodable - gap, 1.0 - undecodable),
                undecodable=draw_blocks(1.0 - undecodable, np.ones_like(undecodable)),
                trajectory=join_points(points),
                start=next((point for point in points if math.isfinite(sum(point))), None),
                shares={
                    **{kind.name.lower(): float(totals[index, kind]) for kind in TrackStatus},
                    "undecodable": float(lost.mean()) if len(lost) else 0.0,
                },
            )
        )
    return lanes


def draw_counts(
    status: NDArray[np.uint8], decoded: NDArray[np.bool_] | None = None
) -> tuple[str, str]:
    """Draw the number of animals over time, in a box as high as the individual axis is long.

    Parameters
    ----------
    status
        Shape (time, individual), uint8, values of `TrackStatus`.
    decoded
        Shape (time,), whether a frame could be decoded; None: all.

    Returns
    -------
    band, line : str
        SVG paths: from the fewest to the most, and their mean; with a gap where no frame could be
        decoded.
    """
    counts = thin_animal_counts(status, _STRETCHES, decoded) / max(status.shape[1], 1)
    return draw_blocks(counts[:, 0], counts[:, 2]), draw_steps(counts[:, 1])


def draw_blocks(low: NDArray[np.float64], high: NDArray[np.float64]) -> str:
    """Return the SVG path of a row of blocks in a box of width and height 1.

    Parameters
    ----------
    low, high
        Shape (block,), 0..1: bottom and top of each; where they are equal or NaN there is none.
    """
    bounds = np.round(np.stack([low, high], axis=-1), 3)
    parts = []
    for start, stop in _find_equal(bounds):
        bottom, top = bounds[start]
        if top > bottom:
            left, right = start / len(bounds), stop / len(bounds)
            corners = f"M{left:.5g} {1 - bottom:.4g}H{right:.5g}V{1 - top:.4g}H{left:.5g}z"
            parts.append(corners)
    return "".join(parts)


def draw_steps(values: NDArray[np.float64]) -> str:
    """Return the SVG path of a stepped line in a box of width and height 1.

    Parameters
    ----------
    values
        Shape (step,), 0..1: height of each; NaN: the line is interrupted.
    """
    heights = np.round(values, 3)[:, None]
    parts, drawing = [], False
    for start, stop in _find_equal(heights):
        height, drawn = heights[start, 0], drawing
        drawing = bool(np.isfinite(height))
        if drawing:
            move = "V" if drawn else f"M{start / len(heights):.5g} "
            parts.append(f"{move}{1 - height:.4g}H{stop / len(heights):.5g}")
    return "".join(parts)


def _bridge(way: NDArray[np.float32]) -> list[tuple[float, float]]:
    """Return the points of a trajectory without short runs of missing ones; shape (point, 2)."""
    missing = np.asarray(np.isnan(way).any(axis=1))
    kept = np.ones(len(way), dtype=bool)
    for start, stop in _find_equal(missing[:, None]):
        kept[start:stop] = not missing[start] or stop - start > _BRIDGED
    return [(float(x), float(y)) for x, y in way[kept]]


def _find_equal(values: NDArray[Any]) -> list[tuple[int, int]]:
    """Return start and stop of each run of equal rows; shape (row, column)."""
    turns = np.flatnonzero((np.diff(values, axis=0) != 0).any(axis=1)) + 1
    edges = [0, *turns.tolist(), len(values)]
    return list(itertools.pairwise(edges)) if len(values) else []
