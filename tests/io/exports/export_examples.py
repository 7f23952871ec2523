"""Make poses of several animals to export."""

from pathlib import Path

import numpy as np

from pipeline_lib.core.poses import Poses
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import FrameStatus, TrackStatus
from pipeline_lib.io.exports.source import ExportSource
from pipeline_lib.io.poses.write import write_poses

NAN = np.nan
BODYPARTS = ("nose", "tail", "corner")
SKELETON = Skeleton(
    bodyparts=BODYPARTS,
    edges=(("nose", "tail"),),
    symmetries=(("tail", "nose"),),
    unique_bodyparts=("corner",),
)


def make_several():
    """Return two animals and a corner; then b alone, without its tail; then an undecoded frame."""
    position = np.full((3, 3, 3, 2), NAN, np.float32)
    position[0, 0, :2] = (10, 20), (30, 40)
    position[0, 1, :2] = (50.5, 60.25), (70, 80)
    position[0, 2, 2] = (1, 2)
    position[1, 1, 0] = (51.5, 61.25)
    confidence = np.zeros((3, 3, 3), np.float32)
    confidence[0, 0, :2], confidence[0, 1, :2], confidence[0, 2, 2] = (0.75, 0.25), (0.5, 1), 1
    confidence[1, 1, :2] = (0.5, 0.25)
    confidence[2] = NAN
    absent, followed, gap, uncertain = (
        TrackStatus.ABSENT,
        TrackStatus.FOLLOWED,
        TrackStatus.GAP,
        TrackStatus.UNCERTAIN,
    )
    status = [[followed, uncertain, followed], [gap, followed, absent], [absent, absent, absent]]
    return Poses(
        position=position,
        confidence=confidence,
        frame_status=np.array([FrameStatus.DECODED] * 2 + [FrameStatus.UNDECODABLE], np.uint8),
        time=np.array([0.0, 0.04, 0.1]),
        bodyparts=BODYPARTS,
        individuals=("a", "b", "single"),
        attributes={"fps": 25.0, "video": "v", "key": "pose-key"},
        track_status=np.array(status, np.uint8),
    )


def make_source(folder: Path, poses: Poses, **changes):
    """Write a pose file and describe it."""
    write_poses(folder / "v.zarr", poses)
    facts = {
        "poses": folder / "v.zarr",
        "scorer": "net",
        "skeleton": SKELETON,
        "key": "export-key",
        "video": Path("/data/cage 1/v.mp4"),
        "width": 640,
        "height": 480,
    }
    return ExportSource(**{**facts, **changes})
