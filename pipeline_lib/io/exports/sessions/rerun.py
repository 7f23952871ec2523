"""Write recordings for the Rerun viewer: cameras, projected points and skeletons over time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Calibration, Camera
from pipeline_lib.core.cameras.records import read_description
from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.exports.sessions.source import SessionSource
from pipeline_lib.io.publish import publish_file

Floats = NDArray[np.float64]
Colour = tuple[int, int, int]

# Colours of individuals, red, green, blue.
_COLOURS = (
    (242, 84, 91), (47, 143, 232), (18, 166, 114), (217, 145, 0),
    (162, 93, 220), (10, 165, 181), (217, 85, 159), (143, 122, 59),
)  # fmt: skip


def write_rerun(path: Path, source: SessionSource) -> None:
    """Publish the poses of one session as a recording for Rerun (a `registry.Writer`).

    Below ``world`` are the cameras, each as a pinhole camera, and a skeleton for each individual.
    Below a camera are the points projected into its image, with its distortion. ``error`` has a
    curve for each camera: the median distance, in px, between the points it saw and the projected
    points. The timelines are ``moment`` and ``time``. Poses that name no calibration are a
    `StoreError`.
    """
    rerun = _import_rerun()
    calibration = _read_calibration(source)
    with publish_file(path) as part:
        stream = rerun.RecordingStream("cohortpose", recording_id=source.key or None)
        with stream:
            stream.save(str(part))
            recording = _Recording(rerun, stream, calibration, source.edge_places)
            recording.log_cameras()
            for moments, block in source.read_blocks():
                recording.log_block(moments, block)
            stream.flush()
        stream.disconnect()


def _import_rerun() -> Any:  # noqa: ANN401 - an optional package
    try:
        import rerun  # noqa: PLC0415
    except ImportError as error:
        raise StoreError(
            f"recordings for Rerun need rerun-sdk ({error}): pip install 'cohortpose[rerun]', or "
            "leave out the format `rerun`"
        ) from None
    return rerun


def _read_calibration(source: SessionSource) -> Calibration:
    record = source.head.attributes.get("calibration")
    try:
        if not isinstance(record, dict):
            raise ValueError("they tell none")  # noqa: TRY004, TRY301
        return read_description(record).choose(source.head.cameras)
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"{source.poses}: the poses have no usable calibration ({error}); triangulate again"
        ) from None


@dataclass(frozen=True)
class _Recording:
    """Fill a recording.

    Attributes
    ----------
    rerun
        The package.
    stream
        Stream of the recording.
    calibration
        Cameras of the session.
    edges
        Pairs of positions on the keypoint axis.
    """

    rerun: Any
    stream: Any
    calibration: Calibration
    edges: tuple[tuple[int, int], ...]

    def log_cameras(self) -> None:
        """Log each camera once, as a pinhole camera."""
        rerun = self.rerun
        for camera in self.calibration.cameras:
            path = rerun.new_entity_path(["world", camera.name])
            pose = rerun.Transform3D(translation=camera.centre, mat3x3=camera.rotation.T)
            lens = rerun.Pinhole(image_from_camera=camera.matrix, resolution=list(camera.size))
            self.stream.log(path, pose, static=True)
            self.stream.log(f"{path}/image", lens, static=True)

    def log_block(self, moments: slice, block: SessionPoses) -> None:
        """Log consecutive moments: points, edges, projections and errors."""
        if not len(block.time):
            return
        numbers = np.arange(moments.start, moments.stop)
        for individual, name in enumerate(block.individuals):
            position = block.position[:, individual].astype(np.float64)
            colour = _COLOURS[individual % len(_COLOURS)]
            self._log_individual(name, position, colour, self._index(numbers, block.time))
        self._log_errors(numbers, block)

    def _log_individual(self, name: str, position: Floats, colour: Colour, times: Any) -> None:  # noqa: ANN401
        rerun = self.rerun

        def send(path: str, columns: Any) -> None:  # noqa: ANN401
            self.stream.send_columns(path, indexes=times, columns=columns)

        path = rerun.new_entity_path(["world", "individuals", name])
        send(path, _list_points(rerun.Points3D, position, colour))
        send(f"{path}/edges", _list_edges(rerun, position, self.edges, colour))
        for camera in self.calibration.cameras:
            pixels = _project(camera, position)
            below = rerun.new_entity_path(["world", camera.name, "image", name])
            send(below, _list_points(rerun.Points2D, pixels, colour))

    def _log_errors(self, numbers: NDArray[np.int64], block: SessionPoses) -> None:
        for number, camera in enumerate(self.calibration.cameras):
            errors = block.camera_error[:, number].reshape(len(block.time), -1)
            seen = np.isfinite(errors).any(axis=1)
            if seen.any():
                self.stream.send_columns(
                    self.rerun.new_entity_path(["error", camera.name]),
                    indexes=self._index(numbers[seen], block.time[seen]),
                    columns=self.rerun.Scalars.columns(scalars=np.nanmedian(errors[seen], axis=1)),
                )

    def _index(self, numbers: NDArray[np.int64], seconds: Floats) -> list[Any]:
        return [
            self.rerun.TimeColumn("moment", sequence=numbers),
            self.rerun.TimeColumn("time", duration=seconds),
        ]


def _list_points(kind: Any, position: Floats, colour: Colour) -> Any:  # noqa: ANN401
    """Return the columns of points, shape (time, point, 2 or 3); NaN is left out."""
    known = np.isfinite(position).all(axis=-1)
    counts = known.sum(axis=1)
    return kind.columns(
        positions=position[known],
        colors=np.tile(np.array(colour, np.uint8), (int(counts.sum()), 1)),
    ).partition(counts)


def _list_edges(
    rerun: Any,  # noqa: ANN401
    position: Floats,
    edges: tuple[tuple[int, int], ...],
    colour: Colour,
) -> Any:  # noqa: ANN401
    strips, counts = [], []
    for moment in position:
        drawn = list(_find_lines(moment, edges))
        strips += drawn
        counts.append(len(drawn))
    return rerun.LineStrips3D.columns(
        strips=strips, colors=np.tile(np.array(colour, np.uint8), (len(strips), 1))
    ).partition(counts)


def _find_lines(points: Floats, edges: tuple[tuple[int, int], ...]) -> Iterator[Floats]:
    for first, second in edges:
        ends = points[[first, second]]
        if np.isfinite(ends).all():
            yield ends


def _project(camera: Camera, points: Floats) -> Floats:
    """Project points, shape (..., 3), with OpenCV; NaN behind a pinhole camera."""
    flat = points.reshape(-1, 3)
    known = np.isfinite(flat).all(axis=1)
    if camera.model == "pinhole":
        with np.errstate(invalid="ignore"):
            known &= (flat @ camera.rotation.T + camera.translation)[:, 2] > 0
    pixels = np.full((len(flat), 2), np.nan)
    if known.any():
        turn = cv2.Rodrigues(camera.rotation)[0]
        given = flat[known][:, None], turn, camera.translation.copy()
        if camera.model == "pinhole":
            bent = cv2.projectPoints(*given, np.eye(3), camera.distortion)[0]
        else:
            bent = cv2.fisheye.projectPoints(*given, np.eye(3), camera.distortion)[0]
        # OpenCV's own matrix has no skew.
        pixels[known] = bent[:, 0] @ camera.matrix[:2, :2].T + camera.matrix[:2, 2]
    return pixels.reshape(*points.shape[:-1], 2)
