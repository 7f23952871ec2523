"""Test what the page knows of a frame, and how corrections of several people meet."""

import os
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
    BodypartChange,
    FrameCorrection,
    FrameKey,
    read_label_corrections,
    write_bodypart_change,
    write_frame_correction,
)
from pipeline_lib.io.labels.table import read_labels
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.label.annotations import Annotations, OldNamesError, Version
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
    # One's own is known at once, all the same.
    assert annotations.read(find(annotations, 4))["keypoints"] == [TAIL]
    assert "Bob/m1.tsv" in annotations.problem
    assert "Bob/m1.tsv" in open_project().problem
    table.unlink()
    annotations.refresh()
    assert annotations.problem == ""
    assert annotations.read(find(annotations, 4))["keypoints"] == [TAIL]


def test_bodyparts_are_added_and_renamed_for_the_project(open_project):
    annotations = open_project()
    place = find(annotations, 4)
    annotations.save(place, [NOSE, TAIL], Version())
    names = annotations.names_version
    annotations.change_bodypart("rename", "snout", "nose")
    annotations.change_bodypart("add", "paw", "")
    assert annotations.skeleton.bodyparts == ("snout", *BODYPARTS[1:], "paw")
    assert annotations.skeleton.edges == (("snout", "tail"),)
    assert annotations.read(place)["keypoints"] == [("animal", "snout", *NOSE[2:]), TAIL]
    # A page that was open since before still says `nose`.
    annotations.save(place, [NOSE], Version(), names)
    assert annotations.read(place)["keypoints"] == [("animal", "snout", *NOSE[2:])]
    with pytest.raises(LabelError, match="'nose' is no bodypart of the project"):
        annotations.save(place, [NOSE], Version())
    for what, name, former in (
        ("add", "paw", ""),
        ("rename", "paw", "tail"),
        ("rename", "x", "nose"),
    ):
        with pytest.raises(LabelError):
            annotations.change_bodypart(what, name, former)
    assert open_project("Bob").skeleton.bodyparts == ("snout", *BODYPARTS[1:], "paw")


def exchange(annotations, one, other):
    for former, name in ((one, "tmp"), (other, one), ("tmp", other)):
        annotations.change_bodypart("rename", name, former)


def test_points_saved_while_two_names_are_exchanged_stay_with_their_bodyparts(open_project):
    annotations = open_project()
    place = find(annotations, 4)
    names = annotations.names_version
    exchange(open_project("Bob"), "nose", "tail")
    # What was called nose when the page was loaded is the tail now.
    annotations.save(place, [NOSE, TAIL], Version(), names)
    swapped = [("animal", "tail", *NOSE[2:]), ("animal", "nose", *TAIL[2:])]
    for known in (annotations, open_project()):
        assert known.read(find(known, 4))["keypoints"] == swapped
    # Under the present names nothing is translated.
    now = annotations.read(place)["names"]
    assert now == annotations.names_version != names
    annotations.save(place, [NOSE, TAIL], annotations.version(place), now)
    assert open_project().read(place)["keypoints"] == [NOSE, TAIL]


def test_a_clock_that_is_ahead_does_not_exchange_names_twice(open_project):
    ahead = datetime.now(UTC) + timedelta(hours=1)
    for minute, (former, name) in enumerate((("nose", "t"), ("tail", "nose"), ("t", "tail"))):
        change = BodypartChange("rename", name, former, "Bob", ahead + timedelta(minutes=minute))
        write_bodypart_change(Path("corrections"), change)
    annotations = open_project()
    annotations.save(find(annotations, 4), [NOSE, TAIL], Version(), annotations.names_version)
    assert open_project().read(find(annotations, 4))["keypoints"] == [NOSE, TAIL]


def test_names_that_nobody_can_follow_are_refused(open_project):
    annotations = open_project()
    place = find(annotations, 4)
    annotations.change_bodypart("add", "paw", "")
    names = annotations.names_version
    # Merged by version control: older than what the page knows.
    old = datetime.now(UTC) - timedelta(days=1)
    write_bodypart_change(Path("corrections"), BodypartChange("rename", "n", "nose", "Bob", old))
    for version in (names, "", "x"):
        with pytest.raises(OldNamesError, match="load the page anew"):
            annotations.save(place, [TAIL], Version(), version)
    assert read_label_corrections(Path("corrections")) == ()


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


def make_labels(folder, *, size=(160, 120), foreign=False):
    """Write a DeepLabCut project with frame 4 of `m1`, and return the settings that name it.

    A foreign image has its name and size, and shows something else.
    """
    images = folder / "project" / "dlc" / "labeled-data" / "m1"
    images.mkdir(parents=True)
    if size == (160, 120):
        frame = next(picture for _, picture in VideoReader(folder / "m1.mp4").read(4, 5))
        Image.fromarray(frame[::-1] if foreign else frame).save(images / "img0004.png")
    else:
        Image.new("RGB", size).save(images / "img0004.png")
    header = "scorer,a,a,a,a\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"
    (images / "CollectedData_a.csv").write_text(f"{header}labeled-data/m1/img0004.png,1,2,,\n")
    return {"skeleton": {"bodyparts": ["nose", "tail"]}, "labels": [{"path": "dlc"}]}


