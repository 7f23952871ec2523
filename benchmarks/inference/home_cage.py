"""Render a home cage: a mouse that walks now and then and otherwise rests, filmed with noise."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.demo.recording import STEPS_PER_FRAME, film, walk_animals
from pipeline_lib.demo.render.draw import Sensor
from pipeline_lib.demo.render.motion import Walks
from pipeline_lib.demo.scene import Scene, generate_scene

SIZE = (640, 480)
FPS = 30
# Frames of a walk, and of its start and its end, when it gets faster or slower.
_WALK, _RAMP = 30, 8
# As cameras of cages encode.
ENCODING = {"crf": "23", "preset": "veryfast", "threads": "1", "g": "250"}


@dataclass(frozen=True)
class Cage:
    """Hold what a film of a cage shows.

    Attributes
    ----------
    images
        Shape (image, height, width, 3), uint8: each moment that differs, without noise.
    position
        Shape (image, keypoint, 2), float64, px.
    shown
        Shape (frame,), int64: the image of each frame.
    """

    images: NDArray[np.uint8]
    position: NDArray[np.float64]
    shown: NDArray[np.int64]

    @property
    def resting(self) -> NDArray[np.bool_]:
        """Shape (frame,): whether a frame shows the same moment as the one before."""
        return np.concatenate([[False], np.diff(self.shown) == 0])


def render_cage(seed: int, walks: int, still: float) -> Cage:
    """Render walks of one second, after each of which the mouse rests.

    Parameters
    ----------
    seed
        Seed of scene and motion.
    walks
        Number of walks.
    still
        Share of the frames in which the mouse rests, 0..1.
    """
    random = np.random.default_rng(seed)
    scene = generate_scene((seed, 0, 2), 1, 1, SIZE)
    scene = replace(scene, steady=True, sensor=Sensor(scene.sensor.blur, 0.0, 0.0))
    filmed = list(film(scene, _walk_and_rest(scene, walks, random), 0, FPS, random))
    rest = round(_WALK * still / (1 - still))
    repeats = np.ones(len(filmed), np.int64)
    repeats[_WALK :: _WALK + 1] = rest
    return Cage(
        np.stack([one.pixels for one in filmed]),
        np.stack([one.position[0] for one in filmed]),
        np.repeat(np.arange(len(filmed)), repeats),
    )


def _walk_and_rest(scene: Scene, walks: int, random: np.random.Generator) -> Walks:
    """Return a motion with a moment of rest, one frame long, after each walk."""
    ramp = np.linspace(0.0, 1.0, _RAMP * STEPS_PER_FRAME, endpoint=False)
    fast = np.ones((_WALK - 2 * _RAMP) * STEPS_PER_FRAME)
    speed = np.tile(np.concatenate([ramp, fast, ramp[::-1], np.zeros(STEPS_PER_FRAME)]), walks)
    step = np.cumsum(speed)
    whole = walk_animals(scene, random, int(step[-1]) // STEPS_PER_FRAME + 2, FPS)
    before = step.astype(np.int64)
    share = step - before
    nodes, gait = (
        np.moveaxis(np.moveaxis(values[before], 0, -1) * (1 - share), -1, 0)
        + np.moveaxis(np.moveaxis(values[before + 1], 0, -1) * share, -1, 0)
        for values in (whole.nodes, whole.gait)
    )
    return Walks(nodes, gait)


def add_noise(cage: Cage, spread: float, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a film with noise that is stronger in bright pixels, as of a sensor.

    Parameters
    ----------
    cage
        What the film shows.
    spread
        Standard deviation of the noise at mid-grey, grey levels.
    seed
        Seed of the noise.
    """
    random = np.random.default_rng(seed)
    for image in cage.shown:
        clean = cage.images[image]
        grain = random.standard_normal(clean.shape[:2], dtype=np.float32)
        grain *= np.float32(spread) * np.sqrt((clean[..., 1] + np.float32(16.0)) / np.float32(144))
        yield np.clip(clean + grain[..., None] + np.float32(0.5), 0, 255).astype(np.uint8)


def write_cage(path: Path, cage: Cage, spread: float, encoding: dict[str, str]) -> None:
    """Encode a film as H.264 (yuv420p)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=encoding)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for image in add_noise(cage, spread):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
