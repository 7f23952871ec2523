"""Write the corrected frames of the cohort's videos once as images."""

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline_lib.core.errors import StoreError, VideoError
from pipeline_lib.io.checksums import measure_file
from pipeline_lib.io.images import write_png
from pipeline_lib.io.labels.images import image_path, split_runs
from pipeline_lib.io.publish import publish_file, publish_text
from pipeline_lib.io.video.reader import VideoReader

FOLDER = "corrections"
_RECORD = "video.json"
_VERSION = 1


def write_corrected_frames(
    images: Path, video: str, path: Path, frames: Iterable[int]
) -> tuple[dict[int, Path], dict[int, str]]:
    """Write frames of one video as PNG; those that stand there already are not read again.

    Frames are counted as in pose files: a frame that the file lacks has its number.

    Parameters
    ----------
    images
        Folder of the images of corrected frames.
    video
        Id of the video in the sheet: the folder of its images.
    path
        The video. When it changes, its images are written anew.
    frames
        0-based; images of other frames are removed.

    Returns
    -------
    written
        Image of each frame.
    gone
        Why there is none, by frame.
    """
    wanted = sorted(set(frames))
    folder = (images / video).absolute()
    size, modified = measure_file(path)
    record = json.dumps({"version": _VERSION, "video": [path.name, size, modified]})
    file = folder / _RECORD
    if not file.is_file() or file.read_bytes() != record.encode():
        shutil.rmtree(folder, ignore_errors=True)
    targets = {frame: image_path(images.absolute(), video, frame) for frame in wanted}
    _remove_others(folder, targets.values())
    missing = [frame for frame, target in targets.items() if not target.is_file()]
    gone = _write_frames(path, missing, targets) if missing else {}
    if len(gone) < len(wanted):
        publish_text(file, record)
    return {frame: target for frame, target in targets.items() if frame not in gone}, gone


def _remove_others(folder: Path, kept: Iterable[Path]) -> None:
    known = set(kept)
    for image in folder.glob("*.png"):
        if image not in known:
            image.unlink()


def _write_frames(path: Path, frames: Sequence[int], targets: dict[int, Path]) -> dict[int, str]:
    """Write frames, in order; return why some could not be."""
    try:
        reader = VideoReader(path)
        count = reader.facts.frames
    except (VideoError, StoreError, OSError) as error:
        return dict.fromkeys(frames, f"its video cannot be read: {error}")
    gone = {frame: f"its video has {count} frames" for frame in frames if frame >= count}
    for run in split_runs(frame for frame in frames if frame < count):
        wanted = set(run)
        try:
            for frame, image in reader.read(run[0], run[-1] + 1):
                if frame not in wanted:
                    continue
                if image is None:
                    gone[frame] = "the video's frame cannot be decoded"
                    continue
                with publish_file(targets[frame]) as part:
                    write_png(part, image)
        except (VideoError, StoreError) as error:
            left = [frame for frame in run if not targets[frame].is_file() and frame not in gone]
            gone |= dict.fromkeys(left, f"its video cannot be read: {error}")
    return gone
