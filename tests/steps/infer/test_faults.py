"""Test inference with faults: killed, out of disk or memory, without files, run twice at once.

Whatever happens, a rerun ends with the very bytes of an undisturbed run, repeats no finished
segment and leaves nothing behind.
"""

import contextlib
import errno
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.tables import PROBE_COLUMNS
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.poses.segments import KeyLock, SegmentFolder, SegmentPoses, Timings
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.infer import run as infer_step
from pipeline_lib.steps.infer import schedule as infer_schedule
from pipeline_lib.steps.infer import worker_cache as infer_memory
from pipeline_lib.steps.infer.cluster import connect_workers
from pipeline_lib.steps.infer.run import run_infer
from pipeline_lib.steps.infer.schedule import run_segment, schedule_videos
from tests.models.synthetic import write_tiny_model
from tests.steps.infer.test_run import (
    NO_CLUSTER,
    SHARD,
    make_config,
    read_rows,
    use_model,
    write_probe,
)
from tests.steps.running import (
    INFERENCE,
    Cohort,
    find_workers,
    kill_all,
    wait_for_end,
    wait_until,
)
from tests.video_corpus import damage_packet, encode, encode_variable, x264

pytestmark = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="finds processes in /proc")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Write a model folder to copy."""
    files = Results(tmp_path_factory.mktemp("model")).model("pose")
    write_tiny_model(files)
    return files


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Encode ten videos of different kinds and lengths."""
    folder = tmp_path_factory.mktemp("videos")
    found = {
        "damaged": encode(folder / "damaged.mp4", frames=60, options=x264()),
        "variable": encode_variable(folder / "variable.mp4", frames=45),
        "simple": encode(folder / "simple.avi", "mjpeg", 35, pixel_format="yuvj420p"),
        "single": encode(folder / "single.mp4", frames=1, options=x264()),
    }
    damage_packet(found["damaged"], 17)
    for number in range(6):
        path = folder / f"video-{number}.mp4"
        found[path.stem] = encode(path, frames=30 + 2 * number, options=x264())
    return found


@pytest.fixture(scope="module")
def undisturbed(model, videos, tmp_path_factory):
    """Return a cohort that was probed and inferred without faults."""
    cohort = Cohort(tmp_path_factory.mktemp("peace") / "cohort", model, videos)
    cohort.run("probe")
    # Not code of ours: no process may import what lies in the folder of a project.
    for name in ("av", "distributed", "numpy", "zarr"):
        (cohort.folder / f"{name}.py").write_text("raise SystemExit('imported from the folder')")
    cohort.run("infer", "--shard", SHARD)
    assert {row["status"] for row in cohort.read_rows().values()} == {"done"}
    assert cohort.list_leftovers() == []
    return cohort


@pytest.fixture
def cohort(undisturbed, model, videos, tmp_path):
    """Return the same cohort before its inference."""
    cohort = Cohort(tmp_path / "cohort", model, videos)
    shutil.copytree(undisturbed.results.shards, cohort.results.shards)
    for table in cohort.results.shards.glob("*/*-pose.tsv"):
        table.unlink()
    return cohort


@pytest.fixture
def results(tmp_path, model):
    results = Results(tmp_path / "results")
    use_model(results, model)
    return results


def assert_as_undisturbed(cohort, undisturbed):
    assert {row["status"] for row in cohort.read_rows().values()} == {"done"}
    assert cohort.list_leftovers() == []
    expected, found = undisturbed.read_poses(), cohort.read_poses()
    assert found.keys() == expected.keys()
    differing = [name for name in expected if found[name] != expected[name]]
    assert differing == []


def count_begun(said):
    """Return the frames that runs set out to infer, finished segments included."""
    return sum(int(frames) for frames in re.findall(r"videos to infer, (\d+) frames", said))


class _Moments:
    """Choose the moment of a fault, relative to the progress of a cohort."""

    def __init__(self, cohort, stream):
        self.cohort, self.stream = cohort, stream

    def at_start(self):
        after = time.monotonic() + self.stream.uniform(0.0, 1.5)
        return lambda: time.monotonic() > after

    def first_segment(self):
        return self.some_segments(1)

    def some_segments(self, more=None):
        wanted = len(self.cohort.identify_segments()) + (more or int(self.stream.integers(2, 12)))
        return lambda: len(self.cohort.identify_segments()) >= wanted

    def joining(self):
        return lambda: any(self.cohort.poses.glob(".part-*.zarr"))

    def published(self):
        before = set(self.cohort.poses.glob("[!.]*.zarr"))
        return lambda: set(self.cohort.poses.glob("[!.]*.zarr")) != before


