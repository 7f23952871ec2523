"""Test the distance of what a camera saw from where the others see it."""

import numpy as np

from pipeline_lib.kernels.geometry.projection import project, project_all
from pipeline_lib.kernels.geometry.sessions.disagreement import measure_disagreement
from pipeline_lib.kernels.geometry.triangulation import triangulate
from tests.kernels.geometry.rigs import make_ring
from tests.steps.triangulate.scenes import move_animals


def see(count=4, lens="brown"):
    cameras, points = make_ring(count, lens), move_animals(10, 1)
    return cameras, points, project_all(cameras, points)


def measure(cameras, pixels, used=None, observed=None):
    weights = np.isfinite(pixels[..., 0]) * 0.9
    used = weights > 0 if used is None else used
    return measure_disagreement(
        cameras, pixels, weights, used, pixels if observed is None else observed
    )


def test_an_error_is_measured_whole_although_its_view_was_used():
    for lens in ("brown", "fisheye"):
        cameras, _, pixels = see(lens=lens)
        pixels[3, 1, 0, 2] += [6.0, 8.0]
        found = measure(cameras, pixels)
        assert abs(found[3, 1, 0, 2] - 10) < 1e-6
        # The other views are pulled by it, and by less than it is off.
        assert found[3, [0, 2, 3], 0, 2].max() < 10
        exact = np.delete(found[:, :, 0], 2, axis=2)
        assert np.delete(exact, 3, axis=0).max() < 1e-6
        # Its residual is smaller if the point is made from all views.
        whole = triangulate(cameras, pixels, np.ones(pixels.shape[:-1]), gate=None, noise=1.0,
                            threads=1)  # fmt: skip
        assert whole.errors[3, 1, 0, 2] < 8
        # Where the others agree without it, they are exact.
        used = np.ones(pixels.shape[:-1], bool)
        used[3, 1, 0, 2] = False
        left_out = measure(cameras, pixels, used)
        assert abs(left_out[3, 1, 0, 2] - 10) < 1e-6
        assert left_out[3, [0, 2, 3], 0, 2].max() < 1e-6


def test_two_views_have_the_distance_of_their_rays():
    cameras, points, pixels = see(2)
    # Perpendicular to the epipolar line: the line to the point of another depth.
    away = points + 5 * (points - cameras[1].centre) / np.linalg.norm(
        points - cameras[1].centre, axis=-1, keepdims=True
    )
    line = project(cameras[0], away) - pixels[:, 0]
    across = np.stack([-line[..., 1], line[..., 0]], -1) / np.linalg.norm(
        line, axis=-1, keepdims=True
    )
    moved = pixels.copy()
    moved[:, 0] += 12 * across
    found = measure(cameras, moved)
    assert np.allclose(found[:, 0], found[:, 1])
    # Shared by both images; the second shows the same distance at another scale.
    assert found.min() > 9
    assert found.max() < 16
    moved[:, 0] = pixels[:, 0] + 12 * line / np.linalg.norm(line, axis=-1, keepdims=True)
    assert measure(cameras, moved).max() < 0.2


def test_what_cannot_be_measured_is_missing():
    cameras, _, pixels = see()
    pixels[0, 1:] = np.nan
    pixels[1, 2] = np.nan
    observed = pixels.copy()
    observed[2, 0] = np.nan
    used = np.ones(pixels.shape[:-1], bool)
    # No two agree: all count, as if they did.
    used[4] = False
    found = measure(cameras, pixels, used, observed)
    assert np.isnan(found[0]).all()
    assert np.isnan(found[1, 2]).all()
    assert np.isnan(found[2, 0]).all()
    expected = np.isfinite(observed[..., 0])
    expected[0] = False
    assert (np.isfinite(found) == expected).all()
    assert np.nanmax(found) < 1e-6
    # What is judged may be another point than the one that was triangulated.
    observed[5, 3, 0, 0] = pixels[5, 3, 0, 0] + [3, 4]
    assert abs(measure(cameras, pixels, used, observed)[5, 3, 0, 0] - 5) < 1e-6
