"""Test inference: a row per true frame, nothing computed twice, videos independent."""

import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from distributed import LocalCluster

from pipeline_lib.core.errors import ModelError, StoreError, VideoError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.overrides import VideoOverride
from pipeline_lib.core.settings.videos import ClusterSecuritySettings
from pipeline_lib.core.tables import (
    MANIFEST_COLUMNS,
    PLAN_COLUMNS,
    PROBE_COLUMNS,
    FrameStatus,
)
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.io.video.reader import VideoReader, fingerprint_file
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference.decoding import Located
from pipeline_lib.models.inference.predictor import RuntimeOptions, load_predictor
from pipeline_lib.steps.export.run import run_export
from pipeline_lib.steps.filter import run_filter
from pipeline_lib.steps.infer import schedule as infer_schedule
from pipeline_lib.steps.infer import segment as infer_segment
from pipeline_lib.steps.infer import worker_cache as infer_memory
from pipeline_lib.steps.infer.plan import list_tasks
from pipeline_lib.steps.infer.run import INFER_COLUMNS, retry_failed, run_infer
from pipeline_lib.steps.infer.schedule import plan_segments, run_segment
from pipeline_lib.steps.infer.segment import guard_decoding
from pipeline_lib.steps.infer.workers import count_decoders, count_threads, count_workers
from pipeline_lib.steps.runs.result_keys import make_network_keys, network_key
from tests.models.synthetic import BODYPARTS, tiny_config, write_tiny_model
from tests.video_corpus import damage_packet, encode, encode_variable, x264

SHARD = "00001"
FRAMES = 20
# Nobody listens there: a run that needs a worker fails.
NO_CLUSTER = "tcp://127.0.0.1:1"


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Encode a good video, one of variable frame rate, and one with a damaged packet."""
    folder = tmp_path_factory.mktemp("videos")
    good = encode(folder / "good.mp4", frames=FRAMES, options=x264())
    variable = encode_variable(folder / "variable.mp4", frames=25)
    damaged = encode(folder / "damaged.mp4", frames=60, options=x264())
    damage_packet(damaged, 17)
    return {"good": good, "variable": variable, "damaged": damaged}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Write a model folder to copy."""
    files = Results(tmp_path_factory.mktemp("model")).model("pose")
    write_tiny_model(files)
    return files


@pytest.fixture(scope="module")
def cluster():
    """Start a Dask cluster with one worker in this process."""
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
    if "://" in address:
        settings["cluster_security"] = ClusterSecuritySettings(insecure=True)
    changed = config.inference.model_copy(update=settings | inference)
    return config.model_copy(update={"inference": changed})


def write_probe(results, shard=SHARD, **paths):
    """Write manifest and probe's table; a path of None is a video that the probe refused."""
    rows, manifest = [], []
    for video, path in paths.items():
        row = {"video": video, "path": path, "status": "quarantined", "reason": "probe said so"}
        facts = {"video": video, "path": path, "bytes": 0, "modified_ns": 0}
        if path is not None:
            frames = 1 if path.stat().st_size < 100 else VideoReader(path).facts.frames
            row |= {
                "status": "done",
                "reason": "",
                "frames": frames,
                "fps": 25.0,
                "fingerprint": fingerprint_file(path),
            }
            facts |= {"bytes": path.stat().st_size, "modified_ns": path.stat().st_mtime_ns}
        rows.append(row)
        manifest.append(facts)
    write_table(results.shard(shard).probe, PROBE_COLUMNS, rows)
    write_table(results.shard(shard).manifest, MANIFEST_COLUMNS, manifest)


def read_rows(results):
    rows = read_table(results.shard(SHARD).infer("pose"), INFER_COLUMNS)
    return {row["video"]: row for row in rows}


def predict_frames(results, path, runtime="onnx"):
    """Predict frame by frame, without anything that the step does; NaN where undecodable."""
    predictor = load_predictor(results.model("pose"), RuntimeOptions(runtime, threads=1))
    missing = np.full((1, len(BODYPARTS), 2), np.nan)
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
    """Infer with a worker process: good, odd, damaged, refused and unreadable videos."""
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


