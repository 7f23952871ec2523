"""Build the body of a demo animal from round cones, with exact bodyparts.

A round cone is the convex hull of two spheres. A chain of round cones along the spine, with the
radii of a mouse, is a smooth body with depth and normals at every pixel, so that light, occlusion
and crossings of animals need no special cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.demo.render.motion import NODES

BODYPARTS = (
    "snout",
    "left_ear",
    "right_ear",
    "neck",
    "back",
    "tail_base",
    "tail_middle",
    "tail_tip",
)
EDGES = (
    ("snout", "left_ear"),
    ("snout", "right_ear"),
    ("left_ear", "neck"),
    ("right_ear", "neck"),
    ("neck", "back"),
    ("back", "tail_base"),
    ("tail_base", "tail_middle"),
    ("tail_middle", "tail_tip"),
)
SYMMETRIES = (("left_ear", "right_ear"),)

# Surfaces of an animal, in the order of the textures of a coat.
FUR, TAIL, EAR, PAW, EYE = range(5)

# Position along the nodes (0 nose ... 6 tail base ... 12 tail tip) and radius there in mm.
_BODY_PROFILE = np.array(
    [
        (0.0, 2.4), (0.33, 5.2), (0.66, 7.8), (1.0, 9.0), (1.5, 9.2), (2.0, 9.4), (2.5, 10.2),
        (3.0, 11.5), (3.5, 13.2), (4.0, 14.5), (4.5, 14.9), (5.0, 14.2), (5.35, 12.0),
        (5.7, 8.0), (6.0, 4.2),
    ]
)  # fmt: skip
_TAIL_PROFILE = np.array([(6.0 + step / 2, 3.2 - 2.1 * step / 12) for step in range(13)])
_EAR_RADIUS = 5.6
# Depth in mm below the surface at which a point still counts as visible: its radius and a margin.
_DEPTHS = np.array([8.0, 12.0, 12.0, 9.0, 9.0, 14.0, 7.0, 6.0])


@dataclass(frozen=True)
class Body:
    """Hold the round cones and bodyparts of one animal over time.

    Attributes
    ----------
    starts, ends
        Shape (step, cone, 3), float64, mm: centres of the two spheres of each cone.
    radii
        Shape (cone, 2), float64, mm: radius at the start and at the end.
    lefts
        Shape (step, cone, 3), float64, unit vectors to the animal's left.
    surfaces
        Shape (cone,), int64: texture of the coat (`FUR`, `TAIL`, `EAR`, `PAW`, `EYE`).
    lengthwise
        Shape (cone, 2), float64 in 0..1: texture coordinate at the start and at the end.
    bodyparts
        Shape (step, bodypart, 3), float64, mm, in the order of `BODYPARTS`.
    depths
        Shape (bodypart,), float64, mm below the visible surface that still counts as seen.
    """

    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    radii: NDArray[np.float64]
    lefts: NDArray[np.float64]
    surfaces: NDArray[np.int64]
    lengthwise: NDArray[np.float64]
    bodyparts: NDArray[np.float64]
    depths: NDArray[np.float64]


def build_body(nodes: NDArray[np.float64], gait: NDArray[np.float64], scale: float) -> Body:
    """Build a body around the nodes of a walk.

    Parameters
    ----------
    nodes
        Shape (step, node, 3), mm; nodes as in `pipeline_lib.demo.render.motion.NODES`.
    gait
        Shape (step,), phase of the gait in radians.
    scale
        Size of the animal, as given to the walk.

    Returns
    -------
    Body
        The spine is a Catmull-Rom curve through the nodes (Catmull and Rom, 1974).
    """
    trunk = _chain(nodes, _BODY_PROFILE, FUR)
    tail = _chain(nodes, _TAIL_PROFILE, TAIL)
    forward, left = _head_axes(nodes)
    limbs = [*_head_details(nodes, forward, left, scale), *_paws(nodes, gait, scale)]
    # Distant parts first, so that soft edges blend with the parts behind them.
    parts = [*limbs[4:], tail, trunk, *limbs[:4]]
    radii = np.concatenate([part.radii for part in parts]) * scale
    return Body(
        starts=np.concatenate([part.starts for part in parts], axis=1),
        ends=np.concatenate([part.ends for part in parts], axis=1),
        radii=radii,
        lefts=np.concatenate([part.lefts for part in parts], axis=1),
        surfaces=np.concatenate([part.surfaces for part in parts]),
        lengthwise=np.concatenate([part.lengthwise for part in parts]),
        bodyparts=_locate_bodyparts(nodes, left, scale),
        depths=_DEPTHS * scale,
    )


@dataclass(frozen=True)
class _Part:
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    radii: NDArray[np.float64]
    lefts: NDArray[np.float64]
    surfaces: NDArray[np.int64]
    lengthwise: NDArray[np.float64]


def _chain(nodes: NDArray[np.float64], profile: NDArray[np.float64], surface: int) -> _Part:
    points = np.einsum("pn,snd->spd", _interpolate_nodes(profile[:, 0]), nodes)
    starts, ends = points[:, :-1], points[:, 1:]
    along = (profile[:, 0] - profile[0, 0]) / (profile[-1, 0] - profile[0, 0])
    return _Part(
        starts,
        ends,
        np.stack([profile[:-1, 1], profile[1:, 1]], axis=-1),
        _left_of(starts - ends),
        np.full(len(profile) - 1, surface),
        np.stack([along[:-1], along[1:]], axis=-1),
    )


def _interpolate_nodes(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Catmull-Rom weights of shape (position, node) for fractional node positions."""
    count = len(NODES)
    weights = np.zeros((len(positions), count))
    for row, position in enumerate(positions):
        first = min(int(position), count - 2)
        t = position - first
        cubic = (
            -0.5 * t + t**2 - 0.5 * t**3,
            1.0 - 2.5 * t**2 + 1.5 * t**3,
            0.5 * t + 2.0 * t**2 - 1.5 * t**3,
            -0.5 * t**2 + 0.5 * t**3,
        )
        for offset, weight in enumerate(cubic, start=-1):
            weights[row, min(max(first + offset, 0), count - 1)] += weight
    return weights


