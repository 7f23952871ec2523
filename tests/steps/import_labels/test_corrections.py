"""Test corrected labels: their frames, what they replace, iterations and the test split."""

import csv
import logging
import math
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pipeline_lib.core.errors import ConfigError, LabelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.io.corrections.labels import (
    BodypartChange,
    FrameCorrection,
    write_bodypart_change,
    write_frame_correction,
)
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels.table import label_arrays, read_labels
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.steps.import_labels.correction_inputs import list_corrections
from pipeline_lib.steps.import_labels.run import run_import_labels
from pipeline_lib.steps.provenance.run import hash_inputs
from pipeline_lib.steps.runs.preflight import check_run
from pipeline_lib.steps.runs.stage_keys import find_stage_key
from tests.io.labels.slp_examples import Project
from tests.steps.import_labels.test_run import make_project
from tests.video_corpus import HEIGHT, WIDTH, draw_frame, encode, read_number

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAN = math.nan


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A cohort of two videos of 40 frames, and an empty folder of corrections."""
    monkeypatch.chdir(tmp_path)
    Path("videos").mkdir()
    for name in ("mouse", "fly"):
        encode(Path(f"videos/{name}.mp4"), frames=40)
    Path("cohort.tsv").write_text("video\tpath\nmouse\tvideos/mouse.mp4\nf1\tvideos/fly.mp4\n")
    return tmp_path


def make_source(folder, frames, video="mouse", **options):
    """Write a DeepLabCut project whose images are the frames of the videos of the cohort."""
    make_project(folder, frames, video=video, **options)
    for frame in frames:
        image = folder / "labeled-data" / video / f"img{frame:04d}.png"
        Image.fromarray(draw_frame(frame)).save(image)
    return folder


def correct(frame, *points, video="mouse", image="", author="Ann", minute=0, iteration=0):
    """Write a correction whose points are (bodypart, x, y) or (bodypart, x, y, visibility)."""
    keypoints = tuple(
        (*(point[4:] or ("animal",)), *point[:3], *(point[3:4] or ("visible",))) for point in points
    )
    time = NOON + timedelta(minutes=minute)
    one = FrameCorrection(video, frame, image, author, time, iteration, keypoints)
    write_frame_correction(Path("corrections"), one)
    return one


def configure(*labels, **settings):
    sources = [one if isinstance(one, dict) else {"path": str(one)} for one in labels]
    return parse_config({"cohort": "cohort.tsv", "labels": sources, **settings})


def run(*labels, **settings):
    run_import_labels(configure(*labels, **settings), Results(Path("results")))
    return read_labels(Path("results/labels/labels.parquet"))


def read_conflicts():
    path = Path("results/labels/conflicts.tsv")
    return list(csv.DictReader(path.open(), delimiter="\t")) if path.exists() else []


def position(labels, frame, bodypart, video="mouse"):
    table = labels.table
    rows = table[
        (table["frame"] == frame) & (table["bodypart"] == bodypart) & (table["video"] == video)
    ]
    return [tuple(row) for row in rows[["x", "y"]].to_numpy()]


def test_frames_of_videos_are_labels_without_any_other_source(project):
    correct(7, ("nose", 3, 4), ("tail", 30, 20, "hidden"))
    correct(31, ("nose", 5, 6), ("tail", NAN, NAN, "absent"), video="f1")
    correct(9, video="mouse")
    labels = run()
    assert labels.bodyparts == ("nose", "tail")
    images = labels.table.drop_duplicates("image")
    assert images[["video", "frame"]].to_numpy().tolist() == [
        ["f1", 31],
        ["mouse", 7],
        ["mouse", 9],
    ]
    folder = project / "results/labels/images/corrections"
    assert images["image"].tolist() == [
        f"{folder}/{name}.png"
        for name in ("f1/frame-0000031", "mouse/frame-0000007", "mouse/frame-0000009")
    ]
    # The very frames, to the number drawn in them.
    assert [read_number(read_image(Path(image))) for image in images["image"]] == [31, 7, 9]
    assert position(labels, 7, "tail") == [(30, 20)]
    assert labels.table["visibility"].tolist() == [
        *("visible", "absent", "visible", "hidden", "absent", "absent")
    ]
    assert labels.table["visible"].tolist() == [True, False, True, True, False, False]
    assert set(labels.table["source"]) == {
        "corrections/labels/Ann/mouse.tsv",
        "corrections/labels/Ann/f1.tsv",
    }
    assert read_conflicts() == []


def test_images_are_written_once_and_only_what_is_new_is_read(project, monkeypatch):
    correct(7, ("nose", 3, 4))
    run()
    image = project / "results/labels/images/corrections/mouse/frame-0000007.png"
    first = image.stat().st_mtime_ns
    correct(8, ("nose", 3, 4))
    run()
    assert image.stat().st_mtime_ns == first
    assert image.with_name("frame-0000008.png").is_file()
    monkeypatch.setattr(
        "pipeline_lib.steps.import_labels.corrected_images.VideoReader",
        lambda _: pytest.fail("nothing had to be read"),
    )
    run()
    monkeypatch.undo()
    monkeypatch.chdir(project)
    # Another video of this name: its images are those of its frames.
    encode(Path("videos/mouse.mp4"), frames=41)
    os.utime("videos/mouse.mp4", (1, 1))
    run()
    assert image.stat().st_mtime_ns != first
    write = Path("corrections/labels/Ann/mouse.tsv")
    write.write_text("".join(write.read_text().splitlines(keepends=True)[:2]))
    run()
    assert [path.name for path in image.parent.glob("*.png")] == ["frame-0000007.png"]


def test_a_label_of_the_same_frame_is_replaced_as_a_whole_and_listed():
    source = make_source(Path("dlc"), [7, 8])
    before = run(source)
    splits = before.table["split"].tolist()
    correct(7, ("nose", 10, 5))
    labels = run(source)
    # The image, its place and its split stay.
    assert labels.table["image"].tolist() == before.table["image"].tolist()
    assert labels.table["split"].tolist() == splits
    assert position(labels, 7, "nose") == [(10, 5)]
    assert np.isnan(position(labels, 7, "tail")).all()
    assert position(labels, 8, "nose") == [(8, 1)]
    assert not Path("results/labels/images/corrections/mouse").exists()
    assert read_conflicts() == [
        {
            "what": "replaced",
            "video": "mouse",
            "frame": "7",
            "image": "dlc/labeled-data/mouse/img0007.png",
            "kept_source": "corrections/labels/Ann/mouse.tsv",
            "kept_author": "Ann",
            "kept_time": "2026-03-01T12:00:00Z",
            "replaced_source": "dlc/labeled-data/mouse/CollectedData_ann.csv",
            "replaced_author": "",
            "replaced_time": "",
            "distance": "5",
            "reason": "",
        }
    ]
    Path("corrections/labels/Ann/mouse.tsv").unlink()
    assert run(source).table.equals(before.table)
    assert read_conflicts() == []


def test_two_people_correct_one_frame_and_the_newest_counts():
    source = make_source(Path("dlc"), [7])
    image = "dlc/labeled-data/mouse/img0007.png"
    correct(7, ("nose", 1, 1), author="Zoe", minute=2)
    correct(7, ("nose", 2, 2), author="Bob", minute=2, image=image)
    correct(7, ("nose", 4, 4), author="Cyd", minute=1)
    labels = run(source)
    assert position(labels, 7, "nose") == [(2, 2)]
    rows = read_conflicts()
    assert [row["kept_author"] for row in rows] == ["Bob"] * 3
    assert [row["replaced_author"] for row in rows] == ["", "Zoe", "Cyd"]
    assert [float(row["distance"]) for row in rows] == pytest.approx([5.09902, 2**0.5, 8**0.5])


def test_every_image_of_a_frame_gets_its_correction():
    """Two projects that labelled one frame of one video keep their images, and their split."""
    sources = [make_source(Path(name), [7, 8]) for name in ("one", "two")]
    before = run(*sources)
    correct(7, ("nose", 10, 5))
    labels = run(*sources)
    assert position(labels, 7, "nose") == [(10, 5), (10, 5)]
    assert position(labels, 8, "nose") == [(8, 1), (8, 1)]
    assert labels.table[["image", "split"]].equals(before.table[["image", "split"]])
    assert [row["image"].split("/")[0] for row in read_conflicts()] == ["one", "two"]


def test_images_of_sources_are_corrected_by_their_paths(project):
    source = make_source(Path("dlc"), [7], video="other")
    for name in (
        "dlc/labeled-data/other/img0007.png",
        str(project / "dlc/./labeled-data/other/img0007.png"),
    ):
        correct(7, ("nose", 10, 5), image=name, video="other")
        assert position(run(source), 7, "nose", "other") == [(10, 5)]


def test_names_that_repeat_do_not_mix_videos_up():
    """A source's own file decides, not its name; a copy of the same size is the same video."""
    Path("elsewhere").mkdir()
    encode(Path("elsewhere/mouse.mp4"), frames=30)
    file = Project()
    file.add("elsewhere/mouse.mp4", 7, [(1, 1), None])
    path = file.save(Path("a.slp"))
    correct(7, ("nose", 9, 9))
    labels = run(path)
    assert sorted(position(labels, 7, "nose")) == [(1, 1), (9, 9)]
    Path("elsewhere/mouse.mp4").write_bytes(Path("videos/mouse.mp4").read_bytes())
    assert position(run(path), 7, "nose") == [(9, 9)]
    assert [row["what"] for row in read_conflicts()] == ["replaced"]


