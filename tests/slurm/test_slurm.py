"""Run the workflow on a real SLURM: training, sharded inference, and failures of jobs.

Most tests are stages of one cohort's life, in this order.
"""

import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.models.card import read_card
from tests.steps.running import is_forked
from tests.video_corpus import encode, x264
from tests.workflow.running import REPOSITORY, Run, identify, read_tsv

pytestmark = [pytest.mark.workflow, pytest.mark.slurm]

SNAKEMAKE = [sys.executable, str(Path(__file__).with_name("impatient_snakemake.py"))]
# What a site sets: here there is no accounting database and little memory.
SITE = (
    "--workflow-profile", str(REPOSITORY / "workflow/profiles/slurm"),
    "--slurm-status-command", "squeue",
    "--slurm-init-seconds-before-status-checks", "1",
    "--slurm-no-account",
    "--latency-wait", "10",
    "--default-resources", "slurm_partition=debug", "mem_mb=1500", "runtime=10",
    "--set-threads", "probe=1", "make_targets=1", "train=1", "infer=2",
)  # fmt: skip
MEMORY = ("--set-resources", "infer:mem_mb=3000", "report:mem_mb=1500", "train:mem_mb=3000")
# Not enough for PyTorch the first time.
STARVED = (*MEMORY[:-1], "train:mem_mb=200+1500*(attempt-1)", "train:gpu=1")
SHARD_RULES = ("probe", "infer", "postprocess")
SUMMARY = {"status", "report", "accept"}


class SlurmRun(Run):
    """Run the workflow with jobs on SLURM."""

    def submit(self, *arguments):
        """Call Snakemake with the profile, and wait."""
        return self.submit_while(lambda: None, *arguments)

    def submit_while(self, act, *arguments):
        """Do the same, and something now and then until it has ended."""
        command = self._command(*arguments, *SITE, cwd=REPOSITORY)
        return self.watch([*SNAKEMAKE, *command[1:]], act)


@pytest.fixture(scope="module")
def run(slurm, fresh, tmp_path_factory):
    assert slurm.list_jobs() == {}
    copy = fresh.copy(tmp_path_factory.mktemp("slurm-run") / "a cohort")
    run = SlurmRun(copy.folder)
    run.edit_config(frames={"extract": False})
    return run


def count_submitted(ended, rule):
    """Return how often a rule's jobs were given to SLURM."""
    said = re.findall(rf"Job \d+ has been submitted .*rule_{rule}\b", ended.output)
    return len(said)


def test_a_cohort_from_labels_to_the_report(run):
    """Let training be killed once for its memory and succeed with more at the retry."""
    ended = run.submit(*STARVED)
    assert ended.code == 0, ended.output
    status = {video: row["status"] for video, row in run.read_ledger().items()}
    assert status == {"mouse-01": "done", "mouse-02": "done", "mouse-04-damaged": "quarantined"}
    assert run.results.report.is_file()
    for rule in (*SHARD_RULES, "import_labels", "make_targets", "evaluate", "report"):
        assert count_submitted(ended, rule) == 1, (rule, ended.output)
    assert count_submitted(ended, "train") == 2, ended.output
    logs = (run.folder / ".snakemake" / "slurm_logs" / "rule_train").glob("*.log")
    assert any("exceeded memory limit" in log.read_text() for log in logs)
    # Light ones run where Snakemake does.
    assert count_submitted(ended, "status") == count_submitted(ended, "accept") == 0
    assert run.submit(*MEMORY).output.count("Nothing to be done") == 1


def add_videos(run, folder, count, first, frames):
    """Add videos to the sheet."""
    folder.mkdir(exist_ok=True)
    original = encode(folder / f"first-{first}.mp4", frames=frames, options=x264())
    rows = run.read_sheet()
    for number in range(first, first + count):
        path = folder / f"video-{number:03d}.mp4"
        # Another content for each, else they would be inferred once.
        shutil.copy(original, path)
        with path.open("ab") as file:
            file.write(b"\x00\x00\x00\x10free" + f"{number:08d}".encode())
        rows.append({"video": f"new-{number:03d}", "path": str(path)})
    run.write_sheet(rows)


def read_infer(run, shard):
    """Return how the videos of a shard ended."""
    return {row["video"]: row for row in read_tsv(run.results.shard(shard).infer("pose"))}


