"""Test that a stranger's COCO file stays in its folder, is bounded, and runs nothing."""

import os

import pytest
from PIL import Image

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.settings.reading import parse_config, read_config
from pipeline_lib.io.foreign import json_files
from pipeline_lib.io.labels.coco import images as coco_images
from pipeline_lib.io.labels.coco.read import read_coco
from pipeline_lib.io.labels.detect import label_inputs
from pipeline_lib.steps.init.run import init_project
from tests.io.labels.coco_examples import (
    MOUSE,
    make_animal,
    make_image,
    write_coco,
    write_image,
    write_one,
)


@pytest.fixture
def secret(tmp_path):
    """Write an image outside the project."""
    return write_image(tmp_path / "private" / "img1.png")


def read_name(folder, name):
    path = write_coco(folder / "x.json", [make_image(1, name)], [make_animal(1)])
    return read_coco(path).points


@pytest.mark.parametrize(
    "name",
    [
        "../private/img1.png",
        "..\\private\\img1.png",
        "images/../../private/img1.png",
        "/../private/img1.png",
        "a/b/c/d/e/f/g/h/i/../../../../../../../../../../private/img1.png",
        "..",
    ],
)
def test_names_with_dots_are_refused(tmp_path, secret, name):
    assert secret.is_file()
    with pytest.raises(LabelError, match=r"leads out of the project by `\.\.`"):
        read_name(tmp_path / "project", name)


def test_an_absolute_name_is_looked_for_in_the_project(tmp_path, secret):
    for name in (str(secret), f"file://{secret}", f"\\\\server{secret}"):
        with pytest.raises(LabelError, match="no such image"):
            read_name(tmp_path / "project", name)
    inside = write_image(tmp_path / "project" / "img1.png")
    assert set(read_name(tmp_path / "project", str(secret))["image"]) == {str(inside)}


def test_nothing_above_the_folder_is_searched(tmp_path, secret):
    for folder in ("project", "project/deep", "project/Annotations/deep"):
        with pytest.raises(LabelError, match="no such image"):
            read_name(tmp_path / folder, secret.name)
    # Only `annotations` lies in its dataset.
    write_image(tmp_path / "project" / "img1.png")
    assert len(read_name(tmp_path / "project" / "annotations", "img1.png")) == 3


def test_linked_and_hidden_folders_are_not_searched(tmp_path, secret):
    project = tmp_path / "project"
    write_image(project / ".cache" / "img1.png")
    (project / "linked").symlink_to(secret.parent)
    (project / "loop").symlink_to(project)
    with pytest.raises(LabelError, match="no such image"):
        read_name(project, "img1.png")
    # A user's own link is followed where the file names it.
    assert len(read_name(project, "linked/img1.png")) == 3


