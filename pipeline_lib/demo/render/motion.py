"""Simulate how the animals of the demo walk: steering, pauses, and a body that follows.

An animal is a chain of nodes from nose to tail tip. Its shoulder walks from place to place. The
nodes behind follow it as a tractrix: each keeps its distance to the one before. The head turns
into curves, and looks around at rest.
"""

import cmath
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NODES = (
    "nose",
    "head",
    "neck",
    "shoulder",
    "middle",
    "hip",
    "tail_base",
    *(f"tail_{link}" for link in range(1, 7)),
)

# Distances in mm at scale 1: from the shoulder to neck, head and nose, and between the nodes
# behind the shoulder.
_FRONT = (12.0, 25.0, 44.0)
_LINKS = (20.0, 18.0, 16.0) + (13.0,) * 6
_HEIGHTS = np.array([8.0, 13.0, 14.0, 14.0, 17.0, 16.0, 8.0, 5.0, 4.0, 3.0, 2.5, 2.0, 1.5])
# Share of the head's height that each node gains when the head is raised.
_RAISED = np.array([1.3, 1.0, 0.4] + [0.0] * 10)
# Largest angle in radians between neighbouring links.
_BENDS = (0.7, 0.6, 0.7) + (0.55,) * 6
# Clearance in mm around a node: the thickness of the body there.
_CLEARANCES = (15.0, 15.0, 6.0) + (3.0,) * 6
_TRUNK = 3
# Decay rates per second of looking aside, raising the head and curling the tail.
_URGE_RATE = 7.0


@dataclass(frozen=True)
class Ground:
    """Describe the floor that animals walk on; units are mm, with the origin in the middle.

    Attributes
    ----------
    half_width, half_depth
        Distance of the walls from the middle, along x and y.
    obstacles
        x, y and radius of each obstacle.
    places
        x, y of places that animals like to visit, such as shelters.
    """

    half_width: float
    half_depth: float
    obstacles: tuple[tuple[float, float, float], ...] = ()
    places: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Walks:
    """Hold the motion of all individuals.

    Attributes
    ----------
    nodes
        Shape (step, individual, node, 3), float64, mm; nodes as in `NODES`, z is up.
    gait
        Shape (step, individual), float64, phase of the gait in radians, never decreasing.
    """

    nodes: NDArray[np.float64]
    gait: NDArray[np.float64]


def simulate_walks(
    rng: np.random.Generator,
    steps: int,
    step_seconds: float,
    scales: Sequence[float],
    ground: Ground,
) -> Walks:
    """Simulate walking animals.

    Parameters
    ----------
    rng
        Random numbers.
    steps
        Number of steps, after a burn-in of two seconds.
    step_seconds
        Time between steps in s.
    scales
        Size of each individual; 1 is 98 mm from nose to tail base.
    ground
        Walls, obstacles and places of the floor.

    Returns
    -------
    Walks
        Motion in which trunk and head avoid walls and obstacles; individuals may cross.
    """
    walkers = [_Walker.start(rng, scale, ground) for scale in scales]
    run_in = round(2.0 / step_seconds)
    flat = np.empty((steps, len(walkers), len(NODES)), np.complex128)
    lift = np.empty((steps, len(walkers)))
    gait = np.empty((steps, len(walkers)))
    for step in range(-run_in, steps):
        for index, walker in enumerate(walkers):
            others = [other.position for other in walkers if other is not walker]
            walker.advance(rng, step_seconds, others)
            if step >= 0:
                flat[step, index] = walker.trace_nodes()
                lift[step, index] = walker.lift
                gait[step, index] = walker.gait
    size = np.asarray(scales)[:, None]
    height = size * (_HEIGHTS + lift[..., None] * _RAISED)
    height[..., 2:6] += (size[:, 0] * 0.8 * np.sin(2.0 * gait))[..., None]
    return Walks(np.stack([flat.real, flat.imag, height], axis=-1), gait)


