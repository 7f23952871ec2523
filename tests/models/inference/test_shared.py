"""Test a shared network: each caller gets its results, batches fill, errors reach callers."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.shared import SharedPredictor


class Echo:
    """Locate the value of a frame's first pixel; record the sizes of calls."""

    card, surplus = "card", 0

    def __init__(self):
        self.calls = []
        self.begun = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def predict(self, frames):
        self.calls.append((frames[0].shape, len(frames)))
        self.begun.set()
        assert self.go.wait(10)
        assert len({frame.shape for frame in frames}) == 1
        values = np.array([frame[0, 0, 0] for frame in frames], np.float32)
        if (values == 255).any():
            raise ValueError("a white frame")
        return Located(np.broadcast_to(values[:, None], (len(frames), 2)), values)


def make_frames(*values, side=4):
    return [np.full((side, side, 3), value, np.uint8) for value in values]


def test_each_caller_gets_its_own():
    shared = SharedPredictor(Echo(), batch_size=8)
    assert shared.card == "card"
    groups = [
        make_frames(*range(first, first + 5), side=4 + first % 3) for first in range(0, 200, 5)
    ]
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(shared.predict, groups))
    for first, (position, confidence, *_) in zip(range(0, 200, 5), results, strict=True):
        np.testing.assert_array_equal(confidence, np.arange(first, first + 5))
        np.testing.assert_array_equal(position[:, 1], np.arange(first, first + 5))


def test_waiting_frames_of_one_size_form_a_batch():
    echo = Echo()
    echo.go.clear()
    shared = SharedPredictor(echo, batch_size=6, threads=1)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(shared.predict, make_frames(0))]
        assert echo.begun.wait(10)
        # The network is busy: these wait.
        for number in range(1, 6):
            futures.append(pool.submit(shared.predict, make_frames(number, number)))
            while shared._requests.qsize() < number:
                pass
        futures.append(pool.submit(shared.predict, make_frames(9, side=5)))
        while shared._requests.qsize() < 6:
            pass
        echo.go.set()
        values = [future.result(10)[1].tolist() for future in futures]
    assert values == [[0], [1, 1], [2, 2], [3, 3], [4, 4], [5, 5], [9]]
    small, other = (4, 4, 3), (5, 5, 3)
    assert echo.calls == [(small, 1), (small, 6), (small, 4), (other, 1)]


def test_an_error_reaches_the_caller_and_the_next_is_served():
    shared = SharedPredictor(Echo(), batch_size=4)
    with pytest.raises(ValueError, match="a white frame"):
        shared.predict(make_frames(255))
    assert shared.predict(make_frames(7))[1].tolist() == [7]