@pytest.mark.parametrize(
    "name", ["x\0y.png", "x" * 300 + ".png", "fifo.png", "loop.png", "dev/zero", "\ud800.png", "/"]
)
def test_names_that_are_no_files(tmp_path, name):
    folder = tmp_path / "project"
    folder.mkdir()
    os.mkfifo(folder / "fifo.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    with pytest.raises(LabelError, match=r"no such image|no name of an image") as error:
        read_name(folder, name)
    str(error.value).encode()


def test_endless_names_cost_nothing(tmp_path):
    names = [f"{n}/" + "a/" * 500_000 + "x.png" for n in range(5)]
    images = [make_image(n, name) for n, name in enumerate(names)]
    path = write_coco(tmp_path / "x.json", images, [make_animal(n, n) for n in range(5)])
    with pytest.raises(LabelError, match="is no name of an image") as error:
        read_coco(path)
    assert len(str(error.value)) < 2000


def test_only_images_are_read(tmp_path):
    (tmp_path / "id_rsa").write_text("-----BEGIN SECRET")
    with pytest.raises(LabelError, match="expected an image") as error:
        read_name(tmp_path, "id_rsa")
    assert "BEGIN" not in str(error.value)


@pytest.mark.parametrize("levels", [5_000, 1_000_000])
@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}"), ("[", "")])
def test_deep_nesting_is_refused(tmp_path, levels, start, end):
    path = tmp_path / "x.json"
    path.write_text('{"images": ' + start * levels + "0" + end * levels + "}")
    with pytest.raises(LabelError, match=r"nested too deeply|is not JSON"):
        read_coco(path)


def test_large_files_are_refused_before_they_are_parsed(tmp_path, monkeypatch):
    path = write_one(tmp_path, make_animal(1))
    monkeypatch.setattr(json_files, "_MOST_VALUES", 20)
    with pytest.raises(LabelError, match="or has more than 20 values"):
        read_coco(path)
    monkeypatch.undo()
    monkeypatch.setattr(json_files, "_MOST_BYTES", 100)
    with pytest.raises(LabelError, match="is larger than 0 MiB"):
        read_coco(path)
    monkeypatch.undo()
    # A hole of a terabyte takes no disk; a file that says nothing of its size may be endless.
    with path.open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(LabelError, match="is larger than 256 MiB"):
        read_coco(path)


def test_many_small_values_are_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[" + "[]," * 21_000_000 + "[]]")
    with pytest.raises(LabelError, match="more than 20,000,000 values"):
        read_coco(path)


def test_many_problems_are_bounded(tmp_path):
    path = write_one(tmp_path, *[make_animal(n, keypoints=[1]) for n in range(5000)])
    with pytest.raises(LabelError) as error:
        read_coco(path)
    assert len(error.value.problems) == 1000


def test_many_files_beside_it_are_not_searched(tmp_path, monkeypatch):
    write_image(tmp_path / "a" / "img1.png")
    monkeypatch.setattr(coco_images, "_MOST_FILES", 1)
    with pytest.raises(LabelError, match="too many files to look in"):
        read_name(tmp_path, "img1.png")
    assert len(read_name(tmp_path, "a/img1.png")) == 3


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_what_is_no_regular_file_is_not_opened(tmp_path, kind):
    path = tmp_path / "x.json"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(LabelError, match="is no regular file"):
        read_coco(path)
    config = parse_config({"cohort": "c", "labels": [{"path": str(path)}]})
    assert label_inputs(config) == [path]


def test_control_characters_do_not_steer_a_terminal(tmp_path):
    name = "\x1b[2Jimg\n1.png"
    category = {**MOUSE, "name": "\x1b]0;mouse\x07"}
    other = {"id": 2, "name": "b", "keypoints": ["a"]}
    animals = [make_animal(1), make_animal(2, category_id=2, keypoints=[1, 1, 2])]
    path = write_coco(tmp_path / "x.json", [make_image(1, name)], animals, [category, other])
    with pytest.raises(LabelError, match="different keypoints") as error:
        read_coco(path)
    assert "\x1b" not in str(error.value)
    path = write_coco(tmp_path / "x.json", [make_image(1, name)], animals[:1])
    with pytest.raises(LabelError, match="no such image") as error:
        read_coco(path)
    assert "\x1b" not in str(error.value)
    assert len(str(error.value).splitlines()) == 2


def test_keypoints_of_a_stranger_are_plain_text_in_the_config(tmp_path):
    """YAML of `init` makes no tag, key or anchor of a name."""
    names = ["!!python/object/apply:os.system [id]", "a: b", "&x *x"]
    path = write_one(tmp_path / "data", make_animal(1), categories=[{**MOUSE, "keypoints": names}])
    init_project(path, tmp_path / "run")
    assert read_config(tmp_path / "run" / "config.yaml").skeleton.bodyparts == tuple(names)


def test_a_bomb_of_pixels_is_not_decoded(tmp_path):
    path = write_one(tmp_path, make_animal(1))
    Image.new("1", (20_000, 10_000)).save(tmp_path / "img5.png")
    with pytest.raises(LabelError, match="megapixels"):
        read_coco(path)
