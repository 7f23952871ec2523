"""Test the time of trainings that were resumed, with a clock made by hand."""

import pytest

from pipeline_lib.models.training import checkpoints
from pipeline_lib.models.training.checkpoints import TrainingTime


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    return now


def test_seconds_of_all_processes_count(clock):
    first = TrainingTime()
    first.on_fit_start()
    clock[0] += 40.0
    saved = first.state_dict()
    assert saved == {"seconds": 40.0}
    clock[0] += 15.0  # lost: the process was killed
    second = TrainingTime()
    second.load_state_dict(saved)
    clock[0] += 1000.0
    second.on_fit_start()
    clock[0] += 2.5
    second.on_fit_end()
    clock[0] += 500.0
    assert second.seconds == 42.5


def test_a_checkpoint_of_before_has_no_seconds():
    assert TrainingTime().seconds == 0.0
