"""Write labelled frames of videos, or of a label file that holds them, once as images."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError, StoreError, VideoError
from pipeline_lib.io.image_header import describe_stored, read_header
from pipeline_lib.io.images import read_image, write_png
from pipeline_lib.io.publish import publish_folder
from pipeline_lib.io.video.reader import VideoReader

Image = NDArray[np.uint8]
FrameReader = Callable[[Sequence[int]], Iterator[tuple[int, Image]]]

_VERSION = 3  # every column of frames 1,080 px wide is written
_RECORD = "images.json"
# Frames that are nearer to each other than this are read in one go: a seek costs about as much.
_NEAR = 16


@dataclass(frozen=True)
class LabelledVideo:
    """Describe the labelled frames of one video.

    Attributes
    ----------
    name
        Folder of its images; unique in its source.
    files
        Where the frames come from: when one of them changes, the images are written anew.
    frames
        Labelled frames, 0-based, in order, each once.
    read
        Yields these frames as RGB images, shape (height, width, 3), uint8. Raises `VideoError` or
        `StoreError`.
    """

    name: str
    files: tuple[Path, ...]
    frames: tuple[int, ...]
    read: FrameReader


def image_path(folder: Path, video: str, frame: int) -> Path:
    """Return where `write_label_images` writes a frame."""
    return folder / video / f"frame-{frame:07d}.png"


def write_label_images(folder: Path, videos: Sequence[LabelledVideo]) -> None:
    """Publish all labelled frames of a source as PNG, whole or not at all.

    Where the same frames of the same files were written before, nothing is read or written.

    Parameters
    ----------
    folder
        Of the source's images alone; what it held is replaced.
    videos
        With their frames.

    Raises
    ------
    LabelError
        With every video that cannot be read.
    """
    record = json.dumps({"version": _VERSION, "videos": [_describe(one) for one in videos]})
    if _is_written(folder, videos, record):
        return
    problems = []
    with publish_folder(folder) as part:
        for video in videos:
            (part / video.name).mkdir()
            try:
                for frame, image in video.read(video.frames):
                    write_png(image_path(part, video.name, frame), image)
            except (VideoError, StoreError) as error:
                problems.append(f"video {video.name}: {error}")
        if problems:
            raise LabelError("labelled frames", problems)
        (part / _RECORD).write_text(record, encoding="utf-8")


def read_video_frames(path: Path, size: tuple[int, int] | None = None) -> FrameReader:
    """Return the reader of a video file's frames.

    Parameters
    ----------
    path
        The video.
    size
        Width and height in px that it must have; None: any.
    """

    def read(frames: Sequence[int]) -> Iterator[tuple[int, Image]]:
        reader = VideoReader(path)
        facts = reader.facts
        if size is not None and (facts.width, facts.height) != size:
            raise VideoError(
                f"{path} is {facts.width} x {facts.height} px, but the labels are of a video of "
                f"{size[0]} x {size[1]} px: it is another video"
            )
        if frames[-1] >= facts.frames:
            raise VideoError(
                f"frame {frames[-1]} is labelled, but {path} has {facts.frames} frames: it is "
                "another video, or was cut"
            )
        _refuse_beyond_gap(path, reader.index.missing, frames[-1])
        for run in split_runs(frames):
            wanted = set(run)
            for frame, image in reader.read(run[0], run[-1] + 1):
                if frame not in wanted:
                    continue
                if image is None:
                    raise VideoError(
                        f"{path}: frame {frame} is labelled, but cannot be decoded; remove its "
                        "label"
                    )
                yield frame, image

    return read


def _refuse_beyond_gap(path: Path, missing: NDArray[np.bool_], last: int) -> None:
    """Raise `VideoError` if a frame behind a gap is labelled.

    Other tools number the frames that are there; our rows include those that are missing.
    Which picture such a label is of depends on the tool that showed it.
    """
    gaps = np.flatnonzero(missing[: last + 1])
    if len(gaps):
        raise VideoError(
            f"{path}: frame {last} is labelled, but the file lacks {len(gaps)} frames before it "
            f"(frame {gaps[0]} first), and tools do not number frames alike behind a gap: save the "
            "labels with their images (SLEAP: a `.pkg.slp` file), or remove those behind the gap"
        )


def read_image_files(files: Sequence[Path], size: tuple[int, int] | None = None) -> FrameReader:
    """Return the reader of frames that are an image file each, upright.

    Parameters
    ----------
    files
        One for each frame.
    size
        Width and height in px of what was labelled, if that is known: an image that has this
        size only as it is stored, not upright, is refused.
    """

    def read(frames: Sequence[int]) -> Iterator[tuple[int, Image]]:
        for frame in frames:
            if frame >= len(files):
                raise VideoError(f"frame {frame} is labelled, but there are {len(files)} images")
            header = read_header(files[frame])
            if header.stored == size != header.upright:
                raise VideoError(f"{files[frame]}: {describe_stored(header)}")
            yield frame, read_image(files[frame])

    return read


def split_runs(frames: Iterable[int]) -> Iterator[list[int]]:
    """Divide frames, in order, into runs that are read in one go."""
    run: list[int] = []
    for frame in frames:
        if run and frame - run[-1] > _NEAR:
            yield run
            run = []
        run.append(frame)
    if run:
        yield run


def _describe(video: LabelledVideo) -> dict[str, object]:
    # Without folders: a project that was moved or copied keeps its images.
    stats = [(file.name, file.stat()) for file in video.files]
    return {
        "name": video.name,
        "frames": list(video.frames),
        "files": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats],
    }


def _is_written(folder: Path, videos: Sequence[LabelledVideo], record: str) -> bool:
    file = folder / _RECORD
    if not file.is_file() or file.read_bytes() != record.encode():
        return False
    images = ((video.name, frame) for video in videos for frame in video.frames)
    return all(image_path(folder, *image).is_file() for image in images)
