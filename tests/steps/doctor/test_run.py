"""Test that each check tells ok, warn and fail apart, and that the command reports them."""

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline_lib.cli import app
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.steps.doctor import machine, run, software, storage
from pipeline_lib.steps.doctor.check import Check, Level

GB = 1e9
H = {"devices": ["H"], "driver": "1", "cuda": "12.0"}


def levels(checks):
    return [str(check.level) for check in checks]


@pytest.mark.parametrize(
    ("check", "level", "said"),
    [
        (machine.judge_cores(8, 16, None), "ok", "8 of 16 cores"),
        (machine.judge_cores(8, 16, 8.0), "ok", ""),
        (machine.judge_cores(8, 16, 2.5), "warn", "--cores 2"),
        (machine.judge_memory(9 * GB, None), "ok", "9.0 GB"),
        (machine.judge_memory(9 * GB, 2 * GB), "warn", "limit of the control group"),
        (machine.judge_memory(0.5 * GB, 2 * GB), "fail", "0.5 GB available"),
        (machine.judge_memory(None, None), "ok", "does not tell"),
        (storage.judge_room("x", Path("/d"), 11 * GB), "ok", "11.0 GB free in /d"),
        (storage.judge_room("x", Path("/d"), 2 * GB), "warn", "tidy"),
        (storage.judge_room("x", Path("/d"), 0.9 * GB), "fail", "make room"),
        (storage.judge_inodes("x", 0, 0), "ok", "no fixed number"),
        (storage.judge_inodes("x", 10**6, 9_999), "fail", "9999 free"),
        (storage.judge_inodes("x", 10**6, 10_000), "warn", "inodes"),
        (storage.judge_clock("x", 100.0, 100.5, 101.0), "ok", "0.0 s"),
        (storage.judge_clock("x", 100.0, 97.0, 101.0), "warn", "3.0 s"),
        (storage.judge_clock("x", 100.0, 3701.0, 101.0), "fail", "NTP"),
        (storage.judge_permissions(0o022, 0o755, same_group=True), "ok", "022"),
        (storage.judge_permissions(0o000, 0o755, same_group=True), "warn", "everyone"),
        (storage.judge_permissions(0o022, 0o2775, same_group=False), "warn", "umask 002"),
        (storage.judge_permissions(0o002, 0o2775, same_group=False), "ok", "2775"),
        (storage.judge_permissions(0o002, 0o775, same_group=False), "warn", "chmod g+s"),
        (storage.judge_home({"HOME": "/x/cohortpose-home-x"}), "warn", "not writable"),
        (software.judge_locale("UTF-8", restarted=False), "ok", "UTF-8"),
        (software.judge_locale("ISO-8859-1", restarted=True), "fail", "LANG=C.UTF-8"),
        (software.judge_locale("ISO-8859-1", restarted=False), "warn", "misread"),
        (software.judge_codecs(["mjpeg", "mpeg4"], ["libx264"]), "fail", "h264 cannot be read"),
        (software.judge_codecs(software.NEEDED_CODECS, ["libx264"]), "warn", "hevc"),
        (
            software.judge_codecs([*software.NEEDED_CODECS, *software.OTHER_CODECS], []),
            "warn",
            "no videos can be written",
        ),
        (software.judge_slurm([], plugin=False), "ok", "this machine"),
        (software.judge_slurm(["sbatch"], plugin=False), "warn", "squeue, sacct, scancel missing"),
        (software.judge_allocation({}), "ok", "not set"),
        (software.judge_allocation({"SLURM_NTASKS": "4"}), "warn", "unset SLURM_NTASKS"),
        (software.judge_allocation({"SLURM_NTASKS": "1", "SLURM_JOB_ID": "7"}), "ok", "job 7"),
        (software.judge_profile("", [Path("p")]), "ok", "p"),
        (software.judge_profile("", []), "warn", "--keep-going"),
        (software.judge_profile("nowhere", [Path("p")]), "fail", "nowhere/config.yaml"),
        (
            software.judge_weights("training", "b", "timm", cached=False, offline=True),
            "fail",
            "HF_HUB_OFFLINE",
        ),
        (
            software.judge_weights("training", "b", "timm", cached=False, offline=False),
            "warn",
            "timm.create_model('b', pretrained=True)",
        ),
        (
            software.judge_weights("training", "b", "timm", cached=True, offline=True),
            "ok",
            "in the cache",
        ),
        (
            software.judge_weights("training", "b", "w.pt", cached=False, offline=False),
            "fail",
            "w.pt: no such file",
        ),
        (
            software.judge_weights("training", "b", "package", cached=False, offline=True),
            "ok",
            "package for b",
        ),
        (
            machine.judge_gpu(H, None, usable=False),
            "warn",
            "built without CUDA",
        ),
        (
            machine.judge_gpu(
                H, "13.0", usable=False
            ),
            "warn",
            "runs up to 12.0",
        ),
        (
            machine.judge_gpu(H, "12.0", usable=True),
            "ok",
            "H (driver 1, CUDA 12.0)",
        ),
    ],
)  # fmt: skip
def test_levels(check, level, said):
    assert check.level == level, check
    assert said in f"{check.found} {check.mend}"
    # What is bad says what to do, and only that.
    assert bool(check.mend) == (level != "ok")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ["ok", "ok"]),
        ({"OMP_NUM_THREADS": "4,2", "OMP_WAIT_POLICY": "passive"}, ["ok", "ok"]),
        ({"OMP_NUM_THREADS": "5"}, ["warn", "ok"]),
        ({"OMP_NUM_THREADS": "many", "OMP_WAIT_POLICY": "active"}, ["fail", "warn"]),
        ({"OMP_NUM_THREADS": "0", "KMP_BLOCKTIME": "200"}, ["fail", "warn"]),
    ],
)
def test_openmp(values, expected):
    assert levels(machine.judge_openmp(values, 4)) == expected


