"""Test the stage that applies decisions to tracks: outcomes, keys, and what is left alone."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

import pipeline_lib.steps.correct.run as subject
from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses, drop_added
from pipeline_lib.core.settings.network import LabelSource
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.settings.videos import ExportSettings
from pipeline_lib.core.tables import (
    MANIFEST_COLUMNS,
    PROBE_COLUMNS,
    STAGE_COLUMNS,
    FrameStatus,
    TrackStatus,
)
from pipeline_lib.core.track_decisions import Anchor, DecisionKind, Passage, TrackDecision
from pipeline_lib.io.corrections.tracks import write_track_decision
from pipeline_lib.io.poses.read import read_pose_key, read_poses
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.correct.run import run_correct
from pipeline_lib.steps.filter import run_filter
from pipeline_lib.steps.report.summaries import find_poses
from pipeline_lib.steps.verify.shard import PlannedShard, Problem, verify_shard

NAN = np.nan
SHARD = "00001"
FRAMES, EXCHANGED = 40, 17
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def make_tracks(video="v", *, exchanged=EXCHANGED):
    """Return tracks of two animals and a corner of the cage; slots are exchanged from a frame on.

    Both animals are lost in a frame, and another frame was not decoded.
    """
    position = np.full((FRAMES, 3, 3, 2), NAN, np.float32)
    position[:, :2, :2, 0] = 3.0 * np.arange(FRAMES)[:, None, None] + np.array([0.0, 20.0])
    position[:, 0, :2, 1], position[:, 1, :2, 1] = 5.0, 105.0
    position[:, 2, 2] = 7.0
    confidence = np.where(np.isfinite(position[..., 0]), 0.9, 0.0).astype(np.float32)
    confidence[:, 1] *= 0.5
    status = np.full((FRAMES, 3), TrackStatus.FOLLOWED, np.uint8)
    position[30, 0], confidence[30, 0], status[30, 0] = NAN, 0.0, TrackStatus.GAP
    frame_status = np.zeros(FRAMES, np.uint8)
    frame_status[33], position[33], confidence[33] = FrameStatus.UNDECODABLE, NAN, NAN
    status[33] = TrackStatus.GAP, TrackStatus.GAP, TrackStatus.ABSENT
    status[16, 1] = TrackStatus.UNCERTAIN
    identity = np.full((FRAMES, 3, 2), NAN, np.float32)
    identity[:, 0], identity[:, 1] = [0.8, 0.1], [0.2, 0.7]
    if exchanged is not None:
        for values in (position, confidence, status, identity):
            values[exchanged:, :2] = values[exchanged:, 1::-1]
    return Poses(
        position=position,
        confidence=confidence,
        frame_status=frame_status,
        time=np.arange(FRAMES) / 30,
        bodyparts=("nose", "tail", "corner"),
        individuals=("anton", "berta", "single"),
        attributes={
            "video": video,
            "key": f"key of {video} {exchanged}",
            "versions": {"track": 3},
            "identities": ["anton", "berta"],
        },
        track_status=status,
        identity=identity,
    )


def decide(poses, frame=EXCHANGED, what="swap", author="anna", time=NOON):
    """Decide that two animals were exchanged, or not, as a person does who sees the tracks."""
    at = lambda row, slot: Anchor(  # noqa: E731 - short
        row, *np.nanmean(poses.position[row, slot], axis=0).tolist()
    )
    turn = 1 if what == "swap" else 0
    passages = tuple(Passage(at(frame - 1, one), at(frame, abs(one - turn))) for one in (0, 1))
    return TrackDecision(
        poses.attributes["video"],
        DecisionKind(what),
        frame,
        None,
        "anton",
        "berta",
        passages,
        (),
        author,
        time,
    )


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Prepare two tracked videos, in the folder of the project."""
    monkeypatch.chdir(tmp_path)
    results = Results("results")
    rows = []
    for video in ("v", "w"):
        poses = make_tracks(video)
        write_poses(results.tracked("pose", video), poses)
        rows.append({"video": video, "status": "done", "key": poses.attributes["key"]})
    rows.append({"video": "x", "status": "failed", "reason": "no frames"})
    write_table(results.shard(SHARD).track("pose"), STAGE_COLUMNS, rows)
    return results


def configure(**sections):
    return parse_config({"cohort": "cohort.tsv", "individuals": {"max": 2}, **sections})


def run(results):
    run_correct(configure(), results, SHARD)
    rows = read_table(results.shard(SHARD).correct("pose"), subject.CORRECT_COLUMNS)
    return {row["video"]: row for row in rows}


def list_outcomes(results):
    rows = read_table(results.shard(SHARD).decisions("pose"), subject.OUTCOME_COLUMNS)
    return [(row["video"], row["author"], row["outcome"]) for row in rows]


