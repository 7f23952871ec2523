"""What others say while somebody corrects in another tool stays: only changed frames count."""

import csv
import json
import logging
import os
import shutil
from datetime import UTC, datetime

import pandas as pd
import pytest
import sleap_io

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.io.corrections.labels import (
    FrameCorrection,
    read_label_corrections,
    settle_corrections,
    write_frame_correction,
)
from pipeline_lib.steps.import_labels.run import run_import_labels
from tests.steps.label_projects.example import Run

COCO = "annotations/person_keypoints_default.json"
OLD = "mine/old/img000.png", "mine/old/img003.png"
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


# What Eve does in each tool: moves the nose of the first animal of the label of one image to
# (50, 40), and saves everything.


def move_in_deeplabcut(run, folder, image):
    stem = folder / "labeled-data/old/CollectedData_Ada"
    table = pd.read_hdf(f"{stem}.h5")
    several = [run.individuals[0]] if len(run.slots) > 1 else []
    row = ("labeled-data", "old", image)
    for coord, value in (("x", 50), ("y", 40)):
        table.loc[row, ("Ada", *several, "nose", coord)] = value
    table.to_hdf(f"{stem}.h5", key="df_with_missing", mode="w")
    table.to_csv(f"{stem}.csv")
    return folder


def move_in_sleap(run, folder, image):
    labels = sleap_io.load_slp(str(folder / "project.pkg.slp"), open_videos=False)
    number = sorted(path.rsplit("/")[-1] for path in OLD).index(image)
    for frame in labels.labeled_frames:
        video = frame.video.source_video or frame.video
        if isinstance(video.filename, list) and frame.frame_idx == number:
            for instance in frame.user_instances:
                if instance.track is None or instance.track.name == run.individuals[0]:
                    instance["nose"]["xy"] = 50, 40
    labels.save(str(folder / "edit.slp"), embed=False, verbose=False)
    return folder / "edit.slp"


def move_in_coco(run, folder, image):
    values = json.loads((folder / COCO).read_text())
    number = next(one["id"] for one in values["images"] if one["file_name"].endswith(image))
    for annotation in values["annotations"]:
        own = annotation["attributes"]["individual"] == run.individuals[0]
        if annotation["image_id"] == number and own:
            nose = values["categories"][0]["keypoints"].index("nose")
            annotation["keypoints"][3 * nose : 3 * nose + 2] = [50.5, 40.5]
    (folder / "edit.json").write_text(json.dumps(values))
    return folder / "edit.json"


def move_in_label_studio(run, folder, image):
    del run
    tasks = json.loads((folder / "tasks.json").read_text())
    task = next(one for one in tasks if one["data"]["image"].endswith(image))
    result = task["annotations"][0]["result"]
    nose = next(one for one in result if one.get("value", {}).get("keypointlabels") == ["nose"])
    nose["value"] |= {"x": 100 * 50.5 / 96, "y": 100 * 40.5 / 64}
    (folder / "edit.json").write_text(json.dumps(tasks))
    return folder / "edit.json"


TOOLS = {
    "deeplabcut": move_in_deeplabcut,
    "sleap": move_in_sleap,
    "coco": move_in_coco,
    "label-studio": move_in_label_studio,
}


def correct(run, video, frame, image="", *, author="Bob", place=(70.0, 20.0)):
    """Correct the ear of the first animal, as on the page, now."""
    points = ((run.individuals[0], "ear", *place, "visible"),)
    now = datetime.now(UTC)
    one = FrameCorrection(video, frame, image, author, now, 0, points)
    write_frame_correction(run.folder / "corrections", one)
    return {(run.individuals[0], "ear"): (*place, "visible")}


def read_eves(run):
    found = read_label_corrections(run.folder / "corrections")
    return [(one.video, one.frame, one.image) for one in found if one.author == "Eve"]


@pytest.mark.parametrize("form", TOOLS)
def test_corrections_made_meanwhile_stay(run, form, caplog):
    caplog.set_level(logging.INFO)
    folder = run.hand_over(form)
    label = correct(run, "old", 3, OLD[1])
    predicted = correct(run, "day1-cam", 9)
    path = TOOLS[form](run, folder, "img000.png")
    summary = run.merge(path, project=folder, author="Eve")
    assert read_eves(run) == [("old", 0, OLD[0])]
    found = run.corrections()
    assert found["old", 3, OLD[1]] == label
    assert found["day1-cam", 9, ""] == predicted
    nose = found["old", 0, OLD[0]][run.individuals[0], "nose"]
    assert nose == (50.0, 40.0, "visible")
    # COCO does not tell predictions from labels; of the other formats they are none.
    coco = form == "coco"
    assert (summary.corrected, summary.kept, summary.untouched) == (1, 1 + coco, 2 * coco)
    assert "have been labelled or corrected since" in caplog.text


