"""Triangulate sessions in a run that has ended: no network runs again."""

import json
import shutil

import numpy as np
import pytest

import pipeline_lib
from pipeline_lib.core.cameras.calibration import Calibration, Camera
from pipeline_lib.core.tables import PointSource
from pipeline_lib.io.calibrations.files import write_calibration
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.video.reader import VideoReader
from tests.kernels.geometry.rigs import make_ring
from tests.workflow.reruns.test_verify import flip_a_bit, tell, verify
from tests.workflow.running import REPOSITORY, identify, list_undescribed, read_tsv
from tests.workflow.test_pages import PYTHON_BLOCK

pytestmark = [pytest.mark.workflow]

SUMMARY = {"status", "report", "accept"}
TRIANGULATED = {"triangulate 00001", "refine"} | SUMMARY
MADE_AGAIN = {"calibrate", "triangulate 00002"} | TRIANGULATED
NEW_SHARD = {f"{rule} 00002" for rule in ("probe", "select_frames", "infer", "postprocess")}
RENDERED = {"render 00001", "render 00002"}
CAMERAS = ("left", "right", "top")


def write_cameras(path, unit="mm"):
    """Write a calibration of three cameras of the size of the videos."""
    ring = [one.rename(name) for one, name in zip(make_ring(3), CAMERAS, strict=True)]
    shrunk = []
    for one in ring:
        scale = 96 / one.size[0]
        matrix = one.matrix * scale
        matrix[2, 2] = 1
        lens = (one.distortion, one.model, one.rotation, one.translation)
        shrunk.append(Camera(one.name, (96, 96), matrix, *lens))
    write_calibration(path, Calibration(tuple(shrunk), unit), "aniposelib")


def make_sessions(run):
    """Make two sessions: one of videos of two shards, a damaged one among them, one of new ones."""
    (run.folder / "cameras").mkdir()
    write_cameras(run.folder / "cameras" / "day1.toml")
    old = [
        dict.fromkeys(("session", "camera", "calibration"), "") | row for row in run.read_sheet()
    ]
    new = []
    for number in range(3):
        path = run.folder / f"new-{number}.mp4"
        shutil.copy(old[0]["path"], path)
        new.append({**old[0], "video": path.stem, "path": path})
    for row, session, camera in (
        (old[0], "open-field", "left"),
        (new[0], "open-field", "right"),
        (old[2], "open-field", "top"),
        (new[1], "side", "left"),
        (new[2], "side", "right"),
    ):
        row.update(session=session, camera=camera, calibration="cameras/day1.toml")
    run.write_sheet([*old, *new])
    run.edit_config(inference={"shard_videos": 3})
    # The network has learnt nothing.
    views = {"corrected_views": {"enabled": True}}
    run.edit_config(
        triangulation={"enabled": True, "source": "raw", "pcutoff": 0.0} | views,
        refinement={"enabled": True, "criteria": ["views"], "frames": 2, "min_gap": 0.0},
        # Of sessions alone.
        rendering={"enabled": True, "whole": False, "worst_seconds": 0, "pcutoff": 0.0},
    )


def read_as_the_page_does(run, monkeypatch):
    """Run the example of docs/how-to/results/read-in-python.md."""
    page = (REPOSITORY / "docs" / "how-to" / "results" / "read-in-python.md").read_text(
        encoding="utf-8"
    )
    blocks = PYTHON_BLOCK.findall(page)
    (block,) = (text for text in blocks if "results/triangulated" in text)
    (corrected,) = (text for text in blocks if "results/corrected_views" in text)
    video = run.read_sheet()[0]["video"]
    found = {"pipeline_lib": pipeline_lib}
    with monkeypatch.context() as patch:
        patch.chdir(run.folder)
        exec(block.replace("m1.zarr.zip", "open-field.zarr.zip"), found)  # noqa: S102 - our own page
        corrected = corrected.replace("m1/m1-left", f"open-field/{video}")
        exec(corrected, found)  # noqa: S102 - our own page
    assert found["snout"].dims == ("time", "space")
    assert bool((found["view"].point_source == PointSource.KEPT).any())
    assert "kept" in found["view"].point_source.attrs["flag_meanings"]
    assert found["certain"].shape == (found["poses"].sizes["time"], 3)


