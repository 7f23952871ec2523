"""Draw the poses of a part of a video; frame i of the output shows the pose of frame i."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.video.codecs.canvas import Canvas
from pipeline_lib.io.video.codecs.colours import ColourTags
from pipeline_lib.io.video.encode import CLOCK, encode_frames
from pipeline_lib.io.video.reader import VideoIndex, VideoReader
from pipeline_lib.kernels.drawing.poses import (
    Palette,
    Style,
    draw_poses,
    draw_trails,
    find_regions,
    mark_missing,
)
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
        Quantiser of H.264.
    tags
        How the planes of its pictures are meant.
    """

    video: Path
    index: VideoIndex
    poses: Path
    start: int
    stop: int
    trail: int
    style: Style
    quality: int
    tags: ColourTags


def draw_segment(segment: Segment, path: Path) -> int:
    """Write a part of a video with its poses; return when it begins, in ticks of `CLOCK`.

    The part itself begins at 0: MP4 keeps a later beginning to the millisecond only.
    """
    facts = segment.index.facts
    # H.264 takes even sizes only.
    size = facts.width + facts.width % 2, facts.height + facts.height % 2
    ticks = count_ticks(segment.index.times)[segment.start : segment.stop]
    pictures = _draw_frames(segment, size)
    frames = (
        (int(tick - ticks[0]), picture) for tick, picture in zip(ticks, pictures, strict=True)
    )
    encode_frames(path, frames, segment.quality, facts.fps, segment.tags)
    return int(ticks[0])


def _draw_frames(segment: Segment, size: tuple[int, int]) -> Iterator[Canvas]:
    first = max(0, segment.start - segment.trail)
    poses = read_poses(segment.poses, first, segment.stop)
    centre, _ = find_centre(poses.position)
    tags = segment.tags
    palette = Palette.mix(tags.weights, full_range=tags.full_range)
    style = replace(segment.style, palette=palette)
    trail = segment.trail
    regions = find_regions(poses.position, centre, trail, style, size)
    reader = VideoReader(segment.video, index=segment.index)
    canvas = Canvas(size)
    for frame, picture in reader.read_pictures(segment.start, segment.stop):
        if picture is not None:
            canvas.show(picture.read_planes())
        else:
            with canvas.open_part((0, size[0], 0, size[1])) as planes:
                mark_missing(planes, f"frame {frame}: not decoded", palette)
        at = frame - first
        region = regions[at]
        if region is not None:
            with canvas.open_part(region) as planes:
                if trail:
                    draw_trails(planes, centre[max(0, at - trail) : at + 1], style)
                draw_poses(planes, poses.position[at], poses.confidence[at], style)
        yield canvas


def count_ticks(times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the time of each frame in ticks from the first; each later than the one before."""
    ticks = np.round((times - times[0]) * CLOCK).astype(np.int64)
    numbers = np.arange(len(ticks))
    return np.maximum.accumulate(ticks - numbers) + numbers
