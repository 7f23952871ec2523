"""Show target score maps beside those that the network draws."""

import base64
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.io.targets.score_maps import PredictedMaps, read_score_maps
from pipeline_lib.io.targets.store import TargetStore
from pipeline_lib.kernels.maps.score_maps import find_present
from pipeline_lib.steps.report.charts import colour_bodyparts
from pipeline_lib.steps.report.samples import Keypoint, crop_box

_log = logging.getLogger(__name__)

_MOST_FRAMES = 4
_WIDEST = 420
_JPEG_QUALITY = 80
# The frame is darkened, so that maps are seen.
_FRAME_SHARE = 0.55


@dataclass(frozen=True)
class MapFrame:
    """Hold targets and predictions of one test frame, or of one animal's window.

    Attributes
    ----------
    image, individual
        File name of the frame, and the animal that a window is around; empty: the whole frame.
    error
        Mean distance from label to prediction, px of the frame.
    size
        Width and height of both pictures, px.
    target, predicted
        Pictures as data URLs: the frame with the largest score of all bodyparts at each point,
        in the colour of its bodypart.
    scores
        Score that the network draws where the bodypart is labelled, by bodypart; of several
        animals the smallest.
    """

    image: str
    individual: str
    error: float
    size: tuple[int, int]
    target: str
    predicted: str
    scores: dict[str, float]


@dataclass(frozen=True)
class MapPanel:
    """Hold the frames to show; if there are none, the reason."""

    frames: list[MapFrame]
    reason: str = ""


def draw_score_maps(results: Results, model: str, predictions: pd.DataFrame) -> MapPanel | None:
    """Return targets and predictions of the worst test frames; None: nothing was evaluated.

    Parameters
    ----------
    results, model
        The run, and the name of its network.
    predictions
        Columns `PREDICTION_COLUMNS`; empty if the network was not evaluated.
    """
    path = results.score_maps(model)
    if predictions.empty and not path.exists():
        return None
    if not path.exists():
        return MapPanel(
            [],
            "No score maps were kept in this evaluation: run `cohortpose evaluate` and then "
            "`cohortpose report` to see them.",
        )
    try:
        maps = read_score_maps(path)
        if maps.reason:
            return MapPanel([], maps.reason)
        store = TargetStore(results.targets)
        reason = _find_mismatch(maps, store)
        if reason:
            return MapPanel([], reason)
        rows = range(min(len(maps.sample), _MOST_FRAMES))
        return MapPanel([_draw_frame(store, maps, row) for row in rows])
    except StoreError as error:
        _log.warning("the report shows no score maps: %s", error)
        return MapPanel([], "The targets or the predicted score maps cannot be read.")


def _find_mismatch(maps: PredictedMaps, store: TargetStore) -> str:
    """Explain why maps do not belong to a target store; empty if they do."""
    layout = store.layout
    side = layout.window
    cells = (layout.rows, layout.columns) if side is None else (side // layout.stride,) * 2
    expected = (len(layout.bodyparts), *cells)
    known = all(0 <= number < len(store) for number in maps.sample)
    if maps.target_key != store.key or maps.score.shape[1:] != expected or not known:
        return "The targets were made again after this evaluation: run `cohortpose evaluate`."
    return ""


def _draw_frame(store: TargetStore, maps: PredictedMaps, row: int) -> MapFrame:
    number = int(maps.sample[row])
    record, bodyparts, stride = store.samples[number], store.layout.bodyparts, store.layout.stride
    keypoint = store.read_seen("keypoint", number)
    predicted = maps.score[row]
    image = store.read_seen("image", number)
    box = crop_box(_list_points(keypoint, predicted, stride), image.shape[:2])
    colours = colour_bodyparts(bodyparts)
    target = store.read_seen("score_map", number).astype(np.float32)
    pictures = [_paint(image, score, colours, stride, box) for score in (target, predicted)]
    return MapFrame(
        image=Path(record.image).name,
        individual=record.individual,
        error=float(maps.error[row]),
        size=pictures[0].shape[1::-1],
        target=_encode(pictures[0]),
        predicted=_encode(pictures[1]),
        scores=dict(read_scores(keypoint, predicted, bodyparts, stride)),
    )


def read_scores(
    keypoint: NDArray[np.floating],
    score: NDArray[np.floating],
    bodyparts: tuple[str, ...],
    stride: int,
) -> Mapping[str, float]:
    """Return the score in the cell of each labelled bodypart, the smallest of all individuals.

    Parameters
    ----------
    keypoint
        Shape (individual, keypoint, 2), network px; NaN where unlabelled.
    score
        Shape (keypoint, rows, columns).
    bodyparts
        Names along the keypoint axis.
    stride
        Network px per cell side.
    """
    rows, columns = score.shape[1:]
    found = {}
    for number, name in enumerate(bodyparts):
        points = keypoint[:, number][np.isfinite(keypoint[:, number]).all(axis=-1)]
        if len(points):
            cell = np.rint((points - (stride - 1) / 2) / stride).astype(int)
            column, row = cell[:, 0].clip(0, columns - 1), cell[:, 1].clip(0, rows - 1)
            found[name] = float(score[number, row, column].min())
    return found


def _list_points(
    keypoint: NDArray[np.floating], score: NDArray[np.floating], stride: int
) -> list[Keypoint]:
    """Return the points to keep in view: labels, and the best cell of each labelled bodypart."""
    nan = float("nan")
    labelled = keypoint[np.isfinite(keypoint).all(axis=-1)]
    points = [Keypoint("", nan, nan, float(x), float(y), nan, nan) for x, y in labelled]
    for number in np.flatnonzero(find_present(keypoint)):
        row, column = np.unravel_index(score[number].argmax(), score[number].shape)
        x, y = ((float(cell) + 0.5) * stride - 0.5 for cell in (column, row))
        points.append(Keypoint("", x, y, nan, nan, nan, nan))
    return points


def _paint(
    image: NDArray[np.uint8],
    score: NDArray[np.floating],
    colours: Mapping[str, str],
    stride: int,
    box: tuple[int, int, int, int],
) -> NDArray[np.uint8]:
    """Return the region of a gray frame with score maps over it, BGR."""
    best = score.argmax(axis=0)
    palette = np.array([_parse_colour(colour) for colour in colours.values()], np.float32)
    strength = score.max(axis=0).clip(0.0, 1.0)
    # Weighed before cells are smoothed: no colour bleeds from cells that are empty.
    layers = np.dstack([palette[best] * strength[..., None], strength]).astype(np.float32)
    rows, columns = strength.shape
    layers = cv2.resize(layers, (columns * stride, rows * stride), interpolation=cv2.INTER_LINEAR)
    left, top, width, height = box
    layers = layers[top : top + height, left : left + width]
    gray = cv2.cvtColor(image[top : top + height, left : left + width], cv2.COLOR_RGB2GRAY)
    ground = gray[..., None].astype(np.float32) * _FRAME_SHARE
    painted = ground * (1.0 - layers[..., 3:]) + layers[..., :3]
    size = (_WIDEST, max(1, round(height * _WIDEST / width)))
    smaller = width > _WIDEST
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(painted.clip(0, 255).astype(np.uint8), size, interpolation=way))


def _parse_colour(text: str) -> tuple[int, int, int]:
    """Return blue, green and red of ``#rrggbb``."""
    red, green, blue = (int(text[first : first + 2], 16) for first in (1, 3, 5))
    return blue, green, red


def _encode(picture: NDArray[np.uint8]) -> str:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
