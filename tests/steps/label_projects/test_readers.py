"""Other tools' own readers open the projects, and what they save comes back.

napari pulls in a GUI, and Label Studio's and CVAT's packages much else: each runs in an environment
of its own, see `tests.peers.environments`.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import sleap_io
from pycocotools.coco import COCO

from pipeline_lib.core.formats.label_projects import FORMATS, find_format
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.io.labels.table import read_labels
from pipeline_lib.steps.import_labels.run import run_import_labels
from pipeline_lib.steps.label_projects import merge
from pipeline_lib.steps.label_projects.merge import MergeOptions, run_merge_labels
from pipeline_lib.steps.label_projects.write import ProjectOptions, run_write_label_project
from tests.peers.environments import require_peer
from tests.steps.label_projects.example import BODYPARTS, Run

SEVERAL = {"individuals": ("2nd", "mus1"), "unique": ("corner",)}


def run_elsewhere(name, program, *arguments):
    """Run a program beside this file in the environment of another tool."""
    python = require_peer(name)
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    place = Path(__file__).parent / program
    command = [python, place, *map(str, arguments)]
    subprocess.run(command, check=True, timeout=300, env=environment)


@pytest.fixture(params=[{}, SEVERAL], ids=["one", "several"])
def run(tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    return Run(tmp_path, **request.param)


def test_napari_deeplabcut_opens_corrects_and_saves(run, tmp_path):
    folder = run.hand_over("deeplabcut")
    several = len(run.slots) > 1
    name = run.individuals[0]
    move = {"folder": "day2-cam", "bodypart": "nose", "x": 50, "y": 40, "scorer": "Ada"}
    job = {"project": str(folder), "move": move | {"individual": name if several else ""}}
    (tmp_path / "jobs.json").write_text(json.dumps([job]))
    run_elsewhere("napari", "napari_reader.py", tmp_path / "jobs.json")
    (found,) = json.loads((tmp_path / "jobs.json.found").read_text())
    assert found["scorer"] == "Ada"
    assert set(found["bodyparts"]) == set(run.bodyparts)
    assert found["individuals"] == (list(run.slots) if several else [""])
    layers = found["layers"]
    assert set(layers) == {"day1-cam", "day2-cam", "old"}
    seen = {
        (Path(image).name, individual or "animal", bodypart): (x, y)
        for image, individual, bodypart, x, y in layers["old"]["CollectedData_Ada"]
    }
    expected = {
        (f"img{image:03d}.png", individual, bodypart): run.label(image, individual, bodypart)
        for image in (0, 3)
        for individual in run.slots
        for bodypart in run.bodyparts
        if (bodypart in run.unique) == (individual == "single")
    }
    expected = {key: point for key, point in expected.items() if not np.isnan(point[0])}
    assert seen.keys() == expected.keys()
    assert all(seen[key] == pytest.approx(expected[key], abs=1e-3) for key in seen)
    machine = layers["day1-cam"]["machinelabels-iter0"]
    assert {Path(image).name for image, *_ in machine} == {
        *("frame-0000009.png", "frame-0000040.png")
    }
    assert not any("machinelabels" in layer for layer in layers["old"])
    # What napari saved beside the predictions comes back.
    assert [Path(file).name for file in found["written"]] == [
        *("CollectedData_Ada.h5", "CollectedData_Ada.csv")
    ]
    summary = run.merge(folder)
    assert (summary.corrected, summary.unchanged) == (1, 2)
    assert run.corrections() == {("day2-cam", 9, ""): run.expect("day2-cam", 9, nose=(50.0, 40.0))}


def test_label_studio_accepts_and_converts(run):
    folder = run.hand_over("label-studio")
    run_elsewhere("label_studio", "label_studio_reader.py", folder)
    found = json.loads((folder / "found.json").read_text())
    assert found["valid"] == {"annotations": [True] * 2, "predictions": [True] * 3, "wrong": False}
    assert found["controls"]["keypoints"] == list(run.bodyparts)
    if run.unique:
        assert found["controls"]["individuals"] == [*run.individuals, "single"]
    (task,) = (one for one in found["converted"] if one["image"].endswith("old-img000.png"))
    seen = {
        (100 / 96 * (x + 0.5), 100 / 64 * (y + 0.5), bodypart)
        for individual in run.slots
        for bodypart in run.bodyparts
        if (bodypart in run.unique) == (individual == "single")
        for x, y in [run.label(0, individual, bodypart)]
    }
    points = {(one["x"], one["y"], one["keypointlabels"][0]) for one in task["keypoints"]}
    assert sorted(one[2] for one in points) == sorted(one[2] for one in seen)
    np.testing.assert_allclose(
        sorted(one[:2] for one in points), sorted(one[:2] for one in seen), atol=1e-6
    )


def test_datumaro_by_which_cvat_reads_and_writes(run):
    """It keeps two digits after the point; what nobody moved is as it was."""
    folder = run.hand_over("coco")
    job = {"project": str(folder), "image": "day2-cam/day2-cam-frame-0000009"}
    job |= {"individual": run.individuals[0], "to": [50.5, 40.5]}
    (run.folder / "job.json").write_text(json.dumps(job))
    run_elsewhere("datumaro", "datumaro_reader.py", run.folder / "job.json")
    found = json.loads((run.folder / "job.json.found").read_text())
    assert found["images"] == 5
    assert found["bodyparts"] == [list(BODYPARTS), *([list(run.unique)] if run.unique else [])]
    exported = run.folder / "exported" / "annotations" / "person_keypoints_default.json"
    summary = run.merge(exported, project=folder)
    assert (summary.corrected, summary.unchanged, summary.untouched) == (1, 2, 2)
    assert run.corrections() == {("day2-cam", 9, ""): run.expect("day2-cam", 9, nose=(50.0, 40.0))}


def list_instances(labels, *, offset=0.0):
    """Return the points of each instance by the end of its video's name and its frame."""
    found = {}
    for frame in labels.labeled_frames:
        video = frame.video.source_video or frame.video
        name = video.filename[0] if isinstance(video.filename, list) else video.filename
        for instance in frame.instances:
            points = {
                node: tuple(np.round(point + offset, 3).tolist())
                for node, point in zip(instance.skeleton.node_names, instance.numpy(), strict=True)
                if not np.isnan(point).any()
            }
            key = (Path(name).name, frame.frame_idx, type(instance).__name__)
            found.setdefault(key, []).append(points)
    return found


