"""Test the tables of kinematics: values, keys, what other tools read, and bad input."""

import csv
import json
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

import pipeline_lib.steps.kinematics.measure as measuring
import pipeline_lib.steps.kinematics.run as subject
import pipeline_lib.steps.kinematics.tables as arranging
from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import PROBE_COLUMNS, STAGE_COLUMNS
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.kinematics.regions import gather_regions
from pipeline_lib.steps.kinematics.run import run_kinematics
from pipeline_lib.steps.provenance.checksums import read_checksums
from pipeline_lib.steps.runs.plan import Plan
from pipeline_lib.steps.runs.preflight import check_run
from pipeline_lib.steps.runs.stage_keys import find_session_keys, find_stage_key

NAN = np.nan
SHARD = "0001"
FPS, FRAMES = 10, 40
SHEET = "video\tpath\tcamera\tgroup\tspeed\tmm_per_px\n"
ROWS = {
    "_a": "_a\ta.mp4\ttop\t=1+1 \u00fc\tfast\t0.5\n",
    "b": "b\tb.mp4\tside\t\tslow\t\n",
}
EVERYTHING = {
    "enabled": True,
    "window": 0.5,
    "centre": ["nose", "tail"],
    "heading": ["tail", "nose"],
    "speeds": ["nose"],
    "distances": [["nose", "tail"]],
    "angles": {"neck": ["nose", "neck", "tail"]},
    "regions": [{"name": "right", "polygon": [[19, -1], [90, -1], [90, 40], [19, 40]]}],
    "still_speed": 1.0,
    "still_seconds": 0.5,
    "bin_seconds": 2,
}


def make_poses(individuals=("animal",)):
    """Return an animal that waits 1 s at x = 10 and goes right at 20 px/s, nose 4 px ahead."""
    time = np.arange(FRAMES) / FPS
    x = 10 + 20 * np.maximum(0, time - 1)
    nose = np.stack([x + 2, np.full(FRAMES, 30)], axis=-1)
    tail, neck = nose - [4, 0], nose - [2, 2]
    one = np.stack([nose, neck, tail], axis=1)
    position = np.stack([one + np.array([0, 6 * slot]) for slot in range(len(individuals))], axis=1)
    position[35, 0] = NAN
    shape = position.shape[:3]
    return Poses(
        position=position.astype(np.float32),
        confidence=np.ones(shape, np.float32),
        frame_status=np.zeros(FRAMES, np.uint8),
        time=time,
        bodyparts=("nose", "neck", "tail"),
        individuals=individuals,
        attributes={"key": "pose-key"},
        track_status=np.ones(shape[:2], np.uint8) if len(individuals) > 1 else None,
    )


def configure(several=False, **settings):
    individuals = {"individuals": {"max": 2}} if several else {}
    kinematics = {**EVERYTHING, **settings}
    return parse_config(
        {"cohort": "cohort.tsv", "labels": [{"path": "p"}], "kinematics": kinematics, **individuals}
    )


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cohort.tsv").write_text(SHEET + "".join(ROWS.values()))
    results = Results(Path("results"))
    write_rows(results, *ROWS)
    for video in ROWS:
        write_poses(results.filtered("pose", video), make_poses())
    return results


def write_rows(results, *videos):
    files = results.shard(SHARD)
    rows = [{"video": video, "status": "done", "key": "pose-key"} for video in videos]
    write_table(files.filter("pose"), STAGE_COLUMNS, rows)
    rows = [{"video": video, "width": 96, "height": 64} for video in videos]
    write_table(files.probe, PROBE_COLUMNS, rows)


def run(results, config=None):
    """Return the rows of the stage's table by video."""
    run_kinematics(config or configure(), results, SHARD)
    rows = read_table(results.shard(SHARD).table("kinematics", "pose"), STAGE_COLUMNS)
    return {row["video"]: row for row in rows}


