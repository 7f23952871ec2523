"""Film one demo recording: render the frames of every camera, with the truth."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.demo.render.animal import Body, build_body
from pipeline_lib.demo.render.arena import Backdrop, light_reaching, render_backdrop
from pipeline_lib.demo.render.cones import ProjectedBody, project_body
from pipeline_lib.demo.render.draw import (
    Coat,
    Lighting,
    cast_shadow,
    darken_floor,
    develop_frame,
    draw_body,
    find_visible_bodyparts,
)
from pipeline_lib.demo.render.motion import Walks, simulate_walks
from pipeline_lib.demo.scene import Scene

# Time steps per frame; the shutter is open during three of the four.
STEPS_PER_FRAME = 4
# Largest motion in px during an exposure that is drawn without motion blur.
_STILL = 0.4
_FRAMES_PER_CHUNK = 64


@dataclass(frozen=True)
class FilmedFrame:
    """Hold one frame of one camera.

    Attributes
    ----------
    pixels
        Shape (height, width, 3), uint8, RGB.
    position
        Shape (individual, bodypart, 2), float64. x and y in px at the middle of the exposure,
        even if the bodypart is hidden or outside the image.
    visible
        Shape (individual, bodypart), bool.
    """

    pixels: NDArray[np.uint8]
    position: NDArray[np.float64]
    visible: NDArray[np.bool_]


def walk_animals(scene: Scene, rng: np.random.Generator, frames: int, fps: float) -> Walks:
    """Simulate the animals of a scene for N frames, `STEPS_PER_FRAME` steps each.

    Parameters
    ----------
    scene
        Animals and floor.
    rng
        Random numbers.
    frames
        Number of frames.
    fps
        Frames per second.
    """
    steps = frames * STEPS_PER_FRAME
    return simulate_walks(rng, steps, 1.0 / (fps * STEPS_PER_FRAME), scene.scales, scene.ground)


def locate_bodyparts(scene: Scene, walks: Walks) -> NDArray[np.float64]:
    """Return the bodyparts at the middle of each exposure.

    Parameters
    ----------
    scene
        Animals.
    walks
        Motion from `walk_animals`.

    Returns
    -------
    ndarray
        Shape (frame, individual, bodypart, 3), float64, mm.
    """
    return np.stack(
        [
            build_body(
                walks.nodes[1::STEPS_PER_FRAME, index], walks.gait[1::STEPS_PER_FRAME, index], scale
            ).bodyparts
            for index, scale in enumerate(scene.scales)
        ],
        axis=1,
    )


def film(
    scene: Scene, walks: Walks, camera: int, fps: float, rng: np.random.Generator
) -> Iterator[FilmedFrame]:
    """Render the frames of one camera in order.

    Parameters
    ----------
    scene
        The recording.
    walks
        Motion from `walk_animals`, the same for every camera.
    camera
        The camera.
    fps
        Frames per second, which sets the pace of changes in the light.
    rng
        Random numbers for the noise and the changes of the light.
    """
    view = scene.cameras[camera]
    lens = scene.lenses[camera] if scene.lenses else None
    width, height = lens.camera.size if lens else (view.width, view.height)
    backdrop = render_backdrop(scene.arena, view)
    frames = len(walks.nodes) // STEPS_PER_FRAME
    shape = (height, width)
    gains = _change_light(rng, frames, fps, shape)
    if scene.steady:
        gains = itertools.repeat(np.ones(shape, np.float32))
    for first in range(0, frames, _FRAMES_PER_CHUNK):
        last = min(first + _FRAMES_PER_CHUNK, frames)
        steps = slice(first * STEPS_PER_FRAME, last * STEPS_PER_FRAME)
        bodies = [
            build_body(walks.nodes[steps, index], walks.gait[steps, index], scale)
            for index, scale in enumerate(scene.scales)
        ]
        projected = [project_body(body, view) for body in bodies]
        lit = [light_reaching(scene.arena, body.bodyparts[:, 4] + [0, 0, 3.0]) for body in bodies]
        for frame in range(last - first):
            step = frame * STEPS_PER_FRAME + 1
            lightings = [
                _light_animal(scene, view.rotation, body, step, share)
                for body, share in zip(bodies, lit, strict=True)
            ]
            floor = _add_shadows(scene, backdrop, camera, bodies, step)
            animals = list(zip(projected, scene.coats, lightings, strict=True))
            light, depth = _expose(floor, backdrop.depth, animals, step)
            position = np.stack([body.bodyparts[step, :, :2] for body in projected])
            visible = np.stack([find_visible_bodyparts(body, step, depth) for body in projected])
            if lens is not None:
                light = lens.bend(light)
                position = lens.locate(np.stack([body.bodyparts[step] for body in bodies]))
                visible &= lens.contains(position)
            yield FilmedFrame(
                develop_frame(light, next(gains), scene.sensor, rng), position, visible
            )


def _light_animal(
    scene: Scene, rotation: NDArray[np.float64], body: Body, step: int, lit: NDArray[np.float64]
) -> Lighting:
    towards = np.asarray(scene.arena.light.position) - body.bodyparts[step, 4]
    light = scene.arena.light
    return Lighting(
        rotation @ (towards / np.linalg.norm(towards)),
        light.ambient,
        light.direct * (0.25 + 0.75 * float(lit[step])),
        np.asarray(light.colour, np.float32),
    )


def _add_shadows(
    scene: Scene, backdrop: Backdrop, camera: int, bodies: list[Body], step: int
) -> NDArray[np.float32]:
    shadow = np.zeros(backdrop.depth.shape, np.float32)
    light = scene.arena.light
    for body in bodies:
        cast_shadow(shadow, body, step, scene.cameras[camera], light.position)
    return darken_floor(backdrop, shadow, light.direct / (light.direct + light.ambient))


def _expose(
    floor: NDArray[np.float32],
    depth: NDArray[np.float32],
    animals: Sequence[tuple[ProjectedBody, Coat, Lighting]],
    step: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Average the scene over the exposure; the depth is that of the middle of the exposure."""
    moved = max(
        float(np.abs(body.bodyparts[step + 1] - body.bodyparts[step - 1])[:, :2].max())
        for body, _, _ in animals
    )
    # The middle of the exposure comes last, so that its depth is what is left.
    moments = (step,) if moved < _STILL else (step - 1, step + 1, step)
    total = np.zeros_like(floor)
    for moment in moments:
        canvas, nearest = floor.copy(), depth.copy()
        for body, coat, lighting in animals:
            draw_body(canvas, nearest, body, moment, coat, lighting)
        total += canvas
    return total / np.float32(len(moments)), nearest


