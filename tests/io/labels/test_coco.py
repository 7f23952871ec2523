"""Test labels of COCO keypoints: points, flags, categories, crowds, images, and what is refused."""

import json
import logging
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.io.labels.coco.file import PIXEL_OFFSET
from pipeline_lib.io.labels.coco.read import read_coco
from pipeline_lib.io.labels.detect import detect_format, label_inputs
from pipeline_lib.io.labels.table import read_labels
from pipeline_lib.steps.import_labels.run import run_import_labels
from tests.io.labels.coco_examples import (
    HEIGHT,
    MOUSE,
    POINTS,
    WIDTH,
    make_animal,
    make_image,
    write_coco,
    write_cvat,
    write_image,
    write_one,
)

NAN = np.nan


def problems_of(path):
    with pytest.raises(LabelError) as caught:
        read_coco(path)
    assert caught.value.where == str(path)
    return caught.value.problems


def list_points(points):
    return [[x, y] for x, y in points[["x", "y"]].to_numpy().tolist()]


def test_a_file_of_cvat(tmp_path):
    path = write_cvat(tmp_path / "task")
    for named in (path, tmp_path / "task"):
        assert detect_format(named) == "coco"
        config = parse_config({"cohort": "c", "labels": [{"path": str(named)}]})
        assert label_inputs(config) == [path]
    found = read_coco(path)
    points = found.points
    assert found.skeleton.bodyparts == ("nose", "ear", "tail")
    assert found.skeleton.edges == (("nose", "ear"), ("ear", "tail"))
    assert found.skeleton.symmetries == ()
    assert not found.identified
    assert not points["named"].any()
    # Images 2 and 4 have no annotation.
    assert points["frame"].tolist() == [0] * 6 + [2] * 3
    assert set(points["video"]) == {"default"}
    assert (
        points["individual"].tolist()
        == ["individual1"] * 3 + ["individual2"] * 3 + ["individual1"] * 3
    )
    np.testing.assert_allclose(
        points[["x", "y"]],
        [
            [10, 20],
            [NAN, NAN],
            [29.75, 4.5],
            # The centres of the first and the last pixel.
            [0, 0],
            [63, 47],
            [11.84, 5.17],
            [11, 21],
            [NAN, NAN],
            [30.75, 5.5],
        ],
        atol=1e-9,
    )
    # Hidden ones are labelled.
    assert points["visible"].tolist() == [True, False, True, True, True, True, True, False, True]
    images = tmp_path / "task" / "images" / "default"
    assert set(points["image"]) == {str(images / f"frame_00000{n}.PNG") for n in (0, 2)}


@pytest.mark.parametrize("most", [1, 2])
def test_labels_of_cvat_are_imported(tmp_path, most, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cvat(tmp_path / "task")
    config = parse_config(
        {"cohort": "c", "labels": [{"path": "task"}], "individuals": {"max": most}}
    )
    results = Results(tmp_path / "results")
    if most == 1:
        with pytest.raises(
            LabelError, match=r"2 individuals are labelled .*`individuals.max` is 1"
        ):
            run_import_labels(config, results)
        return
    run_import_labels(config, results)
    labels = read_labels(results.labels)
    assert labels.individuals == ("individual1", "individual2")
    assert labels.bodyparts == ("nose", "ear", "tail")
    assert labels.table["visible"].sum() == 7


def test_images_of_one_animal_each_are_one_animal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = [make_image(n, write_image(tmp_path / f"v/img{n}.png").name) for n in (1, 2)]
    path = write_coco(tmp_path / "v/x.json", images, [make_animal(n, n) for n in (1, 2)])
    config = parse_config({"cohort": "c", "labels": [{"path": str(path)}]})
    run_import_labels(config, Results(tmp_path / "results"))
    table = read_labels(Results(tmp_path / "results").labels).table
    assert set(table["individual"]) == {"animal"}
    assert table["visible"].sum() == 4
    assert set(table["video"]) == {"v"}


def test_pixel_convention():
    assert PIXEL_OFFSET == -0.5


def test_categories_with_the_same_keypoints_are_one(tmp_path):
    rat = {
        "id": 7,
        "name": "rat",
        "keypoints": ["tail", "nose", "ear"],
        "skeleton": [[2, 3], [1, 2]],
    }
    box = {"id": 3, "name": "cage"}
    path = write_one(
        tmp_path,
        make_animal(1),
        make_animal(2, category_id=7),
        {"id": 3, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]},
        categories=(MOUSE, box, rat),
    )
    found = read_coco(path)
    assert found.skeleton.bodyparts == ("nose", "ear", "tail")
    # `nose, ear` is in both.
    assert found.skeleton.edges == (("nose", "ear"), ("ear", "tail"), ("tail", "nose"))
    assert found.points["bodypart"].tolist() == ["nose", "ear", "tail"] * 2
    np.testing.assert_array_equal(
        found.points[["x", "y"]],
        [[10, 20], [NAN, NAN], [29.75, 4.5], [NAN, NAN], [29.75, 4.5], [10, 20]],
    )