def test_an_ensemble_predicts_each_frame_once_and_stores_its_spread(results, videos, cluster):
    write_tiny_model(results.model("pose").member(2), seed=3)
    write_probe(results, good=videos["good"], damaged=videos["damaged"])
    config = make_config(cluster, segment_frames=7)
    training = config.training.model_copy(update={"ensemble": 2})
    run_infer(config.model_copy(update={"training": training}), results, SHARD)
    files, options = results.model("pose"), RuntimeOptions("onnx", threads=1)
    first, second = (load_predictor(one, options) for one in files.list_members(2))
    for video in ("good", "damaged"):
        poses = read(results, video)
        assert poses.attributes["members"] == 2
        for frame, image in VideoReader(videos[video]).read():
            if image is None:
                assert np.isnan(poses.spread[frame]).all()
                continue
            one, two = (each.predict([image]).position[0] for each in (first, second))
            np.testing.assert_allclose(poses.position[frame], (one + two) / 2, atol=1e-3)
            half = np.linalg.norm(one - two, axis=-1) / 2
            np.testing.assert_allclose(poses.spread[frame], half, atol=1e-3)


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


def test_frames_that_the_file_lacks_are_rows_without_a_point(results, tmp_path, cluster):
    whole = encode(tmp_path / "whole.mkv", "mjpeg", frames=40, pixel_format="yuvj420p")
    lossy = tmp_path / "lossy.mkv"
    with av.open(lossy, "w") as container, av.open(whole) as source:
        stream = container.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet in (*packets[:10], *packets[13:]):
            packet.stream = stream
            container.mux(packet)
    write_probe(results, whole=whole, lossy=lossy)
    run_infer(make_config(cluster, segment_frames=7), results, SHARD)
    expected, found = read(results, "whole"), read(results, "lossy")
    lost = np.zeros(40, bool)
    lost[10:13] = True
    np.testing.assert_array_equal(found.frame_status == FrameStatus.MISSING, lost)
    np.testing.assert_array_equal(found.frame_status == FrameStatus.DECODED, ~lost)
    assert np.isnan(found.position[lost]).all()
    np.testing.assert_array_equal(found.position[~lost], expected.position[~lost])


def test_poses_do_not_depend_on_the_batch(results, videos, cluster):
    """Use lengths: 1 and 3 do not divide 60, 8 straddles the damage, 61 is the whole video."""
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
    # Also what it took, when it was computed.
    assert read_rows(results) == first


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
    """Check that no file name decides whether a video is already analysed."""
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
    assert (rows["gone"]["status"], rows["good"]["status"]) == ("failed", "done")
    assert rows["gone"]["reason"] == "the file has disappeared since it was probed"


def test_a_video_that_fails_in_the_middle_leaves_nothing(results, videos, cluster, monkeypatch):
    read = VideoReader.read_pictures

    def stop(reader, *span):
        yield next(read(reader, *span))
        raise VideoError("frame 1 has another size")

    monkeypatch.setattr(VideoReader, "read_pictures", stop)
    write_probe(results, good=videos["good"])
    run_infer(make_config(cluster, batch_size=1), results, SHARD)
    row = read_rows(results)["good"]
    assert (row["status"], row["reason"]) == ("quarantined", "frame 1 has another size")
    assert list(results.poses("pose", "good").parent.iterdir()) == []


@pytest.mark.parametrize("where", ["SegmentFolder.write", "create_poses"])
def test_no_space_left_fails_the_job_and_keeps_what_is_done(
    results, videos, cluster, monkeypatch, where
):
    """Fail the job, not a video: the retry computes only what is missing."""
    subject = infer_segment.SegmentFolder if "." in where else infer_segment
    name = where.rpartition(".")[2]
    write = getattr(subject, name)

    def fail(first, *rest, **more):
        place = getattr(first, "path", first)
        if str(place).endswith(("good.zarr", key)):
            raise OSError(28, "No space left on device", "disk")
        return write(first, *rest, **more)

    config = make_config(cluster, segment_frames=15)
    write_probe(results, good=videos["good"])
    run_infer(config, results, SHARD)
    key = read(results, "good").attributes["key"]
    results.poses("pose", "good").rename(results.root / "first")
    results.shard(SHARD).infer("pose").unlink()

    monkeypatch.setattr(subject, name, fail)
    # Longest first: the other one is done by then.
    write_probe(results, good=videos["good"], variable=videos["variable"])
    with pytest.raises(StoreError, match="disk: No space left on device; make room"):
        run_infer(config, results, SHARD)
    assert not results.shard(SHARD).infer("pose").exists()
    before = identity(results, "variable")
    monkeypatch.undo()
    run_infer(config, results, SHARD)
    assert identity(results, "variable") == before
    assert {row["status"] for row in read_rows(results).values()} == {"done"}
    assert_same_poses(results.root / "first", results.poses("pose", "good"))