def kill_worker(process):
    workers = find_workers(process.pid)
    if workers:
        os.kill(workers[0], signal.SIGKILL)


def kill_scheduler(process):
    """Leave orphaned workers, which may meet the next run if they do not end at once."""
    process.kill()
    process.wait()


def interrupt(process):
    """Interrupt all processes as Ctrl-C does, unless the run ended in the same moment."""
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode in {0, 130}, said
    assert "Traceback" not in said
    wait_for_end(process.pid)


STRIKES = [
    (kill_all, "at_start"),
    (kill_worker, "first_segment"),
    (kill_worker, "joining"),
    (kill_scheduler, "first_segment"),
    (kill_scheduler, "joining"),
    (kill_scheduler, "published"),
    (kill_all, "some_segments"),
    (kill_all, "joining"),
    (kill_all, "published"),
    (interrupt, "some_segments"),
]


def test_killed_at_many_moments(cohort, undisturbed):
    moments = _Moments(cohort, np.random.default_rng(0))
    strikes, sessions, process = list(STRIKES), [], None
    poses, segments = {}, {}
    while strikes:
        if process is None or process.poll() is not None:
            process = cohort.start_infer()
            sessions.append(process.pid)
        kill, when = strikes[0]
        if wait_until(getattr(moments, when)(), process):
            kill(process)
            strikes.pop(0)
        # What was there is still there and was not written again.
        now, later = cohort.identify_poses(), cohort.identify_segments()
        gone = {path for path in poses if now.get(path) != poses[path]}
        changed = {path for path in segments if later.get(path, segments[path]) != segments[path]}
        # An orphan may publish what the next run has begun by then: one for each worker.
        assert len(gone) + len(changed) + count_overlaps(later) <= INFERENCE["workers"]
        poses, segments = now, later
        if process.poll() == 0:
            # It came to its end in between. Once more, for what is still to strike.
            assert_as_undisturbed(cohort, undisturbed)
            shutil.rmtree(cohort.poses)
            poses, segments = {}, {}
    if process.poll() is None:
        kill_all(process)
    for session in sessions:
        wait_for_end(session)
    poses = cohort.identify_poses()
    cohort.run("infer", "--shard", SHARD)
    now = cohort.identify_poses()
    assert {path: now.get(path) for path in poses} == poses
    assert_as_undisturbed(cohort, undisturbed)


def count_overlaps(segments):
    """Count neighbours that share frames: those were inferred twice, cut differently."""
    ranges = sorted((path.parent, *map(int, path.stem.split("-"))) for path in segments)
    return sum(
        folder == other and start < stop
        for (folder, _, stop), (other, start, _) in itertools.pairwise(ranges)
    )


def test_an_interrupt_ends_a_run_that_has_begun(cohort):
    process = cohort.start_infer()
    assert wait_until(lambda: len(cohort.identify_segments()) > 0, process)
    interrupt(process)
    assert process.returncode == 130


def test_orphans_end_by_themselves(cohort):
    process = cohort.start_infer()
    assert wait_until(lambda: len(cohort.identify_segments()) > 3, process)
    assert len(find_workers(process.pid)) == 2
    kill_scheduler(process)
    wait_for_end(process.pid)
    there = cohort.identify_segments()
    time.sleep(0.3)
    assert cohort.identify_segments() == there


@pytest.mark.parametrize("kilobytes", [0, 40, 200])
def test_a_full_disk(cohort, undisturbed, tmp_path, kilobytes):
    """Fill the disk at once, among the segments, and among the pose files."""
    with small_disk(cohort.results.root, tmp_path) as disk:
        ballast = disk / "ballast"
        with contextlib.suppress(OSError):
            ballast.write_bytes(bytes(2**26))
        os.truncate(ballast, ballast.stat().st_size - 1024 * kilobytes)
        said = cohort.run("infer", "--shard", SHARD, code=1)
        last = said.splitlines()[-1]
        assert last.startswith(f"error: {cohort.results.root}"), said
        assert "No space left on device; make room" in last
        assert not cohort.results.shard(SHARD).infer("pose").exists()
        ballast.unlink()
        there = cohort.identify_poses()
        cohort.run("infer", "--shard", SHARD)
        now = cohort.identify_poses()
        assert {path: now[path] for path in there} == there
        assert_as_undisturbed(cohort, undisturbed)


