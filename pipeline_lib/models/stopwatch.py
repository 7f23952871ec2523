"""Measure the parts of a prediction: preprocessing, network, decoding.

Times are those of the thread that predicts, so a predictor must compute there: see
`pipeline_lib.models.inference.predictor.RuntimeOptions.one_frame`. Outside of `watch` nothing is
measured.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Laps:
    """Hold the seconds of each part, summed over all networks that saw a frame.

    Attributes
    ----------
    preprocess, network, decode
        Seconds. On a GPU, `decode` includes waiting for the network.
    """

    __slots__ = ("decode", "network", "preprocess")

    def __init__(self) -> None:
        self.preprocess = self.network = self.decode = 0.0


_of_thread = threading.local()


@contextmanager
def watch() -> Iterator[Laps]:
    """Measure what this thread predicts within the block."""
    laps = Laps()
    before = getattr(_of_thread, "laps", None)
    _of_thread.laps = laps
    try:
        yield laps
    finally:
        _of_thread.laps = before


@contextmanager
def lap(part: str, within: str | None = None) -> Iterator[None]:
    """Add the time of the block to a part, and take it from the part that it lies within."""
    laps = getattr(_of_thread, "laps", None)
    if laps is None:
        yield
        return
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds = time.perf_counter() - start
        setattr(laps, part, getattr(laps, part) + seconds)
        if within is not None:
            setattr(laps, within, getattr(laps, within) - seconds)
