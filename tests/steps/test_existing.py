"""Take over poses of other tools in place of a network: facts, names, tracks, what is refused."""

import json
import os
from collections import Counter

import numpy as np
import pytest

from pipeline_lib.core.cohort import count_existing, read_cohort
from pipeline_lib.core.errors import ConfigError, SheetError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import FrameStatus
from pipeline_lib.io.checksums import describe_state
from pipeline_lib.io.poses.read import read_pose_key, read_poses
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps import existing
from pipeline_lib.steps.filter import run_filter
from pipeline_lib.steps.infer.run import run_infer
from pipeline_lib.steps.probe import run_probe
from pipeline_lib.steps.runs.plan import plan_shards, read_manifest
from pipeline_lib.steps.runs.preflight import check_run
from pipeline_lib.steps.select_frames import run_select_frames
from pipeline_lib.steps.track.run import run_track
from pipeline_lib.steps.verify.shard import list_planned_shards, verify_shard
from tests.video_corpus import encode, x264

SHARD = "00001"
NAMES = ("nose", "tail")


class ExistingCohort:
    """Manage a sheet of poses of other tools, and run the stages up to tracking on it."""

    def __init__(self, folder, **settings):
        self.folder, self.rows = folder, []
        self.settings = {
            "cohort": str(folder / "cohort.tsv"),
            "results": str(folder / "results"),
            "exports": {"formats": []},
            **settings,
        }
        self.results = Results(folder / "results")

    @property
    def config(self):
        return parse_config(self.settings)

    def add(self, video, poses="", path="", **facts):
        self.rows.append({"video": video, "path": path, "poses": poses, **facts})

    def run(self, stages=(run_probe, run_infer)):
        """Write the sheet, and run stages."""
        columns = ("video", "path", "poses", "fps", "frames", "width", "height")
        lines = ["\t".join(str(row.get(name, "")) for name in columns) for row in self.rows]
        (self.folder / "cohort.tsv").write_text("\n".join(["\t".join(columns), *lines]) + "\n")
        config = self.config
        plan_shards(read_cohort(self.folder / "cohort.tsv"), self.results, config.inference)
        for stage in stages:
            stage(config, self.results, SHARD)
        return {row["video"]: row for row in self.read("probe")}

    def read(self, stage):
        table = STAGES[stage].find_table(self.config, self.results, SHARD)
        return read_table(table, ("video", "status", "reason"))

    def read_poses(self, video):
        return read_poses(self.results.poses("pose", video))

    def verify(self):
        (shard,) = list_planned_shards(self.results)
        found = verify_shard(self.config, self.results, shard, Counter(), quick=False)
        return [(one.kind, one.name, str(one.problem)) for one in found]


def write_csv(path, positions, names=NAMES):
    """Write DeepLabCut's table of one animal: positions (frame, bodypart, 2)."""
    cells = [[f"{name}" for name in names for _ in "xyl"], ["x", "y", "likelihood"] * len(names)]
    lines = [["scorer", *["net"] * 3 * len(names)], ["bodyparts", *cells[0]], ["coords", *cells[1]]]
    for frame, points in enumerate(positions):
        lines.append([frame, *(cell for x, y in points for cell in (x, y, 0.9))])
    path.write_text("\n".join(",".join(map(str, line)) for line in lines) + "\n")


def write_openpose(folder, people):
    """Write a file per frame: `people` holds the positions (person, 15 points, 2) of each."""
    folder.mkdir()
    for frame, found in enumerate(people):
        listed = [{"pose_keypoints_2d": [v for x, y in one for v in (x, y, 0.8)]} for one in found]
        (folder / f"cam_{frame:06d}.json").write_text(json.dumps({"people": listed}))


def walk(frames=6, offset=0.0):
    return [[(10 + frame + offset, 20), (30 + frame + offset, 40)] for frame in range(frames)]


