"""Find the frames that somebody has corrected, so that nobody is asked about them again."""

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.core.settings.run import Config
from pipeline_lib.io.corrections.labels import FrameCorrection, read_label_corrections


@dataclass(frozen=True)
class CorrectedFrames:
    """Hold the frames with a correction of any author.

    Attributes
    ----------
    frames
        Frames of each video by the name that corrections have for it, of all iterations.
    later_frames, later_images
        Frames (video, frame) and paths of images whose newest correction belongs to an iteration
        after the trained one: the imported labels are older.
    """

    frames: Mapping[str, frozenset[int]]
    later_frames: frozenset[tuple[str, int]]
    later_images: frozenset[str]

    def is_outdated(self, image: str, videos: tuple[str, ...], frame: int) -> bool:
        """Tell whether the imported label of an image is older than its newest correction.

        Parameters
        ----------
        image
            Its path.
        videos
            Names of the video that it may be a frame of.
        frame
            0-based; negative: of no video.
        """
        if os.path.realpath(image) in self.later_images:
            return True
        return frame >= 0 and any((video, frame) in self.later_frames for video in videos)


def read_corrected_frames(config: Config) -> CorrectedFrames:
    """Read the corrections of all authors and iterations.

    Raises
    ------
    LabelError
        With every problem of the tables, by file and line.
    """
    frames: dict[str, set[int]] = defaultdict(set)
    newest: dict[tuple[str, int, str], FrameCorrection] = {}
    for one in read_label_corrections(Path(config.corrections.path)):
        if one.frame >= 0:
            frames[one.video].add(one.frame)
        if one.key not in newest or one.time > newest[one.key].time:
            newest[one.key] = one
    later = [one for one in newest.values() if one.iteration > config.training.iteration]
    return CorrectedFrames(
        {video: frozenset(some) for video, some in frames.items()},
        frozenset((one.video, one.frame) for one in later if not one.image),
        frozenset(os.path.realpath(one.image) for one in later if one.image),
    )
