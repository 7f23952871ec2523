"""Frames go to another tool, are corrected there, and come back to the right frames."""

import json
import os
import shutil
from datetime import UTC, datetime

import av
import numpy as np
import pandas as pd
import pytest
import sleap_io
from typer.testing import CliRunner

from pipeline_lib.cli import app
from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.io.corrections.labels import (
    FrameCorrection,
    read_label_corrections,
    write_frame_correction,
)
from pipeline_lib.io.images import read_image, write_png
from pipeline_lib.io.label_projects.label_studio import TASKS
from pipeline_lib.io.label_projects.manifest import MANIFEST, read_manifest
from pipeline_lib.io.labels.sleap.read import read_sleap
from pipeline_lib.io.labels.table import read_labels
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.steps.import_labels.run import run_import_labels
from pipeline_lib.steps.label_projects.write import ProjectOptions, run_write_label_project
from pipeline_lib.steps.select_frames import FRAME_COLUMNS
from tests.steps.label_projects.example import CHOSEN, Run
from tests.video_corpus import encode, read_number

COCO = "annotations/person_keypoints_default.json"
KINDS = [
    pytest.param({}, id="one"),
    pytest.param({"individuals": ("2nd", "mus1"), "unique": ("corner",)}, id="several"),
]


@pytest.fixture(params=KINDS)
def run(tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    return Run(tmp_path, **request.param)


@pytest.fixture
def one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Run(tmp_path)


# What somebody does in each tool: moves the nose of the first animal of day2-cam, frame 9, to
# (50, 40), and finds everything else of this frame right. Nobody looks at the other frames.


def correct_in_deeplabcut(run, folder):
    images = folder / "labeled-data/day2-cam"
    table = pd.read_hdf(images / "machinelabels-iter0.h5")
    table = table.drop(columns=[one for one in table.columns if one[-1] == "likelihood"])
    table = table.rename(columns={"pose": "Ada"}, level="scorer")
    several = [run.individuals[0]] if len(run.slots) > 1 else []
    for coord, value in (("x", 50), ("y", 40)):
        table.loc[:, ("Ada", *several, "nose", coord)] = value
    table.to_csv(images / "CollectedData_Ada.csv")
    return folder


def correct_in_sleap(run, folder, name="project.pkg.slp"):
    labels = sleap_io.load_slp(str(folder / name), open_videos=False)
    for frame in labels.labeled_frames:
        video = frame.video.source_video or frame.video
        if isinstance(video.filename, str) and "day2" in video.filename:
            # As SLEAP does when somebody double-clicks a prediction.
            for predicted in list(frame.predicted_instances):
                user = sleap_io.Instance.from_numpy(predicted.numpy(), skeleton=labels.skeleton)
                user.track, user.from_predicted = predicted.track, predicted
                if user.track is None or user.track.name == run.individuals[0]:
                    user["nose"]["xy"] = 50, 40
                frame.instances.append(user)
    labels.save(str(folder / "corrected.slp"), embed=False, verbose=False)
    return folder / "corrected.slp"


def correct_in_coco(run, folder):
    path = folder / COCO
    values = json.loads(path.read_text())
    image = next(one["id"] for one in values["images"] if "day2-cam" in one["file_name"])
    for annotation in values["annotations"]:
        own = annotation["attributes"]["individual"] == run.individuals[0]
        if annotation["image_id"] == image and own:
            nose = values["categories"][0]["keypoints"].index("nose")
            annotation["keypoints"][3 * nose : 3 * nose + 2] = [50.5, 40.5]
    path.write_text(json.dumps(values))
    return path


def correct_in_label_studio(run, folder):
    del run
    path = folder / TASKS
    tasks = json.loads(path.read_text())
    task = next(task for task in tasks if task["data"]["video"] == "day2-cam")
    result = task["predictions"][0]["result"]
    nose = next(one for one in result if one.get("value", {}).get("keypointlabels") == ["nose"])
    nose["value"] |= {"x": 100 * 50.5 / 96, "y": 100 * 40.5 / 64}
    annotation = {"result": result, "updated_at": "2026-03-01T12:00:00Z", "completed_by": 7}
    task["annotations"] = [annotation]
    path.write_text(json.dumps(tasks))
    return path


TOOLS = {
    "deeplabcut": correct_in_deeplabcut,
    "sleap": correct_in_sleap,
    "coco": correct_in_coco,
    "label-studio": correct_in_label_studio,
}


@pytest.mark.parametrize("form", TOOLS)
def test_a_corrected_frame_replaces_its_prediction_and_no_other_frame_changes(run, form):
    path = TOOLS[form](run, run.hand_over(form))
    summary = run.merge(path)
    assert run.corrections() == {("day2-cam", 9, ""): run.expect("day2-cam", 9, nose=(50.0, 40.0))}
    assert (summary.corrected, summary.unchanged, summary.gone) == (1, 2, ())
    assert summary.untouched == (2 if form == "coco" else 0)
    # Once more: nothing is new.
    assert run.merge(path).corrected == 0


@pytest.mark.parametrize("form", TOOLS)
def test_a_project_that_nobody_touched_changes_nothing(run, form):
    folder = run.hand_over(form)
    path = folder / {"sleap": "project.pkg.slp", "coco": COCO, "label-studio": TASKS}.get(form, "")
    assert run.merge(path).unchanged == 2
    assert run.corrections() == {}


def test_predictions_found_right_are_taken_when_told_so(one):
    folder = one.hand_over("coco")
    assert one.merge(folder / COCO, untouched=True).corrected == 3
    assert one.corrections()[("day1-cam", 40, "")] == one.expect("day1-cam", 40)
    folder = one.hand_over("sleap", "more")
    summary = one.merge(folder / "project.pkg.slp", predicted=True)
    assert (summary.corrected, summary.unchanged) == (0, 5)


@pytest.mark.parametrize("form", TOOLS)
def test_projects_hold_the_predictions_and_not_the_doubtful_ones(one, form):
    folder = one.hand_over(form, labels=False)
    if form == "deeplabcut":
        table = pd.read_hdf(folder / "labeled-data/day1-cam/machinelabels-iter0.h5")
        row = table.loc["labeled-data", "day1-cam", "frame-0000040.png"]
        assert np.isnan(row["pose", "tail", "x"])
        assert row["pose", "tail", "likelihood"] == pytest.approx(0.2)
        assert row["pose", "nose", "x"] == pytest.approx(
            one.predict("day1-cam", 40, "animal", "nose")[0]
        )
    manifest = json.loads((folder / "cohortpose.json").read_text())
    found = {(one["video"], one["frame"]): one["predicted"] for one in manifest["frames"]}
    assert [len(animals[0]["points"]) for animals in found.values()] == [3, 3, 2]
    assert list(found) == [("day2-cam", 9), ("day1-cam", 9), ("day1-cam", 40)]


def test_label_studio_says_who_and_when(one):
    one.merge(correct_in_label_studio(one, one.hand_over("label-studio")))
    (correction,) = read_label_corrections(one.folder / "corrections")
    assert (correction.author, correction.iteration) == ("7", 0)
    assert correction.time == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_other_files_are_of_the_scorer_and_the_time_they_were_saved(one):
    path = correct_in_coco(one, one.hand_over("coco"))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    one.merge(path)
    (correction,) = read_label_corrections(one.folder / "corrections")
    assert correction.author == "Ada"
    assert correction.time == datetime.fromtimestamp(1_700_000_000, UTC)
    later = datetime(2027, 1, 1, tzinfo=UTC)
    summary = one.merge(path, author="Bob", time=later, iteration=4)
    # Bob says what Ada says: it stands already.
    assert (summary.corrected, summary.unchanged) == (0, 3)


def test_the_newest_correction_counts_and_an_old_file_takes_nothing_back(one):
    path = correct_in_coco(one, one.hand_over("coco"))
    for author, minutes in (("Bob", 1), ("Ada", 2)):
        time = datetime(2030, 1, 1, 0, minutes, tzinfo=UTC)
        keypoints = (("animal", "nose", 1.0, 2.0, "hidden"),)
        correction = FrameCorrection("day2-cam", 9, "", author, time, 0, keypoints)
        write_frame_correction(one.folder / "corrections", correction)
    # Ada's own newer word stays; somebody else's older file is kept, but does not count.
    assert one.merge(path).older == 1
    assert one.merge(path, author="Eve").corrected == 1
    newest = {("animal", "nose"): (1.0, 2.0, "hidden")}
    assert one.corrections() == {("day2-cam", 9, ""): newest}
    assert len(read_label_corrections(one.folder / "corrections")) == 3
    # Told a later time, the file counts.
    one.merge(path, time=datetime(2031, 1, 1, tzinfo=UTC))
    assert one.corrections()[("day2-cam", 9, "")]["animal", "nose"] == (50.0, 40.0, "visible")


def test_labels_of_older_images_are_corrected_too(run):
    folder = run.hand_over("coco")
    values = json.loads((folder / COCO).read_text())
    image = next(one["id"] for one in values["images"] if one["file_name"].endswith("img003.png"))
    animal = next(one for one in values["annotations"] if one["image_id"] == image)
    animal["keypoints"][:3] = [7.5, 8.5, 1]
    (folder / COCO).write_text(json.dumps(values))
    run.merge(folder / COCO)
    key = ("old", 3, "mine/old/img003.png")
    found = run.corrections()
    assert list(found) == [key]
    name = run.individuals[0]
    assert found[key][name, "nose"] == (7.0, 8.0, "hidden")
    assert found[key][name, "ear"] == (*run.label(3, name, "ear"), "visible")
    assert (name, "tail") not in found[key]


def test_a_file_may_cover_some_bodyparts_and_animals_without_names(run):
    """As a tool without identities writes it: one bodypart, animals in any order."""
    run.write_chosen((("day1-cam", 9),))
    folder = run.hand_over("coco")
    values = json.loads((folder / COCO).read_text())
    kept = [one for one in values["annotations"] if one["category_id"] == 1]
    for annotation in kept:
        nose = annotation["keypoints"][:3]
        annotation["keypoints"] = [nose[0] + 1, nose[1], nose[2]]
        del annotation["attributes"]
    values["categories"] = [{"id": 1, "name": "m", "keypoints": ["nose"]}]
    values["annotations"] = kept[::-1]
    (folder / COCO).write_text(json.dumps(values))
    run.merge(folder / COCO)
    found = run.corrections()
    assert set(found) == {
        *(("day1-cam", 9, ""), ("old", 0, "mine/old/img000.png"), ("old", 3, "mine/old/img003.png"))
    }
    old = found["old", 0, "mine/old/img000.png"]
    for name in run.individuals:
        x, y = run.label(0, name, "nose")
        assert old[name, "nose"] == (x + 1, y, "visible")
        # Of these the file says nothing.
        assert old[name, "tail"] == (*run.label(0, name, "tail"), "visible")
        predicted = run.predict("day1-cam", 9, name, "nose")
        nose = found["day1-cam", 9, ""][name, "nose"]
        assert nose == (pytest.approx(predicted[0] + 1, abs=1e-3), predicted[1], "visible")
    if run.unique:
        assert old["single", "corner"] == (90.0, 60.0, "visible")
    # A prediction is no label: where the file says nothing, there is none.
    assert len(found["day1-cam", 9, ""]) == len(run.individuals)


def test_what_a_format_cannot_hold_stays_as_it_was(one):
    """DeepLabCut knows no hidden keypoints: those that were hidden are."""
    time = datetime(2026, 1, 1, tzinfo=UTC)
    points = (("animal", "nose", 5.0, 6.0, "hidden"), ("animal", "tail", 7.0, 8.0, "visible"))
    correction = FrameCorrection("old", 0, "mine/old/img000.png", "Bob", time, 0, points)
    write_frame_correction(one.folder / "corrections", correction)
    folder = one.hand_over("deeplabcut")
    for table in folder.rglob("CollectedData_Ada.*"):
        table.unlink()
    table = folder / "labeled-data/old/CollectedData_Ada.csv"
    table.write_text(
        "scorer,,,Ada,Ada,Ada,Ada,Ada,Ada\n"
        "bodyparts,,,nose,nose,ear,ear,tail,tail\n"
        "coords,,,x,y,x,y,x,y\n"
        "labeled-data,old,img000.png,5.25,6,1,2,7,8\n"
    )
    assert one.merge(folder).corrected == 1
    assert one.corrections()["old", 0, "mine/old/img000.png"] == {
        ("animal", "nose"): (5.25, 6.0, "hidden"),
        ("animal", "ear"): (1.0, 2.0, "visible"),
        ("animal", "tail"): (7.0, 8.0, "visible"),
    }


def test_a_frame_without_an_animal_is_said_so_where_the_format_can(one):
    folder = one.hand_over("label-studio")
    tasks = json.loads((folder / TASKS).read_text())
    for task in tasks:
        if task["data"]["frame"] == 40:
            task["annotations"] = [{"result": []}]
    (folder / TASKS).write_text(json.dumps(tasks))
    assert one.merge(folder / TASKS).corrected == 1
    assert one.corrections() == {("day1-cam", 40, ""): {}}


def test_empty_rows_of_deeplabcut_mean_nothing(one):
    folder = one.hand_over("deeplabcut")
    table = folder / "labeled-data/day1-cam/CollectedData_Ada.csv"
    table.write_text(
        "scorer,,,Ada,Ada\nbodyparts,,,nose,nose\ncoords,,,x,y\n"
        "labeled-data,day1-cam,frame-0000040.png,,\n"
    )
    summary = one.merge(folder)
    assert (summary.corrected, summary.empty) == (0, 1)


def test_a_json_that_lies_elsewhere_is_of_the_project_named(one):
    """As CVAT exports it: without folders in the names, and away from the images."""
    folder = one.hand_over("coco")
    path = correct_in_coco(one, folder)
    values = json.loads(path.read_text())
    for image in values["images"]:
        image["file_name"] = image["file_name"].rsplit("/")[-1]
    exported = one.folder / "downloads" / "person_keypoints_default.json"
    exported.parent.mkdir()
    exported.write_text(json.dumps(values))
    with pytest.raises(LabelError, match="no such image"):
        one.merge(exported)
    assert one.merge(exported, project=folder).corrected == 1
    assert one.corrections() == {("day2-cam", 9, ""): one.expect("day2-cam", 9, nose=(50.0, 40.0))}


def test_label_studio_renames_what_is_uploaded(one):
    folder = one.hand_over("label-studio")
    path = correct_in_label_studio(one, folder)
    tasks = json.loads(path.read_text())
    for number, task in enumerate(tasks):
        name = task["data"]["image"].rsplit("%2F")[-1].rsplit("/")[-1]
        task["data"]["image"] = f"/data/upload/3/{number:08x}-{name}"
    exported = one.folder / "project-3-at-2026.json"
    exported.write_text(json.dumps(tasks))
    assert one.merge(exported, project=folder).corrected == 1
    assert list(one.corrections()) == [("day2-cam", 9, "")]


def test_a_linked_sleap_file_may_go_to_another_machine(run):
    folder = run.hand_over("sleap", linked=True)
    path = correct_in_sleap(run, folder, "project.slp")
    assert run.merge(path).corrected == 1
    assert list(run.corrections()) == [("day2-cam", 9, "")]


def make_slp(path, filename, frame=9, count=None):
    skeleton = sleap_io.Skeleton(["nose", "ear", "tail"])
    described = {"shape": [count, 64, 96, 3]} if count else {}
    video = sleap_io.Video(filename, backend_metadata=described, open_backend=False)
    points = np.array([[3.0, 4], [np.nan, np.nan], [5, 6]])
    instance = sleap_io.Instance.from_numpy(points, skeleton=skeleton)
    one = sleap_io.LabeledFrame(video=video, frame_idx=frame, instances=[instance])
    sleap_io.Labels([one]).save(str(path), verbose=False)
    return path


def test_a_sleap_file_of_any_origin_finds_the_right_video(one):
    for filename in ("C:/data/day2/cam.mp4", "/elsewhere/day2/cam.mp4", "day2-cam.mp4"):
        summary = one.merge(make_slp(one.folder / "x.slp", filename), author=filename[:3] + "x")
        assert summary.corrected + summary.unchanged == 1
    assert one.corrections() == {
        ("day2-cam", 9, ""): {
            ("animal", "nose"): (3.0, 4.0, "visible"),
            ("animal", "tail"): (5.0, 6.0, "visible"),
        }
    }


@pytest.mark.parametrize(
    ("filename", "frame", "problem"),
    [
        ("/other/cam.mp4", 9, "may be any of the videos day1-cam, day2-cam"),
        ("/other/mouse.mp4", 9, "is none of the videos of the cohort sheet"),
        ("/x/day1/cam.mp4", 60, "video day1-cam has the frames 0 to 59"),
    ],
)
def test_a_sleap_file_of_unclear_videos_is_refused_whole(one, filename, frame, problem):
    with pytest.raises(LabelError, match=problem):
        one.merge(make_slp(one.folder / "x.slp", filename, frame))
    assert one.corrections() == {}


def test_where_only_the_name_of_a_video_agrees_its_length_counts(one, caplog):
    one.write_plan(("day1-cam",))
    path = one.folder / "x.slp"
    foreign = "/other/day9/cam.mp4"
    for name in (foreign, "cam.mp4", "C:\\other\\CAM.MP4", "/other/day9/day1-cam.mp4"):
        with pytest.raises(LabelError, match=r"has 5000 frames as the file records it, but day1"):
            one.merge(make_slp(path, name, count=5000))
    # A folder and a name may agree by chance, too.
    with pytest.raises(LabelError, match="whose path ends alike, has 60: it is another video"):
        one.merge(make_slp(path, "/other/day1/cam.mp4", count=59))
    assert one.corrections() == {}
    assert "only the name agrees" not in caplog.text
    for count in (60, None):
        caplog.clear()
        one.merge(make_slp(path, foreign, count=count))
        assert f"{foreign} is taken for video day1-cam (day1/cam.mp4): only the name" in caplog.text
    caplog.clear()
    one.merge(make_slp(path, "/other/day1/cam.mp4"))
    # The video itself may have been counted in another way.
    one.merge(make_slp(path, str(one.folder / "day1/cam.mp4"), count=61))
    assert "only the name" not in caplog.text
    assert list(one.corrections()) == [("day1-cam", 9, "")]


def film(path, seed):
    """Write a video of the example's size in which one scene stands still."""
    random = np.random.default_rng(seed)
    scene = np.kron(random.integers(0, 255, (8, 12, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=25, width=96, height=64, pix_fmt="yuv420p")
        for _ in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene)))
        container.mux(stream.encode())
    return scene


