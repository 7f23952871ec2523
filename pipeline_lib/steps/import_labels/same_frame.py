"""Tell whether an image of a label source is the frame of a video that it seems to be by its name.

Names alone do not decide: every rig has an ``m1``. A correction must never land on an image of
another recording, so size and picture are compared wherever no file is known to be the same.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError, VideoError
from pipeline_lib.io.image_header import read_header
from pipeline_lib.io.images import read_image
from pipeline_lib.io.video.reader import VideoReader

_log = logging.getLogger(__name__)

_LONG_SIDE = 32  # px of the thumbnails
# Gray levels of 255. Compression changes a thumbnail by up to 12, the next frame of a video by
# about 5. An animal that is elsewhere changes where it was and where it is by most of its contrast:
# 70 and more in real videos, 170 between two recordings of one rig.
_MOST_LOCAL = 48.0
_MOST_MEAN = 64.0
# Range of brightness ("full" or "limited") and exposure differ between tools that write frames.
_GAINS = (0.6, 1.7)
_OTHER_SCENE = "it shows something else than the video's frame"


def differ_in_size(image: Path, size: tuple[int, int]) -> str:
    """Return why an image is no frame of a video of a size, upright, in px; empty if it may be.

    An image that cannot be read, and an unknown size (0), tell nothing.
    """
    if not all(size):
        return ""
    try:
        width, height = read_header(image).upright
    except StoreError:
        return ""
    if (width, height) == tuple(size):
        return ""
    return f"it has {width} x {height} px, the video {size[0]} x {size[1]} px"


def differ_in_picture(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Tell whether two images of one size surely show different scenes.

    Gray thumbnails are compared after brightness and contrast of one are fitted to the other.
    The threshold is generous: PNG, JPEG and encoding anew do not matter, nor do frames within
    which nothing moves. An animal that is elsewhere does.

    Parameters
    ----------
    one, other
        Shape (height, width, 3), uint8, RGB.
    """
    a, b = _shrink(one), _shrink(other)
    if abs(a.mean() - b.mean()) > _MOST_MEAN:
        return True
    spread = float(a.var())
    gain = float(((a - a.mean()) * (b - b.mean())).mean()) / spread if spread > 1 else 1.0
    fitted = (a - a.mean()) * np.clip(gain, *_GAINS) + b.mean()
    return bool(np.abs(fitted - b).max() > _MOST_LOCAL)


def _shrink(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return a gray thumbnail, each value the mean of the pixels below it."""
    height, width = image.shape[:2]
    scale = min(1.0, _LONG_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.float64)


def _read_frame(reader: VideoReader, frame: int) -> NDArray[np.uint8] | None:
    return next((picture for _, picture in reader.read(frame, frame + 1)), None)


class FrameComparer:
    """Compare images of label sources with frames of the cohort's videos, each once.

    Parameters
    ----------
    videos
        Paths of the cohort's videos, by id.
    """

    def __init__(self, videos: Mapping[str, Path]) -> None:
        self._videos = videos
        self._readers: dict[str, VideoReader | None] = {}
        self._others: dict[Path, VideoReader | None] = {}
        self._found: dict[tuple[str, str, int], str] = {}

    def find_difference(self, image: str, video: str, frame: int) -> str:
        """Return why an image is not that frame of a video; empty if it is, or nobody can tell."""
        key = (image, video, frame)
        if key not in self._found:
            self._found[key] = self._compare(Path(image), video, frame)
        return self._found[key]

    def find_other_video(self, recorded: Path, video: str, frame: int) -> str:
        """Return why a frame of another file is not that frame of a video of the cohort.

        Empty if it is, if both are one file, or if the other file cannot be read here.
        """
        reader = self._open(video)
        if reader is None or os.path.realpath(recorded) == os.path.realpath(self._videos[video]):
            return ""
        try:
            other = self._others.setdefault(recorded, None) or VideoReader(recorded)
            self._others[recorded] = other
            pictures = [_read_frame(one, frame) for one in (other, reader)]
        except (StoreError, VideoError, OSError):
            return ""
        one, own = pictures
        if one is None or own is None:
            return ""
        if one.shape != own.shape:
            sizes = (f"{picture.shape[1]} x {picture.shape[0]} px" for picture in (one, own))
            return "it has {}, the video {}".format(*sizes)
        return _OTHER_SCENE if differ_in_picture(one, own) else ""

    def differ_in_size(self, image: str, video: str) -> bool:
        """Tell whether an image has surely another size than a video."""
        reader = self._open(video)
        facts = reader.facts if reader is not None else None
        return bool(facts and differ_in_size(Path(image), (facts.width, facts.height)))

    def _compare(self, image: Path, video: str, frame: int) -> str:
        reader = self._open(video)
        if reader is None:
            return ""
        facts = reader.facts
        if found := differ_in_size(image, (facts.width, facts.height)):
            return found
        if frame >= facts.frames:
            return f"the video has {facts.frames} frames"
        try:
            shown = _read_frame(reader, frame)
            if shown is not None and differ_in_picture(read_image(image), shown):
                return _OTHER_SCENE
        except (StoreError, VideoError) as error:
            _log.warning("%s cannot be compared with %s, frame %d: %s", image, video, frame, error)
        return ""

    def _open(self, video: str) -> VideoReader | None:
        if video not in self._readers:
            try:
                self._readers[video] = VideoReader(self._videos[video])
            except (VideoError, StoreError, OSError) as error:
                _log.warning(
                    "images of label sources are taken for frames of %s by their names alone: %s",
                    *(video, error),
                )
                self._readers[video] = None
        return self._readers[video]
