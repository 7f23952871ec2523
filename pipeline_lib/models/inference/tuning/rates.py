"""Measure how many frames a core predicts in a second, several predictors in turn."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.models.inference.predictor import PosePredictor

Image = NDArray[np.uint8]
Key = TypeVar("Key")

_ROUNDS = 5
_HEIGHT, _WIDTH, _FRAMES = 480, 640, 2


def make_noise() -> list[Image]:
    """Return frames to measure on where there are no others: noise of 640 x 480 px, uint8, RGB."""
    frame = np.random.default_rng(0).integers(0, 255, (_HEIGHT, _WIDTH, 3), np.uint8)
    return [frame] * _FRAMES


def measure_rates(
    predictors: Mapping[Key, PosePredictor], frames: Sequence[Image], *, on_gpu: bool = False
) -> dict[Key, float]:
    """Measure predictors that use one core each.

    They take turns, and the fastest of five rounds counts, since other processes only ever slow
    one down. On CPUs the processor's time counts, not that of the clock.

    Parameters
    ----------
    predictors
        Predictors of one core, by any key.
    frames
        Frames of one size, predicted in each round.
    on_gpu
        Whether the clock counts, as for predictors on a GPU.

    Returns
    -------
    dict
        Frames per second by key.
    """
    read: Callable[[], float] = time.perf_counter if on_gpu else time.process_time
    best = dict.fromkeys(predictors, float("inf"))
    for predictor in predictors.values():
        # Networks are compiled for a size with the first frames.
        predictor.predict(frames[:1])
    for _ in range(_ROUNDS):
        for key, predictor in predictors.items():
            start = read()
            predictor.predict(frames)
            best[key] = min(best[key], read() - start)
    # Clocks of processors tick in steps.
    return {key: len(frames) / max(seconds, 1e-6) for key, seconds in best.items()}