def list_corrected(labels):
    """Return position of the nose by image, relative to the project."""
    rows = labels.table[labels.table["bodypart"] == "nose"]
    return {os.path.relpath(image): (x, y) for image, x, y in rows[["image", "x", "y"]].to_numpy()}


OWN = "results/labels/images/corrections/mouse/frame-0000007.png"
LABELLED = "dlc/labeled-data/mouse/img0007.png"


def make_room():
    """Draw a floor with a dark animal; return a function from its place to a frame."""
    random = np.random.default_rng(3)
    floor = np.clip(random.normal(170, 6, (HEIGHT, WIDTH, 1)), 0, 255).repeat(3, axis=2)

    def show(x, y):
        image = floor.copy()
        image[y : y + 9, x : x + 9] = 40
        return image.astype(np.uint8)

    return show


@pytest.mark.parametrize("how", ["size", "scene", "animal elsewhere", "beyond the end"])
def test_an_image_of_another_recording_of_the_same_name_is_another_frame(how, caplog):
    source = make_source(Path("dlc"), [7, 47])
    image, frame = Path(LABELLED), 7
    if how == "size":
        Image.new("RGB", (640, 480)).save(image)
    elif how == "scene":
        Image.fromarray(draw_frame(7)[::-1]).save(image)
    elif how == "animal elsewhere":
        show = make_room()
        film(Path("videos/mouse.mp4"), [show(8, 8)] * 40)
        Image.fromarray(show(40, 40)).save(image)
    else:
        frame = 47
    before = list_corrected(run(source))
    correct(frame, ("nose", 9, 9))
    # The image of the other recording can be corrected, too, and keeps its own correction.
    if how == "beyond the end":
        correct(7, ("nose", 3, 4))
    with caplog.at_level(logging.WARNING):
        labels = list_corrected(run(source))
    assert "or of another recording" in caplog.text
    if how == "beyond the end":
        assert labels == before | {LABELLED: (3, 4)}
        assert [row["what"] for row in read_conflicts()] == ["replaced", "gone"]
        return
    assert labels == before | {OWN: (9, 9)}
    assert read_conflicts() == []
    correct(7, ("nose", 2, 3), image=LABELLED, author="Bob", minute=1)
    assert list_corrected(run(source)) == before | {OWN: (9, 9), LABELLED: (2, 3)}
    assert [row["kept_author"] for row in read_conflicts()] == ["Bob"]


