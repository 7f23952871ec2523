"""Make ordinary pose files and videos of the takes of a live run, ended or killed."""

import logging
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import CohortposeError, StoreError, VideoError
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.tables import FrameStatus
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.publish import publish_file, publish_text
from pipeline_lib.io.video.encode import join_parts
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.live.recording.log import PARTS, FrameRecord, PoseRecord, TakeLog, read_log
from pipeline_lib.live.recording.recorder import LOG_ENDING, VIDEO_ENDING

logger = logging.getLogger("pipeline_lib.live")

TIME_COLUMNS = (
    *("row", "frame", "number", "stamp", "triggered", "done", "latency_ms"),
    *(f"{part}_ms" for part in PARTS),
    *("window", "status", "captured"),
)


def finish_recordings(folder: Path) -> list[Path]:
    """Turn every log and part of a video in a folder into its final form.

    For each take: ``CAMERA-0001.zarr.zip``, an ordinary pose file; ``CAMERA-0001.times.tsv``, the
    times of its frames, captured last; and ``CAMERA-0001.mp4``. Logs and parts are removed once
    what replaces them is on the disk.

    Parameters
    ----------
    folder
        Folder of a live run that has ended.

    Returns
    -------
    list of Path
        Pose files and videos that were made.
    """
    made = []
    parts = {part: _name_part(part) for part in folder.glob(f"*{VIDEO_ENDING}")}
    for part, target in sorted(parts.items()):
        try:
            if _finish_video(part, target):
                made.append(target)
            part.unlink()
        except (CohortposeError, OSError, ValueError, av.error.FFmpegError) as error:
            logger.warning("%s: stays as it is: %s", part, error)
    for log in sorted(folder.glob(f"*{LOG_ENDING}")):
        try:
            made.append(_finish_poses(log))
        except (CohortposeError, OSError) as error:
            logger.warning("%s: poses stay in the log: %s", log, error)
    return made


def _name_part(part: Path) -> Path:
    return part.with_name(part.name.removesuffix(VIDEO_ENDING) + ".mp4")


def _finish_video(part: Path, target: Path) -> bool:
    """Make a video of a part; return whether it holds a picture, before which it may be killed."""
    if not part.stat().st_size:
        return False
    with av.open(str(part)) as source:
        if all(packet.pts is None for packet in source.demux(video=0)):
            return False
    with publish_file(target) as made:
        join_parts(made, [(part, 0)], "cohortpose live")
    return True


@dataclass(frozen=True, eq=False)
class Rows:
    """Place the frames of a take in rows, as readers of its video count them.

    A camera that lost frames leaves gaps in the times of a video, and `VideoReader` counts what is
    missing there as frames.

    Attributes
    ----------
    place
        Shape (frame,), int64: row of each frame of the log.
    time
        Shape (row,), float64: seconds after the first frame.
    """

    place: NDArray[np.int64]
    time: NDArray[np.float64]


def place_rows(taken: TakeLog, video: Path) -> Rows:
    """Return the rows of the frames of a take.

    Parameters
    ----------
    taken
        What the log of the take tells.
    video
        Its video; without one, every frame of the log is the next row. A killed take may have a
        few frames more in its log, which are then the last rows.
    """
    captured = np.array([frame.captured for frame in taken.frames])
    time = np.maximum.accumulate(captured - captured[0])
    place = np.arange(len(time))
    if video.is_file():
        try:
            with VideoReader(video) as reader:
                index = reader.index
        except VideoError as error:
            logger.warning("%s: %s", video, error)
            return Rows(place, time)
        there = np.flatnonzero(~index.missing)[: len(time)]
        more = np.arange(len(time) - len(there))
        place = np.concatenate([there, len(index.times) + more])
        rows = np.concatenate([index.times, np.zeros(len(more))])
        rows[place] = time
        return Rows(place, np.maximum.accumulate(rows))
    return Rows(place, time)


