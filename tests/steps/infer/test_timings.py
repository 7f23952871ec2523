"""Test that timings outlive the table of the stage, and that truncated lines are ignored."""

import pytest

from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.io.poses.segments import Timings
from pipeline_lib.steps.infer.tasks import Outcome
from pipeline_lib.steps.infer.timings import TimingRecord

TOOK = Timings(2.5, 0.1, 1.25, 0.3)


def make_outcome(video="v", key="k", timings=None, status=VideoStatus.DONE):
    return Outcome(video, status, key=key, timings=timings)


def test_timings_are_restored_for_existing_poses(tmp_path):
    path = tmp_path / "shard" / "record"
    outcome = make_outcome(timings=TOOK)
    assert TimingRecord(path).complete(outcome) == outcome
    again = TimingRecord(path)
    assert again.complete(make_outcome()).timings == TOOK
    # Of other poses, of a copy of these, and of one that ended badly, nothing is known.
    assert again.complete(make_outcome(key="other")).timings is None
    assert again.complete(make_outcome(video="copy")).timings is None
    assert again.complete(make_outcome(status=VideoStatus.FAILED)).timings is None
    assert len(path.read_text().splitlines()) == 1


def test_the_last_time_counts(tmp_path):
    record = TimingRecord(tmp_path / "record")
    for timings in (TOOK, Timings(9.0, 1.0, 1.0, 1.0)):
        record.complete(make_outcome(timings=timings))
    assert record.complete(make_outcome()).timings == Timings(9.0, 1.0, 1.0, 1.0)
    assert TimingRecord(tmp_path / "record").complete(make_outcome()).timings.seconds == 9.0


@pytest.mark.parametrize("length", [3, 12])
def test_a_line_cut_short_is_no_figure(tmp_path, length):
    path = tmp_path / "record"
    TimingRecord(path).complete(make_outcome(timings=TOOK))
    TimingRecord(path).complete(make_outcome("w", timings=TOOK))
    line = len(path.read_bytes()) // 2
    path.write_bytes(path.read_bytes()[: line + length])
    record = TimingRecord(path)
    assert record.complete(make_outcome()).timings == TOOK
    assert record.complete(make_outcome("w")).timings is None
