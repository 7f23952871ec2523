"""Test that sheets are made and extended, and that nothing else in them changes."""

import os

import pytest
from typer.testing import CliRunner

from pipeline_lib.cli import app
from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import SheetError
from pipeline_lib.steps.init.run import init_project
from pipeline_lib.steps.sheet.additions import Naming
from pipeline_lib.steps.sheet.pattern import FilePattern
from pipeline_lib.steps.sheet.run import describe_proposal, propose_rows

PATTERN = "{animal}_{date}_{camera}.mp4"


def place(folder, **files):
    """Write files with contents of their own; `__` in a name is `_`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.mp4").write_text(text)
    return folder


def propose(folder, sheet, pattern=PATTERN, session=""):
    return propose_rows(folder, sheet, Naming(FilePattern(pattern) if pattern else None, session))


def read_rows(sheet):
    return {
        video.video: {"session": video.session, "camera": video.camera, **video.metadata}
        for video in read_cohort(sheet)
    }


def test_a_new_sheet(tmp_path):
    folder = place(tmp_path / "in", m1_d1_top="a", m1_d1_side="b", m2_d1_top="c")
    sheet = tmp_path / "cohort.tsv"
    propose(folder, sheet, session="{animal}-{date}").write()
    lines = sheet.read_text().splitlines()
    assert lines[:2] == [
        "video\tpath\tsession\tanimal\tdate\tcamera",
        "m1_d1_side\tin/m1_d1_side.mp4\tm1-d1\tm1\td1\tside",
    ]
    assert read_rows(sheet)["m2_d1_top"] == {
        "session": "m2-d1",
        "camera": "top",
        "animal": "m2",
        "date": "d1",
    }


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_existing_rows_stay_as_they_are(tmp_path, end, mark):
    folder = place(tmp_path / "in", m3_d2_top="new")
    place(tmp_path / "in", a="a", b="b", c="c")
    old = [
        "Remarks\tvideo\tpath\tanimal",
        '"bad, ""very"" bad\tMäuse' + end + 'two lines"\tZ\tin/c.mp4\t=1+1',
        "",
        "\tA\t./in/a.mp4",  # shorter than the header
        "x\tB\tin/../in/b.mp4\tm9",  # no line end
    ]
    sheet = tmp_path / "cohort.tsv"
    sheet.write_bytes((mark + end.join(old)).encode())
    sheet.chmod(0o664)
    made = propose(folder, sheet)
    assert [path.name for path in made.additions.present] == ["a.mp4", "b.mp4", "c.mp4"]
    made.write()
    now = sheet.read_bytes().decode()
    assert now == mark + end.join(
        [
            "Remarks\tvideo\tpath\tanimal\tdate\tcamera",
            old[1] + "\t\t",
            "",
            "\tA\t./in/a.mp4\t\t\t",
            "x\tB\tin/../in/b.mp4\tm9\t\t",
            "\tm3_d2_top\tin/m3_d2_top.mp4\tm3\td2\ttop",
            "",
        ]
    )
    assert sheet.stat().st_mode & 0o777 == 0o664
    rows = read_rows(sheet)
    assert rows["Z"]["animal"] == "=1+1"
    assert rows["Z"]["Remarks"] == f'bad, "very" bad\tMäuse{end}two lines'
    # Without columns that it lacks, no line changes.
    before = sheet.read_bytes()
    place(folder, m4_d2_top="newer")
    propose(folder, sheet).write()
    assert sheet.read_bytes().startswith(before)
    # Nothing new: not written at all.
    stamp = sheet.stat()
    propose(folder, sheet).write()
    assert sheet.stat() == stamp


def test_duplicates_and_misfits_are_listed(tmp_path):
    folder = place(tmp_path / "in", m1_d1_top="a" * 99, m2_d1_top="a" * 99, m3_d1_top="b" * 99)
    (folder / "z").mkdir()
    (folder / "z" / "m4_d1_top.mp4").symlink_to(folder / "m3_d1_top.mp4")
    os.link(folder / "m3_d1_top.mp4", folder / "m5_d1_top.mp4")
    place(folder, holiday="x", m6_d1_topDLC_resnet_labeled="y", gone_d1_top="z")
    sheet = tmp_path / "cohort.tsv"
    sheet.write_text("video\tpath\nOLD\tin/m1_d1_top.mp4\nGone_d1_top\told/gone.mp4\n")
    made = propose(folder, sheet)
    duplicates = {one.path.name: one.reason for one in made.additions.duplicates}
    assert "same content as row OLD" in duplicates.pop("m2_d1_top.mp4")
    assert "same file as another new file" in duplicates.pop("m5_d1_top.mp4")
    assert "same file as" in duplicates.pop("m4_d1_top.mp4")
    assert "is missing: if it was moved" in duplicates.pop("gone_d1_top.mp4")
    assert not duplicates
    misfits = {one.path.name: one.reason for one in made.additions.misfits}
    assert "does not fit" in misfits.pop("holiday.mp4")
    assert "keypoints drawn" in misfits.pop("m6_d1_topDLC_resnet_labeled.mp4")
    assert not misfits
    assert [row["video"] for row in made.additions.rows] == ["m3_d1_top"]
    said = "\n".join(describe_proposal(made, written=False))
    assert "4 duplicates, left out:" in said
    assert "2 misfits, left out:" in said
    assert "add --write" in said


def test_ids_are_unique_beside_those_of_the_sheet(tmp_path):
    sheet = tmp_path / "cohort.tsv"
    place(tmp_path / "in" / "day1", a="1")
    propose(tmp_path / "in", sheet, "").write()
    place(tmp_path / "in" / "day2", A="2", b="3")
    propose(tmp_path / "in", sheet, "").write()
    assert list(read_rows(sheet)) == ["a", "day2-A", "b"]
    place(tmp_path / "in" / "day3", x_B="4", y_c="5", z_C="6")
    made = propose(tmp_path / "in" / "day3", sheet, "*_{video}.mp4")
    assert [row["video"] for row in made.additions.rows] == ["c"]
    reasons = [one.reason for one in made.additions.duplicates]
    assert reasons[0].startswith("would have the same id as b (")
    assert reasons[1].startswith("would have the same id as c (")


def test_views_that_a_run_would_refuse(tmp_path):
    folder = place(tmp_path / "in", s1_top="1", S1_side="2", **{"s1_top b": "3"}, s2_x="5")
    (folder / "sub").mkdir()
    (folder / "sub" / "s1_Top.mp4").write_text("6")
    sheet = tmp_path / "cohort.tsv"
    made = propose(folder, sheet, "{session}_{camera}.mp4")
    # Sorted: S1 comes first.
    assert [row["video"] for row in made.additions.rows] == ["S1_side", "s2_x"]
    assert all("differs from S1 in case only" in one.reason for one in made.additions.misfits)
    made = propose(folder, sheet, "{animal}_{camera}.mp4", "one")
    assert "camera Top of session one is that of video" in made.additions.misfits[0].reason


def test_odd_characters_are_kept_and_formulas_named(tmp_path):
    folder = place(tmp_path / "in", **{'=1+1_"ä", b_top': "1", "-5_x_top": "2", "a\tb_x_top": "3"})
    sheet = tmp_path / "cohort.tsv"
    made = propose(folder, sheet)
    made.write()
    assert {(row["animal"], row["date"]) for row in read_rows(sheet).values()} == {
        ("=1+1", '"ä", b'),
        ("-5", "x"),
    }
    assert len(made.additions.notes) == 2
    assert "formula" in made.additions.notes[0]
    assert "tab" in made.additions.misfits[0].reason


def test_a_sheet_that_changed_meanwhile_is_not_overwritten(tmp_path):
    folder, sheet = place(tmp_path / "in", a="1"), tmp_path / "cohort.tsv"
    made = propose(folder, sheet, "")
    sheet.write_text("video\tpath\nmine\tx.mp4\n")
    with pytest.raises(SheetError, match="changed meanwhile"):
        made.write()
    assert list(read_rows(sheet)) == ["mine"]


def test_init_makes_the_same_rows(tmp_path):
    folder = place(tmp_path / "in", m1_d1_top="a", m2_d1_top="a")
    sheet = tmp_path / "run" / "sheet.tsv"
    sheet.parent.mkdir()
    naming = Naming(FilePattern(PATTERN), "{animal}")
    propose_rows(folder, sheet, naming).write()
    init_project(folder, tmp_path / "run", naming)
    assert (tmp_path / "run" / "cohort.tsv").read_bytes() == sheet.read_bytes()
    assert len(read_rows(sheet)) == 1


def test_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place(tmp_path / "in", m1_d1_top="a")
    call = ["sheet", "in", "--pattern", PATTERN]
    found = CliRunner().invoke(app, call)
    assert found.exit_code == 0
    assert not (tmp_path / "cohort.tsv").exists()
    assert CliRunner().invoke(app, [*call, "--write"]).exit_code == 0
    assert list(read_rows(tmp_path / "cohort.tsv")) == ["m1_d1_top"]
    refused = CliRunner().invoke(app, ["sheet", "in", "--pattern", "{a}{b}"])
    assert refused.exit_code == 1
    assert "side by side" in refused.output
    assert "no field 'day'" in CliRunner().invoke(app, [*call, "--session", "{day}"]).output


def test_names_that_spreadsheets_shells_and_terminals_take_for_more(tmp_path):
    folder = tmp_path / "~root"
    folder.mkdir()
    (tmp_path / "=1+1.mp4").write_text("a")
    (folder / "b.mp4").write_text("b")
    (tmp_path / "c\x1b[31m.mp4").write_text("c")
    proposal = propose(tmp_path, tmp_path / "cohort.tsv", pattern="")
    proposal.write()
    assert {row["video"]: row["path"] for row in proposal.additions.rows} == {
        "1-1": "./=1+1.mp4",
        "b": "./~root/b.mp4",
        "c-31m": "c\x1b[31m.mp4",
    }
    assert all(video.path.exists() for video in read_cohort(tmp_path / "cohort.tsv"))
    told = "".join(describe_proposal(proposal, written=True))
    assert "c\\x1b[31m.mp4" in told
    assert "\x1b" not in told
    assert propose(tmp_path, tmp_path / "cohort.tsv", pattern="").additions.rows == []