def small_disk(folder, tmp_path):
    """Move a folder onto a small file system of its own."""
    kept = tmp_path / "kept"
    folder.rename(kept)
    folder.mkdir()
    return _SmallDisk(folder, kept)


class _SmallDisk:
    def __init__(self, folder, kept):
        self.folder, self.kept = folder, kept

    def __enter__(self):
        command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(self.folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("may not mount a file system")
        shutil.copytree(self.kept, self.folder, dirs_exist_ok=True)
        return self.folder

    def __exit__(self, *_):
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


def test_a_results_folder_that_is_read_only(cohort, undisturbed, tmp_path):
    with small_disk(cohort.results.root, tmp_path) as disk:
        process = cohort.start_infer()
        assert wait_until(lambda: len(cohort.identify_poses()) > 2, process)
        kill_all(process)
        remount = ["mount", "-o", "remount,{}", "tmpfs", str(disk)]
        subprocess.run([word.format("ro") for word in remount], check=True)
        said = cohort.run("infer", "--shard", SHARD, code=1)
        assert re.search(rf"error: {cohort.results.root}\S*: Read-only file system", said), said
        assert "Traceback" not in said
        subprocess.run([word.format("rw") for word in remount], check=True)
        cohort.run("infer", "--shard", SHARD)
        assert_as_undisturbed(cohort, undisturbed)


def test_a_results_folder_that_becomes_read_only(cohort, undisturbed):
    """Make the folder read-only, for every user, in the middle of a run."""

    def freeze(sign):
        folders = [cohort.poses, *(cohort.poses / ".segments").glob("*/")]
        return subprocess.run(["chattr", f"{sign}i", *folders], capture_output=True, check=False)

    process = cohort.start_infer()
    assert wait_until(lambda: len(cohort.identify_segments()) > 3, process)
    frozen = freeze("+")
    try:
        said, _ = process.communicate(timeout=240)
    finally:
        freeze("-")
    if frozen.returncode and process.returncode == 0:
        pytest.skip("no folder can be made immutable here")
    assert process.returncode == 1, said
    assert re.search(rf"error: {cohort.poses}\S*: Operation not permitted; make room", said), said
    cohort.run("infer", "--shard", SHARD)
    assert_as_undisturbed(cohort, undisturbed)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EDQUOT, errno.EIO, errno.ESTALE])
def test_a_results_folder_that_fails(results, videos, cluster, monkeypatch, code):
    """Raise any error of the file system: no video fails, the path is named, nothing is lost."""
    write = SegmentFolder.write
    written = []

    def fail(folder, segment):
        if len(written) == 3:
            raise OSError(code, os.strerror(code), str(folder.path))
        written.append(segment.start)
        write(folder, segment)

    write_probe(results, simple=videos["simple"])
    monkeypatch.setattr(SegmentFolder, "write", fail)
    config = make_config(cluster, segment_frames=5)
    with pytest.raises(StoreError, match=rf"\.segments/\w+: {os.strerror(code)}; make room"):
        run_infer(config, results, SHARD)
    assert not results.shard(SHARD).infer("pose").exists()
    monkeypatch.undo()
    run_infer(config, results, SHARD)
    assert len(read_poses(results.poses("pose", "simple")).time) == 35