@pytest.mark.parametrize("foreign", [True, False])
def test_an_image_of_equal_size_with_another_picture_is_another_frame(
    open_project, tmp_path, foreign
):
    settings = make_labels(tmp_path, foreign=foreign)
    annotations = open_project(**settings)
    run_import_labels(annotations.project.config, annotations.project.results)
    # Somebody has corrected the frame of the video since; the import does not know it yet.
    write("Ann", NOSE, key=FRAME)
    annotations = open_project(**settings)
    places = [place for place, one in enumerate(annotations.frames) if one.key.frame == 4]
    assert len(places) == 1 + foreign
    origins = {bool(annotations.frames[place].key.image): place for place in places}
    assert annotations.read(origins[True])["origin"] == ("label" if foreign else "correction")
    if foreign:
        assert annotations.read(origins[False])["keypoints"] == [NOSE]


def test_an_image_of_another_recording_is_another_frame_of_the_list(open_project, tmp_path):
    settings = make_labels(tmp_path, size=(640, 480))
    annotations = open_project(**settings)
    run_import_labels(annotations.project.config, annotations.project.results)
    annotations = open_project(**settings)
    image, frame = find(annotations, 4, image=True), find(annotations, 4)
    assert annotations.frames[frame].key == FRAME
    far, near = ("animal", "nose", 600.0, 400.0, "visible"), [NOSE, TAIL]
    annotations.save(image, [far, TAIL], Version())
    annotations.save(frame, near, Version())
    # A point outside of its own image would stop every import.
    for place, x, y in ((image, 640.0, 1.0), (image, 1.0, 479.6), (frame, 160.0, 1.0)):
        with pytest.raises(LabelError, match="outside of its"):
            annotations.save(place, [("animal", "nose", x, y, "visible")], Version())
    run_import_labels(annotations.project.config, annotations.project.results)
    reopened = open_project(**settings)
    for known in (annotations, reopened):
        assert known.read(find(known, 4, image=True))["keypoints"] == [far, TAIL]
        assert known.read(find(known, 4))["keypoints"] == near
    labels = read_labels(reopened.project.results.labels).table
    noses = labels[labels["bodypart"] == "nose"]
    assert sorted(zip(noses["x"], noses["y"], strict=True)) == [(5, 6), (600, 400)]


def test_images_that_the_import_found_to_be_others_stay_apart(open_project, tmp_path):
    settings = make_labels(tmp_path)
    image = tmp_path / "project/dlc/labeled-data/m1/img0004.png"
    Image.fromarray(np.asarray(Image.open(image))[::-1]).save(image)
    write("Bob", NOSE, TAIL)
    annotations = open_project(**settings)
    run_import_labels(annotations.project.config, annotations.project.results)
    annotations = open_project(**settings)
    assert annotations.read(find(annotations, 4))["keypoints"] == [NOSE, TAIL]
    assert annotations.read(find(annotations, 4, image=True))["origin"] == "label"


def list_why(annotations):
    return {frame: kinds for (_, frame), kinds in list_reasons(annotations).items()}


def test_frames_chosen_under_the_previous_network_are_listed(open_project):
    results = open_project().project.results
    columns = ("video", "frame", "reason")
    for time, (model, frame) in enumerate((("pose", 9), ("other", 12)), 1):
        table = results.refined_table(model)
        write_table(table, columns, [{"video": "m1", "frame": frame, "reason": "jump"}])
        os.utime(table, (time, time))
    plain = {0: ["selected"], 4: ["selected"]}
    # Nothing was chosen under the present network, and none is named: the newest choice.
    assert list_why(open_project(training={"name": "pose-1"})) == plain | {12: ["refine"]}
    named = {"name": "pose-1", "start_from": "pose", "iteration": 1}
    assert list_why(open_project(training=named)) == plain | {9: ["refine"]}
    own = results.refined_table("pose-1")
    write_table(own, columns, [{"video": "m1", "frame": 15, "reason": "jump"}])
    assert list_why(open_project(training=named)) == plain | {15: ["refine"], 9: ["refine"]}
    assert list_why(open_project(training={"name": "pose-1"})) == plain | {15: ["refine"]}
    poses = make_poses(20, ("nose", "wing"))
    results.poses("pose", "m1").parent.mkdir(parents=True)
    write_poses(results.poses("pose", "m1"), poses)
    annotations = open_project(training=named)
    assert annotations.read(find(annotations, 9))["origin"] == "prediction"


def test_imported_labels_are_corrected_under_one_name(open_project, tmp_path):
    settings = make_labels(tmp_path)
    annotations = open_project(**settings)
    run_import_labels(annotations.project.config, annotations.project.results)
    annotations = open_project(**settings)
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
    reopened = open_project(**settings)
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