def measure_drawn(path):
    """Return frames, width and height of a video: two cameras and the space are in two rows."""
    with VideoReader(path) as video:
        return video.facts.frames, video.facts.width, video.facts.height


def test_sessions_are_triangulated_without_training(again, monkeypatch):
    before = identify(again.results.root / "poses")
    make_sessions(again)
    ended = again.snakemake()
    assert ended.code == 0, ended.output
    assert ended.jobs == MADE_AGAIN | NEW_SHARD | RENDERED
    assert list_undescribed(again.results) == []
    assert before.items() <= identify(again.results.root / "poses").items()
    row, other = read_tsv(again.results.session_ledger)
    assert (other["session"], other["status"], other["moments"]) == ("side", "done", "24")
    assert (row["status"], row["cameras"], row["moments"]) == ("done", "left, right", "24")
    assert row["missing"].startswith("top: mouse-04-damaged quarantined: truncated")
    assert 0 < float(row["found"]) <= 1
    exported = read_tsv(again.results.session_export("pose", "open-field", "csv"))
    assert exported
    views = again.results.corrected_views("pose", "open-field")
    poses = [read_poses(path) for path in sorted(views.iterdir())]
    assert [one.attributes["camera"] for one in poses] == ["left", "right"]
    points = np.concatenate([one.point_source for one in poses])
    assert measure_drawn(again.results.rendered_session("pose", "open-field")) == (24, 192, 192)
    # A session belongs to the first shard of its videos.
    (told,) = read_tsv(again.results.shard("00001").table("correct-views", "pose"))
    assert int(told["kept"]) == (points == PointSource.KEPT).sum() > 0
    chosen = read_tsv(again.results.refined_table("pose"))
    assert [row["criterion"] for row in chosen] == ["views", "views"]
    assert "other cameras see it" in chosen[0]["reason"]
    assert (
        "2 sessions: 2 done" in ended.output + (again.results.root / "logs/status.log").read_text()
    )
    assert again.snakemake("--dry-run").jobs == set()
    code, record = verify(again, monkeypatch)
    assert (code, record["findings"]) == (0, [])
    kinds = (
        *("calibrations", "calibration", "triangulated", "corrected views", "csv", "sessions"),
        *("refinement", "rendered session"),
    )
    # Five videos and two sessions are exported as CSV.
    assert [record["checked"][kind] for kind in kinds] == [1, 1, 2, 2, 7, 1, 1, 2]
    provenance = json.loads(again.results.provenance.read_text())
    assert list(provenance["hashes"]["calibrations"]) == ["cameras/day1.toml"]
    assert provenance["stages"]["triangulate"]["jobs"] == 2
    assert "three-dimensional poses of every session" in again.results.crate.read_text()

    # A damaged result is found, and a lost one is made again: nothing else is.
    read_as_the_page_does(again, monkeypatch)
    triangulated = again.results.triangulated("pose", "open-field")
    flip_a_bit(triangulated)
    code, record = verify(again, monkeypatch)
    name = "triangulated/pose/open-field.zarr.zip"
    assert (code, tell(record)) == (1, {("triangulated", name, "changed")})
    triangulated.unlink()
    assert again.snakemake("--dry-run").jobs == TRIANGULATED
    again.results.calibration("cameras-day1").unlink()
    # The calibration will be the same: the other shard does not wait for it.
    assert again.snakemake("--dry-run").jobs == {"calibrate"} | TRIANGULATED
    write_cameras(again.folder / "cameras" / "day1.toml", unit="m")
    ended = again.snakemake()
    assert ended.jobs == MADE_AGAIN, ended.output
    assert read_tsv(again.results.session_ledger)[0]["unit"] == "m"
    # Sessions no more: nothing of the rest is made again.
    again.edit_config(triangulation={"enabled": False}, refinement={"enabled": False})
    assert again.snakemake("--dry-run").jobs <= SUMMARY
