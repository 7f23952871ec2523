"""Tables of corrected labels that strangers wrote: links, special files, sizes, names as paths."""

import os

import pytest

from pipeline_lib.core.errors import LabelError
from pipeline_lib.io.corrections import files
from pipeline_lib.io.corrections.labels import (
    read_bodypart_changes,
    read_label_corrections,
    write_frame_correction,
)
from tests.io.corrections.test_labels import HEADER, ROW, correct, write_rows


def test_links_special_files_and_large_files_are_refused(tmp_path, monkeypatch):
    secret = tmp_path / "secret.tsv"
    secret.write_text(f"{HEADER}\n{ROW}\n")
    project = tmp_path / "corrections"
    path = write_rows(project, ROW)
    path.with_name("m2.tsv").symlink_to(secret)
    with pytest.raises(LabelError, match=r"m2\.tsv, cannot be read: is a link"):
        read_label_corrections(project)
    path.with_name("m2.tsv").unlink()
    os.mkfifo(path.with_name("m3.tsv"))
    with pytest.raises(LabelError, match=r"m3\.tsv, is no regular file"):
        read_label_corrections(project)
    path.with_name("m3.tsv").unlink()
    outside = tmp_path / "outside"
    outside.mkdir()
    (project / "labels" / "Bob").symlink_to(outside)
    with pytest.raises(LabelError, match="Bob: expected a folder of one author"):
        read_label_corrections(project)
    with pytest.raises(LabelError, match=r"Bob: 1 problem\n.*is a link"):
        write_frame_correction(project, correct(author="Bob"))
    assert not list(outside.iterdir())
    (project / "labels" / "Bob").unlink()
    monkeypatch.setattr(files, "MOST_BYTES", 50)
    with pytest.raises(LabelError, match="expected at most 0 MiB"):
        read_label_corrections(project)


@pytest.mark.parametrize("place", ["labels", "labels/Ann", "labels/Ann/m1.tsv", "labels/Ann/.lock"])
def test_nothing_is_written_through_a_link(tmp_path, place):
    project, outside = tmp_path / "corrections", tmp_path / "outside"
    write_frame_correction(project, correct(6))
    kept = tmp_path / "kept"
    (project / place).rename(kept)
    if kept.is_dir():
        outside.mkdir()
    else:
        outside.write_text("precious")
    (project / place).symlink_to(outside)
    with pytest.raises(LabelError, match=r"link|locked"):
        write_frame_correction(project, correct())
    assert list(outside.iterdir()) == [] if kept.is_dir() else outside.read_text() == "precious"


def test_the_folder_itself_may_be_a_link_to_somewhere_that_is_there(tmp_path):
    """Several projects may share corrections on one disk; one that is missing is no empty one."""
    shared, project = tmp_path / "shared", tmp_path / "corrections"
    shared.mkdir()
    project.symlink_to(shared)
    write_frame_correction(project, correct(6))
    assert len(read_label_corrections(project)) == len(read_label_corrections(shared)) == 1
    shared.rename(tmp_path / "unmounted")
    for attempt in (read_label_corrections, lambda path: write_frame_correction(path, correct())):
        with pytest.raises(LabelError, match="which is not there: is a disk not mounted"):
            attempt(project)
    assert not shared.exists()


def test_bodyparts_are_not_read_through_a_link(tmp_path):
    (tmp_path / "secret").write_text("what\tbodypart\tformer\tauthor\ttime\nhush:x:0\n")
    (tmp_path / "bodyparts.tsv").symlink_to(tmp_path / "secret")
    with pytest.raises(LabelError) as caught:
        read_bodypart_changes(tmp_path)
    assert "is a link" in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("what", ["author", "video"])
@pytest.mark.parametrize("name", ["../../x", "..", ".", "a/../../x", "a\\..\\x"])
def test_paths_to_other_folders_are_no_names(name, what):
    with pytest.raises(LabelError, match="is a path to another folder"):
        correct(**{what: name})


@pytest.mark.parametrize("what", ["author", "video"])
@pytest.mark.parametrize("name", ["/etc/x", "~/x", "C:\\x", "-x", ".part-x", "plan.tsv", "a" * 200])
def test_no_name_leads_out_of_the_folder(tmp_path, name, what):
    project = tmp_path / "a" / "corrections"
    path = write_frame_correction(project, correct(**{what: name}))
    assert path.parent.parent == project / "labels"
    assert len(read_label_corrections(project)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_message_controls_no_terminal_and_shows_no_long_cell(tmp_path):
    write_rows(tmp_path, ROW.replace("\t5\t", "\t\x1b[2J" + "9" * 4000 + "\t"))
    with pytest.raises(LabelError) as caught:
        read_label_corrections(tmp_path)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500