def test_a_label_of_another_video_of_equal_size_is_refused(one):
    """Every rig has a day2/cam.mp4: what was labelled must be what the cohort's frame shows."""
    own = film(one.folder / "day2/cam.mp4", seed=1)
    copy, other = (one.folder / place / "day2/cam.mp4" for place in ("copy", "other"))
    film(copy, seed=1)
    foreign = film(other, seed=2)
    with pytest.raises(LabelError, match=r"is no frame 9 of video day2-cam .*: it shows something"):
        one.merge(make_slp(one.folder / "x.slp", str(other)))
    assert one.corrections() == {}
    # A copy, and a video that is not on this machine, are found by their names as before.
    for path in (copy, one.folder / "gone/day2/cam.mp4"):
        summary = one.merge(make_slp(one.folder / "x.slp", str(path)), author=path.parts[-3])
        assert summary.corrected + summary.unchanged == 1
    # An image that was exchanged in the folder of a labelling project.
    folder = one.hand_over("coco")
    image = next(path for path in folder.rglob("*.png") if "day2-cam" in str(path))
    write_png(image, foreign)
    with pytest.raises(LabelError, match=r"day2-cam .*it shows something else"):
        one.merge(correct_in_coco(one, folder))
    write_png(image, own)
    assert one.merge(correct_in_coco(one, folder)).corrected == 1


