"""Make poses of sessions to write and to read."""

import numpy as np

from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.core.tables import FrameStatus, TrackStatus

ATTRIBUTES = {"session": "s1", "key": "0123456789abcdef", "fps": 50.0, "versions": {"x": 1}}


def make_session(
    moments=5,
    bodyparts=("nose", "tail"),
    individuals=("a", "b"),
    cameras=("left", "right", "top"),
    *,
    unit="mm",
    seed=0,
    **attributes,
):
    """Return poses of which every number differs; one animal lacks in moment 1, all in 2."""
    random = np.random.default_rng(seed)
    points = (len(individuals), len(bodyparts))
    shape = (moments, *points)
    position = random.uniform(-500, 500, (*shape, 3)).astype(np.float32)
    lacking = np.zeros(shape, bool)
    lacking[1:2, :1], lacking[2:3] = True, True
    position[lacking] = np.nan
    measures = [random.random(shape, np.float32) for _ in range(3)]
    for measure in measures:
        measure[lacking] = np.nan
    camera_error = random.random((moments, len(cameras), *points), np.float32)
    camera_error[np.broadcast_to(lacking[:, None], camera_error.shape)] = np.nan
    frame = np.arange(moments, dtype=np.int32)[:, None] + np.arange(len(cameras), dtype=np.int32)
    frame[2:3] = -1
    slots = np.tile(np.arange(points[0], dtype=np.int16), (moments, len(cameras), 1))
    slots[1:2, :, :1] = -1
    status = np.full((moments, points[0]), TrackStatus.FOLLOWED, np.uint8)
    status[1:2, :1] = TrackStatus.GAP
    frame_status = np.full(moments, FrameStatus.DECODED, np.uint8)
    frame_status[2:3] = FrameStatus.MISSING
    return SessionPoses(
        position=position,
        confidence=measures[0],
        error=measures[1],
        views=np.where(lacking, 0, 2 + random.integers(0, 2, shape)).astype(np.uint8),
        uncertainty=measures[2],
        camera_error=camera_error,
        camera_frame=frame,
        camera_individual=slots,
        frame_status=frame_status,
        time=np.arange(moments) / 50.0,
        bodyparts=tuple(bodyparts),
        individuals=tuple(individuals),
        cameras=tuple(cameras),
        unit=unit,
        track_status=status if points[0] > 1 else None,
        attributes={**ATTRIBUTES, **attributes},
    )


ARRAYS = (
    *("position", "confidence", "error", "views", "uncertainty", "camera_error", "camera_frame"),
    *("camera_individual", "frame_status", "time", "track_status"),
)


def cut_session(poses, start, stop):
    """Return some moments."""
    cut = {name: getattr(poses, name) for name in ARRAYS}
    cut = {name: None if value is None else value[start:stop] for name, value in cut.items()}
    names = ("bodyparts", "individuals", "cameras", "unit", "attributes")
    return SessionPoses(**cut, **{name: getattr(poses, name) for name in names})


def assert_same_session(found, expected):
    for name in ARRAYS:
        left, right = getattr(found, name), getattr(expected, name)
        assert (left is None) == (right is None), name
        if left is not None:
            assert left.dtype == right.dtype, name
            np.testing.assert_array_equal(left, right, name)
    for name in ("bodyparts", "individuals", "cameras", "unit", "attributes"):
        assert getattr(found, name) == getattr(expected, name)
