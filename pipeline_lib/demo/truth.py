"""Read and write the demo's truth, and measure the error of predicted poses against it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.demo.project import PROJECT
from pipeline_lib.demo.render.animal import BODYPARTS
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.publish import publish_file, publish_text
from pipeline_lib.kernels.metrics.keypoints import keypoint_distance, mean_error, median_error
from pipeline_lib.kernels.metrics.matching import UNMATCHED, match_individuals

TRUTH = "truth"
_3D_SUFFIX = "_3d"

# Distance in px, larger than the width of any video.
_FAR = 1e6


@dataclass(frozen=True)
class ErrorSummary:
    """Summarise the distances between predicted and true bodyparts.

    Attributes
    ----------
    median, mean
        Distance in px over the visible bodyparts that were found; NaN if none was.
    visible
        Number of visible bodyparts.
    missed
        Number of visible bodyparts without a prediction.
    """

    median: float
    mean: float
    visible: int
    missed: int


@dataclass(frozen=True)
class DemoError:
    """Hold the error of a model on all good videos, on labelled and on unlabelled videos."""

    all_videos: ErrorSummary
    labelled: ErrorSummary
    unlabelled: ErrorSummary


@dataclass(frozen=True)
class VideoTruth:
    """Hold the true bodyparts of one video.

    Attributes
    ----------
    position
        Shape (frame, individual, bodypart, 2), float64, px, hidden ones included.
    visible
        Shape (frame, individual, bodypart), bool.
    individuals, bodyparts
        Names along their axes.
    """

    position: NDArray[np.float64]
    visible: NDArray[np.bool_]
    individuals: tuple[str, ...]
    bodyparts: tuple[str, ...]


def write_truth(folder: Path, video: str, truth: VideoTruth) -> None:
    """Write ``truth/VIDEO.parquet``: frame, individual, bodypart, x, y (px) and visible.

    Parameters
    ----------
    folder
        The demo's folder.
    video
        Name of the video.
    truth
        True bodyparts of the video.
    """
    table = _index_points(truth.visible.shape, truth.individuals)
    table["x"], table["y"] = truth.position.reshape(-1, 2).T
    table["visible"] = truth.visible.reshape(-1)
    with publish_file(folder / TRUTH / f"{video}.parquet") as part:
        table.to_parquet(part, index=False)


def write_truth_3d(
    folder: Path, session: str, points: NDArray[np.float64], individuals: Sequence[str]
) -> None:
    """Write ``truth/SESSION_3d.parquet``: frame, individual, bodypart, X, Y, Z.

    Parameters
    ----------
    folder
        The demo's folder.
    session
        Name of the session.
    points
        Shape (frame, individual, bodypart, 3), mm.
    individuals
        Names along the individual axis.
    """
    table = _index_points(points.shape[:3], individuals)
    table["X"], table["Y"], table["Z"] = points.reshape(-1, 3).T
    with publish_file(folder / TRUTH / f"{session}{_3D_SUFFIX}.parquet") as part:
        table.to_parquet(part, index=False)


def write_dropped(folder: Path, dropped: Mapping[str, Sequence[int]]) -> None:
    """Write ``truth/dropped.tsv``: video and frame of each frame that a camera dropped."""
    lines = ["video\tframe"]
    lines += [f"{video}\t{frame}" for video, frames in dropped.items() for frame in frames]
    publish_text(folder / TRUTH / "dropped.tsv", "\n".join(lines) + "\n")


def read_truth(path: Path) -> VideoTruth:
    """Read the truth of one video.

    Raises
    ------
    StoreError
        If there is no such file.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such file; `cohortpose demo` writes it")
    table = pd.read_parquet(path)
    individuals = tuple(str(name) for name in table["individual"].unique())
    bodyparts = tuple(str(name) for name in table["bodypart"].unique())
    shape = (-1, len(individuals), len(bodyparts))
    return VideoTruth(
        table[["x", "y"]].to_numpy(np.float64).reshape(*shape, 2),
        table["visible"].to_numpy(bool).reshape(shape),
        individuals,
        bodyparts,
    )


def list_truths(folder: Path) -> list[Path]:
    """Return the truth file of each good video of a demo cohort.

    Raises
    ------
    StoreError
        If there is none.
    """
    files = [
        path
        for path in sorted((folder / TRUTH).glob("*.parquet"))
        if not path.stem.endswith(_3D_SUFFIX)
    ]
    if not files:
        raise StoreError(f"{folder / TRUTH}: no truth; is {folder} a folder of `cohortpose demo`?")
    return files


def list_sessions(folder: Path) -> list[str]:
    """Return the sessions of a demo that have true points in space."""
    return [path.stem.removesuffix(_3D_SUFFIX) for path in _list_spaces(folder)]