def test_without_decisions_nothing_is_made_and_keys_stay(project):
    rows = run(project)
    assert rows["v"]["key"] == rows["v"]["source_key"] == "key of v 17"
    assert rows["x"]["status"] == "failed"
    assert rows["x"]["reason"] == "no frames"
    assert not project.corrected("pose", "v").parent.exists()
    assert find_poses(project, "pose", "v", several=True) == project.tracked("pose", "v")
    run_filter(configure(), project, SHARD)
    assert read_poses(project.filtered("pose", "v"), 0, 0).attributes["source_key"] == "key of v 17"


def test_a_swap_is_mended_with_all_that_belongs_to_the_animals(project):
    write_track_decision(project.root.parent / "corrections", decide(make_tracks()))
    before = project.tracked("pose", "v").read_bytes()
    rows = run(project)
    assert (rows["v"]["status"], rows["v"]["applied"]) == ("done", "1")
    mended, truth = read_poses(project.corrected("pose", "v")), make_tracks(exchanged=None)
    for name in ("position", "confidence", "frame_status", "track_status", "identity", "time"):
        np.testing.assert_array_equal(getattr(mended, name), getattr(truth, name), name)
    assert (mended.individuals, mended.bodyparts) == (truth.individuals, truth.bodyparts)
    assert mended.attributes["key"] == rows["v"]["key"] != rows["v"]["source_key"]
    assert mended.attributes["versions"] == {"track": 3, "correct": 1}
    exchanged = [{"first_frame": 0, "slots": [0, 1]}, {"first_frame": EXCHANGED, "slots": [1, 0]}]
    assert mended.attributes["correction"] == exchanged
    # The result of the tracker is as it was, and so is the other video.
    assert project.tracked("pose", "v").read_bytes() == before
    assert rows["w"]["key"] == rows["w"]["source_key"]
    assert not project.corrected("pose", "w").exists()
    # Later stages read the corrected tracks of the one, and the tracks of the other.
    assert find_poses(project, "pose", "v", several=True) == project.corrected("pose", "v")
    run_filter(configure(), project, SHARD)
    sources = [
        read_poses(project.filtered("pose", one), 0, 0).attributes["source_key"] for one in "vw"
    ]
    assert sources == [rows["v"]["key"], "key of w 17"]
    # A second time, nothing is written.
    facts = project.corrected("pose", "v").stat()
    assert run(project)["v"]["key"] == rows["v"]["key"]
    assert project.corrected("pose", "v").stat().st_ino == facts.st_ino


def test_a_decision_survives_another_tracker(project):
    write_track_decision(project.root.parent / "corrections", decide(make_tracks()))
    run(project)
    # Slots the other way round.
    permuted, truth = make_tracks(), make_tracks(exchanged=None)
    for name in ("position", "confidence", "track_status", "identity"):
        values = getattr(permuted, name)
        values[:, :2] = values[:, 1::-1].copy()
    write_poses(
        project.tracked("pose", "v"),
        replace(permuted, attributes=permuted.attributes | {"key": "p"}),
    )
    run(project)
    mended = read_poses(project.corrected("pose", "v"))
    np.testing.assert_array_equal(mended.position[:, :2], truth.position[:, 1::-1])
    # No mistake any more: the file goes, and the key is that of the tracks.
    write_poses(project.tracked("pose", "v"), truth)
    rows = run(project)
    assert (rows["v"]["key"], rows["v"]["already_right"]) == ("key of v None", "1")
    assert not project.corrected("pose", "v").exists()
    assert read_pose_key(find_poses(project, "pose", "v", several=True)) == "key of v None"


def test_a_decision_that_changes_nothing_leaves_the_key(project):
    folder = project.root.parent / "corrections"
    write_track_decision(folder, decide(make_tracks()))
    key = run(project)["v"]["key"]
    write_track_decision(folder, decide(make_tracks(exchanged=None), 25, "confirm"))
    rows = run(project)
    assert rows["v"]["key"] == key
    assert rows["v"]["decisions_hash"] != ""
    assert list_outcomes(project) == [("v", "anna", "applied"), ("v", "anna", "already right")]
    # Confirmed only: no file.
    write_track_decision(folder, decide(make_tracks("w"), 25, "confirm"))
    assert run(project)["w"]["key"] == "key of w 17"
    assert not project.corrected("pose", "w").exists()


