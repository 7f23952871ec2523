"""Test the panel of probably wrong labels in the report."""

from pipeline_lib.core.layout import Results
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.refine.label_errors import LABEL_ERROR_COLUMNS
from pipeline_lib.steps.report.labelling.label_errors import read_label_errors


def write(results, number):
    rows = [
        dict.fromkeys(LABEL_ERROR_COLUMNS, "")
        | {"rank": rank, "video": "v", "frame": rank, "bodypart": "nose", "what": "missing"}
        for rank in range(1, number + 1)
    ]
    write_table(results.label_errors("pose"), LABEL_ERROR_COLUMNS, rows)


def test_the_worst_rows_are_shown_with_the_number_of_all(tmp_path):
    results, gaps = Results(tmp_path), []
    write(results, 30)
    found = read_label_errors(results, "pose", gaps)
    assert found.number == 30
    assert [row["frame"] for row in found.worst] == [str(rank) for rank in range(1, 9)]
    assert gaps == []


def test_without_doubts_or_without_a_table_there_is_no_panel(tmp_path):
    results, gaps = Results(tmp_path), []
    assert read_label_errors(results, "pose", gaps) is None
    write(results, 0)
    assert read_label_errors(results, "pose", gaps) is None
    assert gaps == []


def test_a_damaged_table_is_a_gap_of_the_report(tmp_path):
    results, gaps = Results(tmp_path), []
    write(results, 1)
    results.label_errors("pose").write_text("rank\n1\n")
    assert read_label_errors(results, "pose", gaps) is None
    assert "lacks the columns video" in gaps[0]
