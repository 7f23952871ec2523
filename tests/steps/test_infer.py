"""Inference: a row per true frame, nothing computed twice, no video in the way of another."""

import os
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import LocalCluster

import pipeline_lib.steps.infer as subject
from pipeline_lib.core.errors import ModelError, StoreError, VideoError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.tables import PROBE_COLUMNS, FrameStatus
from pipeline_lib.io.poses import read_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.io.video import VideoReader, fingerprint_file
from pipeline_lib.models.prediction import load_predictor
from pipeline_lib.steps import infer_video
from pipeline_lib.steps.infer import INFER_COLUMNS, count_threads, count_workers, run_infer
from pipeline_lib.steps.infer_video import Outcome, read_frames
from tests.models.synthetic import BODYPARTS, tiny_config, write_tiny_model
from tests.video_corpus import damage_packet, encode, encode_variable, x264

SHARD = "00001"
FRAMES = 20
# Nobody listens there: a run that needs a worker fails.
NO_CLUSTER = "tcp://127.0.0.1:1"


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A good video, one of variable frame rate, one with a damaged packet."""
    folder = tmp_path_factory.mktemp("videos")
    good = encode(folder / "good.mp4", frames=FRAMES, options=x264())
    variable = encode_variable(folder / "variable.mp4", frames=25)
    damaged = encode(folder / "damaged.mp4", frames=60, options=x264())
    damage_packet(damaged, 17)
    return {"good": good, "variable": variable, "damaged": damaged}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder to copy."""
    files = Results(tmp_path_factory.mktemp("model")).model("pose")
    write_tiny_model(files)
    return files


@pytest.fixture(scope="module")
def cluster():
    """A Dask cluster within this process, as one worker."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        yield cluster


@pytest.fixture
def results(tmp_path, model):
    results = Results(tmp_path / "results")
    use_model(results, model)
    return results


def use_model(results, model):
    files = results.model("pose")
    files.folder.mkdir(parents=True, exist_ok=True)
    for name in ("card", "network", "weights"):
        getattr(files, name).write_bytes(getattr(model, name).read_bytes())


def make_config(cluster="local", **inference):
    config = tiny_config()
    address = cluster if isinstance(cluster, str) else cluster.scheduler_address
    settings = {"runtime": "onnx", "threads_per_worker": 1, "workers": 1, "cluster": address}
    changed = config.inference.model_copy(update=settings | inference)
    return config.model_copy(update={"inference": changed})


def write_probe(results, **paths):
    """Write the probe's table for videos; a path of None is a video that the probe refused."""
    rows = []
    for video, path in paths.items():
        row = {"video": video, "path": path, "status": "quarantined", "reason": "probe said so"}
        if path is not None:
            frames = 1 if path.stat().st_size < 100 else VideoReader(path).facts.frames
            row |= {
                "status": "done",
                "reason": "",
                "frames": frames,
                "fps": 25.0,
                "fingerprint": fingerprint_file(path),
            }
        rows.append(row)
    write_table(results.shard(SHARD).probe, PROBE_COLUMNS, rows)


def read_rows(results):
    rows = read_table(results.shard(SHARD).infer("pose"), INFER_COLUMNS)
    return {row["video"]: row for row in rows}


def predict_frames(results, path, runtime="onnx"):
    """Predict frame by frame, without anything that the step does; NaN where undecodable."""
    predictor = load_predictor(results.model("pose"), runtime, threads=1)
    missing = np.full((2, len(BODYPARTS), 1), np.nan)
    return np.stack(
        [
            missing if image is None else predictor.predict([image])[0][0]
            for _, image in VideoReader(path).read()
        ]
    )


def identity(results, video):
    """Return what changes when a pose file is written again."""
    folder = results.poses("pose", video)
    return {
        file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in (folder, *folder.rglob("*"))
    }


def read(results, video):
    return read_poses(results.poses("pose", video))


