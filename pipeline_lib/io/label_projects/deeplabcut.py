"""Write a DeepLabCut project: folders of frames, labels and predictions, and the project file.

Labels are ``CollectedData_SCORER``, which DeepLabCut trains on. Predictions are
``machinelabels-iterN``, which napari-deeplabcut opens beside them and saves as ``CollectedData``
once somebody has corrected them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import yaml
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError
from pipeline_lib.io.label_projects.project import Animal, LabelProject, ProjectFrame

if TYPE_CHECKING:
    import pandas as pd

_LABELED_DATA = "labeled-data"
_HDF_KEY = "df_with_missing"
# What pandas up to 2, which DeepLabCut requires, expects in the file.
_PANDAS_HDF_VERSION = "0.15.2"

# Added to our coordinates: both count from the centre of the top-left pixel.
PIXEL_OFFSET = 0.0


def name_image(frame: ProjectFrame) -> str:
    """Return where the image of a frame lies in the project."""
    return f"{_LABELED_DATA}/{frame.folder}/{frame.name}"


def write(folder: Path, target: Path, project: LabelProject) -> None:
    """Write tables and project file.

    In a project of several animals every animal has every bodypart but the unique ones, which
    only the individual ``single`` has. Hidden keypoints are written as labels: DeepLabCut knows
    no other. A frame that was labelled as one without an animal has a row without positions.

    Parameters
    ----------
    folder
        The unfinished folder, which has the images.
    target
        Its path once it is finished: ``project_path``.
    project
        What to write.

    Raises
    ------
    LabelError
        If a bodypart or an individual has a name that DeepLabCut cannot hold.
    """
    _check_names(target, project)
    for name, frames in project.by_folder():
        images = folder / _LABELED_DATA / name
        labelled = [frame for frame in frames if frame.labels is not None]
        predicted = [frame for frame in frames if frame.labels is None and frame.predictions]
        if labelled:
            table = _tabulate(labelled, project, project.scorer, likelihood=False)
            _write_table(images / f"CollectedData_{project.scorer}", table)
        if predicted:
            table = _tabulate(predicted, project, project.model, likelihood=True)
            _write_table(images / f"machinelabels-iter{project.iteration}", table)
    text = yaml.safe_dump(
        _describe(target, project), sort_keys=False, allow_unicode=True, default_flow_style=False
    )
    (folder / "config.yaml").write_text(text, encoding="utf-8")


def _check_names(target: Path, project: LabelProject) -> None:
    # It would be taken for a bodypart of all animals.
    problems = [
        f"bodypart {name!r}: DeepLabCut uses this name itself"
        for name in project.skeleton.bodyparts
        if name == "MULTI!"
    ]
    if problems:
        raise LabelError(str(target), problems)


def _tabulate(
    frames: Sequence[ProjectFrame], project: LabelProject, scorer: str, *, likelihood: bool
) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415 - it loads slowly

    bodyparts = project.skeleton.bodyparts
    points = [
        (slot, keypoint)
        for slot in range(len(project.slots))
        for keypoint in project.bodyparts_of(project.slots[slot])
    ]
    coords = ("x", "y", "likelihood") if likelihood else ("x", "y")
    columns = [
        (scorer, *([project.slots[slot]] if project.several else []), bodyparts[keypoint], coord)
        for slot, keypoint in points
        for coord in coords
    ]
    levels = ["scorer", *(["individuals"] if project.several else []), "bodyparts", "coords"]
    values = np.full((len(frames), len(project.slots), len(bodyparts), len(coords)), np.nan)
    for row, frame in enumerate(frames):
        for animal in frame.predictions if likelihood else frame.labels or ():
            values[row, project.slots.index(animal.name)] = _list_values(animal, coords)
    slots, keypoints = (list(one) for one in zip(*points, strict=True))
    rows = [(_LABELED_DATA, frame.folder, frame.name) for frame in frames]
    return pd.DataFrame(
        values[:, slots, keypoints].reshape(len(frames), -1),
        index=pd.MultiIndex.from_tuples(rows),
        columns=pd.MultiIndex.from_tuples(columns, names=levels),
    )


def _list_values(animal: Animal, coords: Sequence[str]) -> NDArray[np.float64]:
    position = animal.position + PIXEL_OFFSET
    if len(coords) == 2:
        return position
    return np.concatenate([position, animal.confidence[:, np.newaxis]], axis=1)


def _write_table(stem: Path, table: "pd.DataFrame") -> None:
    import pandas as pd  # noqa: PLC0415

    # A name may have dots, which are no suffix.
    table.to_csv(f"{stem}.csv", lineterminator="\n")
    with pd.HDFStore(f"{stem}.h5", mode="w") as store:
        store.put(_HDF_KEY, table, format="fixed", track_times=False)
        cast("Any", store).get_storer(_HDF_KEY).attrs.pandas_version = _PANDAS_HDF_VERSION


def _describe(target: Path, project: LabelProject) -> dict[str, Any]:
    """Return the project file: what DeepLabCut writes for a new project, with our names."""
    skeleton = project.skeleton
    names: dict[str, Any] = {"bodyparts": list(skeleton.bodyparts)}
    if project.several:
        names = {
            "individuals": list(project.individuals),
            "uniquebodyparts": list(skeleton.unique_bodyparts),
            "multianimalbodyparts": [skeleton.bodyparts[k] for k in skeleton.animal_indices],
            "bodyparts": "MULTI!",
        }
    return {
        "Task": project.name,
        "scorer": project.scorer,
        "date": datetime.now(tz=UTC).strftime("%b%d"),
        "multianimalproject": project.several,
        "identity": False,
        "project_path": str(target),
        "engine": "pytorch",
        "video_sets": _list_videos(target, project),
        **names,
        "start": 0,
        "stop": 1,
        "numframes2pick": 20,
        "skeleton": [list(edge) for edge in skeleton.edges],
        "skeleton_color": "black",
        "pcutoff": 0.6,
        "dotsize": 8,
        "alphavalue": 0.7,
        "colormap": "rainbow",
        "TrainingFraction": [0.95],
        "iteration": project.iteration,
        "default_net_type": "resnet_50",
        "default_augmenter": "default",
        "snapshotindex": -1,
        "batch_size": 8,
        "cropping": False,
        "x1": 0,
        "x2": 640,
        "y1": 277,
        "y2": 624,
        "corner2move2": [50, 50],
        "move2corner": True,
    }


def _list_videos(target: Path, project: LabelProject) -> dict[str, Any]:
    """Return DeepLabCut's list of videos: their names, not their places, belong to folders."""
    sets = {}
    for folder, frames in project.by_folder():
        recording = frames[0].recording
        suffix = PurePosixPath(recording.path).suffix if recording else ".mp4"
        width, height = frames[0].size
        path = target / "videos" / f"{folder}{suffix}"
        sets[str(path)] = {"crop": f"0, {width}, 0, {height}"}
    return sets
