"""Test that Label Studio's tasks are read as people made them, and that nothing else is guessed."""

import json
import logging

import pytest
import yaml

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.io.labels.detect import detect_format
from pipeline_lib.io.labels.label_studio.read import find_file_name, read_label_studio
from pipeline_lib.io.labels.table import read_labels
from pipeline_lib.steps.import_labels.run import run_import_labels
from pipeline_lib.steps.init.run import init_project
from tests.io.labels.studio_examples import (
    HEIGHT,
    WIDTH,
    hide,
    make_box,
    make_point,
    make_task,
    relate,
    write_image,
    write_one,
    write_tasks,
)


def read(path):
    """Return the labelled points: individual, bodypart, x, y and hidden."""
    points = read_label_studio(path).points
    rows = points[points["visible"]]
    columns = [rows[name] for name in ("individual", "bodypart", "x", "y", "hidden")]
    return sorted(zip(*columns, strict=True))


def test_percentages_count_from_the_corner_of_the_image(tmp_path):
    # The centre of the first pixel and that of the last one.
    path = write_one(
        tmp_path, make_point("a", "nose", 0.5, 0.5), make_point("b", "tail", WIDTH - 0.5, 47.5)
    )
    assert read(path) == [
        ("individual1", "nose", 0.0, 0.0, False),
        ("individual1", "tail", WIDTH - 1.0, HEIGHT - 1.0, False),
    ]
    points = read_label_studio(path).points
    assert points[["video", "frame"]].drop_duplicates().to_numpy().tolist() == [["cam", 5]]


def two_animals():
    return [
        make_box("m1", "Mickey"),
        make_box("m2", "Minnie"),
        make_point("a", "nose", 10, 10),
        make_point("b", "nose", 20, 20),
        make_point("c", "tail", 30, 30),
    ]


TOLD = [("Mickey", "nose", 9.5), ("Minnie", "nose", 19.5), ("Minnie", "tail", 29.5)]


def test_relations_and_regions_tell_animals_apart(tmp_path):
    either_way = [relate("a", "m1"), relate("m2", "b"), relate("c", "m2")]
    found = read(write_one(tmp_path, *two_animals(), *either_way))
    assert [one[:3] for one in found] == TOLD
    # By a chain, and by the parent that Label Studio writes of regions in a region.
    chained = [relate("a", "m1"), relate("b", "c"), relate("c", "m2")]
    assert [one[:3] for one in read(write_one(tmp_path, *two_animals(), *chained))] == TOLD
    parents = [
        one | ({"parentID": {"a": "m1"}.get(one["id"], "m2")} if "kp" in str(one) else {})
        for one in two_animals()
    ]
    assert [one[:3] for one in read(write_one(tmp_path, *parents))] == TOLD


def test_keypoints_related_to_each_other_are_animals_without_names(tmp_path):
    points = [make_point("a", "nose", 1, 1), make_point("b", "tail", 2, 2)]
    others = [make_point("c", "nose", 3, 3), make_point("d", "tail", 4, 4)]
    found = read(write_one(tmp_path, *points, *others, relate("a", "b"), relate("d", "c")))
    assert [one[:2] for one in found] == [
        ("individual1", "nose"),
        ("individual1", "tail"),
        ("individual2", "nose"),
        ("individual2", "tail"),
    ]
    assert not read_label_studio(tmp_path / "project-1-at-2026.json").points["named"].any()


def test_notes_on_keypoints_name_animals(tmp_path):
    noted = [
        make_point("a", "nose", 10, 10, meta={"text": ["Mickey"]}),
        make_point("b", "nose", 20, 20, meta={"text": "Minnie"}),
        make_point("c", "tail", 30, 30, meta={"text": ["Minnie"]}),
    ]
    assert [one[:3] for one in read(write_one(tmp_path, *noted))] == TOLD
    # What else may stand there is no name.
    for meta in ({"text": ["a", "b"]}, {"text": 3}, {"text": [" "]}, [], "x", {"text": [3]}):
        (point,) = read(write_one(tmp_path, make_point("a", "nose", 3, 3, meta=meta)))
        assert point[0] == "individual1"
    with pytest.raises(LabelError, match="another character that is not seen"):
        read(write_one(tmp_path, make_point("a", "nose", 3, 3, meta={"text": ["a\tb"]})))


def test_hidden_keypoints_and_unique_bodyparts(tmp_path):
    path = write_one(
        tmp_path,
        *(make_box("m", "Mickey"), make_box("s", "single")),
        *(make_point("a", "nose", 3, 4), make_point("b", "corner", 60, 40)),
        *(relate("a", "m"), relate("b", "s"), hide("a")),
    )
    assert read(path) == [
        ("Mickey", "nose", 2.5, 3.5, True),
        ("single", "corner", 59.5, 39.5, False),
    ]
    assert read_label_studio(path).skeleton.unique_bodyparts == ("corner",)


