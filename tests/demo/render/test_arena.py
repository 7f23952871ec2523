import numpy as np
import pytest

from pipeline_lib.demo.render.arena import (
    Arena,
    Light,
    light_reaching,
    render_backdrop,
)
from pipeline_lib.demo.render.camera import aim_camera
from pipeline_lib.demo.render.solids import Ball, Box, Cylinder

CORNERS = np.array([[x, y, 0.0] for x in (-100, 100) for y in (-100, 100)])
CAMERA = aim_camera((0, 0, 800), (0, 0, 0), CORNERS, (96, 96))
WHITE = (1.0, 1.0, 1.0)


def arena(*solids, ambient=1.0, direct=0.0, lamp=(0.0, 0.0, 900.0)):
    return Arena(
        floor=np.zeros((64, 64, 3), np.float32),
        half_width=100.0,
        half_depth=100.0,
        solids=solids,
        surroundings=(0.0, 0.0, 0.0),
        grain=np.zeros((16, 16), np.float32),
        light=Light(lamp, 1.0, ambient, direct),
    )


def test_depth_is_along_the_optical_axis():
    backdrop = render_backdrop(arena(), CAMERA)
    np.testing.assert_allclose(backdrop.depth, 800.0, rtol=1e-6)
    # Floor in full light inside of the arena, which ends one px from the border.
    assert (backdrop.floor[2:-2, 2:-2] == 1.0).all()
    assert (backdrop.floor[0] == 0.0).all()


@pytest.mark.parametrize(
    ("solid", "depth"),
    [
        (Box((0, 0, 20), (30, 30, 5), 0.4, WHITE), 800 - 25),
        (Cylinder((0, 0), 30, 40, WHITE), 800 - 40),
        (Ball((0, 0, 30), 30, WHITE), 800 - 60),
    ],
)
def test_solids_are_as_high_as_they_are(solid, depth):
    backdrop = render_backdrop(arena(solid), CAMERA)
    assert backdrop.depth[47:49, 47:49] == pytest.approx(depth, abs=0.2)
    assert backdrop.depth[5, 5] == pytest.approx(800.0)
    assert backdrop.floor[48, 48] == 0.0
    np.testing.assert_allclose(backdrop.colour[48, 48], 1.0)


@pytest.mark.parametrize("place", [(0.0, 0.0), (31.3, -17.9), (-40.7, 22.2)])
def test_a_plate_is_drawn_where_it_projects(place):
    plate = Box((*place, 10.0), (12.0, 9.0, 0.01), 0.0, WHITE)
    image = render_backdrop(arena(plate), CAMERA).colour[..., 1]
    rows, columns = np.mgrid[:96, :96]
    found = np.array([(image * columns).sum(), (image * rows).sum()]) / image.sum()
    expected, _ = CAMERA.project([*place, 10.0])
    # Sampled twice along each axis, edges are known to a quarter px.
    np.testing.assert_allclose(found, expected, atol=0.26)


def test_shadow_under_a_roof_and_light_beside_it():
    roof = Box((0, 0, 50), (20, 20, 1), 0.0, WHITE)
    points = np.array([[0.0, 0, 0], [19, 0, 0], [60, 0, 0], [0, 0, 60]])
    lit = light_reaching(arena(roof), points)
    np.testing.assert_array_equal(lit, [0.0, 0.0, 1.0, 1.0])


def test_surfaces_facing_the_lamp_are_brighter():
    ball = Ball((0, 0, 30), 30, WHITE)
    image = render_backdrop(
        arena(ball, ambient=0.2, direct=0.8, lamp=(600.0, 0.0, 600.0)), CAMERA
    ).colour[..., 1]
    centre, right = image[48, 48], image[48, 48 + 9]
    assert right > centre > 0.2
    # In the ball's own shade only the room's light is left.
    assert image[48, 48 - 13] == pytest.approx(0.2, abs=0.02)
