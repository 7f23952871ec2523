"""Tracks that were corrected in SLEAP come back as decisions, and only what was changed."""

from datetime import UTC, datetime

import numpy as np
import pytest
import sleap_io
from typer.testing import CliRunner

from pipeline_lib.cli import app
from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import FrameStatus, TrackStatus
from pipeline_lib.core.track_decisions import DecisionKind
from pipeline_lib.io.corrections.tracks import read_track_decisions
from pipeline_lib.io.exports.sleap import write_sleap_predictions
from pipeline_lib.io.exports.source import ExportSource
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.poses.write import create_poses
from pipeline_lib.kernels.proofreading.corrections import correct_positions
from pipeline_lib.steps.label_projects.merge_tracks import run_merge_tracks
from tests.steps.label_projects.example import FRAMES, Run

NAMES = ("2nd", "mus1")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run(tmp_path, NAMES)
    for video in ("day1-cam", "day2-cam"):
        time = np.arange(FRAMES)
        position = np.empty((FRAMES, 2, 3, 2), np.float32)
        position[..., 0] = (time[:, None, None] + 40 * np.arange(2)[:, None]) / 2 + np.arange(3)
        position[..., 1] = 10 + 30 * np.arange(2)[:, None]
        # One animal is not found in some frames.
        position[20:24, 1] = np.nan
        confidence = np.where(np.isnan(position[..., 0]), 0, 0.9).astype(np.float32)
        status = np.where(np.isnan(position).all((2, 3)), TrackStatus.GAP, TrackStatus.FOLLOWED)
        path, names = run.results.tracked("pose", video), run.bodyparts
        made = create_poses(path, time / 25, names, NAMES, {"key": video}, tracked=True)
        with made as writer:
            decoded = np.full(FRAMES, FrameStatus.DECODED, np.uint8)
            writer.write(0, position, confidence, decoded, status.astype(np.uint8))
    return run


def export(run, video):
    """Write the SLEAP file of a video as `export` does."""
    path = run.folder / f"{video}.slp"
    day = run.folder / video.split("-")[0] / "cam.mp4"
    skeleton = Skeleton(bodyparts=run.bodyparts)
    poses = run.results.tracked("pose", video)
    write_sleap_predictions(path, ExportSource(poses, "x", skeleton, video=day))
    return path


def swap(path, first, last=FRAMES):
    """Exchange the tracks of the two animals, as SLEAP's transpose does."""
    labels = sleap_io.load_slp(str(path), open_videos=False)
    one, other = labels.tracks
    for frame in labels.labeled_frames:
        if first <= frame.frame_idx < last:
            for instance in frame.instances:
                instance.track = other if instance.track is one else one
    labels.save(str(path), embed=False, verbose=False)
    return path


def test_what_nobody_changed_is_no_decision(run):
    assert run_merge_tracks(run.config, run.results, export(run, "day2-cam")) == 0
    assert not (run.folder / "corrections").exists()


def test_exchanged_tracks_come_back_to_the_right_video(run):
    path = swap(export(run, "day2-cam"), 30)
    time = datetime(2026, 3, 1, tzinfo=UTC)
    assert run_merge_tracks(run.config, run.results, path, "Ada", time) == 1
    (decision,) = read_track_decisions(run.folder / "corrections")
    assert (decision.video, decision.what) == ("day2-cam", DecisionKind.SWAP)
    assert (decision.first_frame, decision.author, decision.time) == (30, "Ada", time)
    assert {decision.individual, decision.other} == set(NAMES)
    before = read_poses(run.results.tracked("pose", "day2-cam")).position
    after = correct_positions(before, [decision])
    np.testing.assert_array_equal(after[:30], before[:30])
    np.testing.assert_array_equal(after[30:], before[30:, ::-1])
    # The same file once more says nothing new.
    assert run_merge_tracks(run.config, run.results, path) == 0


def test_an_exchange_for_a_while_and_one_in_a_gap(run):
    path = swap(swap(export(run, "day1-cam"), 5, 12), 22)
    assert run_merge_tracks(run.config, run.results, path) >= 3
    decisions = read_track_decisions(run.folder / "corrections")
    assert {one.video for one in decisions} == {"day1-cam"}
    before = read_poses(run.results.tracked("pose", "day1-cam")).position
    after = correct_positions(before, decisions)
    expected = before.copy()
    expected[5:12], expected[22:] = before[5:12, ::-1], before[22:, ::-1]
    np.testing.assert_array_equal(after, expected)


def test_names_of_tracks_and_corrected_points_do_not_matter(run):
    path = export(run, "day2-cam")
    labels = sleap_io.load_slp(str(path), open_videos=False)
    for number, track in enumerate(labels.tracks):
        track.name = f"track_{number}"
    frame = labels.labeled_frames[7]
    predicted = frame.instances[0]
    user = sleap_io.Instance.from_numpy(predicted.numpy() + 2, skeleton=labels.skeleton)
    user.track, user.from_predicted = predicted.track, predicted
    frame.instances.append(user)
    labels.save(str(path), embed=False, verbose=False)
    assert run_merge_tracks(run.config, run.results, path) == 0