def assert_same_poses(first, second):
    """Compare every file byte by byte."""
    files = {file.relative_to(first) for file in first.rglob("*") if file.is_file()}
    assert files == {file.relative_to(second) for file in second.rglob("*") if file.is_file()}
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


def test_a_video_that_kills_its_worker_is_the_only_one_lost(results, videos, monkeypatch):
    """Kill the worker as a crashing codec does; the other videos on it are tried again."""

    def crash(task, start, stop):
        if task.video == "good" and start <= 10 < stop:
            os._exit(1)
        return run_segment(task, start, stop)

    monkeypatch.setattr(infer_schedule, "run_segment", crash)
    write_probe(results, good=videos["good"], variable=videos["variable"])
    config = make_config(attempts=2, workers=2, segment_frames=6)
    run_infer(config, results, SHARD)
    rows = read_rows(results)
    assert rows["good"]["status"] == "failed"
    assert rows["good"]["reason"] == (
        "its worker died 2 times at frames 10 to 14: out of memory, or a crash of the decoder"
    )
    assert rows["variable"]["status"] == "done"
    assert len(read(results, "variable").time) == 25

    # Its other segments are kept for when it is tried again, which is when somebody says so.
    monkeypatch.undo()
    begun = []
    monkeypatch.setattr(
        infer_schedule, "plan_segments", lambda *a: begun.append(plan_segments(*a)) or begun[-1]
    )
    before = identity(results, "variable")
    retry_failed(config, results, SHARD)
    assert [row["status"] for row in read_rows(results).values()] == ["done", "done"]
    ((key, segments),) = begun[0].items()
    assert key == read(results, "good").attributes["key"]
    assert (10, 15) in segments
    assert (0, 5) not in segments
    assert identity(results, "variable") == before
    retry_failed(config, results, SHARD)
    assert len(begun) == 1
    expected = predict_frames(results, videos["good"])
    np.testing.assert_allclose(read(results, "good").position, expected, atol=1e-3)


def test_segments_of_any_length_give_the_same_bytes(results, videos, cluster):
    write_probe(results, damaged=videos["damaged"])
    for length in (60, 7, 1, 25):
        run_infer(make_config(cluster, segment_frames=length), results, SHARD)
        results.poses("pose", "damaged").rename(results.root / f"segments-{length}")
    for length in (7, 1, 25):
        assert_same_poses(results.root / "segments-60", results.root / f"segments-{length}")
    assert list(results.poses("pose", "damaged").parent.iterdir()) == []


def test_a_whole_video_is_published_without_a_segment(results, videos, cluster, monkeypatch):
    """Return the poses that `test_segments_of_any_length_give_the_same_bytes` compares."""

    def refuse(*_args):
        pytest.fail("a segment was written, or joined")

    monkeypatch.setattr(infer_segment.SegmentFolder, "write", refuse)
    monkeypatch.setattr(infer_memory, "write_index", refuse)
    monkeypatch.setattr(infer_schedule, "finish_video", refuse)
    write_probe(results, damaged=videos["damaged"], variable=videos["variable"])
    # What a run left that was killed and had cut it.
    config = make_config(cluster)
    (task, _) = list_tasks(config, results, SHARD, read_table(results.shard(SHARD).probe, ()))
    Path(task.segments).mkdir(parents=True)
    Path(task.segments, "index.npz").write_bytes(b"half")
    run_infer(config, results, SHARD)
    rows = read_rows(results)
    assert [(row["status"], row["frames"], row["undecodable"]) for row in rows.values()] == [
        ("done", "60", "7"),
        ("done", "25", "0"),
    ]
    assert float(rows["damaged"]["frames_per_second"]) > 0
    assert sorted(path.name for path in results.poses("pose", "v").parent.iterdir()) == [
        "damaged.zarr",
        "variable.zarr",
    ]


# Logs and benchmarks of a shard: probe, select-frames, infer, filter and export.
WORKFLOW_FILES = 2 * 5
MOST_FILES = 12