def film(path, images):
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "35"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("how", ["jpeg", "encoded anew", "limited range", "darker", "gray"])
def test_an_image_that_was_encoded_anew_is_the_same_frame(how, caplog):
    """The greatest local difference is 10 to 13 gray levels, where 48 are allowed."""
    source = make_source(Path("dlc"), [7])
    show = make_room()
    film(Path("videos/mouse.mp4"), [show(8 + 2 * n, 8) for n in range(40)])
    shown, image = show(8 + 2 * 7, 8), Path(LABELLED)
    if how == "jpeg":
        Image.fromarray(shown).save(image, "JPEG", quality=20)
    elif how == "encoded anew":
        film(Path("again.mp4"), [show(8 + 2 * n, 8) for n in range(40)])
        pictures = [one for _, one in VideoReader("again.mp4").read(7, 8)]
        Image.fromarray(pictures[0]).save(image)
    elif how == "limited range":
        Image.fromarray((16 + shown * (219 / 255)).astype(np.uint8)).save(image)
    elif how == "darker":
        Image.fromarray((shown * 0.7).astype(np.uint8)).save(image)
    else:
        Image.fromarray(shown).convert("L").save(image)
    correct(7, ("nose", 9, 9))
    assert list_corrected(run(source)) == {LABELLED: (9, 9)}
    assert "another recording" not in caplog.text