def test_categories_with_other_keypoints_are_named(tmp_path):
    fly = {"id": 2, "name": "fly", "keypoints": ["nose", "wing", "tail"]}
    annotations = [make_animal(1), make_animal(2, category_id=2)]
    (problem,) = problems_of(write_one(tmp_path, *annotations, categories=(MOUSE, fly)))
    assert "(mouse: nose, ear, tail; fly: nose, wing, tail)" in problem
    assert "one category to a file of their own" in problem
    # A category that nothing is labelled with does not count.
    annotations[1]["iscrowd"] = 1
    found = read_coco(write_one(tmp_path, *annotations, categories=(MOUSE, fly)))
    assert found.skeleton.bodyparts == ("nose", "ear", "tail")


def test_unknown_categories_are_named_each_once(tmp_path):
    annotations = [
        make_animal(n, category_id=c) for n, c in enumerate((1, 9, 9, 4, None, [1], 1.5), 1)
    ]
    problems = problems_of(write_one(tmp_path, *annotations))
    assert problems == (
        "category 9 of annotation 2, annotation 3 is not among `categories`, which has 1 (mouse)",
        "category 4 of annotation 4 is not among `categories`, which has 1 (mouse)",
        "category None of annotation 5 is not among `categories`, which has 1 (mouse)",
        "category [1] of annotation 6 is not among `categories`, which has 1 (mouse)",
        "category 1.5 of annotation 7 is not among `categories`, which has 1 (mouse)",
    )


def test_crowds_are_left_out_with_a_word(tmp_path, caplog):
    crowd = make_animal(2, iscrowd=1, keypoints=[], segmentation={"counts": [1], "size": [1, 1]})
    images = [make_image(n, write_image(tmp_path / f"img{n}.png").name) for n in (1, 2)]
    path = write_coco(
        tmp_path / "x.json", images, [make_animal(1), crowd, {**crowd, "id": 3, "image_id": 2}]
    )
    with caplog.at_level(logging.INFO):
        points = read_coco(path).points
    # The image of a crowd alone is not one without animals.
    assert set(points["frame"]) == {1}
    assert len(points) == 3
    assert "2 crowds (`iscrowd: 1`) are left out" in caplog.text
    assert "1 images without a labelled keypoint are left out" in caplog.text


