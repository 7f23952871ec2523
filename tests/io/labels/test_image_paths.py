"""Test that stored image paths follow the project or the results when these move."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline_lib.io.labels.image_paths import (
    WORKING_DIRECTORY,
    resolve_images,
    shorten_images,
    shorten_path,
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def table_of(*images):
    return pd.DataFrame({"image": [str(image) for image in images], "x": range(len(images))})


def test_paths_start_at_project_or_results(project):
    results = Path("out/results")
    assert shorten_path(str(project / "out/results/labels/images/0/v/f.png"), results) == (
        ".",
        "labels/images/0/v/f.png",
    )
    assert shorten_path(str(project / "dlc/labeled-data/v/f.png"), results) == (
        "../..",
        "dlc/labeled-data/v/f.png",
    )
    elsewhere = str(project.parent / "elsewhere.png")
    assert shorten_path(elsewhere, results) == ("", elsewhere)
    # As a config names a project beside: relative, so that both move together.
    assert shorten_path(f"{project}/../dlc/f.png", results) == ("../..", "../dlc/f.png")
    # A name that begins like the folder's is not in it.
    assert shorten_path(f"{project}-2/f.png", results) == ("", f"{project}-2/f.png")


def test_results_outside_of_the_project(project, tmp_path, monkeypatch):
    results = tmp_path / "scratch"
    stored = shorten_images(table_of(project / "a.png", results / "b.png"), results)
    assert stored["image_base"].tolist() == [WORKING_DIRECTORY, "."]
    moved, copied = tmp_path / "moved", tmp_path / "copied"
    moved.mkdir()
    monkeypatch.chdir(moved)
    images = resolve_images(stored, copied)["image"].tolist()
    assert images == [str(moved / "a.png"), str(copied / "b.png")]


def test_a_copy_has_its_own_images(project, tmp_path, monkeypatch):
    results = project / "results"
    outside = tmp_path / "shared" / "c.png"
    table = table_of(project / "a.png", results / "labels" / "b.png", outside, project / "a.png")
    stored = shorten_images(table, results)
    # From wherever it is read.
    monkeypatch.chdir(tmp_path)
    assert resolve_images(stored, results).equals(table)
    copy = tmp_path / "copy"
    found = resolve_images(stored, copy / "results")
    assert list(found) == ["image", "x"]
    assert found["image"].tolist() == [
        str(copy / "a.png"),
        str(copy / "results" / "labels" / "b.png"),
        str(outside),
        str(copy / "a.png"),
    ]
    assert resolve_images(stored, Path("copy/results")).equals(found)


def test_a_project_named_through_a_link(project, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(project)
    (project / "v").mkdir()
    assert shorten_path(str(link / "v" / "a.png"), project / "results") == ("..", "v/a.png")
    assert shorten_path(str(project / "v" / "a.png"), link / "results") == ("..", "v/a.png")
    # A link inside of the project is the project's.
    (project / "linked").symlink_to(tmp_path)
    assert shorten_path(str(project / "linked" / "a.png"), project / "results") == (
        "..",
        "linked/a.png",
    )
