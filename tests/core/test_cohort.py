"""Test the reading of cohort sheets, and every kind of mistake in them."""

from pathlib import Path

import pytest

from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.errors import SheetError


@pytest.fixture
def sheet(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "cohort.tsv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def problems_of(path):
    with pytest.raises(SheetError) as error:
        read_cohort(path)
    assert error.value.where == str(path)
    return error.value.problems


def test_rows_become_videos(sheet, tmp_path):
    path = sheet(
        "video\tsex\tpath\tsession\tcamera\tcalibration\tdose\n"
        "a.1\tf\tvideos/a.mp4\ts1\tleft\tcal.toml\t3 mg\n"
        "b_2-x\t\t/elsewhere/b.avi\t\t\t\t\n"
    )
    first, second = read_cohort(path)
    assert first == Video(
        video="a.1",
        path=tmp_path / "videos" / "a.mp4",
        session="s1",
        camera="left",
        calibration=str(tmp_path / "cal.toml"),
        metadata={"sex": "f", "dose": "3 mg"},
    )
    assert str(second.path) == "/elsewhere/b.avi"
    assert (second.session, second.camera, second.calibration) == ("", "", "")
    assert second.metadata == {"sex": "", "dose": ""}


def test_a_sheet_from_a_spreadsheet(sheet):
    """Read a byte-order mark, Windows line ends and short rows, as spreadsheets write them."""
    path = sheet("video\tpath\tdose\r\na\ta.mp4\t1\r\nb\tb.mp4\r\n", encoding="utf-8-sig")
    first, second = read_cohort(path)
    assert (first.video, first.metadata) == ("a", {"dose": "1"})
    assert (second.video, second.metadata) == ("b", {"dose": ""})


def test_a_link_is_a_path_that_the_user_chose(sheet, tmp_path):
    (tmp_path / "real.mp4").touch()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "real.mp4")
    (video,) = read_cohort(sheet("video\tpath\na\tlink.mp4\n"))
    assert video.path == tmp_path / "link.mp4"


def test_a_relative_sheet_gives_relative_paths(sheet, tmp_path, monkeypatch):
    """Check that a project moved with its videos stays the same."""
    path = sheet("video\tpath\na\ta.mp4\nb\t../b.mp4\nc\t/c.mp4\n")
    monkeypatch.chdir(tmp_path)
    videos = read_cohort(path.relative_to(tmp_path))
    assert [str(video.path) for video in videos] == ["a.mp4", "../b.mp4", "/c.mp4"]


@pytest.mark.parametrize(
    "path", ["two  blanks.avi", " leading.avi", "trailing.avi ", "no\u00a0break.avi", "a{1}.avi"]
)
def test_a_path_is_taken_to_the_character(sheet, tmp_path, path):
    (video,) = read_cohort(sheet(f"video\tpath\na\t{path}\n"))
    assert str(video.path) == f"{tmp_path}/{path}"


def test_a_quoted_cell_may_hold_tabs_and_line_breaks(sheet, tmp_path):
    first, second = read_cohort(sheet('video\tpath\na\t"tab\tand\nbreak.avi"\nb\tb.avi\n'))
    assert (str(first.path), second.video) == (f"{tmp_path}/tab\tand\nbreak.avi", "b")