@pytest.mark.parametrize("form", TOOLS)
def test_the_newest_correction_of_a_frame_counts_and_the_other_is_listed(one, form):
    source = one.folder / "mine" / "labels.json"
    shutil.copyfile(one.hand_over("coco", "first", frames="none") / COCO, source)
    source.write_text(source.read_text().replace("old/old-", "old/"))
    settings = {"cohort": "cohort.tsv", "labels": [{"path": "mine/labels.json"}]}
    one.config = parse_config(settings)
    run_import_labels(one.config, one.results)
    folder = one.hand_over(form, frames="none")
    label = correct(one, "old", 0, OLD[0])
    path = TOOLS[form](one, folder, "img000.png")
    assert one.merge(path, project=folder, author="Eve", iteration=0).corrected == 1
    settled, _ = settle_corrections(read_label_corrections(one.folder / "corrections"))
    ((key, chosen),) = settled.items()
    assert (key.image, chosen.author) == (OLD[0], "Eve")
    run_import_labels(one.config, one.results)
    with one.results.label_conflicts.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert ("Eve", "Bob") in [(row["kept_author"], row["replaced_author"]) for row in rows]
    # Told an earlier time than Bob's, Eve's is kept and does not count.
    early = datetime(2026, 1, 1, tzinfo=UTC)
    assert one.merge(path, project=folder, author="Zoe", time=early).corrected == 0
    shutil.rmtree(one.folder / "corrections")
    correct(one, "old", 0, OLD[0])
    assert one.merge(path, project=folder, author="Zoe", time=early).corrected == 1
    assert one.corrections()["old", 0, OLD[0]] == label


@pytest.mark.parametrize("form", TOOLS)
def test_digits_of_a_tool_are_no_change(one, form):
    """Within the tolerance of 0.01 px; the recorded position, not the tool's, is what was."""
    folder = one.hand_over(form, frames="none")
    record = json.loads((folder / "cohortpose.json").read_text())
    for frame in record["frames"]:
        for animal in frame["labelled"]:
            animal["points"] = {k: [x + 0.009, y - 0.009] for k, (x, y) in animal["points"].items()}
    (folder / "cohortpose.json").write_text(json.dumps(record))
    correct(one, "old", 3, OLD[1])
    summary = one.merge(TOOLS[form](one, folder, "img000.png"), project=folder, author="Eve")
    assert (summary.corrected, summary.kept) == (1, 1)


def test_a_keypoint_that_is_hidden_now_is_a_change_where_the_format_can_say_it(one):
    folder = one.hand_over("coco", frames="none")
    values = json.loads((folder / COCO).read_text())
    for annotation in values["annotations"]:
        # The ear of one image was hidden already.
        annotation["keypoints"][5] = 1
    (folder / COCO).write_text(json.dumps(values))
    correct(one, "old", 0, OLD[0])
    assert one.merge(folder / COCO, author="Eve").corrected == 1
    assert read_eves(one) == [("old", 3, OLD[1])]


def test_deleted_keypoints_and_animals_are_changes(run):
    folder = run.hand_over("label-studio", frames="none")
    correct(run, "old", 3, OLD[1])
    tasks = json.loads((folder / "tasks.json").read_text())
    for task in tasks:
        result = task["annotations"][0]["result"]
        task["annotations"][0]["result"] = [] if task["data"]["frame"] == 3 else result[:-1]
        if task["data"]["frame"] == 0 and len(run.slots) > 1:
            # The last one is a relation of a keypoint.
            task["annotations"][0]["result"] = result[:-2]
    (folder / "tasks.json").write_text(json.dumps(tasks))
    assert run.merge(folder / "tasks.json", author="Eve").corrected == 2
    assert run.corrections()["old", 3, OLD[1]] == {}