def test_the_newest_decision_of_two_people_wins_and_both_are_listed(project, caplog):
    folder = project.root.parent / "corrections"
    write_track_decision(folder, decide(make_tracks()))
    later = NOON.replace(hour=13)
    write_track_decision(folder, decide(make_tracks(), what="confirm", author="ben", time=later))
    rows = run(project)
    assert list_outcomes(project) == [("v", "anna", "replaced"), ("v", "ben", "already right")]
    assert not project.corrected("pose", "v").exists()
    assert (rows["v"]["replaced"], rows["v"]["already_right"]) == ("1", "1")
    assert "the decision `swap` of anna at frame 17 is replaced" in caplog.text


def test_frames_and_videos_that_are_gone_are_told(project, caplog):
    folder = project.root.parent / "corrections"
    beyond = Passage(Anchor(998, 1.0, 1.0), Anchor(999, 1.0, 1.0))
    write_track_decision(
        folder, replace(decide(make_tracks()), first_frame=999, passages=(beyond,))
    )
    write_track_decision(folder, replace(decide(make_tracks()), video="gone"))
    rows = run(project)
    assert rows["v"]["status"] == "done"
    assert list_outcomes(project) == [("v", "anna", "not applicable")]
    assert "frame 999 is not there: the video has 40 frames" in caplog.text


def test_a_damaged_table_is_the_fate_of_its_video_alone(project):
    folder = project.root.parent / "corrections"
    path = write_track_decision(folder, decide(make_tracks()))
    path.write_text(path.read_text().replace("swap", "explode"))
    write_track_decision(folder, decide(make_tracks("w")))
    rows = run(project)
    assert rows["v"]["status"] == "failed"
    assert "anna/v.tsv, line 2: what 'explode'" in rows["v"]["reason"]
    assert (rows["w"]["status"], rows["w"]["applied"]) == ("done", "1")


def test_a_damaged_folder_is_an_error_that_costs_no_video(project):
    write_track_decision(project.root.parent / "corrections", decide(make_tracks()))
    before = run(project)
    stray = project.root.parent / "corrections" / "tracks" / "notes.txt"
    stray.write_text("?")
    with pytest.raises(LabelError, match=r"notes\.txt: expected a folder of one author's tables"):
        run(project)
    stray.unlink()
    assert project.corrected("pose", "v").exists()
    rows = run(project)
    assert {name: row["status"] for name, row in rows.items()} == {
        name: row["status"] for name, row in before.items()
    }


def test_a_new_animal_has_a_name_of_its_own(project):
    decision = replace(
        decide(make_tracks(), what="confirm"), what=DecisionKind.NEW, passages=(
            decide(make_tracks(), what="confirm").passages[0],), other="",
    )  # fmt: skip
    write_track_decision(project.root.parent / "corrections", decision)
    run(project)
    mended = read_poses(project.corrected("pose", "v"))
    assert mended.individuals == ("anton", "berta", "individual3", "single")
    absent = mended.track_status[:EXCHANGED, 2]
    assert (absent == TrackStatus.ABSENT).all()
    assert np.isnan(mended.identity[:EXCHANGED, 2]).all()
    assert np.isfinite(mended.position[EXCHANGED, 2, 0]).all()
    # Where all videos must have the same animals, it is left out.
    assert drop_added(mended).individuals == ("anton", "berta", "single")
    np.testing.assert_array_equal(drop_added(mended).position[:, 1], make_tracks().position[:, 1])
    # The cage stays what it was.
    np.testing.assert_array_equal(mended.position[:, 3], make_tracks().position[:, 2])


def test_verifying_expects_what_was_decided(project):
    files, folder = project.shard(SHARD), project.root.parent / "corrections"
    video = folder.parent / "v.mp4"
    video.write_bytes(b"")
    facts = {"bytes": 0, "modified_ns": video.stat().st_mtime_ns}
    write_table(files.manifest, MANIFEST_COLUMNS, [{"video": "v", "path": str(video), **facts}])
    write_table(files.probe, PROBE_COLUMNS, [{"video": "v", "status": "done", "path": str(video)}])
    config = configure().model_copy(
        update={"labels": (LabelSource(path="labels"),), "exports": ExportSettings(formats=())}
    )

    def verify():
        run_filter(config, project, SHARD)
        found = verify_shard(
            config, project, PlannedShard(SHARD, frozenset()), Counter(), quick=True
        )
        return {(one.kind, one.problem) for one in found if one.kind in ("corrected", "filtered")}

    run(project)
    assert verify() == set()
    write_track_decision(folder, decide(make_tracks()))
    assert verify() == {("corrected", Problem.UNEXPLAINED)}
    run(project)
    assert verify() == set()
    project.corrected("pose", "v").write_bytes(b"damaged")
    assert ("corrected", Problem.CHANGED) in verify()
    project.corrected("pose", "v").unlink()
    assert ("corrected", Problem.MISSING) in verify()
