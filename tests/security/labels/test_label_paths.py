"""Test that paths in foreign labels lead to images and videos inside the project only."""

import json
import os
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline_lib.cli import app
from pipeline_lib.core.errors import ConfigError, LabelError, SheetError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.io.labels.deeplabcut import read_deeplabcut
from pipeline_lib.io.labels.formats.lightning_pose import read_lightning_pose
from pipeline_lib.io.labels.sleap.read import read_sleap
from pipeline_lib.steps.import_labels.run import run_import_labels
from pipeline_lib.steps.init.projects import describe_deeplabcut
from tests.io.labels.slp_examples import Project

HEADER = "scorer,a,a\nbodyparts,nose,nose\ncoords,x,y\n"


@pytest.fixture
def secret(tmp_path):
    """Write an image outside the project."""
    path = tmp_path / "private" / "labeled-data" / "v" / "img1.png"
    path.parent.mkdir(parents=True)
    Image.new("L", (60, 40), 99).save(path)
    return path


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project" / "labeled-data" / "v"
    folder.mkdir(parents=True)
    Image.new("L", (60, 40)).save(folder / "img0.png")
    return tmp_path / "project"


PATHS = [
    "labeled-data/../../private/labeled-data/v/img1.png",
    "labeled-data/v/../../../private/labeled-data/v/img1.png",
    "labeled-data\\..\\..\\private\\labeled-data\\v\\img1.png",
    "../private/labeled-data/v/img1.png",
    "../../img1.png",
    "..",
    "labeled-data/v/..",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("suffix", ["csv", "h5"])
def test_images_out_of_the_project(project, secret, path, suffix):
    assert secret.is_file()
    table = project / "labeled-data" / "v" / f"CollectedData_a.{suffix}"
    if suffix == "csv":
        table.write_text(f"{HEADER}{path},1,2\n")
    else:
        columns = pd.MultiIndex.from_product([["a"], ["nose"], ["x", "y"]])
        columns = columns.set_names(["scorer", "bodyparts", "coords"])
        frame = pd.DataFrame([[1.0, 2.0]], columns=columns, index=[path])
        frame.to_hdf(table, key="df_with_missing")
    with pytest.raises(LabelError, match=r"leads out of the project by `\.\.`") as error:
        read_deeplabcut(project)
    assert len(error.value.problems) == 1


@pytest.mark.parametrize("path", PATHS)
def test_images_out_of_a_lightning_pose_folder(project, path):
    (project / "CollectedData.csv").write_text(f"{HEADER}{path},1,2\n")
    with pytest.raises(LabelError, match=r"leads out of the project by `\.\.`"):
        read_lightning_pose(project)


def test_an_absolute_path_is_looked_for_in_the_project(project, secret):
    """Ignore the path before `labeled-data`, which belongs to the machine that wrote the table."""
    table = project / "labeled-data" / "v" / "CollectedData_a.csv"
    table.write_text(f"{HEADER}{secret},1,2\n")
    expected = project / "labeled-data" / "v" / "img1.png"
    with pytest.raises(LabelError, match=f"no such image \\(expected at {expected}\\)"):
        read_deeplabcut(project)


@pytest.mark.parametrize(
    "name", ["x\0y.png", "x" * 300 + ".png", "fifo.png", "loop.png", "/dev/zero"]
)
def test_names_that_are_no_files(project, name):
    folder = project / "labeled-data" / "v"
    os.mkfifo(folder / "fifo.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    table = folder / "CollectedData_a.h5"
    columns = pd.MultiIndex.from_product([["a"], ["nose"], ["x", "y"]])
    columns = columns.set_names(["scorer", "bodyparts", "coords"])
    path = f"labeled-data/v/{name}"
    pd.DataFrame([[1.0, 2.0]], columns=columns, index=[path]).to_hdf(table, key="df_with_missing")
    with pytest.raises(LabelError, match="no such image"):
        read_deeplabcut(project)


def test_links_of_images_are_followed_but_only_to_images(project, secret):
    """Follow a user's own links, which are common practice, but read images only."""
    folder = project / "labeled-data" / "v"
    (folder / "img1.png").symlink_to(secret)
    (folder / "CollectedData_a.csv").write_text(f"{HEADER}labeled-data/v/img1.png,1,2\n")
    assert read_deeplabcut(project)["image"].tolist() == [str(folder / "img1.png")]
    words = secret.with_name("id_rsa")
    words.write_text("-----BEGIN SECRET")
    (folder / "img1.png").unlink()
    (folder / "img1.png").symlink_to(words)
    with pytest.raises(LabelError, match="expected an image") as error:
        read_deeplabcut(project)
    assert "BEGIN" not in str(error.value)


def slp_of(folder, **backend):
    project = Project()
    project.add("v.mp4", 0, [(1, 2), (3, 4)])
    path = project.save(folder / "a.slp")
    with h5py.File(path, "a") as file:
        record = json.loads(file["videos_json"][0])
        record["backend"] |= backend
        file["videos_json"][0] = json.dumps(record)
    return path


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "/etc/hostname", "/proc/self/environ", "/dev/zero"]
)
@pytest.mark.parametrize("as_images", [False, True])
def test_other_files_as_videos_of_sleap(project, name, as_images):
    backend = {"filenames": [name]} if as_images else {}
    path = slp_of(project, filename=name, **backend)
    with pytest.raises(LabelError, match=f"{name}: is no name of a video or an image"):
        read_sleap(path, project / "images")
    assert not (project / "images").exists()


