from dataclasses import replace

import numpy as np
import pytest

from pipeline_lib.demo.recording import (
    STEPS_PER_FRAME,
    film,
    locate_bodyparts,
    walk_animals,
)
from pipeline_lib.demo.render.animal import EAR, build_body
from pipeline_lib.demo.render.arena import Light
from pipeline_lib.demo.render.draw import Sensor
from pipeline_lib.demo.scene import generate_scene

FRAMES = 24


def build_ears(nodes, gait, scale):
    """Return a body of which only the ears are left."""
    body = build_body(nodes, gait, scale)
    ears = body.surfaces == EAR
    return replace(
        body,
        starts=body.starts[:, ears],
        ends=body.ends[:, ears],
        radii=body.radii[ears],
        lefts=body.lefts[:, ears],
        surfaces=body.surfaces[ears],
        lengthwise=body.lengthwise[ears],
    )


def film_ears(seed, size):
    """Film the white ears of an animal in a black, empty arena, without noise."""
    scene = generate_scene((0, seed), 1, 1, (size, size))
    white = tuple(np.ones((1, 1, 3), np.float32) for _ in range(5))
    arena = replace(
        scene.arena,
        floor=np.zeros_like(scene.arena.floor),
        solids=(),
        surroundings=(0.0, 0.0, 0.0),
        light=Light((0.0, 0.0, 800.0), 1.0, 1.0, 0.0),
    )
    scene = replace(scene, arena=arena, coats=(white,), sensor=Sensor(0.5, 0.0, 0.0))
    walks = walk_animals(scene, np.random.default_rng(seed), FRAMES, 30.0)
    return scene, walks, list(film(scene, walks, 0, 30.0, np.random.default_rng(seed)))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_truth_of_each_frame_is_where_and_when_its_pixels_are(seed, monkeypatch):
    monkeypatch.setattr("pipeline_lib.demo.recording.build_body", build_ears)
    size = 256
    scene, walks, frames = film_ears(seed, size)
    rows, columns = np.mgrid[:size, :size]
    found, truth = [], []
    for frame in frames:
        light = frame.pixels[..., 1].astype(float)
        found.append(np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum())
        truth.append(frame.position[0, 1:3].mean(axis=0))
    found, truth = np.array(found), np.array(truth)
    # The light is not quite even over the image.
    np.testing.assert_allclose(found, truth, atol=0.1)
    assert np.abs((found - truth).mean(axis=0)).max() < 0.04
    # One frame early or late would be seen.
    assert np.abs(truth[1:] - truth[:-1]).max() > 1.0
    points = locate_bodyparts(scene, walks)
    projected, _ = scene.cameras[0].project(points)
    np.testing.assert_allclose(projected, [frame.position for frame in frames], atol=1e-9)


def test_a_frame_lasts_its_steps():
    scene = generate_scene((0, 0), 2, 1, (64, 64))
    walks = walk_animals(scene, np.random.default_rng(0), 7, 30.0)
    assert walks.nodes.shape[:2] == (7 * STEPS_PER_FRAME, 2)


def test_scenes_are_seeded_and_differ():
    first, again, other = (generate_scene((3, n), 1, 2, (64, 48)) for n in (0, 0, 1))
    assert first.arena.solids == again.arena.solids
    np.testing.assert_array_equal(first.arena.floor, again.arena.floor)
    assert first.arena.solids != other.arena.solids
    assert first.scales != other.scales
    assert first.arena.light != other.arena.light
    # Camera 0 looks straight down, the other from the side.
    assert first.cameras[0].rotation[2, 2] == pytest.approx(-1.0, abs=0.01)
    assert -0.9 < first.cameras[1].rotation[2, 2] < -0.5
