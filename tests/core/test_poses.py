"""Test that poses refuse arrays whose shapes do not match."""

import numpy as np
import pytest

from pipeline_lib.core.poses import Poses


def make_poses(**changes):
    values = {
        "position": np.zeros((4, 1, 3, 2), np.float32),
        "confidence": np.zeros((4, 1, 3), np.float32),
        "frame_status": np.zeros(4, np.uint8),
        "time": np.arange(4.0),
        "bodyparts": ("a", "b", "c"),
        "individuals": ("animal",),
    }
    return Poses(**{**values, **changes})


def test_fitting_shapes_are_taken():
    poses = make_poses(
        track_status=np.zeros((4, 1), np.uint8),
        identity=np.zeros((4, 1, 2), np.float32),
        attributes={"identities": ["ann", "bob"]},
    )
    assert poses.position.shape == (4, 1, 3, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time": np.arange(5.0)}, r"position has shape \(4, 1, 3, 2\), expected \(5, 1, 3, 2\)"),
        ({"bodyparts": ("a",)}, r"position has shape .* expected \(4, 1, 1, 2\)"),
        ({"individuals": ("a", "b")}, r"position has shape .* expected \(4, 2, 3, 2\)"),
        ({"position": np.zeros((4, 2, 3, 1))}, r"position has shape \(4, 2, 3, 1\)"),
        ({"confidence": np.zeros((4, 3, 1))}, r"confidence has shape \(4, 3, 1\)"),
        ({"frame_status": np.zeros(3)}, r"frame_status has shape \(3,\), expected \(4,\)"),
        ({"track_status": np.zeros(4)}, r"track_status has shape \(4,\), expected \(4, 1\)"),
        ({"identity": np.zeros((4, 1, 2))}, r"identity has shape .* expected \(4, 1, 0\)"),
    ],
)
def test_other_shapes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_poses(**changes)