@pytest.mark.parametrize("name", ["private.png", "private.mp4", "private.h5", "private.tif"])
@pytest.mark.parametrize("as_images", [False, True])
def test_texts_that_are_named_as_videos(project, tmp_path, name, as_images):
    words = tmp_path / name
    words.write_text("BEGIN SECRET\n" * 1000)
    backend = {"filenames": [str(words)]} if as_images else {}
    path = slp_of(project, filename=str(words), **backend)
    with pytest.raises(LabelError) as error:
        read_sleap(path, project / "images")
    assert "SECRET" not in str(error.value)
    assert not (project / "images").exists()


@pytest.mark.parametrize("name", ["../private/v.png", "x/../../private/v.png"])
def test_relative_paths_of_sleap(project, secret, name):
    shutil.copy(secret, secret.parents[2] / "v.png")
    path = slp_of(project, filename=name, filenames=[name])
    with pytest.raises(LabelError, match="not found there, nor in"):
        read_sleap(path, project / "images")


def test_video_sets_of_a_deeplabcut_project(project, tmp_path):
    for video in (tmp_path / "out.mp4", tmp_path / "far" / "abs.mp4", project / "in.mp4"):
        video.parent.mkdir(exist_ok=True)
        video.touch()
    (tmp_path / "words.txt").touch()
    names = ["../out.mp4", "x/../../out.mp4", str(tmp_path / "far" / "abs.mp4"), "in.mp4"]
    sets = {name: {"crop": "0, 1, 0, 1"} for name in names}
    (project / "config.yaml").write_text(json.dumps({"video_sets": sets}))
    videos = describe_deeplabcut(project).videos
    assert videos == [project / "videos", tmp_path / "far" / "abs.mp4", project / "in.mp4"]


@pytest.mark.parametrize(
    "name", ["..", ".", "a/b", "../x", ".hidden", ".part-x", "-x", "x.part", ""]
)
def test_names_in_the_config(name):
    for section in ({"training": {"name": name}}, {"exports": {"scorer": name}}):
        with pytest.raises(ConfigError, match=r"`(training\.name|exports\.scorer)`"):
            parse_config({"cohort": "c.tsv", **section})
    with pytest.raises(ConfigError, match=r"`individuals\.names\.0`"):
        parse_config({"cohort": "c.tsv", "individuals": {"max": 2, "names": [name]}})


@pytest.mark.parametrize("verb", ["probe", "select-frames", "infer", "track", "filter", "export"])
@pytest.mark.parametrize("shard", ["../../x", "..", "/etc", ".x", "a/b", ""])
def test_shards_on_the_command_line(tmp_path, monkeypatch, verb, shard):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("cohort: c.tsv\n")
    result = CliRunner().invoke(app, [verb, "--config", "config.yaml", f"--shard={shard}"])
    assert result.exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml"]


@pytest.mark.parametrize("name", [".part-x", ".old-x.abcdefgh", ".segments", "x.part", "..", "-x"])
def test_videos_named_like_our_own_files(tmp_path, name):
    from pipeline_lib.core.cohort import read_cohort  # noqa: PLC0415

    sheet = tmp_path / "cohort.tsv"
    sheet.write_text(f"video\tpath\n{name}\tv.mp4\n")
    with pytest.raises(SheetError, match="line 2: video"):
        read_cohort(sheet)


def test_a_label_source_with_a_strange_name(tmp_path, monkeypatch):
    """Write images into a folder of ours, for any name of the file."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(tmp_path / "0.png")
    project = Project(("nose",), ())
    project.add([str(tmp_path / "0.png")], 0, [(1, 2)])
    path = project.save(tmp_path / ("..%2e " + "x" * 230 + ".tmp.slp"))
    config = parse_config({"cohort": "c.tsv", "labels": [{"path": str(path)}]})
    run_import_labels(config, Results(tmp_path / "results"))
    (folder,) = (tmp_path / "results" / "labels" / "images").iterdir()
    assert folder.name.startswith("00-")
    assert len(folder.name) <= 200