def test_without_the_video_a_name_is_all_there_is(caplog):
    source = make_source(Path("dlc"), [7])
    Path("videos/mouse.mp4").unlink()
    correct(7, ("nose", 9, 9))
    with caplog.at_level(logging.WARNING):
        assert list_corrected(run(source)) == {LABELLED: (9, 9)}
    assert "for frames of mouse by their names alone" in caplog.text


def test_frames_of_another_recording_do_not_keep_frames_from_training():
    source = make_source(Path("dlc"), range(0, 40, 2))
    for frame in range(0, 40, 2):
        Image.new("RGB", (640, 480)).save(source / f"labeled-data/mouse/img{frame:04d}.png")
    split = {"method": "block", "test_fraction": 0.2, "block_frames": 3}
    settings = {"training": {"split": split}}
    before = run(source, **settings).table.drop_duplicates("image")
    tested = before.loc[before["split"] == "test", "frame"].tolist()
    settings["training"]["iteration"] = 1
    for frame in tested:
        correct(frame, ("nose", 9, 9), iteration=1)
    now = run(source, **settings).table.drop_duplicates("image")
    known = dict(zip(now["image"], now["split"], strict=True))
    assert {image: known[image] for image in before["image"]} == dict(
        zip(before["image"], before["split"], strict=True)
    )
    assert now.loc[now["iteration"] == 1, "split"].tolist() == ["train"] * len(tested)