def read(table, video="_a"):
    frame = pd.read_parquet(f"results/kinematics/pose/{table}")
    return frame[frame.video == video].reset_index(drop=True)


def find(column):
    """Return the frames in which a column is true."""
    return np.flatnonzero(column.fillna(0).astype(bool)).tolist()


def test_values_of_an_animal_that_waits_and_goes(results):
    assert {row["status"] for row in run(results).values()} == {"done"}
    frames = read("frames")
    assert frames.frame.tolist() == list(range(FRAMES))
    moving = frames[frames.frame.between(13, 34)]
    np.testing.assert_allclose(moving[["speed", "speed_nose", "velocity_x"]], 20, rtol=1e-5)
    np.testing.assert_allclose(moving.acceleration, 0, atol=1e-2)
    np.testing.assert_allclose(frames.x[20], 30, rtol=1e-6)
    known = frames.drop(35)
    for name, value in {
        "heading": 0,
        "distance_nose_tail": 4,
        "angle_neck": 90,
        "found": 1,
    }.items():
        np.testing.assert_allclose(known[name], value, atol=1e-4, err_msg=name)
    # In the gap, and in the stretch after it, which is shorter than the window of 5 frames.
    assert frames.index[frames.speed.isna()].tolist() == [35, 36, 37, 38, 39]
    assert frames.index[frames.x.isna()].tolist() == [35]
    assert frames.in_right.isna().sum() == 1
    assert find(frames.still) == list(range(9))
    assert frames.index[frames.still.isna()].tolist() == [35, 36, 37, 38, 39]
    # The centre passes x = 20 with frame 15, at 1.5 s.
    assert find(frames.in_right) == [*range(15, 35), *range(36, 40)]


def test_bins_and_bouts(results):
    run(results)
    bins = read("bins").set_index("bin")
    assert (bins.start.tolist(), bins.stop.tolist()) == ([0, 2], [2, 4])
    assert (bins.frames.tolist(), bins.found_frames.tolist()) == ([20, 20], [20, 19])
    np.testing.assert_allclose(bins.seconds_in_right, [0.5, 1.9], rtol=1e-6)
    np.testing.assert_allclose(bins.share_in_right, [0.25, 1], rtol=1e-6)
    assert bins.entries_right.tolist() == [1, 0]
    np.testing.assert_allclose(bins.still_seconds, [0.9, 0], rtol=1e-6)
    assert bins.still_bouts.tolist() == [1, 0]
    # Steps of 2 px, from frame 20 to 34 and 36 to 39; none over the gap.
    np.testing.assert_allclose(bins.distance[1], (15 + 3) * 2, rtol=1e-5)
    np.testing.assert_allclose(bins.speed_mean[1], 20, rtol=1e-5)
    np.testing.assert_allclose(bins.heading_mean, 0, atol=1e-4)
    (bout,) = read("bouts").to_dict("records")
    assert (bout["first_frame"], bout["last_frame"], bout["individual"]) == (0, 8, "animal")
    np.testing.assert_allclose([bout["start"], bout["stop"], bout["seconds"]], [0, 0.9, 0.9])
    np.testing.assert_allclose([bout["x"], bout["y"]], [10, 30], atol=0.1)


def test_pandas_polars_and_duckdb_read_one_data_set_with_the_sheet(results):
    run(results)
    folder = "results/kinematics/pose/frames"
    by_polars = pl.scan_parquet(f"{folder}/*.parquet").collect()
    by_duckdb = duckdb.read_parquet(f"{folder}/*.parquet").pl()
    by_pandas = pd.read_parquet(folder)
    for found in (by_polars, by_duckdb, pl.from_pandas(by_pandas)):
        # One named _a is no hidden file.
        assert dict(found.group_by("video").len().iter_rows()) == {"_a": FRAMES, "b": FRAMES}
        one = found.filter(pl.col("video") == "_a")
        # The sheet's column `speed` gives way to ours.
        assert one["group"].unique().to_list() == ["=1+1 \u00fc"]
        assert one["speed_sheet"].unique().to_list() == ["fast"]
        assert found.filter(pl.col("video") == "b")["group"].null_count() == FRAMES
        np.testing.assert_allclose(one["speed"][20], 20, rtol=1e-5)


