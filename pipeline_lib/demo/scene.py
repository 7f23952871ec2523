"""Generate the scene of one demo recording from a seed: arena, lamp, animals and cameras."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.demo.render.arena import Arena, Light
from pipeline_lib.demo.render.camera import PinholeCamera, aim_camera
from pipeline_lib.demo.render.draw import Coat, Sensor
from pipeline_lib.demo.render.lens import Lens
from pipeline_lib.demo.render.motion import Ground
from pipeline_lib.demo.render.solids import Ball, Box, Cylinder, Solid
from pipeline_lib.demo.render.texture import (
    CoatKind,
    FloorKind,
    make_noise,
    paint_coat,
    paint_floor,
)

_FLOORS: tuple[tuple[FloorKind, tuple[float, float, float]], ...] = (
    ("bedding", (0.76, 0.62, 0.44)),
    ("painted", (0.62, 0.64, 0.66)),
    ("planks", (0.60, 0.42, 0.27)),
    ("tiles", (0.72, 0.74, 0.70)),
    ("painted", (0.40, 0.47, 0.50)),
    ("bedding", (0.66, 0.60, 0.52)),
)
_COATS: tuple[tuple[CoatKind, tuple[float, float, float], tuple[float, float, float]], ...] = (
    ("plain", (0.12, 0.11, 0.11), (0.30, 0.28, 0.27)),
    ("agouti", (0.30, 0.22, 0.15), (0.50, 0.40, 0.30)),
    ("plain", (0.88, 0.85, 0.80), (0.95, 0.94, 0.92)),
    ("hooded", (0.13, 0.11, 0.10), (0.92, 0.90, 0.86)),
    ("patched", (0.28, 0.18, 0.12), (0.90, 0.87, 0.82)),
    ("plain", (0.36, 0.35, 0.36), (0.55, 0.54, 0.55)),
)
_DYES = ((0.80, 0.12, 0.10), (0.10, 0.30, 0.75), (0.12, 0.55, 0.20), (0.90, 0.70, 0.08))
_OBJECT_COLOURS = (
    (0.72, 0.20, 0.16),
    (0.16, 0.36, 0.66),
    (0.22, 0.52, 0.30),
    (0.85, 0.66, 0.18),
    (0.20, 0.20, 0.23),
    (0.86, 0.85, 0.82),
)
# Side of a square arena, and height of the shelters' roofs, in mm.
_ARENA_SIDE = 380.0
_ROOF = 52.0


@dataclass(frozen=True)
class Scene:
    """Describe the scene of one recording, before anything moves.

    Attributes
    ----------
    arena, ground
        The arena as cameras see it, and the floor with the obstacles that animals avoid.
    scales, coats
        Size and textures of each individual.
    cameras
        Cameras; camera 0 looks down, the others look from the side. Of cameras with lenses, these
        are the views that the lenses bend.
    sensor
        Blur and noise of the cameras.
    lenses
        Lens of each camera; empty for cameras without distortion.
    steady
        Whether the light never changes.
    """

    arena: Arena
    ground: Ground
    scales: tuple[float, ...]
    coats: tuple[Coat, ...]
    cameras: tuple[PinholeCamera, ...]
    sensor: Sensor
    lenses: tuple[Lens, ...] = ()
    steady: bool = False


def measure_arena(size: tuple[int, int]) -> tuple[float, float]:
    """Return half the width and half the depth in mm of an arena filmed at a size in px."""
    width, height = size
    return (
        _ARENA_SIDE / 2 * float(np.sqrt(width / height)),
        _ARENA_SIDE / 2 * float(np.sqrt(height / width)),
    )


def generate_scene(
    seed: Sequence[int],
    individuals: int,
    cameras: int,
    size: tuple[int, int],
    lenses: tuple[Lens, ...] = (),
) -> Scene:
    """Generate the scene of a recording.

    Parameters
    ----------
    seed
        Seed of all random numbers; its last number also selects floor and coat, so that
        consecutive recordings differ.
    individuals, cameras
        Number of individuals and of cameras.
    size
        Width and height of the frames in px.
    lenses
        Cameras that all recordings are made with; empty: the scene has cameras of its own.
    """
    rng = np.random.default_rng(list(seed))
    half_width, half_depth = measure_arena(size)
    ground, solids = _build_solids(rng, half_width, half_depth)
    style = int(seed[-1])
    coats = _paint_coats(rng, style, individuals)
    kind, colour = _FLOORS[style % len(_FLOORS)]
    shades = _contrast(np.array(colour), coats[0][0].mean(axis=(0, 1)))
    side = 2.0 * max(half_width, half_depth)
    lamp_x, lamp_y, lamp_z = rng.uniform((-450, -450, 650), (450, 450, 950)).tolist()
    light = Light(
        position=(lamp_x, lamp_y, lamp_z),
        size=float(rng.uniform(15, 60)),
        ambient=float(rng.uniform(0.42, 0.58)),
        direct=float(rng.uniform(0.45, 0.62)),
        colour=_tint(rng),
    )
    arena = Arena(
        floor=paint_floor(rng, kind, shades, round(2.2 * side)),
        half_width=half_width,
        half_depth=half_depth,
        solids=solids,
        surroundings=_vary(rng, (0.20, 0.19, 0.18)),
        grain=make_noise(rng, (256, 256), (2, 9)),
        light=light,
    )
    scales = tuple(float(value) for value in rng.uniform(0.88, 1.12, individuals))
    views = tuple(lens.view for lens in lenses) or tuple(
        _place_camera(rng, camera, arena, size) for camera in range(cameras)
    )
    sensor = Sensor(
        blur=float(rng.uniform(0.45, 0.75)),
        noise_dark=float(rng.uniform(0.004, 0.012)),
        noise_bright=float(rng.uniform(0.005, 0.02)),
    )
    return Scene(arena, ground, scales, coats, views, sensor, lenses)


def _build_solids(
    rng: np.random.Generator, half_width: float, half_depth: float
) -> tuple[Ground, tuple[Solid, ...]]:
    """Build walls, shelters that animals walk under, and obstacles."""
    wall_colour = _vary(rng, _OBJECT_COLOURS[rng.integers(4, 6)])
    height, thick = float(rng.uniform(28, 55)), 5.0
    across = (half_width + 2 * thick, thick, height / 2)
    along = (thick, half_depth + 2 * thick, height / 2)
    solids: list[Solid] = []
    for sign in (-1, 1):
        beside = (sign * (half_width + thick), 0.0, height / 2)
        beyond = (0.0, sign * (half_depth + thick), height / 2)
        solids += [Box(beside, along, 0.0, wall_colour), Box(beyond, across, 0.0, wall_colour)]
    taken: list[tuple[float, float, float]] = []
    places, obstacles = [], []
    for _ in range(int(rng.integers(1, 3))):
        spot = _find_spot(rng, taken, 54.0, (half_width, half_depth))
        if spot is not None:
            places.append(spot)
            solids += _build_shelter(rng, spot)
    for _ in range(int(rng.integers(2, 5))):
        radius = float(rng.uniform(12, 22))
        spot = _find_spot(rng, taken, radius, (half_width, half_depth))
        if spot is not None:
            obstacles.append((*spot, radius))
            solids.append(_make_obstacle(rng, spot, radius))
    return Ground(half_width, half_depth, tuple(obstacles), tuple(places)), tuple(solids)


def _find_spot(
    rng: np.random.Generator,
    taken: list[tuple[float, float, float]],
    radius: float,
    halves: tuple[float, float],
) -> tuple[float, float] | None:
    """Return a free spot and mark it as taken; None after too many tries."""
    for _ in range(200):
        x, y = (float(rng.uniform(-half, half) * 0.72) for half in halves)
        if all(np.hypot(x - a, y - b) > radius + other + 48.0 for a, b, other in taken):
            taken.append((x, y, radius))
            return x, y
    return None


def _build_shelter(rng: np.random.Generator, spot: tuple[float, float]) -> list[Solid]:
    """Build a roof on four posts."""
    half_x, half_y = float(rng.uniform(32, 44)), float(rng.uniform(19, 26))
    angle = float(rng.uniform(0, np.pi))
    colour = _vary(rng, _OBJECT_COLOURS[rng.integers(len(_OBJECT_COLOURS))])
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    solids: list[Solid] = [Box((*spot, _ROOF), (half_x, half_y, 2.0), angle, colour)]
    for sign_x in (-1, 1):
        for sign_y in (-1, 1):
            x, y = spot + np.array([sign_x * (half_x - 4), sign_y * (half_y - 4)]) @ axes
            solids.append(Cylinder((float(x), float(y)), 2.0, _ROOF, colour))
    return solids


def _make_obstacle(rng: np.random.Generator, spot: tuple[float, float], radius: float) -> Solid:
    colour = _vary(rng, _OBJECT_COLOURS[rng.integers(len(_OBJECT_COLOURS))])
    kind = rng.integers(3)
    if kind == 0:
        half, height = radius * 0.8, float(rng.uniform(10, 30))
        return Box((*spot, height), (half, half * 0.7, height), float(rng.uniform(0, 3)), colour)
    if kind == 1:
        return Cylinder(spot, radius, float(rng.uniform(15, 60)), colour)
    return Ball((*spot, radius), radius, colour)


def _paint_coats(rng: np.random.Generator, style: int, individuals: int) -> tuple[Coat, ...]:
    """Paint one coat per individual; individuals differ in shade and in a dyed mark on the rump."""
    kind, dark, light = _COATS[style % len(_COATS)]
    coats = []
    for individual in range(individuals):
        shade = rng.uniform(0.85, 1.2)
        colours = (np.array([dark, light]) * shade).clip(0.05, 0.95).astype(np.float32)
        dye = None
        if individuals > 1:
            dye = np.array(_DYES[individual % len(_DYES)], np.float32)
        coats.append(paint_coat(rng, kind, colours, dye))
    return tuple(coats)


def _contrast(floor: NDArray[np.float64], coat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shift the brightness of the floor if it is too close to that of the coat."""
    gap = float(floor.mean() - coat.mean())
    if abs(gap) < 0.2:
        wanted = coat.mean() + (0.26 if coat.mean() < 0.5 else -0.30)
        floor = floor * float(wanted / floor.mean())
    return floor.clip(0.05, 0.95).astype(np.float32)


