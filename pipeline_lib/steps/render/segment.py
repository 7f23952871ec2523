"""Draw the poses of a part of a video; frame i of the output shows the pose of frame i."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.video.encode import CLOCK, encode_frames
from pipeline_lib.io.video.reader import VideoIndex, VideoReader
from pipeline_lib.kernels.drawing.poses import Style, draw_poses, draw_trails, mark_missing
from pipeline_lib.kernels.kinematics.measures import find_centre


@dataclass(frozen=True)
class Segment:
    """Describe a part of a video to draw.

    Attributes
    ----------
    video, index
        The file, and which packet shows when.
    poses
        The pose file.
    start, stop
        First frame, and the one after the last.
    trail
        Frames of the trails.
    style
        How poses are drawn.
    quality
        Constant rate factor.
    """

    video: Path
    index: VideoIndex
    poses: Path
    start: int
    stop: int
    trail: int
    style: Style
    quality: int


def draw_segment(segment: Segment, path: Path) -> int:
    """Write a part of a video with its poses; return when it begins, in ticks of `CLOCK`.

    The part itself begins at 0: MP4 keeps a later beginning to the millisecond only.
    """
    facts = segment.index.facts
    size = facts.width + facts.width % 2, facts.height + facts.height % 2
    ticks = count_ticks(segment.index.times)[segment.start : segment.stop]
    images = _draw_frames(segment, size)
    frames = ((int(tick - ticks[0]), image) for tick, image in zip(ticks, images, strict=True))
    encode_frames(path, frames, size, segment.quality, facts.fps)
    return int(ticks[0])


def _draw_frames(segment: Segment, size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    first = max(0, segment.start - segment.trail)
    poses = read_poses(segment.poses, first, segment.stop)
    centre, _ = find_centre(poses.position)
    facts = segment.index.facts
    reader = VideoReader(segment.video, index=segment.index)
    for frame, picture in reader.read(segment.start, segment.stop):
        image = picture
        # H.264 takes even sizes only.
        if image is None or (facts.width, facts.height) != size or not image.flags.writeable:
            image = np.zeros((size[1], size[0], 3), np.uint8)
            if picture is not None:
                image[: facts.height, : facts.width] = picture
        if picture is None:
            mark_missing(image, f"frame {frame}: not decoded")
        at = frame - first
        if segment.trail:
            draw_trails(image, centre[max(0, at - segment.trail) : at + 1], segment.style.radius)
        draw_poses(image, poses.position[at], poses.confidence[at], segment.style)
        yield image


def count_ticks(times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the time of each frame in ticks from the first; each later than the one before."""
    ticks = np.round((times - times[0]) * CLOCK).astype(np.int64)
    numbers = np.arange(len(ticks))
    return np.maximum.accumulate(ticks - numbers) + numbers
