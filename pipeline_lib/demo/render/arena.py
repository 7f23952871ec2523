"""Render the static part of a demo scene: floor, walls and objects, with shadows and depth."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.demo.render.camera import PinholeCamera
from pipeline_lib.demo.render.solids import Hits, Solid, cast_rays, dot

# Samples per floor pixel along each axis.
_SUPERSAMPLING = 2
# Height in mm above the surface at which a shadow ray starts.
_LIFT = 0.05
# Four points that represent a lamp: to the right and up, in units of its radius.
_LAMP_POINTS = ((1.0, 0.3), (-0.3, 1.0), (-1.0, -0.3), (0.3, -1.0))


@dataclass(frozen=True)
class Light:
    """Describe a lamp and the ambient light.

    Attributes
    ----------
    position
        x, y, z of the lamp in mm.
    size
        Radius of the lamp in mm; a larger lamp casts softer shadows.
    ambient, direct
        Share of the light that comes from all directions, and from the lamp.
    colour
        RGB of both, each about 1.
    """

    position: tuple[float, float, float]
    size: float
    ambient: float
    direct: float
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Arena:
    """Describe the static part of a scene.

    Attributes
    ----------
    floor
        Shape (pixels, pixels, 3), float32, RGB in 0..1, stretched over the larger side.
    half_width, half_depth
        Half the size of the walled floor in mm.
    solids
        Walls and objects.
    surroundings
        RGB of the table under the arena.
    grain
        Shape (pixels, pixels), float32, noise of standard deviation 1: the texture of solids.
    light
        The light.
    """

    floor: NDArray[np.float32]
    half_width: float
    half_depth: float
    solids: tuple[Solid, ...]
    surroundings: tuple[float, float, float]
    grain: NDArray[np.float32]
    light: Light


@dataclass(frozen=True)
class Backdrop:
    """Hold the view of one camera on the arena.

    Attributes
    ----------
    colour
        Shape (height, width, 3), float32, RGB in approximately 0..1.
    depth
        Shape (height, width), float32, mm along the optical axis at each pixel's centre.
    floor
        Shape (height, width), float32 in 0..1, share of the pixel that is lit floor, on which an
        animal's shadow is visible.
    """

    colour: NDArray[np.float32]
    depth: NDArray[np.float32]
    floor: NDArray[np.float32]


def render_backdrop(arena: Arena, camera: PinholeCamera) -> Backdrop:
    """Render the arena without animals.

    Parameters
    ----------
    arena
        The arena.
    camera
        The camera.

    Returns
    -------
    Backdrop
        Colour averaged over each pixel, and depth at its centre.
    """
    height, width = camera.height, camera.width
    rows, columns = np.mgrid[:height, :width]
    offsets = (np.arange(_SUPERSAMPLING) + 0.5) / _SUPERSAMPLING - 0.5
    colour = np.zeros((height * width, 3))
    floor = np.zeros(height * width)
    # Each sample within the pixel uses another point of the lamp, which gives soft shadows.
    for (down, right), point in zip(product(offsets, offsets), _LAMP_POINTS, strict=True):
        rays = camera.cast_rays(columns + right, rows + down).reshape(-1, 3)
        shade, lit_floor = _shade_rays(arena, camera.position, rays, point)
        colour += shade
        floor += lit_floor
    samples = _SUPERSAMPLING**2
    rays = camera.cast_rays(columns, rows).reshape(-1, 3)
    depth = cast_rays(arena.solids, camera.position, rays).depth
    return Backdrop(
        (colour / samples).reshape(height, width, 3).astype(np.float32),
        depth.reshape(height, width).astype(np.float32),
        (floor / samples).reshape(height, width).astype(np.float32),
    )


def light_reaching(arena: Arena, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the lamp's light, 0..1, that solids of the arena do not block.

    Parameters
    ----------
    arena
        The arena.
    points
        Shape (..., 3), mm.

    Returns
    -------
    ndarray
        Shape (...), float64.
    """
    flat = points.reshape(-1, 3)
    lit = np.mean([_sees_lamp(arena, flat, point) for point in _LAMP_POINTS], axis=0)
    return np.asarray(lit).reshape(points.shape[:-1])


def _sees_lamp(
    arena: Arena, points: NDArray[np.float64], lamp_point: tuple[float, float]
) -> NDArray[np.bool_]:
    lamp = np.array(arena.light.position)
    lamp[:2] += arena.light.size * np.asarray(lamp_point)
    free: NDArray[np.bool_] = cast_rays(arena.solids, points, lamp - points).depth >= 1.0
    return free


def _shade_rays(
    arena: Arena,
    origin: NDArray[np.float64],
    rays: NDArray[np.float64],
    lamp_point: tuple[float, float],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return RGB of shape (ray, 3), and 1 for each ray that meets lit floor, else 0."""
    hits = cast_rays(arena.solids, origin, rays)
    points = origin + hits.depth[:, None] * rays
    albedo = _paint(arena, hits, points)
    towards = np.asarray(arena.light.position) - points
    cosine = np.clip(dot(hits.normal, towards) / np.sqrt(dot(towards, towards)), 0.0, None)
    lit = _sees_lamp(arena, points + _LIFT * hits.normal, lamp_point)
    inside = (np.abs(points[:, 0]) < arena.half_width) & (np.abs(points[:, 1]) < arena.half_depth)
    floor = (hits.solid == -1) & inside
    # Corners receive less ambient light.
    wall = np.minimum(
        arena.half_width - np.abs(points[:, 0]), arena.half_depth - np.abs(points[:, 1])
    )
    corner = 1.0 - 0.35 * np.where(floor, np.exp(-np.clip(wall, 0.0, None) / 14.0), 0.0)
    light = arena.light.ambient * corner + arena.light.direct * lit * cosine
    return albedo * light[:, None] * np.asarray(arena.light.colour), floor * (0.3 + 0.7 * lit)


def _paint(arena: Arena, hits: Hits, points: NDArray[np.float64]) -> NDArray[np.float64]:
    side = 2.0 * max(arena.half_width, arena.half_depth)
    pixels = len(arena.floor)
    place = points[:, :2] / side + 0.5
    inside = (np.abs(points[:, 0]) < arena.half_width) & (np.abs(points[:, 1]) < arena.half_depth)
    cells = np.clip((place * pixels).astype(np.int64), 0, pixels - 1)
    ground = arena.floor[cells[:, 1], cells[:, 0]].astype(np.float64)
    # On solids the grain continues around corners: height shifts both directions.
    across = points[:, :2] + 0.7 * points[:, 2:]
    grain_cells = (across * 1.5).astype(np.int64) % len(arena.grain)
    grain = arena.grain[grain_cells[:, 1], grain_cells[:, 0]].astype(np.float64)
    colours = np.array([solid.colour for solid in arena.solids] + [arena.surroundings])
    painted = colours[hits.solid] * (1.0 + 0.07 * grain[:, None])
    is_floor = (hits.solid == -1) & inside
    return np.where(is_floor[:, None], ground, painted)
