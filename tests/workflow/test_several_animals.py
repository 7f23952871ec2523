"""Run two animals per video from a fresh folder to tracks, exports and the report."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline_lib.core.tables import TrackStatus
from pipeline_lib.core.track_decisions import Anchor, DecisionKind, Passage, TrackDecision
from pipeline_lib.demo.render.animal import BODYPARTS
from pipeline_lib.demo.tracks import describe_demo_tracks, measure_demo_tracks
from pipeline_lib.demo.write import DemoSettings, write_demo
from pipeline_lib.io.corrections.tracks import remove_track_decision, write_track_decision
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.kernels.tracking.similarity import centre_poses
from tests.workflow.running import PROJECT, Run, identify, list_undescribed, read_tsv

pytestmark = [pytest.mark.workflow]

DEMO = DemoSettings(
    videos=2, frames=24, individuals=2, width=96, height=96, labelled_frames=8, damaged=False
)
# The smallest network there is learns nothing: whatever it finds is an animal.
SETTINGS = {
    "labels": [{"path": PROJECT}],
    "targets": {"stride": 8},
    "training": {
        "backbone": "mobilenetv3_small_050",
        "weights": "none",
        "head_channels": 8,
        "epochs": 3,
        "validate_every": 1,
        "batch_size": 4,
    },
    "assembly": {"pcutoff": 0.0, "min_affinity": 0.0, "min_keypoints": 1},
    "tracking": {"min_length": 1},
    "report": {"sample_frames": 2},
    "quality": {"enabled": False},
    # A shard for each video.
    "inference": {"shard_videos": 1},
}
VIDEOS = ("mouse-01", "mouse-02")
STAGES = {f"{rule} 00001" for rule in ("probe", "infer", "postprocess")}


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Render two videos of two animals beside the run, so that its copies share them."""
    folder = tmp_path_factory.mktemp("media") / "two animals"
    write_demo(folder, DEMO)
    return folder


@pytest.fixture(scope="module")
def pair(media, tmp_path_factory):
    """Return a finished run on two videos of two animals."""
    run = Run(tmp_path_factory.mktemp("several") / "two animals")
    run.folder.mkdir()
    for name in ("cohort.tsv", "config.yaml"):
        shutil.copy(media / name, run.folder)
    (project,) = media.glob("demo-*")
    shutil.copytree(project, run.folder / PROJECT)
    run.write_sheet([{**row, "path": str(media / row["path"])} for row in run.read_sheet()])
    run.edit_config(**SETTINGS)
    run.first = run.snakemake()
    assert run.first.code == 0, run.first.output
    return run


def test_every_stage_ran_tracking_among_them(pair):
    assert pair.first.jobs >= STAGES | {"import_labels", "make_targets", "train", "evaluate"}
    assert "Traceback" not in pair.first.output
    assert {row["status"] for row in pair.read_ledger().values()} == {"done"}


def test_labels_keep_the_individuals(pair):
    labels = pd.read_parquet(pair.results.labels)
    assert set(labels["individual"]) == {"mouse1", "mouse2"}
    assert len(labels) == 8 * 2 * len(BODYPARTS)


@pytest.mark.parametrize("video", VIDEOS)
def test_a_place_in_the_tracks_is_an_animal(pair, video):
    raw, tracked, filtered = (
        kind("pose", video)
        for kind in (pair.results.poses, pair.results.tracked, pair.results.filtered)
    )
    # As the network gave them, there is room for four more.
    for store, places in ((raw, 6), (f"zip::{tracked}", 2), (f"zip::{filtered}", 2)):
        with xr.open_zarr(store) as poses:
            assert dict(poses.sizes)["individual"] == places
            assert poses.sizes["time"] == 24
            assert poses["keypoint"].to_numpy().tolist() == list(BODYPARTS)
    with xr.open_zarr(f"zip::{tracked}") as poses:
        status = poses["track_status"].to_numpy()
        located = np.isfinite(poses["position"].to_numpy()).all(axis=1).any(axis=1)
    assert status.shape == (24, 2)
    found = np.isin(status, (TrackStatus.FOLLOWED, TrackStatus.UNCERTAIN))
    np.testing.assert_array_equal(located, found)


@pytest.mark.parametrize("video", VIDEOS)
def test_exports_have_a_level_of_individuals(pair, video):
    table = pd.read_hdf(pair.results.exported("pose", video, "h5"), "df_with_missing")
    assert table.columns.names == ["scorer", "individuals", "bodyparts", "coords"]
    assert table.shape == (24, 2 * len(BODYPARTS) * 3)
    assert table.columns.get_level_values("individuals").nunique() == 2


def test_whole_animals_are_evaluated(pair):
    rows = read_tsv(pair.results.metrics("pose"))
    assert {row["metric"] for row in rows} >= {"oks_map", "oks_mar", "mean_error"}


def test_the_report_shows_the_animals(pair):
    page = pair.results.report.read_text()
    assert '<section id="animals">' in page
    assert page.count('<article class="panel animals">') == 2
    assert "OKS mAP" in page


def test_tracks_are_compared_with_the_truth(pair, media):
    error = measure_demo_tracks(media, pair.results, "pose")
    assert 0 < error.animals <= 2 * 2 * 24
    assert error.mota <= 1.0
    assert 0.0 <= error.idf1 <= 1.0
    assert len(describe_demo_tracks(media, pair.results, "pose")) == 3