def test_the_end_of_a_path_says_more_than_the_id_of_a_video(one):
    """Ids are free: that of one video may be the name of the file of another."""
    text = one.results.plan.read_text()
    one.results.plan.write_text(text.replace("day1-cam", "cam"))
    probe = one.results.shard("00001").probe
    probe.write_text(probe.read_text().replace("day1-cam", "cam"))
    one.merge(make_slp(one.folder / "x.slp", "/elsewhere/day2/cam.mp4"))
    assert list(one.corrections()) == [("day2-cam", 9, "")]


def test_frames_of_videos_that_are_gone_are_left_out_and_said(one, caplog):
    path = correct_in_coco(one, one.hand_over("coco"))
    one.write_plan(("day1-cam",))
    summary = one.merge(path, untouched=True)
    assert summary.corrected == 2
    assert summary.gone[0].endswith("video day2-cam is no longer part of the cohort")
    assert {video for video, _, _ in one.corrections()} == {"day1-cam"}
    assert "left out: " in caplog.text


def test_images_that_are_no_longer_labels_are_left_out(one):
    folder = one.hand_over("deeplabcut")
    table = folder / "labeled-data/old/CollectedData_Ada.csv"
    table.write_text(table.read_text().replace("30.5", "31.5"))
    table.with_suffix(".h5").unlink()
    one.results.labels.unlink()
    one.config = one.config.model_copy(
        update={"skeleton": one.config.skeleton.with_bodyparts(one.bodyparts)}
    )
    summary = one.merge(folder)
    assert (summary.corrected, len(summary.gone)) == (0, 2)
    assert "image mine/old/img000.png is no longer among the labels" in summary.gone[0]


