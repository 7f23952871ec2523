"""Triangulate the sessions of a cohort: what is wrong with one costs no other."""

import os
from dataclasses import replace

import numpy as np
import pytest

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.settings.cameras import SynchronisationSettings
from pipeline_lib.core.tables import FrameStatus
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.steps.runs.plan import read_plan
from pipeline_lib.steps.runs.sessions.shards import find_session_result_keys, read_sessions
from pipeline_lib.steps.triangulate.run import list_doubts
from pipeline_lib.steps.triangulate.synchronise import synchronise
from pipeline_lib.steps.triangulate.views import View
from tests.steps.triangulate.scenes import make_poses
from tests.steps.triangulate.session_cohort import MODEL, SessionCohort


@pytest.fixture
def cohort(tmp_path):
    """Return a cohort of two sessions, one shard each, of four cameras c0 to c3."""
    cohort = SessionCohort(tmp_path)
    cohort.add("one")
    cohort.add("two")
    return cohort


def measure_off(cohort, session):
    """Return the largest distance of a session's points from the truth, in mm."""
    found = cohort.read_poses(session).position[: len(cohort.truth[session])]
    return float(np.abs(found - cohort.truth[session]).max())


def change_camera(rig, name, **facts):
    cameras = tuple(replace(one, **facts) if one.name == name else one for one in rig.cameras)
    return Calibration(cameras, rig.unit)


def test_sessions_become_poses_in_space_with_what_they_were_made_from(cohort):
    rows = cohort.run()
    assert [row["status"] for row in rows.values()] == ["done", "done"]
    assert rows["one"]["cameras"] == "c0, c1, c2, c3"
    assert [rows["one"][name] for name in ("missing", "reason", "unit")] == ["", "", "mm"]
    assert (rows["one"]["moments"], rows["one"]["found"]) == ("40", "1")
    assert float(rows["one"]["error"]) < 1e-3
    assert 0 < float(rows["one"]["uncertainty"]) < 0.1
    assert max(measure_off(cohort, session) for session in ("one", "two")) < 1e-3
    attributes = cohort.read_poses("two").attributes
    assert (attributes["session"], attributes["key"]) == ("two", rows["two"]["key"])
    assert attributes["source_keys"]["two-c3"] == "key-two-c3"
    (made,) = cohort.read_calibrations().values()
    assert (made["calibration"], made["status"], made["unit"]) == (
        "calibrations-day1",
        "done",
        "mm",
    )
    ledger = cohort.read_ledger()
    assert ledger["one"]["moments"] == 40
    assert [row["status"] for row in ledger.values()] == ["done", "done"]
    # Each session belongs to the first shard of its videos.
    assert read_sessions(cohort.results, read_plan(cohort.results)).shards == ("00001", "00002")


def test_a_camera_that_is_lost_is_recorded_and_the_others_go_on(cohort):
    size = cohort.rig.cameras[0].size
    cohort.outcomes["one-c0"] = ("quarantined", "0 bytes", size)
    cohort.outcomes["one-c2"] = ("failed", "a worker died", size)
    rows = cohort.run()
    assert (rows["one"]["status"], rows["one"]["cameras"]) == ("done", "c1, c3")
    assert rows["one"]["missing"] == (
        "c0: one-c0 quarantined: 0 bytes; c2: one-c2 failed: a worker died"
    )
    assert measure_off(cohort, "one") < 1e-3
    assert cohort.read_poses("one").attributes["cameras_missing"].keys() == {"c0", "c2"}
    assert rows["two"]["missing"] == ""
    # One camera gives no depth.
    cohort.outcomes["one-c1"] = ("quarantined", "not a video", size)
    cohort.plan()
    assert cohort.read_ledger()["one"]["status"] == "pending"
    rows = cohort.run()
    assert rows["one"]["status"] == "too few cameras"
    assert rows["one"]["reason"].startswith("1 of 4 cameras can be used, and at least 2 are")
    assert "c1: one-c1 quarantined: not a video" in rows["one"]["reason"]
    assert rows["two"]["status"] == "done"
    assert cohort.read_ledger()["one"]["status"] == "too few cameras"


