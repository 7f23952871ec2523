import numpy as np
import pytest

from pipeline_lib.demo.render.animal import (
    BODYPARTS,
    EAR,
    EDGES,
    FUR,
    SYMMETRIES,
    TAIL,
    build_body,
)
from pipeline_lib.demo.render.motion import NODES, Ground, simulate_walks


def straight_nodes(heading):
    """Return an animal stretched out along a heading, nose first, at height 10."""
    along = -12.0 * np.arange(len(NODES))
    direction = np.array([np.cos(heading), np.sin(heading)])
    nodes = np.full((1, len(NODES), 3), 10.0)
    nodes[0, :, :2] = along[:, None] * direction
    return nodes


@pytest.mark.parametrize("heading", [0.0, 1.0, np.pi / 2, -2.5])
def test_left_bodyparts_are_on_the_left_side(heading):
    body = build_body(straight_nodes(heading), np.zeros(1), 1.0)
    points = dict(zip(BODYPARTS, body.bodyparts[0], strict=True))
    turn = np.array([[np.cos(heading), np.sin(heading)], [-np.sin(heading), np.cos(heading)]])
    # In the animal's axes (forward, left): ears 9 mm off the midline, beside the head node.
    np.testing.assert_allclose(turn @ points["left_ear"][:2], [-12.0, 9.0], atol=1e-9)
    np.testing.assert_allclose(turn @ points["right_ear"][:2], [-12.0, -9.0], atol=1e-9)
    np.testing.assert_allclose(turn @ points["tail_tip"][:2], [-144.0, 0.0], atol=1e-9)


def test_scale_scales_the_flesh():
    small = build_body(straight_nodes(0.3), np.zeros(1), 1.0)
    large = build_body(straight_nodes(0.3), np.zeros(1), 2.0)
    np.testing.assert_allclose(large.radii, 2 * small.radii)
    ears = [BODYPARTS.index("left_ear"), BODYPARTS.index("right_ear")]
    gap_small, gap_large = (
        np.linalg.norm(np.diff(body.bodyparts[0, ears], axis=0)) for body in (small, large)
    )
    assert gap_large == pytest.approx(2 * gap_small)


def test_the_body_passes_through_its_bodyparts():
    walks = simulate_walks(np.random.default_rng(4), 30, 0.01, [1.0], Ground(150.0, 150.0))
    body = build_body(walks.nodes[:, 0], walks.gait[:, 0], 1.0)
    points = dict(zip(BODYPARTS, body.bodyparts.transpose(1, 0, 2), strict=True))
    trunk, tail = body.surfaces == FUR, body.surfaces == TAIL
    np.testing.assert_allclose(body.starts[:, trunk][:, 0], points["snout"], atol=1e-9)
    np.testing.assert_allclose(body.ends[:, tail][:, -1], points["tail_tip"], atol=1e-9)
    for ear in ("left_ear", "right_ear"):
        gaps = np.linalg.norm(body.starts[:, body.surfaces == EAR] - points[ear][:, None], axis=-1)
        np.testing.assert_allclose(gaps.min(axis=-1), 0.0, atol=1e-9)


def test_edges_and_symmetries_name_bodyparts():
    assert {name for edge in EDGES for name in edge} == set(BODYPARTS)
    assert set(SYMMETRIES) == {("left_ear", "right_ear")}
