"""Gather what the report shows of one session: its skeleton over time, its views, its errors.

A page holds few sessions, and of each an excerpt: see the limits below.
"""

import base64
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Calibration, Camera
from pipeline_lib.core.cameras.records import read_description
from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.poses import Poses
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.poses.session import read_session_poses, read_session_times
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.kernels.geometry.lenses import find_rays
from pipeline_lib.kernels.geometry.projection import project
from pipeline_lib.steps.report.charts import colour_individuals

_log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

# Moments of a session that can be played, and coordinates of all its points in them.
MOMENTS = 300
_COORDINATES = 120_000
# Errors are taken from this many moments at most, in windows spread over the session.
MEASURED = 2_000
_WINDOWS = 20
# Moments with pictures, and cameras in each.
PICTURES = 4
CAMERAS = 8
_WIDTH = 360
_JPEG_QUALITY = 72
# Coordinates are whole numbers of 16 bits; the largest means: no point.
_LARGEST, _NONE = 65_534, 65_535
# Points of the ground are below this share of all points.
_GROUND = 0.02
# A camera is drawn as a pyramid of this height, as a share of the scene's size.
_PYRAMID = 0.18


@dataclass(frozen=True)
class SessionSource:
    """Name what the view of a session is made from.

    Attributes
    ----------
    poses
        Pose file of the session.
    videos, views
        File of each video, and pose file whose keypoints were triangulated, by the video's name.
    """

    poses: Path
    videos: Mapping[str, Path]
    views: Mapping[str, Path]


@dataclass(frozen=True)
class SessionView:
    """Hold what the report shows of a session.

    Attributes
    ----------
    session
        Name.
    moments, first, last
        Number of moments of the session; the excerpt, both ends included.
    measured
        Number of moments that the errors are of.
    cameras, bodyparts
        Names of the rows and columns of `errors`.
    errors
        Median distance in px between what a camera saw and the projected point, by camera and
        bodypart; the last column is that of all bodyparts. NaN: never seen.
    data
        JSON-like record for the script of the page.
    """

    session: str
    moments: int
    first: int
    last: int
    measured: int
    cameras: tuple[str, ...]
    bodyparts: tuple[str, ...]
    errors: Floats
    data: dict[str, Any]

    @property
    def most_error(self) -> float:
        """Largest of the errors; 1 if there is none."""
        known = self.errors[np.isfinite(self.errors)]
        return float(known.max()) or 1.0 if known.size else 1.0


def gather_session(
    session: str, source: SessionSource, edges: Sequence[tuple[str, str]]
) -> SessionView | None:
    """Gather what the report shows of a session; None if it has no point at all.

    Parameters
    ----------
    session
        Name of the session.
    source
        Its files; a video or a pose file of a camera that cannot be read leaves its place empty.
    edges
        Pairs of bodyparts to join.

    Raises
    ------
    StoreError
        If the pose file of the session cannot be read.
    ValueError
        If it tells no calibration.
    """
    moments = len(read_session_times(source.poses))
    windows = _list_windows(moments)
    measured = [read_session_poses(source.poses, *window) for window in windows]
    found = [int(np.isfinite(one.position[..., 0]).sum()) for one in measured]
    if not any(found):
        return None
    head = measured[0]
    start, stop = _choose_excerpt(moments, windows[int(np.argmax(found))], head)
    poses = read_session_poses(source.poses, start, stop)
    calibration = read_description(head.attributes["calibration"]).choose(head.cameras)
    return SessionView(
        session,
        moments,
        start,
        stop - 1,
        sum(len(one.time) for one in measured),
        head.cameras,
        head.bodyparts,
        _measure_errors(measured),
        {
            "name": session,
            "first": start,
            "moments": moments,
            **_describe_points(poses),
            **_describe_space(poses, calibration),
            "edges": [
                [poses.bodyparts.index(one) for one in edge]
                for edge in edges
                if set(edge) <= set(poses.bodyparts)
            ],
            "pictures": _draw_pictures(source, poses, calibration),
        },
    )


def _list_windows(moments: int) -> list[tuple[int, int]]:
    if moments <= MEASURED:
        return [(0, moments)]
    length = MEASURED // _WINDOWS
    starts = np.linspace(0, moments - length, _WINDOWS).astype(int)
    return [(int(start), int(start) + length) for start in starts]


