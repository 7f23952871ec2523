import math

from pipeline_lib.core.tables import LEDGER_COLUMNS
from pipeline_lib.steps.report.cohort.groups import compare_groups
from pipeline_lib.steps.report.summaries import VideoSummary

EVIL = "<script>\"'=1+1, ümlaut"


def make_rows(**columns):
    """Return rows of a ledger with columns of the sheet, videos v0, v1 ..."""
    count = len(next(iter(columns.values())))
    empty = dict.fromkeys(LEDGER_COLUMNS)
    return [
        {**empty, "video": f"v{n}", **{name: cells[n] for name, cells in columns.items()}}
        for n in range(count)
    ]


def summarise(*rates):
    return {
        f"v{n}": VideoSummary(10, 0, {"a": rate}, {"a": rate})
        for n, rate in enumerate(rates)
        if rate is not None
    }


def test_groups_have_means_intervals_and_differences():
    rows = make_rows(group=[EVIL, EVIL, "b", "b", "c"])
    rates = summarise(0.2, 0.4, 0.5, 0.7, 0.9)
    speeds = {"v0": 10.0, "v1": 20.0, "v2": None, "v3": 40.0}
    (comparison,) = compare_groups(rows, rates, speeds)
    assert comparison.titles == ["Detected, %", "Confidence, %", "Mean speed, px/s"]
    first, second, third = comparison.groups
    assert (first.name, first.videos) == (EVIL, 2)
    # 30 +- 12.706 * 10, within what a share can be.
    assert (first.cells[0].value, first.cells[0].interval) == ("30.0", "0.0 to 100.0")
    assert (third.cells[0].value, third.cells[0].interval) == ("90.0", "one video: no interval")
    assert third.cells[0].low is None
    assert second.cells[2].interval == "one video: no interval"
    assert (third.cells[2].value, third.cells[2].interval) == ("–", "not known for any video")  # noqa: RUF001
    assert first.cells[0].low < first.cells[0].at < third.cells[0].at
    assert [group.cells[0].value for group in comparison.differences] == ["30.0", "60.0"]
    assert comparison.differences[1].cells[0].interval == "one video: no interval"


def test_a_group_without_a_good_video_is_shown():
    (comparison,) = compare_groups(make_rows(group=["a", "a", "b"]), summarise(0.5, 0.7, None), {})
    assert [(group.name, group.videos) for group in comparison.groups] == [("a", 2), ("b", 0)]
    assert comparison.groups[1].cells[0].interval == "not known for any video"


def test_columns_without_groups_are_left_out():
    rows = make_rows(
        one=["x"] * 4, own=["a", "b", "c", "d"], fps=["1", "1", "2", "2"], day=["9", "10", "9", ""]
    )
    compared = compare_groups(rows, summarise(0.1, 0.2, 0.3, 0.4), {})
    assert [one.column for one in compared] == ["day"]
    assert [group.name for group in compared[0].groups] == ["(empty)", "9", "10"]


def test_without_poses_there_is_nothing_to_compare():
    assert compare_groups(make_rows(group=["a", "a", "b"]), {}, {}) == []
    assert compare_groups(make_rows(group=["a", "a", "b"]), summarise(*[math.nan] * 3), {}) == []
