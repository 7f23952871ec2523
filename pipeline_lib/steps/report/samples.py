"""Draw pictures for the report: labelled frames with predictions, and trajectories."""

import base64
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.settings.run import Config
from pipeline_lib.io.images import read_image
from pipeline_lib.steps.report.accuracy import measure_errors, order_splits
from pipeline_lib.steps.report.charts import TIME_COLOURS, join_points
from pipeline_lib.steps.report.details.measure import unpack_words
from pipeline_lib.steps.report.summaries import VideoSummary, rank_videos

_log = logging.getLogger(__name__)

# A picture is cut to the animal, and no wider than this in the page.
_MARGIN = 0.45
_SMALLEST_CROP = 120.0
_ASPECT = 4.0 / 3.0
_WIDEST = 640
_JPEG_QUALITY = 82
_TRAJECTORIES = 6
# Below this detection rate there is no trajectory to see.
_VISIBLE = 0.05


@dataclass(frozen=True)
class Keypoint:
    """Hold one bodypart of a picture; positions in px of the full frame, NaN: none."""

    bodypart: str
    x: float
    y: float
    label_x: float
    label_y: float
    confidence: float
    error: float
    individual: str = ""

    @property
    def predicted(self) -> bool:
        """Tell whether there is a prediction to draw."""
        return math.isfinite(self.x) and math.isfinite(self.y)

    @property
    def labelled(self) -> bool:
        """Tell whether there is a label to draw."""
        return math.isfinite(self.label_x) and math.isfinite(self.label_y)


@dataclass(frozen=True)
class Sample:
    """Hold a labelled frame with its predictions.

    Attributes
    ----------
    box
        Left, top, width, height of the region shown, in px of the frame.
    data
        The region as a data URL; empty if the image could not be read.
    """

    image: str
    video: str
    frame: str
    split: str
    note: str
    box: tuple[int, int, int, int]
    data: str
    keypoints: list[Keypoint]
    edges: list[tuple[Keypoint, Keypoint]]

    @property
    def mean_error(self) -> float:
        """Mean distance over the labelled bodyparts, in px."""
        return _mean_error(self.keypoints)

    @property
    def individuals(self) -> dict[str, float]:
        """Mean distance of each labelled individual in px; NaN: it was not found."""
        labelled = dict.fromkeys(point.individual for point in self.keypoints if point.labelled)
        return {
            name: _mean_error([point for point in self.keypoints if point.individual == name])
            for name in labelled
        }


@dataclass(frozen=True)
class Trajectory:
    """Hold the path of the centre of an animal through one video, cut into periods."""

    video: str
    width: float
    height: float
    paths: list[tuple[str, str]]
    detection: float


def draw_samples(
    predictions: pd.DataFrame, config: Config, edges: Sequence[tuple[str, str]]
) -> list[Sample]:
    """Return the worst labelled frame of the test split, then others chosen by the seed.

    Frames of the test split come first; those of other splits fill up.
    """
    table = measure_errors(predictions)
    errors = table.dropna(subset=["error"])
    if errors.empty or config.report.sample_frames == 0:
        return []
    chosen, worst = choose_images(errors, config.report.sample_frames, config.report.seed)
    groups = dict(list(table.groupby("image", sort=False)))
    return [
        _draw_sample(groups[image], edges, "worst of its split" if image == worst else "")
        for image in chosen
    ]


def draw_worst(
    predictions: pd.DataFrame, edges: Sequence[tuple[str, str]], number: int
) -> list[Sample]:
    """Return the labelled frames with the largest mean error of the first split, the worst first.

    The first split is that of the test frames, where there are any.
    """
    table = measure_errors(predictions)
    errors = table.dropna(subset=["error"])
    if errors.empty:
        return []
    first = order_splits(set(errors["split"]))[0]
    means = errors[errors["split"] == first].groupby("image")["error"].mean()
    # Of equal ones the first by name.
    ranked = means.sort_index().sort_values(ascending=False, kind="stable").index[:number]
    groups = dict(list(table[table["image"].isin(ranked)].groupby("image", sort=False)))
    return [_draw_sample(groups[image], edges, "") for image in ranked]


def choose_images(errors: pd.DataFrame, number: int, seed: int) -> tuple[list[str], str]:
    """Choose the images to show.

    Parameters
    ----------
    errors
        Labelled points with their ``error``, as `measure_errors` gives it; not empty.
    number
        Most images.
    seed
        Of the choice.

    Returns
    -------
    images : list of str
        The worst first, then the others by split.
    worst : str
        The image of the first split with the largest mean error.
    """
    means = errors.groupby(["split", "image"])["error"].mean()
    generator = np.random.default_rng(seed)
    splits = order_splits(set(errors["split"]))
    worst = str(means[splits[0]].idxmax())
    others: list[str] = []
    for split in splits:
        images = sorted(str(image) for image in means[split].index if image != worst)
        others += [images[index] for index in generator.permutation(len(images))]
    return [worst, *others][:number], worst


