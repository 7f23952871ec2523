"""Hold what a labelling project of another tool is written from: frames, labels, predictions."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL

# File names end at 255 bytes in most file systems; tools put something before or after ours.
_LONGEST_FILE = 200


@dataclass(frozen=True, eq=False)
class Animal:
    """Hold the keypoints of one individual in one frame.

    Attributes
    ----------
    name
        Its name as in ``labels.parquet``; `pipeline_lib.core.tables.UNIQUE_INDIVIDUAL` has the
        unique bodyparts and no others.
    position
        Shape (bodypart, 2), float64, x and y in px, pixel centres at integers. NaN: absent.
    hidden
        Shape (bodypart,), bool. True: the position is known, but the bodypart is out of sight.
    confidence
        Shape (bodypart,), float64, of a prediction. NaN: a label, or nothing was predicted.
    """

    name: str
    position: NDArray[np.float64]
    hidden: NDArray[np.bool_]
    confidence: NDArray[np.float64]

    @property
    def present(self) -> NDArray[np.bool_]:
        """Return which keypoints have a position: shape (bodypart,), bool."""
        return np.asarray(~np.isnan(self.position).any(axis=-1))

    @property
    def score(self) -> float:
        """Return the mean confidence of the keypoints that have one; 0 where none has."""
        known = self.confidence[self.present & ~np.isnan(self.confidence)]
        return float(known.mean()) if len(known) else 0.0


@dataclass(frozen=True, eq=False)
class Recording:
    """Describe the video that frames of a project come from.

    Attributes
    ----------
    path
        The file, absolute.
    name
        What a project calls it where it names videos: the absolute path where it refers to them,
        else a name that is unique in the project and tells nobody the folders of this machine.
    frames, fps
        Number of frames, and frames per second; 0 where unknown.
    """

    path: Path
    name: str
    frames: int
    fps: float


@dataclass(frozen=True, eq=False)
class ProjectFrame:
    """Hold one frame of a labelling project.

    Attributes
    ----------
    video, frame, image
        Where corrections of it go: as in the tables of `pipeline_lib.io.corrections.labels`.
    file
        The image that is copied, upright, of `size`.
    size
        Width and height in px.
    folder
        Folder of the video's images in the project: one folder for each video.
    name
        Name of the image in that folder.
    recording
        The video; None where there is only the image.
    labels
        Labelled individuals; empty where somebody labelled a frame without an animal; None where
        nobody labelled it.
    predictions
        Predicted individuals; none where the frame is labelled.
    """

    video: str
    frame: int
    image: str
    file: Path
    size: tuple[int, int]
    folder: str
    name: str
    recording: Recording | None = None
    labels: tuple[Animal, ...] | None = None
    predictions: tuple[Animal, ...] = ()

    @property
    def unique_file(self) -> str:
        """Return a path below the images that identifies the frame by its last part alone.

        Tools drop folders; names of frames repeat between videos.
        """
        long = f"{self.folder}-{self.name}"
        short = len(long.encode()) <= _LONGEST_FILE
        return f"{self.folder}/{long if short else self.name}"


@dataclass(frozen=True, eq=False)
class LabelProject:
    """Hold a labelling project as every format needs it.

    Attributes
    ----------
    name
        Its name, an id.
    scorer
        Who will correct: an author's name.
    model
        Name of the network that predicted.
    iteration
        Labelling iteration, 0 or more.
    skeleton
        With bodyparts.
    individuals
        Names of the animals, without that of the unique bodyparts.
    frames
        In the order of folders and names; no two have the same of both.
    linked
        Whether files refer to the videos instead of holding frames, where the format can do both.
    """

    name: str
    scorer: str
    model: str
    iteration: int
    skeleton: Skeleton
    individuals: tuple[str, ...]
    frames: tuple[ProjectFrame, ...] = field(default=())
    linked: bool = False

    @property
    def several(self) -> bool:
        """Tell whether there are several animals, or unique bodyparts besides one."""
        return len(self.individuals) > 1 or bool(self.skeleton.unique_bodyparts)

    @property
    def slots(self) -> tuple[str, ...]:
        """Return the names of the animals, and of the unique bodyparts if there are any."""
        unique = (UNIQUE_INDIVIDUAL,) if self.skeleton.unique_bodyparts else ()
        return (*self.individuals, *unique)

    def bodyparts_of(self, individual: str) -> tuple[int, ...]:
        """Return the bodyparts that an individual has, as positions on the keypoint axis."""
        if not self.skeleton.unique_bodyparts:
            return tuple(range(len(self.skeleton.bodyparts)))
        if individual == UNIQUE_INDIVIDUAL:
            return self.skeleton.unique_indices
        return self.skeleton.animal_indices

    def by_folder(self) -> Iterator[tuple[str, Sequence[ProjectFrame]]]:
        """Yield each folder and its frames, in the order of their names."""
        ordered = sorted(self.frames, key=lambda one: (one.folder, one.name))
        for folder, frames in groupby(ordered, key=lambda one: one.folder):
            yield folder, list(frames)


def start_animals(frame: ProjectFrame) -> tuple[tuple[Animal, ...], bool]:
    """Return the individuals that a tool without predictions begins with.

    Returns
    -------
    animals
        Labels where there are any, else predictions.
    predicted
        Whether they are predictions.
    """
    if frame.labels is not None:
        return frame.labels, False
    return frame.predictions, True


def list_present(animals: Iterable[Animal]) -> list[Animal]:
    """Return the individuals with at least one keypoint."""
    return [animal for animal in animals if animal.present.any()]
