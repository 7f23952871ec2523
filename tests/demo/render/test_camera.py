import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.demo.render.camera import PinholeCamera, aim_camera

SQUARE = np.array([[-100.0, -100, 0], [100, -100, 0], [-100, 100, 0], [100, 100, 0]])


def test_a_point_falls_where_similar_triangles_say():
    camera = PinholeCamera(
        np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]]), np.eye(3), np.zeros(3), 101, 81
    )
    pixels, depth = camera.project([10.0, -20.0, 200.0])
    np.testing.assert_allclose(pixels, [55.0, 30.0])
    assert depth == 200.0


def test_seen_from_above_world_y_points_up_in_the_image_and_x_right():
    camera = aim_camera((0, 0, 800), (0, 0, 0), SQUARE, (128, 128))
    (centre, right, far), _ = camera.project([[0.0, 0, 0], [50, 0, 0], [0, 50, 0]])
    # The middle of 128 pixels, counted from the centre of the first, is 63.5.
    np.testing.assert_allclose(centre, [63.5, 63.5], atol=1e-9)
    # Contents reach to one px from the border: 100 mm are 63 px.
    np.testing.assert_allclose(right, [63.5 + 31.5, 63.5], atol=1e-9)
    np.testing.assert_allclose(far, [63.5, 63.5 - 31.5], atol=1e-9)


@given(
    st.floats(0.1, 6.2), st.floats(0.3, 1.2), st.floats(-0.3, 0.3),
    st.floats(-90, 90), st.floats(-90, 90), st.floats(0, 60),
)  # fmt: skip
def test_rays_invert_projection(around, elevation, roll, x, y, z):  # noqa: PLR0917
    distance = 900.0
    position = distance * np.array(
        [np.cos(elevation) * np.cos(around), np.cos(elevation) * np.sin(around), np.sin(elevation)]
    )
    camera = aim_camera(position, (0, 0, 0), SQUARE, (160, 120), roll)
    np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.rotation) > 0
    np.testing.assert_allclose(camera.position, position, atol=1e-9)
    (u, v), depth = camera.project([x, y, z])
    np.testing.assert_allclose(
        camera.position + depth * camera.cast_rays(u, v), [x, y, z], atol=1e-7
    )
    inside, _ = camera.project(SQUARE)
    assert (inside >= 0.49).all()
    assert (inside <= np.array([159, 119]) - 0.49).all()