def read_truth_3d(folder: Path, session: str) -> NDArray[np.float64]:
    """Read the true points of a session; shape (moment, individual, bodypart, 3), mm.

    Raises
    ------
    StoreError
        If there are none.
    """
    path = folder / TRUTH / f"{session}{_3D_SUFFIX}.parquet"
    if not path.is_file():
        raise StoreError(f"{path}: no such file; `cohortpose demo` writes it")
    table = pd.read_parquet(path)
    shape = (-1, table["individual"].nunique(), table["bodypart"].nunique(), 3)
    return table[["X", "Y", "Z"]].to_numpy(np.float64).reshape(shape)


def _list_spaces(folder: Path) -> list[Path]:
    return sorted((folder / TRUTH).glob(f"*{_3D_SUFFIX}.parquet"))


def measure_demo_error(folder: Path, results: Path, model: str) -> DemoError:
    """Compare the predicted poses of a demo cohort with its truth.

    Predicted individuals have no names. In each frame they are matched to the true ones so that
    the sum of distances is smallest.

    Parameters
    ----------
    folder
        Demo folder.
    results
        Results folder of a run on it.
    model
        Name of the model.

    Raises
    ------
    StoreError
        If there is no truth, or if the pose file of a good video is missing or has other frames or
        bodyparts.
    """
    labelled: list[NDArray[np.float64]] = []
    unlabelled: list[NDArray[np.float64]] = []
    for path in list_truths(folder):
        poses_path = Results(results).poses(model, path.stem)
        distances = _measure_video(poses_path, read_poses(poses_path), read_truth(path))
        has_labels = (folder / PROJECT / "labeled-data" / path.stem).is_dir()
        (labelled if has_labels else unlabelled).append(distances)
    return DemoError(
        summarise_distances(labelled + unlabelled),
        summarise_distances(labelled),
        summarise_distances(unlabelled),
    )


def describe_demo_error(folder: Path, results: Path, model: str) -> list[str]:
    """Return the result of `measure_demo_error` as text, one line per group of videos."""
    error = measure_demo_error(folder, results, model)
    lines = []
    for name, part in (
        ("all videos", error.all_videos),
        ("videos with labels", error.labelled),
        ("videos never labelled", error.unlabelled),
    ):
        missed = f", {part.missed} not found" if part.missed else ""
        lines.append(
            f"Error against the truth, {name}: median {part.median:.2f} px, mean "
            f"{part.mean:.2f} px over {part.visible} visible keypoints{missed}"
        )
    return lines


def align_positions(path: Path, poses: Poses, truth: VideoTruth) -> NDArray[np.float64]:
    """Return predicted positions with the frames and bodyparts of the truth.

    Parameters
    ----------
    path
        Pose file, for messages.
    poses
        Poses in the file.
    truth
        True bodyparts of the video.

    Returns
    -------
    ndarray
        Shape (frame, individual, bodypart, 2), float64, px; the individuals are those predicted.

    Raises
    ------
    StoreError
        If the poses in the file at this path have other frames or lack a bodypart.
    """
    if len(poses.time) != len(truth.position):
        raise StoreError(
            f"{path}: {len(poses.time)} frames, but the video has {len(truth.position)}; "
            "run inference again"
        )
    missing = [name for name in truth.bodyparts if name not in poses.bodyparts]
    if missing:
        raise StoreError(f"{path}: lacks the bodyparts {', '.join(missing)}")
    order = [poses.bodyparts.index(name) for name in truth.bodyparts]
    return poses.position.astype(np.float64)[:, :, order]


def summarise_distances(distances: Sequence[NDArray[np.float64]]) -> ErrorSummary:
    """Summarise the distances in px of visible bodyparts; NaN marks one that was not found."""
    every = np.concatenate([np.empty(0), *distances])
    missed = int(np.isnan(every).sum())
    return ErrorSummary(median_error(every), mean_error(every), len(every), missed)


def _measure_video(path: Path, poses: Poses, truth: VideoTruth) -> NDArray[np.float64]:
    """Return the distance of every visible bodypart in px; NaN if none was predicted."""
    predicted = _match_individuals(align_positions(path, poses, truth), truth)
    return keypoint_distance(predicted, truth.position)[truth.visible]


def _match_individuals(predicted: NDArray[np.float64], truth: VideoTruth) -> NDArray[np.float64]:
    visible = np.where(truth.visible[..., None], truth.position, np.nan)
    # At any distance: a prediction far from every animal is an error too.
    row = match_individuals(predicted, visible, max_distance=_FAR)
    matched = np.take_along_axis(predicted, row.clip(min=0)[..., None, None], axis=1)
    matched[row == UNMATCHED] = np.nan
    return matched


def _index_points(shape: Sequence[int], individuals: Sequence[str]) -> pd.DataFrame:
    frames = np.arange(shape[0])
    index = pd.MultiIndex.from_product(
        [frames, list(individuals), list(BODYPARTS)], names=["frame", "individual", "bodypart"]
    )
    return index.to_frame(index=False)