def test_poses_without_videos_pass_as_if_a_network_had_found_them(tmp_path):
    cohort = ExistingCohort(tmp_path, skeleton={"bodyparts": ["tail", "nose"]})
    write_csv(tmp_path / "a.csv", walk())
    write_csv(tmp_path / "b.csv", walk(4, offset=100))
    cohort.add("a", "a.csv", fps=50, frames=8, width=64, height=48)
    cohort.add("b", "b.csv")
    probed = cohort.run((run_probe, run_infer, run_filter))
    facts = ("status", "frames", "fps", "width", "height", "duration", "fingerprint")
    assert [probed["a"][name] for name in facts] == ["done", "8", "50", "64", "48", "0.16", ""]
    assert [probed["b"][name] for name in facts] == ["done", "4", "", "", "", "", ""]
    poses = cohort.read_poses("a")
    assert (poses.bodyparts, poses.individuals) == (("tail", "nose"), ("animal",))
    assert poses.position[3, 0].tolist() == [[33, 40], [13, 20]]
    # Frames that the file lacks show nothing.
    assert np.isnan(poses.position[6:]).all()
    np.testing.assert_allclose(poses.time, np.arange(8) / 50)
    told = {"fps": 50.0, "source": {"file": "a.csv", "format": "deeplabcut"}}
    assert told.items() <= poses.attributes.items()
    assert cohort.read_poses("b").position[2, 0, 1].tolist() == [112, 20]
    assert [row["status"] for row in cohort.read("filter")] == ["done", "done"]
    assert cohort.verify() == []

    # Another content costs its row alone, whatever its size and name.
    before = {video: read_pose_key(cohort.results.poses("pose", video)) for video in "ab"}
    kept = cohort.results.poses("pose", "b").stat().st_mtime_ns
    write_csv(tmp_path / "a.csv", walk(offset=1))
    assert ("existing poses", "a", "changed") in cohort.verify()
    cohort.run((run_probe, run_infer, run_filter))
    after = {video: read_pose_key(cohort.results.poses("pose", video)) for video in "ab"}
    assert after["a"] != before["a"]
    assert after["b"] == before["b"]
    assert cohort.results.poses("pose", "b").stat().st_mtime_ns == kept
    assert cohort.read_poses("a").position[3, 0, 1].tolist() == [14, 20]
    # So does a fact that the sheet tells.
    cohort.rows[0]["fps"] = 25
    cohort.run()
    assert cohort.read_poses("a").time[1] == 1 / 25


def test_a_changed_file_of_a_folder_is_a_change(tmp_path):
    cohort = ExistingCohort(tmp_path)
    write_openpose(tmp_path / "json", [np.full((1, 15, 2), frame + 5.0) for frame in range(4)])
    cohort.add("a", "json")
    first = cohort.run()["a"]
    (row,) = read_manifest(cohort.results.shard(SHARD))
    (tmp_path / "json" / "cam_000002.json").write_text('{"people": []}')
    second = cohort.run()["a"]
    (other,) = read_manifest(cohort.results.shard(SHARD))
    assert row["poses_state"] != other["poses_state"]
    assert first["poses_fingerprint"] != second["poses_fingerprint"]
    assert np.isnan(cohort.read_poses("a").position[2]).all()
    assert cohort.read_poses("a").position[3, 0, 4].tolist() == [8, 8]


def test_bad_rows_cost_only_themselves(tmp_path):
    cohort = ExistingCohort(tmp_path, skeleton={"bodyparts": ["nose"]})
    write_csv(tmp_path / "good.csv", walk())
    write_csv(tmp_path / "other.csv", walk(), names=("paw", "ear"))
    (tmp_path / "broken.csv").write_text("scorer,a\nrubbish")
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    people = [np.full((2, 15, 2), 7.0)]
    write_openpose(tmp_path / "two", people)
    cohort.add("good", "good.csv")
    for video, poses in {
        "broken": "broken.csv",
        "hdf": "broken.h5",
        "empty": "empty",
        "pipe": "pipe.csv",
        "missing": "nowhere.slp",
        "other": "other.csv",
        "two": "two",
    }.items():
        cohort.add(video, poses)
    for number, bad in enumerate(
        ({"fps": "fast"}, {"fps": "-1"}, {"frames": "2.5"}, {"frames": "1e18"}, {"fps": "1e-320"})
    ):
        cohort.add(f"fact{number}", "good.csv", **bad)
    cohort.add("short", "good.csv", frames=3)
    cohort.run()
    ended = {row["video"]: (row["status"], row["reason"]) for row in cohort.read("infer")}
    assert ended.pop("good") == ("done", "")
    assert {status for status, _ in ended.values()} == {"quarantined", "failed"}
    expected = {
        "broken": "not a DeepLabCut table",
        "hdf": "not a DeepLabCut table of predictions: is not readable as HDF5",
        "empty": "no poses in a known format",
        "pipe": "pipe.csv",
        "missing": "no such file or folder",
        "other": "has no nose of `skeleton.bodyparts`; it has paw, ear",
        "two": "has no nose",
        "fact0": "`fps` is 'fast', expected a number from 1e-06 to 1,000,000",
        "fact1": "`fps` is '-1'",
        "fact2": "`frames` is '2.5', expected a whole number from 1 to 2,147,483,647",
        "fact3": "`frames` is '1e18', expected",
        "fact4": "`fps` is '1e-320', expected",
        "short": "poses of 6 frames, and the video has 3",
    }
    for video, text in expected.items():
        assert text in ended[video][1], (video, ended[video])


