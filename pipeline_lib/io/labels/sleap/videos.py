"""Locate the videos of a SLEAP file, and read their frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

import numpy as np

from pipeline_lib.core.errors import VideoError
from pipeline_lib.core.untrusted.names import clean_part, fold_name
from pipeline_lib.io.foreign.hdf5 import open_hdf5
from pipeline_lib.io.labels.images import (
    FrameReader,
    Image,
    read_image_files,
    read_video_frames,
)
from pipeline_lib.io.labels.sleap.links import HDF5_FILES, OTHER_FILES, FileLink, link_files

if TYPE_CHECKING:
    import sleap_io


@dataclass(frozen=True)
class SleapVideo:
    """Describe one video of a SLEAP file.

    Attributes
    ----------
    name
        File name without suffix; unique in the file.
    files
        The video, the images that it consists of, or the SLEAP file where that holds its frames;
        empty where it was not found.
    recorded
        Its path as the file has it.
    source
        The recording: the video itself or, of embedded frames, the one they come from; None where
        it was not found.
    read
        Reads its frames; None where it was not found.
    problem
        Why it was not taken though there is a file for it; empty where there is none.
    images
        Recorded paths of the images that it consists, or consisted, of; empty for a video file.
    size
        Recorded width and height in px; None where they are not recorded.
    count
        Recorded number of frames of the recording; None where it is not recorded.
    """

    name: str
    files: tuple[Path, ...]
    recorded: str
    source: Path | None
    read: FrameReader | None
    problem: str = ""
    images: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    count: int | None = None


def name_videos(path: Path, videos: Sequence["sleap_io.Video"]) -> Iterator[SleapVideo]:
    """Find the videos of a SLEAP file, and give each a name of its own.

    A file is that of one video only, and an image of one place in one list: see
    `pipeline_lib.io.labels.sleap.links.link_files`.

    Parameters
    ----------
    path
        The SLEAP file.
    videos
        As it lists them; none has to be there.
    """
    videos = list(videos)
    recorded = [_recorded_files(path, video) for video in videos]
    linked = iter(link_files([file for files in recorded for file in files], path.parent))
    taken: set[str] = set()
    for number, (video, files) in enumerate(zip(videos, recorded, strict=True)):
        found = _find_video(path, video, list(islice(linked, len(files))))
        stem = clean_part(PureWindowsPath(found.recorded).stem, f"video{number}")
        name, count = stem, 1
        # Names that differ in case or encoding only are the same folder on some systems.
        while fold_name(name) in taken:
            count += 1
            name = f"{stem}-{count}"
        taken.add(fold_name(name))
        yield replace(
            found,
            name=name,
            images=_list_images(path, video),
            size=_find_size(video),
            count=_find_count(path, video),
        )


def _recorded_files(path: Path, video: "sleap_io.Video") -> list[str]:
    """Return the files that a video was when the labels were made: one, or those of its images."""
    if _holds_frames(path, video):
        original = video.original_video
        return [_recorded_path(original)] if original is not None else []
    if isinstance(video.filename, list):
        return [str(file) for file in video.filename]
    return [str(video.filename)]


def _list_images(path: Path, video: "sleap_io.Video") -> tuple[str, ...]:
    original = video.original_video if _holds_frames(path, video) else video
    files = original.filename if original is not None else ""
    return tuple(map(str, files)) if isinstance(files, list) else ()


def _find_video(path: Path, video: "sleap_io.Video", links: Sequence[FileLink]) -> SleapVideo:
    recorded = _recorded_path(video)
    if _holds_frames(path, video):
        original = video.original_video
        recorded = _recorded_path(original) if original is not None else ""
        source = links[0].path if links else None
        return SleapVideo("", (path,), recorded, source, _read_by_library(video, path))
    found = tuple(link.path for link in links if link.path is not None)
    if not found or len(found) < len(links):
        problem = next((link.problem for link in links if link.problem), "")
        return SleapVideo("", (), recorded, None, None, problem)
    size = _find_size(video)
    if isinstance(video.filename, list):
        return SleapVideo("", found, recorded, None, read_image_files(found, size))
    file = found[0]
    if file.suffix.lower() in OTHER_FILES:
        return SleapVideo("", (file,), recorded, file, _read_by_library(video, file))
    return SleapVideo("", (file,), recorded, file, read_video_frames(file, size))


def _recorded_path(video: "sleap_io.Video") -> str:
    """Return the path of a video as recorded; of images, that of their folder."""
    if isinstance(video.filename, list):
        return str(PureWindowsPath(str(video.filename[0])).parent)
    return str(video.filename)


def _holds_frames(path: Path, video: "sleap_io.Video") -> bool:
    """Tell whether the SLEAP file itself holds the frames of a video."""
    return isinstance(video.filename, str) and Path(video.filename) == path


def _find_size(video: "sleap_io.Video") -> tuple[int, int] | None:
    """Return the recorded width and height of a video; None where they are not recorded."""
    shape = video.backend_metadata.get("source_shape") or video.backend_metadata.get("shape")
    return (int(shape[2]), int(shape[1])) if shape and len(shape) == 4 else None


def _find_count(path: Path, video: "sleap_io.Video") -> int | None:
    """Return the recorded number of frames of the recording, not of the embedded frames."""
    recording = video.original_video if _holds_frames(path, video) else video
    shape = recording.backend_metadata.get("shape") if recording is not None else None
    if not shape or len(shape) != 4 or not isinstance(shape[0], int):
        return None
    return shape[0]


def _read_by_library(video: "sleap_io.Video", file: Path) -> FrameReader:
    def read(frames: Sequence[int]) -> Iterator[tuple[int, Image]]:
        if file.suffix.lower() in HDF5_FILES:
            with open_hdf5(file):
                pass
        try:
            video.open(filename=str(file))
            for frame in frames:
                image = np.asarray(video[frame])
                if image.dtype != np.uint8:
                    raise VideoError(f"frame {frame} of {file} is {image.dtype}, expected uint8")
                colours = image if image.ndim == 3 else image[..., None]
                yield frame, np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3)))
        # Frames that are not there, or damaged, fail inside HDF5, OpenCV or NumPy in many ways.
        except (OSError, ValueError, IndexError, KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise VideoError(f"{file}: frames cannot be read: {reason}") from error
        finally:
            video.close()

    return read


def find_corner(path: Path, video: "sleap_io.Video") -> tuple[int, int]:
    """Return x, y in the frame of the pixel that points are counted from.

    That is another one than the first where the labels are of a region of the video. Embedded
    frames are cut to the region already.
    """
    region = video.backend_metadata.get("crop")
    inside = _holds_frames(path, video)
    return (int(region[0]), int(region[1])) if region and not inside else (0, 0)
