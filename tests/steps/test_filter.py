"""Test filtering of a shard: the outcome of each video, and what is not done twice."""

import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest

import pipeline_lib.steps.filter as subject
from pipeline_lib.core.errors import ConfigError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.reading import hash_settings, parse_config
from pipeline_lib.core.tables import STAGE_COLUMNS, FrameStatus, TrackStatus
from pipeline_lib.io.poses.read import read_pose_key, read_poses
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.kernels.filters import filter_poses
from pipeline_lib.steps.filter import filter_file, run_filter

NAN = np.nan
SHARD = "0001"


def make_config(**filtering):
    # A line passes the median of three unchanged, except at its ends.
    return parse_config(
        {
            "cohort": "cohort.tsv",
            "training": {"ensemble": 3},
            "filtering": {"pcutoff": 0.5, "max_gap": 2, "window": 3, **filtering},
        }
    )


def make_poses(video="v", key="infer-key", frames=8):
    x = 10.0 * np.arange(frames)
    confidence = np.ones(frames)
    status = np.zeros(frames, np.uint8)
    x[2], confidence[2] = 999, 0.1
    x[3], confidence[3], status[3] = NAN, NAN, FrameStatus.UNDECODABLE
    return Poses(
        position=np.stack([x, x + 1], axis=-1)[:, None, None].astype(np.float32),
        confidence=confidence[:, None, None].astype(np.float32),
        frame_status=status,
        time=np.arange(frames) / 30,
        bodyparts=("nose",),
        individuals=("animal",),
        attributes={"video": video, "key": key, "fps": 30.0, "versions": {"infer": 1}},
    )


def write_infer_table(results, *rows):
    write_table(results.shard(SHARD).infer("pose"), STAGE_COLUMNS, rows)


def done(video):
    return {"video": video, "status": "done", "key": "infer-key", "seconds": 5.0}


def read_rows(results):
    return read_table(results.shard(SHARD).filter("pose"), STAGE_COLUMNS)


@pytest.fixture
def results(tmp_path):
    results = Results(tmp_path / "results")
    write_infer_table(results, done("v"))
    write_poses(results.poses("pose", "v"), make_poses())
    return results


