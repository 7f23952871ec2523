"""Test that reading ahead gives the same items within its limits and ends its thread."""

import threading
import time
from contextlib import closing

import pytest

from pipeline_lib.steps.infer.frames.read_ahead import ReadAhead


def count_threads():
    return sum(thread.name == "read-ahead" for thread in threading.enumerate())


def test_items_come_in_order():
    with closing(ReadAhead(iter(range(50)), depth=3)) as ahead:
        assert list(ahead) == list(range(50))
    assert count_threads() == 0


def test_an_error_comes_in_its_place():
    def items():
        yield 1
        raise ValueError("second")

    with closing(ReadAhead(items(), depth=3)) as ahead:
        iterator = iter(ahead)
        assert next(iterator) == 1
        with pytest.raises(ValueError, match="second"):
            next(iterator)
    assert count_threads() == 0


def test_no_more_than_its_depth_is_made_in_advance():
    made = []

    def items():
        for number in range(100):
            made.append(number)
            yield number

    with closing(ReadAhead(items(), depth=2)) as ahead:
        next(iter(ahead))
        deadline = time.monotonic() + 5
        while len(made) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        # One is out, two wait, one is in the hand of the thread.
        assert made == [0, 1, 2, 3]
    assert count_threads() == 0


def test_leaving_early_closes_what_is_read():
    closed = []

    def items():
        try:
            yield from range(100)
        finally:
            closed.append(threading.current_thread().name)

    with closing(ReadAhead(items(), depth=1)) as ahead:
        next(iter(ahead))
    assert closed == ["read-ahead"]
    assert count_threads() == 0


def test_times_are_those_since_the_last_call():
    def items():
        for number in range(3):
            time.sleep(0.02)
            yield number

    with closing(ReadAhead(items(), depth=1)) as ahead:
        made = waited = 0.0
        for _ in ahead:
            one_made, one_waited = ahead.take_times()
            assert one_made >= 0
            made, waited = made + one_made, waited + one_waited
    assert made >= 0.06
    assert waited > 0