def test_the_newest_annotation_of_a_task_counts(tmp_path, caplog):
    path = write_one(tmp_path, make_point("a", "nose", 3, 3), updated_at="2026-02-01T00:00:00Z")
    tasks = json.loads(path.read_text())
    older = make_task("", make_point("a", "nose", 9, 9), updated_at="2025-02-01T00:00:00.5Z")
    skipped = make_task("", make_point("a", "nose", 8, 8), was_cancelled=True)
    tasks[0]["annotations"] += older["annotations"] + skipped["annotations"]
    path.write_text(json.dumps(tasks))
    assert read(path) == [("individual1", "nose", 2.5, 2.5, False)]
    assert "1 tasks have several annotations" in caplog.text


def test_an_annotation_without_a_keypoint_says_that_there_is_no_animal(tmp_path):
    write_image(tmp_path / "images/cam/img6.png")
    path = write_one(tmp_path, make_point("a", "nose", 3, 3))
    tasks = json.loads(path.read_text())
    tasks.append(make_task("images/cam/img6.png", number=2))
    # One that nobody has annotated.
    tasks.append({"id": 3, "data": {"image": "images/cam/img7.png"}, "annotations": []})
    path.write_text(json.dumps(tasks))
    points = read_label_studio(path).points
    labelled = points.groupby("frame")["visible"].sum().to_dict()
    assert labelled == {5: 1, 6: 0}


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("images/a b.png", "images/a b.png"),
        ("/data/local-files/?d=root/images/a%20b.png", "root/images/a b.png"),
        ("/data/upload/12/0a1b2c3d-img005.png", "img005.png"),
        ("http://localhost:8080/data/upload/12/0a1b2c3d-img005.png", "img005.png"),
        ("s3://bucket/images/img005.png", "/images/img005.png"),
        ("/data/upload/12/deadbeef-", "deadbeef-"),
    ],
)
def test_the_paths_that_label_studio_writes(image, name):
    assert find_file_name(image) == name


