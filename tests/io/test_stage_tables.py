"""Test that tables of stages are read as they were written, as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.core.untrusted.unseen import escape_unseen
from pipeline_lib.io.stage_tables import read_table, write_table

COLUMNS = ("video", "status", "reason", "seconds", "key")


def test_cells_are_written_for_people_and_read_as_text(tmp_path):
    path = tmp_path / "new" / "t.tsv"
    write_table(
        path,
        COLUMNS,
        [
            {"video": "a", "status": VideoStatus.DONE, "seconds": 1.5, "key": 7, "reason": None},
            {"video": "b", "status": True, "reason": "first\nsecond\ttab"},
        ],
    )
    assert path.read_text() == (
        "video\tstatus\treason\tseconds\tkey\na\tdone\t\t1.5\t7\nb\ttrue\tfirst second tab\t\t\n"
    )
    assert read_table(path, COLUMNS)[1] == {
        "video": "b",
        "status": "true",
        "reason": "first second tab",
        "seconds": "",
        "key": "",
    }


def test_a_frame_rate_survives(tmp_path):
    """Keep all digits: with six, 30000/1001 would be off by two frames after a day."""
    path = tmp_path / "t.tsv"
    write_table(path, ("fps",), [{"fps": 30000 / 1001}, {"fps": 0.1 + 0.2}, {"fps": 25.0}])
    assert float(read_table(path, ("fps",))[0]["fps"]) == pytest.approx(30000 / 1001, rel=1e-9)
    assert path.read_text().splitlines()[2:] == ["0.3", "25"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_a_cell_is_read_as_it_was_written(tmp_path_factory, paths):
    """Check that formatting for display never changes data."""
    path = tmp_path_factory.mktemp("t") / "t.tsv"
    write_table(path, ("video", "path"), [{"video": "v", "path": one} for one in paths])
    assert [row["path"] for row in read_table(path, ("path",))] == paths


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"video\tpath\nv\t\xe9\n", b"\0" * 300])
def test_a_damaged_table_says_so(tmp_path, content):
    """A server that crashed leaves zeros, or part of another file."""
    path = tmp_path / "t.tsv"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"t\.tsv: (cannot be read|lacks the columns).* delete it"):
        read_table(path, ("video", "path"))


def test_a_folder_is_no_table(tmp_path):
    with pytest.raises(StoreError, match="cannot be read"):
        read_table(tmp_path, ("video",))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_any_reason_stays_in_its_cell(tmp_path_factory, reasons):
    path = tmp_path_factory.mktemp("t") / "t.tsv"
    rows = [{"video": f"v{n}", "reason": reason} for n, reason in enumerate(reasons)]
    write_table(path, COLUMNS, rows)
    found = read_table(path, COLUMNS)
    seen = [escape_unseen(" ".join(reason.split())) for reason in reasons]
    assert [row["reason"] for row in found] == seen
    assert [row["video"] for row in found] == [row["video"] for row in rows]


def test_no_rows_are_a_header(tmp_path):
    write_table(tmp_path / "t.tsv", COLUMNS, [])
    assert read_table(tmp_path / "t.tsv", COLUMNS) == []


def test_a_column_that_is_not_listed_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match="sekonds"):
        write_table(tmp_path / "t.tsv", COLUMNS, [{"video": "a", "sekonds": 1}])
    assert list(tmp_path.iterdir()) == []


def test_an_unchanged_table_is_left_alone(tmp_path):
    path = tmp_path / "t.tsv"
    write_table(path, COLUMNS, [{"video": "a"}])
    before = path.stat().st_mtime_ns, path.stat().st_ino
    write_table(path, COLUMNS, [{"video": "a"}])
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_a_missing_table_or_column(tmp_path):
    path = tmp_path / "t.tsv"
    with pytest.raises(StoreError, match="no such file; the step that writes it has not run"):
        read_table(path, COLUMNS)
    path.write_text("video\tstatus\n")
    with pytest.raises(
        StoreError, match="lacks the columns reason, seconds, key; delete it and run"
    ):
        read_table(path, COLUMNS)
    path.write_text("")
    with pytest.raises(StoreError, match="lacks the columns video, status"):
        read_table(path, COLUMNS)
    # More columns than asked for are another step's business.
    path.write_text("extra\tvideo\n1\ta\n")
    assert read_table(path, ("video",))[0]["video"] == "a"