def test_a_tilde_is_the_home_folder(sheet, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    path = sheet("video\tpath\tcalibration\na\t~/a.avi\t~/c.toml\n")
    (video,) = read_cohort(path)
    assert (str(video.path), video.calibration) == ("/home/somebody/a.avi", "/home/somebody/c.toml")


@pytest.mark.parametrize("blank", ["\n", "\t\n", " \t \n", "\t\t\t\n", "\r\n"])
def test_blank_rows_are_left_out(sheet, blank):
    path = sheet(f"video\tpath\n{blank}a\ta.mp4\n{blank}{blank}b\tb.mp4\n{blank}")
    assert [video.video for video in read_cohort(path)] == ["a", "b"]


def test_lines_are_counted_with_blank_rows(sheet):
    assert problems_of(sheet("video\tpath\n\n\t\na b\tx\n"))[0].startswith("line 4: video 'a b'")


@pytest.mark.parametrize("path", ['"open.avi', '"open.avi\nb\t"x.avi'])
def test_an_open_quotation_mark_swallows_no_rows(sheet, path):
    (problem,) = problems_of(sheet(f"video\tpath\na\t{path}\nc\tc.avi\n"))
    assert problem.startswith("is not a table of text")


def test_a_folder_is_no_sheet(tmp_path):
    assert problems_of(tmp_path) == ("cannot be read: Is a directory",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "missing column `video` (tab-separated; found: nothing)"),
        (
            "video,path\na,b\n",
            "missing column `video` (tab-separated; found: video,path); save it with tabs",
        ),
        ("video\tfile\na\tb\n", "missing column `path` (tab-separated; found: video, file)"),
        ("video\tpath\n", "no videos: add one row per video"),
        ("video\tpath\tpath\na\tb\tc\n", "column `path` twice"),
        ("video\tpath\na b\tx\n", "line 2: video 'a b' must be letters, digits and . _ - only"),
        ("video\tpath\na/b\tx\n", "line 2: video 'a/b' must be letters, digits and . _ - only"),
        ("video\tpath\nmäuse\tx\n", "line 2: video 'mäuse' must be letters"),
        ("video\tpath\n\tx\n", "line 2: video '' must be letters"),
        # These would be the results folder itself, or the one above.
        ("video\tpath\n..\tx\n", "line 2: video '..' must be letters"),
        ("video\tpath\n.\tx\n", "line 2: video '.' must be letters"),
        ("video\tpath\na\t\n", "line 2: no path"),
        ("video\tpath\na\n", "line 2: no path"),
        ("video\tpath\na\tx\nb\ty\na\tz\n", "line 4: video a already on line 2"),
        ("video\tpath\na\tx\tmore\n", "line 2: more cells than columns"),
    ],
)
def test_each_mistake_has_its_line(sheet, text, problem):
    assert any(found.startswith(problem) for found in problems_of(sheet(text)))


def test_every_mistake_in_one_message(sheet):
    assert len(problems_of(sheet("video\tpath\na\tx\na\t\nb c\ty\n"))) == 3


def test_thousands_of_mistakes_are_counted_not_listed(sheet):
    path = sheet("video\tpath\n" + "a\tx\n" * 1001)
    with pytest.raises(SheetError) as error:
        read_cohort(path)
    lines = str(error.value).splitlines()
    assert lines[0] == f"{path}: 1000 problems"
    assert lines[-1] == "  ... and 980 more"
    assert len(lines) == 22


def test_a_missing_sheet_says_how_to_get_one(tmp_path):
    with pytest.raises(SheetError, match="no such file; `cohortpose init` writes a sheet"):
        read_cohort(tmp_path / "cohort.tsv")


def test_a_sheet_that_is_no_text(tmp_path):
    path = tmp_path / "cohort.tsv"
    path.write_bytes(b"PK\x03\x04\xff\xfe\x00 a spreadsheet")
    with pytest.raises(
        SheetError, match=r"is not UTF-8 text \(byte 0xff in line 1\): save it as UTF-8"
    ):
        read_cohort(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_sheet_in_another_unicode_encoding(sheet, encoding):
    """As Windows' programs save "Unicode text", with a mark at the start or without."""
    (problem,) = problems_of(sheet("video\tpath\na\ta.mp4\n", encoding=encoding))
    name = "UTF-32" if encoding == "utf-32" else "UTF-16"
    assert problem == f"is saved as {name}: save it as UTF-8"


@pytest.mark.parametrize(("first", "second"), [("Mouse1", "mouse1"), ("a", "A"), ("x.Y", "X.y")])
def test_ids_that_differ_in_case_only(sheet, first, second):
    """Some file systems would give both the same files."""
    (problem,) = problems_of(sheet(f"video\tpath\n{first}\ta.mp4\nb\tb.mp4\n{second}\tc.mp4\n"))
    assert problem.startswith(f"line 4: video {second} differs from {first} on line 2 in case only")
    assert "rename one of them" in problem


def test_a_sheet_of_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (problem,) = problems_of(Path("cohort.tsv"))
    assert problem.startswith(f"no such file in the working directory, {tmp_path}; `--directory`")