def _choose_excerpt(moments: int, window: tuple[int, int], head: SessionPoses) -> tuple[int, int]:
    """Return the moments to show: around the middle of the window with the most points."""
    points = len(head.individuals) * len(head.bodyparts)
    length = min(moments, MOMENTS, max(2, _COORDINATES // (3 * points)))
    if window == (0, moments):
        found = np.isfinite(head.position[..., 0]).sum(axis=(1, 2))
        total = np.concatenate([[0], np.cumsum(found)])
        start = int(np.argmax(total[length:] - total[: moments - length + 1]))
    else:
        start = min(max(0, sum(window) // 2 - length // 2), moments - length)
    return start, start + length


def _measure_errors(blocks: Sequence[SessionPoses]) -> Floats:
    errors = np.concatenate([one.camera_error for one in blocks]).astype(np.float64)
    cameras, bodyparts = errors.shape[1], errors.shape[3]
    table = np.full((cameras, bodyparts + 1), np.nan)
    for camera in range(cameras):
        for bodypart in range(bodyparts):
            table[camera, bodypart] = _median(errors[:, camera, :, bodypart])
        table[camera, -1] = _median(errors[:, camera])
    return table


def _median(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else math.nan


def _describe_points(poses: SessionPoses) -> dict[str, Any]:
    """Return the points as whole numbers, their names, and a line of text for each moment."""
    position = poses.position.astype(np.float64)
    low = np.nanmin(position, axis=(0, 1, 2))
    # Zero if there is a single point.
    step = float(np.nanmax(position - low)) / _LARGEST or 1.0
    with np.errstate(invalid="ignore"):
        whole = np.rint((position - low) / step)
    coded = np.where(np.isfinite(whole), whole, _NONE).astype("<u2")
    error = [_median(one) for one in poses.error.astype(np.float64)]
    return {
        "unit": poses.unit or "",
        "times": [round(float(time), 4) for time in poses.time],
        "points": base64.b64encode(coded.tobytes()).decode("ascii"),
        "low": low.tolist(),
        "step": step,
        "found": np.isfinite(poses.position[..., 0]).sum(axis=(1, 2)).tolist(),
        "error": [round(one, 3) if math.isfinite(one) else None for one in error],
        "bodyparts": list(poses.bodyparts),
        "individuals": list(poses.individuals),
        "colours": list(colour_individuals(poses.individuals).values()),
    }


def _describe_space(poses: SessionPoses, calibration: Calibration) -> dict[str, Any]:
    """Return how to show the space: which way is up, the ground, the cameras."""
    points = poses.position.reshape(-1, 3).astype(np.float64)
    points = points[np.isfinite(points).all(axis=1)]
    centres = np.array([camera.centre for camera in calibration.cameras])
    turn = _find_upright(points, centres)
    upright = points @ turn.T
    size = float(np.linalg.norm(np.ptp(upright, axis=0))) or 1.0
    return {
        "turn": turn.tolist(),
        "middle": np.median(points, axis=0).tolist(),
        "size": size,
        "ground": float(np.quantile(upright[:, 2], _GROUND)),
        "cameras": [_describe_camera(one, size * _PYRAMID) for one in calibration.cameras],
    }


def _find_upright(points: Floats, centres: Floats) -> Floats:
    """Return a rotation after which z points up, as far as the points tell.

    Animals move over a ground: the direction in which points spread least is taken for the
    vertical, and the side of the cameras for above.
    """
    middle = points.mean(axis=0)
    axes = (
        np.linalg.svd(points - middle, full_matrices=True)[2]
        if len(points) < 5_000
        else (np.linalg.svd((points - middle)[:: len(points) // 5_000], full_matrices=True)[2])
    )
    up = axes[2] * (1.0 if (centres.mean(axis=0) - middle) @ axes[2] >= 0 else -1.0)
    across = axes[0]
    turned: Floats = np.stack([across, np.cross(up, across), up])
    return turned


def _describe_camera(camera: Camera, depth: float) -> dict[str, Any]:
    """Return the place of a camera, and the corners of what it sees at a depth."""
    width, height = camera.size
    x = np.array([0.0, width - 1.0, width - 1.0, 0.0])
    y = np.array([0.0, 0.0, height - 1.0, height - 1.0])
    rays = np.stack(find_rays(camera, x, y), axis=1)
    # The corners of a fisheye may see nothing.
    rays = np.where(np.isfinite(rays), rays, [0.0, 0.0, 1.0])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    corners = camera.centre + depth * rays @ camera.rotation
    return {"name": camera.name, "centre": camera.centre.tolist(), "corners": corners.tolist()}


def _draw_pictures(
    source: SessionSource, poses: SessionPoses, calibration: Calibration
) -> list[dict[str, Any]]:
    chosen = _choose_moments(poses)
    views = [
        _View(camera, place, source.videos.get(name), source.views.get(name))
        for place, (camera, name) in enumerate(_name_videos(poses, calibration)[:CAMERAS])
    ]
    drawn = [view.draw(poses, list(chosen)) for view in views]
    return [
        {"moment": moment, "label": label, "views": [one[number] for one in drawn]}
        for number, (moment, label) in enumerate(chosen.items())
    ]


def _name_videos(poses: SessionPoses, calibration: Calibration) -> list[tuple[Camera, str]]:
    """Return each camera with the name of its video; the sheet may spell cameras otherwise."""
    told = poses.attributes.get("videos")
    names = told if isinstance(told, dict) else {}
    return [(camera, str(names.get(camera.name, ""))) for camera in calibration.cameras]


def _choose_moments(poses: SessionPoses) -> dict[int, str]:
    """Return the moments of pictures: those with most points in equal parts, and the worst one."""
    found = np.isfinite(poses.position[..., 0]).sum(axis=(1, 2))
    chosen: dict[int, str] = {}
    for part in np.array_split(np.arange(len(found)), PICTURES - 1):
        if part.size and found[part].max():
            chosen[int(part[np.argmax(found[part])])] = ""
    error = np.array([_median(one) for one in poses.error.astype(np.float64)])
    if np.isfinite(error).any():
        chosen[int(np.nanargmax(error))] = "largest error"
    return dict(sorted(chosen.items()))


class _View:
    """Draw the pictures of one camera.

    Parameters
    ----------
    camera, place
        The camera, and its place along the axis of cameras.
    video, poses
        Files of the camera; None: not known.
    """

    def __init__(self, camera: Camera, place: int, video: Path | None, poses: Path | None) -> None:
        self._camera, self._place = camera, place
        self._video, self._poses = video, poses

    def draw(self, session: SessionPoses, moments: list[int]) -> list[dict[str, Any]]:
        """Return a picture for each moment: size, image, projected and observed points."""
        frames = [int(session.camera_frame[moment, self._place]) for moment in moments]
        images, note = self._read_images(frames)
        observed = self._read_poses(frames)
        projected = project(self._camera, session.position[moments].astype(np.float64))
        width, height = self._camera.size
        pictures = []
        for number, (moment, frame) in enumerate(zip(moments, frames, strict=True)):
            why = "no frame at this moment" if frame < 0 else note
            pictures.append(
                {
                    "camera": self._camera.name,
                    "frame": frame,
                    "width": width,
                    "height": height,
                    "image": images.get(frame),
                    "note": "" if frame in images else why or "the frame cannot be decoded",
                    "points": self._list_points(session, moment, projected[number], observed),
                }
            )
        return pictures

    def _read_images(self, frames: list[int]) -> tuple[dict[int, str], str]:
        """Return the frames that can be read as data URLs, and why others cannot."""
        if self._video is None:
            return {}, "the sheet has no video of this camera"
        images = {}
        try:
            with VideoReader(self._video) as reader:
                for frame in sorted({one for one in frames if one >= 0}):
                    for _, image in reader.read(frame, frame + 1, width=_WIDTH):
                        if image is not None:
                            images[frame] = _encode(image)
        except (CohortposeError, OSError) as error:
            _log.warning("the report shows no frames of %s: %s", self._video, error)
            return images, "the video cannot be read"
        return images, ""

    def _read_poses(self, frames: list[int]) -> dict[int, Poses]:
        """Return what the camera saw in some frames, as far as it can be read."""
        if self._poses is None:
            return {}
        try:
            return {
                frame: read_poses(self._poses, frame, frame + 1) for frame in frames if frame >= 0
            }
        except CohortposeError as error:
            _log.warning("the report shows no keypoints of %s: %s", self._poses, error)
            return {}

    def _list_points(
        self, session: SessionPoses, moment: int, projected: Floats, observed: Mapping[int, Poses]
    ) -> list[list[float | int | None]]:
        """Return individual, bodypart, projected x and y, observed x and y, error of each point."""
        width, height = self._camera.size
        frame = int(session.camera_frame[moment, self._place])
        points: list[list[float | int | None]] = []
        for individual in range(len(session.individuals)):
            slot = int(session.camera_individual[moment, self._place, individual])
            for keypoint in range(len(session.bodyparts)):
                x, y = projected[individual, keypoint]
                if not (-width < x < 2 * width and -height < y < 2 * height):
                    continue
                seen = _find_observed(observed.get(frame), slot, session.bodyparts[keypoint])
                error = float(session.camera_error[moment, self._place, individual, keypoint])
                points.append(
                    [
                        individual,
                        keypoint,
                        round(float(x), 1),
                        round(float(y), 1),
                        *seen,
                        round(error, 2) if math.isfinite(error) else None,
                    ]
                )
        return points


def _find_observed(
    poses: Poses | None, slot: int, bodypart: str
) -> tuple[float | None, float | None]:
    if (
        poses is None
        or bodypart not in poses.bodyparts
        or not (len(poses.time) and 0 <= slot < len(poses.individuals))
    ):
        return None, None
    x, y = poses.position[0, slot, poses.bodyparts.index(bodypart)].tolist()
    return (round(x, 1), round(y, 1)) if math.isfinite(x) else (None, None)


def _encode(image: NDArray[np.uint8]) -> str:
    turned = np.ascontiguousarray(image[..., ::-1])
    _, data = cv2.imencode(".jpg", turned, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
