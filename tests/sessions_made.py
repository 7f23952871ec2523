"""Make the poses of a session that animals walk through, as triangulation would give them."""

import numpy as np

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.cameras.records import describe_calibration
from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.demo.rig import build_rig
from pipeline_lib.kernels.geometry.projection import project

PARTS = ("snout", "back", "tail")
NAMES = ("ann", "bob")


def make_calibration(cameras=3, size=(320, 240)):
    lenses = build_rig((1,), cameras, size, (190.0, 190.0))
    return Calibration(tuple(lens.camera for lens in lenses), "mm")


def make_points(moments, individuals=2):
    """Return points of animals that walk along circles, shape (time, individual, bodypart, 3)."""
    angle = np.linspace(0, 3, moments)[:, None, None] + np.arange(individuals)[None, :, None] * 2
    angle = angle + np.array([0.0, -0.3, -0.6])
    return np.stack([120 * np.cos(angle), 120 * np.sin(angle), 8 + 6 * np.sin(5 * angle)], axis=-1)


def make_session(calibration, moments=12, individuals=2, attributes=None):
    """Return poses without error; the second camera lacks the fourth moment, a point is lost."""
    points = make_points(moments, individuals)
    names, cameras = NAMES[:individuals], calibration.names
    shape = points.shape[:3]
    position = points.astype(np.float32)
    position[2, 0, 1] = np.nan
    found = np.isfinite(position[..., 0])
    frame = np.tile(np.arange(moments, dtype=np.int32)[:, None], (1, len(cameras)))
    frame[3, 1] = -1
    error = np.full((moments, len(cameras), *shape[1:]), 0.5, np.float32)
    error *= 1 + np.arange(len(cameras), dtype=np.float32)[:, None, None]
    error[~np.broadcast_to(found[:, None], error.shape)] = np.nan
    error[3, 1] = np.nan
    return SessionPoses(
        position=position,
        confidence=np.where(found, 0.9, np.nan).astype(np.float32),
        error=np.where(found, 0.5, np.nan).astype(np.float32),
        views=np.where(found, len(cameras), 0).astype(np.uint8),
        uncertainty=np.where(found, 0.4, np.nan).astype(np.float32),
        camera_error=error,
        camera_frame=frame,
        camera_individual=np.tile(
            np.arange(individuals, dtype=np.int16)[::-1], (moments, len(cameras), 1)
        ),
        frame_status=np.zeros(moments, np.uint8),
        time=np.arange(moments) / 10.0,
        bodyparts=PARTS,
        individuals=names,
        cameras=cameras,
        unit="mm",
        track_status=np.ones((moments, individuals), np.uint8),
        attributes={
            "session": "walk", "key": "k", "fps": 10.0,
            "calibration": describe_calibration(calibration), **(attributes or {}),
        },
    )  # fmt: skip


def project_all(calibration, points):
    """Return the pixels of points in each camera, shape (camera, ..., 2)."""
    return np.stack([project(camera, points) for camera in calibration.cameras])
