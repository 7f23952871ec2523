"""Test that our own readers find in every project what was written."""

import json

import numpy as np
import pytest
import sleap_io
import yaml

from pipeline_lib.core.formats.label_projects import FORMATS, find_format
from pipeline_lib.io.images import read_image
from pipeline_lib.io.label_projects.manifest import MANIFEST, read_manifest
from pipeline_lib.io.label_projects.registry import write_label_project
from pipeline_lib.io.labels.coco.read import read_coco
from pipeline_lib.io.labels.deeplabcut import read_deeplabcut
from pipeline_lib.io.labels.deeplabcut_project import (
    project_individuals,
    read_project_config,
    read_project_skeleton,
)
from pipeline_lib.io.labels.deeplabcut_table import read_table
from pipeline_lib.io.labels.detect import detect_format, load_reader
from pipeline_lib.io.labels.label_studio.read import read_label_studio
from pipeline_lib.io.labels.sleap.read import read_sleap
from tests.io.label_projects.project_examples import (
    BODYPARTS,
    HEIGHT,
    WIDTH,
    assert_same,
    list_expected,
    list_found,
    make_project,
)

several = pytest.mark.parametrize("several", [False, True], ids=["one", "several"])


def write(tmp_path, name, **kind):
    project = make_project(tmp_path, **kind)
    folder = tmp_path / "project"
    write_label_project(name, folder, project)
    return folder, project


@several
def test_a_deeplabcut_project_has_the_labels_and_beside_them_the_predictions(tmp_path, several):
    folder, project = write(tmp_path, "deeplabcut", several=several)
    points = read_deeplabcut(folder)
    labelled = project.frames[1]
    for end in ("day1-cam/frame-0000007.png", "old.one/img012.png"):
        assert_same(list_found(points, end), list_expected(labelled.labels, hidden=False))
    # Labelled as one without an animal: a row, and no point.
    assert set(points["image"].str.rsplit("/").str[-1]) == {
        *("frame-0000007.png", "frame-0000030.png", "img012.png")
    }
    assert list_found(points, "day1-cam/frame-0000030.png") == []
    machine = folder / "labeled-data/day2-cam/machinelabels-iter2.csv"
    header = [line.split(",") for line in machine.read_text().splitlines()]
    assert set(header[0][3:]) == {"pose-1"}
    assert header[-1][:3] == ["labeled-data", "day2-cam", "frame-0000007.png"]
    assert header[-1][3:6] == ["5.5", "6.5", "0.75"]
    assert machine.with_suffix(".h5").is_file()
    assert not (machine.parent / "CollectedData_Ada.csv").exists()
    # A frame with neither is only an image.
    assert (folder / "labeled-data/day1-cam/frame-0000031.png").is_file()
    for suffix in ("csv", "h5"):
        table = read_table(folder / f"labeled-data/day1-cam/CollectedData_Ada.{suffix}")
        assert len(table.images) == 2
        # Every animal has its own bodyparts only.
        assert len(table.keypoints) == (2 * 3 + 1 if several else 4)


@several
def test_the_file_of_a_deeplabcut_project_describes_it(tmp_path, several):
    folder, project = write(tmp_path, "deeplabcut", several=several)
    assert read_project_skeleton(folder) == project.skeleton
    values = read_project_config(folder / "config.yaml")
    assert project_individuals(values) == (project.individuals if several else (), False)
    plain = yaml.safe_load((folder / "config.yaml").read_text())
    assert plain["project_path"] == str(folder)
    assert plain["multianimalproject"] is several
    assert plain["scorer"] == "Ada"
    assert plain["iteration"] == 2
    videos = {path.rsplit("/")[-1]: crop for path, crop in plain["video_sets"].items()}
    crop = {"crop": f"0, {WIDTH}, 0, {HEIGHT}"}
    assert videos == {"day1-cam.mp4": crop, "day2-cam.mp4": crop, "old.one.mp4": crop}


@several
def test_coco_keeps_positions_names_visibility_and_unique_bodyparts(tmp_path, several):
    folder, project = write(tmp_path, "coco", several=several)
    source = read_coco(folder / "annotations/person_keypoints_default.json")
    assert sorted(source.skeleton.bodyparts) == sorted(BODYPARTS)
    assert source.skeleton.unique_bodyparts == project.skeleton.unique_bodyparts
    assert source.skeleton.edges == project.skeleton.edges
    for end in ("day1-cam/day1-cam-frame-0000007.png", "old.one/old.one-img012.png"):
        found = list_found(source.points, end)
        assert_same(found, list_expected(project.frames[1].labels))
        assert any(hidden for *_, hidden in found)
    # COCO does not know predictions: they are annotations, which say so by their score.
    found = list_found(source.points, "day2-cam/day2-cam-frame-0000007.png")
    assert_same(found, list_expected(project.frames[0].predictions))
    values = json.loads((folder / "annotations/person_keypoints_default.json").read_text())
    assert len(values["images"]) == 5
    by_image = {one["id"]: one["file_name"] for one in values["images"]}
    scored = {by_image[one["image_id"]] for one in values["annotations"] if "score" in one}
    assert scored == {"day2-cam/day2-cam-frame-0000007.png"}


