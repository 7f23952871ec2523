"""Test tracking of a shard: outcomes, what is not done twice, and later stages."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import pipeline_lib.steps.track.run as subject
from pipeline_lib.core import versions
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.individuals import TrackingSettings
from pipeline_lib.core.settings.network import LabelSource
from pipeline_lib.core.settings.reading import hash_settings, parse_config
from pipeline_lib.core.settings.videos import ExportSettings
from pipeline_lib.core.tables import (
    MANIFEST_COLUMNS,
    PROBE_COLUMNS,
    STAGE_COLUMNS,
    FrameStatus,
    TrackStatus,
)
from pipeline_lib.io.poses.read import read_pose_key, read_poses
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.correct.run import run_correct
from pipeline_lib.steps.filter import run_filter
from pipeline_lib.steps.provenance.checksums import read_checksums
from pipeline_lib.steps.runs.ledger import wanted_stages
from pipeline_lib.steps.runs.result_keys import tracking_key
from pipeline_lib.steps.track.run import name_individuals, run_track
from pipeline_lib.steps.verify.shard import PlannedShard, Problem, verify_shard

NAN = np.nan
SHARD = "0001"
FRAMES = 40
ABSENT, FOLLOWED, GAP, UNCERTAIN = TrackStatus


def make_config(individuals=None, **tracking):
    return parse_config(
        {
            "cohort": "cohort.tsv",
            "individuals": {"max": 2, **(individuals or {})},
            "tracking": tracking,
            "filtering": {"method": "none", "pcutoff": 0.0, "max_gap": 0},
        }
    )


def make_truth():
    """Return two animals of two keypoints that walk to the right, one above the other."""
    x = 3.0 * np.arange(FRAMES)
    position = np.zeros((FRAMES, 2, 3, 2), np.float32)
    position[:, :, :2, 0] = x[:, None, None] + np.array([0.0, 20.0])
    position[:, :, :2, 1] = np.array([5.0, 9.0])
    position[:, 1, :2, 1] += 100.0
    # The corner of the cage is found once in a frame.
    position[:, :, 2] = NAN
    return position


def make_poses(video="v", key="infer-key", *, unique=False, identity=False):
    """Return what inference leaves: animals in any place, the second video frame undecoded."""
    position, confidence = make_truth(), np.full((FRAMES, 2, 3), 0.9, np.float32)
    confidence[..., 2] = 0.0
    order = np.arange(FRAMES) % 2
    swapped = order == 1
    position[swapped] = position[swapped][:, ::-1]
    status = np.zeros(FRAMES, np.uint8)
    status[1], position[1], confidence[1] = FrameStatus.UNDECODABLE, NAN, NAN
    individuals, likeness, attributes = ("individual1", "individual2"), None, {}
    if unique:
        individuals += ("single",)
        corner = np.full((FRAMES, 1, 3, 2), NAN, np.float32)
        corner[:, :, 2], corner[1], corner[7] = 7.0, NAN, NAN
        seen = np.isfinite(corner[..., 0])
        position = np.concatenate([position, corner], axis=1)
        confidence = np.concatenate([confidence, np.where(seen, 0.8, 0.0)], axis=1)
        confidence[1] = NAN
    if identity:
        likeness = np.full((FRAMES, len(individuals), 2), NAN, np.float32)
        likeness[:, :2] = 0.2
        # The lower animal is the first identity.
        likeness[np.arange(FRAMES), 1 - order, 0] = 0.8
        likeness[np.arange(FRAMES), order, 1] = 0.8
        likeness[1] = NAN
        attributes = {"identities": ["red", "blue"]}
    return Poses(
        position=position.astype(np.float32),
        confidence=confidence.astype(np.float32),
        frame_status=status,
        time=np.arange(FRAMES) / 30,
        bodyparts=("nose", "tail", "corner"),
        individuals=individuals,
        attributes={
            "video": video,
            "key": key,
            "fps": 30.0,
            "versions": {"infer": 1},
            **attributes,
        },
        identity=likeness,
    )


def done(video):
    return {"video": video, "status": "done", "key": "infer-key", "seconds": 5.0}


def read_rows(results, stage="track"):
    return read_table(getattr(results.shard(SHARD), stage)("pose"), STAGE_COLUMNS)


@pytest.fixture
def results(tmp_path):
    results = Results(tmp_path / "results")
    write_table(results.shard(SHARD).infer("pose"), STAGE_COLUMNS, [done("v")])
    write_poses(results.poses("pose", "v"), make_poses())
    return results


def test_an_animal_stays_in_its_slot(results):
    run_track(make_config(), results, SHARD)
    tracks = read_poses(results.tracked("pose", "v"))
    expected = make_truth()
    expected[1] = NAN
    np.testing.assert_array_equal(tracks.position, expected)
    assert tracks.individuals == ("individual1", "individual2")
    np.testing.assert_array_equal(tracks.track_status[1], [GAP, GAP])
    assert (np.delete(tracks.track_status, 1, axis=0) == FOLLOWED).all()
    raw = make_poses()
    np.testing.assert_array_equal(tracks.confidence, raw.confidence)
    np.testing.assert_array_equal(tracks.frame_status, raw.frame_status)
    np.testing.assert_array_equal(tracks.time, raw.time)


def test_attributes_and_table_say_how_it_was_made(results):
    config = make_config(max_gap=3)
    run_track(config, results, SHARD)
    key = tracking_key("infer-key", config.individuals, config.tracking)
    assert read_poses(results.tracked("pose", "v")).attributes == {
        "video": "v",
        "fps": 30.0,
        "key": key,
        "source_key": "infer-key",
        "tracking": config.tracking.result_settings(),
        "versions": {"infer": 1, "track": versions.TRACK},
        "most_animals": 2,
        "surplus_frames": 0,
    }
    (row,) = read_rows(results)
    assert (row["video"], row["status"], row["reason"], row["key"]) == ("v", "done", "", key)
    assert float(row["seconds"]) > 0
    recorded = read_checksums(results.shard(SHARD).checksums("track", "pose"))
    assert {row["kind"]: row["key"] for row in recorded.values()} == {
        "poses": "infer-key",
        "tracked": key,
    }


def test_unique_bodyparts_are_passed_through(results):
    raw = make_poses(unique=True)
    write_poses(results.poses("pose", "v"), raw)
    run_track(make_config(), results, SHARD)
    tracks = read_poses(results.tracked("pose", "v"))
    assert tracks.individuals == ("individual1", "individual2", "single")
    np.testing.assert_array_equal(tracks.position[:, 2], raw.position[:, 2])
    np.testing.assert_array_equal(tracks.confidence[:, 2], raw.confidence[:, 2])
    assert np.flatnonzero(tracks.track_status[:, 2] != FOLLOWED).tolist() == [1, 7]
    assert tracks.track_status[7].tolist() == [FOLLOWED, FOLLOWED, ABSENT]


@pytest.mark.parametrize("unique", [False, True])
def test_known_individuals_have_their_own_slots(results, unique):
    write_poses(results.poses("pose", "v"), make_poses(identity=True, unique=unique))
    run_track(make_config(), results, SHARD)
    tracks = read_poses(results.tracked("pose", "v"))
    assert tracks.individuals[:2] == ("red", "blue")
    np.testing.assert_array_equal(tracks.position[5, :2], make_truth()[5, ::-1])
    np.testing.assert_allclose(tracks.identity[5, :2], [[0.8, 0.2], [0.2, 0.8]])
    assert np.isnan(tracks.identity[1]).all()


def test_names_come_from_the_settings_unless_identities_are_known():
    raw = make_poses()
    config = make_config({"names": ["anna", "bert"]})
    assert name_individuals(raw, config.individuals) == ("anna", "bert")
    assert name_individuals(raw, make_config().individuals) == ("individual1", "individual2")
    known = make_poses(identity=True)
    red = make_config({"names": ["blue", "red"]}).individuals
    assert name_individuals(known, red) == ("red", "blue")
    with pytest.raises(StoreError, match=r"3 names, but the poses have slots for 2"):
        name_individuals(raw, make_config({"max": 3, "names": ["a", "b", "c"]}).individuals)


def test_tracks_do_not_depend_on_segments(results):
    run_track(make_config(segment_frames=7), results, SHARD)
    parts = results.tracked("pose", "v").read_bytes()
    results.tracked("pose", "v").unlink()
    run_track(make_config(), results, SHARD)
    assert results.tracked("pose", "v").read_bytes() == parts


def test_work_is_not_done_twice(results, monkeypatch):
    run_track(make_config(), results, SHARD)
    first = read_rows(results)

    def refuse(*_args, **_kwargs):
        pytest.fail("tracked again")

    monkeypatch.setattr(subject, "follow_individuals", refuse)
    # Snakemake removes a job's outputs before it runs the job again.
    results.shard(SHARD).track("pose").unlink()
    run_track(make_config(segment_frames=9), results, SHARD)
    assert [row["key"] for row in read_rows(results)] == [row["key"] for row in first]


@pytest.mark.parametrize("change", ["tracking", "names", "poses", "version"])
def test_a_change_tracks_the_poses_again(results, monkeypatch, change):
    run_track(make_config(), results, SHARD)
    before = read_pose_key(results.tracked("pose", "v"))
    config = make_config()
    if change == "tracking":
        config = make_config(max_gap=2)
    elif change == "names":
        config = make_config({"names": ["a", "b"]})
    elif change == "poses":
        write_poses(results.poses("pose", "v"), make_poses(key="other"))
    else:
        monkeypatch.setattr(versions, "TRACK", versions.TRACK + 1)
    run_track(config, results, SHARD)
    assert read_pose_key(results.tracked("pose", "v")) != before
    assert [row["key"] for row in read_rows(results)] == [
        read_pose_key(results.tracked("pose", "v"))
    ]


def test_one_bad_video_does_not_stop_the_others(results):
    write_table(
        results.shard(SHARD).infer("pose"),
        STAGE_COLUMNS,
        [
            done("missing"),
            {"video": "bad", "status": "quarantined", "reason": "no video stream", "key": "k"},
            done("v"),
        ],
    )
    run_track(make_config(), results, SHARD)
    rows = read_rows(results)
    assert [row["status"] for row in rows] == ["failed", "quarantined", "done"]
    assert "no such pose file" in rows[0]["reason"]
    assert rows[1]["reason"] == "no video stream"


def test_a_video_without_animals_or_without_frames_is_a_result(results):
    raw = make_poses()
    raw.position[:] = NAN
    raw.confidence[2:] = 0.0
    write_poses(results.poses("pose", "v"), raw)
    empty = Poses(
        raw.position[:0], raw.confidence[:0], raw.frame_status[:0], raw.time[:0],
        raw.bodyparts, raw.individuals, raw.attributes,
    )  # fmt: skip
    write_poses(results.poses("pose", "empty"), empty)
    write_table(results.shard(SHARD).infer("pose"), STAGE_COLUMNS, [done("v"), done("empty")])
    run_track(make_config(), results, SHARD)
    assert [row["status"] for row in read_rows(results)] == ["done", "done"]
    tracks = read_poses(results.tracked("pose", "v"))
    assert np.isnan(tracks.position).all()
    assert (tracks.track_status == ABSENT).all()
    assert len(read_poses(results.tracked("pose", "empty")).time) == 0


def test_a_shard_without_inference_is_an_error(results):
    results.shard(SHARD).infer("pose").unlink()
    with pytest.raises(StoreError, match="the step that writes it has not run"):
        run_track(make_config(), results, SHARD)


def test_filtering_takes_the_tracks_and_keeps_what_is_known_of_them(results):
    write_poses(results.poses("pose", "v"), make_poses(identity=True))
    config = make_config()
    run_track(config, results, SHARD)
    run_correct(config, results, SHARD)
    run_filter(config, results, SHARD)
    tracks = read_poses(results.tracked("pose", "v"))
    cleaned = read_poses(results.filtered("pose", "v"))
    for name in ("position", "track_status", "identity"):
        np.testing.assert_array_equal(getattr(cleaned, name), getattr(tracks, name))
    key = hash_settings(tracks.attributes["key"], config.filtering.result_settings(), 1)
    assert [row["key"] for row in read_rows(results, "filter")] == [key]
    kinds = read_checksums(results.shard(SHARD).checksums("filter", "pose")).values()
    assert {row["kind"] for row in kinds} == {"tracked", "filtered"}


def test_a_single_animal_is_not_tracked():
    assert "track" not in wanted_stages(parse_config({"cohort": "cohort.tsv"}))
    assert wanted_stages(make_config())[1:4] == ("infer", "track", "correct")


def test_verifying_looks_at_tracks(results, tmp_path):
    video = tmp_path / "v.mp4"
    video.write_bytes(b"")
    files = results.shard(SHARD)
    facts = {"bytes": 0, "modified_ns": video.stat().st_mtime_ns}
    write_table(files.manifest, MANIFEST_COLUMNS, [{"video": "v", "path": str(video), **facts}])
    write_table(files.probe, PROBE_COLUMNS, [{"video": "v", "status": "done", "path": str(video)}])
    config = make_config().model_copy(update={"labels": (LabelSource(path="labels"),)})
    config = config.model_copy(update={"exports": ExportSettings(formats=())})

    def verify(settings):
        checked = Counter()
        shard = PlannedShard(SHARD, frozenset())
        found = verify_shard(settings, results, shard, checked, quick=True)
        return checked["tracked"], {(finding.kind, finding.problem) for finding in found}

    kinds = ("tracked", "corrected", "filtered")
    missing = {(kind, Problem.MISSING) for kind in kinds}
    # The stage after inference records what inference made.
    assert verify(config) == (0, missing | {("poses", Problem.UNRECORDED)})
    run_track(config, results, SHARD)
    run_correct(config, results, SHARD)
    run_filter(config, results, SHARD)
    assert verify(config) == (1, set())
    # Tracked otherwise than is asked now, which leaves the filtered ones explained.
    other = config.model_copy(update={"tracking": TrackingSettings(max_gap=1)})
    assert verify(other) == (1, {("tracked", Problem.UNEXPLAINED)})
    results.tracked("pose", "v").unlink()
    assert ("tracked", Problem.MISSING) in verify(config)[1]


def make_crowd(*, unique=False):
    """Return poses with room for two animals more, in which a third one walks between the two.

    It is found best in every third frame, else worst.
    """
    poses = make_poses(unique=unique)
    animals, rest = slice(0, 2), slice(2, None)
    third = make_truth()[:, :1].copy()
    third[..., 1] += 50.0
    third[1] = NAN
    empty = np.full_like(third, NAN)
    sure = np.full((FRAMES, 1, 3), 0.3, np.float32)
    sure[::3] = 0.95
    sure[..., 2] = 0.0
    sure[1] = NAN
    # Best first, as inference leaves them: in every third frame the third animal is.
    position = np.concatenate([poses.position[:, animals], third, empty], axis=1)
    confidence = np.concatenate(
        [poses.confidence[:, animals], sure, np.where(np.isnan(sure), NAN, 0.0)], axis=1
    )
    order = np.argsort(-np.nan_to_num(confidence[..., 0]), axis=-1, kind="stable")
    position = np.take_along_axis(position, order[..., None, None], axis=1)
    confidence = np.take_along_axis(confidence, order[..., None], axis=1)
    return replace(
        poses,
        position=np.concatenate([position, poses.position[:, rest]], axis=1),
        confidence=np.concatenate([confidence, poses.confidence[:, rest]], axis=1).astype(
            np.float32
        ),
        individuals=("individual1", "individual2", "surplus1", "surplus2", *poses.individuals[2:]),
        attributes=poses.attributes | {"surplus": 2},
    )


@pytest.mark.parametrize("unique", [False, True])
def test_the_same_animals_are_kept_of_too_many_and_it_is_reported(results, caplog, unique):
    write_poses(results.poses("pose", "v"), make_crowd(unique=unique))
    run_track(make_config(), results, SHARD)
    tracks = read_poses(results.tracked("pose", "v"))
    assert tracks.individuals == ("individual1", "individual2") + ("single",) * unique
    expected = make_truth()
    expected[1] = NAN
    np.testing.assert_array_equal(tracks.position[:, :2], expected)
    if unique:
        np.testing.assert_array_equal(tracks.position[3, 2, 2], [7.0, 7.0])
    assert "surplus" not in tracks.attributes
    assert tracks.attributes["most_animals"] == 3
    # All but the frame that was not decoded.
    assert tracks.attributes["surplus_frames"] == FRAMES - 1
    (row,) = read_table(results.shard(SHARD).track("pose"), subject.TRACK_COLUMNS)
    assert (row["most_animals"], row["surplus_frames"]) == ("3", str(FRAMES - 1))
    assert "v: 39 frames show more animals than 2 (up to 3)" in caplog.text
    # A second time it is told from the file.
    run_track(make_config(), results, SHARD)
    (again,) = read_table(results.shard(SHARD).track("pose"), subject.TRACK_COLUMNS)
    assert {**again, "seconds": ""} == {**row, "seconds": ""}


def test_individuals_up_to_the_maximum_are_no_surplus(results, caplog):
    run_track(make_config(), results, SHARD)
    (row,) = read_table(results.shard(SHARD).track("pose"), subject.TRACK_COLUMNS)
    assert (row["most_animals"], row["surplus_frames"]) == ("2", "0")
    assert "more animals" not in caplog.text


def test_names_are_those_of_the_animals_that_are_kept():
    config = make_config({"names": ["red", "blue"]})
    assert name_individuals(make_crowd(), config.individuals) == ("red", "blue")


def test_the_spread_of_an_ensemble_follows_the_animals(results):
    raw = make_poses(unique=True)
    # Each spread tells whose it is.
    write_poses(results.poses("pose", "v"), replace(raw, spread=raw.position[..., 0].copy()))
    run_track(make_config(), results, SHARD)
    tracks = read_poses(results.tracked("pose", "v"))
    np.testing.assert_array_equal(tracks.spread, tracks.position[..., 0])
    assert (tracks.spread[:, :2] != raw.position[:, :2, :, 0]).any()