@pytest.mark.parametrize("video", ["good", "damaged"])
def test_files_are_few(results, videos, cluster, video):
    """Count files, as clusters do; tests of pose files check that an hour has no more."""
    write_probe(results, **{video: videos[video]})
    config = make_config(cluster)
    config = config.model_copy(
        update={"exports": config.exports.model_copy(update={"formats": ("h5", "csv")})}
    )
    for run in (run_infer, run_filter, run_export):
        run(config, results, SHARD)
    files = [file for file in results.root.rglob("*") if file.is_file()]
    own = [file for file in files if results.model("pose").folder not in file.parents]
    of_shard = [file for file in own if results.shards in file.parents]
    assert [file for file in files if file.name.startswith((".part", ".old"))] == []
    # The segments' folder and all locks are gone.
    assert [path.name for path in results.poses("pose", video).parent.iterdir()] == [
        f"{video}.zarr"
    ]
    share = (len(of_shard) + WORKFLOW_FILES) / config.inference.shard_videos
    assert len(own) - len(of_shard) + share <= MOST_FILES


def test_finished_segments_are_not_computed_again(results, videos, cluster, monkeypatch):
    write_probe(results, damaged=videos["damaged"])
    infer = infer_segment.infer_segment
    begun = []

    def stop_at_40(task, start, stop, note=None):
        begun.append((start, stop))
        if start >= 40 and len(begun) < 4:
            raise OSError(5, "Input/output error", "disk")
        return infer(task, start, stop, note)

    monkeypatch.setattr(infer_schedule, "infer_segment", stop_at_40)
    with pytest.raises(StoreError, match="Input/output error"):
        run_infer(make_config(cluster, segment_frames=20), results, SHARD)
    assert begun == [(0, 20), (20, 40), (40, 60)]
    begun[:] = [None] * 4
    # Cut elsewhere: what is finished counts by its frames.
    run_infer(make_config(cluster, segment_frames=15), results, SHARD)
    assert begun[4:] == [(40, 50), (50, 60)]
    expected = predict_frames(results, videos["damaged"])
    np.testing.assert_allclose(read(results, "damaged").position, expected, atol=1e-3)


class FollowsBlocks:
    """Predict the brightness of a frame, plus that of the first frame of its block."""

    def __init__(self, card):
        self.card, self.surplus, self.calls = card, 0, []

    def predict(self, frames, first=None):
        self.calls.append(len(frames))
        values = np.array([frame.mean() for frame in frames])
        assert first[0]
        leaders = values[np.flatnonzero(first)[np.cumsum(first) - 1]]
        found = np.broadcast_to((1000 * leaders + values)[:, None, None], (len(frames), 1, 3))
        return Located(np.stack([found, found], -1).astype(np.float32), found.astype(np.float32))


def test_blocks_do_not_depend_on_segments(results, videos, cluster, monkeypatch):
    """Cut a video with a damaged frame in different places, within blocks too."""
    write_probe(results, damaged=videos["damaged"])
    predictor = FollowsBlocks(read_card(results.model("pose").card))
    monkeypatch.setattr(infer_segment, "load_warm_predictor", lambda _: predictor)
    status = np.array([image is None for _, image in VideoReader(videos["damaged"]).read()])
    assert status.any()
    found = []
    for frames, batch in ((60, 8), (7, None), (13, 1)):
        config = make_config(cluster, segment_frames=frames, batch_size=batch)
        locating = config.locating.model_copy(update={"every": 6})
        noted = []
        infer = infer_segment.infer_segment
        monkeypatch.setattr(
            infer_schedule,
            "infer_segment",
            lambda task, start, stop, _, infer=infer, noted=noted: infer(
                task, start, stop, lambda count, _: noted.append(count)
            ),
        )
        run_infer(config.model_copy(update={"locating": locating}), results, SHARD)
        assert sum(noted) == 60
        found.append(read(results, "damaged"))
        shutil.rmtree(results.poses("pose", "damaged"))
        results.shard(SHARD).infer("pose").unlink()
        monkeypatch.setattr(infer_schedule, "infer_segment", infer)
    whole = found[0]
    np.testing.assert_array_equal(whole.frame_status != FrameStatus.DECODED, status)
    for other in found[1:]:
        assert other.position.tobytes() == whole.position.tobytes()
    # Each block has a leader of its own.
    leaders = np.floor(whole.position[:, 0, 0, 0] / 1000)
    assert len(np.unique(leaders[~status])) > 1


