"""Session poses refuse arrays that do not belong together."""

import numpy as np
import pytest

from pipeline_lib.core.cameras.session_poses import SessionPoses


def make(moments: int = 2, **changes: object) -> SessionPoses:
    """Return the poses of two moments of one animal with three keypoints seen by two cameras."""
    points = (moments, 1, 3)
    arrays: dict[str, object] = {
        "position": np.zeros((*points, 3), np.float32),
        "confidence": np.ones(points, np.float32),
        "error": np.zeros(points, np.float32),
        "views": np.full(points, 2, np.uint8),
        "uncertainty": np.zeros(points, np.float32),
        "camera_error": np.zeros((moments, 2, 1, 3), np.float32),
        "camera_frame": np.zeros((moments, 2), np.int32),
        "camera_individual": np.zeros((moments, 2, 1), np.int16),
        "frame_status": np.zeros(moments, np.uint8),
        "time": np.arange(moments, dtype=float),
    }
    names = {"bodyparts": ("a", "b", "c"), "individuals": ("one",), "cameras": ("left", "right")}
    return SessionPoses(**{**arrays, **names, **changes})  # type: ignore[arg-type]


def test_arrays_that_fit_are_accepted() -> None:
    assert make().position.shape == (2, 1, 3, 3)
    assert make(0).camera_frame.shape == (0, 2)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("position", (2, 1, 3, 2)),
        ("confidence", (2, 3, 1)),
        ("camera_error", (2, 1, 1, 3)),
        ("camera_frame", (3, 2)),
        ("camera_individual", (2, 2, 2)),
        ("track_status", (2, 2)),
    ],
)
def test_another_shape_is_refused_by_name(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"{name} has shape"):
        make(**{name: np.zeros(shape)})
