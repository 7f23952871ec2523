"""Run the verb `render-sessions`: the views of a session beside its poses in space."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.cameras.calibration import Calibration, Camera
from pipeline_lib.core.cameras.records import read_description
from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import SESSION_EXPORT_COLUMNS, SessionStatus
from pipeline_lib.io.poses.session import read_session_poses, read_session_times
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.io.video.encode import encode_frames, read_video_key
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.kernels.drawing.poses import Style, draw_poses, draw_trails, mark_missing
from pipeline_lib.kernels.drawing.space import SpaceView, choose_view, draw_scale
from pipeline_lib.kernels.geometry.projection import project
from pipeline_lib.kernels.kinematics.measures import find_centre
from pipeline_lib.steps.provenance.checksums import Published, record_checksums
from pipeline_lib.steps.render.parts import Workers
from pipeline_lib.steps.render.run import find_rate
from pipeline_lib.steps.render.segment import count_ticks
from pipeline_lib.steps.runs.sessions.outcomes import Views, end_sessions

Image = NDArray[np.uint8]

# Width of the picture of a camera; others are made smaller.
_MOST_WIDTH = 480
# Moments whose points decide what of the space is shown.
_LOOKED_AT = 2000
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def run_render_sessions(config: Config, results: Results, shard: str) -> None:
    """Draw each session of a shard that has been triangulated.

    A picture for each camera, with the poses in space projected into it, stands beside one of the
    space. A session that fails is recorded with its reason, and the others are processed; one that
    was not triangulated keeps its status and reason. Videos whose key is unchanged stay.

    Parameters
    ----------
    config
        Settings of the run: `rendering`, `skeleton.edges`, and the model's name.
    results
        The results folder.
    shard
        Name of the shard.

    Raises
    ------
    StoreError
        If the table of `triangulate` is missing.
    """
    model, files = config.training.name, results.shard(shard)
    videos = {video.video: video.path for video in read_cohort(Path(config.cohort))
              if video.has_video}  # fmt: skip

    def work(row: Mapping[str, str], views: Views) -> Mapping[str, str]:
        session = row["session"]
        key = session_rendering_key(config, row["key"])
        path = results.rendered_session(model, session)
        if read_video_key(path) != key:
            paths = {view["camera"]: videos.get(view["video"]) for view in views}
            _draw_session(config, results.triangulated(model, session), paths, path, key)
        return {"key": key}

    ended = end_sessions("render-sessions", config, results, shard, work)
    published = [
        Published(
            "rendered session",
            results.rendered_session(model, row["session"]),
            row["session"],
            row["key"],
        )
        for row in ended
        if row["status"] == SessionStatus.DONE
    ]
    record_checksums(files.checksums("render-sessions", model), results.root, published)
    table = STAGES["render-sessions"].find_table(config, results, shard)
    write_table(table, SESSION_EXPORT_COLUMNS, ended)


def session_rendering_key(config: Config, pose_key: str) -> str:
    """Return the key of a drawn session, given the key of its poses."""
    return hash_settings(pose_key, STAGES["render-sessions"].hash_settings(config))


@dataclass(frozen=True)
class SessionSegment:
    """Describe a part of a session to draw.

    Attributes
    ----------
    poses
        The pose file of the session.
    videos
        File of each camera that was used, in their order; None: there is none.
    cell
        Width and height of the picture of a camera, px, even.
    columns
        Pictures in a row.
    view
        How the space is seen.
    start, stop
        First moment, and the one after the last.
    trail
        Moments of the trails.
    style
        How poses are drawn.
    quality
        Quantiser of H.264.
    """

    poses: Path
    videos: tuple[Path | None, ...]
    cell: tuple[int, int]
    columns: int
    view: SpaceView
    start: int
    stop: int
    trail: int
    style: Style
    quality: int


def draw_session_segment(segment: SessionSegment, path: Path) -> int:
    """Write a part of a session; return when it begins, in ticks of the clock of videos."""
    times = read_session_times(segment.poses)
    ticks = count_ticks(times)[segment.start : segment.stop]
    rows = -(-(len(segment.videos) + 1) // segment.columns)
    size = segment.columns * segment.cell[0], rows * segment.cell[1]
    images = _draw_moments(segment, size)
    frames = ((int(tick - ticks[0]), image) for tick, image in zip(ticks, images, strict=True))
    encode_frames(path, frames, segment.quality, find_rate(times))
    return int(ticks[0])


def _draw_session(
    config: Config, poses: Path, videos: Mapping[str, Path | None], path: Path, key: str
) -> None:
    settings, times = config.rendering, read_session_times(poses)
    step = max(1, len(times) // _LOOKED_AT)
    session = read_session_poses(poses)
    calibration = read_description(session.attributes["calibration"])
    cameras = [calibration.find(name) for name in session.cameras]
    cell = _choose_cell(cameras)
    rate = find_rate(times)
    known = [pair for pair in config.skeleton.edges if set(pair) <= set(session.bodyparts)]
    parts = session.bodyparts
    style = Style(
        settings.radius or max(2, round(min(cell) / 120)),
        settings.pcutoff,
        tuple((parts.index(one), parts.index(other)) for one, other in known)
        if settings.edges
        else (),
        session.individuals if settings.names and len(session.individuals) > 1 else (),
    )
    columns = int(np.ceil(np.sqrt(len(cameras) + 1)))
    wide = cell[0] * (columns - len(cameras) % columns)
    view = choose_view(session.position[::step], cameras[0].rotation, (wide, cell[1]))
    edges = [*range(0, len(times), max(1, round(settings.segment_seconds * rate))), len(times)]
    segments = [
        SessionSegment(
            poses,
            tuple(videos.get(name) for name in session.cameras),
            cell,
            columns,
            view,
            first,
            last,
            round(settings.trail * rate),
            style,
            settings.quality,
        )
        for first, last in pairwise(edges)
    ]
    with Workers() as workers:
        workers.draw(path, segments, key, draw_session_segment)


def _choose_cell(cameras: list[Camera]) -> tuple[int, int]:
    """Return width and height of the picture of a camera: of the widest shape, and even."""
    width, height = max((camera.size for camera in cameras), key=lambda size: size[0] / size[1])
    scale = min(1.0, _MOST_WIDTH / width)
    return 2 * max(1, round(width * scale / 2)), 2 * max(1, round(height * scale / 2))


def _draw_moments(segment: SessionSegment, size: tuple[int, int]) -> Iterator[Image]:
    first = max(0, segment.start - segment.trail)
    poses = read_session_poses(segment.poses, first, segment.stop)
    calibration: Calibration = read_description(poses.attributes["calibration"])
    cameras = [calibration.find(name) for name in poses.cameras]
    frames = poses.camera_frame[segment.start - first :]
    pictures = [_read_pictures(path, frames[:, place]) for place, path in enumerate(segment.videos)]
    position = poses.position.astype(np.float64)
    flat = [*(_shrink(camera, project(camera, position), segment.cell) for camera in cameras),
            segment.view.project(position)]  # fmt: skip
    centres = [find_centre(one)[0] for one in flat]
    for moment in range(segment.start - first, segment.stop - first):
        image = np.zeros((size[1], size[0], 3), np.uint8)
        for place, points in enumerate(flat):
            cell = _cut(image, segment, place)
            if place < len(cameras):
                _paint(cell, next(pictures[place]), cameras[place])
            else:
                draw_scale(cell, segment.view, poses.unit or "")
            if segment.trail:
                way = centres[place][max(0, moment - segment.trail) : moment + 1]
                draw_trails(cell, way, segment.style)
            draw_poses(cell, points[moment], poses.confidence[moment], segment.style)
            _name(cell, cameras[place].name if place < len(cameras)
                  else f"{poses.time[moment]:.2f} s")  # fmt: skip
        yield image


def _cut(image: Image, segment: SessionSegment, place: int) -> Image:
    """Return the part of the image of a camera, or of the space behind the last: what is left."""
    width, height = segment.cell
    x, y = width * (place % segment.columns), height * (place // segment.columns)
    wide = width if place < len(segment.videos) else image.shape[1] - x
    return image[y : y + height, x : x + wide]


def _shrink(
    camera: Camera, points: NDArray[np.floating[Any]], cell: tuple[int, int]
) -> NDArray[np.floating[Any]]:
    """Return points of a camera's picture in the cell, which the picture fits into."""
    scale = min(cell[0] / camera.size[0], cell[1] / camera.size[1])
    # Pixel centres are at whole numbers.
    return np.asarray((points + 0.5) * scale - 0.5)