def draw_trajectories(
    config: Config,
    summaries: Mapping[str, VideoSummary],
    details: Mapping[str, tuple[str, Mapping[str, Any]]],
) -> list[Trajectory]:
    """Return the trajectories of a few videos: the least detected one, then random ones.

    Parameters
    ----------
    config
        Settings of the run.
    summaries
        Of the videos with poses.
    details
        By video, its shard and what its page shows.
    """
    usable = {
        video: summary
        for video, summary in summaries.items()
        if video in details and summary.mean_detection >= _VISIBLE
    }
    chosen = rank_videos(usable, 1)
    others = sorted(set(usable) - set(chosen))
    order = np.random.default_rng(config.report.seed).permutation(len(others))
    chosen += [others[index] for index in order[: _TRAJECTORIES - 1]]
    return [
        _draw_trajectory(video, details[video][1], usable[video].mean_detection)
        for video in sorted(chosen)
    ]


def _draw_trajectory(video: str, entry: Mapping[str, Any], detection: float) -> Trajectory:
    width, height = entry["size"]
    shares = unpack_words(entry["paths"][0]).reshape(-1, 2) if entry["paths"] else np.zeros((0, 2))
    points = [(float(x * width), float(y * height)) for x, y in shares]
    cuts = np.linspace(0, len(points), len(TIME_COLOURS) + 1).astype(int)
    return Trajectory(
        video=video,
        width=width,
        height=height,
        # Stretches overlap by one point, so that the line does not break between colours.
        paths=[
            (colour, join_points(points[start : stop + 1]))
            for colour, start, stop in zip(TIME_COLOURS, cuts[:-1], cuts[1:], strict=True)
        ],
        detection=detection,
    )


def _draw_sample(table: pd.DataFrame, edges: Sequence[tuple[str, str]], note: str) -> Sample:
    first = table.iloc[0]
    keypoints = [_parse_keypoint(row) for row in table.to_dict("records")]
    found = {(point.individual, point.bodypart): point for point in keypoints if point.predicted}
    animals = dict.fromkeys(point.individual for point in keypoints)
    ends = (((animal, a), (animal, b)) for animal in animals for a, b in edges)
    image = _read_labelled(Path(str(first["image"])))
    box = crop_box(keypoints, None if image is None else image.shape[:2])
    return Sample(
        image=Path(str(first["image"])).name,
        video=str(first["video"]),
        frame=str(first["frame"]),
        split=str(first["split"]),
        note=note,
        box=box,
        data="" if image is None else _encode_region(image, box),
        keypoints=keypoints,
        edges=[(found[a], found[b]) for a, b in ends if a in found and b in found],
    )


def _read_labelled(path: Path) -> NDArray[np.uint8] | None:
    """Return an image in OpenCV's order, BGR; None, with a log entry, if it is unreadable."""
    try:
        image = read_image(path)
    except StoreError as error:
        _log.warning("the report cannot show a labelled image: %s", error)
        return None
    return np.ascontiguousarray(image[..., ::-1])


def _parse_keypoint(row: Mapping[Any, Any]) -> Keypoint:
    names = ("x", "y", "label_x", "label_y", "confidence", "error")
    values = {name: float(row[name]) for name in names}
    return Keypoint(bodypart=str(row["bodypart"]), **values, individual=str(row["individual"]))


def _mean_error(keypoints: Sequence[Keypoint]) -> float:
    errors = [point.error for point in keypoints if math.isfinite(point.error)]
    return float(np.mean(errors)) if errors else math.nan


def crop_box(
    keypoints: Sequence[Keypoint], size: tuple[int, int] | None
) -> tuple[int, int, int, int]:
    """Return the region around all points, in the proportions of the page's pictures.

    Parameters
    ----------
    keypoints
        Predictions and labels to keep in view.
    size
        Height and width of the image in px; None: unknown.

    Returns
    -------
    left, top, width, height : int
        In px, within the image.
    """
    points = [(point.x, point.y) for point in keypoints if point.predicted]
    points += [(point.label_x, point.label_y) for point in keypoints if point.labelled]
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    centre = (low + high) / 2
    span = np.maximum((high - low) * (1 + 2 * _MARGIN), _SMALLEST_CROP)
    width = math.ceil(max(span[0], span[1] * _ASPECT))
    height = math.ceil(width / _ASPECT)
    left, top = math.floor(centre[0] - width / 2), math.floor(centre[1] - height / 2)
    if size is not None:
        width, height = min(width, size[1]), min(height, size[0])
        left = min(max(left, 0), size[1] - width)
        top = min(max(top, 0), size[0] - height)
    return left, top, width, height


def _encode_region(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> str:
    left, top, width, height = box
    region = image[top : top + height, left : left + width]
    if width > _WIDEST:
        shape = (_WIDEST, max(1, round(height * _WIDEST / width)))
        region = cv2.resize(region, shape, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", region, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
