"""Threads that compute networks come first where the system allows it, and not for ever."""

import _thread
import contextlib
import os
import threading
import time

import numpy as np
import pytest

import pipeline_lib
from pipeline_lib.core.process import count_cores
from pipeline_lib.live import priorities
from pipeline_lib.live.predictor import LivePredictor
from pipeline_lib.live.priorities import NETWORK, NetworkThreads, allows_real_time
from tests.live.cameras import FakeCamera, make_settings, run_discs

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setscheduler"), reason="Linux has these priorities"
)


def describe(thread):
    """Return policy and real-time priority of a thread."""
    policy = os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK
    return policy, os.sched_getparam(thread).sched_priority


class Worker:
    """A thread that Python's `threading` does not know, as those of OpenVINO; works when asked."""

    def __init__(self):
        self._go, self._done = threading.Event(), threading.Event()
        self._end, started = threading.Event(), threading.Event()
        self.thread = 0

        def run():
            self.thread = threading.get_native_id()
            started.set()
            while self._go.wait() and not self._end.is_set():
                self._go.clear()
                sum(range(10_000))
                self._done.set()

        _thread.start_new_thread(run, ())
        started.wait()
        time.sleep(0.05)

    def work(self):
        self._done.clear()
        self._go.set()
        self._done.wait()

    def close(self):
        self._end.set()
        self._go.set()


@pytest.fixture
def workers():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(Worker())) for _ in range(2)]


@pytest.fixture
def allowed():
    if not allows_real_time():
        pytest.skip("this system allows no real-time priority")


@pytest.mark.usefixtures("allowed")
def test_threads_that_run_while_networks_become_warm_have_real_time_priority(workers):
    busy, idle = workers
    threads = NetworkThreads(wanted=True)
    with threads.find():
        busy.work()
        new = Worker()
    assert describe(busy.thread) == describe(new.thread) == (os.SCHED_FIFO, NETWORK)
    assert describe(idle.thread) == (os.SCHED_OTHER, 0)
    # The loop itself asks for its own, and what others start has usual priority.
    assert describe(0) == (os.SCHED_OTHER, 0)
    assert os.sched_getscheduler(busy.thread) & os.SCHED_RESET_ON_FORK
    threads.close()
    assert describe(busy.thread) == describe(new.thread) == (os.SCHED_OTHER, 0)
    new.close()


@pytest.mark.usefixtures("allowed")
def test_threads_that_had_no_turn_are_found_a_while_later(workers, monkeypatch):
    threads = NetworkThreads(wanted=True)
    with threads.find():
        pass
    assert describe(workers[0].thread) == (os.SCHED_OTHER, 0)
    workers[0].work()
    monkeypatch.setattr(priorities, "_WHILE", 0.0)
    threads.see()
    assert describe(workers[0].thread) == (os.SCHED_FIFO, NETWORK)
    # Only once: who runs later does something else.
    workers[1].work()
    threads.see()
    assert describe(workers[1].thread) == (os.SCHED_OTHER, 0)
    threads.close()


@pytest.mark.usefixtures("allowed")
def test_none_is_raised_unless_it_is_wanted(workers):
    with NetworkThreads(wanted=False).find():
        workers[0].work()
    assert describe(workers[0].thread) == (os.SCHED_OTHER, 0)


def test_a_system_that_refuses_changes_nothing(workers, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    threads = NetworkThreads(wanted=True)
    with threads.find():
        workers[0].work()
    assert describe(workers[0].thread) == (os.SCHED_OTHER, 0)
    assert threads._threads == set()


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize(
    ("shares", "lowered"),
    [([0.9, 0.9], True), ([0.9, 0.5, 0.9], False), ([0.8] * 9, False), ([0.1, 1.0, 0.86], True)],
)
def test_a_run_that_leaves_the_cores_no_time_gives_the_priority_back(
    workers, monkeypatch, shares, lowered
):
    clock = [0.0, 0.0]
    monkeypatch.setattr(priorities.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(priorities.time, "process_time", lambda: clock[1])
    threads = NetworkThreads(wanted=True)
    with threads.find():
        workers[0].work()
    told = []
    for share in shares:
        # Nothing is judged before the while is over.
        clock[0] += 1.0
        assert not threads.see()
        clock[0] += 1.0
        clock[1] += 2.0 * share * count_cores()
        told.append(threads.see())
    expected = (os.SCHED_OTHER, 0) if lowered else (os.SCHED_FIFO, NETWORK)
    assert describe(workers[0].thread) == expected
    text = f"this run uses {100 * shares[-1]:.0f} % of its cores"
    assert [text in one for one in told] == [False] * (len(shares) - 1) + [lowered]
    # For good: another size of frames makes networks warm again.
    with threads.find():
        workers[0].work()
    assert describe(workers[0].thread) == expected


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("runtime", ["openvino", "onnx", "torch"])
def test_networks_compute_in_such_threads(bundle, runtime):
    threads = NetworkThreads(wanted=True)
    with threads.find():
        predictor = pipeline_lib.LivePredictor(bundle, runtime=runtime, threads=2)
    with threads.find():
        predictor.warm_up((128, 128))
    # One core computes in the thread that asks.
    if count_cores() > 1:
        assert threads._threads
    for thread in threads._threads:
        with contextlib.suppress(ProcessLookupError):
            assert describe(thread) == (os.SCHED_FIFO, NETWORK)
    threads.close()


@pytest.mark.usefixtures("allowed")
def test_a_run_raises_them_and_gives_them_back(workers, monkeypatch, tmp_path):
    found = []

    def warm_up(*_):
        workers[0].work()
        return 0.0

    @contextlib.contextmanager
    def watch(_):
        yield
        found.append(describe(workers[0].thread))

    monkeypatch.setattr(LivePredictor, "warm_up", warm_up)
    camera = FakeCamera([np.zeros((64, 64, 3), np.uint8)])
    settings = make_settings(real_time=True)
    run_discs(monkeypatch, settings, {"top": camera}, tmp_path, watch=watch)
    assert found == [(os.SCHED_FIFO, NETWORK)]
    assert describe(workers[0].thread) == (os.SCHED_OTHER, 0)