def test_a_shard_on_a_local_cluster(results, videos, tmp_path):
    """The whole way, with a worker process: good, odd, damaged, refused and unreadable videos."""
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    write_probe(results, broken=broken, refused=None, **videos)
    run_infer(make_config(), results, SHARD)
    rows = read_rows(results)
    # In the order of the probe's table, whatever the order of computing.
    assert list(rows) == ["broken", "refused", "good", "variable", "damaged"]
    assert [row["status"] for row in rows.values()] == ["quarantined"] * 2 + ["done"] * 3
    assert "not a video" in rows["broken"]["reason"]
    assert rows["refused"]["reason"] == "probe said so"
    assert (rows["good"]["frames"], rows["good"]["undecodable"]) == ("20", "0")
    assert (rows["damaged"]["frames"], rows["damaged"]["undecodable"]) == ("60", "7")
    assert float(rows["good"]["seconds"]) > 0
    for video, path in videos.items():
        poses = read(results, video)
        assert poses.bodyparts == BODYPARTS
        expected = predict_frames(results, path)
        np.testing.assert_allclose(poses.position, expected, atol=1e-3)
        np.testing.assert_array_equal(poses.time, VideoReader(path).times)
        assert poses.attributes["video"] == video
        assert poses.attributes["key"] == rows[video]["key"]
    for video in ("broken", "refused"):
        assert not results.poses("pose", video).exists()
    # Neighbouring frames differ: a shift by one would show.
    moved = np.abs(np.diff(read(results, "good").position, axis=0)).max(axis=(1, 2, 3))
    assert (moved > 0.01).all()


def test_undecodable_frames_are_rows_without_a_point(results, videos, cluster):
    write_probe(results, damaged=videos["damaged"])
    run_infer(make_config(cluster, batch_size=3), results, SHARD)
    poses = read(results, "damaged")
    lost = np.zeros(60, bool)
    # Packet 17 is the reference shown as frame 20, which 17 to 23 need.
    lost[17:24] = True
    np.testing.assert_array_equal(poses.frame_status == FrameStatus.UNDECODABLE, lost)
    assert np.isnan(poses.position[lost]).all()
    assert np.isnan(poses.confidence[lost]).all()
    assert np.isfinite(poses.position[~lost]).all()
    assert ((poses.confidence[~lost] >= 0) & (poses.confidence[~lost] <= 1)).all()


def test_poses_do_not_depend_on_the_batch(results, videos, cluster):
    """1 and 3 do not divide 60, 8 straddles the damage; 61 holds the whole video."""
    write_probe(results, damaged=videos["damaged"])
    found = []
    for size in (8, 1, 3, 61):
        run_infer(make_config(cluster, batch_size=size), results, SHARD)
        found.append(read(results, "damaged"))
        # The key is the same: without this the pose file would stay.
        results.poses("pose", "damaged").rename(results.root / f"batch-{size}")
    for other in found[1:]:
        np.testing.assert_allclose(other.position, found[0].position, atol=1e-3)
        np.testing.assert_allclose(other.confidence, found[0].confidence, atol=1e-4)
        assert other.attributes["key"] == found[0].attributes["key"]


def test_runtimes_agree(results, videos, cluster):
    write_probe(results, good=videos["good"])
    run_infer(make_config(cluster), results, SHARD)
    by_onnx = read(results, "good").position
    results.poses("pose", "good").rename(results.root / "onnx")
    run_infer(make_config(cluster, runtime="torch"), results, SHARD)
    np.testing.assert_allclose(read(results, "good").position, by_onnx, atol=1e-2)


def test_a_second_run_computes_nothing(results, videos, cluster):
    write_probe(results, good=videos["good"], variable=videos["variable"])
    run_infer(make_config(cluster), results, SHARD)
    before = identity(results, "good") | identity(results, "variable")
    first = read_rows(results)
    # Snakemake deletes the declared output before it runs a job again.
    results.shard(SHARD).infer("pose").unlink()
    run_infer(make_config(NO_CLUSTER), results, SHARD)
    assert identity(results, "good") | identity(results, "variable") == before
    again = read_rows(results)
    for video in ("good", "variable"):
        for column in ("status", "key", "frames", "undecodable"):
            assert again[video][column] == first[video][column]