def test_trajectories_are_cleaned_and_the_record_stays_honest(results):
    run_filter(make_config(), results, SHARD)
    cleaned = read_poses(results.filtered("pose", "v"))
    # Frame 2 is gated, frame 3 was not decoded: both are bridged by the line through 10 and 40.
    x = [5, 10, 20, 30, 40, 50, 60, 65]
    np.testing.assert_allclose(cleaned.position[:, 0, 0, 0], x, rtol=1e-6)
    np.testing.assert_allclose(cleaned.position[:, 0, 0, 1], np.add(x, 1), rtol=1e-6)
    raw = make_poses()
    np.testing.assert_array_equal(cleaned.confidence, raw.confidence)
    np.testing.assert_array_equal(cleaned.frame_status, [0, 0, 0, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(cleaned.time, raw.time)


def test_attributes_say_how_it_was_made(results):
    config = make_config()
    run_filter(config, results, SHARD)
    key = hash_settings("infer-key", config.filtering.result_settings(), 1)
    assert read_poses(results.filtered("pose", "v")).attributes == {
        "video": "v",
        "fps": 30.0,
        "key": key,
        "source_key": "infer-key",
        "versions": {"infer": 1, "filter": 1},
        "filtering": {
            "pcutoff": 0.5,
            "max_gap": 2,
            "method": "median",
            "window": 3,
            "order": 2,
        },
    }
    (row,) = read_rows(results)
    assert (row["video"], row["status"], row["reason"], row["key"]) == ("v", "done", "", key)
    assert float(row["seconds"]) > 0


def test_work_is_not_done_twice(results, monkeypatch):
    run_filter(make_config(), results, SHARD)
    first = read_rows(results)

    def refuse(*_args, **_kwargs):
        pytest.fail("filtered again")

    monkeypatch.setattr(subject, "filter_poses", refuse)
    # Snakemake removes a job's outputs before it runs the job again.
    results.shard(SHARD).filter("pose").unlink()
    run_filter(make_config(), results, SHARD)
    assert [row["key"] for row in read_rows(results)] == [row["key"] for row in first]


def _change_settings(_results, _monkeypatch):
    return make_config(window=5)


def _change_poses(results, _monkeypatch):
    write_poses(results.poses("pose", "v"), make_poses(key="other"))
    return make_config()


def _raise_version(_results, monkeypatch):
    monkeypatch.setattr(subject.versions, "FILTER", 2)
    return make_config()


def _lose_a_part(results, _monkeypatch):
    path = results.filtered("pose", "v")
    other = path.with_suffix(".other")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            if name != "position/c.0.0.0.0":
                target.writestr(name, source.read(name))
    other.replace(path)
    return make_config()


@pytest.mark.parametrize(
    ("change", "same_key"),
    [
        (_change_settings, False),
        (_change_poses, False),
        (_raise_version, False),
        (_lose_a_part, True),
    ],
)
def test_a_change_filters_the_poses_again(results, monkeypatch, change, same_key):
    run_filter(make_config(), results, SHARD)
    before = read_pose_key(results.filtered("pose", "v"))
    config = change(results, monkeypatch)
    run_filter(config, results, SHARD)
    poses = read_poses(results.filtered("pose", "v"))
    assert (poses.attributes["key"] == before) is same_key
    assert [row["key"] for row in read_rows(results)] == [poses.attributes["key"]]


def test_one_bad_video_does_not_stop_the_others(results):
    write_infer_table(results, done("missing"), done("cut"), done("keyless"), done("v"))
    write_poses(results.poses("pose", "cut"), make_poses("cut"))
    shard = results.poses("pose", "cut") / "position/c.0.0.0.0"
    shard.write_bytes(shard.read_bytes()[:-1])
    keyless = make_poses("keyless")
    del keyless.attributes["key"]
    write_poses(results.poses("pose", "keyless"), keyless)
    run_filter(make_config(), results, SHARD)
    rows = read_rows(results)
    assert [row["status"] for row in rows] == ["failed", "failed", "failed", "done"]
    reasons = [row["reason"] for row in rows]
    assert "no such pose file" in reasons[0]
    assert "damaged pose file" in reasons[1]
    assert "no attribute `key`" in reasons[2]
    assert not results.filtered("pose", "cut").exists()


def test_a_failed_video_keeps_its_reason(results):
    write_infer_table(
        results,
        {"video": "bad", "status": "quarantined", "reason": "no video stream", "key": "k"},
        {"video": "lost", "status": "failed", "reason": "decoder died"},
        done("v"),
    )
    run_filter(make_config(), results, SHARD)
    assert [(row["video"], row["status"], row["reason"]) for row in read_rows(results)] == [
        ("bad", "quarantined", "no video stream"),
        ("lost", "failed", "decoder died"),
        ("v", "done", ""),
    ]
    assert read_rows(results)[0]["key"] == ""


@pytest.mark.parametrize("method", ["median", "savitzky-golay", "none"])
def test_filtered_poses_do_not_depend_on_blocks(results, monkeypatch, method):
    random = np.random.default_rng(0)
    position = random.normal(size=(60, 1, 1, 2)).cumsum(axis=0).astype(np.float32)
    position[random.random(60) < 0.2] = NAN
    raw = make_poses(frames=60)
    write_poses(
        results.poses("pose", "v"),
        Poses(
            position,
            np.ones_like(raw.confidence),
            raw.frame_status,
            raw.time,
            raw.bodyparts,
            raw.individuals,
            raw.attributes,
        ),
    )
    config = make_config(method=method)
    monkeypatch.setattr(subject, "_BLOCK_FRAMES", 7)
    run_filter(config, results, SHARD)
    whole = filter_poses(position, np.ones((60, 1, 1)), **config.filtering.result_settings())
    np.testing.assert_array_equal(read_poses(results.filtered("pose", "v")).position, whole)


def write_ensemble(results, frames=300):
    """Write a walk that an ensemble sees with a noise that it knows; return the truth."""
    random = np.random.default_rng(3)
    truth = 50 + np.cumsum(random.normal(0, 0.5, (frames, 1, 1, 2)), axis=0)
    spread = random.choice([0.5, 12.0], (frames, 1, 1))
    noise = random.normal(size=truth.shape) * spread[..., None] / np.sqrt(2)
    position = (truth + noise).astype(np.float32)
    confidence = np.ones((frames, 1, 1), np.float32)
    # A gap that is bridged, and one that is too long.
    confidence[10:12], confidence[20:30] = 0.0, 0.0
    # Found by one member alone: nothing tells how far from the truth it is.
    spread[40:42], spread[50:60] = NAN, NAN
    raw = make_poses(frames=frames)
    poses = replace(raw, position=position, confidence=confidence, spread=spread.astype(np.float32))
    write_poses(results.poses("pose", "v"), poses)
    return truth, poses


def test_the_smoother_of_ensembles_trusts_members_that_agree(results, monkeypatch):
    truth, raw = write_ensemble(results)
    config = make_config(method="ensemble-kalman")

    def smooth(block):
        monkeypatch.setattr(subject, "_KALMAN_FRAMES", block)
        results.filtered("pose", "v").unlink(missing_ok=True)
        run_filter(config, results, SHARD)
        return read_poses(results.filtered("pose", "v"))

    whole = smooth(512)
    np.testing.assert_allclose(smooth(7).position, whole.position, atol=1e-4)
    there = np.isfinite(whole.position[:, 0, 0, 0])
    assert np.flatnonzero(~there).tolist() == [*range(20, 30), *range(50, 60)]
    np.testing.assert_array_equal(whole.spread, raw.spread)
    assert whole.attributes["filtering"]["method"] == "ensemble-kalman"

    def measure(position):
        error = np.linalg.norm(position - truth, axis=-1)[there]
        return np.sqrt((error**2).mean())

    median = filter_poses(
        raw.position, raw.confidence, pcutoff=0.5, max_gap=2, method="median", window=5, order=2
    )
    # The median of five frames knows nothing of the spread.
    assert measure(whole.position) < 1.0
    assert measure(median) > 2.0


def test_poses_of_one_network_have_no_spread(results):
    config = make_config(method="ensemble-kalman")
    run_filter(config, results, SHARD)
    (row,) = read_rows(results)
    assert row["status"] == "failed"
    assert "set `training.ensemble` to 2 or more" in row["reason"]
    with pytest.raises(ConfigError, match=r"`training\.ensemble` is 1"):
        parse_config({"cohort": "c.tsv", "filtering": {"method": "ensemble-kalman"}})


def make_crossing():
    """Let a move right at y 50 and b left at y 60; both are uncertain at frame 10, where they meet.

    Of b nothing is found in frames 9 to 11, of a in frame 10 something else with little
    confidence. A corner of the cage has y 5, and is not seen in frame 4.
    """
    frames = 21
    time = np.arange(frames)
    position = np.full((frames, 3, 2, 2), NAN, np.float32)
    confidence = np.zeros((frames, 3, 2), np.float32)
    position[:, 0, 0] = np.stack([10 * time, np.full(frames, 50)], axis=1)
    position[:, 1, 0] = np.stack([200 - 10 * time, np.full(frames, 60)], axis=1)
    position[:, 2, 1] = (3, 5)
    confidence[:, :2, 0] = confidence[:, 2, 1] = 1
    position[9:12, 1, 0], confidence[9:12, 1, 0] = NAN, 0
    position[10, 0, 0], confidence[10, 0, 0] = (300, 300), 0.1
    position[4, 2, 1], confidence[4, 2, 1] = (90, 90), 0.1
    status = np.full((frames, 3), TrackStatus.FOLLOWED, np.uint8)
    status[9:12, 1] = TrackStatus.GAP
    status[8:13, 0] = TrackStatus.UNCERTAIN
    identity = np.linspace(0, 1, frames * 6, dtype=np.float32).reshape(frames, 3, 2)
    return Poses(
        position=position,
        confidence=confidence,
        frame_status=np.zeros(frames, np.uint8),
        time=time / 30,
        bodyparts=("nose", "corner"),
        individuals=("a", "b", "single"),
        attributes={"key": "track-key", "identities": ["ann", "bob"]},
        track_status=status,
        identity=identity,
    )


@pytest.mark.parametrize("method", ["median", "savitzky-golay", "none"])
@pytest.mark.parametrize("block", [6, 100])
def test_animals_that_cross_do_not_mix(tmp_path, monkeypatch, method, block):
    monkeypatch.setattr(subject, "_BLOCK_FRAMES", block)
    source, target = tmp_path / "tracked.zarr.zip", tmp_path / "filtered.zarr.zip"
    raw = make_crossing()
    write_poses(source, raw)
    settings = make_config(max_gap=3, window=3, order=1, method=method).filtering
    filter_file(source, target, settings)
    cleaned = read_poses(target)
    # Lines pass all three methods unchanged but at their ends, where the median's window is short.
    middle, time = slice(1, 20), np.arange(21)
    expected = {"a": (10 * time, 50), "b": (200 - 10 * time, 60)}
    for place, (x, y) in enumerate(expected.values()):
        found = cleaned.position[middle, place, 0]
        np.testing.assert_allclose(found[:, 0], x[middle], rtol=1e-5)
        np.testing.assert_allclose(found[:, 1], y, rtol=1e-5)
    np.testing.assert_allclose(cleaned.position[:, 2, 1], [[3, 5]] * 21, rtol=1e-5)
    # No animal has a corner, and the corner has no nose.
    assert np.isnan(cleaned.position[:, :2, 1]).all()
    assert np.isnan(cleaned.position[:, 2, 0]).all()
    # What was interpolated is still known to be a gap.
    np.testing.assert_array_equal(cleaned.track_status, raw.track_status)
    np.testing.assert_array_equal(cleaned.identity, raw.identity)
    assert cleaned.individuals == raw.individuals
    assert cleaned.attributes["identities"] == ["ann", "bob"]


def test_a_gap_of_one_animal_is_as_long_as_its_own(tmp_path):
    source, target = tmp_path / "tracked.zarr.zip", tmp_path / "filtered.zarr.zip"
    write_poses(source, make_crossing())
    filter_file(source, target, make_config(max_gap=2, method="none").filtering)
    cleaned = read_poses(target).position[:, :, 0, 0]
    # Three frames of b stay a gap, the one of a is bridged.
    assert np.flatnonzero(np.isnan(cleaned[:, 1])).tolist() == [9, 10, 11]
    assert cleaned[10, 0] == 100


def test_animals_that_were_not_tracked_are_not_cleaned(tmp_path):
    source, target = tmp_path / "raw.zarr", tmp_path / "filtered.zarr.zip"
    write_poses(source, replace(make_crossing(), track_status=None))
    with pytest.raises(StoreError, match="2 individuals that were not tracked"):
        filter_file(source, target, make_config().filtering)
    assert not target.exists()


def test_a_video_without_detections_or_without_frames_is_a_result(results):
    raw = make_poses(frames=4)
    raw.confidence[:] = 0.0
    write_poses(results.poses("pose", "v"), raw)
    empty = Poses(
        raw.position[:0], raw.confidence[:0], raw.frame_status[:0], raw.time[:0],
        raw.bodyparts, raw.individuals, raw.attributes,
    )  # fmt: skip
    write_poses(results.poses("pose", "empty"), empty)
    write_infer_table(results, done("v"), done("empty"))
    run_filter(make_config(), results, SHARD)
    assert np.isnan(read_poses(results.filtered("pose", "v")).position).all()
    assert len(read_poses(results.filtered("pose", "empty")).time) == 0
    assert [row["status"] for row in read_rows(results)] == ["done", "done"]


def test_a_shard_without_inference_is_an_error(results):
    shutil.rmtree(results.shard(SHARD).folder)
    with pytest.raises(StoreError, match="the step that writes it has not run"):
        run_filter(make_config(), results, SHARD)


def test_a_full_disk_fails_the_job(results, monkeypatch):
    def fill(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(subject, "create_poses", fill)
    with pytest.raises(OSError, match="No space left"):
        run_filter(make_config(), results, SHARD)
    assert not results.shard(SHARD).filter("pose").exists()