def test_files_that_are_none_or_of_other_videos(run):
    path = run.folder / "x.slp"
    path.write_bytes(b"no HDF5")
    with pytest.raises(LabelError, match="is not readable as a SLEAP file"):
        run_merge_tracks(run.config, run.results, path)
    good = export(run, "day2-cam")
    labels = sleap_io.load_slp(str(good), open_videos=False)
    labels.videos[0].backend_metadata["filename"] = "/elsewhere/mouse.mp4"
    labels.videos[0].filename = "/elsewhere/mouse.mp4"
    labels.save(str(good), embed=False, verbose=False)
    with pytest.raises(LabelError, match="is none of the videos of the cohort sheet"):
        run_merge_tracks(run.config, run.results, good)


def test_a_track_twice_in_a_frame(run):
    path = export(run, "day2-cam")
    labels = sleap_io.load_slp(str(path), open_videos=False)
    for instance in labels.labeled_frames[3].instances:
        instance.track = labels.tracks[0]
    labels.save(str(path), embed=False, verbose=False)
    with pytest.raises(LabelError, match="frame 3: 2 instances have the track 2nd"):
        run_merge_tracks(run.config, run.results, path)


def test_files_of_labels_are_no_tracks(run):
    """Of single frames, of instances without tracks, or of frames here and there."""
    package = run.hand_over("sleap") / "project.pkg.slp"
    with pytest.raises(LabelError, match=r"holds single frames.*expected a SLEAP file of whole"):
        run_merge_tracks(run.config, run.results, package)
    path = export(run, "day2-cam")
    labels = sleap_io.load_slp(str(path), open_videos=False)
    labels.labeled_frames = labels.labeled_frames[::2]
    labels.save(str(path), embed=False, verbose=False)
    with pytest.raises(LabelError, match="no track has two frames in succession"):
        run_merge_tracks(run.config, run.results, path)
    for frame in labels.labeled_frames:
        for instance in frame.instances:
            instance.track = None
    labels.save(str(path), embed=False, verbose=False)
    with pytest.raises(LabelError, match=r"no instance has a track: expected .* whole videos"):
        run_merge_tracks(run.config, run.results, path)
    run.hand_over("sleap", "labels", frames="none")
    with pytest.raises(LabelError, match="`cohortpose merge-labels` merges labels"):
        run_merge_tracks(run.config, run.results, run.folder / "labels" / "project.pkg.slp")
    assert not (run.folder / "corrections").exists()


def test_tracks_of_the_unique_bodyparts_alone_are_none(run):
    path = export(run, "day2-cam")
    labels = sleap_io.load_slp(str(path), open_videos=False)
    labels.tracks[0].name = "single"
    for frame in labels.labeled_frames:
        frame.instances = [one for one in frame.instances if one.track is labels.tracks[0]]
    labels.save(str(path), embed=False, verbose=False)
    with pytest.raises(LabelError, match="no instance has a track"):
        run_merge_tracks(run.config, run.results, path)


def test_a_project_of_one_animal_has_no_tracks(tmp_path, monkeypatch, run):
    path = export(run, "day2-cam")
    monkeypatch.chdir(tmp_path)
    run.config = parse_config({"cohort": "cohort.tsv"})
    with pytest.raises(LabelError, match=r"individuals.max.*\n.*is 1: tracks are of several"):
        run_merge_tracks(run.config, run.results, path)


def test_a_video_of_another_length_is_another_one(run, caplog):
    """Of its path only the name agrees with that of the cohort's only `cam.mp4`."""
    run.write_plan(("day2-cam",))
    path = export(run, "day2-cam")
    labels = sleap_io.load_slp(str(path), open_videos=False)
    described = labels.videos[0].backend_metadata
    for count, problem in ((FRAMES + 1, f"has {FRAMES + 1} frames as the file"), (FRAMES, "")):
        labels.videos[0].filename = described["filename"] = "/other/day9/cam.mp4"
        described["shape"] = [count, 64, 96, 3]
        labels.save(str(path), embed=False, verbose=False)
        if problem:
            with pytest.raises(LabelError, match=problem):
                run_merge_tracks(run.config, run.results, path)
        else:
            assert run_merge_tracks(run.config, run.results, path) == 0
    assert "/other/day9/cam.mp4 is taken for video day2-cam" in caplog.text


def test_the_help_speaks_of_tracks():
    # As typer shows it; lines are broken by the width of the terminal.
    said = CliRunner().invoke(app, ["merge-tracks", "--help"], env={"COLUMNS": "200"}).output
    assert "When the tracks were corrected" in said
    assert "each frame" not in said


def test_videos_without_tracks(run):
    path = export(run, "day2-cam")
    run.results.tracked("pose", "day2-cam").unlink()
    with pytest.raises(LabelError, match="video day2-cam has no tracks"):
        run_merge_tracks(run.config, run.results, path)