def _change_light(
    rng: np.random.Generator, frames: int, fps: float, shape: tuple[int, int]
) -> Iterator[NDArray[np.float32]]:
    """Yield the brightness of each frame: drift, a side that brightens, and a step at times."""
    height, width = shape
    y = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
    x = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :]
    vignette = np.float32(1.0) - np.float32(rng.uniform(0.05, 0.18)) * (x**2 + y**2)
    level, depth = rng.uniform(0.85, 1.1), rng.uniform(0.03, 0.12)
    pace, phase = rng.uniform(0.05, 0.3), rng.uniform(0, 2 * np.pi, 3)
    step_at, step_size = rng.uniform(0.2, 0.8) * frames, rng.uniform(-0.18, 0.18)
    tilt = rng.uniform(0.02, 0.10, 2)
    for frame in range(frames):
        seconds = frame / fps
        turn = 2 * np.pi * pace * seconds
        gain = level * (1.0 + depth * np.sin(turn + phase[0]))
        gain *= 1.0 + step_size * (frame > step_at) + 0.01 * rng.standard_normal()
        slope_x = tilt[0] * np.sin(0.7 * turn + phase[1])
        slope_y = tilt[1] * np.sin(0.7 * turn + phase[2])
        yield vignette * (np.float32(gain) + np.float32(slope_x) * x + np.float32(slope_y) * y)
