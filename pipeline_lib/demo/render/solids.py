"""Intersect rays with the solids of the demo scenes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Box:
    """Describe an upright box in mm; the angle about the vertical is in radians."""

    centre: tuple[float, float, float]
    half_sizes: tuple[float, float, float]
    angle: float
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class Cylinder:
    """Describe a cylinder that stands on the floor, in mm."""

    centre: tuple[float, float]
    radius: float
    height: float
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class Ball:
    """Describe a sphere, in mm."""

    centre: tuple[float, float, float]
    radius: float
    colour: tuple[float, float, float]


Solid = Box | Cylinder | Ball


@dataclass(frozen=True)
class Hits:
    """Hold the closest surface of each ray.

    Attributes
    ----------
    depth
        Shape (ray,), float64, in lengths of the ray; inf if it meets none.
    normal
        Shape (ray, 3), float64, outward unit vectors.
    solid
        Shape (ray,), int64, index of the solid; -1 for the ground.
    """

    depth: NDArray[np.float64]
    normal: NDArray[np.float64]
    solid: NDArray[np.int64]


def cast_rays(
    solids: tuple[Solid, ...], origins: NDArray[np.float64], rays: NDArray[np.float64]
) -> Hits:
    """Find the closest surface of each ray, including the ground at height 0.

    Parameters
    ----------
    solids
        Solids of the scene.
    origins
        Shape (3,) or (ray, 3), mm; outside all solids.
    rays
        Shape (ray, 3), mm, of any length.
    """
    origins = np.broadcast_to(origins, rays.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = -origins[:, 2] / rays[:, 2]
        depth = np.where(ground > 0.0, ground, np.inf)
        normal = np.zeros_like(rays)
        normal[:, 2] = 1.0
        solid_index = np.full(len(rays), -1)
        for index, solid in enumerate(solids):
            near = np.flatnonzero(_passes_near(solid, origins, rays))
            entry, own_normal = _hit(solid, origins[near], rays[near])
            nearer = (entry > 0.0) & (entry < depth[near])
            chosen = near[nearer]
            depth[chosen] = entry[nearer]
            normal[chosen] = own_normal[nearer]
            solid_index[chosen] = index
    return Hits(depth, normal, solid_index)


def _passes_near(
    solid: Solid, origins: NDArray[np.float64], rays: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which rays meet the bounding sphere of a solid, to skip the others cheaply."""
    if isinstance(solid, Box):
        centre, radius = np.asarray(solid.centre), float(np.linalg.norm(solid.half_sizes))
    elif isinstance(solid, Cylinder):
        centre = np.array([*solid.centre, solid.height / 2])
        radius = float(np.hypot(solid.radius, solid.height / 2))
    else:
        centre, radius = np.asarray(solid.centre), solid.radius
    offset = origins - centre
    half, squared = dot(offset, rays), dot(rays, rays)
    meets: NDArray[np.bool_] = half**2 >= squared * (dot(offset, offset) - radius**2)
    return meets


def dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return dot products along the last axis."""
    product: NDArray[np.float64] = np.einsum("...i,...i->...", a, b)
    return product


def _hit(
    solid: Solid, origins: NDArray[np.float64], rays: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the depth at which rays enter a solid (inf or NaN if they miss it), and its normal."""
    if isinstance(solid, Box):
        return _hit_box(solid, origins, rays)
    if isinstance(solid, Cylinder):
        return _hit_cylinder(solid, origins, rays)
    offset = origins - np.asarray(solid.centre)
    entry = _enter_round(offset, rays, solid.radius)
    return entry, (offset + entry[:, None] * rays) / solid.radius


def _hit_box(
    box: Box, origins: NDArray[np.float64], rays: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intersect rays with a box by the slab method (Kay and Kajiya, 1986)."""
    cos, sin = np.cos(box.angle), np.sin(box.angle)
    axes = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    offset = (origins - np.asarray(box.centre)) @ axes.T
    direction = rays @ axes.T
    half = np.asarray(box.half_sizes)
    slopes = 1.0 / direction
    low, high = (-half - offset) * slopes, (half - offset) * slopes
    entries, exits = np.minimum(low, high), np.maximum(low, high)
    entry = np.maximum(np.maximum(entries[:, 0], entries[:, 1]), entries[:, 2])
    leave = np.minimum(np.minimum(exits[:, 0], exits[:, 1]), exits[:, 2])
    axis = np.where(entry == entries[:, 0], 0, np.where(entry == entries[:, 1], 1, 2))
    sign = -np.sign(direction[np.arange(len(axis)), axis])
    normal: NDArray[np.float64] = sign[:, None] * axes[axis]
    return np.where(entry < leave, entry, np.inf), normal


def _hit_cylinder(
    cylinder: Cylinder, origins: NDArray[np.float64], rays: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    offset = origins - np.array([*cylinder.centre, 0.0])
    side = _enter_round(offset[..., :2], rays[:, :2], cylinder.radius)
    side_height = offset[..., 2] + side * rays[:, 2]
    side = np.where((side_height > 0.0) & (side_height < cylinder.height), side, np.inf)
    top = (cylinder.height - offset[..., 2]) / rays[:, 2]
    on_top = offset[..., :2] + top[:, None] * rays[:, :2]
    top = np.where((dot(on_top, on_top) < cylinder.radius**2) & (top > 0.0), top, np.inf)
    entry = np.minimum(side, top)
    at = np.where(np.isfinite(entry), entry, 0.0)
    outwards = (offset[..., :2] + at[:, None] * rays[:, :2]) / cylinder.radius
    normal = np.concatenate([outwards, np.zeros((len(rays), 1))], axis=-1)
    normal[top < side] = (0.0, 0.0, 1.0)
    return entry, normal


def _enter_round(
    offset: NDArray[np.float64], rays: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    """Return the depth at which rays enter a circle or sphere at the origin; NaN if they miss."""
    squared, half = dot(rays, rays), dot(offset, rays)
    beyond = dot(offset, offset) - radius**2
    entry: NDArray[np.float64] = (-half - np.sqrt(half**2 - squared * beyond)) / squared
    return entry
