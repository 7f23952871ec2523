"""Test locks of a results folder: runs with the same settings share it, others wait outside."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.io.run_lock import RunLock, is_locked_by_others


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "results")


def test_runs_of_the_same_settings_share_the_folder(results):
    first, second = RunLock(results, "a"), RunLock(results, "a")
    first.release()
    with pytest.raises(StoreError):
        RunLock(results, "b")
    second.release()
    RunLock(results, "b").release()


def test_a_run_of_other_settings_is_told_who_is_at_work(results):
    lock = RunLock(results, "a")
    with pytest.raises(StoreError) as error:
        RunLock(results, "b")
    text = str(error.value)
    assert f"process {os.getpid()} on " in text
    assert "wait until it has ended, or set `results` to another folder" in text
    lock.release()


HOLD = """
import signal, sys
from pathlib import Path
from pipeline_lib.core.layout import Results
from pipeline_lib.io.run_lock import RunLock
lock = RunLock(Results(Path(sys.argv[1])), "a")
print("held", flush=True)
signal.pause()
"""


def test_a_run_that_was_killed_holds_nothing(results):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(results.root)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout.readline() == "held\n"
    assert is_locked_by_others(results, "b")
    assert not is_locked_by_others(results, "a")
    with pytest.raises(StoreError, match=f"process {process.pid} on "):
        RunLock(results, "b")
    process.kill()
    process.communicate()
    assert not is_locked_by_others(results, "b")
    RunLock(results, "b").release()


def test_the_only_holder_of_a_lock_knows_it(results):
    first = RunLock(results, "a")
    with first.work_alone() as alone:
        assert alone
    second = RunLock(results, "a")
    with second.work_alone() as alone:
        assert not alone
    first.release()
    with second.work_alone() as alone:
        assert alone
    # Its shared lock is there again.
    with pytest.raises(StoreError):
        RunLock(results, "b")
    second.release()


def test_without_locks_of_the_file_system_a_warning_says_so(results, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    RunLock(results, "a")
    RunLock(results, "b")
    assert "this file system has no locks (No locks available)" in caplog.text


def test_a_folder_that_cannot_be_written(results):
    results.root.write_text("a file")
    with pytest.raises(
        StoreError,
        match=r"Not a directory; make room or the folder writable and run again, or set `results`",
    ):
        RunLock(results, "a")
