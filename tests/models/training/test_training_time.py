"""Test the time of trainings that were resumed, with a clock made by hand."""

from types import SimpleNamespace

import pytest

from pipeline_lib.models.training import checkpoints
from pipeline_lib.models.training.checkpoints import TrainingTime

NEW, RESUMED = SimpleNamespace(ckpt_path=None), SimpleNamespace(ckpt_path="last.ckpt")


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    return now


def test_seconds_of_all_processes_count(clock, tmp_path):
    path = tmp_path / "seconds.txt"
    first = TrainingTime(path)
    first.on_fit_start(NEW)
    clock[0] += 40.0
    first.on_save_checkpoint()
    clock[0] += 15.0  # lost: the process was killed
    second = TrainingTime(path)
    clock[0] += 1000.0
    second.on_fit_start(RESUMED)
    clock[0] += 2.5
    second.on_save_checkpoint()
    second.on_fit_end()
    clock[0] += 500.0
    assert second.seconds == 42.5
    assert path.read_text() == "42.5\n"


@pytest.mark.parametrize("content", [None, "", "soon", "nan", "-3", "inf", "\x00"])
def test_a_training_goes_on_without_a_good_file(clock, tmp_path, content):
    path = tmp_path / "seconds.txt"
    if content is not None:
        path.write_text(content)
    count = TrainingTime(path)
    count.on_fit_start(RESUMED)
    clock[0] += 3.0
    assert count.seconds == 3.0


def test_another_training_in_the_folder_starts_at_zero(clock, tmp_path):
    path = tmp_path / "seconds.txt"
    path.write_text("40.0\n")
    count = TrainingTime(path)
    count.on_fit_start(NEW)
    clock[0] += 3.0
    assert count.seconds == 3.0
