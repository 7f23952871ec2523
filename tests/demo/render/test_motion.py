import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.demo.render.motion import NODES, Ground, simulate_walks

GROUND = Ground(180.0, 140.0, obstacles=((60.0, 20.0, 20.0),), places=((-60.0, -40.0),))
STEP = 1 / 120


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.85, 1.15))
def test_animals_keep_to_the_ground(seed, scale):
    walks = simulate_walks(np.random.default_rng(seed), 500, STEP, [scale], GROUND)
    nodes = walks.nodes[:, 0]
    front = [NODES.index(name) for name in ("head", "shoulder")]
    assert (np.abs(nodes[:, front, 0]) < 180.0).all()
    assert (np.abs(nodes[:, front, 1]) < 140.0).all()
    shoulder = nodes[:, NODES.index("shoulder"), :2]
    assert (np.hypot(*(shoulder - (60.0, 20.0)).T) > 20.0).all()
    assert (nodes[..., 2] > 0).all()
    # Below the roofs of the shelters.
    assert (nodes[..., 2] < 45.0).all()


def test_bones_keep_their_length_and_steps_are_smooth():
    walks = simulate_walks(np.random.default_rng(1), 1200, STEP, [1.0, 1.1], GROUND)
    for animal, scale in enumerate((1.0, 1.1)):
        flat = walks.nodes[:, animal, :, :2]
        links = np.linalg.norm(np.diff(flat, axis=1), axis=-1)
        # From neck to head and head to nose, then shoulder to middle and so on.
        expected = np.array([19.0, 13.0, 12.0, 20.0, 18.0, 16.0, *[13.0] * 6]) * scale
        np.testing.assert_allclose(links, np.broadcast_to(expected, links.shape), atol=1e-6)
        pace = np.linalg.norm(np.diff(flat[:, NODES.index("shoulder")], axis=0), axis=-1) / STEP
        # It walks and it stops.
        assert np.median(pace) > 10.0
        assert pace.min() < 8.0
        assert np.percentile(pace, 99) < 400.0
    assert (np.diff(walks.gait, axis=0) > -0.05).all()


def test_the_seed_decides():
    def nodes(seed):
        return simulate_walks(np.random.default_rng(seed), 40, STEP, [1.0], GROUND).nodes

    np.testing.assert_array_equal(nodes(3), nodes(3))
    assert np.abs(nodes(3) - nodes(4)).max() > 1.0


def test_animals_visit_the_places():
    walks = simulate_walks(np.random.default_rng(2), 120 * 60, STEP, [1.0], GROUND)
    gaps = np.hypot(*(walks.nodes[:, 0, NODES.index("shoulder"), :2] - (-60.0, -40.0)).T)
    assert gaps.min() == pytest.approx(0.0, abs=31.0)
