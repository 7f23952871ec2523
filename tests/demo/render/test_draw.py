import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.demo.render.animal import BODYPARTS, EAR, Body
from pipeline_lib.demo.render.arena import Backdrop
from pipeline_lib.demo.render.camera import aim_camera
from pipeline_lib.demo.render.cones import project_body
from pipeline_lib.demo.render.draw import (
    Lighting,
    Sensor,
    cast_shadow,
    darken_floor,
    develop_frame,
    draw_body,
    find_visible_bodyparts,
)

CORNERS = np.array([[x, y, 0.0] for x in (-100, 100) for y in (-100, 100)])
CAMERA = aim_camera((0, 0, 900), (0, 0, 0), CORNERS, (96, 96))
SHAPE = (96, 96)
WHITE = tuple(np.ones((1, 1, 3), np.float32) for _ in range(5))
EVEN = Lighting(np.array([0.0, 0.0, -1.0]), 1.0, 0.0, np.ones(3, np.float32))
FLOOR = 900.0
# Behind the floor, so that balls may lie in it.
FAR = 950.0


def lone_ball(centre, radius):
    """Return a body of one sphere, with all bodyparts at its centre."""
    point = np.asarray(centre, float)[None, None]
    return Body(
        starts=point,
        ends=point,
        radii=np.array([[radius, radius]]),
        lefts=np.array([[[0.0, 1.0, 0.0]]]),
        surfaces=np.array([EAR]),
        lengthwise=np.array([[0.0, 1.0]]),
        bodyparts=np.repeat(point, len(BODYPARTS), axis=1),
        depths=np.full(len(BODYPARTS), radius + 1.0),
    )


def draw(body, camera=CAMERA, depth=FAR):
    canvas = np.zeros((*SHAPE, 3), np.float32)
    nearest = np.full(SHAPE, depth, np.float32)
    projected = project_body(body, camera)
    draw_body(canvas, nearest, projected, 0, WHITE, EVEN)
    return canvas, nearest, projected


def centroid(image):
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    weights = image.astype(float) / image.sum()
    return np.array([(weights * columns).sum(), (weights * rows).sum()])


@settings(max_examples=60, deadline=None)
@given(st.floats(-70, 70), st.floats(-70, 70), st.floats(5, 18))
def test_drawn_bodyparts_match_the_truth(x, y, radius):
    canvas, _, projected = draw(lone_ball((x, y, 20.0), radius))
    truth = projected.bodyparts[0, 0, :2]
    np.testing.assert_allclose(centroid(canvas[..., 1]), truth, atol=0.03)


@pytest.mark.parametrize("offset", [0.0, 0.25, 0.5, 0.75])
def test_a_ball_is_drawn_symmetrically_about_its_centre(offset):
    # One px is 200 / 94 mm on the floor; x = 47.5 px is world 0.
    scale = FLOOR / CAMERA.focal
    canvas, _, _ = draw(lone_ball(((0.5 + offset) * scale, 0.5 * scale, 0.0), 3.0 * scale))
    row = canvas[47, :, 1]
    # Its centre is x = 48 + offset, y = 47.
    if offset == 0.0:
        assert row[:48].sum() == pytest.approx(row[49:].sum(), rel=1e-4)
    if offset == 0.5:
        assert row[:49].sum() == pytest.approx(row[49:].sum(), rel=1e-4)
    assert centroid(canvas[..., 1]) == pytest.approx([48 + offset, 47.0], abs=0.02)


@given(st.floats(-50, 50), st.floats(-50, 50))
@settings(max_examples=20, deadline=None)
def test_developing_a_frame_moves_nothing(x, y):
    canvas, _, projected = draw(lone_ball((x, y, 0.0), 12.0))
    frame = develop_frame(
        canvas, np.ones(SHAPE, np.float32), Sensor(0.7, 0.0, 0.0), np.random.default_rng(0)
    )
    assert frame.dtype == np.uint8
    np.testing.assert_allclose(centroid(frame[..., 1]), projected.bodyparts[0, 0, :2], atol=0.05)


