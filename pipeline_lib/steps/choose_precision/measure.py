"""Measure speed and error of a network with every runtime and precision of this machine."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.io.image_header import read_header
from pipeline_lib.io.images import read_image
from pipeline_lib.models.inference.predictor import (
    PRECISIONS,
    PosePredictor,
    RuntimeOptions,
    count_gpus,
)
from pipeline_lib.models.inference.tuning.rates import measure_rates
from pipeline_lib.models.inference.tuning.runtime_choice import find_obstacle
from pipeline_lib.models.precision import Precision, PrecisionMeasurement, RuntimeName
from pipeline_lib.steps.choose_precision.errors import compare_errors

logger = logging.getLogger(__name__)

Candidate = tuple[RuntimeName, Precision]
Load = Callable[[RuntimeOptions], PosePredictor]
Predict = Callable[[PosePredictor], pd.DataFrame]

_CPU: tuple[RuntimeName, ...] = ("openvino", "onnx")
_TIMED_FRAMES = 4
# Fewest labelled keypoints of test frames on which errors are judged without the others.
_TEST_POINTS = 100


@dataclass(frozen=True)
class Measured:
    """Hold all measurements, and the frames that errors are judged on.

    Attributes
    ----------
    rows
        The measurements.
    judged_on
        ``test``, or ``all`` labelled frames where there are few test frames.
    points, images
        Number of labelled keypoints and of images that errors are judged on.
    """

    rows: tuple[PrecisionMeasurement, ...]
    judged_on: Literal["test", "all"]
    points: int
    images: int


def list_candidates(
    settings: InferenceSettings, precisions: Sequence[Precision]
) -> tuple[list[Candidate], list[PrecisionMeasurement]]:
    """Return what can be measured here, and why other candidates cannot.

    Parameters
    ----------
    settings
        Settings of the inference: a stated runtime is the only one.
    precisions
        Precisions to measure beside float32.
    """
    if settings.runtime != "auto":
        runtimes: tuple[RuntimeName, ...] = (settings.runtime,)
    elif count_gpus() and not set(PRECISIONS["torch"]).isdisjoint({*precisions} - {"float32"}):
        runtimes = ("torch",)
    else:
        runtimes = tuple(
            name for name in _CPU if name != "openvino" or find_spec("openvino") is not None
        )
    wanted = ("float32", *(one for one in precisions if one != "float32"))
    listed, without = list[Candidate](), list[PrecisionMeasurement]()
    for runtime in runtimes:
        for precision in wanted:
            if precision not in PRECISIONS[runtime]:
                continue
            reason = find_obstacle(runtime, precision)
            if reason:
                without.append(
                    PrecisionMeasurement(runtime=runtime, precision=precision, reason=reason)
                )
            else:
                listed.append((runtime, precision))
    return listed, without


def measure_candidates(
    candidates: Sequence[Candidate],
    load: Load,
    predict: Predict,
    images: Sequence[Path],
    batch_size: int | None,
) -> Measured:
    """Measure speed and error of candidates.

    Parameters
    ----------
    candidates
        float32 among them.
    load
        Load what predicts, with its runtime.
    predict
        Predict the labelled images, columns ``PREDICTION_COLUMNS``.
    images
        The labelled images, some of which speed is measured on.
    batch_size
        Frames per forward pass, for the speed.
    """
    loaded, failed = dict[Candidate, PosePredictor](), list[PrecisionMeasurement]()
    tables = dict[Candidate, pd.DataFrame]()
    for runtime, precision in candidates:
        options = RuntimeOptions(runtime, precision, threads=1, batch_size=batch_size)
        try:
            # Labelled images may differ in size: they are predicted one by one.
            single = load(replace(options, batch_size=1))
            table = predict(single)
            alike = runtime != "torch" and batch_size in (None, 1)
            loaded[runtime, precision] = single if alike else load(options)
        except CohortposeError as error:
            failed.append(
                PrecisionMeasurement(runtime=runtime, precision=precision, reason=str(error))
            )
            continue
        tables[runtime, precision] = table
    plain = next((table for (_, name), table in tables.items() if name == "float32"), None)
    if plain is None:
        return Measured(tuple(failed), "all", 0, 0)
    on_gpu = count_gpus() > 0 and any(runtime == "torch" for runtime, _ in loaded)
    rates = measure_rates(loaded, _read_frames(images), on_gpu=on_gpu)
    judged = _choose_judged(plain)
    rows = [_describe(one, rates[one], table, plain, judged) for one, table in tables.items()]
    own = compare_errors(*(_select(plain, judged),) * 2)
    return Measured((*rows, *failed), judged, own.points, own.images)


def _describe(
    candidate: Candidate,
    rate: float,
    table: pd.DataFrame,
    plain: pd.DataFrame,
    judged: Literal["test", "all"],
) -> PrecisionMeasurement:
    splits = {
        name: compare_errors(_select(plain, name), _select(table, name)) for name in ("test", "all")
    }
    decisive, everywhere = splits[judged], splits["all"]
    return PrecisionMeasurement(
        runtime=candidate[0],
        precision=candidate[1],
        frames_per_second=round(rate, 2),
        test_error=_round(splits["test"].error),
        all_error=_round(everywhere.error),
        growth=_round(decisive.growth),
        growth_noise=_round(decisive.noise),
        missed=decisive.missed,
        moved=_round(everywhere.moved),
        moved_median=_round(everywhere.moved_median),
    )


def _round(value: float) -> float | None:
    # Never -0.0.
    return round(value, 4) + 0.0 if np.isfinite(value) else None


def _choose_judged(plain: pd.DataFrame) -> Literal["test", "all"]:
    test = _select(plain, "test")
    labelled = np.isfinite(test[["label_x", "label_y"]].to_numpy(np.float64)).all(1)
    return "test" if int(labelled.sum()) >= _TEST_POINTS else "all"


def _select(predictions: pd.DataFrame, split: str) -> pd.DataFrame:
    return predictions if split == "all" else predictions[predictions["split"] == split]


def _read_frames(images: Sequence[Path]) -> list[NDArray[np.uint8]]:
    """Return some labelled frames of the most usual size."""
    sizes = {path: read_header(path).upright for path in images}
    usual = Counter(sizes.values()).most_common(1)[0][0]
    alike = [path for path, size in sizes.items() if size == usual]
    step = max(len(alike) // _TIMED_FRAMES, 1)
    return [read_image(path) for path in alike[::step][:_TIMED_FRAMES]]