def test_unknown_bodyparts_are_refused(one):
    folder = one.hand_over("coco")
    text = (folder / COCO).read_text().replace('"tail"', '"Tail"')
    (folder / COCO).write_text(text)
    with pytest.raises(LabelError, match=r"bodypart 'Tail' is labelled, but the project has nose"):
        one.merge(folder / COCO)


def test_more_animals_than_there_are_is_refused(one):
    folder = one.hand_over("coco")
    values = json.loads((folder / COCO).read_text())
    again = values["annotations"][0] | {"id": 99, "attributes": {}}
    values["annotations"].append(again)
    (folder / COCO).write_text(json.dumps(values))
    with pytest.raises(LabelError, match=r"2 animals are labelled, but `individuals.max` is 1"):
        one.merge(folder / COCO)


def test_images_of_another_project_are_refused(one):
    folder = one.hand_over("coco")
    (folder / "cohortpose.json").unlink()
    with pytest.raises(LabelError, match="to train on it, name the file under `labels`"):
        one.merge(folder / COCO)


def test_without_the_record_the_images_of_the_run_are_known(one):
    """Labels made beside the images that `refine` wrote."""
    images = one.results.refined_frames("pose")
    values = {
        "images": [{"id": 1, "file_name": "day2-cam/frame-0000009.png"}],
        "categories": [{"id": 1, "name": "m", "keypoints": ["nose"]}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [3.5, 4.5, 2]},
        ],
    }
    (images / "labels.json").write_text(json.dumps(values))
    one.merge(images / "labels.json")
    assert one.corrections() == {("day2-cam", 9, ""): {("animal", "nose"): (3.0, 4.0, "visible")}}