def test_a_second_run_has_nothing_to_do(pair):
    before = identify(pair.results.root)
    planned = pair.snakemake("--dry-run")
    assert planned.code == 0
    assert "Nothing to be done" in planned.output
    assert identify(pair.results.root) == before


def test_another_setting_of_the_tracking_infers_nothing(pair, tmp_path):
    run = pair.copy(tmp_path / "again")
    run.edit_config(tracking={"min_length": 2})
    ended = run.snakemake()
    assert ended.code == 0, ended.output
    assert {"postprocess 00001", "report"} <= ended.jobs
    assert not {"train", "infer 00001"} & ended.jobs


def decide_swap(run, video):
    """Say that the two animals were exchanged, at a frame where both are seen on both sides."""
    poses = read_poses(run.results.tracked("pose", video))
    centre = centre_poses(poses.position)
    seen = np.isfinite(centre).all((1, 2))
    frame = next(row for row in range(1, 24) if seen[row] and seen[row - 1])

    def passage(one, other):
        return Passage(
            Anchor(frame - 1, *centre[frame - 1, one].tolist()),
            Anchor(frame, *centre[frame, other].tolist()),
        )

    passages = (passage(0, 1), passage(1, 0))
    names = poses.individuals[:2]
    when = datetime(2026, 3, 1, tzinfo=UTC)
    decision = TrackDecision(
        video, DecisionKind.SWAP, frame, None, *names, passages, (), "anna", when
    )
    return decision, poses


def list_results(run, video):
    """Identify the poses and exports of a video."""
    found = {path.relative_to(run.results.root): facts for path, facts in
             identify(run.results.root).items()}  # fmt: skip
    return {path: facts for path, facts in found.items() if path.parts[2:] and
            path.parts[2].startswith(video) and path.parts[0] in POSES}  # fmt: skip


POSES = ("poses", "tracked", "corrected", "filtered", "exports")
AGAIN = {"postprocess 00001", "status", "report", "accept"}


def test_decisions_about_tracks_change_their_video_and_nothing_else(pair, tmp_path):
    run = pair.copy(tmp_path / "corrected")
    first, second = (list_results(run, video) for video in VIDEOS)
    decision, tracks = decide_swap(run, "mouse-01")
    write_track_decision(run.folder / "corrections", decision)
    # A decision about a video that is gone is told, and no more.
    write_track_decision(run.folder / "corrections", replace(decision, video="gone"))
    said = json.loads(call(run, "status", "--format", "json").stdout)["videos"]
    assert [one["status"] for one in said] == ["pending", "done"]
    assert "people have decided about its tracks since" in said[0]["reason"]
    ended = run.snakemake()
    assert ended.code == 0, ended.output
    assert ended.jobs == AGAIN
    assert "decisions about the tracks of gone, which is not in cohort.tsv" in ended.output
    assert list_undescribed(run.results) == []
    planned = run.snakemake("--dry-run")
    assert planned.code == 0
    assert "Nothing to be done" in planned.output

    # Poses and tracks stay, the corrected ones are exchanged, and what is made of them follows.
    corrected = read_poses(run.results.corrected("pose", "mouse-01"))
    frame = decision.first_frame
    np.testing.assert_array_equal(corrected.position[:frame], tracks.position[:frame])
    np.testing.assert_array_equal(corrected.position[frame:], tracks.position[frame:, ::-1])
    filtered = read_poses(run.results.filtered("pose", "mouse-01"), 0, 0)
    assert filtered.attributes["source_key"] == corrected.attributes["key"]
    changed = list_results(run, "mouse-01")
    same = {path.parts[0] for path in first if changed[path] == first[path]}
    assert same == {"poses", "tracked"}
    assert {path.parts[0] for path in changed.keys() - first.keys()} == {"corrected"}
    assert list_results(run, "mouse-02") == second
    (row,) = read_tsv(run.results.shard("00001").decisions("pose"))
    assert (row["video"], row["outcome"]) == ("mouse-01", "applied")
    page = run.results.report.read_text()
    assert "Tracks were proofread by hand: 1 decision about 1 video" in page
    assert "1 applied, 0 right already, 0 left out" in page
    verified = call(run, "verify", "--format", "json")
    assert verified.returncode == 0, verified.stdout
    assert json.loads(verified.stdout)["checked"]["corrected"] == 1

    # A corrected file that is lost is made again.
    run.results.corrected("pose", "mouse-01").unlink()
    assert run.snakemake("--dry-run").jobs == AGAIN
    # Withdrawn, everything is as it was.
    remove_track_decision(run.folder / "corrections", decision)
    ended = run.snakemake()
    assert ended.code == 0, ended.output
    assert ended.jobs == AGAIN
    assert list_results(run, "mouse-01").keys() == first.keys()
    before, after = (
        read_tsv(one.results.shard("00001").filter("pose"))[0]["key"] for one in (pair, run)
    )
    assert before == after


def call(run, *arguments):
    """Run a verb of the command line in the folder of a run."""
    command = [str(Path(sys.executable).parent / "cohortpose"), "-d", str(run.folder)]
    return subprocess.run(
        [*command, *arguments, "--config", "config.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
