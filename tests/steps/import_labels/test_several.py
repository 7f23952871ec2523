"""Test the import of labels of several animals, from files to arrays, and mistakes."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels.table import label_arrays, read_labels
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.steps.import_labels.run import run_import_labels
from tests.io.labels.slp_examples import Project
from tests.video_corpus import encode

SHARED = os.environ.get("COHORTPOSE_DATA")
NAN = float("nan")

CONFIG = """
multianimalproject: true
individuals: [m1, m2]
uniquebodyparts: [corner]
multianimalbodyparts: [nose, tail]
bodyparts: MULTI!
skeleton: [[nose, tail]]
"""
KEYPOINTS = [("m1", "nose"), ("m1", "tail"), ("m2", "nose"), ("m2", "tail"), ("single", "corner")]


def make_project(folder, rows, keypoints=KEYPOINTS, config=CONFIG, video="cage"):
    """Write a project; rows: x of each keypoint by frame; y is 1 where x is given."""
    images = folder / "labeled-data" / video
    images.mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    lines = [
        ["scorer", "", "", *["ann"] * (2 * len(keypoints))],
        ["individuals", "", "", *[name for name, _ in keypoints for _ in "xy"]],
        ["bodyparts", "", "", *[name for _, name in keypoints for _ in "xy"]],
        ["coords", "", "", *["x", "y"] * len(keypoints)],
    ]
    for frame, values in rows.items():
        Image.new("L", (60, 40)).save(images / f"img{frame:04d}.png")
        cells = [cell for x in values for cell in (("", "") if x is None else (x, 1))]
        lines.append(["labeled-data", video, f"img{frame:04d}.png", *cells])
    with (images / "CollectedData_ann.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return folder


def run(tmp_path, *sources, most=2, individuals=None, **settings):
    labels = [source if isinstance(source, dict) else {"path": str(source)} for source in sources]
    values = {"labels": labels, "individuals": {"max": most, **(individuals or {})}, **settings}
    results = Results(tmp_path / "results")
    run_import_labels(parse_config({"cohort": "cohort.tsv", **values}), results)
    return read_labels(results.labels)


def problems_of(*arguments, **options):
    with pytest.raises(LabelError) as error:
        run(*arguments, **options)
    return error.value.problems


def test_every_image_has_every_individual_and_bodypart(tmp_path):
    rows = {3: (5, 6, None, 8, 9), 4: (None,) * 5, 7: (None, None, 1, None, None)}
    labels = run(tmp_path, make_project(tmp_path / "p", rows))
    assert labels.bodyparts == ("nose", "tail", "corner")
    assert labels.individuals == ("m1", "m2")
    assert labels.slots == ("m1", "m2", "single")
    assert labels.skeleton.edges == (("nose", "tail"),)
    assert labels.skeleton.unique_bodyparts == ("corner",)
    table = labels.table
    names = list(zip(table["individual"], table["bodypart"], strict=True))
    assert names == KEYPOINTS * 3
    assert table["x"].fillna(-1).tolist() == [5, 6, -1, 8, 9, *[-1] * 5, -1, -1, 1, -1, -1]
    assert table["frame"].tolist() == [3] * 5 + [4] * 5 + [7] * 5
    images, positions = label_arrays(labels)
    # An image whose whole row is empty is an image without animals.
    assert images["frame"].tolist() == [3, 4, 7]
    expected = np.full((3, 3, 3), NAN)
    expected[0] = [[5, 6, NAN], [NAN, 8, NAN], [NAN, NAN, 9]]
    expected[2, 1, 0] = 1
    np.testing.assert_array_equal(positions[..., 0], expected)


def test_the_order_of_individuals_in_the_file_does_not_matter(tmp_path):
    rows = {3: (5, 6, None, 8, 9), 7: (2, None, 1, 3, None)}
    order = [2, 3, 4, 0, 1]
    turned = {frame: [values[n] for n in order] for frame, values in rows.items()}
    first = run(tmp_path, make_project(tmp_path / "a" / "p", rows), skeleton=UNIQUE)
    keypoints = [KEYPOINTS[n] for n in order]
    second = run(tmp_path, make_project(tmp_path / "b" / "p", turned, keypoints), skeleton=UNIQUE)
    assert first.individuals == second.individuals
    columns = ["frame", "individual", "bodypart", "x", "y", "visible", "split"]
    assert first.table[columns].equals(second.table[columns])


UNIQUE = {"bodyparts": ["tail", "nose", "corner"], "unique_bodyparts": ["corner"]}


def test_one_animal_has_the_unique_bodyparts_too(tmp_path):
    labels = run(tmp_path, make_project(tmp_path / "p", {3: (5, 6, None, None, 9)}), most=1)
    assert labels.slots == ("animal",)
    assert labels.table["x"].tolist() == [5, 6, 9]
    assert labels.skeleton.unique_bodyparts == ()


def test_sources_of_both_tools_are_joined(tmp_path):
    encode(tmp_path / "v.mp4", frames=5)
    slp = Project(("nose", "ear"), (("ear", "nose"),), ())
    slp.add("v.mp4", 2, [(3, 4), (5, 6)], "m1")
    slp.add("v.mp4", 2, [(7, 8), None], "m2")
    project = make_project(tmp_path / "p", {3: (5, 6, None, 8, 9)})
    labels = run(tmp_path, project, slp.save(tmp_path / "a.slp"))
    assert labels.bodyparts == ("nose", "tail", "corner", "ear")
    assert labels.skeleton.edges == (("nose", "tail"), ("ear", "nose"))
    images, positions = label_arrays(labels)
    assert images["video"].tolist() == ["cage", "v"]
    assert positions.shape == (2, 3, 4, 2)
    np.testing.assert_array_equal(positions[1, :2, 0], [[3, 4], [7, 8]])
    np.testing.assert_array_equal(positions[1, 0, 3], [5, 6])


def test_frames_of_a_slp_are_written_once_and_belong_to_their_source(tmp_path):
    encode(tmp_path / "v.mp4", frames=5)
    slp = Project()
    slp.add("v.mp4", 2, [(3, 4), None])
    slp.add("v.mp4", 4, [(3, 4), None])
    path = slp.save(tmp_path / "labels.v001.slp")
    labels = run(tmp_path, path, most=1)
    folder = tmp_path / "results" / "labels" / "images"
    image = folder / "00-labels.v001" / "v" / "frame-0000002.png"
    assert labels.table["image"][0] == str(image)
    times = image.stat().st_mtime_ns
    run(tmp_path, path, most=1)
    assert image.stat().st_mtime_ns == times
    # What the config no longer names goes.
    run(tmp_path, make_project(tmp_path / "p", {3: (5, 6, 7, 8, 9)}))
    assert list(folder.iterdir()) == []


def test_images_of_one_video_are_one_video_to_the_split(tmp_path):
    for name in ("a", "b"):
        encode(tmp_path / f"{name}.mp4", frames=9)
    slp = Project()
    for name in ("a", "b"):
        for frame in range(8):
            slp.add(f"{name}.mp4", frame, [(3, 4), None])
    split = {"method": "block", "test_fraction": 0.5, "block_frames": 8}
    labels = run(tmp_path, slp.save(tmp_path / "x.slp"), most=1, training={"split": split})
    parts = labels.table.groupby("video")["split"].unique()
    assert sorted(part.tolist() for part in parts) == [["test"], ["train"]]


def test_a_frame_that_two_files_label(tmp_path):
    encode(tmp_path / "v.mp4", frames=5)
    paths = []
    for name in ("a", "b"):
        slp = Project()
        slp.add("v.mp4", 2, [(3, 4), None])
        paths.append(slp.save(tmp_path / f"{name}.slp"))
    (problem,) = problems_of(tmp_path, *paths)
    assert problem == (
        f"{tmp_path / 'v.mp4'}#2: labelled in {paths[0]} and {paths[1]}; leave one of them out of "
        "`labels`"
    )


def test_predictions_are_labels_only_if_asked_for(tmp_path):
    encode(tmp_path / "v.mp4", frames=5)
    slp = Project()
    slp.add("v.mp4", 2, [(3, 4), None])
    slp.add("v.mp4", 2, [(30, 4), None], predicted=True)
    path = str(slp.save(tmp_path / "a.slp"))
    count = run(tmp_path, path).table["visible"].sum()
    assert (count, run(tmp_path, {"path": path, "predicted": True}).table["visible"].sum()) == (
        1,
        2,
    )


def test_one_node_needs_no_edges(tmp_path):
    encode(tmp_path / "v.mp4", frames=5)
    slp = Project(("centre",), ())
    slp.add("v.mp4", 2, [(9, 4)])
    slp.add("v.mp4", 2, [(3, 4)])
    labels = run(tmp_path, slp.save(tmp_path / "a.slp"))
    assert labels.table["x"].tolist() == [3, 9]


def test_no_edges_anywhere(tmp_path):
    project = make_project(
        tmp_path / "p", {3: (5, 6, 7, 8, 9)}, config=CONFIG.replace("[[nose, tail]]", "[]")
    )
    (problem,) = problems_of(tmp_path, project)
    assert problem.startswith("neither `skeleton.edges` nor the labels have edges")
    labels = run(tmp_path, project, assembly={"graph": "complete"})
    assert labels.skeleton.edges == ()


def test_more_animals_than_max_and_unknown_names(tmp_path):
    rows = {3: (5, 6, 7, 8, 9)}
    keypoints = [(name.replace("single", "m3"), part) for name, part in KEYPOINTS[:4]]
    keypoints.append(("m3", "nose"))
    project = make_project(tmp_path / "p", rows, keypoints, CONFIG.replace("[corner]", "[]"))
    image = project / "labeled-data" / "cage" / "img0003.png"
    assert problems_of(tmp_path, project) == (
        f"{image}: 3 animals are labelled (m1, m2, m3), but `individuals.max` is 2",
    )
    names = {"names": ["m1", "m2", "mm3"]}
    (problem,) = problems_of(tmp_path, project, most=3, individuals=names)
    assert problem == (
        f"{image}: individual m3 is labelled, but is not among `individuals.names`; did you mean "
        "mm3?"
    )


def test_a_unique_bodypart_that_the_config_takes_for_an_animals(tmp_path):
    project = make_project(tmp_path / "p", {3: (5, 6, 7, 8, 9)})
    (problem,) = problems_of(tmp_path, project, skeleton={"bodyparts": ["nose", "tail", "corner"]})
    assert problem.startswith("skeleton.bodyparts has corner, which the labels have once per image")
    labels = run(tmp_path, project, skeleton={"bodyparts": ["tail", "nose"]})
    assert labels.slots == ("m1", "m2")
    assert labels.table["x"].tolist() == [6, 5, 8, 7]


@pytest.mark.real
@pytest.mark.skipif(not SHARED, reason="COHORTPOSE_DATA is not set")
@pytest.mark.parametrize(("name", "most"), [("two_flies", 2), ("three_flies", 3)])
def test_both_formats_say_the_same_of_the_flies(tmp_path, name, most):
    derived = Path(SHARED, "flies-madlc-derived", "flies-dreem-2025-11-18")
    deeplabcut = run(tmp_path, derived / "labeled-data" / name, most=most)
    slp = Path(SHARED, "flies-dreem", f"{name}.slp")
    sleap = run(tmp_path, slp, most=most, skeleton={"bodyparts": list(deeplabcut.bodyparts)})
    assert {frozenset(edge) for edge in sleap.skeleton.edges} == {
        frozenset(edge) for edge in deeplabcut.skeleton.edges
    }
    assert len(sleap.skeleton.edges) == 12
    images, expected = label_arrays(deeplabcut)
    all_images, found = label_arrays(sleap)
    assert (len(images), len(all_images)) == (8, 128)
    assert (sleap.individuals == ("F", "M")) == (name == "two_flies")
    found = found[all_images["frame"].isin(images["frame"])]
    # The tables of DeepLabCut's kind name the flies in an order of their own.
    order = [
        min(range(most), key=lambda i: np.nanmean(abs(found[:, i] - expected[:, j])))
        for j in range(most)
    ]
    assert sorted(order) == list(range(most))
    np.testing.assert_allclose(found[:, order], expected, atol=0.01)
    assert np.isnan(expected).mean() < 0.2
    shown = all_images.set_index("frame")["image"]
    for frame, image in VideoReader(slp.with_suffix(".mp4")).read(0, 70):
        if frame in (0, 1, 68):
            np.testing.assert_array_equal(read_image(Path(shown[frame])), image)


@pytest.mark.real
@pytest.mark.skipif(not SHARED, reason="COHORTPOSE_DATA is not set")
def test_the_whole_project_of_the_flies(tmp_path):
    labels = run(tmp_path, Path(SHARED, "flies-madlc-derived", "flies-dreem-2025-11-18"), most=3)
    assert labels.individuals == ("fly1", "fly2", "fly3")
    assert len(labels.table) == 16 * 3 * 13
    assert labels.table["visible"].sum() == 472
    _, positions = label_arrays(labels)
    animals = (~np.isnan(positions[..., 0])).any(axis=2).sum(axis=1)
    assert sorted(animals) == [2] * 8 + [3] * 8


@pytest.mark.real
@pytest.mark.skipif(not SHARED, reason="COHORTPOSE_DATA is not set")
def test_frames_of_flies_that_are_embedded_need_no_video(tmp_path):
    import sleap_io  # noqa: PLC0415

    folder = Path(SHARED, "flies-dreem")
    labels = sleap_io.load_slp(str(folder / "two_flies.slp"), open_videos=False)
    for video in labels.videos:
        video.replace_filename(str(folder / "two_flies.mp4"))
    labels.labeled_frames = labels.labeled_frames[:100:33]
    # SLEAP's own package writes the images into the file.
    labels.save(str(tmp_path / "flies.pkg.slp"), embed="user", verbose=False)
    embedded = run(tmp_path / "embedded", tmp_path / "flies.pkg.slp")
    linked = run(tmp_path / "linked", folder / "two_flies.slp")
    images, position = label_arrays(embedded)
    known, expected = label_arrays(linked)
    rows = [known.index[known["frame"] == frame][0] for frame in images["frame"]]
    assert list(images["frame"]) == [0, 33, 66, 99]
    assert embedded.individuals == ("F", "M")
    np.testing.assert_array_equal(position, expected[rows])
    frames = dict(VideoReader(folder / "two_flies.mp4").read(0, 100, step=33))
    for frame, image in zip(images["frame"], images["image"], strict=True):
        np.testing.assert_array_equal(read_image(Path(image)), frames[frame])