def test_unequal_lengths_and_an_empty_video(cohort):
    cohort.add("by-one", lengths={"c1": 39})
    cohort.add("by-thousand", lengths={"c2": 1040})
    cohort.add("empty", lengths=dict.fromkeys(cohort.names, 0))
    cohort.add("one-empty", lengths={"c3": 0})
    rows = cohort.run()
    assert {session: (row["status"], row["moments"]) for session, row in rows.items()} == {
        "one": ("done", "40"),
        "two": ("done", "40"),
        "by-one": ("done", "40"),
        "by-thousand": ("done", "1040"),
        "empty": ("too few cameras", ""),
        "one-empty": ("done", "40"),
    }
    assert max(measure_off(cohort, name) for name in ("by-one", "by-thousand", "one-empty")) < 1e-3
    assert rows["one"]["doubts"] == ""
    assert rows["by-one"]["doubts"] == (
        "camera c1 has no frame at the end, at 1 of 40 moments: frames of one number may be of "
        "different moments"
    )
    assert (
        rows["by-thousand"]["doubts"].count("has no frame at the end, at 1,000 of 1,040 moments")
        == 3
    )
    assert cohort.read_ledger()["by-one"]["doubts"] == rows["by-one"]["doubts"]
    short = cohort.read_poses("by-one")
    assert short.camera_frame[-1].tolist() == [39, -1, 39, 39]
    long = cohort.read_poses("by-thousand")
    assert (long.frame_status[40:] != FrameStatus.DECODED).all()
    assert np.isnan(long.position[40:]).all()
    assert rows["by-thousand"]["found"] == "1"
    assert "c0: empty-c0 has no frame" in rows["empty"]["reason"]
    assert rows["one-empty"]["missing"] == "c3: one-empty-c3 has no frame"


@pytest.mark.parametrize(
    ("cameras", "ends"),
    [
        # Frames and offset of each: late and stopped together, or after as many frames.
        (((103, 0), (100, 3)), {}),
        (((100, 0), (100, 3)), {}),
        (((100, 2), (100, 5), (100, 0)), {}),
        (((103, 0), (90, 3)), {"c1": 10}),
        (((100, 0), (103, 3)), {"c0": 6}),
        (((101, 0), (100, 3)), {"c0": 2}),
        (((100, 0), (100, 3), (103, 0)), {"c0": 3}),
        (((100, 0), (99, 0)), {"c1": 1}),
    ],
)
def test_a_stated_offset_alone_is_no_doubt(cameras, ends):
    views = [
        View(f"c{number}", make_poses(np.zeros((frames, 1, 1, 2))), offset)
        for number, (frames, offset) in enumerate(cameras)
    ]
    report = synchronise(views, SynchronisationSettings()).report
    assert list_doubts({"synchronisation": report}) == [
        f"camera {name} has no frame at the end, at {lacking} of {report['moments']} moments: "
        "frames of one number may be of different moments"
        for name, lacking in ends.items()
    ]


