"""Test what the report says of decisions about tracks."""

import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import PLAN_COLUMNS
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.correct.run import OUTCOME_COLUMNS
from pipeline_lib.steps.report.labelling.proofreading import read_proofreading


@pytest.fixture
def results(tmp_path):
    made = Results(tmp_path)
    rows = [
        {"video": video, "shard": f"0000{n}", "state": "active"} for n, video in enumerate("ab")
    ]
    write_table(made.plan, PLAN_COLUMNS, rows)
    return made


def write_outcomes(results, shard, video, *outcomes):
    rows = [
        {"video": video, "what": "swap", "first_frame": 10 + n, "outcome": one, "reason": "why"}
        for n, one in enumerate(outcomes)
    ]
    write_table(results.shard(shard).decisions("pose"), OUTCOME_COLUMNS, rows)


def configure(most=2):
    return parse_config(
        {"cohort": "c.tsv", "labels": [{"path": "p"}], "individuals": {"max": most}}
    )


def test_decisions_of_all_shards_are_counted(results):
    assert read_proofreading(configure(), results) is None
    write_outcomes(results, "00000", "a", "applied", "already right", "replaced")
    write_outcomes(results, "00001", "b", *["not applicable"] * 25)
    found = read_proofreading(configure(), results)
    assert (found.decisions, found.videos, found.applied, found.right) == (28, 2, 1, 1)
    assert found.left_out[0] == ("a", "12", "swap", "replaced: why")
    assert (len(found.left_out), found.others) == (20, 6)
    # One animal has no tracks.
    assert read_proofreading(configure(1), results) is None


def test_without_decisions_there_is_no_panel(results):
    for shard in ("00000", "00001"):
        write_table(results.shard(shard).decisions("pose"), OUTCOME_COLUMNS, [])
    assert read_proofreading(configure(), results) is None
    assert read_proofreading(configure(), Results(results.root / "none")) is None
