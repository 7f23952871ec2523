"""A format of projects is one module and one record."""

from pipeline_lib.core.formats.label_projects import FORMATS, ProjectFormat
from pipeline_lib.io.label_projects.registry import write_label_project
from tests.io.label_projects.project_examples import make_project

MODULE = """
def name_image(frame):
    return f"pictures/{frame.folder}-{frame.name}"

def write(folder, target, project):
    assert not target.exists()
    names = [f"{one.video} {one.frame} {len(one.labels or ())}" for one in project.frames]
    (folder / "list.txt").write_text("\\n".join(names))
"""


def test_a_new_format(tmp_path, monkeypatch):
    (tmp_path / "lists_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    # The one registration.
    monkeypatch.setitem(FORMATS, "list", ProjectFormat("a list", "lists_of_a_test", "list.txt"))
    write_label_project("list", tmp_path / "p", make_project(tmp_path))
    written = (tmp_path / "p" / "list.txt").read_text().splitlines()
    assert written == [
        *("day2-cam 7 0", "day1-cam 7 1", "day1-cam 30 0", "day1-cam 31 0", "old.one 12 1")
    ]
    assert len(list((tmp_path / "p" / "pictures").iterdir())) == 5
    assert (tmp_path / "p" / "cohortpose.json").is_file()


def test_a_writer_that_fails_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "failing_of_a_test.py").write_text(MODULE.replace("names = ", "names = 1 / 0 #"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(FORMATS, "list", ProjectFormat("a list", "failing_of_a_test", "list.txt"))
    (tmp_path / "out").mkdir()
    try:
        write_label_project("list", tmp_path / "out" / "p", make_project(tmp_path))
    except ZeroDivisionError:
        pass
    else:
        raise AssertionError
    assert list((tmp_path / "out").iterdir()) == []
