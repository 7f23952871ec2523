import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.core.layout import Results
from pipeline_lib.core.tables import STAGE_COLUMNS
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.infer.run import INFER_COLUMNS
from pipeline_lib.steps.report.timings import (
    InferenceTimings,
    find_copies,
    format_duration,
    read_timings,
    sum_timings,
)

TOOK = {
    "status": "done",
    "seconds": 20.0,
    "frames": 600,
    "frames_per_second": 30.0,
    "decode_share": 0.25,
    "network_share": 0.9,
    "wait_share": 0.08,
}
TIMINGS = InferenceTimings(videos=1, frames=600, seconds=20.0, decode=0.25, network=0.9, wait=0.08)


def write_plan(results, *pairs):
    rows = [{"video": video, "shard": shard, "state": "active"} for video, shard in pairs]
    write_table(results.plan, ("video", "shard", "state"), rows)


def write_shard(results, shard, columns=INFER_COLUMNS, **rows):
    table = [{"video": video, **row} for video, row in rows.items()]
    write_table(results.shard(shard).infer("pose"), columns, table)


def test_only_what_was_timed_is_known(tmp_path):
    results = Results(tmp_path)
    assert read_timings(results, "pose") == {}
    write_plan(results, *((video, "00001") for video in "abc"), ("d", "00002"))
    copied = {"status": "done", "frames": 600, "undecodable": 0}
    failed = {"status": "failed", "reason": "its worker died", "seconds": 3.0}
    write_shard(results, "00001", a=TOOK, b=copied, c=failed)
    timings = read_timings(results, "pose")
    assert timings == {"a": TIMINGS}
    assert timings["a"].frames_per_second == 30.0
    assert read_timings(results, "another") == {}


def test_the_shard_that_the_plan_names_counts(tmp_path):
    results = Results(tmp_path)
    write_plan(results, ("a", "00001"), ("b", "00001"), ("b", "00002"))
    write_shard(results, "00001", a=TOOK, b=TOOK)
    write_shard(results, "00002", b={**TOOK, "frames": 60})
    timings = read_timings(results, "pose")
    assert (timings["a"].frames, timings["b"].frames) == (600, 60)
    write_shard(results, "00002")
    assert set(read_timings(results, "pose")) == {"a"}


def test_tables_without_these_columns_are_tables(tmp_path):
    results = Results(tmp_path)
    write_plan(results, ("a", "00001"))
    write_shard(results, "00001", STAGE_COLUMNS, a={"status": "done", "seconds": 20.0})
    assert read_timings(results, "pose") == {}


def test_shares_of_the_cohort_are_weighted_by_time():
    longer = InferenceTimings(
        videos=1, frames=3000, seconds=60.0, decode=0.45, network=0.5, wait=0.48
    )
    total = sum_timings([TIMINGS, longer])
    assert (total.videos, total.frames, total.seconds) == (2, 3600, 80.0)
    assert total.frames_per_second == 45.0
    # (20 s * 0.25 + 60 s * 0.45) / 80 s, and so on.
    assert total.decode == pytest.approx(0.4)
    assert total.network == pytest.approx(0.6)
    assert total.wait == pytest.approx(0.38)
    assert sum_timings([]) is None


@given(
    st.lists(
        st.builds(
            InferenceTimings,
            st.just(1),
            st.integers(1, 10**6),
            st.floats(0.01, 1e6),
            *[st.floats(0, 1, allow_subnormal=False)] * 3,
        ),
        min_size=1,
    )
)
def test_a_total_lies_between_its_parts(timings):
    total = sum_timings(timings)
    for name in ("decode", "network", "wait", "frames_per_second"):
        parts = [getattr(one, name) for one in timings]
        assert min(parts) * (1 - 1e-9) <= getattr(total, name) <= max(parts) * (1 + 1e-9)


def row(video, key):
    return {"video": video, "key": key}


def test_copies_name_the_video_that_was_computed():
    rows = [row("a", "k"), row("b", "k"), row("c", "k"), row("d", "other"), row("e", ""),
            row("f", ""), row("g", "old"), row("h", "old")]  # fmt: skip
    # Of "old" nothing is known: computed by an earlier run.
    assert find_copies(rows, {"b": TIMINGS, "d": TIMINGS}) == {"a": "b", "c": "b", "h": "g"}


def test_a_result_computed_twice_is_no_copy():
    assert find_copies([row("a", "k"), row("b", "k")], {"a": TIMINGS, "b": TIMINGS}) == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4.24, "4.2 s"),
        (42.4, "42 s"),
        (60.0, "1:00 min"),
        (125.6, "2:06 min"),
        (7209.0, "2:00:09 h"),
    ],
)
def test_durations_are_written_as_in_the_table(seconds, text):
    assert format_duration(seconds) == text
