import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.core.tables import QUALITY_COLUMNS
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.report.cohort.quality import read_quality
from pipeline_lib.steps.report.privacy import Redactor


@pytest.fixture
def read(tmp_path):
    results = Results(tmp_path / "results")

    def read(*rows, columns=QUALITY_COLUMNS):
        names = ("video", "decision", "decided_by", "check", "reason")
        table = [dict(zip(names, row, strict=True)) for row in rows]
        write_table(results.quality, columns, table)
        gaps = []
        redactor = Redactor(results, ["/data/ann/v.mp4"])
        return read_quality(results.quality, ["a", "b", "c"], redactor, gaps), gaps

    return read


def test_the_worst_finding_decides_unless_a_person_did(read):
    quality, gaps = read(
        ("a", "warn", "rules", "jumps", "12 jumps"),
        ("a", "fail", "rules", "blur", "/data/ann/v.mp4 is blurred"),
        ("b", "fail", "rules", "blur", "blurred"),
        ("b", "pass", "Änne", "", "seen: fine"),
        ("c", "pass", "", "", ""),
        ("gone", "fail", "rules", "blur", "x"),
    )
    assert quality.decisions == {"a": "fail", "b": "pass", "c": "pass"}
    assert quality.count() == {"fail": 1, "warn": 0, "pass": 2}
    assert quality.group("fail") == [("blur", ["a"])]
    assert quality.findings["a"][1][:4] == ["fail", "rules", "blur", "…/v.mp4 is blurred"]
    assert gaps == []


def test_videos_that_ended_badly_before_are_not_told_twice(read):
    quality, _ = read(
        ("a", "fail", "rules", "processed", "truncated"),
        ("b", "fail", "rules", "blur", "blurred"),
    )
    assert quality.count()["fail"] == 2
    assert quality.group("fail") == [("blur", ["b"])]


def test_rows_that_decide_nothing_are_counted(read):
    quality, gaps = read(("a", "excellent", "rules", "x", "y"), ("b", "warn", "rules", "x", "y"))
    assert quality.decisions == {"b": "warn"}
    assert gaps == ["qc.tsv: 1 rows are left out: a decision is fail, warn, pass"]


def test_no_table_and_a_broken_one_leave_the_report_whole(read, tmp_path):
    quality, gaps = read(columns=("video", "decision"))
    assert quality is None
    assert "qc.tsv cannot be read" in gaps[0]
    none = Results(tmp_path / "other")
    assert read_quality(none.quality, [], Redactor(none), gaps) is None
