"""Write recordings for the Rerun viewer: cameras, projected points and skeletons over time."""

from collections.abc import Iterator
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

# Colours of individuals, red, green, blue.
_COLOURS = (
    (242, 84, 91), (47, 143, 232), (18, 166, 114), (217, 145, 0),
    (162, 93, 220), (10, 165, 181), (217, 85, 159), (143, 122, 59),
)  # fmt: skip


def write_rerun(path: Path, source: SessionSource) -> None:
    """Publish the poses of one session as a recording for the Rerun viewer.

    Below ``world`` are the cameras, with their lenses as pinholes, and a skeleton for each
    individual; below a camera, the points as they are projected into its image, with distortion.
    ``error`` has a curve for each camera: the median distance between what it saw and the
    projected points, in px. Timelines are ``moment`` and ``time``.

    Parameters
    ----------
    path
        File to write.
    source
        Poses of the session.

    Raises
    ------
    StoreError
        If the poses are missing or damaged, tell no calibration, or rerun-sdk is not installed.
    """
    rerun = _import_rerun()
    calibration = _read_calibration(source)
    with publish_file(path) as part:
        stream = rerun.RecordingStream("cohortpose", recording_id=source.key or None)
        with stream:
            stream.save(str(part))
            _log_cameras(rerun, stream, calibration)
            for block in source.read_blocks():
                _log_block(rerun, stream, source, calibration, block)
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


def _log_cameras(rerun: Any, stream: Any, calibration: Calibration) -> None:  # noqa: ANN401
    for camera in calibration.cameras:
        place = rerun.new_entity_path(["world", camera.name])
        stream.log(
            place,
            rerun.Transform3D(translation=camera.centre, mat3x3=camera.rotation.T),
            static=True,
        )
        stream.log(
            f"{place}/image",
            rerun.Pinhole(image_from_camera=camera.matrix, resolution=list(camera.size)),
            static=True,
        )


def _log_block(
    rerun: Any,  # noqa: ANN401
    stream: Any,  # noqa: ANN401
    source: SessionSource,
    calibration: Calibration,
    block: SessionPoses,
) -> None:
    if not len(block.time):
        return
    moments = np.arange(len(block.time)) + int(np.searchsorted(source.times, block.time[0]))
    times = [
        rerun.TimeColumn("moment", sequence=moments),
        rerun.TimeColumn("time", duration=block.time),
    ]

    def send(place: str, columns: Any) -> None:  # noqa: ANN401
        stream.send_columns(place, indexes=times, columns=columns)

    for number, individual in enumerate(block.individuals):
        colour = _COLOURS[number % len(_COLOURS)]
        position = block.position[:, number].astype(np.float64)
        place = rerun.new_entity_path(["world", "individuals", individual])
        send(place, _list_points(rerun.Points3D, position, colour))
        send(f"{place}/edges", _list_edges(rerun, position, source.edge_places, colour))
        for camera in calibration.cameras:
            pixels = _project(camera, position)
            below = rerun.new_entity_path(["world", camera.name, "image", individual])
            send(below, _list_points(rerun.Points2D, pixels, colour))
    for number, camera in enumerate(calibration.cameras):
        errors = block.camera_error[:, number].reshape(len(block.time), -1)
        seen = np.isfinite(errors).any(axis=1)
        if seen.any():
            stream.send_columns(
                rerun.new_entity_path(["error", camera.name]),
                indexes=[
                    rerun.TimeColumn("moment", sequence=moments[seen]),
                    rerun.TimeColumn("time", duration=block.time[seen]),
                ],
                columns=rerun.Scalars.columns(scalars=np.nanmedian(errors[seen], axis=1)),
            )


def _list_points(kind: Any, position: Floats, colour: tuple[int, int, int]) -> Any:  # noqa: ANN401
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
    colour: tuple[int, int, int],
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