def test_the_frames_of_another_network_are_written_with_its_predictions(one):
    """The frames to label for the next iteration were chosen with the network of this one."""
    training = one.config.training.model_copy(update={"name": "pose-1"})
    one.config = one.config.model_copy(update={"training": training})
    project = one.hand_over("coco", labels=False, network="pose")
    images = json.loads((project / COCO).read_text())["images"]
    assert len(images) == len(CHOSEN)
    assert read_manifest(project / MANIFEST).frames[0].predicted
    with pytest.raises(LabelError, match="nothing to write"):
        one.hand_over("coco", "other", labels=False)
    for name, problem in (("pose-9", "no such network"), ("../pose", "must be letters")):
        with pytest.raises(LabelError, match=f"--network.*\n.*{problem}"):
            one.hand_over("coco", "third", network=name)


def test_a_project_is_never_overwritten(one):
    folder = one.hand_over("coco")
    with pytest.raises(StoreError, match="may hold somebody's corrections"):
        one.hand_over("coco")
    assert (folder / COCO).is_file()


@pytest.mark.parametrize("scorer", ["a/b", "..", "", ".hidden", "x\ny"])
def test_a_scorer_is_part_of_a_name(one, scorer):
    with pytest.raises(LabelError, match="a name"):
        run_write_label_project(
            one.config, one.results, one.folder / "p", ProjectOptions("coco", scorer)
        )
    assert not (one.folder / "p").exists()


