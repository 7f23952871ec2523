"""Cohort sheets: what they may hold, and every way of getting them wrong."""

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
    """A byte-order mark, Windows line ends and short rows are what spreadsheets write."""
    path = sheet("video\tpath\tdose\r\na\ta.mp4\t1\r\nb\tb.mp4\r\n", encoding="utf-8-sig")
    first, second = read_cohort(path)
    assert (first.video, first.metadata) == ("a", {"dose": "1"})
    assert (second.video, second.metadata) == ("b", {"dose": ""})


def test_a_link_is_a_path_that_the_user_chose(sheet, tmp_path):
    (tmp_path / "real.mp4").touch()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "real.mp4")
    (video,) = read_cohort(sheet("video\tpath\na\tlink.mp4\n"))
    assert video.path == tmp_path / "link.mp4"


def test_a_relative_sheet_gives_absolute_paths(sheet, tmp_path, monkeypatch):
    path = sheet("video\tpath\na\ta.mp4\n")
    monkeypatch.chdir(tmp_path)
    (video,) = read_cohort(path.relative_to(tmp_path))
    assert video.path == tmp_path / "a.mp4"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "missing column `video` (tab-separated; found: nothing)"),
        ("video,path\na,b\n", "missing column `video` (tab-separated; found: video,path)"),
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
    with pytest.raises(SheetError, match="no such file; `cohortpose init`"):
        read_cohort(tmp_path / "cohort.tsv")


def test_a_sheet_that_is_no_text(tmp_path):
    path = tmp_path / "cohort.tsv"
    path.write_bytes(b"PK\x03\x04\xff\xfe\x00 a spreadsheet")
    with pytest.raises(SheetError, match="is not a UTF-8 text table"):
        read_cohort(path)