def find_workers(folder):
    """Return the Dask workers of inferences in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place = (process / "cwd").resolve()
        except OSError:
            continue
        if is_forked(int(process.name)) and place == folder.resolve():
            found.append(int(process.name))
    return sorted(found)


def test_more_videos_are_one_more_shard_whose_worker_may_die(run, tmp_path_factory):
    run.edit_config(inference={"shard_videos": 64, "workers": 2, "segment_frames": 10})
    # The settings of where and how changed, not the results: nothing of the old is computed.
    add_videos(run, tmp_path_factory.mktemp("more"), count=20, first=0, frames=60)
    before = {path: identify(path) for path in run.results.root.glob("poses/pose/mouse-*.zarr")}
    killed = []

    def kill_a_worker():
        if not killed and list(run.results.root.glob("poses/pose/new-*.zarr")):
            workers = find_workers(run.folder)
            if workers:
                os.kill(workers[-1], signal.SIGKILL)
                killed.append(workers[-1])

    ended = run.submit_while(kill_a_worker, *MEMORY)
    assert ended.code == 0, ended.output
    assert killed
    assert ended.jobs == {f"{rule} 00002" for rule in SHARD_RULES} | SUMMARY
    rows = read_infer(run, "00002")
    assert len(rows) == 20
    assert {row["status"] for row in rows.values()} == {"done"}
    assert {path: identify(path) for path in before} == before
    first = read_poses(run.results.poses("pose", "new-000"))
    assert first.position.shape[0] == 60


def test_a_cancelled_run_resumes_where_it_stopped(run, slurm, tmp_path_factory):
    add_videos(run, tmp_path_factory.mktemp("evenmore"), count=24, first=20, frames=150)
    poses = run.results.root / "poses" / "pose"
    cancelled = []

    def cancel():
        if not cancelled and list(poses.glob("new-0[2-4]*.zarr")):
            slurm.cancel_jobs()
            cancelled.append(time.monotonic())

    ended = run.submit_while(cancel, "--retries", "0", *MEMORY)
    assert cancelled
    assert ended.code != 0
    assert not run.results.shard("00003").infer("pose").exists()
    there = {path: identify(path) for path in poses.glob("[!.]*.zarr")}
    assert 23 <= len(there) < 46
    ended = run.submit(*MEMORY)
    assert ended.code == 0, ended.output
    assert {row["status"] for row in read_infer(run, "00003").values()} == {"done"}
    assert {path: identify(path) for path in there} == there
    assert len(list(poses.glob("[!.]*.zarr"))) == 46


def test_dask_workers_may_be_jobs_themselves(run, slurm):
    """Compare `inference.cluster: slurm` with local workers: the same bytes."""
    poses = run.results.root / "poses" / "pose"
    expected = {
        path.relative_to(poses): path.read_bytes()
        for name in ("mouse-01", "mouse-02")
        for path in (poses / f"{name}.zarr").rglob("*")
        if path.is_file()
    }
    jobs = {"number": 2, "cores": 1, "gigabytes": 1.5, "minutes": 30, "partition": "debug"}
    jobs["interface"] = "lo"
    run.edit_config(inference={"cluster": "slurm", "cluster_jobs": jobs})
    for name in ("mouse-01", "mouse-02"):
        shutil.rmtree(poses / f"{name}.zarr")
    run.results.shard("00001").infer("pose").unlink()
    seen = set()
    command = ["cohortpose", "infer", "--config", "config.yaml", "--shard", "00001"]
    ended = run.watch(command, lambda: seen.update(slurm.list_jobs()), cwd=run.folder)
    assert ended.code == 0, ended.output
    assert len(seen) == 2
    assert "2 jobs asked for" in ended.output
    # The folder is named "a cohort": the jobs found their credentials, which are gone now.
    assert list(run.results.root.glob(".dask-*")) == []
    for path, content in expected.items():
        assert (poses / path).read_bytes() == content, path
    assert {row["status"] for row in read_infer(run, "00001").values()} == {"done", "quarantined"}


def test_a_training_may_be_several_tasks(run):
    """Start a process per device with `srun`; they train the same network as one process."""
    one = run.results.model("pose")
    # By itself, this test trains the network of one process first.
    ended = run.submit(str(one.network.relative_to(run.folder)), *MEMORY)
    assert ended.code == 0, ended.output
    run.edit_config(training={"name": "two", "devices": 2, "accelerator": "cpu"})
    files = run.results.model("two")
    target = str(files.network.relative_to(run.folder))
    ended = run.submit(target, *MEMORY, "train:mpi=srun", "train:tasks_per_node=2")
    assert ended.code == 0, ended.output
    assert ended.jobs == {"train"}
    assert read_card(files.card).key == read_card(one.card).key
    curves = [read_tsv(each.history) for each in (one, files)]
    steps = [[(row["epoch"], row["step"], row["metric"]) for row in curve] for curve in curves]
    assert steps[0] == steps[1]
    # Processes add up gradients in another order. Losses show it in later digits; errors in px are
    # taken at the maximum of a map, which a network of few steps may put elsewhere.
    losses = [[float(row["value"]) for row in curve if "loss" in row["metric"]] for curve in curves]
    assert len(losses[0]) > len(curves[0]) // 3
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.02)
    log = (run.results.root / "logs" / "train-two.log").read_text()
    assert log.count("network of ") == 1, log
