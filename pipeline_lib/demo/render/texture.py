"""Paint the textures of the demo scenes: floors and coats."""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

FloorKind = Literal["bedding", "planks", "tiles", "painted"]
CoatKind = Literal["plain", "agouti", "hooded", "patched"]

_COAT_SHAPE = (144, 48)


def make_noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return smooth noise with a mean of about 0 and a standard deviation of about 1.

    Parameters
    ----------
    rng
        Source of the noise.
    shape
        Rows and columns.
    cells
        Grain size of each octave in pixels; all octaves have the same weight.

    Returns
    -------
    ndarray
        Float32 of the given shape.
    """
    rows, columns = shape
    total = np.zeros(shape, np.float32)
    for cell in cells:
        grid = rng.standard_normal((rows // cell + 2, columns // cell + 2)).astype(np.float32)
        octave = cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_CUBIC)
        total += octave / max(float(octave.std()), 1e-6)
    scaled: NDArray[np.float32] = total / np.float32(np.sqrt(len(cells)))
    return scaled


def paint_floor(
    rng: np.random.Generator, kind: FloorKind, colour: NDArray[np.float32], pixels: int
) -> NDArray[np.float32]:
    """Paint a square of floor.

    Parameters
    ----------
    rng
        Source of everything random.
    kind
        ``bedding`` (wood chips), ``planks``, ``tiles`` or ``painted`` (scratched and stained).
    colour
        Shape (3,), mean RGB in 0..1.
    pixels
        Side of the square in pixels.

    Returns
    -------
    ndarray
        Shape (pixels, pixels, 3), float32, RGB in about 0..1.
    """
    shape = (pixels, pixels)
    light = 1.0 + 0.05 * make_noise(rng, shape, (pixels // 6, pixels // 20, 3))
    if kind == "bedding":
        light = _draw_straws(rng, light.astype(np.float32), 5200, (4, 15), 0.22)
    elif kind == "planks":
        light = light + _lay_planks(rng, pixels)
    elif kind == "tiles":
        side = pixels // int(rng.integers(7, 11))
        rows, columns = np.mgrid[:pixels, :pixels]
        odd = (rows // side + columns // side) % 2
        joint = (rows % side < 3) | (columns % side < 3)
        light = light + 0.07 * odd - 0.16 * joint
    else:
        light = _draw_straws(rng, light.astype(np.float32), 60, (20, 160), 0.12)
        stains = make_noise(rng, shape, (pixels // 10,))
        light = light - 0.10 * np.clip(stains - 1.2, 0.0, 1.0)
    # Droppings and crumbs, which mislead a detector of dark blobs.
    for _ in range(int(rng.integers(8, 26))):
        centre = tuple(int(value) for value in rng.integers(0, pixels, 2))
        size = (int(rng.integers(3, 7)), int(rng.integers(2, 4)))
        light = cv2.ellipse(
            np.ascontiguousarray(light, np.float32),
            (centre, size, float(rng.uniform(0, 180))),
            float(rng.uniform(0.2, 0.5)),
            -1,
        )
    tint = 0.012 * make_noise(rng, shape, (pixels // 12,))
    painted = np.clip(light, 0.05, 1.6)[..., None] * colour
    painted *= 1.0 + tint[..., None] * np.array([1.0, 0.0, -1.0])
    finished: NDArray[np.float32] = painted.astype(np.float32)
    return finished


def paint_coat(
    rng: np.random.Generator,
    kind: CoatKind,
    colours: NDArray[np.float32],
    dye: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], ...]:
    """Paint the coat of an animal: one texture per surface of its body.

    Parameters
    ----------
    rng
        Source of the pattern.
    kind
        ``plain``, ``agouti`` (banded hair, light flanks), ``hooded`` (dark head and back stripe)
        or ``patched``.
    colours
        Shape (2, 3), RGB in 0..1, the darker and the lighter colour.
    dye
        Shape (3,), colour of a mark on the rump that identifies the individual; None for no mark.

    Returns
    -------
    tuple of ndarray
        Shape (along, across, 3) each, float32, for fur, tail, ear, paw, eye; along from nose to
        tail, across from the right side to the left.
    """
    along = np.linspace(0.0, 1.0, _COAT_SHAPE[0])[:, None]
    across = np.linspace(-1.0, 1.0, _COAT_SHAPE[1])[None, :]
    patches = make_noise(rng, _COAT_SHAPE, (18,)).astype(np.float64)
    white = {
        "plain": np.zeros(_COAT_SHAPE),
        "agouti": 0.55 * np.clip(np.abs(across) - 0.25, 0.0, 1.0) + 0.10 * np.abs(patches),
        "hooded": _ramp(along - 0.40, 30.0) * _ramp(np.abs(across + 0.1 * patches) - 0.38, 12.0),
        "patched": _ramp(patches - 0.2, 6.0),
    }[kind]
    fur = colours[0] + np.clip(white, 0.0, 1.0)[..., None] * (colours[1] - colours[0])
    if dye is not None:
        mark = ((along - 0.72) / 0.10) ** 2 + (across / 0.7) ** 2 < 1.0
        fur = np.where(mark[..., None], dye, fur)
    hair = make_noise(rng, _COAT_SHAPE, (2, 5))
    fur = fur * (1.0 + 0.10 * hair[..., None])
    skin = np.array([0.78, 0.52, 0.48]) * rng.uniform(0.75, 1.1)
    mean = fur.mean(axis=(0, 1))
    tail = 0.75 * skin + 0.25 * mean
    rings = 1.0 + 0.10 * np.sin(np.linspace(0.0, 60.0, 60))[:, None, None]
    textures = (fur, tail * rings, 0.65 * skin + 0.35 * mean, 0.9 * skin, np.full(3, 0.03))
    return tuple(
        np.clip(
            np.broadcast_to(texture, (1, 1, 3)) if texture.ndim == 1 else texture, 0.02, 1.0
        ).astype(np.float32)
        for texture in textures
    )


def _ramp(margin: NDArray[np.float64], slope: float) -> NDArray[np.float64]:
    """Return 0 below, 1 above, and a linear ramp in between."""
    soft: NDArray[np.float64] = np.clip(margin * slope + 0.5, 0.0, 1.0)
    return soft


def _draw_straws(
    rng: np.random.Generator,
    light: NDArray[np.float32],
    count: int,
    lengths: tuple[int, int],
    contrast: float,
) -> NDArray[np.float32]:
    """Draw straws with random positions, lengths, angles and brightness."""
    pixels = len(light)
    for _ in range(count):
        x, y = rng.uniform(0, pixels, 2)
        angle, length = rng.uniform(0, np.pi), rng.uniform(*lengths)
        end = (x + length * np.cos(angle), y + length * np.sin(angle))
        value = 1.0 + contrast * rng.standard_normal()
        light = cv2.line(
            light,
            (int(x), int(y)),
            (int(end[0]), int(end[1])),
            float(np.clip(value, 0.4, 1.5)),
            int(rng.integers(1, 4)),
        )
    strewn: NDArray[np.float32] = light
    return strewn


def _lay_planks(rng: np.random.Generator, pixels: int) -> NDArray[np.float64]:
    """Return the brightness of adjacent planks, each with its own grain."""
    width = pixels // int(rng.integers(6, 10))
    columns = np.arange(pixels)
    tones = rng.normal(0.0, 0.06, pixels // width + 1)[columns // width]
    grain = make_noise(rng, (max(pixels // 40, 2), pixels), (2,))
    grain = cv2.resize(grain, (pixels, pixels), interpolation=cv2.INTER_LINEAR)
    joint = (columns % width < 3) * 0.25
    planks: NDArray[np.float64] = 0.05 * grain + (tones - joint)[None, :]
    return planks