def test_calibrations_that_cannot_be_used_cost_their_sessions_alone(cohort):
    twins = change_camera(
        cohort.rig,
        "c1",
        matrix=cohort.rig.cameras[0].matrix,
        distortion=cohort.rig.cameras[0].distortion,
        rotation=cohort.rig.cameras[0].rotation,
        translation=cohort.rig.cameras[0].translation,
    )
    cohort.write_calibration("twins", twins)
    cohort.write_calibration("three", cohort.rig.choose(["c3", "c0", "c1"]))
    (cohort.folder / "calibrations" / "text.toml").write_text("nothing")
    (cohort.folder / "calibrations" / "board").mkdir()
    for name in ("twins", "three", "text", "gone", "board"):
        suffix = "" if name == "board" else ".toml"
        cohort.add(name, calibration=f"calibrations/{name}{suffix}")
    cohort.add("none", calibration="")
    rows = cohort.run()
    found = {session: (row["status"], row["cameras"]) for session, row in rows.items()}
    every = "c0, c1, c2, c3"
    assert found == {
        **dict.fromkeys(("one", "two"), ("done", every)),
        **dict.fromkeys(("twins", "text", "gone", "board", "none"), ("no calibration", "")),
        "three": ("done", "c0, c1, c3"),
    }
    assert rows["three"]["missing"] == "c2: is not in the calibration, which has c3, c0, c1"
    assert measure_off(cohort, "three") < 1e-3
    assert "cameras c0 and c1 have identical parameters" in rows["twins"]["reason"]
    assert "no such file or folder" in rows["gone"]["reason"]
    assert "expected a video, or a folder of images, for each camera" in rows["board"]["reason"]
    assert "fill the cells `calibration`" in rows["none"]["reason"]
    statuses = {name: row["status"] for name, row in cohort.read_calibrations().items()}
    assert statuses == {
        **dict.fromkeys(("calibrations-day1", "calibrations-three"), "done"),
        "calibrations-twins": "refused",
        **dict.fromkeys([f"calibrations-{name}" for name in ("text", "gone", "board")], "failed"),
    }
    assert not cohort.results.calibration("calibrations-twins").exists()
    assert {session: row["status"] for session, row in cohort.read_ledger().items()} == {
        session: row["status"] for session, row in rows.items()
    }
    # A calibration for all others: then no session lacks one.
    cohort.settings["calibration"] = {"path": str(cohort.folder / "calibrations" / "day1.toml")}
    assert cohort.run()["none"]["status"] == "done"