def test_chosen_frames_of_videos_that_are_gone_are_not_written(one, caplog):
    one.write_plan(("day1-cam",))
    folder = one.hand_over("coco", labels=False)
    manifest = json.loads((folder / "cohortpose.json").read_text())
    assert {frame["video"] for frame in manifest["frames"]} == {"day1-cam"}
    assert "day2-cam is no longer a video of the cohort" in caplog.text


def test_without_frames_there_is_nothing_to_write(one):
    one.write_chosen(())
    with pytest.raises(LabelError, match="nothing to write"):
        one.hand_over("coco", labels=False)


def test_frames_of_refine_that_are_not_there(one):
    one.results.refined_table("pose").unlink()
    with pytest.raises(StoreError, match="run `cohortpose refine`"):
        one.hand_over("coco", frames="refined")
    with pytest.raises(StoreError, match="run `cohortpose select-frames`"):
        one.hand_over("coco", frames="selected")
    # The labels alone.
    assert len(json.loads((one.hand_over("coco") / COCO).read_text())["images"]) == 2


@pytest.mark.parametrize("form", ["coco", "sleap"])
def test_corrections_are_in_the_labels_and_in_the_next_project(tmp_path, monkeypatch, form):
    """From a label source through a tool to the import, and out again."""
    monkeypatch.chdir(tmp_path)
    run = Run(tmp_path)
    for day in ("day1", "day2"):
        (tmp_path / day / "cam.mp4").unlink()
        encode(tmp_path / day / "cam.mp4")
    for video, frame in CHOSEN:
        reader = VideoReader(tmp_path / video.removesuffix("-cam") / "cam.mp4")
        image = run.results.refined("pose") / f"frames/{video}/frame-{frame:07d}.png"
        write_png(image, next(picture for _, picture in reader.read(frame, frame + 1)))
    source = tmp_path / "mine" / "labels.json"
    shutil.copyfile(run.hand_over("coco", frames="none") / COCO, source)
    values = json.loads(source.read_text())
    for image in values["images"]:
        image["file_name"] = image["file_name"].replace("old/old-", "old/")
    source.write_text(json.dumps(values))
    run.config = parse_config({"cohort": "cohort.tsv", "labels": [{"path": "mine/labels.json"}]})
    run_import_labels(run.config, run.results)
    first = read_labels(run.results.labels).table.set_index(["frame", "bodypart"])
    # What the first project knew as hidden is so in the labels.
    assert first.loc[(0, "ear"), "visibility"] == "hidden"
    path = TOOLS[form](run, run.hand_over(form, "round1"))
    assert run.merge(path, iteration=0).corrected == 1
    run_import_labels(run.config, run.results)
    table = read_labels(run.results.labels).table
    rows = table[(table["video"] == "day2-cam") & table["visible"]].set_index("bodypart")
    assert sorted(rows.index) == ["ear", "nose", "tail"]
    assert rows.loc["nose", ["x", "y"]].tolist() == [50.0, 40.0]
    assert set(table["frame"]) == {0, 3, 9}
    # The frame is labelled now: the next project has it as a label, with its own image.
    again = run.hand_over(form, "round2")
    manifest = json.loads((again / "cohortpose.json").read_text())
    frames = {
        (one["video"], one["frame"], one["image"]): one["predicted"] for one in manifest["frames"]
    }
    assert frames["day2-cam", 9, ""] is None
    assert len(frames["day1-cam", 9, ""]) == 1
    # Merged once more, nothing changes.
    assert run.merge(again / ("project.pkg.slp" if form == "sleap" else COCO)).corrected == 0