def test_a_misspelt_bodypart_is_named_with_its_line_and_the_nearest_name():
    source = make_source(Path("dlc"), [6, 7])
    correct(7, ("nose", 9, 9), ("taill", 1, 1))
    correct(8, ("snoot", 9, 9))
    said = (
        r"Ann/mouse\.tsv, line 3: the project has no bodypart 'taill'; did you mean tail\?",
        r"Ann/mouse\.tsv, line 4: the project has no bodypart 'snoot'; it has nose, tail",
    )
    with pytest.raises(LabelError) as caught:
        run(source)
    values = {"cohort": "cohort.tsv", "labels": [{"path": "dlc"}]}
    with pytest.raises(ConfigError) as early:
        check_run(values)
    for line in said[::-1]:
        assert re.search(line, str(caught.value))
        assert re.search(line, str(early.value))
    assert len(caught.value.problems) == len(early.value.problems) == 2
    # The config alone names bodyparts, too.
    with pytest.raises(LabelError, match=r"line 4: .* 'snoot'"):
        run(skeleton={"bodyparts": ["nose", "tail"]})
    with pytest.raises(ConfigError, match=r"line 4: .* 'snoot'"):
        check_run({"cohort": "cohort.tsv", "skeleton": {"bodyparts": ["nose", "tail"]}})
    write_bodypart_change(
        Path("corrections"), BodypartChange("rename", "snoot", "nose", "Ann", NOON)
    )
    for name in ("taill", "nose"):
        change = BodypartChange("add", name, "", "Ann", NOON + timedelta(minutes=1))
        write_bodypart_change(Path("corrections"), change)
    assert set(run(source).bodyparts) == {"snoot", "tail", "taill", "nose"}


def test_a_project_without_other_labels_takes_bodyparts_from_the_table_or_the_corrections():
    correct(7, ("nose", 9, 9), ("snoot", 1, 1))
    assert run().bodyparts == ("nose", "snoot")
    write_bodypart_change(Path("corrections"), BodypartChange("add", "nose", "", "Ann", NOON))
    with pytest.raises(LabelError, match=r"line 3: the project has no bodypart 'snoot'"):
        run()


def test_an_unknown_name_of_the_one_animal_is_said(caplog):
    source = make_source(Path("dlc"), [7], individuals=("ann", "bea"), bodyparts=("nose", "nose"))
    table = source / "labeled-data/mouse/CollectedData_ann.csv"
    table.write_text(table.read_text().replace("7,1,7,1", "7,1,,"))
    for frame, name in ((7, "mouse7"), (8, "animal"), (9, "ann")):
        correct(frame, ("nose", 9, 9, "visible", name))
    with caplog.at_level(logging.WARNING):
        labels = run(source)
    assert labels.individuals == ("animal",)
    assert [position(labels, frame, "nose") for frame in (7, 8, 9)] == [[(9, 9)]] * 3
    said = [one.getMessage() for one in caplog.records if "is unknown" in one.getMessage()]
    assert len(said) == 1
    assert re.search(r"Ann/mouse\.tsv, line 2: individual 'mouse7' is unknown", said[0])


def test_two_videos_of_one_file_name_are_matched_by_id_only():
    Path("more").mkdir()
    encode(Path("more/fly.mp4"), frames=40)
    with Path("cohort.tsv").open("a") as sheet:
        sheet.write("f2\tmore/fly.mp4\n")
    source = make_source(Path("dlc"), [7], video="fly")
    correct(7, ("nose", 9, 9), video="f1")
    labels = run(source)
    assert position(labels, 7, "nose", "fly") == [(7, 1)]
    assert position(labels, 7, "nose", "f1") == [(9, 9)]


def test_what_is_gone_is_named_and_listed_and_the_rest_goes_on(caplog):
    Path("broken.mp4").write_bytes(b"no video")
    with Path("cohort.tsv").open("a") as sheet:
        sheet.write("b\tbroken.mp4\nn\tnone.mp4\n")
    correct(7, ("nose", 3, 4))
    correct(40, ("nose", 3, 4))
    correct(1, ("nose", 3, 4), video="left")
    correct(2, ("nose", 3, 4), video="b")
    correct(3, ("nose", 3, 4), video="n")
    correct(4, ("nose", 3, 4), video="x", image="../../etc/passwd")
    with caplog.at_level(logging.WARNING):
        labels = run()
    assert labels.table["frame"].unique().tolist() == [7]
    assert (
        "correction of mouse, frame 40 by Ann is left out: its video has 40 frames" in caplog.text
    )
    assert "correction of left, frame 1 by Ann is left out: the cohort sheet has no" in caplog.text
    assert "../../etc/passwd by Ann is left out: no label source has this image" in caplog.text
    gone = {(row["video"], row["frame"]): row["reason"] for row in read_conflicts()}
    assert {row["what"] for row in read_conflicts()} == {"gone"}
    assert gone.keys() == {("mouse", "40"), ("left", "1"), ("b", "2"), ("n", "3"), ("x", "4")}
    assert gone["b", "2"].startswith("its video cannot be read: ")