def test_a_new_video_in_the_shard_is_the_only_one_computed(results, videos, cluster):
    write_probe(results, good=videos["good"])
    run_infer(make_config(cluster), results, SHARD)
    before = identity(results, "good")
    write_probe(results, good=videos["good"], variable=videos["variable"])
    run_infer(make_config(cluster), results, SHARD)
    assert identity(results, "good") == before
    assert len(read(results, "variable").time) == 25


def test_another_model_computes_anew(results, videos, cluster, tmp_path):
    write_probe(results, good=videos["good"])
    run_infer(make_config(cluster), results, SHARD)
    first = read(results, "good")
    other = Results(tmp_path / "other").model("pose")
    write_tiny_model(other, seed=1, key="k2")
    use_model(results, other)
    run_infer(make_config(cluster), results, SHARD)
    second = read(results, "good")
    assert second.attributes["key"] != first.attributes["key"]
    assert second.attributes["model_key"] == "k2"
    # Not the model that the worker kept warm.
    np.testing.assert_allclose(second.position, predict_frames(results, videos["good"]), atol=1e-3)
    assert np.abs(second.position - first.position).max() > 1


def test_another_video_of_the_same_name_computes_anew(results, videos, cluster):
    """`Already analysed?` is not decided by a file name."""
    write_probe(results, v=videos["good"])
    run_infer(make_config(cluster), results, SHARD)
    first = read(results, "v")
    write_probe(results, v=videos["variable"])
    run_infer(make_config(cluster), results, SHARD)
    assert len(first.time) == FRAMES
    assert len(read(results, "v").time) == 25
    assert read(results, "v").attributes["key"] != first.attributes["key"]


def test_a_new_version_of_the_step_computes_anew(results, videos, cluster, monkeypatch):
    write_probe(results, good=videos["good"])
    run_infer(make_config(cluster), results, SHARD)
    first = read_rows(results)["good"]["key"]
    monkeypatch.setattr("pipeline_lib.core.versions.INFER", 99)
    run_infer(make_config(cluster), results, SHARD)
    assert read_rows(results)["good"]["key"] != first
    assert read(results, "good").attributes["key"] != first


def test_a_video_that_vanished_after_the_probe(results, videos, tmp_path, cluster):
    gone = tmp_path / "gone.mp4"
    gone.write_bytes(videos["good"].read_bytes())
    write_probe(results, gone=gone, good=videos["good"])
    gone.unlink()
    run_infer(make_config(cluster), results, SHARD)
    rows = read_rows(results)
    assert (rows["gone"]["status"], rows["good"]["status"]) == ("quarantined", "done")
    assert rows["gone"]["reason"]


def test_a_video_that_fails_in_the_middle_leaves_nothing(results, videos, cluster, monkeypatch):
    def stop(*_):
        yield 0, np.zeros((64, 96, 3), np.uint8)
        raise VideoError("frame 1 has another size")

    monkeypatch.setattr(infer_video.VideoReader, "read", stop)
    write_probe(results, good=videos["good"])
    run_infer(make_config(cluster, batch_size=1), results, SHARD)
    row = read_rows(results)["good"]
    assert (row["status"], row["reason"]) == ("quarantined", "frame 1 has another size")
    assert list(results.poses("pose", "good").parent.iterdir()) == []


def test_no_space_left_fails_the_job_and_keeps_what_is_done(results, videos, cluster, monkeypatch):
    """No verdict on a video: the retry computes only what is missing."""
    write = infer_video._write_poses

    def fail(task, *rest):
        if task.video == "good":
            raise OSError(28, "No space left on device")
        write(task, *rest)

    monkeypatch.setattr(infer_video, "_write_poses", fail)
    # Longest first: the other one is done by then.
    write_probe(results, good=videos["good"], variable=videos["variable"])
    with pytest.raises(OSError, match="No space left"):
        run_infer(make_config(cluster), results, SHARD)
    assert not results.shard(SHARD).infer("pose").exists()
    before = identity(results, "variable")
    monkeypatch.undo()
    run_infer(make_config(cluster), results, SHARD)
    assert identity(results, "variable") == before
    assert {row["status"] for row in read_rows(results).values()} == {"done"}