def test_tracks_of_other_tools_are_kept_and_people_are_followed(tmp_path):
    cohort = ExistingCohort(tmp_path, individuals={"max": 2})
    # Two people pass each other far apart; the order in the files changes at each frame.
    left = np.random.default_rng(0).uniform(0, 40, (15, 2))
    people = []
    for frame in range(12):
        both = [left + np.array([x, y]) for x, y in ((2 * frame, 0), (300 - 2 * frame, 90))]
        people.append(np.array(both[:: 1 if frame % 2 else -1]))
    write_openpose(tmp_path / "crowd", people)
    position = np.array([np.stack([left + frame, left + 200 + frame]) for frame in range(12)])
    status = np.ones((12, 2), np.uint8)
    status[5, 1] = 3
    parts = tuple(f"p{number}" for number in range(15))
    own = Poses(
        position.astype(np.float32), np.ones((12, 2, 15), np.float32), np.zeros(12, np.uint8),
        np.cumsum(np.linspace(0.01, 0.03, 12)), parts, ("Ann", "Bob"), {"fps": 40.0}, status,
    )  # fmt: skip
    write_poses(tmp_path / "own.zarr.zip", own)
    write_csv(tmp_path / "one.csv", walk(12))
    cohort.add("crowd", "crowd", fps=30)
    cohort.add("own", "own.zarr.zip")
    cohort.add("one", "one.csv")
    cohort.run((run_probe, run_infer, run_track))
    tracked = {v: read_poses(cohort.results.tracked("pose", v)) for v in ("crowd", "own", "one")}
    crowd = tracked["crowd"]
    assert crowd.individuals == ("individual1", "individual2")
    # Each slot is one person throughout.
    steps = np.abs(np.diff(crowd.position, axis=0)).max(axis=(0, 2, 3))
    assert steps.tolist() == pytest.approx([2, 2], abs=1e-3)
    assert tracked["own"].individuals == ("Ann", "Bob")
    np.testing.assert_array_equal(tracked["own"].track_status, status)
    np.testing.assert_array_equal(tracked["own"].position, own.position)
    # Its own times, which are unequal, are the truth.
    np.testing.assert_allclose(tracked["own"].time, own.time)
    assert (tracked["one"].individuals, len(tracked["one"].time)) == (("animal",), 12)
    assert np.isfinite(tracked["one"].position).all()
    # Three are too many for a file that says who is who.
    cohort.settings["individuals"] = {"max": 1}
    cohort.run()
    ended = {row["video"]: row["reason"] for row in cohort.read("infer")}
    assert (
        "shows 2 individuals in a frame, and `individuals.max` is 1: set it to 2" in ended["crowd"]
    )
    assert "shows the individuals Ann, Bob, and `individuals.max` is 1" in ended["own"]