def expect_labels(run, image):
    return [
        {
            bodypart: run.label(image, individual, bodypart)
            for bodypart in run.bodyparts
            if (bodypart in run.unique) == (individual == "single")
            and not np.isnan(run.label(image, individual, bodypart)[0])
        }
        for individual in run.slots
    ]


def test_sleap_io_reads_the_package_and_its_frames(run):
    labels = sleap_io.load_slp(str(run.hand_over("sleap") / "project.pkg.slp"))
    found = list_instances(labels)
    # Images are counted: 0 and 3 are the first and the second.
    assert found["img000.png", 0, "Instance"] == expect_labels(run, 0)
    assert found["img000.png", 1, "Instance"] == expect_labels(run, 3)
    predicted = found["day1-cam.mp4", 40, "PredictedInstance"]
    names = run.expect("day1-cam", 40)
    assert [set(points) for points in predicted] == [
        {bodypart for owner, bodypart in names if owner == individual} for individual in run.slots
    ]
    suggested = [
        (Path(one.video.source_video.filename).stem, one.frame_idx) for one in labels.suggestions
    ]
    assert suggested == [("day2-cam", 9), ("day1-cam", 9), ("day1-cam", 40)]
    image = next(video for video in labels.videos if "day1" in str(video.source_video.filename))[40]
    # As `refine` wrote it: red 40, green 9, blue 200.
    assert image[5, 5].tolist() == [40, 9, 200]


def test_sleap_io_reads_label_studio_s_tasks(run):
    """Of tasks with annotations, since it expects one of each."""
    path = run.hand_over("label-studio", frames="none") / "tasks.json"
    labels = sleap_io.load_labelstudio(str(path))
    found = list_instances(labels, offset=-0.5)
    assert found["old", 0, "Instance"] == expect_labels(run, 0)
    assert found["old", 3, "Instance"] == expect_labels(run, 3)


def test_pycocotools_reads_the_coco_file(run):
    folder = run.hand_over("coco")
    coco = COCO(str(folder / "annotations/person_keypoints_default.json"))
    assert len(coco.getImgIds()) == 5
    (image,) = (one for one in coco.dataset["images"] if one["file_name"].endswith("img003.png"))
    found = [
        {
            name: (one["keypoints"][3 * n] - 0.5, one["keypoints"][3 * n + 1] - 0.5)
            for n, name in enumerate(coco.loadCats(one["category_id"])[0]["keypoints"])
            if one["keypoints"][3 * n + 2]
        }
        for one in coco.loadAnns(coco.getAnnIds(image["id"]))
    ]
    assert found == expect_labels(run, 3)
    assert all((folder / "images" / one["file_name"]).is_file() for one in coco.dataset["images"])


def test_sleap_io_reads_the_coco_file(run):
    """A reader that knows nothing of `single`: unique bodyparts are a category of their own."""
    folder = run.hand_over("coco", frames="none")
    labels = sleap_io.load_coco(
        str(folder / "annotations/person_keypoints_default.json"),
        dataset_root=str(folder / "images"),
    )
    found = list_instances(labels, offset=-0.5)
    assert sorted(map(len, found.values())) == [len(run.slots)] * 2
    everything = [points for some in found.values() for points in some]
    for points in expect_labels(run, 0) + expect_labels(run, 3):
        assert points in everything


REAL = {
    "openfield": ("openfield/openfield-Pranav-2018-10-30", 1),
    "mirror-mouse": ("mirror-mouse/mirror-mouse-example", 1),
    "flies": ("flies-madlc-derived/flies-dreem-2025-11-18", 3),
}


@pytest.fixture(scope="module")
def real(data_folder, tmp_path_factory):
    """Return a function that imports labels once, and gives config and results."""
    known = {}

    def make(name):
        if name not in known:
            path, most = REAL[name]
            folder = tmp_path_factory.mktemp(name)
            config = parse_config(
                {
                    "cohort": "cohort.tsv",
                    "labels": [{"path": str(data_folder / path)}],
                    "individuals": {"max": most},
                    "assembly": {"graph": "complete"},
                    "corrections": {"path": str(folder / "corrections")},
                }
            )
            results = Results(folder / "results")
            run_import_labels(config, results)
            known[name] = folder, config, results
        return known[name]

    return make


@pytest.mark.real
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", REAL)
def test_real_labels_come_back_as_they_were(real, monkeypatch, name, form):
    monkeypatch.setattr(merge, "_TOLERANCE", 1e-3)
    folder, config, results = real(name)
    project = folder / form
    run_write_label_project(config, results, project, ProjectOptions(form, "Ada", "none"))
    images = read_labels(results.labels).table["image"].nunique()
    path = project / find_format(form).labels
    # The same positions to 1e-3 px, names of bodyparts and individuals: nothing to correct.
    summary = run_merge_labels(config, results, path, MergeOptions())
    empty = summary.empty
    assert (summary.corrected, summary.unchanged + empty) == (0, images)
    assert empty == 0
    assert not (folder / "corrections").exists()