def test_annotations_without_a_keypoint_are_left_out(tmp_path, caplog):
    nothing = [0, 0, 0] * 3
    rest = {"id": 3, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    path = write_one(tmp_path, make_animal(1), make_animal(2, keypoints=nothing), rest)
    with caplog.at_level(logging.INFO):
        assert len(read_coco(path).points) == 3
    assert "2 annotations without a labelled keypoint are left out" in caplog.text
    path = write_one(tmp_path, make_animal(2, keypoints=nothing), rest)
    assert problems_of(path) == ("no annotation has a labelled keypoint (visibility 1 or 2)",)


@pytest.mark.parametrize(("crowd", "animals"), [(None, 2), (False, 2), (0.0, 2), (True, 1)])
def test_iscrowd_may_be_a_truth_value(tmp_path, crowd, animals):
    path = write_one(tmp_path, make_animal(1), make_animal(2, iscrowd=crowd))
    assert len(read_coco(path).points) == 3 * animals


@pytest.mark.parametrize("empty", [[0, 0], [None, None], [NAN, NAN], [-1, -1]])
def test_the_position_of_an_unlabelled_keypoint_is_ignored(tmp_path, empty):
    points = [*POINTS[:3], *empty, 0, *POINTS[6:]]
    found = read_coco(write_one(tmp_path, make_animal(1, keypoints=points))).points
    assert found["visible"].tolist() == [True, False, True]
    assert np.isnan(found["x"][1])


@pytest.mark.parametrize(
    ("skeleton", "edges"),
    [
        ([[3, 1]], (("tail", "nose"),)),
        ([[1, 2], [2, 1], [2, 2]], (("nose", "ear"),)),
        ([[1.0, 2.0]], (("nose", "ear"),)),
        (None, ()),
        ("1-2", ()),
        # Counted from 0: each of them would be another edge.
        ([[1, 2], [0, 1]], ()),
        ([[1, 4]], ()),
        ([[1, 2, 3]], ()),
        ([["nose", "ear"]], ()),
        ([[True, 2]], ()),
        ([1, 2], ()),
    ],
)
def test_edges_count_from_one(tmp_path, caplog, skeleton, edges):
    path = write_one(tmp_path, make_animal(1), categories=[{**MOUSE, "skeleton": skeleton}])
    assert read_coco(path).skeleton.edges == edges
    assert ("no edge of it is taken" in caplog.text) == (isinstance(skeleton, list) and not edges)


BAD_POINTS = {
    "too short": ([1, 2, 2], "3 numbers in `keypoints`, expected 9"),
    "too long": ([*POINTS, 1, 2, 2], "12 numbers in `keypoints`, expected 9"),
    "no list": ("10,20,2", "no numbers in `keypoints`, expected 9"),
    "an object": ({"nose": [1, 2]}, "no numbers in `keypoints`, expected 9"),
    "NaN": ([NAN, *POINTS[1:]], "nose: x nan, y 20.5, expected finite numbers"),
    "infinite": ([10, -np.inf, *POINTS[2:]], "nose: x 10, y -inf, expected finite numbers"),
    "huge": ([10**400, *POINTS[1:]], "expected finite numbers"),
    "text": (["10", *POINTS[1:]], "nose: x 10, y 20.5, expected finite numbers"),
    "null": ([None, *POINTS[1:]], "nose: x None, y 20.5, expected finite numbers"),
    "truth": ([True, *POINTS[1:]], "nose: x True, y 20.5, expected finite numbers"),
    "nested": ([[1], *POINTS[1:]], r"nose: x \[1\], y 20.5, expected finite numbers"),
    "text unlabelled": ([*POINTS[:3], "x", 0, 0, *POINTS[6:]], "ear: x x, y 0, expected finite"),
    "a score": ([10, 20, 0.93, *POINTS[3:]], "nose: visibility 0.93, expected 0, 1 or 2"),
    "flag 3": ([10, 20, 3, *POINTS[3:]], "nose: visibility 3, expected 0, 1 or 2"),
    "flag -1": ([10, 20, -1, *POINTS[3:]], "nose: visibility -1, expected 0, 1 or 2"),
    "flag NaN": ([10, 20, NAN, *POINTS[3:]], "nose: visibility nan, expected 0, 1 or 2"),
    "flag text": ([10, 20, "2", *POINTS[3:]], "nose: visibility 2, expected 0, 1 or 2"),
    "flag truth": ([10, 20, True, *POINTS[3:]], "nose: visibility True, expected 0, 1 or 2"),
    "flag null": ([10, 20, None, *POINTS[3:]], "nose: visibility None, expected 0, 1 or 2"),
    "outside": ([66, *POINTS[1:]], "nose: x 65.5, y 20 is outside its image of 64 x 48 px"),
}


@pytest.mark.parametrize("case", BAD_POINTS)
def test_points_that_cannot_be_used(tmp_path, case):
    keypoints, message = BAD_POINTS[case]
    path = write_one(tmp_path, make_animal(1), {**make_animal(31), "keypoints": keypoints})
    with pytest.raises(LabelError, match=message) as caught:
        read_coco(path)
    (problem,) = caught.value.problems
    assert "img5.png" in problem if case == "outside" else "annotation 31" in problem


def test_all_bad_annotations_are_said_at_once(tmp_path):
    problems = problems_of(
        write_one(
            tmp_path,
            make_animal(1),
            make_animal(1),
            make_animal(2, image=5),
            make_animal(3, image=None),
            make_animal(4, image=[1]),
            make_animal(5, iscrowd=2),
            make_animal(6, iscrowd="no"),
            make_animal(7, keypoints=[1]),
            "text",
            {},
        )
    )
    assert [problem.split(",")[0] for problem in problems] == [
        "annotation 1 stands twice",
        "annotation 2: its image 5 is not among `images`",
        "annotation 3: its image None is not among `images`",
        "annotation 4: its image [1] is not among `images`",
        "annotation 5: `iscrowd` is 2",
        "annotation 6: `iscrowd` is no",
        "annotation 7: 1 numbers in `keypoints`",
        "entry 8 of `annotations` is no object",
        "entry 9 of `annotations`: its image none is not among `images`",
    ]


def test_bad_images_and_categories(tmp_path):
    write_image(tmp_path / "a.png")
    images = [make_image(1, "a.png"), make_image(1, "b.png"), {"id": 2}, make_image(None, "c.png")]
    categories = [
        MOUSE,
        MOUSE,
        {"name": "x"},
        {"id": 4, "name": "y", "keypoints": ["a", "a", "b\tc", "\ud800"]},
        {"id": 5, "name": "z", "keypoints": "abc"},
    ]
    problems = problems_of(
        write_coco(tmp_path / "x.json", images, [make_animal(1)], categories=categories)
    )
    unseen = "holds a tab, a line end or another character that is not seen"
    assert problems == (
        "category 1 stands twice",
        "entry 2 of `categories` has no `id`",
        "category y: keypoint a stands twice",
        f"category y: keypoint 'b\\tc': its name {unseen}",
        f"category y: keypoint '\\ud800': its name {unseen}",
        "category z: `keypoints` is no list of names",
        "image 1 stands twice",
        "entry 2 of `images` has no `id` or no `file_name`",
        "entry 3 of `images` has no `id` or no `file_name`",
    )


@pytest.mark.parametrize("ids", [(1, 2), ("a", "b"), (1.0, 2.0), (0, -5)])
def test_ids_are_numbers_or_texts(tmp_path, ids):
    images = [make_image(one, write_image(tmp_path / f"{n}.png").name) for n, one in enumerate(ids)]
    animals = [make_animal(n, image=one, category_id=ids[0]) for n, one in enumerate(ids)]
    path = write_coco(tmp_path / "x.json", images, animals, [{**MOUSE, "id": ids[0]}])
    assert read_coco(path).points["frame"].tolist() == [0] * 3 + [1] * 3


NO_COCO = {
    "empty": ("", "is not JSON"),
    "cut": ('{"images": [', "is not JSON \\(line 1, column 13"),
    "list": ("[]", "holds a list, as files of results do"),
    "number": ("3", "no list `images`"),
    "other": ('{"images": {}, "categories": []}', "no list `images`"),
    "no annotations": ('{"images": [], "categories": []}', "no list `annotations`"),
    "long number": ('{"images": [' + "9" * 5000 + "]}", "is not JSON"),
}


@pytest.mark.parametrize("case", NO_COCO)
def test_files_that_are_no_coco(tmp_path, case):
    text, message = NO_COCO[case]
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(LabelError, match=message):
        read_coco(tmp_path / "x.json")


def test_a_file_of_an_encoding(tmp_path):
    path = write_one(tmp_path, make_animal(1))
    text = path.read_text()
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        path.write_text(text, encoding=encoding)
        assert len(read_coco(path).points) == 3
    path.write_bytes(text.replace("mouse", "Mäuse").encode("latin-1"))
    assert "is not UTF-8 text" in problems_of(path)[0]


def test_a_file_that_is_not_there(tmp_path):
    assert problems_of(tmp_path / "x.json") == ("no such file",)


# Where images may lie, by the JSON's place: name in the file, and the image.
PLACES = [
    ("x.json", "img3.png", "img3.png", "data"),
    ("x.json", "img3.png", "images/img3.png", "data"),
    ("x.json", "images/img3.png", "images/img3.png", "data"),
    ("x.json", "cam1/img3.png", "cam1/img3.png", "cam1"),
    ("x.json", "cam1/img3.png", "images/cam1/img3.png", "cam1"),
    ("x.json", "./cam1//img3.png", "images/cam1/img3.png", "cam1"),
    ("x.json", "cam1\\img3.png", "images/cam1/img3.png", "cam1"),
    ("x.json", "/home/ann/cam1/img3.png", "images/cam1/img3.png", "cam1"),
    ("x.json", "C:\\ann\\cam1\\img3.png", "cam1/img3.png", "cam1"),
    ("x.json", "http://host/cam1/img3.png", "cam1/img3.png", "cam1"),
    # The folder is gone.
    ("x.json", "cam1/img3.png", "images/img3.png", "data"),
    # The folder is not in the name.
    ("x.json", "img3.png", "images/train/img3.png", "train"),
    ("x.json", "train/img3.png", "deep/train/img3.png", "train"),
    ("annotations/x.json", "img3.png", "train2017/img3.png", "train2017"),
    ("annotations/x.json", "img3.png", "images/img3.png", "data"),
    ("annotations/x.json", "img3.png", "annotations/img3.png", "data"),
    ("annotations/x.json", "cam1/img3.png", "cam1/img3.png", "cam1"),
]


@pytest.mark.parametrize("case", PLACES, ids="-".join)
def test_where_images_are(tmp_path, monkeypatch, case):
    file, name, place, video = case
    image = write_image(tmp_path / "data" / place)
    path = write_coco(tmp_path / "data" / file, [make_image(1, name)], [make_animal(1)])
    points = read_coco(path).points
    assert set(points["image"]) == {str(image)}
    assert set(points["video"]) == {video}
    assert set(points["frame"]) == {3}
    monkeypatch.chdir(path.parent)
    assert set(read_coco(Path(path.name)).points["image"]) == {str(image)}


def test_missing_images_are_all_listed_in_one_error(tmp_path):
    names = [f"cam/img{n}.png" for n in range(30)]
    write_image(tmp_path / names[0])
    images = [make_image(n, name) for n, name in enumerate(names)]
    # That of an image without annotations is not missed.
    path = write_coco(tmp_path / "x.json", images, [make_animal(n, n) for n in range(29)])
    assert problems_of(path) == tuple(
        f"{name}: no such image (expected at {tmp_path / 'images' / name})" for name in names[1:29]
    )


def test_ambiguous_images_are_errors(tmp_path):
    for place in ("a/img1.png", "images/b/img1.png", "img2.png", "images/img2.png"):
        write_image(tmp_path / place)
    images = [make_image(n, f"img{n}.png") for n in (1, 2)]
    path = write_coco(tmp_path / "x.json", images, [make_animal(n, n) for n in (1, 2)])
    assert problems_of(path) == (
        "img1.png: fits several images, a/img1.png and images/b/img1.png: name it by its folder",
        "img2.png: fits several images, images/img2.png and img2.png: name it by its folder",
    )


def test_no_image_is_taken_for_two_names(tmp_path):
    write_image(tmp_path / "images" / "img1.png")
    # Also where the other one is not labelled.
    images = [make_image(1, "day1/img1.png"), make_image(2, "day2/img1.png")]
    path = write_coco(tmp_path / "x.json", images, [make_animal(1)])
    assert problems_of(path) == (
        "day1/img1.png: images/img1.png fits several names of the file: keep the images' folders",
    )
    # Nor is one of another folder taken.
    write_image(tmp_path / "images" / "day2" / "img1.png")
    (tmp_path / "images" / "img1.png").unlink()
    (problem,) = problems_of(path)
    assert problem.startswith("day1/img1.png: no such image")


def test_an_image_that_stands_twice(tmp_path):
    image = write_image(tmp_path / "images" / "img1.png")
    images = [make_image(1, "img1.png"), make_image(2, "images/img1.png")]
    path = write_coco(tmp_path / "x.json", images, [make_animal(n, n) for n in (1, 2)])
    assert problems_of(path) == (
        f"img1.png and images/img1.png are one image, {image}: keep one entry of `images`",
    )


def test_folders_of_one_name_are_two_videos(tmp_path):
    names = ["day1/cam/img1.png", "day2/cam/img1.png", "top/img1.png"]
    for name in names:
        write_image(tmp_path / "images" / name)
    images = [make_image(n, name) for n, name in enumerate(names)]
    path = write_coco(tmp_path / "x.json", images, [make_animal(n, n) for n in range(3)])
    assert read_coco(path).points["video"].tolist()[::3] == ["day1-cam", "day2-cam", "top"]


def test_images_of_another_size(tmp_path):
    path = write_one(tmp_path, make_animal(1))
    write_image(tmp_path / "img5.png", (WIDTH * 2, HEIGHT * 2))
    (problem,) = problems_of(path)
    assert "has 128 x 96 px, but was labelled with 64 x 48 px" in problem
    image = make_image(1, "img5.png") | {"width": 0, "height": 0}
    # Unknown.
    assert len(read_coco(write_coco(path, [image], [make_animal(1)])).points) == 3


def test_labels_on_the_stored_image_are_refused(tmp_path):
    path = write_one(tmp_path, make_animal(1), name="img5.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "img5.jpg", exif=exif)
    (problem,) = problems_of(path)
    assert "EXIF orientation (6) turns it to 48 x 64 px" in problem


def test_a_damaged_image(tmp_path):
    path = write_one(tmp_path, make_animal(1))
    (tmp_path / "img5.png").write_bytes(b"none")
    (problem,) = problems_of(path)
    assert "expected an image" in problem


@st.composite
def any_labels(draw):
    names = draw(
        st.lists(
            st.text("abcäé鼻 _-", min_size=1, max_size=6).filter(str.strip),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    # The image covers 0 .. width.
    point = st.tuples(
        st.floats(0, WIDTH, width=32), st.floats(0, HEIGHT, width=32), st.sampled_from([0, 1, 2])
    )
    animal = st.lists(point, min_size=len(names), max_size=len(names))
    return names, draw(st.lists(st.lists(animal, max_size=3), min_size=1, max_size=3))


@settings(max_examples=40, deadline=None)
@given(any_labels())
def test_written_labels_are_read_back(labels):
    names, frames = labels
    expected = [
        (frame, [name if flag else None for name, (_, _, flag) in zip(names, animal, strict=True)])
        for frame, animals in enumerate(frames)
        for animal in animals
        if any(flag for _, _, flag in animal)
    ]
    values = [
        (x - 0.5, y - 0.5) if flag else (NAN, NAN)
        for animals in frames
        for animal in animals
        if any(flag for _, _, flag in animal)
        for x, y, flag in animal
    ]
    with tempfile.TemporaryDirectory() as folder:
        images = [
            make_image(n, write_image(Path(folder, f"img{n}.png")).name) for n in range(len(frames))
        ]
        animals = [(n, one) for n, animals in enumerate(frames) for one in animals]
        path = write_coco(
            Path(folder, "x.json"),
            images,
            [
                make_animal(n, image, [value for point in one for value in point])
                for n, (image, one) in enumerate(animals)
            ],
            [{"id": 1, "name": "any", "keypoints": names}],
        )
        if not expected:
            assert problems_of(path) == (
                "no annotation has a labelled keypoint (visibility 1 or 2)",
            )
            return
        points = read_coco(path).points
    rows = points.groupby(["frame", "individual"], sort=False)
    assert [
        (
            frame,
            [
                name if shown else None
                for name, shown in zip(one["bodypart"], one["visible"], strict=True)
            ],
        )
        for (frame, _), one in rows
    ] == expected
    np.testing.assert_allclose(points[["x", "y"]], values, rtol=0, atol=1e-9)


def test_results_of_pycocotools_are_named(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(
        json.dumps([{"image_id": 1, "category_id": 1, "keypoints": POINTS, "score": 1}])
    )
    assert "holds a list" in problems_of(path)[0]


def test_names_and_hidden_keypoints_of_our_own_files(tmp_path):
    named = [
        make_animal(1, attributes={"individual": "Minnie"}),
        make_animal(2, attributes={"occluded": False}),
        make_animal(3, attributes={"individual": "individual1"}),
    ]
    points = read_coco(write_one(tmp_path, *named)).points
    found = points.groupby("individual", sort=False)["named"].first().to_dict()
    # A counted name is never one that somebody gave.
    assert found == {"Minnie": True, "individual2": False, "individual1": True}
    hidden = points[points["individual"] == "Minnie"].set_index("bodypart")["hidden"].to_dict()
    assert hidden == {"nose": False, "ear": False, "tail": True}


SINGLE = {"id": 2, "name": "single", "keypoints": ["corner"]}


def test_the_category_single_has_the_unique_bodyparts(tmp_path):
    corner = make_animal(2, keypoints=[60.5, 40.5, 2], category_id=2)
    source = read_coco(write_one(tmp_path, make_animal(1), corner, categories=(MOUSE, SINGLE)))
    assert source.skeleton.bodyparts == ("nose", "ear", "tail", "corner")
    assert source.skeleton.unique_bodyparts == ("corner",)
    rows = source.points.groupby("individual")["bodypart"].agg(list).to_dict()
    assert rows == {"individual1": ["nose", "ear", "tail"], "single": ["corner"]}
    row = source.points[source.points["bodypart"] == "corner"].iloc[0]
    assert (row["x"], row["y"], row["named"]) == (60.0, 40.0, False)


@pytest.mark.parametrize(
    ("annotations", "categories", "problem"),
    [
        (
            [
                make_animal(1, attributes={"individual": "a"}),
                make_animal(2, attributes={"individual": "a"}),
            ],
            (MOUSE,),
            "2 annotations are of a, expected one",
        ),
        (
            [make_animal(1, attributes={"individual": 3})],
            (MOUSE,),
            "the name of its individual, 3, is no text",
        ),
        (
            [make_animal(1, attributes={"individual": "a\tb"})],
            (MOUSE,),
            "another character that is not seen",
        ),
        (
            [make_animal(1), make_animal(2, category_id=2)],
            (MOUSE, {**MOUSE, "id": 2, "name": "single"}),
            "keypoints of the animals and of category single",
        ),
        (
            [
                make_animal(1, keypoints=[1, 1, 2], category_id=2),
                make_animal(2, category_id=3),
            ],
            (SINGLE, {**MOUSE, "id": 3, "name": "single"}),
            "several categories are called single: keep one",
        ),
    ],
)
def test_names_and_categories_that_are_wrong(tmp_path, annotations, categories, problem):
    with pytest.raises(LabelError, match=problem):
        read_coco(write_one(tmp_path, *annotations, categories=categories))
