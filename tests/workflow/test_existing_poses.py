"""Run cohorts of poses that other tools found: no network, no labels, no inference."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.io.calibrations.files import write_calibration
from pipeline_lib.io.poses.session import read_session_poses
from pipeline_lib.kernels.geometry.projection import project
from tests.steps.test_existing import write_csv
from tests.steps.triangulate.scenes import make_rig, move_animals
from tests.steps.triangulate.test_clocks import make_sound, write_video
from tests.workflow.reruns.test_verify import verify
from tests.workflow.running import Run, identify, list_undescribed, read_tsv

pytestmark = [pytest.mark.workflow]

SUMMARY = {"status", "report", "accept"}
SHEET = ("video", "path", "session", "camera", "calibration", "poses")
NAMES = ("nose", "left_ear", "right_ear", "neck", "back", "tail")


def write_session(run, rig, session, seed, moved=0.0):
    """Write what each camera saw of an animal; return its points (moment, keypoint, 3)."""
    points = move_animals(30, 1, seed=seed)[:, 0]
    for camera in rig.cameras:
        write_csv(
            run.folder / f"{session}-{camera.name}.csv",
            project(camera, points + moved),
            NAMES[: points.shape[1]],
        )
    return points


def test_sessions_of_existing_poses_become_poses_in_space(tmp_path, monkeypatch):
    run, rig = Run(tmp_path / "run"), make_rig(3)
    run.folder.mkdir()
    write_calibration(run.folder / "rig.toml", rig, "aniposelib")
    truth = {name: write_session(run, rig, name, seed) for seed, name in enumerate(("m1", "m2"))}
    rows = [
        {
            "video": f"{session}-{camera.name}", "path": "", "session": session,
            "camera": camera.name, "calibration": "rig.toml", "fps": "30",
            "poses": f"{session}-{camera.name}.csv",
        }
        for session in truth
        for camera in rig.cameras
    ]  # fmt: skip
    # A broken file costs its own row: the session goes on with the others.
    (run.folder / rows[-1]["poses"]).write_text("no poses")
    run.write_sheet(rows)
    config = {
        "cohort": "cohort.tsv",
        "exports": {"formats": ["csv"]},
        "inference": {"shard_videos": 3},
        "triangulation": {
            "enabled": True,
            "exports": ["csv", "trc"],
            "corrected_views": {"enabled": True},
        },
    }
    (run.folder / "config.yaml").write_text(yaml.safe_dump(config))
    ended = run.snakemake()
    assert ended.code == 0, ended.output
    by_shard = {f"{rule} {shard}" for rule in ("probe", "infer", "postprocess", "triangulate")
                for shard in ("00001", "00002")}  # fmt: skip
    assert ended.jobs == by_shard | {"calibrate"} | SUMMARY
    assert list_undescribed(run.results) == []
    first, second = read_tsv(run.results.session_ledger)
    assert (first["status"], first["moments"], first["missing"]) == ("done", "30", "")
    assert (second["status"], len(second["cameras"].split(", "))) == ("done", 2)
    assert "quarantined" in second["missing"]
    assert "not a DeepLabCut table" in second["missing"]
    for session, points in truth.items():
        poses = read_session_poses(run.results.triangulated("pose", session))
        off = np.linalg.norm(poses.position[:, 0] - points, axis=-1)
        # The default filter smooths a little.
        assert np.nanmedian(off) < 1.0
        assert np.isfinite(off).mean() > 0.9
        assert poses.attributes["fps"] == 30
        assert len(read_tsv(run.results.session_export("pose", session, "csv"))) > 0
        assert run.results.session_export("pose", session, "trc").stat().st_size > 0
        views = run.results.corrected_views("pose", session)
        assert len(list(views.iterdir())) == len(poses.cameras)
    page = run.results.report.read_text(encoding="utf-8")
    assert "the sheet has no video of this camera" in page
    assert run.snakemake("--dry-run").jobs == set()
    code, record = verify(run, monkeypatch)
    assert (code, record["findings"]) == (0, [])
    assert record["checked"]["existing poses"] == 6

    # Another content of one file costs its own session alone.
    kept = run.results.triangulated("pose", "m1").stat()
    before = run.results.triangulated("pose", "m2").read_bytes()
    write_session(run, rig, "m2", 1, moved=3.0)
    ended = run.snakemake()
    assert ended.jobs == {
        *(f"{rule} 00002" for rule in ("probe", "infer", "postprocess", "triangulate")),
        *SUMMARY,
    }
    assert run.results.triangulated("pose", "m1").stat().st_mtime_ns == kept.st_mtime_ns
    assert run.results.triangulated("pose", "m2").read_bytes() != before
    assert [row["missing"] for row in read_tsv(run.results.session_ledger)] == ["", ""]


def test_cameras_that_start_at_other_times_are_synchronised_by_the_sound_of_their_videos(tmp_path):
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    # Of the size of the videos.
    rig = Calibration(
        tuple(
            replace(one, size=(64, 48), matrix=one.matrix * [[0.05], [0.05], [1]])
            for one in make_rig(3).cameras[:2]
        ),
        "mm",
    )
    write_calibration(run.folder / "rig.toml", rig, "aniposelib")
    points = move_animals(75, 1, seed=0)[:, 0]
    rows = []
    # The second camera starts 15 frames late.
    for number, (camera, late) in enumerate(zip(rig.cameras, (0, 15), strict=True)):
        video, name = run.folder / f"{camera.name}.mkv", f"{camera.name}.csv"
        sound = make_sound(late / 25, (75 - late) / 25, number)
        write_video(video, late / 25, 75 - late, fps=25, sound=sound)
        write_csv(run.folder / name, project(camera, points[late:]), NAMES[: points.shape[1]])
        cells = (video.stem, video.name, "m1", camera.name, "rig.toml", name)
        rows.append(dict(zip(SHEET, cells, strict=True)))
    # Without sound: its session fails alone.
    mute = write_video(run.folder / "mute.mkv", 0.0, 75)
    rows += [{**rows[0], "video": "n1", "session": "n"}]
    rows += [{**rows[1], "video": "n2", "session": "n", "path": mute.name}]
    run.write_sheet(rows)
    config = {
        "cohort": "cohort.tsv",
        "exports": {"formats": []},
        "triangulation": {
            "enabled": True, "source": "raw", "exports": [], "synchronisation": {"method": "sound"},
        },
    }  # fmt: skip
    (run.folder / "config.yaml").write_text(yaml.safe_dump(config))
    ended = run.snakemake()
    assert ended.code == 0, ended.output
    first, second = read_tsv(run.results.session_ledger)
    assert (first["status"], first["moments"]) == ("done", "75")
    assert first["doubts"] == f"camera {rig.names[1]} has no frame at 15 of 75 moments"
    assert second["status"] == "failed"
    assert "it has no sound" in second["reason"]
    poses = read_session_poses(run.results.triangulated("pose", "m1"))
    (clock,) = poses.attributes["synchronisation"]["clocks"]["cameras"].values()
    assert clock["later_s"] == pytest.approx(-0.6, abs=0.004)
    assert poses.camera_frame[15:, 1].tolist() == list(range(60))
    assert (poses.camera_frame[:15, 1] == -1).all()
    assert np.allclose(poses.position[15:, 0], points[15:], atol=0.1)
    for one in poses.attributes["synchronisation"]["cameras"].values():
        assert one["apart_s"]["most"] < 0.005


def test_a_row_with_poses_joins_a_cohort_with_a_network(again):
    before = identify(again.results.root / "poses")
    card = json.loads(again.results.model("pose").card.read_text())
    names = tuple(card["skeleton"]["bodyparts"])
    write_csv(again.folder / "old.csv", np.full((5, len(names), 2), 9.0), names)
    rows = [{**row, "poses": ""} for row in again.read_sheet()]
    again.write_sheet([*rows, {**dict.fromkeys(rows[0], ""), "video": "old", "poses": "old.csv"}])
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    # Frames to label are chosen of every shard.
    expected = {f"{rule} 00002" for rule in ("probe", "infer", "postprocess", "select_frames")}
    assert ended.jobs == expected | SUMMARY
    assert before.items() <= identify(again.results.root / "poses").items()
    assert {row["video"]: row["status"] for row in read_tsv(again.results.ledger)}["old"] == "done"
