"""Test that views are filled and corrected by the others, marked, and kept beside what they saw."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline_lib.core.settings.cameras import TriangulationSettings
from pipeline_lib.core.tables import (
    CORRECTED_VIEWS_COLUMNS,
    FrameStatus,
    PointSource,
    TrackStatus,
)
from pipeline_lib.io.foreign_poses.files import read_foreign_poses
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.kernels.geometry.projection import project
from pipeline_lib.kernels.geometry.sessions.reprojection import CorrectionRules
from pipeline_lib.steps.runs.stage_keys import claim_stage
from pipeline_lib.steps.triangulate.corrected_views import correct_poses, run_correct_views
from pipeline_lib.steps.triangulate.session import View, triangulate_session
from tests.steps.triangulate.scenes import (
    EDGES,
    circle_animals,
    exchange,
    make_rig,
    see,
    track,
)
from tests.steps.triangulate.session_cohort import MODEL, SessionCohort

RULES = CorrectionRules(8.0, 0.3)


def change(cohort, video, edit):
    """Change the filtered poses of a video."""
    path = cohort.results.filtered(MODEL, video)
    poses = read_poses(path)
    position, confidence = poses.position.copy(), poses.confidence.copy()
    status = poses.frame_status.copy()
    edit(position, confidence, status)
    changed = replace(poses, position=position, confidence=confidence, frame_status=status)
    write_poses(path, changed)


def correct(cohort):
    """Run the stage as the rules do; return its rows by session."""
    claim_stage(cohort.config, cohort.results, "correct-views")
    rows = []
    for shard in sorted(path.parent.name for path in cohort.results.shards.glob("*/sessions.tsv")):
        run_correct_views(cohort.config, cohort.results, shard)
        table = cohort.results.shard(shard).table("correct-views", MODEL)
        rows += read_table(table, CORRECTED_VIEWS_COLUMNS)
    return {row["session"]: row for row in rows}


def test_missing_and_wrong_points_come_from_the_other_views(tmp_path):
    cohort = SessionCohort(tmp_path, corrected_views={"enabled": True})
    cohort.add("m1")
    cohort.add("m2")
    first, second = (f"m1-{name}" for name in cohort.names[:2])

    def spoil(position, confidence, status):
        position[5:9, 0, 2] = np.nan
        confidence[12, 0] = 0.1
        position[20, 0, 1] += 60
        status[30], position[30], confidence[30] = FrameStatus.UNDECODABLE, np.nan, np.nan

    change(cohort, first, spoil)
    cohort.outcomes["m2-" + cohort.names[3]] = ("failed", "no such file", (0, 0))
    cohort.run()
    rows = correct(cohort)
    assert (rows["m1"]["status"], rows["m2"]["status"]) == ("done", "done")
    assert [rows["m1"][name] for name in ("kept", "corrected", "filled", "doubted")] == [
        str(4 * 40 * 6 - 4 - 6 - 1 - 6), "1", "10", "0",
    ]  # fmt: skip
    found = read_poses(cohort.results.corrected_view(MODEL, "m1", first))
    source = found.point_source[:, 0]
    assert (source[5:9, 2] == PointSource.FILLED).all()
    assert (source[12] == PointSource.FILLED).all()
    assert source[20, 1] == PointSource.CORRECTED
    # A frame without a picture gets no points.
    assert (source[30] == PointSource.NONE).all()
    assert np.isnan(found.position[30]).all()
    truth = project(cohort.rig.cameras[0], cohort.truth["m1"])
    decoded = found.frame_status == FrameStatus.DECODED
    assert np.abs(found.position - truth)[decoded].max() < 0.1
    before = read_poses(cohort.results.filtered(MODEL, first))
    kept = found.point_source == PointSource.KEPT
    assert np.array_equal(found.position[kept], before.position[kept])
    assert np.allclose(found.confidence[5:9, 0, 2], 0.9)
    assert found.attributes["points"] == {"kept": 223, "corrected": 1, "filled": 10, "doubted": 0}
    assert (found.attributes["video"], found.attributes["camera"]) == (first, cohort.names[0])
    # Another sheet may name it as poses, to export it.
    path = cohort.results.corrected_view(MODEL, "m1", first)
    again = read_foreign_poses(path)
    assert np.array_equal(again.position, found.position, equal_nan=True)
    assert again.individuals == found.individuals
    # What no view lacks stays; a video that failed has none.
    other = read_poses(cohort.results.corrected_view(MODEL, "m1", second))
    assert (other.point_source == PointSource.KEPT).all()
    assert len(list(cohort.results.corrected_views(MODEL, "m2").iterdir())) == 3
    assert cohort.read_ledger()["m1"]["status"] == "done"


def test_unchanged_sessions_are_not_corrected_again_and_failures_are_told(tmp_path):
    cohort = SessionCohort(tmp_path, corrected_views={"enabled": True})
    for name in ("m1", "m2"):
        cohort.add(name)
    cohort.add("m3", calibration="")
    cohort.run()
    assert correct(cohort)["m3"]["status"] == "no calibration"
    folders = [cohort.results.corrected_views(MODEL, name) for name in ("m1", "m2")]
    before = [folder.stat().st_ino for folder in folders]
    assert [row["status"] for row in correct(cohort).values()] == ["done", "done", "no calibration"]
    assert [folder.stat().st_ino for folder in folders] == before
    # Other poses than those that were triangulated: only this session fails.
    path = cohort.results.filtered(MODEL, "m1-" + cohort.names[0])
    poses = read_poses(path)
    write_poses(path, replace(poses, attributes={**poses.attributes, "key": "other"}))
    cohort.settings["triangulation"]["corrected_views"]["fewest_views"] = 3
    rows = correct(cohort)
    assert rows["m1"]["status"] == "failed"
    assert "has changed since its session was triangulated" in rows["m1"]["reason"]
    assert rows["m2"]["status"] == "done"
    ledger = cohort.read_ledger()
    assert "has changed since" in ledger["m1"]["reason"]
    assert ledger["m2"]["status"] == "done"


@pytest.fixture(scope="module")
def scene():
    """Return two animals in four views; one view loses, displaces and exchanges them."""
    rig, points = make_rig(4), circle_animals(60, 2)
    views = [track(one) for one in see(points, rig.cameras, noise=0.3)]
    position = views[1].poses.position.copy()
    position[10:20, 0] = np.nan
    position[30, 1, 2] += 70
    views[1] = replace(views[1], poses=replace(views[1].poses, position=position))
    views[1] = exchange(views[1], 0, 1, 50)
    session = triangulate_session(views, rig, EDGES, TriangulationSettings(), 1)
    return rig, points, views, session


def test_exchanged_animals_are_put_right(scene):
    rig, points, views, session = scene
    found = correct_poses(views[1].poses, session, rig.cameras[1], RULES)
    assert found.individuals == session.individuals
    truth = project(rig.cameras[1], points)
    # In the view itself the animals are exchanged from frame 50 on.
    assert np.nanmax(np.abs(views[1].poses.position - truth)[50:]) > 50
    assert np.abs(found.position - truth).max() < 3
    changed = found.point_source != PointSource.KEPT
    expected = np.zeros_like(changed)
    expected[10:20, 0] = expected[30, 1, 2] = True
    assert (changed == expected).all()
    assert (found.track_status == TrackStatus.FOLLOWED).all()


def test_views_that_lack_bodyparts_frames_or_partners(scene):
    rig, points, views, _ = scene
    # This camera's network knows fewer bodyparts, and its last frames are at no moment.
    few = views[2].poses
    few = replace(
        few,
        position=few.position[:, :, :4],
        confidence=few.confidence[:, :, :4],
        bodyparts=few.bodyparts[:4],
    )
    some = [views[0], views[1], View(views[2].camera, few), views[3]]
    session = triangulate_session(some, rig, EDGES, TriangulationSettings(), 1)
    frames = session.camera_frame.copy()
    frames[57:, 2] = -1
    session = replace(session, camera_frame=frames)
    found = correct_poses(few, session, rig.cameras[2], RULES)
    assert found.bodyparts == session.bodyparts
    assert (found.point_source[:57, :, 4:] == PointSource.FILLED).all()
    truth = project(rig.cameras[2], points)
    assert np.abs(found.position - truth)[:57].max() < 3
    assert (found.point_source[57:, :, 4:] == PointSource.NONE).all()
    assert (found.point_source[57:, :, :4] == PointSource.KEPT).all()
    assert np.abs(found.position - truth)[57:, :, :4].max() < 3