def test_a_video_tells_the_facts_and_its_loss_costs_nothing(tmp_path):
    cohort = ExistingCohort(tmp_path)
    encode(tmp_path / "a.mp4", frames=9, options=x264())
    write_csv(tmp_path / "a.csv", walk(7))
    cohort.add("a", "a.csv", "a.mp4", fps=1)
    cohort.add("b", "a.csv", "lost.mp4", fps=12)
    probed = cohort.run((run_probe, run_infer, run_select_frames))
    assert (probed["a"]["status"], probed["a"]["frames"]) == ("done", "9")
    assert float(probed["a"]["fps"]) > 1
    assert probed["a"]["fingerprint"]
    assert len(cohort.read_poses("a").time) == 9
    assert probed["b"]["status"] == "done"
    assert probed["b"]["reason"].startswith("the video cannot be used: ")
    assert (probed["b"]["frames"], probed["b"]["fps"]) == ("7", "12")
    # Frames can be taken of the video alone.
    chosen = {row["video"]: row["reason"] for row in cohort.read("select-frames")}
    assert chosen == {"a": "", "b": "has poses and no video to take frames of"}
    # With poses for every row nothing is trained, whatever labels there are.
    labelled = parse_config({**cohort.settings, "labels": [{"path": str(tmp_path)}]})
    wanted = {name for name, stage in STAGES.items() if stage.wanted(labelled)}
    assert {"infer", "filter", "status", "report"} <= wanted
    assert wanted.isdisjoint({"import-labels", "make-targets", "train", "evaluate", "refine"})
    # A row without poses needs a network.
    cohort.add("c", "", "a.mp4")
    cohort.run(())
    with pytest.raises(ConfigError, match="c have no `poses`, other rows have"):
        check_run(cohort.settings)


def test_poses_of_images_have_the_rows_of_their_frames_where_a_video_lacks_some(tmp_path):
    cohort = ExistingCohort(tmp_path)
    # 30 frames of 40 ms, of which four are lost.
    kept = [number for number in range(30) if not 9 <= number <= 11 and number != 20]
    encode(tmp_path / "a.mp4", frames=len(kept), options=x264(), times=[40 * one for one in kept])
    points = np.array(walk(30))
    for name, rows in {"images": kept, "fewer": kept[:15], "frames": range(30)}.items():
        write_csv(tmp_path / f"{name}.csv", points[list(rows)])
        cohort.add(name, f"{name}.csv", "a.mp4")
    probed = cohort.run((run_probe, run_infer))
    assert {row["frames"] for row in probed.values()} == {"30"}
    lost = np.setdiff1d(np.arange(30), kept)
    for name, rows in {"images": kept, "fewer": kept[:15]}.items():
        poses = cohort.read_poses(name)
        expected = np.full_like(points, np.nan)
        expected[rows] = points[rows]
        assert np.allclose(poses.position[:, 0], expected, atol=0.01, equal_nan=True)
        assert np.allclose(poses.time, 0.04 * np.arange(30), atol=1e-6)
        assert np.flatnonzero(poses.frame_status == FrameStatus.MISSING).tolist() == list(lost)
    # A tool that counted by time has a row for each frame; those without an image stay as they are.
    poses = cohort.read_poses("frames")
    assert np.allclose(poses.position[:, 0], points, atol=0.01)


def test_sheets_name_a_path_or_poses(tmp_path):
    sheet = tmp_path / "cohort.tsv"
    sheet.write_text("video\tpath\tposes\na\t\tx/a.h5\nb\tb.mp4\t\n")
    first, second = read_cohort(sheet)
    assert (first.poses, first.has_video) == (str(tmp_path / "x/a.h5"), False)
    assert (second.poses, second.has_video, second.metadata) == ("", True, {})
    found = count_existing(sheet)
    assert (found.rows, found.existing) == (2, 1)
    sheet.write_text("video\tpath\tposes\na\t\t\n")
    with pytest.raises(SheetError, match="line 2: neither path nor poses"):
        read_cohort(sheet)
    assert count_existing(sheet).rows == 0
    assert count_existing(tmp_path / "none.tsv").rows == 0


def test_a_fault_of_a_reader_costs_its_row_alone(tmp_path, monkeypatch):
    write_csv(tmp_path / "a.csv", walk())

    def fail(*_, **__):
        raise ZeroDivisionError("no such luck")

    monkeypatch.setattr(existing, "read_foreign_poses", fail)
    planned = {"poses": str(tmp_path / "a.csv")}
    planned["poses_state"] = describe_state(tmp_path / "a.csv")
    found = existing.examine_existing(existing.request_examination(planned, None))
    assert found["status"] == "quarantined"
    assert found["reason"].endswith("a.csv: unexpected ZeroDivisionError: no such luck")