def _finish_poses(log: Path) -> Path:
    base = log.with_name(log.name.removesuffix(LOG_ENDING))
    taken = read_log(log)
    if not taken.frames:
        raise StoreError(f"{log}: holds no frame")
    if taken.damaged:
        logger.warning("%s: %d bytes were not whole records, left out", log, taken.damaged)
    rows = place_rows(taken, base.with_name(f"{base.name}.mp4"))
    path = base.with_name(f"{base.name}.zarr.zip")
    write_poses(path, make_poses(taken, rows, base.name))
    publish_text(base.with_name(f"{base.name}.times.tsv"), _format_times(taken, rows))
    log.unlink()
    return path


def make_poses(taken: TakeLog, rows: Rows, video: str) -> Poses:
    """Return the poses of a take.

    Frames that were dropped because a newer one had come, and those that the camera lost, have the
    status `MISSING`.

    Parameters
    ----------
    taken
        What the log of the take tells.
    rows
        Where its frames are.
    video
        Name of the video.
    """
    head, frames = taken.head, taken.frames
    shape = len(rows.time), len(head.individuals), len(head.bodyparts)
    position = np.full((*shape, 2), np.nan, np.float32)
    confidence = np.full(shape, np.nan, np.float32)
    status = np.full(len(rows.time), FrameStatus.MISSING, np.uint8)
    for place, frame in zip(rows.place, frames, strict=True):
        poses = taken.poses.get(frame.row)
        if poses is not None:
            position[place], confidence[place] = poses.position, poses.confidence
            status[place] = FrameStatus.DECODED
    steps = np.diff(rows.time)
    fps = 1.0 / float(np.median(steps)) if len(steps) and np.median(steps) > 0 else 0.0
    attributes = {
        "video": video,
        "fps": fps,
        "width": head.size[1],
        "height": head.size[0],
        "live": {
            "camera": head.camera,
            "take": head.take,
            "first_frame": head.first_row,
            "network": head.network,
            "started": head.started,
            # Seconds from that moment to the first frame.
            "begins": frames[0].captured - head.clock,
            "captured": len(frames),
            "dropped": len(frames) - int((status == FrameStatus.DECODED).sum()),
            "repeated": sum(frame.repeated for frame in frames),
            **head.settings,
        },
    }
    names = head.bodyparts, head.individuals
    return Poses(position, confidence, status, rows.time, *names, attributes)


def _format_times(taken: TakeLog, rows: Rows) -> str:
    lines = ["\t".join(TIME_COLUMNS)]
    frames = dict(zip(rows.place.tolist(), taken.frames, strict=True))
    first = taken.frames[0].captured - taken.head.clock
    for row, time in enumerate(rows.time.tolist()):
        frame = frames.get(row)
        if frame is None:
            nothing = ["nan"] * (3 + len(PARTS))
            cells = ["", "", "nan", *nothing, "", "missing", f"{first + time:.6f}"]
        else:
            cells = _format_frame(frame, taken.poses.get(frame.row), taken.head.clock)
        lines.append("\t".join([str(row), *cells]))
    return "\n".join(lines) + "\n"


def _format_frame(frame: FrameRecord, poses: PoseRecord | None, clock: float) -> list[str]:
    cells = [str(frame.row), str(frame.number), f"{frame.stamp:.6f}"]
    if poses is None:
        cells += ["nan"] * (3 + len(PARTS)) + ["", "dropped"]
    else:
        window = "" if poses.window is None else ",".join(map(str, poses.window))
        cells += [f"{poses.triggered - clock:.6f}", f"{poses.done - clock:.6f}"]
        cells.append(f"{1000 * (poses.done - frame.captured):.3f}")
        cells += [f"{1000 * part:.3f}" for part in poses.parts]
        cells += [window, "lost" if poses.lost else "seen"]
    return [*cells, f"{frame.captured - clock:.6f}"]
