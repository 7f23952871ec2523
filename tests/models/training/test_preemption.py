"""Test signals to stop, and the request to SLURM to start again."""

import os
import signal
import threading

import pytest

from pipeline_lib.models.training.checkpoints import StopSignals, requeue_slurm_job


def test_the_first_signal_is_remembered_and_the_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)
    signals = StopSignals()
    signals.listen()
    assert signals.received is None
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.received is signal.SIGUSR1
    signals.stop_listening()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)) == before


def test_only_the_main_thread_can_listen():
    before = signal.getsignal(signal.SIGTERM)
    signals = StopSignals()
    thread = threading.Thread(target=signals.listen)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """Install a mock scontrol; return the arguments of its calls."""
    command = tmp_path / "scontrol"
    command.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/called\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "called"


def test_a_job_and_a_task_of_an_array_are_requeued(scontrol, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert requeue_slurm_job()
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "15")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert requeue_slurm_job()
    assert scontrol.read_text().splitlines() == ["requeue 17", "requeue 15_2"]


def test_outside_of_slurm_nothing_is_requeued(scontrol):
    assert not requeue_slurm_job()
    assert not scontrol.exists()


def test_a_refusal_of_slurm_is_said(scontrol, monkeypatch, caplog):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    (scontrol.parent / "scontrol").write_text("#!/bin/sh\necho Access denied >&2\nexit 1\n")
    assert not requeue_slurm_job()
    assert "SLURM job 17 is not requeued: Access denied" in caplog.text
