"""Draw animals into a demo scene, with depth, light, shadow, blur and noise."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.demo.render.animal import Body
from pipeline_lib.demo.render.arena import Backdrop
from pipeline_lib.demo.render.camera import PinholeCamera
from pipeline_lib.demo.render.cones import ProjectedBody, project_points, trace_cone

Coat = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class Lighting:
    """Describe the light on the animals.

    Attributes
    ----------
    direction
        Shape (3,), unit vector in camera axes towards the lamp.
    ambient, direct
        Share of the light that comes from all directions, and from the lamp.
    colour
        Shape (3,), float32, RGB of both.
    """

    direction: NDArray[np.float64]
    ambient: float
    direct: float
    colour: NDArray[np.float32]


@dataclass(frozen=True)
class Sensor:
    """Describe blur and noise of a camera.

    Attributes
    ----------
    blur
        Standard deviation of the lens blur in px; 0 for none.
    noise_dark
        Standard deviation of the noise in the dark; 1 is white.
    noise_bright
        Increase of that standard deviation from dark to white.
    """

    blur: float = 0.6
    noise_dark: float = 0.008
    noise_bright: float = 0.015


def draw_body(  # noqa: PLR0913, PLR0917 - two buffers, an animal and its light
    canvas: NDArray[np.float32],
    depth: NDArray[np.float32],
    body: ProjectedBody,
    step: int,
    coat: Coat,
    lighting: Lighting,
) -> None:
    """Draw one animal in place, hidden where the depth buffer is closer to the camera.

    Parameters
    ----------
    canvas
        Shape (height, width, 3), float32, RGB; changed in place.
    depth
        Shape (height, width), float32, mm; changed in place.
    body, step
        The animal and the time step.
    coat
        Textures from `pipeline_lib.demo.render.texture.paint_coat`.
    lighting
        The light.
    """
    shape = body.body
    thickness = shape.radii.mean(axis=-1).tolist()
    for cone, surface in enumerate(shape.surfaces):
        patch = trace_cone(
            body.starts[step, cone],
            body.ends[step, cone],
            body.radii[step, cone],
            thickness[cone],
            depth.shape,
        )
        if patch is None:
            continue
        behind = depth[patch.window]
        cover = np.minimum(np.maximum(patch.inside + 0.5, 0.0), 1.0) * (patch.depth < behind)
        # Fur is darker at a grazing angle, which emphasises the outline.
        shade = patch.facing * (0.45 * lighting.ambient) + 0.55 * lighting.ambient
        shade += np.maximum(patch.normal_along(lighting.direction), 0.0) * lighting.direct
        texture = coat[surface]
        first, last = (shape.lengthwise[cone] * (len(texture) - 1)).tolist()
        rows = (patch.along * (last - first) + (first + 0.5)).astype(np.intp)
        side = np.minimum(np.maximum(patch.normal_along(body.lefts[step, cone]), -1.0), 1.0)
        columns = ((side + 1.0) * (0.5 * (texture.shape[1] - 1))).astype(np.intp)
        colour = texture[rows, columns] * (shade[..., None] * lighting.colour)
        target = canvas[patch.window]
        colour -= target
        colour *= cover[..., None]
        target += colour
        np.copyto(behind, patch.depth, where=cover >= 0.5)


def cast_shadow(
    shadow: NDArray[np.float32],
    body: Body,
    step: int,
    camera: PinholeCamera,
    lamp: tuple[float, float, float],
) -> None:
    """Draw in place the shadow that one animal casts on the floor.

    Parameters
    ----------
    shadow
        Shape (height, width), float32 in 0..1; the maximum of old and new values is kept.
    body, step
        The animal and its time step.
    camera
        The camera.
    lamp
        x, y, z of the lamp, mm.
    """
    grounded = []
    for points in (body.starts[step], body.ends[step]):
        slope = points[:, 2:] / (lamp[2] - points[:, 2:])
        ground = points + slope * (points - np.asarray(lamp))
        grounded.append(project_points(ground, camera))
    starts, ends = grounded
    scale = camera.focal / starts[:, 2:]
    softness = 4.0 * float(scale.mean())
    # At least as wide as the lamp blurs it, even where the animal is thin.
    for start, end, radii in zip(starts, ends, body.radii * scale + softness, strict=True):
        patch = trace_cone(start, end, radii, 0.0, shadow.shape)
        if patch is not None:
            here = shadow[patch.window]
            np.maximum(here, np.clip(patch.inside / (2.0 * softness), 0.0, 1.0), out=here)


def darken_floor(
    backdrop: Backdrop, shadow: NDArray[np.float32], strength: float
) -> NDArray[np.float32]:
    """Return the backdrop with shadows on it.

    Parameters
    ----------
    backdrop
        View of the arena without animals.
    shadow
        Shape (height, width), float32 in 0..1.
    strength
        Share of the light that the shadow removes, 0..1.

    Returns
    -------
    ndarray
        Shape (height, width, 3), float32, RGB.
    """
    kept = np.float32(1.0) - np.float32(strength) * shadow * backdrop.floor
    darkened: NDArray[np.float32] = backdrop.colour * kept[..., None]
    return darkened


def find_visible_bodyparts(
    body: ProjectedBody, step: int, depth: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Return which bodyparts are visible to a camera.

    Parameters
    ----------
    body, step
        The animal and its time step.
    depth
        Shape (height, width), float32, mm, after all animals were drawn.

    Returns
    -------
    ndarray
        Shape (bodypart,), bool; True if it is inside the image with nothing in front of it.
    """
    x, y, z = body.bodyparts[step].T
    height, width = depth.shape
    column, row = np.rint(x).astype(np.intp), np.rint(y).astype(np.intp)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    nearest = depth[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    seen: NDArray[np.bool_] = inside & (z - nearest < body.body.depths)
    return seen


def develop_frame(
    light: NDArray[np.float32],
    gain: NDArray[np.float32],
    sensor: Sensor,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Convert light into the 8-bit frame of a camera.

    Parameters
    ----------
    light
        Shape (height, width, 3), float32, RGB, 1 is white.
    gain
        Shape (height, width), float32, factor of the brightness in this frame.
    sensor
        Blur and noise of the camera.
    rng
        Random numbers for the noise.

    Returns
    -------
    ndarray
        Shape (height, width, 3), uint8, RGB.
    """
    exposed = light * gain[..., None]
    if sensor.blur > 0.0:
        exposed = cv2.GaussianBlur(exposed, (0, 0), sensor.blur)
    spread = np.float32(sensor.noise_dark) + np.float32(sensor.noise_bright) * exposed[..., 1]
    grain = rng.standard_normal(gain.shape, dtype=np.float32) * spread
    exposed = (exposed + grain[..., None]) * np.float32(255.0) + np.float32(0.5)
    frame: NDArray[np.uint8] = np.clip(exposed, 0.0, 255.0).astype(np.uint8)
    return frame