def test_the_same_file_twice_is_computed_once(results, videos, cluster, monkeypatch, tmp_path):
    """Copy in one shard, in another shard, and under another name."""
    begun = []
    infer = infer_segment.infer_segment
    monkeypatch.setattr(
        infer_schedule,
        "infer_segment",
        lambda task, *rest: begun.append(task.video) or infer(task, *rest),
    )
    twin = tmp_path / "elsewhere" / "good.mp4"
    twin.parent.mkdir()
    twin.write_bytes(videos["good"].read_bytes())
    write_probe(results, good=videos["good"], twin=twin)
    run_infer(make_config(cluster), results, SHARD)
    assert begun == ["good"]
    # A name that comes later, in a shard of its own.
    write_probe(results, shard="00002", renamed=twin)
    places = {"good": SHARD, "twin": SHARD, "renamed": "00002"}
    write_table(
        results.plan,
        PLAN_COLUMNS,
        [
            {"video": name, "shard": shard, "state": "active" if name != "twin" else "removed"}
            for name, shard in places.items()
        ],
    )
    run_infer(make_config(NO_CLUSTER), results, "00002")
    assert begun == ["good"]
    first = read(results, "good")
    for name in ("twin", "renamed"):
        poses = read(results, name)
        np.testing.assert_array_equal(poses.position, first.position)
        assert poses.attributes == {**first.attributes, "video": name}
    assert read_rows(results)["twin"]["status"] == "done"
    assert read_rows(results)["twin"]["key"] == first.attributes["key"]


def test_a_twin_of_a_bad_video_ends_like_it(results, tmp_path, cluster):
    paths = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for path in paths:
        path.write_bytes(b"no video")
    write_probe(results, a=paths[0], b=paths[1])
    run_infer(make_config(cluster), results, SHARD)
    rows = read_rows(results)
    assert rows["a"]["status"] == rows["b"]["status"] == "quarantined"
    assert rows["a"]["reason"] == rows["b"]["reason"] != ""


def test_a_file_that_changes_meanwhile_is_told_from_a_bad_one(
    results, videos, cluster, monkeypatch, tmp_path
):
    path = tmp_path / "v.mp4"
    path.write_bytes(videos["good"].read_bytes())
    write_probe(results, v=path)
    predict = infer_segment._predict_segment

    def replace(*arguments):
        path.write_bytes(videos["variable"].read_bytes())
        return predict(*arguments)

    monkeypatch.setattr(infer_segment, "_predict_segment", replace)
    run_infer(make_config(cluster), results, SHARD)
    row = read_rows(results)["v"]
    assert row["status"] == "failed"
    assert row["reason"] == "the file has changed since it was probed: run again"
    assert not results.poses("pose", "v").exists()
    monkeypatch.undo()
    write_probe(results, v=path)
    run_infer(make_config(cluster), results, SHARD)
    assert len(read(results, "v").time) == 25


def test_a_crop_moves_nothing(results, videos, cluster):
    """Compare with the crop predicted by itself and moved: coordinates are of the whole frame."""
    # The crop of a single video; another one, of the same bytes, is predicted as a whole.
    write_probe(results, good=videos["good"], twin=videos["good"])
    own = VideoOverride(videos=("good",), inference={"crop": [30, 94, 0, 32]})
    config = make_config(cluster).model_copy(update={"overrides": (own,)})
    run_infer(config, results, SHARD)
    make_key, rows = make_network_keys(config, results), read_rows(results)
    keys = [rows[name]["key"] for name in ("good", "twin")]
    assert keys[0] != keys[1]
    good, twin = (make_key(config.for_video(name)) for name in ("good", "twin"))
    assert good != twin == network_key(config, results)
    whole = predict_frames(results, videos["good"])
    np.testing.assert_allclose(read(results, "twin").position, whole, atol=1e-3)
    predictor = load_predictor(results.model("pose"), RuntimeOptions("onnx", threads=1))
    for (frame, image), found in zip(
        VideoReader(videos["good"]).read(), read(results, "good").position, strict=True
    ):
        expected = predictor.predict([image[0:32, 30:94]])[0][0]
        expected[..., 0] += 30
        np.testing.assert_allclose(found, expected, atol=1e-3, err_msg=str(frame))
    run_infer(make_config(cluster), results, SHARD)
    np.testing.assert_allclose(read(results, "good").position, whole, atol=1e-3)