def _left_of(forward: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return unit vectors in the floor plane, a quarter turn counterclockwise seen from above."""
    left = np.stack([-forward[..., 1], forward[..., 0], np.zeros_like(forward[..., 0])], axis=-1)
    unit: NDArray[np.float64] = left / np.linalg.norm(left, axis=-1, keepdims=True)
    return unit


def _head_axes(nodes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    forward = nodes[:, 0] - nodes[:, 1]
    forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
    return forward, _left_of(forward)


def _ear_centre(
    nodes: NDArray[np.float64], left: NDArray[np.float64], scale: float, side: int
) -> NDArray[np.float64]:
    centre: NDArray[np.float64] = nodes[:, 1] + scale * (side * 9.0 * left + [0.0, 0.0, 6.0])
    return centre


def _head_details(
    nodes: NDArray[np.float64],
    forward: NDArray[np.float64],
    left: NDArray[np.float64],
    scale: float,
) -> list[_Part]:
    """Return two ears and two eyes."""
    parts = []
    for side in (1, -1):
        ear = _ear_centre(nodes, left, scale, side)
        parts.append(_segment(ear, ear, left, (_EAR_RADIUS, _EAR_RADIUS), EAR))
    for side in (1, -1):
        eye = nodes[:, 1] + scale * (8.5 * forward + side * 5.6 * left + [0.0, 0.0, 4.5])
        parts.append(_segment(eye, eye, left, (1.7, 1.7), EYE))
    return parts


def _paws(nodes: NDArray[np.float64], gait: NDArray[np.float64], scale: float) -> list[_Part]:
    """Return four paws in a trot: diagonal pairs move together."""
    parts = []
    for node, sides, advance, size, diagonal in (
        (3, 9.5, 7.0, 2.7, 0.0),
        (5, 12.5, 1.0, 3.2, np.pi),
    ):
        forward = nodes[:, node - 1] - nodes[:, node]
        forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
        left = _left_of(forward)
        for side in (1, -1):
            phase = gait + diagonal + (0.0 if side == 1 else np.pi)
            reach = advance + 7.5 * np.sin(phase)[:, None]
            heel = nodes[:, node] + scale * (reach * forward + side * sides * left)
            heel[:, 2] = scale * (2.5 + 2.5 * np.clip(np.cos(phase), 0.0, None))
            toe = heel + scale * 6.0 * forward
            toe[:, 2] = heel[:, 2]
            parts.append(_segment(heel, toe, left, (size, size * 0.7), PAW))
    return parts


def _segment(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    left: NDArray[np.float64],
    radii: Sequence[float],
    surface: int,
) -> _Part:
    return _Part(
        start[:, None],
        end[:, None],
        np.array([radii]),
        left[:, None],
        np.array([surface]),
        np.array([[0.0, 1.0]]),
    )


def _locate_bodyparts(
    nodes: NDArray[np.float64], left: NDArray[np.float64], scale: float
) -> NDArray[np.float64]:
    """Return the bodyparts: neck, back and tail base on top of the body, the others its centres."""
    points = np.stack(
        [
            nodes[:, 0],
            _ear_centre(nodes, left, scale, 1),
            _ear_centre(nodes, left, scale, -1),
            nodes[:, 2],
            nodes[:, 4],
            nodes[:, 6],
            nodes[:, 9],
            nodes[:, 12],
        ],
        axis=1,
    )
    points[:, 3:6, 2] += scale * np.array([9.4, 14.5, 4.2])
    return points