def test_the_verbs(one):
    """As people type them."""
    config = one.folder / "config.yaml"
    config.write_text("cohort: cohort.tsv\n")
    runner = CliRunner()
    shared = ["--config", str(config)]
    said = runner.invoke(
        app, ["write-label-project", "p", *shared, "--format", "coco", "--scorer", "Eve"]
    )
    assert said.exit_code == 0, said.output
    correct_in_coco(one, one.folder / "p")
    said = runner.invoke(
        app, ["merge-labels", f"p/{COCO}", *shared, "--time", "2026-05-01T00:00:00Z"]
    )
    assert said.exit_code == 0, said.output
    (correction,) = read_label_corrections(one.folder / "corrections")
    assert (correction.author, correction.time.year) == ("Eve", 2026)
    for arguments in (
        ["write-label-project", "q", *shared, "--format", "cvat"],
        ["merge-labels", "p", *shared, "--format", "cvat"],
        ["merge-labels", "p", *shared, "--time", "yesterday"],
        ["merge-labels", "p", *shared, "--time", "2026-05-01T00:00:00"],
    ):
        said = runner.invoke(app, arguments)
        assert said.exit_code == 2, arguments
    said = runner.invoke(app, ["write-label-project", "p", *shared])
    assert said.exit_code == 1
    assert "may hold somebody's corrections" in said.output