def test_nothing_is_left_where_every_correction_is_gone():
    correct(1, ("nose", 3, 4), video="left")
    with pytest.raises(LabelError, match="no bodypart is labelled in any image"):
        run()


def test_a_point_outside_its_image_is_one_problem():
    correct(7, ("nose", 3000, 4), ("tail", 1, 1))
    with pytest.raises(LabelError, match=r"Ann/mouse\.tsv: mouse, frame 7, animal nose: x 3000"):
        run()


def test_damaged_tables_are_found_before_any_work():
    correct(7, ("nose", 3, 4))
    table = Path("corrections/labels/Ann/mouse.tsv")
    table.write_text(table.read_text().replace("visible", "seen"))
    values = {"cohort": "cohort.tsv"}
    with pytest.raises(
        ConfigError, match=r"`corrections`: .*Ann/mouse\.tsv, line 2: .*'seen'"
    ) as caught:
        check_run(values)
    assert len(caught.value.problems) == 1
    with pytest.raises(LabelError, match=r"Ann/mouse\.tsv, line 2"):
        run()


def test_several_animals_keep_their_names_and_may_be_none():
    source = make_source(Path("dlc"), [7, 8], individuals=("ann", "bea"))
    for x, name in ((9, "bea"), (11, "cyd")):
        correct(7, ("nose", x, 1, "visible", name), ("tail", x, 2, "visible", name))
        several = {"individuals": {"max": 3}, "skeleton": {"edges": [["nose", "tail"]]}}
        labels = run(source, **several)
        table = labels.table[labels.table["visible"] & (labels.table["frame"] == 7)]
        assert table["individual"].tolist() == [name, name]
        assert table["x"].tolist() == [x, x]
    correct(8)
    labels = run(source, **several)
    images, positions = label_arrays(labels)
    assert images["frame"].tolist() == [7, 8]
    assert np.isnan(positions[1]).all()
    correct(7, ("nose", 1, 1, "visible", "a"), ("nose", 9, 9, "visible", "b"))
    with pytest.raises(LabelError, match=r"Ann/mouse\.tsv: 2 individuals are labelled \(a, b\)"):
        run(source)


def test_bodyparts_are_renamed_and_added_for_all_sources():
    source = make_source(Path("dlc"), [7, 8])
    changes = Path("corrections")
    correct(8, ("nose", 1, 1), ("tail", 2, 2))
    for minute, what, name, former in (
        (1, "rename", "snout", "nose"),
        (2, "add", "ear", ""),
        (3, "add", "paw", ""),
    ):
        time = NOON + timedelta(minutes=minute)
        write_bodypart_change(changes, BodypartChange(what, name, former, "Ann", time))
    correct(9, ("snout", 3, 3), ("ear", 4, 4), minute=5)
    labels = run(source, skeleton={"bodyparts": ["tail", "nose"], "edges": [["nose", "tail"]]})
    # `paw` has no label: it is no bodypart yet.
    assert labels.bodyparts == ("tail", "snout", "ear")
    assert labels.skeleton.edges == (("snout", "tail"),)
    assert position(labels, 7, "snout") == [(7, 1)]
    assert position(labels, 8, "snout") == [(1, 1)]
    assert position(labels, 9, "ear") == [(4, 4)]
    table = labels.table[labels.table["bodypart"] == "ear"]
    # What was corrected before there was an ear says nothing of it.
    assert table["visibility"].tolist() == ["", "", "visible"]
    check_run(
        {"cohort": "cohort.tsv", "labels": [{"path": "dlc"}], "skeleton": {"bodyparts": ["nose"]}}
    )
    time = NOON + timedelta(minutes=9)
    write_bodypart_change(changes, BodypartChange("rename", "tail", "snout", "Ann", time))
    with pytest.raises(LabelError, match=r"mouse, frame 8: nose and tail are both labelled, but"):
        run(source)
    Path("corrections/labels/Ann/mouse.tsv").unlink()
    with pytest.raises(
        LabelError, match=r"img0007\.png: nose and tail are both labelled, but body"
    ):
        run(source)


