"""What is exported of one video: its poses, block by block, and what else other tools ask for."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipeline_lib.core.poses import Poses
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.exports.session import Session
from pipeline_lib.io.poses.read import read_poses, read_times

# What is held at a time, so that memory stays flat however long the video is: so many frames, or
# fewer of many points.
BLOCK_FRAMES = 2**16
BLOCK_POINTS = 2**21

# Folders with one folder for each user.
_OF_USERS = {"home", "homes", "people", "scratch", "user", "users"}


@dataclass(frozen=True)
class ExportSource:
    """Poses of one video and what other tools ask for besides.

    Attributes
    ----------
    poses
        The pose file.
    scorer
        Who found them, as other tools name it.
    skeleton
        Its edges, symmetries and unique bodyparts; of other bodyparts than the poses' if need be.
    key
        Hash of what the exported file depends on.
    video
        How the exported file names the video, which need not be there; see `name_video`.
    width, height
        Of a frame, in px; 0: not known.
    session
        When and of whom the video was taken.
    """

    poses: Path
    scorer: str
    skeleton: Skeleton
    key: str = ""
    video: Path = Path()
    width: int = 0
    height: int = 0
    session: Session = field(default_factory=Session)

    @cached_property
    def head(self) -> Poses:
        """The poses of no frame: names and attributes."""
        return read_poses(self.poses, 0, 0)

    @cached_property
    def frames(self) -> int:
        """How many frames the video has."""
        return len(read_times(self.poses))

    @property
    def fps(self) -> float:
        """Mean frames per second; 0: not known."""
        return float(self.head.attributes.get("fps") or 0)

    @property
    def tracks(self) -> tuple[str, ...]:
        """Names of the individuals, if each has its place throughout; none of a single one."""
        tracked = self.head.track_status is not None
        return self.head.individuals if tracked and len(self.head.individuals) > 1 else ()

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Edges as pairs of positions on the keypoint axis of the poses."""
        return self._locate(self.skeleton.edges)

    @property
    def symmetries(self) -> tuple[tuple[int, int], ...]:
        """Symmetries as pairs of positions on the keypoint axis of the poses."""
        return self._locate(self.skeleton.symmetries)

    def read_blocks(self) -> Iterator[Poses]:
        """Yield the poses of consecutive frames; of a video without a frame, one empty block."""
        points = len(self.head.bodyparts) * len(self.head.individuals)
        count = max(1, min(BLOCK_FRAMES, BLOCK_POINTS // max(1, points)))
        for start in range(0, max(1, self.frames), count):
            yield read_poses(self.poses, start, start + count)

    def _locate(self, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[int, int], ...]:
        names = self.head.bodyparts
        known = [pair for pair in pairs if pair[0] in names and pair[1] in names]
        return tuple((names.index(first), names.index(second)) for first, second in known)


def name_video(video: Path, folder: Path) -> Path:
    """Return how a file in a folder names a video without telling whose it is.

    Parameters
    ----------
    video
        The video file.
    folder
        Of the exported file.

    Returns
    -------
    Path
        Relative to the folder. Only the name of the video, where the two have no folder in common
        but the root or where the way there leads through somebody's home: the relative path would
        then be the absolute one in disguise.
    """
    # A folder that is a link has another parent to those who follow the path.
    there, here = Path(os.path.abspath(video)), folder.resolve()  # noqa: PTH100
    if there.anchor != here.anchor:
        return Path(there.name)
    common = Path(os.path.commonpath([there, here]))
    way = (common.name, *there.relative_to(common).parent.parts)
    private = any(name.lower() in _OF_USERS for name in way[:-1])
    if private or common == Path(common.anchor):
        return Path(there.name)
    return Path(os.path.relpath(there, here))


def spell_path(path: Path) -> Path:
    """Return a path as a text that every format holds: bytes that are no UTF-8 become U+FFFD."""
    return Path(os.fsencode(path).decode("utf-8", "replace"))
