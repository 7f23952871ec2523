"""Write the demo's labels as a DeepLabCut project, in DeepLabCut's own layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from pipeline_lib.core.errors import VideoError
from pipeline_lib.demo.render.animal import BODYPARTS, EDGES
from pipeline_lib.io.images import write_png
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.video.reader import VideoReader

TASK, SCORER = "demo", "cohortpose"
PROJECT = f"{TASK}-{SCORER}-2026-01-01"
_HDF_KEY = "df_with_missing"
# Version that pandas up to 2 writes into HDF5 files; DeepLabCut's pandas fails without it.
_PANDAS_HDF_VERSION = "0.15.2"


@dataclass(frozen=True)
class VideoLabels:
    """Hold the labels of one video.

    Attributes
    ----------
    frames
        Shape (label,), int64, ascending.
    position
        Shape (label, individual, bodypart, 2), float64, px; NaN if not visible.
    """

    frames: NDArray[np.int64]
    position: NDArray[np.float64]


def write_project_config(
    project: Path, videos: Sequence[Path], individuals: Sequence[str], size: tuple[int, int]
) -> None:
    """Write the ``config.yaml`` of a project.

    Parameters
    ----------
    project
        Project folder.
    videos
        Labelled videos.
    individuals
        Names of the individuals; one makes a single-animal project.
    size
        Width and height of the videos in px.
    """
    several = len(individuals) > 1
    names: dict[str, Any] = {"bodyparts": list(BODYPARTS)}
    if several:
        names = {
            "individuals": list(individuals),
            "uniquebodyparts": [],
            "multianimalbodyparts": list(BODYPARTS),
            "bodyparts": "MULTI!",
        }
    config: dict[str, Any] = {
        "Task": TASK,
        "scorer": SCORER,
        "date": "Jan1",
        "multianimalproject": several,
        "identity": several,
        "project_path": str(project.resolve()),
        "engine": "pytorch",
        "video_sets": {
            str(video.resolve()): {"crop": f"0, {size[0]}, 0, {size[1]}"} for video in videos
        },
        **names,
        "start": 0,
        "stop": 1,
        "numframes2pick": 20,
        "skeleton": [list(edge) for edge in EDGES],
        "skeleton_color": "black",
        "pcutoff": 0.6,
        "dotsize": 4,
        "alphavalue": 0.7,
        "colormap": "rainbow",
        "TrainingFraction": [0.95],
        "iteration": 0,
        "default_net_type": "resnet_50",
        "default_augmenter": "default",
        "snapshotindex": -1,
        "batch_size": 8,
        "cropping": False,
        "corner2move2": [50, 50],
        "move2corner": True,
    }
    publish_text(project / "config.yaml", yaml.safe_dump(config, sort_keys=False))


def write_video_labels(
    project: Path, video: Path, labels: VideoLabels, individuals: Sequence[str]
) -> None:
    """Write the decoded labelled frames of one video, and their labels as HDF5 and CSV.

    Parameters
    ----------
    project
        Project folder.
    video
        The video; its name becomes the folder's name under ``labeled-data``.
    labels
        Labels of the video.
    individuals
        Names along the labels' individual axis.

    Raises
    ------
    VideoError
        If a labelled frame cannot be decoded.
    """
    folder = project / "labeled-data" / video.stem
    folder.mkdir(parents=True, exist_ok=True)
    names = {int(frame): f"img{frame:04d}.png" for frame in labels.frames}
    _write_frames(video, folder, names)
    table = _tabulate(video.stem, list(names.values()), labels.position, individuals)
    path = folder / f"CollectedData_{SCORER}"
    table.to_csv(path.with_suffix(".csv"))
    with pd.HDFStore(path.with_suffix(".h5"), mode="w") as store:
        store.put(_HDF_KEY, table, track_times=False)
        cast("Any", store).get_storer(_HDF_KEY).attrs.pandas_version = _PANDAS_HDF_VERSION


def _write_frames(video: Path, folder: Path, names: Mapping[int, str]) -> None:
    with VideoReader(video) as reader:
        for frame, image in reader.read(stop=max(names) + 1):
            if frame not in names:
                continue
            if image is None:
                raise VideoError(f"{video}: frame {frame}, just written, cannot be decoded")
            write_png(folder / names[frame], image)


def _tabulate(
    video: str, images: Sequence[str], position: NDArray[np.float64], individuals: Sequence[str]
) -> pd.DataFrame:
    levels = {"scorer": [SCORER], "individuals": list(individuals), "bodyparts": list(BODYPARTS)}
    if len(individuals) == 1:
        del levels["individuals"]
    levels["coords"] = ["x", "y"]
    columns = pd.MultiIndex.from_product(list(levels.values()), names=list(levels))
    index = pd.MultiIndex.from_product([["labeled-data"], [video], list(images)])
    return pd.DataFrame(position.reshape(len(images), -1), index=index, columns=columns)
