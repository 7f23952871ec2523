"""Test data sets of Motion-BIDS: their content, and that BIDS' own validator finds no error."""

import json
import subprocess
from pathlib import Path

import pytest

from pipeline_lib.io.exports.motion_bids import write_motion_bids
from pipeline_lib.io.exports.session import read_session
from tests.io.exports.export_examples import make_several, make_source
from tests.io.exports.test_archives import MORE, SHEET
from tests.io.poses.pose_examples import make_poses
from tests.peers.environments import require_peer


def export(folder, poses, sheet, session=""):
    facts, _ = read_session(sheet, session)
    path = folder / "v.bids"
    write_motion_bids(path, make_source(folder, poses, session=facts))
    return path


def read_rows(path):
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def validate(data):
    """Return what the validator tells, and the errors among it."""
    python = Path(require_peer("bids"))
    done = subprocess.run(
        [python.with_name("bids-validator-deno"), data, "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout)
    return told, [one for one in told["issues"]["issues"] if one["severity"] == "error"]


def test_each_column_is_described_and_unknown_values_are_told(tmp_path):
    sheet = {**SHEET, **MORE, "subject": "m-1", "strain": "C57\tBL/6", "session": "ignored"}
    data = export(tmp_path, make_several(), sheet, "day-1")
    stem = "sub-m1_ses-day1_task-recording_tracksys-video_acq-v"
    motion = data / "sub-m1" / "ses-day1" / "motion"
    names, *channels = read_rows(motion / f"{stem}_channels.tsv")
    assert names[:3] == ["name", "component", "type"]
    rows = read_rows(motion / f"{stem}_motion.tsv")
    assert {len(row) for row in rows} == {len(channels)} == {1 + 3 * 9}
    columns = {
        channel[0]: column
        for channel, column in zip(channels, zip(*rows, strict=True), strict=True)
    }
    assert columns["time"] == ("0.0", "0.04", "0.1")
    # As the poses have it: b alone in the second frame, an undecoded frame at last.
    assert columns["b_nose_x"] == ("50.5", "51.5", "n/a")
    assert columns["b_nose_y"] == ("60.25", "61.25", "n/a")
    assert columns["b_nose_confidence"] == ("0.5", "0.5", "n/a")
    assert columns["a_nose_x"] == ("10.0", "n/a", "n/a")
    assert columns["single_corner_y"] == ("2.0", "n/a", "n/a")
    head = json.loads((motion / f"{stem}_motion.json").read_text())
    assert (head["SamplingFrequency"], head["SamplingFrequencyEffective"]) == (25.0, 20.0)
    assert (head["MotionChannelCount"], head["POSChannelCount"]) == (28, 18)
    (columns, person) = read_rows(data / "participants.tsv")
    assert dict(zip(columns, person, strict=True)) == {
        "participant_id": "sub-m1",
        "species": "Mus musculus",
        "sex": "female",
        "age": "0.2464",
        "strain": "C57 BL/6",
        "genotype": "n/a",
    }
    scans = read_rows(data / "sub-m1" / "ses-day1" / "sub-m1_ses-day1_scans.tsv")
    assert scans[1] == [f"motion/{stem}_motion.tsv", "2024-05-17T07:30:00Z"]


def test_the_same_poses_make_the_same_bytes_and_names_of_one_animal_are_short(tmp_path):
    poses = make_poses(5, ("nose", "tail"))
    first = export(tmp_path, poses, {})
    before = {path.relative_to(first): path.read_bytes() for path in first.rglob("*.*")
              if path.is_file()}  # fmt: skip
    assert any(b"\nnose_x\tx\tPOS\tnose\tpx\tpicture\n" in content for content in before.values())
    again = export(tmp_path, poses, {})
    assert {path.relative_to(again): path.read_bytes() for path in again.rglob("*.*")
            if path.is_file()} == before  # fmt: skip


@pytest.mark.parametrize(
    ("poses", "sheet"),
    [
        (make_several(), {**SHEET, **MORE}),
        (make_poses(3, ("nose", "=1+1", 'Mü, "l"')), {"subject": "Mäuse/ü", "age": "3/4"}),
        (make_poses(1, ("nose",)), {}),
    ],
    ids=["several", "odd", "bare"],
)
def test_the_validator_finds_no_error(poses, sheet, tmp_path):
    data = export(tmp_path, poses, sheet, "day 1")
    told, errors = validate(data)
    assert errors == []
    assert (told["summary"]["totalFiles"], told["summary"]["dataTypes"]) == (9, ["motion"])
    assert told["summary"]["sessions"] == ["day1"]


def test_the_validator_sees_what_is_missing(tmp_path):
    data = export(tmp_path, make_several(), SHEET)
    (head,) = data.rglob("*_motion.json")
    head.write_text(head.read_text().replace("SamplingFrequency", "Sampling"))
    assert {one["subCode"] for one in validate(data)[1]} == {"SamplingFrequency"}