def _place_camera(
    rng: np.random.Generator, index: int, arena: Arena, size: tuple[int, int]
) -> PinholeCamera:
    """Place camera 0 above the arena, looking almost straight down, and the others around it."""
    halves = np.array([arena.half_width + 12.0, arena.half_depth + 12.0])
    corners = np.array([[x, y, 0.0] for x in (-1, 1) for y in (-1, 1)])
    corners[:, :2] *= halves
    sway = rng.uniform(-1.0, 1.0, 4)
    if index == 0:
        position = (25.0 * sway[0], 25.0 * sway[1], 900.0 + 80.0 * sway[2])
        return aim_camera(position, (0.0, 0.0, 0.0), corners, size, roll=0.04 * sway[3])
    around = (index - 2) * np.pi / 2 + 0.3 * sway[0]
    elevation = np.deg2rad(46.0 + 6.0 * sway[1])
    distance = 850.0 + 60.0 * sway[2]
    position = (
        distance * float(np.cos(elevation) * np.cos(around)),
        distance * float(np.cos(elevation) * np.sin(around)),
        distance * float(np.sin(elevation)),
    )
    return aim_camera(position, (0.0, 0.0, 10.0), corners, size)


def _tint(rng: np.random.Generator) -> tuple[float, float, float]:
    """Return the colour of a lamp, from warm to cool."""
    warmth = float(rng.uniform(-0.08, 0.10))
    return 1.0 + warmth, 1.0, 1.0 - warmth


def _vary(
    rng: np.random.Generator, colour: tuple[float, float, float]
) -> tuple[float, float, float]:
    red, green, blue = (float(v) for v in np.clip(colour * rng.uniform(0.85, 1.15, 3), 0.02, 0.95))
    return red, green, blue