def test_a_calibration_of_another_size_or_name_of_its_cameras(cohort):
    width, height = cohort.rig.cameras[0].size
    cohort.outcomes["one-c0"] = ("done", "", (width, height + 16))
    cohort.outcomes["one-c1"] = ("done", "", (width // 2, height // 2))
    renamed = tuple(one.rename(f"C_{one.name[1:]}") for one in cohort.rig.cameras)
    cohort.write_calibration("renamed", Calibration(renamed, "m"))
    cohort.add("renamed", calibration="calibrations/renamed.toml")
    rows = cohort.run()
    assert (rows["one"]["status"], rows["one"]["cameras"]) == ("done", "c0, c2, c3")
    told = f"was calibrated at {width} x {height} px, its video has"
    assert rows["one"]["reason"] == (
        f"camera c0: {told} {width} x {height + 16}: taken for padding on the right and below"
    )
    assert rows["one"]["missing"] == (
        f"c1: {told} {width // 2} x {height // 2}: calibrate at the size that is recorded"
    )
    # The sheet's names hold; a wrong unit is told, since nobody can know it.
    assert rows["renamed"]["cameras"] == "c0, c1, c2, c3"
    assert cohort.read_poses("renamed").cameras == ("c0", "c1", "c2", "c3")
    assert measure_off(cohort, "renamed") < 1e-3
    assert rows["renamed"]["unit"] == "m"
    assert (
        "is another unit meant (mm for m)?"
        in cohort.read_calibrations()["calibrations-renamed"]["warnings"]
    )


def test_when_cameras_started_is_told_by_the_sheet(tmp_path):
    cohort = SessionCohort(
        tmp_path,
        synchronisation={
            "method": "timestamps",
            "offset_column": "late",
            "timestamps_column": "times",
        },
    )
    for session in ("good", "bad"):
        cohort.add(session)
    # A list with a heading, which tells the same as the video.
    lines = ["time", *(f"{frame / 50}" for frame in range(40))]
    (tmp_path / "c2.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "short.txt").write_text("0.0\n0.1\n")
    for row in cohort.rows:
        row.update(late="", times="")
    cohort.change("good-c2", times="c2.txt")
    cohort.change("bad-c0", late="soon")
    cohort.change("bad-c1", times="gone.txt")
    cohort.change("bad-c2", times="short.txt")
    rows = cohort.run()
    assert rows["good"]["status"] == "done"
    assert measure_off(cohort, "good") < 1e-3
    assert rows["bad"]["missing"] == (
        "c0: its offset in the sheet is 'soon', expected a number; c1: its list of times "
        f"{tmp_path / 'gone.txt'} cannot be read"
    )
    assert rows["bad"]["status"] == "failed"
    assert "camera c2 has 40 frames and 2 timestamps" in rows["bad"]["reason"]
    # Another list of times, or another offset, is another result of this session alone.
    assert cohort.read_ledger()["bad"]["status"] == "failed"
    good = rows["good"]["key"]
    cohort.change("bad-c2", times="c2.txt")
    cohort.plan()
    assert cohort.read_ledger()["bad"]["status"] == "pending"
    cohort.change("good-c1", late="0.02")
    rows = cohort.run()
    assert (rows["bad"]["status"], rows["bad"]["cameras"]) == ("done", "c2, c3")
    assert rows["good"]["key"] != good
    frames = cohort.read_poses("good").camera_frame[1]
    assert frames.tolist() == [1, 0, 1, 1]


def test_only_what_changed_is_made_again(cohort):
    cohort.write_calibration("day2")
    cohort.add("three", calibration="calibrations/day2.toml")
    first, before = cohort.run(), cohort.identify()
    # Tables are removed by Snakemake before a job; results tell that nothing is to be done.
    cohort.results.calibrations.unlink()
    assert cohort.run() == first | {
        name: {**row, "seconds": again["seconds"]}
        for (name, row), again in zip(first.items(), cohort.read().values(), strict=True)
    }
    assert cohort.identify() == before
    # Another session, and a file that was touched.
    cohort.add("four")
    os.utime(cohort.folder / "calibrations" / "day2.toml")
    cohort.run()
    assert {name: cohort.identify()[name] for name in before} == before
    # Another calibration: its session alone.
    before = cohort.identify()
    moved = change_camera(cohort.rig, "c0", translation=cohort.rig.cameras[0].translation * 1.001)
    cohort.write_calibration("day2", moved)
    assert cohort.read_ledger()["three"]["reason"] == "waiting for calibrate of calibrations-day2"
    cohort.run()
    changed = {name for name, facts in cohort.identify().items() if facts != before[name]}
    assert changed == {"three"}
    # Another camera of a session that is there already: that session.
    before = cohort.identify()
    cohort.rows = [row for row in cohort.rows if row["video"] != "one-c0"]
    cohort.run()
    changed = {name for name, facts in cohort.identify().items() if facts != before[name]}
    assert changed == {"one"}
    # Another setting: all, and none of it in two dimensions.
    before = cohort.identify()
    cohort.settings["triangulation"]["pcutoff"] = 0.5
    assert {row["status"].value for row in cohort.read_ledger().values()} == {"pending"}
    cohort.run()
    assert all(facts != before[name] for name, facts in cohort.identify().items())


def test_a_lost_result_is_made_again(cohort):
    cohort.run()

    def number(shard):
        plan = read_sessions(cohort.results, read_plan(cohort.results))
        keys = find_session_result_keys(cohort.config, cohort.results, plan)
        return keys[shard].name

    assert (number("00001"), number("00002")) == ("00001-0", "00002-0")
    path = cohort.results.triangulated("pose", "two")
    path.unlink()
    assert (number("00001"), number("00002")) == ("00001-0", "00002-1")
    assert cohort.read_ledger()["two"]["reason"].endswith(f"{path} is missing")
    cohort.run()
    assert measure_off(cohort, "two") < 1e-3
    assert cohort.read_ledger()["two"]["status"] == "done"


def test_points_that_one_camera_alone_sees_are_no_points_and_the_reason_says_so(cohort):
    for camera in cohort.names[1:]:
        path = cohort.results.filtered(MODEL, f"one-{camera}")
        poses = read_poses(path)
        write_poses(path, replace(poses, position=np.full_like(poses.position, np.nan)))
    rows = cohort.run()
    assert (rows["one"]["status"], float(rows["one"]["found"])) == ("done", 0)
    assert rows["one"]["reason"] == "no point was found by two cameras"
    found = cohort.read_poses("one")
    assert np.isnan(found.position).all()
    assert (found.views == 0).all()
    assert (rows["two"]["status"], rows["two"]["reason"]) == ("done", "")
