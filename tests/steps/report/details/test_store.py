import base64
import json

import cv2
import numpy as np
import pytest

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import PROBE_COLUMNS
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.io.video.encode import encode_frames
from pipeline_lib.steps.report.details import pictures, store
from pipeline_lib.steps.report.details.store import (
    Pictures,
    choose_pictures,
    prepare_details,
    prepare_shard,
)
from pipeline_lib.steps.report.summaries import summarise_videos
from tests.steps.report.details.test_measure import write


@pytest.fixture
def cohort(tmp_path):
    """Write three videos in two shards; the file of the first is there."""
    names = {"m1": "00000", "m2": "00000", "m3": "00001"}
    sheet = tmp_path / "cohort.tsv"
    write_table(sheet, ("video", "path"), [{"video": n, "path": f"{n}.mp4"} for n in names])
    results = Results(tmp_path / "results")
    plan = [{"video": name, "shard": shard, "state": "planned"} for name, shard in names.items()]
    write_table(results.plan, ("video", "shard", "state"), plan)
    for name in names:
        write(results.poses("pose", name), [0.9, 0.2, 0.8, 0.7])
    film(tmp_path / "m1.mp4")
    return parse_config({"cohort": str(sheet), "results": str(results.root)}), results


def film(path):
    """Write four frames whose brightness is 40 times their number."""
    images = [(number * 9000, np.full((48, 64, 3), 40 * number, np.uint8)) for number in range(4)]
    encode_frames(path, images, 10, 10)


def prepare(config, results):
    videos = {video.video: video for video in read_cohort(results.root.parent / "cohort.tsv")}
    rows = [{"video": name, "width": 64, "height": 48} for name in videos]
    return prepare_details(config, results, rows, videos)


def count_measured(monkeypatch):
    measured = []
    original = store.measure_details
    monkeypatch.setattr(
        store,
        "measure_details",
        lambda path, *rest: measured.append(path.stem) or original(path, *rest),
    )
    return measured