def test_develop_frame_scales_light_to_8_bits():
    light = np.full((*SHAPE, 3), 0.5, np.float32)
    rng = np.random.default_rng(0)
    quiet = develop_frame(light, np.full(SHAPE, 0.8, np.float32), Sensor(0.6, 0.0, 0.0), rng)
    assert (quiet == 102).all()  # 0.4 * 255
    noisy = develop_frame(light, np.ones(SHAPE, np.float32), Sensor(0.0, 0.01, 0.02), rng)
    # 0.01 + 0.02 * 0.5 of 255, and rounding.
    assert noisy.std() == pytest.approx(0.02 * 255, rel=0.05)
    bright = develop_frame(light, np.full(SHAPE, 9.0, np.float32), Sensor(), rng)
    assert (bright == 255).all()


def test_depth_of_a_sphere_is_its_surface():
    # The camera is 900 mm up; a ball of radius 10 at height 20 on the axis begins at 870.
    _, nearest, _ = draw(lone_ball((0.0, 0.0, 20.0), 10.0))
    assert nearest[47:49, 47:49] == pytest.approx(870.0, abs=0.2)
    assert nearest[0, 0] == FAR


def test_the_closer_surface_hides_the_other():
    body = lone_ball((0.0, 0.0, 20.0), 10.0)
    canvas, nearest, projected = draw(body, depth=860.0)
    assert not canvas.any()
    assert (nearest == 860.0).all()
    # The centre lies 20 mm below the cover, of which 11 would be allowed.
    assert not find_visible_bodyparts(projected, 0, nearest).any()


def test_bodyparts_are_seen_unless_hidden_or_outside():
    _, nearest, projected = draw(lone_ball((0.0, 0.0, 20.0), 10.0))
    assert find_visible_bodyparts(projected, 0, nearest).all()
    _, nearest, projected = draw(lone_ball((130.0, 0.0, 20.0), 10.0))
    assert not find_visible_bodyparts(projected, 0, nearest).any()


def test_the_nearer_animal_covers_the_farther_in_any_order():
    low, high = lone_ball((0.0, 0.0, 10.0), 10.0), lone_ball((4.0, 0.0, 30.0), 10.0)
    black = tuple(np.zeros((1, 1, 3), np.float32) for _ in range(5))
    seen = []
    for order in ((low, high), (high, low)):
        canvas = np.full((*SHAPE, 3), 0.5, np.float32)
        nearest = np.full(SHAPE, FAR, np.float32)
        for body in order:
            coat = black if body is high else WHITE
            draw_body(canvas, nearest, project_body(body, CAMERA), 0, coat, EVEN)
        seen.append((canvas[47, 48], nearest))
    for colour, nearest in seen:
        np.testing.assert_array_equal(colour, 0.0)
        # Lens-side surface of the upper ball, 900 - 30 - 10, off its top by about 1 px.
        assert nearest[47, 49] == pytest.approx(860.0, abs=0.3)


def test_a_shadow_falls_away_from_the_lamp():
    # The lamp at height 500 over x = -400: a ball at height 20 over the middle throws its
    # shadow to x = 400 * 20 / 480 = 16.7 mm.
    shadow = np.zeros(SHAPE, np.float32)
    cast_shadow(shadow, lone_ball((0.0, 0.0, 20.0), 8.0), 0, CAMERA, (-400.0, 0.0, 500.0))
    expected, _ = CAMERA.project([400 * 20 / 480, 0.0, 0.0])
    np.testing.assert_allclose(centroid(shadow), expected, atol=0.05)
    assert shadow.max() <= 1.0
    backdrop = Backdrop(
        np.ones((*SHAPE, 3), np.float32),
        np.full(SHAPE, FLOOR, np.float32),
        np.concatenate([np.ones((48, 96)), np.zeros((48, 96))]).astype(np.float32),
    )
    dark = darken_floor(backdrop, shadow, 0.5)
    assert (dark[48:] == 1.0).all()  # no floor there, so no shadow
    np.testing.assert_allclose(
        dark[:48], np.repeat(1.0 - 0.5 * shadow[:48, :, None], 3, -1), rtol=1e-6
    )