def _paint(cell: Image, picture: Image | str, camera: Camera) -> None:
    if isinstance(picture, str):
        mark_missing(cell, picture)
        return
    scale = min(cell.shape[1] / camera.size[0], cell.shape[0] / camera.size[1])
    width, height = (max(1, round(side * scale)) for side in camera.size)
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    cell[:height, :width] = np.asarray(small, np.uint8)[: cell.shape[0], : cell.shape[1]]


def _read_pictures(path: Path | None, frames: NDArray[np.int32]) -> Iterator[Image | str]:
    """Yield the picture of a camera at each moment, or why there is none; frames rise."""
    wanted = frames[frames >= 0]
    if path is None or not path.is_file() or not len(wanted):
        yield from ("no frame" if path and path.is_file() else "no video" for _ in frames)
        return
    reader = VideoReader(path)
    pictures = reader.read(int(wanted.min()), int(wanted.max()) + 1)
    at, picture = -1, cast("Image | None", None)
    for frame in frames:
        if frame < 0:
            yield "no frame at this moment"
            continue
        while at < frame:
            at, picture = next(pictures)
        yield f"frame {frame}: not decoded" if picture is None else picture


def _name(cell: Image, text: str) -> None:
    """Write a name into the upper left corner, readable on every picture."""
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(cell, text, (6, 16), _FONT, 0.45, colour, thickness, cv2.LINE_AA)