def read_file(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("cohortposeData({")
    return json.loads(text.removeprefix("cohortposeData(").removesuffix(");\n"))


def test_a_file_of_each_shard_is_written_and_read_again(cohort, monkeypatch):
    config, results = cohort
    measured = count_measured(monkeypatch)
    found = prepare(config, results)
    assert measured == ["m1", "m2", "m3"]
    assert {video: shard for video, (shard, _) in found.items()} == {
        "m1": "00000", "m2": "00000", "m3": "00001",
    }  # fmt: skip
    data = read_file(results.report_details("00000"))
    assert (data["shard"], list(dict(data["videos"]))) == ("00000", ["m1", "m2"])
    before = results.report_details("00000").read_bytes()
    assert prepare(config, results) == found
    # What changed is measured, and no more.
    write(results.poses("pose", "m3"), [0.5])
    poses = results.poses("pose", "m3") / "zarr.json"
    poses.write_text(poses.read_text().replace('"k"', '"other"'))
    prepare(config, results)
    assert measured == ["m1", "m2", "m3", "m3"]
    assert results.report_details("00000").read_bytes() == before


def test_the_picture_is_of_the_worst_frame(cohort):
    _, entry = prepare(*cohort)["m1"]
    # The video has three worst frames at most, a second apart: here one.
    (frame,) = entry["worst"]
    assert (frame["frame"], entry["missing"]) == (1, "")
    assert frame["picture"].startswith("data:image/webp;base64,")
    image = cv2.imdecode(np.frombuffer(store_bytes(frame["picture"]), np.uint8), cv2.IMREAD_COLOR)
    assert abs(float(image.mean()) - 40) < 4


def store_bytes(address):
    return base64.b64decode(address.partition(",")[2])


def test_a_video_that_was_not_there_is_looked_for_again(cohort, tmp_path, monkeypatch):
    config, results = cohort
    assert prepare(config, results)["m2"][1]["missing"] == pictures.NO_FILE
    measured = count_measured(monkeypatch)
    film(tmp_path / "m2.mp4")
    entry = prepare(config, results)["m2"][1]
    assert (measured, entry["missing"]) == (["m2"], "")


def test_a_file_that_is_no_video_costs_the_picture_only(cohort, tmp_path):
    (tmp_path / "m2.mp4").write_bytes(b"no video")
    entry = prepare(*cohort)["m2"][1]
    assert entry["missing"] == "the video cannot be read"
    assert str(tmp_path) not in json.dumps(entry)


@pytest.mark.parametrize(
    "damage", ["", "cohortposeData({", "alert(1)", 'cohortposeData({"basis":1});\n']
)
def test_a_damaged_file_is_written_anew(cohort, damage):
    config, results = cohort
    prepare(config, results)
    whole = results.report_details("00001").read_bytes()
    results.report_details("00001").write_text(damage)
    prepare(config, results)
    assert results.report_details("00001").read_bytes() == whole


def test_files_of_shards_that_are_gone_are_removed(cohort):
    config, results = cohort
    prepare(config, results)
    sheet = results.root.parent / "cohort.tsv"
    write_table(sheet, ("video", "path"), [{"video": "m1", "path": "m1.mp4"}])
    prepare(config, results)
    assert [path.name for path in results.report_data.iterdir()] == ["videos-00000.js"]
    assert [name for name, _ in read_file(results.report_details("00000"))["videos"]] == ["m1"]


def test_large_cohorts_have_one_small_picture_each():
    config = parse_config({"cohort": "c.tsv"})
    assert choose_pictures(config, 300).number == 3
    assert choose_pictures(config, 301) == Pictures(1, 256, 3200)
    none = parse_config({"cohort": "c.tsv", "report": {"worst_frames": 0}})
    assert choose_pictures(none, 5000).number == 0


def test_pictures_of_noise_are_small_enough(tmp_path):
    rng = np.random.default_rng(0)
    images = [(n * 9000, rng.integers(0, 255, (480, 640, 3), np.uint8)) for n in range(2)]
    encode_frames(tmp_path / "noise.mp4", images, 10, 10)
    drawn, _ = pictures.draw_frames(tmp_path / "noise.mp4", [1], 256, 3200)
    assert 0 < len(store_bytes(drawn[1])) <= 3200


def probe(results, shard, *names, size=("64", "48")):
    width, height = size
    rows = [{"video": name, "width": width, "height": height} for name in names]
    write_table(results.shard(shard).probe, PROBE_COLUMNS, rows)


def test_a_shard_that_was_prepared_is_not_measured_by_the_report(cohort, monkeypatch):
    config, results = cohort
    whole = prepare(config, results)
    for path in results.report_data.iterdir():
        path.unlink()
    # m3 was removed from the sheet after its poses were made.
    probe(results, "00000", "m1", "m2")
    measured = count_measured(monkeypatch)
    assert prepare_shard(config, results, "00000")
    assert measured == ["m1", "m2"]
    # Nothing is left to do.
    assert not prepare_shard(config, results, "00000")
    assert measured == ["m1", "m2"]
    assert [path.name for path in results.report_data.iterdir()] == ["videos-00000.js"]
    assert prepare(config, results) == whole
    assert measured == ["m1", "m2", "m3"]


def test_a_shard_may_lack_sizes_and_its_videos_may_have_left_the_sheet(cohort):
    config, results = cohort
    probe(results, "00000", "m1", "m2", size=("", ""))
    sheet = results.root.parent / "cohort.tsv"
    write_table(sheet, ("video", "path"), [{"video": "m1", "path": "m1.mp4"}])
    prepare_shard(config, results, "00000")
    ((name, entry),) = read_file(results.report_details("00000"))["videos"]
    # The points are at 1 and 2 px, say; the guessed size holds them.
    assert name == "m1"
    assert entry["size"] == measure_size(results)


def measure_size(results):
    details, _ = store.measure_details(results.poses("pose", "m1"), None, 0.6, 0)
    return details["size"]


def test_summaries_are_taken_from_what_was_measured(cohort):
    config, results = cohort
    rows = [{"video": name} for name in ("m1", "m2", "m3")]
    plain = summarise_videos(results, "pose", rows, config.evaluation.pcutoff)
    results.report_summaries.unlink()
    found = {name: entry for name, (_, entry) in prepare(config, results).items()}
    poses = results.poses("pose", "m1") / "zarr.json"
    poses.write_text(poses.read_text().replace('"k"', '"other"'))
    # A summary under another key is not taken, and neither is one that is there without poses.
    found["m2"] = {**found["m2"], "summary": {**found["m2"]["summary"], "frames": 17}}
    found["m1"] = {**found["m1"], "summary": {**found["m1"]["summary"], "frames": 19}}
    taken = summarise_videos(
        results, "pose", rows, config.evaluation.pcutoff, measured={**found, "m9": found["m3"]}
    )
    assert {name: one.frames for name, one in taken.items()} == {"m1": 4, "m2": 17, "m3": 4}
    assert taken["m3"] == plain["m3"]