@several
def test_label_studio_keeps_positions_names_visibility_and_empty_frames(tmp_path, several):
    folder, project = write(tmp_path, "label-studio", several=several)
    assert detect_format(folder / "tasks.json") == "label-studio"
    points = read_label_studio(folder / "tasks.json").points
    if not several:
        # Without a rectangle there is no name: it is the only animal.
        points = points.assign(individual=points["individual"].replace("individual1", "animal"))
    for end in ("day1-cam/day1-cam-frame-0000007.png", "old.one/old.one-img012.png"):
        found = list_found(points, end)
        assert_same(found, list_expected(project.frames[1].labels))
        assert any(hidden for *_, hidden in found)
    ends = {path.rsplit("/")[-1] for path in points["image"]}
    # Predictions are no labels; a frame without an animal is one.
    assert ends == {
        *("day1-cam-frame-0000007.png", "day1-cam-frame-0000030.png", "old.one-img012.png")
    }
    assert list_found(points, "frame-0000030.png") == []
    tasks = json.loads((folder / "tasks.json").read_text())
    predicted = [task["predictions"] for task in tasks if task["predictions"]]
    assert len(predicted) == 1
    assert predicted[0][0]["model_version"] == "pose-1"


@several
def test_a_sleap_package_holds_frames_labels_predictions_and_suggestions(tmp_path, several):
    folder, project = write(tmp_path, "sleap", several=several)
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "project.pkg.slp"]
    path = folder / "project.pkg.slp"
    images = tmp_path / "images"
    source = read_sleap(path, images)
    points = source.points
    if not several:
        points = points.assign(individual=points["individual"].replace("individual1", "animal"))
    assert source.skeleton.bodyparts == BODYPARTS
    assert source.skeleton.edges == project.skeleton.edges
    # A track of unique bodyparts is no name.
    expected = list_expected(project.frames[1].labels, hidden=False)
    if several:
        expected = sorted(
            ("individual3" if one[0] == "single" else one[0], *one[1:]) for one in expected
        )
    for end in ("day1-cam/frame-0000007.png", "old/frame-0000000.png"):
        assert_same(list_found(points, end), expected)
    assert list_found(points, "day1-cam/frame-0000030.png") == []
    assert not any("day2" in image for image in points["image"])
    written = read_image(images / "day1-cam" / "frame-0000007.png")
    np.testing.assert_array_equal(written, read_image(project.frames[1].file))
    with_predictions = read_sleap(path, tmp_path / "more", predicted=True).points
    found = list_found(with_predictions, "day2-cam/frame-0000007.png")
    assert [one[1:4] for one in found if one[1] == "Schwanz"] == [("Schwanz", 9.0, 9.0)]


def test_a_linked_sleap_project_names_the_videos_and_keeps_images_of_none(tmp_path):
    folder, _ = write(tmp_path, "sleap", linked=True)
    labels = sleap_io.load_slp(str(folder / "project.slp"), open_videos=False)
    names = [video.filename for video in labels.videos]
    assert names[:2] == [str(tmp_path / "day1/cam.mp4"), str(tmp_path / "day2/cam.mp4")]
    assert names[2] == [str(folder / "images/old.one/img012.png")]
    assert sorted(
        str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()
    ) == [*(MANIFEST, "images/old.one/img012.png", "project.slp")]
    suggested = [(one.video.filename, one.frame_idx) for one in labels.suggestions]
    # In the project's order: the worst first.
    assert suggested == [(names[1], 7), (names[0], 31)]


@pytest.mark.parametrize("name", FORMATS)
def test_the_record_says_where_corrections_go(tmp_path, name):
    folder, _ = write(tmp_path, name, several=True)
    manifest = read_manifest(folder / MANIFEST)
    assert manifest.format == name
    assert [(one.video, one.frame, one.image) for one in manifest.frames] == [
        *(("day2-cam", 7, ""), ("day1-cam", 7, ""), ("day1-cam", 30, ""), ("day1-cam", 31, "")),
        ("old.one", 12, "mine/old.one/img012.png"),
    ]
    assert [one.predicted is None for one in manifest.frames] == [False, True, True, False, True]
    assert manifest.frames[0].predicted[1].points == {"nose": (40.5, 6.5)}
    if name != "sleap":
        assert all((folder / one.file).is_file() for one in manifest.frames)
    assert (folder / find_format(name).labels).exists()


@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_that_is_there_is_left_alone(tmp_path, name):
    (tmp_path / "project").mkdir()
    with pytest.raises(FileExistsError):
        write(tmp_path, name)
    assert list((tmp_path / "project").iterdir()) == []


def test_a_format_that_nobody_knows():
    with pytest.raises(ValueError, match="no format of projects; there are deeplabcut, sleap"):
        find_format("cvat")
    assert all(load_reader(name) for name in FORMATS)