@dataclass
class _Walker:
    """Move one animal; points of the floor are complex numbers (x + iy, mm)."""

    ground: Ground
    scale: float
    position: complex
    heading: complex
    chain: list[complex]
    target: complex
    cruise: float
    speed: float = 0.0
    turning: float = 0.0
    pause: float = 0.0
    patience: float = 0.0
    yaw: float = 0.0
    lift: float = 0.0
    curl: float = 0.0
    gait: float = 0.0
    urges: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    obstacles: list[tuple[complex, float]] = field(default_factory=list)

    @classmethod
    def start(cls, rng: np.random.Generator, scale: float, ground: Ground) -> "_Walker":
        heading = cmath.rect(1.0, rng.uniform(-math.pi, math.pi))
        position = _pick_point(rng, ground)
        chain, point = [], position
        for link in _LINKS:
            point -= heading * link * scale
            chain.append(point)
        cruise = rng.uniform(110.0, 190.0) * scale
        walker = cls(ground, scale, position, heading, chain, position, cruise)
        walker.obstacles = [(complex(x, y), radius) for x, y, radius in ground.obstacles]
        walker.gait = rng.uniform(0.0, 2 * math.pi)
        return walker

    def advance(self, rng: np.random.Generator, dt: float, others: list[complex]) -> None:
        """Advance the animal by dt seconds."""
        self._choose_target(rng, dt, others)
        error = cmath.phase(self._choose_direction(others) * self.heading.conjugate())
        resting = self.pause > 0.0
        root = math.sqrt(dt)
        wanted_turn = 0.0 if resting else max(-4.5, min(4.5, 5.0 * error))
        self.turning += dt * 8.0 * (wanted_turn - self.turning) + root * 2.5 * _normal(rng)
        wanted_speed = 0.0 if resting else self.cruise * (0.25 + 0.75 * max(0.0, math.cos(error)))
        self.speed += dt * 6.0 * (wanted_speed - self.speed)
        # Smooth noise, so that the path of the head within one exposure is nearly straight.
        self.urges = [
            urge - dt * _URGE_RATE * urge + root * math.sqrt(2.0 * _URGE_RATE) * _normal(rng)
            for urge in self.urges
        ]
        wanted_yaw = 0.0 if resting else max(-0.6, min(0.6, 0.6 * error))
        # A head at rest looks around more.
        unrest = 3.2 if resting else 1.4
        self.yaw += dt * (4.0 * (wanted_yaw - self.yaw) + unrest * self.urges[0])
        self.yaw = max(-0.8, min(0.8, self.yaw))
        self.lift += dt * (3.0 * (3.0 - self.lift) + 18.0 * self.urges[1])
        self.lift = max(-3.0, min(9.0, self.lift))
        self.curl += dt * (-1.5 * self.curl + 2.5 * self.urges[2])
        self.gait += dt * self.speed / self.scale / 38.0 * 2 * math.pi

        turn = 0.15 * self.turning if resting else self.turning
        self.heading *= cmath.rect(1.0, dt * turn)
        self.heading /= abs(self.heading)
        self.position += self.heading * self.speed * dt
        self._keep_clear()
        self._follow()

    def trace_nodes(self) -> list[complex]:
        """Return all nodes from nose to tail tip, with a swaying tail."""
        look = self._look()
        neck = self.position + self.heading * _FRONT[0] * self.scale
        head = neck + look * (_FRONT[1] - _FRONT[0]) * self.scale
        nose = neck + look * (_FRONT[2] - _FRONT[0]) * self.scale
        nodes = [nose, head, neck, self.position, *self.chain[:_TRUNK]]
        point = nodes[-1]
        for link in range(_TRUNK, len(_LINKS)):
            along = self.chain[link] - self.chain[link - 1]
            share = (link - _TRUNK + 1) / (len(_LINKS) - _TRUNK)
            wave = 0.18 * math.sin(0.5 * self.gait - 1.0 * link) + 0.7 * self.curl * share
            point += along * cmath.rect(1.0, wave)
            nodes.append(point)
        return nodes

    def _look(self) -> complex:
        return self.heading * cmath.rect(1.0, self.yaw)

    def _choose_target(self, rng: np.random.Generator, dt: float, others: list[complex]) -> None:
        self.pause -= dt
        self.patience -= dt
        arrived = abs(self.target - self.position) < 30.0 * self.scale
        if not arrived and self.patience > 0.0:
            return
        if arrived and rng.random() < 0.5:
            self.pause = rng.uniform(0.3, 1.1)
        self.patience = rng.uniform(1.5, 3.5)
        self.cruise = rng.uniform(80.0, 220.0) * self.scale
        choice = rng.random()
        if self.ground.places and choice < 0.25:
            self.target = complex(*self.ground.places[rng.integers(len(self.ground.places))])
        elif others and choice < 0.6:
            self.target = others[rng.integers(len(others))]
        else:
            self.target = _pick_point(rng, self.ground)

    def _choose_direction(self, others: list[complex]) -> complex:
        """Return the desired direction: to the target, away from obstacles near the nose."""
        offset = self.target - self.position
        desire = offset / max(abs(offset), 1e-9)
        ahead = self.position + self._look() * _FRONT[2] * self.scale
        around = [*self.obstacles, *((other, 30.0 * self.scale) for other in others)]
        for centre, radius in around:
            away = ahead - centre
            gap = max(0.0, abs(away) - radius)
            if gap < 45.0:
                desire += 1.5 * (1.0 - gap / 45.0) * away / max(abs(away), 1e-9)
        for wall, inwards in (
            (self.ground.half_width - ahead.real, -1),
            (self.ground.half_width + ahead.real, 1),
            (self.ground.half_depth - ahead.imag, -1j),
            (self.ground.half_depth + ahead.imag, 1j),
        ):
            if wall < 40.0:
                desire += 1.4 * (1.0 - max(0.0, wall) / 40.0) * inwards
        return desire

    def _keep_clear(self) -> None:
        """Shift the animal so that nose, head and shoulder do not touch walls or obstacles."""
        look = self._look()
        for reach, clearance in ((_FRONT[2], 4.0), (_FRONT[1], 10.0), (0.0, 14.0)):
            probe = self.position + look * reach * self.scale
            self.position += self._push_out(probe, clearance * self.scale) - probe

    def _follow(self) -> None:
        """Make the chain follow the shoulder as a tractrix with limited bends."""
        before, direction = self.position, -self.heading
        for index, (link, bend) in enumerate(zip(_LINKS, _BENDS, strict=True)):
            point = self._push_out(self.chain[index], _CLEARANCES[index] * self.scale)
            along = point - before
            angle = cmath.phase(along * direction.conjugate()) if along else 0.0
            direction *= cmath.rect(1.0, max(-bend, min(bend, angle)))
            before += direction * link * self.scale
            self.chain[index] = before

    def _push_out(self, point: complex, clearance: float) -> complex:
        width = self.ground.half_width - clearance
        depth = self.ground.half_depth - clearance
        point = complex(max(-width, min(width, point.real)), max(-depth, min(depth, point.imag)))
        for centre, radius in self.obstacles:
            away = point - centre
            if abs(away) < radius + clearance:
                point = centre + away / max(abs(away), 1e-9) * (radius + clearance)
        return point


def _pick_point(rng: np.random.Generator, ground: Ground) -> complex:
    """Return a point of the floor away from walls and obstacles."""
    point = 0j
    for _ in range(100):
        point = complex(
            rng.uniform(-0.78, 0.78) * ground.half_width,
            rng.uniform(-0.78, 0.78) * ground.half_depth,
        )
        if all(abs(point - complex(x, y)) > radius + 30.0 for x, y, radius in ground.obstacles):
            break
    return point


def _normal(rng: np.random.Generator) -> float:
    return float(rng.standard_normal())