def test_a_swap_of_two_names_is_applied_in_order():
    source = make_source(Path("dlc"), [7], bodyparts=("left", "right"))
    for minute, former, name in ((1, "left", "x"), (2, "right", "left"), (3, "x", "right")):
        time = NOON + timedelta(minutes=minute)
        change = BodypartChange("rename", name, former, "Ann", time)
        write_bodypart_change(Path("corrections"), change)
    correct(7, ("left", 1, 1), ("right", 2, 2))
    labels = run(source)
    assert (position(labels, 7, "right"), position(labels, 7, "left")) == ([(1, 1)], [(2, 2)])


def key(*labels, **settings):
    config = configure(*labels, **settings)
    return find_stage_key(config, Results(Path("results")), "import-labels").name


def test_provenance_is_of_the_rows_in_use():
    source = make_source(Path("dlc"), [7])
    config = configure(source)
    assert hash_inputs(config)["corrections"] == {}
    correct(7, ("nose", 1, 1))
    correct(8, ("nose", 1, 1), author="Bob", iteration=1)
    table = "corrections/labels/Ann/mouse.tsv"
    found = hash_inputs(config)["corrections"]
    assert list(found) == [table]
    correct(9, ("nose", 1, 1), iteration=1)
    assert hash_inputs(config)["corrections"] == found
    correct(7, ("nose", 1, 2))
    assert hash_inputs(config)["corrections"][table] != found[table]
    later = hash_inputs(configure(source, training={"iteration": 1}))["corrections"]
    assert list(later) == [table, "corrections/labels/Bob/mouse.tsv"]
    Path(table).write_text("nothing")
    assert set(hash_inputs(config)["corrections"].values()) == {None}


def test_keys_depend_on_what_is_used_and_on_nothing_else():
    source = make_source(Path("dlc"), [7])
    before = key(source)
    correct(8, ("nose", 1, 1), iteration=1)
    # Labels of the next iteration leave this one as it is.
    assert key(source) == before
    assert list_corrections(configure(source)) == []
    later = key(source, training={"iteration": 1})
    assert later != before
    correct(7, ("nose", 1, 1), author="Bob")
    first = key(source)
    assert first not in (before, later)
    lines = list_corrections(configure(source))
    assert lines[0].startswith("mouse as Bob labelled it: 1 frames, ")
    assert lines[1].startswith("corrected video mouse: ")
    correct(7, ("nose", 1, 1.5), author="Bob")
    assert key(source) != first
    correct(7, ("nose", 1, 1), author="Bob")
    assert key(source) == first
    # A video that leaves the cohort, or comes back, counts.
    Path("cohort.tsv").write_text("video\tpath\nf1\tvideos/fly.mp4\n")
    assert key(source) != first
    assert not Path("results").exists()


