"""Make cameras around a scene, for tests of geometry."""

import numpy as np
from scipy.spatial.transform import Rotation

from pipeline_lib.core.cameras.calibration import Camera

LENSES = {
    "plain": ("pinhole", [900, 905], []),
    "brown": ("pinhole", [900, 905], [-0.2, 0.05, 0.001, -0.002, 0.01]),
    "rational": ("pinhole", [900, 905], [0.3, 0.02, 0.001, -0.001, 0.001, 0.5, 0.05, 0.002]),
    "prism": (
        "pinhole",
        [900, 905],
        [-0.1, 0.02, 0.001, -0.001, 0, 0, 0, 0, 0.002, -0.001, 0.003, 0.001],
    ),
    "fisheye": ("fisheye", [420, 425], [0.02, -0.01, 0.003, -0.001]),
}


def make_camera(name, centre, lens="brown", target=(0, 0, 0), roll=0.0):
    """Return a camera that looks from a point at another."""
    model, focal, distortion = LENSES[lens]
    centre = np.asarray(centre, float)
    forward = np.asarray(target, float) - centre
    forward /= np.linalg.norm(forward)
    aside = np.cross(forward, [0.3, 0.1, 1.0])
    aside /= np.linalg.norm(aside)
    rotation = np.stack([aside, np.cross(forward, aside), forward])
    rotation = Rotation.from_euler("z", roll).as_matrix() @ rotation
    matrix = np.array([[focal[0], 0, 640], [0, focal[1], 512], [0, 0, 1.0]])
    return Camera(
        name, (1280, 1024), matrix, np.array(distortion, float), model, rotation, -rotation @ centre
    )


def make_ring(count, lens="brown", radius=1000.0, seed=0):
    """Return cameras around the origin; the lens may be a list of one for each."""
    stream = np.random.default_rng(seed)
    lenses = [lens] * count if isinstance(lens, str) else lens
    cameras = []
    for place, one in enumerate(lenses):
        angle = 2 * np.pi * place / count + stream.uniform(-0.2, 0.2)
        centre = radius * np.array([np.cos(angle), np.sin(angle), stream.uniform(0.2, 0.8)])
        cameras.append(make_camera(f"c{place}", centre, one, roll=stream.uniform(-3, 3)))
    return cameras


def draw_points(count, seed=0, extent=200.0):
    return np.random.default_rng(seed).uniform(-extent, extent, (count, 3))