def test_a_video_that_kills_its_worker_is_the_only_one_lost(results, videos, monkeypatch):
    """As a codec that crashes does. The others, blamed with it, are tried again."""

    def crash(task):
        if task.video == "good":
            os._exit(1)
        return infer_video.infer_video(task)

    monkeypatch.setattr(subject, "infer_video", crash)
    write_probe(results, good=videos["good"], variable=videos["variable"])
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        run_infer(make_config(), results, SHARD)
    rows = read_rows(results)
    assert rows["good"]["status"] == "quarantined"
    assert rows["good"]["reason"] == "the worker died each time it read this video"
    assert rows["variable"]["status"] == "done"
    assert len(read(results, "variable").time) == 25


def test_a_shard_without_a_good_video_starts_no_worker(results):
    write_probe(results, a=None, b=None)
    run_infer(make_config(NO_CLUSTER), results, SHARD)
    assert [row["status"] for row in read_rows(results).values()] == ["quarantined"] * 2


def test_what_is_missing_is_said(results, tmp_path):
    with pytest.raises(StoreError, match=r"probe\.tsv: no such file"):
        run_infer(make_config(), results, SHARD)
    with pytest.raises(ModelError, match=r"model\.json: no model; run train"):
        run_infer(make_config(), Results(tmp_path / "empty"), SHARD)
    write_probe(results, a=None)
    table = results.shard(SHARD).probe
    table.write_text(table.read_text().replace("quarantined", "done"))
    with pytest.raises(StoreError, match="video a has no frame count"):
        run_infer(make_config(), results, SHARD)


def test_workers_and_threads_share_the_cores(monkeypatch):
    monkeypatch.setattr("pipeline_lib.steps.infer.count_cores", lambda: 12)
    free = tiny_config().inference.model_copy(update={"runtime": "onnx"})

    def given(**changes):
        settings = free.model_copy(update=changes)
        return count_workers(settings), count_threads(settings)

    assert given() == (12, 1)
    assert given(workers=4) == (4, 3)
    assert given(workers=5) == (5, 2)
    assert given(workers=20) == (20, 1)
    assert given(workers=4, threads_per_worker=2) == (4, 2)
    monkeypatch.setattr("pipeline_lib.steps.infer.count_gpus", lambda: 2)
    assert given(runtime="torch") == (2, 6)
    assert given(runtime="onnx") == (12, 1)


def test_an_outcome_counts_the_rows_of_the_file(results, videos, cluster):
    write_probe(results, damaged=videos["damaged"])
    run_infer(make_config(cluster), results, SHARD)
    tasks = subject._make_task(
        make_config(cluster),
        results,
        read_table(results.shard(SHARD).probe, PROBE_COLUMNS)[0],
        subject.read_card(results.model("pose").card),
    )
    outcome = Outcome.of_finished(tasks, 1.5)
    assert (outcome.frames, outcome.undecodable, outcome.seconds) == (60, 7, 1.5)
    assert Path(tasks.output).is_absolute()


class _OddReader:
    """Gives one frame, then fails."""

    def __init__(self, error):
        self.error = error

    def read(self):
        yield 0, None
        raise self.error


def test_an_odd_failure_of_the_decoder_is_about_the_video_alone():
    frames = read_frames(_OddReader(KeyError("codec")))
    assert next(frames) == (0, None)
    with pytest.raises(VideoError, match=r"unexpected KeyError while decoding: 'codec'"):
        next(frames)


@pytest.mark.parametrize("error", [OSError("disk"), MemoryError(), VideoError("its size changes")])
def test_failures_of_the_machine_and_verdicts_pass_through(error):
    frames = read_frames(_OddReader(error))
    next(frames)
    with pytest.raises(type(error)) as raised:
        next(frames)
    assert raised.value is error