@pytest.mark.parametrize("form", ["coco", "sleap"])
def test_regions_that_were_selected_are_handed_over_whole(one, form):
    """`frames.crop` writes a part of the frame; positions are those of the whole one."""
    for day in ("day1", "day2"):
        (one.folder / day / "cam.mp4").unlink()
    encode(one.folder / "day1" / "cam.mp4")
    folder = one.results.frames("day1-cam")
    rows = [{"frame": n, "time": 0, "image": f"frame-{n:07d}.png"} for n in (9, 41)]
    folder.mkdir(parents=True)
    for row in rows:
        write_png(folder / row["image"], np.zeros((20, 30, 3), np.uint8))
    write_table(folder / "frames.tsv", FRAME_COLUMNS, rows)
    project = one.hand_over(form, frames="selected", labels=False)
    images = project / "images" / "day1-cam"
    if form == "sleap":
        source = read_sleap(project / "project.pkg.slp", one.folder / "seen", predicted=True)
        assert sorted(set(source.points["frame"])) == [9, 41]
        images = one.folder / "seen" / "day1-cam"
    found = {path.name: read_image(path) for path in images.iterdir() if path.suffix == ".png"}
    assert [read_number(image) for _, image in sorted(found.items())] == [9, 41]
    manifest = json.loads((project / "cohortpose.json").read_text())
    nose = manifest["frames"][0]["predicted"][0]["points"]["nose"]
    assert nose == pytest.approx(one.predict("day1-cam", 9, "animal", "nose"), abs=1e-3)