def test_predictions_that_nobody_looked_at_never_replace_a_label(one):
    label = correct(one, "day1-cam", 9)
    folder = one.hand_over("coco", frames="refined", labels=False)
    summary = one.merge(folder / COCO, author="Eve", untouched=True)
    assert (summary.corrected, summary.kept) == (2, 1)
    folder = one.hand_over("sleap", "more", labels=False)
    shutil.rmtree(one.folder / "corrections")
    correct(one, "day1-cam", 9)
    summary = one.merge(folder / "project.pkg.slp", author="Eve", predicted=True)
    assert (summary.corrected, summary.kept) == (2, 1)
    assert one.corrections()["day1-cam", 9, ""] == label


def test_without_a_record_a_label_of_before_is_none_of_the_file(one, caplog):
    """A SLEAP file without the folder that it was written to."""
    correct(one, "day1-cam", 9, author="Ada", place=(1.0, 2.0))
    skeleton = sleap_io.Skeleton(["nose", "ear", "tail"])
    path = one.folder / "x.slp"

    def write(x):
        video = sleap_io.Video("/elsewhere/day1/cam.mp4", open_backend=False)
        points = [[float("nan")] * 2, [x, 2.0], [float("nan")] * 2]
        instance = sleap_io.Instance.from_numpy(pd.DataFrame(points).to_numpy(), skeleton=skeleton)
        frame = sleap_io.LabeledFrame(video=video, frame_idx=9, instances=[instance])
        sleap_io.Labels([frame]).save(str(path), verbose=False)

    newer = correct(one, "day1-cam", 9)
    write(1.0)
    assert one.merge(path, author="Eve").kept == 1
    assert one.corrections()["day1-cam", 9, ""] == newer
    assert "no cohortpose.json says" not in caplog.text
    write(33.0)
    assert one.merge(path, author="Eve").corrected == 1
    assert one.corrections()["day1-cam", 9, ""] == {("animal", "ear"): (33.0, 2.0, "visible")}
    assert "1 corrected frames have other labels in the project, and no cohortpose.json" in (
        caplog.text
    )


@pytest.mark.parametrize("form", TOOLS)
def test_the_folder_of_a_project_is_enough(one, form):
    folder = one.hand_over(form)
    summary = one.merge(folder)
    assert (summary.corrected, summary.unchanged) == (0, 2)
    if form in {"sleap", "label-studio"}:
        path = TOOLS[form](one, folder, "img000.png")
        with pytest.raises(LabelError, match=rf"found {path.name}, .*: give the corrected file"):
            one.merge(folder)
        (folder / {"sleap": "project.pkg.slp"}.get(form, "tasks.json")).unlink()
        assert one.merge(folder).corrected == 1
        path.unlink()
        with pytest.raises(LabelError, match="found none: give the corrected file"):
            one.merge(folder)


def test_a_csv_that_is_newer_than_its_hdf5_copy_is_refused(one):
    folder = one.hand_over("deeplabcut", frames="none")
    table = folder / "labeled-data/old/CollectedData_Ada.csv"
    text = table.read_text()
    hdf5 = table.with_suffix(".h5")
    os.utime(hdf5, (1_700_000_000, 1_700_000_000))
    # The same labels: nothing to choose.
    assert one.merge(folder).unchanged == 2
    table.write_text(text.replace("30.5", "31.5"))
    with pytest.raises(LabelError, match=r"is newer than CollectedData_Ada.h5 and differs from it"):
        one.merge(folder)
    table.write_text("scorer,,,Ada\n1")
    with pytest.raises(LabelError, match="cannot be read"):
        one.merge(folder)
    assert one.corrections() == {}
    table.write_text(text.replace("30.5", "31.5"))
    hdf5.unlink()
    assert one.merge(folder).corrected == 2
    assert one.corrections()["old", 0, OLD[0]]["animal", "nose"] == (0.0, 31.5, "visible")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"labelled": None}, "expected either `predicted` or `labelled`"),
        ({"predicted": []}, "expected either `predicted` or `labelled`"),
        ({"labelled": [{"individual": "animal", "points": {"nose": [1, None]}}]}, "valid number"),
        ({"labelled": [{"individual": "animal", "points": {}, "hidden": 3}]}, "valid array"),
    ],
)
def test_a_record_that_was_edited(one, change, problem):
    folder = one.hand_over("coco", frames="none")
    record = json.loads((folder / "cohortpose.json").read_text())
    record["frames"][0] |= change
    (folder / "cohortpose.json").write_text(json.dumps(record))
    with pytest.raises(LabelError, match=problem):
        one.merge(folder / COCO)