@pytest.fixture(scope="module")
def cluster():
    """Start a Dask cluster with one worker in this process."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        yield cluster


def test_a_video_replaced_and_one_deleted_during_the_run(model, videos, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    paths = {name: shutil.copy2(videos[name], own) for name in ("variable", "simple", "video-0")}
    paths |= {
        name: encode(own / f"{name}.mp4", frames=300, options=x264(more))
        for name, more in (("replaced", ""), ("deleted", "qp=40"))
    }
    cohort = Cohort(tmp_path / "cohort", model, paths)
    cohort.run("probe")
    process = cohort.start_infer()
    # The longest first: both are at work once each has a segment.
    assert wait_until(
        lambda: len({path.parent for path in cohort.identify_segments()}) > 0, process
    )
    encode(own / "other.mp4", frames=20, options=x264()).replace(paths["replaced"])
    paths["deleted"].rename(own / "hidden")
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "3 done, 2 failed" in said
    rows = cohort.read_rows()
    assert rows["replaced"]["status"] == rows["deleted"]["status"] == "failed"
    assert rows["replaced"]["reason"] == "the file has changed since it was probed: run again"
    assert rows["deleted"]["reason"] == "the file has disappeared since it was probed"
    assert not cohort.results.poses("pose", "replaced").exists()
    shown = cohort.run("status", "--failed")
    assert "the file has disappeared" in shown
    assert "2 failed" in shown

    (own / "hidden").rename(paths["deleted"])
    cohort.run("probe")
    there = cohort.identify_poses()
    assert "2 videos to infer, 320 frames" in cohort.run("infer", "--shard", SHARD)
    assert {row["status"] for row in cohort.read_rows().values()} == {"done"}
    assert len(read_poses(cohort.results.poses("pose", "replaced")).time) == 20
    now = cohort.identify_poses()
    assert {path: now[path] for path in there} == there
    assert cohort.list_leftovers() == []


def test_an_index_of_a_file_that_was_there_for_a_moment(results, videos, monkeypatch, tmp_path):
    """Restore the file with its modification time: the other file in between does not count."""
    path, aside = tmp_path / "v.mp4", tmp_path / "aside.mp4"
    shutil.copy2(videos["video-0"], path)
    write_probe(results, v=path)
    index_video = infer_memory.index_video

    def swap(file):
        path.rename(aside)
        shutil.copy2(videos["video-3"], path)
        return index_video(file)

    monkeypatch.setattr(infer_memory, "index_video", swap)
    with threads() as cluster:
        run_infer(make_config(cluster, segment_frames=5), results, SHARD)
        assert read_rows(results)["v"]["status"] == "failed"
        monkeypatch.undo()
        aside.replace(path)
        run_infer(make_config(cluster, segment_frames=5), results, SHARD)
    assert read_rows(results)["v"]["status"] == "done"
    assert len(read_poses(results.poses("pose", "v")).time) == 30


def threads():
    return LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)


def test_two_runs_at_once(cohort, undisturbed):
    """Run two jobs of one shard: one of them computes each video, and both report all."""
    frames = sum(int(row["frames"]) for row in undisturbed.read_rows().values())
    runs = [cohort.start_infer() for _ in range(2)]
    said = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert count_begun("".join(said)) == frames
    assert all(f"shard {SHARD}: 10 done" in text for text in said)
    assert_as_undisturbed(cohort, undisturbed)


def test_two_shards_at_once_share_a_video(undisturbed, model, videos, tmp_path):
    twins = [
        shutil.copy2(videos["damaged"], tmp_path / f"{name}.mp4") for name in ("twin", "triplet")
    ]
    paths = {
        "damaged": videos["damaged"],
        "triplet": twins[1],
        "video-1": videos["video-1"],
        "video-2": videos["video-2"],
        "twin": twins[0],
        "video-3": videos["video-3"],
    }
    cohort = Cohort(tmp_path / "cohort", model, paths, shard_videos=3)
    cohort.run("probe")
    runs = [cohort.start_infer(shard) for shard in ("00001", "00002")]
    said = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    # 32, 34, 36 frames and once the 60 that three videos are.
    assert count_begun("".join(said)) == 32 + 34 + 36 + 60
    assert {row["status"] for row in cohort.read_rows().values()} == {"done"}
    expected = read_poses(undisturbed.results.poses("pose", "damaged"))
    for name in ("damaged", "twin", "triplet"):
        poses = read_poses(cohort.results.poses("pose", name))
        np.testing.assert_array_equal(poses.position, expected.position)
        assert poses.attributes == {**expected.attributes, "video": name}
    assert cohort.list_leftovers() == []


def test_results_that_another_run_publishes_before_the_lock_are_used(
    results, videos, cluster, monkeypatch
):
    write_probe(results, simple=videos["simple"])
    run_infer(make_config(cluster), results, SHARD)
    place = results.poses("pose", "simple")
    before = (place / "zarr.json").stat().st_ino
    place.rename(results.root / "not yet")
    claim = infer_step.claim_tasks

    def end_elsewhere(tasks):
        (results.root / "not yet").rename(place)
        return claim(tasks)

    monkeypatch.setattr(infer_step, "claim_tasks", end_elsewhere)
    run_infer(make_config(NO_CLUSTER), results, SHARD)
    assert read_rows(results)["simple"]["status"] == "done"
    assert (place / "zarr.json").stat().st_ino == before


def test_copies_are_made_by_one_run_at_a_time(results, videos, cluster, monkeypatch, tmp_path):
    """Let another run see the original, which must not copy at the same time."""
    twin = shutil.copy2(videos["simple"], tmp_path / "twin.avi")
    write_probe(results, simple=videos["simple"], twin=twin)
    copy = infer_step.copy_outcome
    held = []

    def look(task, known):
        held.append(not KeyLock(results.segments("pose", f"{task.key}.lock")).try_acquire())
        return copy(task, known)

    monkeypatch.setattr(infer_step, "copy_outcome", look)
    run_infer(make_config(cluster), results, SHARD)
    assert held == [True]


def test_a_worker_over_its_memory_limit(results, videos, monkeypatch):
    """Let Dask restart it; the video fails after the allowed number of attempts."""

    def take_memory(task, start, stop):
        if task.video == "simple" and start <= 10 < stop:
            hoard = np.ones(200_000_000)
            time.sleep(30)
            hoard.sum()
        return run_segment(task, start, stop)

    monkeypatch.setattr(infer_schedule, "run_segment", take_memory)
    write_probe(results, simple=videos["simple"], variable=videos["variable"])
    config = make_config(workers=2, attempts=2, worker_gigabytes=0.9, segment_frames=7)
    run_infer(config, results, SHARD)
    rows = read_rows(results)
    assert rows["variable"]["status"] == "done"
    assert rows["simple"]["status"] == "failed"
    assert rows["simple"]["reason"] == (
        "its worker died 2 times at frames 7 to 13: out of memory, or a crash of the decoder"
    )


def test_too_little_memory_for_the_network_is_no_fault_of_videos(results, videos):
    write_probe(results, simple=videos["simple"])
    # A worker with Python and Dask alone fits, not so with ONNX Runtime and a network.
    config = make_config(workers=1, worker_gigabytes=0.14, segment_frames=7)
    with pytest.raises(CohortposeError, match=r"load the network.*worker_gigabytes|lost the Dask"):
        run_infer(config, results, SHARD)
    assert not results.shard(SHARD).infer("pose").exists()


def test_a_worker_near_its_limit_works_on():
    """Check that workers do not pause, as Dask's would for ever if the network fills the memory."""

    def describe(dask_worker):
        manager = dask_worker.memory_manager
        return (
            manager.memory_limit,
            manager.memory_target_fraction,
            manager.memory_spill_fraction,
            manager.memory_pause_fraction,
        )

    settings = make_config(worker_gigabytes=2.0).inference
    with connect_workers(settings, 1) as client:
        (facts,) = client.run(describe).values()
    assert facts == (2 * 10**9, False, False, False)