def test_control_groups(tmp_path, monkeypatch):
    groups, own = tmp_path / "cgroup", tmp_path / "own"
    monkeypatch.setattr(machine, "GROUPS", groups)
    monkeypatch.setattr(machine, "_OWN_GROUPS", own)
    (groups / "a" / "b").mkdir(parents=True)
    own.write_text("0::/a/b\n")
    assert machine.find_quota() is None
    assert machine.find_memory_limit() is None
    (groups / "a" / "b" / "cpu.max").write_text("max 100000\n")
    (groups / "a" / "cpu.max").write_text("150000 100000\n")
    (groups / "memory.max").write_text("3000000000\n")
    assert machine.find_quota() == 1.5
    assert machine.find_memory_limit() == 3e9
    # The first version has a tree for each controller.
    own.write_text("5:memory:/j\n4:cpu,cpuacct:/j\n")
    (groups / "cpu" / "j").mkdir(parents=True)
    (groups / "memory" / "j").mkdir(parents=True)
    (groups / "cpu" / "j" / "cpu.cfs_quota_us").write_text("400000\n")
    (groups / "cpu" / "j" / "cpu.cfs_period_us").write_text("100000\n")
    (groups / "memory" / "j" / "memory.limit_in_bytes").write_text(f"{2**62}\n")
    assert machine.find_quota() == 4.0
    assert machine.find_memory_limit() is None


def test_commands_on_the_search_path(tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        folder.mkdir()
        (folder / "cohortpose").write_text("")
        (folder / "cohortpose").chmod(0o755)
    find = software.find_commands
    assert software.judge_command("cohortpose", own, []).level is Level.WARN
    good = software.judge_command("cohortpose", own, find("cohortpose", [str(own), str(other)]))
    assert good.level is Level.OK
    assert f"hides {other}" in good.found
    bad = software.judge_command("cohortpose", own, find("cohortpose", [str(other), str(own)]))
    assert bad.level is Level.WARN
    (other / "cohortpose").chmod(stat.S_IREAD)
    assert find("cohortpose", ["", str(other), str(own)]) == [own / "cohortpose"]


def test_a_folder_that_cannot_be_written(tmp_path):
    checks = list(storage.check_folder("results", tmp_path))
    assert levels(checks)[2:] == ["ok", "ok"]
    (broken,) = storage.check_folder("results", tmp_path / "gone")
    assert (broken.level, broken.name) == (Level.FAIL, "results: writable")


def test_weights_of_a_config(tmp_path):
    labels = [{"path": "labels"}]
    config = Config(cohort="c.tsv", labels=labels, training={"weights": str(tmp_path / "w.pt")})
    (check,) = software.check_weights(config, {})
    assert (check.level, check.name) == (Level.FAIL, "weights: training")
    bundle = Config(cohort="c.tsv", model={"bundle": str(tmp_path / "x.cohortpose")})
    assert levels(software.check_weights(bundle, {})) == ["fail"]
    assert list(software.check_weights(Config(cohort="c.tsv"), {})) == []


def test_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = [Check("a", Level.OK, "fine"), Check("b\x1b", Level.WARN, "hm", "do x")]
    monkeypatch.setattr(run, "check_torch", lambda: made)

    def fail():
        yield Check("c", Level.FAIL, "bad", "do y")
        raise ValueError("odd")

    plain = CliRunner().invoke(app, ["doctor", "--json"])
    found = json.loads(plain.output)
    assert plain.exit_code == (0 if found["ok"] else 1)
    assert found["checks"][4:6] == [
        {"name": "a", "level": "ok", "found": "fine", "mend": ""},
        {"name": "b\x1b", "level": "warn", "found": "hm", "mend": "do x"},
    ]
    monkeypatch.setattr(run, "check_torch", fail)
    told = CliRunner().invoke(app, ["doctor"])
    assert told.exit_code == 1
    assert "-> do y" in told.output
    assert "could not be checked: ValueError: odd" in told.output
    assert run.has_failed(run.examine(None, Results(tmp_path)))