def test_every_column_is_in_the_dictionary(results):
    run(results)
    with Path("results/kinematics/pose/dictionary.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    described = {}
    for row in rows:
        assert row["about"]
        assert row["empty"]
        described.setdefault(row["table"], []).append(row["column"])
    for table in ("frames", "bins", "bouts"):
        frame = read(table)
        assert list(frame.columns) == described[table]
        never = [r["column"] for r in rows if (r["table"], r["empty"]) == (table, "never empty")]
        assert not frame[never].isna().any(axis=None)
    units = {(row["table"], row["column"]): row["unit"] for row in rows}
    assert units["frames", "speed"] == "px/s"
    assert units["bins", "seconds_in_right"] == "s"


def test_millimetres_by_video_camera_and_cohort(results):
    scales = {"mm_per_px_column": "mm_per_px", "mm_per_px_of_camera": {"side": 0.25}}
    assert {row["status"] for row in run(results, configure(unit="mm", **scales)).values()} == {
        "done"
    }
    for video, scale in {"_a": 0.5, "b": 0.25}.items():
        frames = read("frames", video)
        np.testing.assert_allclose(frames.speed[20], 20 * scale, rtol=1e-5)
        # Polygons in px still mean the same.
        assert find(frames.in_right)[0] == 15
    polygon = [[9.5, -1], [45, -1], [45, 20], [9.5, 20]]
    regions = {"regions": [{"name": "right", "polygon": polygon}], "regions_unit": "mm"}
    run(results, configure(mm_per_px=0.5, **regions))
    assert find(read("frames").in_right)[0] == 15


@pytest.mark.parametrize(
    ("cell", "settings", "reason"),
    [
        ("", {}, "has no scale: its cell of column mm_per_px is empty"),
        ("0,5", {}, "'0,5', expected millimetres per pixel"),
        ("-1", {}, "expected millimetres per pixel"),
    ],
)
def test_a_video_without_a_scale_fails_and_the_other_does_not(results, cell, settings, reason):
    row = ROWS["b"].replace("slow\t", f"slow\t{cell}")
    Path("cohort.tsv").write_text(SHEET + ROWS["_a"] + row)
    rows = run(results, configure(unit="mm", mm_per_px_column="mm_per_px", **settings))
    assert rows["_a"]["status"] == "done"
    assert rows["b"]["status"] == "failed"
    assert reason in rows["b"]["reason"]


def test_two_regions_of_one_name_among_many(tmp_path):
    path = tmp_path / "regions.json"
    path.write_text(json.dumps({f"r{n}": [[n, 0], [n + 1, 0], [n, 1]] for n in range(1200)}))
    regions = [{"name": "r7", "polygon": [[0, 0], [1, 0], [0, 1]]}]
    config = configure(regions=regions, regions_file=str(path))
    with pytest.raises(ConfigError, match="two regions of the same videos are 'r7'"):
        gather_regions(config.kinematics)


def test_no_animal_but_single_points(results):
    for video in ROWS:
        write_poses(results.filtered("pose", video), make_poses(("single",)))
    assert {row["status"] for row in run(results, configure(pairs=True)).values()} == {"done"}
    assert len(read("frames")) == len(read("bins")) == len(read("bouts")) == 0


def test_tables_of_many_rows_are_written_in_parts(results, monkeypatch):
    for video in ROWS:
        write_poses(results.filtered("pose", video), make_poses(("m1", "m2", "m3")))
    config = configure(several=True, pairs=True)
    run(results, config)
    whole = {name: read(name) for name in ("frames", "pairs")}
    assert len(whole["pairs"]) == 6 * FRAMES
    # Two individuals, or pairs, at a time.
    monkeypatch.setattr(arranging, "_MOST_ROWS", 2 * FRAMES)
    for name in whole:
        for video in ROWS:
            results.kinematics("pose", name, video).unlink()
    run(results, config)
    for name, table in whole.items():
        pd.testing.assert_frame_equal(read(name), table)


def test_several_animals(results):
    for video in ROWS:
        poses = make_poses(("m1", "m2", "single"))
        write_poses(results.filtered("pose", video), poses)
    run(results, configure(several=True, pairs=True, between=[["nose", "tail"]]))
    frames = read("frames")
    assert frames.individual.unique().tolist() == ["m1", "m2"]
    one = frames[frames.individual == "m1"].reset_index()
    assert one.nearest.unique().tolist() == ["m2", NAN]
    np.testing.assert_allclose(one.nearest_distance.drop(35), 6, rtol=1e-5)
    pairs = read("pairs")
    assert len(pairs) == 2 * FRAMES
    other = pairs[(pairs.individual == "m2") & (pairs.other == "m1")].reset_index()
    np.testing.assert_allclose(other.distance_nose_tail.drop(35), np.hypot(4, 6), rtol=1e-5)
    assert other.distance.isna().sum() == 1


def test_long_videos_are_measured_in_blocks(results, monkeypatch):
    run(results)
    whole = {name: read(name) for name in ("frames", "bins", "bouts")}
    monkeypatch.setattr(measuring, "_MOST_FRAMES", 7)
    for path in Path("results/kinematics").rglob("*.parquet"):
        path.unlink()
    run(results)
    for name, frame in whole.items():
        pd.testing.assert_frame_equal(read(name), frame, rtol=1e-4, atol=1e-4)


def test_work_is_done_again_for_what_changed_alone(results, monkeypatch):
    before = run(results)
    written = []
    write = subject.write_tidy_table
    monkeypatch.setattr(
        subject, "write_tidy_table", lambda path, *a: (written.append(path.name), write(path, *a))
    )
    assert {name: row["key"] for name, row in run(results).items()} == {
        name: row["key"] for name, row in before.items()
    }
    assert written == []
    config, plan = (
        configure(),
        Plan(tuple({"video": video, "shard": SHARD, "state": "active"} for video in ROWS)),
    )
    key = find_session_keys(config, results, plan)
    Path("cohort.tsv").write_text(SHEET + ROWS["_a"] + ROWS["b"].replace("slow", "slower"))
    assert find_session_keys(config, results, plan) != key
    run(results)
    assert written == ["frames.b.parquet", "bins.b.parquet", "bouts.b.parquet"]
    # A file that is cut is not taken for a whole one.
    cut = Path("results/kinematics/pose/bins/bins._a.parquet")
    cut.write_bytes(cut.read_bytes()[:-9])
    run(results)
    assert written[3:] == ["frames._a.parquet", "bins._a.parquet", "bouts._a.parquet"]
    record = read_checksums(results.shard(SHARD).checksums("kinematics", "pose"))
    assert len(record) == 7


def test_regions_of_a_file_count_for_the_key(results):
    regions = {"inner": [[0, 0], [9, 0], [9, 9]]}
    Path("regions.json").write_text(json.dumps(regions))
    config = configure(regions_file="regions.json")
    first = find_stage_key(config, results, "kinematics"), run(results, config)["b"]["key"]
    regions["inner"][0] = [1, 0]
    Path("regions.json").write_text(json.dumps(regions))
    second = find_stage_key(config, results, "kinematics"), run(results, config)["b"]["key"]
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert set(read("frames").in_inner.dropna()) == {False}


def test_regions_of_one_video_or_camera(results):
    polygon = EVERYTHING["regions"][0]["polygon"]
    regions = [
        {"name": "right", "polygon": polygon, "camera": "side"},
        {"name": "right", "polygon": [[0, 0], [90, 0], [90, 60]], "video": "b"},
    ]
    run(results, configure(regions=regions))
    assert read("frames").in_right.isna().all()
    assert read("bins").filter(like="right").isna().all(axis=None)
    # That of the video, not that of its camera: at (10, 30) the diagonal is not reached yet.
    assert find(read("frames", "b").in_right)[0] == 28


def test_a_region_outside_the_frame_and_an_unknown_bodypart_are_reasons(results):
    outside = [{"name": "far", "polygon": [[100, 100], [120, 100], [120, 120]], "video": "b"}]
    rows = run(results, configure(regions=outside))
    assert (rows["_a"]["status"], rows["b"]["status"]) == ("done", "failed")
    assert rows["b"]["reason"].startswith("region far lies outside the frame of 96 x 64 px")
    rows = run(results, configure(angles={"knee": ["hip", "neck", "tail"]}))
    assert (
        "names bodypart 'hip', which the poses do not have; they have nose" in rows["b"]["reason"]
    )


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"regions": [{"name": "r", "polygon": [[0, 0], [9, 9]]}]},
            "region r: polygon has 2 corners",
        ),
        (
            {"regions": [{"name": "r", "polygon": [[0, 0], [9, 9], [9, 0], [0, 9]]}]},
            "region r: polygon crosses itself: sides 1 and 3 meet",
        ),
        ({"regions_file": "missing.json"}, "no such file"),
        ({"unit": "mm"}, "millimetres need a scale"),
        ({"regions_unit": "mm"}, "millimetres need a scale"),
        ({"mm_per_px_column": "scale"}, "cohort.tsv has no column 'scale'; there are group, speed"),
        ({"speeds": ["ear"]}, "'ear' is no bodypart of `skeleton.bodyparts`: nose, neck, tail"),
        ({"angles": {"a": ["nose", "neck", "nose"]}}, "angle a needs three bodyparts"),
        ({"distances": [["nose", "nose"]]}, "two bodyparts, found nose twice"),
        ({"between": [["nose", "tail"]]}, "`between` needs `pairs: true`"),
        ({"regions": [{"name": "r", "polygon": []}] * 2}, "two regions of the same videos"),
        ({"window": 0}, "kinematics.window"),
    ],
)
@pytest.mark.usefixtures("results")
def test_a_config_that_cannot_be_used_is_refused_before_a_run(settings, problem):
    values = {
        "cohort": "cohort.tsv",
        "skeleton": {"bodyparts": ["nose", "neck", "tail"]},
        "kinematics": {**EVERYTHING, **settings},
    }
    with pytest.raises(ConfigError) as error:
        check_run(values)
    assert problem in str(error.value)


def test_videos_without_a_frame_or_an_animal_have_tables(results):
    poses = make_poses()
    empty = Poses(
        poses.position[:0],
        poses.confidence[:0],
        poses.frame_status[:0],
        poses.time[:0],
        poses.bodyparts,
        poses.individuals,
        poses.attributes,
    )
    write_poses(results.filtered("pose", "_a"), empty)
    nobody = make_poses()
    nobody.position[:] = NAN
    write_poses(results.filtered("pose", "b"), nobody)
    rows = run(results)
    assert {row["status"] for row in rows.values()} == {"done"}
    assert len(read("frames")) == len(read("bins")) == len(read("bouts")) == 0
    bins = read("bins", "b")
    assert bins.found_frames.tolist() == [0, 0]
    assert bins.speed_mean.isna().all()
    assert bins.distance.tolist() == [0, 0]
    assert read("frames", "b").found.tolist() == [0] * FRAMES


def test_the_stage_is_off_unless_it_is_asked_for():
    config = parse_config({"cohort": "c.tsv", "labels": [{"path": "p"}]})
    assert not STAGES["kinematics"].wanted(config)
    assert STAGES["kinematics"].wanted(configure())