@pytest.mark.parametrize("long", [False, True])
def test_workers_are_forks_where_these_can_be_asked_for(tmp_path, monkeypatch, long):
    """Check the way in which workers start: a socket's path has about a hundred characters."""
    folder = tmp_path / ("x" * 100 if long else "x")
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with connect_workers(make_config().inference, 1) as client:
        (command,) = client.run(lambda: " ".join(sys.orig_argv)).values()
    assert ("forkserver" in command, "spawn_main" in command) == (not long, long)


def test_a_cluster_that_has_lost_its_workers_is_given_up(results, videos, monkeypatch):
    monkeypatch.setattr(infer_schedule, "_SECONDS_ALONE", 0.2)
    monkeypatch.setattr(infer_schedule, "_SECONDS_BETWEEN_LOOKS", 0.1)
    write_probe(results, simple=videos["simple"])
    config, rows = make_config(), read_table(results.shard(SHARD).probe, PROBE_COLUMNS)
    tasks = infer_step.list_tasks(config, results, SHARD, rows)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=None) as empty,
        Client(empty) as client,
        pytest.raises(CohortposeError, match="every Dask worker died and none came back"),
    ):
        list(schedule_videos(client, tasks, config.inference))


def test_a_scheduler_that_goes_away_is_told(results, videos, monkeypatch):
    def go_away(*_):
        time.sleep(60)

    monkeypatch.setattr(infer_schedule, "run_segment", go_away)
    write_probe(results, simple=videos["simple"])
    dask, file = Path(sys.executable).with_name("dask"), results.root / "scheduler.json"
    scheduler = subprocess.Popen(
        [dask, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)],
        stderr=subprocess.DEVNULL,
    )
    ends = threading.Timer(2, scheduler.kill)
    try:
        while not file.exists():
            time.sleep(0.05)
        address = re.search(r'"address": "([^"]+)"', file.read_text())
        worker = subprocess.Popen(
            [dask, "worker", address[1], "--nthreads", "1", "--no-nanny"],
            stderr=subprocess.DEVNULL,
        )
        ends.start()
        with pytest.raises(
            CohortposeError, match=r"(Dask scheduler is gone|lost the Dask cluster|cannot connect)"
        ):
            run_infer(make_config(address[1]), results, SHARD)
    finally:
        ends.cancel()
        for process in (scheduler, worker):
            process.kill()
            process.wait()