def test_a_crop_outside_of_a_video_is_said(results, videos, cluster):
    write_probe(results, good=videos["good"])
    run_infer(make_config(cluster, crop=(0, 200, 0, 32)), results, SHARD)
    row = read_rows(results)["good"]
    assert row["status"] == "quarantined"
    assert row["reason"] == "inference.crop [0, 200, 0, 32] does not fit into frames of 96 x 64 px"


def test_several_decoders_share_a_network(results, videos):
    """Share a network as on a GPU, with batches that span videos."""
    write_probe(results, **videos)
    run_infer(make_config(decoders=3, batch_size=16, runtime="torch"), results, SHARD)
    assert {row["status"] for row in read_rows(results).values()} == {"done"}
    for video, path in videos.items():
        expected = predict_frames(results, path, "torch")
        np.testing.assert_allclose(read(results, video).position, expected, atol=1e-3)


def test_the_table_contains_timings(results, videos, cluster):
    write_probe(results, good=videos["good"])
    run_infer(make_config(cluster), results, SHARD)
    row = read_rows(results)["good"]
    seconds = float(row["seconds"])
    # Seconds are told to the millisecond.
    assert float(row["frames_per_second"]) == pytest.approx(FRAMES / seconds, rel=1e-3 / seconds)
    shares = [float(row[f"{part}_share"]) for part in ("decode", "network", "wait")]
    assert all(0 <= share <= 1 for share in shares)
    assert shares[1] > 0
    # The network runs or waits; decoding goes on beside it.
    assert shares[1] + shares[2] <= 1.001


def test_a_shard_without_a_good_video_starts_no_worker(results):
    write_probe(results, a=None, b=None)
    run_infer(make_config(NO_CLUSTER), results, SHARD)
    assert [row["status"] for row in read_rows(results).values()] == ["quarantined"] * 2


def test_missing_inputs_are_reported(results, tmp_path):
    with pytest.raises(StoreError, match=r"probe\.tsv: no such file"):
        run_infer(make_config(), results, SHARD)
    empty = Results(tmp_path / "empty")
    write_probe(empty, a=None)
    with pytest.raises(ModelError, match=r"model\.json: no model; run train"):
        run_infer(make_config(), empty, SHARD)
    write_probe(results, a=None)
    table = results.shard(SHARD).probe
    table.write_text(table.read_text().replace("quarantined", "done"))
    with pytest.raises(StoreError, match="video a has no frame count"):
        run_infer(make_config(), results, SHARD)


def test_workers_and_threads_share_the_cores(monkeypatch):
    monkeypatch.setattr("pipeline_lib.steps.infer.workers.count_cores", lambda: 12)
    free = tiny_config().inference.model_copy(update={"runtime": "onnx"})

    def given(**changes):
        settings = free.model_copy(update=changes)
        return count_workers(settings), count_threads(settings)

    assert given() == (12, 1)
    assert given(workers=4) == (4, 3)
    assert given(workers=5) == (5, 2)
    assert given(workers=20) == (20, 1)
    assert given(workers=4, threads_per_worker=2) == (4, 2)
    monkeypatch.setattr("pipeline_lib.steps.infer.workers.count_gpus", lambda: 2)
    assert given(runtime="torch") == (2, 6)
    assert given(runtime="onnx") == (12, 1)
    # Several cores feed a GPU.
    assert count_decoders(free.model_copy(update={"runtime": "torch"})) == 6
    assert count_decoders(free) == 1
    assert count_decoders(free.model_copy(update={"decoders": 3})) == 3


class _OddReader:
    """Yield one frame, then fail."""

    def __init__(self, error):
        self.error = error

    def read(self, start, stop):
        assert (start, stop) == (0, 2)
        yield 0, None
        raise self.error


def test_an_odd_failure_of_the_decoder_is_about_the_video_alone():
    frames = guard_decoding(_OddReader(KeyError("codec")).read(0, 2))
    assert next(frames) == (0, None)
    with pytest.raises(VideoError, match=r"unexpected KeyError while decoding: 'codec'"):
        next(frames)


@pytest.mark.parametrize("error", [OSError("disk"), MemoryError(), VideoError("its size changes")])
def test_failures_of_the_machine_and_verdicts_pass_through(error):
    frames = guard_decoding(_OddReader(error).read(0, 2))
    next(frames)
    with pytest.raises(type(error)) as raised:
        next(frames)
    assert raised.value is error