def test_other_results_are_left_out_and_said(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    outline = {"id": "o", "type": "polygonlabels", "value": {"points": [[1, 1]]}}
    brush = {"id": "p", "type": "brushlabels", "value": {"format": "rle", "rle": [1, 2]}}
    path = write_one(tmp_path, outline, brush, brush, make_point("a", "nose", 3, 3))
    assert len(read(path)) == 1
    assert "1 results of type polygonlabels are left out" in caplog.text
    assert "2 results of type brushlabels are left out" in caplog.text


WRONG = {
    "rotated": (make_point("a", "nose", 3, 3, image_rotation=90), "was rotated by 90 degrees"),
    "rotated by text": (make_point("a", "nose", 3, 3, image_rotation="x"), "rotated by x"),
    "no size": (make_point("a", "nose", 3, 3, original_width=None), "`original_width` is None"),
    "no image has it": (make_point("a", "nose", 3, 3, original_height=0), "`original_height` is 0"),
    "absurd size": (make_point("a", "nose", 3, 3, original_width=1e300), "`original_width` is 1e"),
    "half a pixel": (make_point("a", "nose", 3, 3, original_width=3.5), "`original_width` is 3.5"),
    "another size": (make_point("a", "nose", 3, 3, original_width=640), "it is another image"),
    "absurd": (make_point("a", "nose", 3, 3, value={"x": 1e9}), "expected percent of the image"),
    "no number": (make_point("a", "nose", 3, 3, value={"y": "12"}), "y is 12, expected percent"),
    "true": (make_point("a", "nose", 3, 3, value={"y": True}), "y is True, expected percent"),
    "outside": (make_point("a", "nose", WIDTH + 20, 3), "is outside its image of 64 x 48 px"),
    "no label": (make_point("a", "nose", 3, 3, value={"keypointlabels": []}), "found 0"),
    "two labels": (make_point("a", "n", 3, 3, value={"keypointlabels": ["n", "m"]}), "found 2"),
    "control": (make_point("a", "no\nse", 3, 3), "another character that is not seen"),
    "path": (make_point("a", "../nose", 3, 3), "is a path to another folder"),
}


@pytest.mark.parametrize("name", WRONG)
def test_results_that_cannot_be_mapped_are_refused(tmp_path, name):
    result, problem = WRONG[name]
    with pytest.raises(LabelError, match=problem):
        read_label_studio(write_one(tmp_path, result))


def test_numbers_that_are_none(tmp_path):
    path = write_one(tmp_path, make_point("a", "nose", 3, 3))
    for text in ("NaN", "Infinity", "1e999"):
        damaged = path.read_text().replace('"y": 6.25', f'"y": {text}')
        other = tmp_path / "other.json"
        other.write_text(damaged)
        with pytest.raises(LabelError, match="expected percent of the image"):
            read_label_studio(other)


def test_bodyparts_twice_and_animals_twice(tmp_path):
    twice = [make_point("a", "nose", 3, 3), make_point("b", "nose", 4, 4)]
    with pytest.raises(LabelError, match="nose: 2 keypoints, expected one; give each animal"):
        read_label_studio(write_one(tmp_path, *twice))
    boxes = [make_box("m", "Mickey"), make_box("n", "Mickey"), relate("a", "m"), relate("b", "n")]
    with pytest.raises(LabelError, match="Mickey: 2 individuals of this name"):
        read_label_studio(write_one(tmp_path, *twice, *boxes))
    both = [make_box("m", "Mickey"), make_box("n", "Minnie"), relate("a", "m"), relate("a", "n")]
    with pytest.raises(LabelError, match="Mickey and Minnie: keypoints are related to several"):
        read_label_studio(write_one(tmp_path, *twice, *both))
    with pytest.raises(LabelError, match="result a stands twice"):
        read_label_studio(write_one(tmp_path, twice[0], twice[0] | {"from_name": "x"}))


def test_one_image_in_two_tasks(tmp_path):
    path = write_one(tmp_path, make_point("a", "nose", 3, 3))
    tasks = json.loads(path.read_text())
    tasks.append(make_task("images//cam/img5.png", make_point("a", "nose", 9, 9), number=2))
    path.write_text(json.dumps(tasks))
    with pytest.raises(LabelError, match=r"are one image, .*: keep one task"):
        read_label_studio(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "no task has an annotation"),
        ("[1]", "expected Label Studio's list of tasks"),
        ('[{"image": "a.png", "keypoints": []}]', "not as JSON-MIN"),
        ('[{"data": {}}]', "its `data` has no `image`, but nothing"),
        ('[{"data": {"video": "a.mp4"}}]', "its `data` has no `image`, but video"),
        ('[{"data": {"image": "a.png"}, "annotations": 3}]', "its `annotations` are no list"),
        ('[{"data": {"image": "a.png"}, "annotations": [3]}]', "an annotation is no object"),
        ('[{"data": {"image": "a.png"}, "annotations": [{}]}]', "is no list of objects"),
        ('[{"data": {"image": "a.png"}, "annotations": [{"result": [3]}]}]', "no list of objects"),
        ("[{", "is not JSON"),
        ("[" * 100_000, "nested too deeply|is not JSON"),
    ],
)
def test_files_that_are_none(tmp_path, text, problem):
    path = tmp_path / "x.json"
    path.write_text(text)
    assert detect_format(path) == "label-studio"
    with pytest.raises(LabelError, match=problem):
        read_label_studio(path)


HOSTILE = ["../../secret.png", "/data/local-files/?d=../secret.png", "a/../../secret.png", "\0.png"]


@pytest.mark.parametrize("image", [*HOSTILE, "", "x" * 5000, "/etc/hostname", "images"])
def test_nothing_outside_the_folder_is_opened(tmp_path, image):
    write_image(tmp_path / "secret.png")
    folder = tmp_path / "project"
    folder.mkdir()
    path = write_tasks(folder, make_task(image, make_point("a", "nose", 3, 3)))
    with pytest.raises(LabelError, match=r"leads out|no such image|no name of an image"):
        read_label_studio(path)


def test_import_and_init(tmp_path):
    path = write_one(
        tmp_path,
        *two_animals(),
        *(relate("a", "m1"), relate("b", "m2"), relate("c", "m2"), hide("c")),
    )
    (tmp_path / "cam.mp4").touch()
    init_project(path, tmp_path / "run")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["labels"] == [{"path": f"../{path.name}", "format": "label-studio"}]
    assert config["individuals"] == {"max": 2}
    assert config["skeleton"] == {"bodyparts": ["nose", "tail"]}
    settings = {"labels": [{"path": str(path)}], "individuals": {"max": 2}}
    settings["assembly"] = {"graph": "complete"}
    results = Results(tmp_path / "results")
    run_import_labels(parse_config({"cohort": "c.tsv", **settings}), results)
    found = read_labels(results.labels)
    assert found.individuals == ("Mickey", "Minnie")
    rows = found.table.set_index(["individual", "bodypart"])
    assert rows.loc[("Minnie", "tail"), ["x", "y", "visibility"]].tolist() == [29.5, 29.5, "hidden"]
    assert rows.loc[("Mickey", "nose"), "visibility"] == "visible"
    assert not rows.loc[("Mickey", "tail"), "visible"]
