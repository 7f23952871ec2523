"""Read the poses of one video for export, block by block, with the metadata other tools need."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipeline_lib.core.poses import Poses
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.exports.session import Session
from pipeline_lib.io.poses.read import read_poses, read_times

# Frames held at a time, so that memory stays flat however long the video is; fewer if they have
# many points.
BLOCK_FRAMES = 2**16
BLOCK_POINTS = 2**21

# Folders with one folder for each user.
_OF_USERS = {"home", "homes", "people", "scratch", "user", "users"}


@dataclass(frozen=True)
class ExportSource:
    """Hold the poses of one video and the metadata that other tools need.

    Attributes
    ----------
    poses
        The pose file.
    scorer
        Name of the network or person that located the keypoints.
    skeleton
        Edges, symmetries and unique bodyparts; it may name bodyparts that the poses lack.
    key
        Hash of what the exported file depends on.
    video
        Path of the video as the exported file gives it; see `name_video`. No file needs to be
        there.
    width, height
        Size of a frame in px; 0 if unknown.
    session
        Time and subject of the recording.
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
        """Return the poses of no frame: names and attributes."""
        return read_poses(self.poses, 0, 0)

    @cached_property
    def frames(self) -> int:
        """Return the number of frames."""
        return len(read_times(self.poses))

    @property
    def fps(self) -> float:
        """Return the mean frame rate in frames per second; 0 if unknown."""
        return float(self.head.attributes.get("fps") or 0)

    @property
    def tracks(self) -> tuple[str, ...]:
        """Return the names of the tracks; empty for a single or an untracked individual."""
        tracked = self.head.track_status is not None
        return self.head.individuals if tracked and len(self.head.individuals) > 1 else ()

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Return the edges as pairs of positions on the keypoint axis of the poses."""
        return self._locate(self.skeleton.edges)

    @property
    def symmetries(self) -> tuple[tuple[int, int], ...]:
        """Return the symmetries as pairs of positions on the keypoint axis of the poses."""
        return self._locate(self.skeleton.symmetries)

    def read_blocks(self) -> Iterator[Poses]:
        """Yield the poses of consecutive frames; one empty block if the video has no frame."""
        points = len(self.head.bodyparts) * len(self.head.individuals)
        count = max(1, min(BLOCK_FRAMES, BLOCK_POINTS // max(1, points)))
        for start in range(0, max(1, self.frames), count):
            yield read_poses(self.poses, start, start + count)

    def _locate(self, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[int, int], ...]:
        names = self.head.bodyparts
        known = [pair for pair in pairs if pair[0] in names and pair[1] in names]
        return tuple((names.index(first), names.index(second)) for first, second in known)


def name_video(video: Path, folder: Path) -> Path:
    """Return the path by which an exported file names its video, without revealing a user name.

    Parameters
    ----------
    video
        The video file.
    folder
        Folder of the exported file.

    Returns
    -------
    Path
        Path relative to the folder. Only the name of the video if the two share no folder but
        the root, or if the relative path leads through a user's home folder: it would reveal as
        much as the absolute path.
    """
    # Resolve the folder: a reader that follows `..` through a link ends in another folder.
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
    """Return a path that every format can store: bytes that are not UTF-8 become U+FFFD."""
    return Path(os.fsencode(path).decode("utf-8", "replace"))