@pytest.mark.parametrize("method", ["random", "block"])
@pytest.mark.parametrize("folds", [None, 3])
def test_the_split_of_the_first_iteration_stays(method, folds):
    source = make_source(Path("dlc"), range(0, 40, 2))
    more = make_source(Path("more"), [3, 33], video="fly")
    split = {"method": method, "test_fraction": 0.2, "block_frames": 3, "folds": folds, "fold": 1}
    settings = {"training": {"split": split, "validation_fraction": 0.2}}
    for frame in (1, 5, 9):
        correct(frame, ("nose", 1, 1), video="f1")
    before = run(source, **settings).table.drop_duplicates("image")
    known = dict(zip(before["image"], before["split"], strict=True))
    assert set(known.values()) == {"train", "test", "validation"}
    tested = before.loc[before["split"] == "test", "frame"].tolist()
    # Test frames, neighbours of theirs and others are labelled in iteration 1.
    correct(tested[0], ("nose", 9, 9), author="Bob", iteration=1)
    correct(1, ("nose", 2, 2), video="f1", author="Ann", iteration=1)
    for frame in range(1, 40, 6):
        correct(frame, ("nose", 2, 2), iteration=1)
    later = {"path": str(more), "iteration": 1}
    assert run(source, later, **settings).table.drop_duplicates("image")["image"].tolist() == (
        before["image"].tolist()
    )
    settings["training"]["iteration"] = 1
    for sources in ((source, later), (later, source)):
        now = run(*sources, **settings).table.drop_duplicates("image")
        found = dict(zip(now["image"], now["split"], strict=True))
        assert {image: found[image] for image in known} == known
        new = now[~now["image"].isin(known)]
        assert len(new) == 9
        assert set(new["iteration"]) == {1}
        assert set(new["split"]) == ({"train", "unused"} if method == "block" else {"train"})
        for row in new[new["video"] == "mouse"].to_dict("records"):
            near = min(abs(row["frame"] - frame) for frame in tested)
            if method == "block" and near <= 1:
                assert row["split"] == "unused"
    unused = [row for row in read_conflicts() if row["what"] == "left out"]
    assert len(unused) == (new["split"] == "unused").sum()


def test_a_later_label_of_a_test_frame_never_trains():
    source = make_source(Path("dlc"), range(10))
    (copy := Path("copy")).mkdir()
    again = make_source(copy / "mouse", range(10))
    settings = {"training": {"split": {"test_fraction": 0.3}, "iteration": 1}}
    table = run(source, {"path": str(again), "iteration": 1}, **settings).table
    images = table.drop_duplicates("image")
    tested = set(images.loc[images["split"] == "test", "frame"])
    assert len(tested) == 3
    later = images[images["iteration"] == 1]
    assert set(later.loc[later["split"] == "unused", "frame"]) == tested
    assert (later.loc[later["split"] != "unused", "split"] == "train").all()
    found, _ = label_arrays(read_labels(Path("results/labels/labels.parquet")))
    assert len(found) == 17


def test_only_later_iterations_are_no_labels_of_this_one():
    source = make_source(Path("dlc"), [7])
    with pytest.raises(LabelError, match=r"no labels of iteration 0 \(`training.iteration`\)"):
        run({"path": str(source), "iteration": 1})
    values = {"cohort": "cohort.tsv", "labels": [{"path": str(source), "iteration": 1}]}
    with pytest.raises(
        ConfigError, match=r"`training\.iteration`: 0, but .* iterations only \(1\)"
    ):
        check_run(values)
    correct(8, ("nose", 1, 1), iteration=2)
    with pytest.raises(ConfigError, match=r"iterations only \(later ones\)"):
        check_run({"cohort": "cohort.tsv"})


def test_a_copied_image_of_the_results_is_still_known():
    """The page names images as the labels do, and these names may be of another run."""
    file = Project()
    Path("elsewhere").mkdir()
    encode(Path("elsewhere/rat.mp4"), frames=12)
    file.add("elsewhere/rat.mp4", 7, [(1, 1), None])
    path = file.save(Path("a.slp"))
    correct(
        7, ("nose", 9, 9), video="rat", image="results/labels/images/03-b/rat/frame-0000007.png"
    )
    assert position(run(path), 7, "nose", "rat") == [(9, 9)]
