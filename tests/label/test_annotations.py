"""Test what the page knows of a frame, and how corrections of several people meet."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline_lib.core.errors import ConfigError, LabelError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.io.corrections.labels import (
    FrameCorrection,
    FrameKey,
    read_label_corrections,
    write_frame_correction,
)
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.label.annotations import Annotations, Version
from pipeline_lib.label.project import Project, choose_author
from pipeline_lib.steps.import_labels.run import run_import_labels
from tests.io.poses.pose_examples import make_poses
from tests.label.serving import BODYPARTS, film, write_project

NOSE = ("animal", "nose", 5.0, 6.0, "visible")
TAIL = ("animal", "tail", 9.0, 9.0, "hidden")
FRAME = FrameKey("m1", 4, "")


@pytest.fixture
def open_project(tmp_path, monkeypatch):
    videos = {"m1": film(tmp_path / "m1.mp4")}
    folder = write_project(tmp_path / "project", videos, [("m1", 0), ("m1", 4)])
    monkeypatch.chdir(folder)

    def open_as(author="Ann", **settings):
        write_project(folder, videos, **settings)
        config = read_config(folder / "config.yaml")
        return Annotations(Project(config, Results(folder / "results"), author))

    return open_as


def write(author, *keypoints, time=None, key=FRAME):
    correction = FrameCorrection(*key, author, time or datetime.now(UTC), 0, keypoints)
    write_frame_correction(Path("corrections"), correction)


def find(annotations, frame, *, image=False):
    return next(
        place
        for place, one in enumerate(annotations.frames)
        if one.key.frame == frame and bool(one.key.image) == image
    )


def list_reasons(annotations):
    return {
        (one.key.video, one.key.frame): [kind for kind, _ in one.reasons]
        for one in annotations.frames
    }


def test_a_frame_begins_without_labels_and_keeps_what_is_saved(open_project):
    annotations = open_project()
    place = find(annotations, 4)
    assert annotations.read(place)["origin"] == "none"
    answer = annotations.save(place, [NOSE, TAIL], Version())
    assert (answer["author"], answer["replaced"]) == ("Ann", None)
    for known in (annotations, open_project()):
        found = known.read(find(known, 4))
        assert (found["origin"], found["author"], found["time"]) == (
            "correction", "Ann", answer["time"],
        )  # fmt: skip
        assert found["keypoints"] == [NOSE, TAIL]
    assert annotations.withdraw(place)["origin"] == "none"
    assert read_label_corrections(annotations.project.corrections) == ()


def test_the_newest_correction_counts_and_the_others_are_kept(open_project):
    annotations = open_project()
    place = find(annotations, 4)
    write("Bob", TAIL)
    answer = annotations.save(place, [NOSE], Version())
    assert answer["replaced"]["author"] == "Bob"
    found = annotations.read(place)
    assert (found["author"], found["keypoints"]) == ("Ann", [NOSE])
    assert [one["author"] for one in found["others"]] == ["Bob"]
    assert annotations.read_others(place)[0]["keypoints"] == [TAIL]
    # What was seen before is not reported again.
    seen = Version(answer["author"], answer["time"])
    assert annotations.save(place, [TAIL], seen)["replaced"] is None


def test_a_clock_that_is_ahead_does_not_win_for_ever(open_project):
    annotations = open_project()
    write("Bob", TAIL, time=datetime.now(UTC) + timedelta(days=400))
    annotations.save(find(annotations, 4), [NOSE], Version())
    assert annotations.read(find(annotations, 4))["keypoints"] == [NOSE]
    assert open_project().read(find(annotations, 4))["author"] == "Ann"


def test_changes_on_the_disk_are_logged_once(open_project):
    annotations = open_project()
    write("Bob", TAIL)
    write("Bob", TAIL, key=FrameKey("m1", 7, ""))
    annotations.refresh()
    annotations.refresh()
    assert annotations.log == [find(annotations, 4), find(annotations, 7)]
    assert annotations.describe(find(annotations, 7))["author"] == "Bob"


def test_a_damaged_table_is_named_and_what_was_known_stays(open_project):
    annotations = open_project()
    annotations.save(find(annotations, 4), [NOSE], Version())
    write("Bob", TAIL, key=FrameKey("m1", 0, ""))
    table = annotations.project.corrections / "labels" / "Bob" / "m1.tsv"
    table.write_text(table.read_text().replace("hidden", "seen"))
    annotations.refresh()
    assert "Bob/m1.tsv" in annotations.problem
    assert annotations.read(find(annotations, 4))["keypoints"] == [NOSE]
    answer = annotations.save(find(annotations, 4), [TAIL], Version())
    assert answer["author"] == "Ann"
    assert "Bob/m1.tsv" in open_project().problem


def test_bodyparts_are_added_and_renamed_for_the_project(open_project):
    annotations = open_project()
    place = find(annotations, 4)
    annotations.save(place, [NOSE, TAIL], Version())
    annotations.change_bodypart("rename", "snout", "nose")
    annotations.change_bodypart("add", "paw", "")
    assert annotations.skeleton.bodyparts == ("snout", *BODYPARTS[1:], "paw")
    assert annotations.skeleton.edges == (("snout", "tail"),)
    assert annotations.read(place)["keypoints"] == [("animal", "snout", *NOSE[2:]), TAIL]
    # A page that was open since before still says `nose`.
    annotations.save(place, [NOSE], Version())
    assert annotations.read(place)["keypoints"] == [("animal", "snout", *NOSE[2:])]
    for what, name, former in (
        ("add", "paw", ""),
        ("rename", "paw", "tail"),
        ("rename", "x", "nose"),
    ):
        with pytest.raises(LabelError):
            annotations.change_bodypart(what, name, former)
    assert open_project("Bob").skeleton.bodyparts == ("snout", *BODYPARTS[1:], "paw")


def test_a_project_without_bodyparts_gets_its_first(open_project):
    annotations = open_project(skeleton={})
    assert annotations.skeleton.bodyparts == ()
    annotations.change_bodypart("add", "nose", "")
    annotations.save(find(annotations, 4), [NOSE], Version())
    assert open_project(skeleton={}).skeleton.bodyparts == ("nose",)


def test_predictions_are_where_a_frame_begins(open_project):
    annotations = open_project()
    poses = make_poses(20, ("nose", "wing"))
    results, model = annotations.project.results, annotations.project.config.training.name
    results.poses(model, "m1").parent.mkdir(parents=True)
    write_poses(results.poses(model, "m1"), poses)
    found = annotations.read(find(annotations, 4))
    assert found["origin"] == "prediction"
    x, y = poses.position[4, 0, 0].tolist()
    assert found["keypoints"][0] == (
        "animal",
        "nose",
        x,
        y,
        pytest.approx(poses.confidence[4, 0, 0]),
    )
    # A damaged file is told, and does not keep anybody from labelling.
    for file in results.poses(model, "m1").rglob("*"):
        if file.is_file():
            file.write_bytes(b"?")
    found = annotations.read(find(annotations, 4))
    assert (found["origin"], found["keypoints"]) == ("none", [])
    assert "m1" in found["problem"]


def test_frames_are_listed_once_with_every_reason(open_project):
    annotations = open_project()
    results = annotations.project.results
    model = annotations.project.config.training.name
    rows = [
        {"video": "m1", "frame": 4, "reason": "jump"},
        {"video": "m1", "frame": 9, "reason": "<b>pose</b>"},
        {"video": "gone", "frame": 1, "reason": "jump"},
        {"video": "m1", "frame": "x", "reason": "jump"},
    ]
    write_table(results.refined_table(model), ("video", "frame", "reason"), rows)
    columns = ("image", "video", "frame", "individual", "bodypart", "what")
    doubt = {"video": "m1", "frame": 0, "bodypart": "nose", "what": "far from prediction"}
    write_table(results.refined(model) / "label_errors.tsv", columns, [doubt])
    write("Bob", TAIL, key=FrameKey("m1", 11, ""))
    annotations = open_project()
    assert list_reasons(annotations) == {
        ("m1", 0): ["label error", "selected"],
        ("m1", 4): ["refine", "selected"],
        ("m1", 9): ["refine"],
        ("m1", 11): ["corrected"],
    }
    assert annotations.frames[0].reasons[0] == ("label error", "nose: far from prediction")
    (results.refined_table(model)).write_text("video\nm1\n")
    annotations = open_project()
    assert "lacks the columns" in annotations.problems[0]
    assert ("m1", 4) in list_reasons(annotations)


def test_imported_labels_are_corrected_under_one_name(open_project, tmp_path):
    two = {"skeleton": {"bodyparts": ["nose", "tail"]}}
    images = tmp_path / "project" / "dlc" / "labeled-data" / "m1"
    images.mkdir(parents=True)
    Image.new("RGB", (160, 120)).save(images / "img0004.png")
    header = "scorer,a,a,a,a\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"
    (images / "CollectedData_a.csv").write_text(f"{header}labeled-data/m1/img0004.png,1,2,,\n")
    annotations = open_project(**two, labels=[{"path": "dlc"}])
    run_import_labels(annotations.project.config, annotations.project.results)
    annotations = open_project(**two, labels=[{"path": "dlc"}])
    # Selected, labelled, and corrected as a frame of the video: one frame of the list.
    place = find(annotations, 4, image=True)
    assert list_reasons(annotations)["m1", 4] == ["selected", "label"]
    assert annotations.frames[place].key.image == "dlc/labeled-data/m1/img0004.png"
    points = {point[1]: point[2:] for point in annotations.read(place)["keypoints"]}
    assert points["nose"] == (1.0, 2.0, "visible")
    # Nobody has said that it is not to be seen.
    assert "tail" not in points
    write("Bob", TAIL)
    annotations.refresh()
    assert annotations.log == [place]
    assert annotations.read(place)["keypoints"] == [TAIL]
    annotations.save(place, [NOSE, TAIL], annotations.version(place))
    run_import_labels(annotations.project.config, annotations.project.results)
    reopened = open_project(**two, labels=[{"path": "dlc"}])
    assert len(reopened.frames) == len(annotations.frames)
    found = reopened.read(find(reopened, 4, image=True))
    assert (found["author"], found["keypoints"]) == ("Ann", [NOSE, TAIL])


def test_frames_of_corrections_that_were_imported_stay_frames_of_videos(open_project):
    two = {"skeleton": {"bodyparts": ["nose", "tail"]}}
    annotations = open_project(**two)
    annotations.save(find(annotations, 4), [NOSE, TAIL], Version())
    run_import_labels(annotations.project.config, annotations.project.results)
    reopened = open_project(**two)
    assert [(one.key, one.path) for one in reopened.frames if one.key.frame == 4] == [(FRAME, None)]


def test_frames_that_are_not_there_are_not_added(open_project):
    annotations = open_project()
    assert annotations.add("m1", 19) == annotations.add("m1", 19) == 2
    for video, frame in (("m1", 20), ("m1", -1), ("m2", 0)):
        with pytest.raises(StoreError):
            annotations.add(video, frame)


@pytest.mark.parametrize("name", ["", " Ann", "a\tb", "..", "x" * 300])
def test_an_author_has_a_name(open_project, name):
    with pytest.raises(ConfigError, match="--author"):
        open_project(name)
    assert choose_author("Ann") == "Ann"


def test_frames_are_exact(open_project):
    reader = open_project().project.frames
    for block in (False, True):
        data = np.frombuffer(reader.read("m1", 7, block=block), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert image.shape == (120, 160, 3)
        assert np.abs(image[45:65, 41:65].astype(int) - 30).max() < 12
        assert np.abs(image[45:65, 72:90].astype(int) - 170).max() < 12
    small = cv2.imdecode(np.frombuffer(reader.read("m1", 7, width=80), np.uint8), cv2.IMREAD_COLOR)
    assert small.shape == (60, 80, 3)