def test_keys_on_the_command_line(undisturbed, model, videos, tmp_path):
    """Check that names do not matter: one name in two folders, one file twice, renamed, changed."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy2(videos["video-0" if name == "a" else "variable"], tmp_path / name / "clip.mp4")
    first, second = tmp_path / "a" / "clip.mp4", tmp_path / "b" / "clip.mp4"
    cohort = Cohort(tmp_path / "cohort", model, {"one": first, "two": second, "again": first})

    def infer():
        cohort.run("probe")
        return count_begun(cohort.run("infer"))

    assert infer() == 30 + 45
    frames = {video: int(row["frames"]) for video, row in cohort.read_rows().items()}
    assert frames == {"one": 30, "two": 45, "again": 30}
    there = cohort.identify_poses()

    renamed = first.rename(tmp_path / "a" / "renamed.mp4")
    cohort.write_sheet({"one": renamed, "two": second, "again": renamed, "new-name": renamed})
    assert infer() == 0
    now = cohort.identify_poses()
    assert {path: now[path] for path in there} == there
    assert len(now) == 4

    shutil.copy(videos["video-1"], second)
    assert infer() == 32
    now = cohort.identify_poses()
    changed = [path.stem for path in there if now[path] != there[path]]
    assert changed == ["two"]
    expected = read_poses(undisturbed.results.poses("pose", "video-1"))
    found = read_poses(cohort.results.poses("pose", "two"))
    np.testing.assert_array_equal(found.position, expected.position)
    assert cohort.list_leftovers() == []


def infer_fails(cohort):
    """Refuse a name that file systems cannot hold before anything runs."""
    return "another name" in cohort.run("probe", code=1)


def test_failed_videos_are_listed_and_tried_again(undisturbed, model, videos, tmp_path):
    paths = {name: tmp_path / f"{name}.mp4" for name in ("good", "lost", "torn")}
    for path, source in zip(paths.values(), ("video-0", "video-1", "video-2"), strict=True):
        shutil.copy2(videos[source], path)
    whole = paths["torn"].read_bytes()
    paths["torn"].write_bytes(whole[:500])
    cohort = Cohort(tmp_path / "cohort", model, paths)
    cohort.run("probe")
    paths["lost"].rename(tmp_path / "elsewhere")
    assert "1 done, 1 failed, 1 quarantined" in cohort.run("infer", "--shard", SHARD)
    shown = " ".join(cohort.run("status", "--failed").split())
    assert "lost failed infer the file has disappeared since it was probed" in shown
    assert "torn quarantined probe" in shown
    assert "good" not in shown
    assert "try again: cohortpose infer --retry-failed" in shown

    # To try again helps only when the cause is gone.
    said = cohort.run("infer", "--retry-failed", "--shard", SHARD)
    assert f"shard {SHARD}: trying again lost, torn" in said
    assert "videos to infer" not in said
    (tmp_path / "elsewhere").rename(paths["lost"])
    paths["torn"].write_bytes(whole)
    there = cohort.identify_poses()
    said = cohort.run("infer", "--retry-failed")
    assert count_begun(said) == 32 + 34
    assert "3 done" in said
    assert cohort.identify_poses().items() >= there.items()
    assert "No video failed" in cohort.run("status", "--failed")
    assert "every video is done" in cohort.run("infer", "--retry-failed")
    for name, source in (("lost", "video-1"), ("torn", "video-2")):
        found = read_poses(cohort.results.poses("pose", name))
        expected = read_poses(undisturbed.results.poses("pose", source))
        np.testing.assert_array_equal(found.position, expected.position)


def test_a_damaged_segment_is_told_and_healed(cohort, undisturbed):
    process = cohort.start_infer()
    assert wait_until(lambda: len(cohort.identify_segments()) > 6, process)
    kill_all(process)
    segment = min(cohort.identify_segments())
    os.truncate(segment, segment.stat().st_size // 2)
    (segment.parent / "index.npz").write_bytes(b"")
    said = cohort.run("infer", "--shard", SHARD, code=1)
    assert f"error: {segment}: damaged segment" in said
    assert "removed; run again" in said
    cohort.run("infer", "--shard", SHARD)
    assert_as_undisturbed(cohort, undisturbed)


@given(st.data())
def test_no_damage_of_a_segment_goes_unnoticed(data):
    """Change a byte or cut off the end: the file is refused and removed, or reads unchanged."""
    numbers = np.arange(12, dtype=np.float32)
    written = SegmentPoses(
        3,
        numbers.reshape(2, 1, 3, 2),
        numbers[:6].reshape(2, 1, 3),
        np.array([0, 1], "u1"),
        Timings(),
    )
    with tempfile.TemporaryDirectory() as name:
        folder = SegmentFolder(Path(name))
        folder.write(written)
        (file,) = folder.path.iterdir()
        content = bytearray(file.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] ^= data.draw(st.integers(1, 255))
        else:
            del content[at:]
        file.write_bytes(content)
        try:
            read = folder.read(3, 5)
        except StoreError:
            assert not file.exists()
            return
    np.testing.assert_array_equal(read.position, written.position)
    np.testing.assert_array_equal(read.confidence, written.confidence)
    np.testing.assert_array_equal(read.frame_status, written.frame_status)


def test_late_segments_are_removed(results, videos, cluster):
    """Publish a segment of a finished video, as by a worker that outlived its run."""
    write_probe(results, simple=videos["simple"])
    run_infer(make_config(cluster), results, SHARD)
    key = read_rows(results)["simple"]["key"]
    late = results.segments("pose", key)
    late.mkdir(parents=True)
    (late / "000000000-000000007.npz").write_bytes(b"late")
    late.with_name(f"{key}.lock").touch()
    run_infer(make_config(NO_CLUSTER), results, SHARD)
    assert not late.parent.exists()


def test_odd_videos_are_results(results, cluster, tmp_path):
    """Infer uniform grey, a single frame, and frames smaller than the network's stride."""
    paths = {
        "gray": encode_gray(tmp_path / "gray.mkv", 7, (64, 96)),
        "single": encode_gray(tmp_path / "single.mkv", 1, (64, 96)),
        "small": encode_gray(tmp_path / "small.mkv", 3, (6, 10)),
        "pixel": encode_gray(tmp_path / "pixel.mkv", 3, (1, 1)),
        "line": encode_gray(tmp_path / "line.mkv", 5, (2, 300)),
    }
    write_probe(results, **paths)
    # A tail of one frame, and segments longer than their video.
    run_infer(make_config(cluster, segment_frames=3), results, SHARD)
    rows = read_rows(results)
    assert {name: (row["status"], row["reason"]) for name, row in rows.items()} == dict.fromkeys(
        paths, ("done", "")
    )
    lengths = {name: len(read_poses(results.poses("pose", name)).time) for name in paths}
    assert lengths == {"gray": 7, "single": 1, "small": 3, "pixel": 3, "line": 5}


def encode_gray(path, frames, size):
    """Encode frames without anything to see."""
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = "gray"
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(np.full(size, 127, np.uint8), format="gray")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path
