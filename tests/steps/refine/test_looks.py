"""Test `refine` with what a network sees: peaks, looks of labelled frames, and label errors."""

import logging
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import PREDICTION_COLUMNS
from pipeline_lib.io.images import write_png
from pipeline_lib.io.labels.table import read_labels, write_labels
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.provenance.run import hash_inputs
from pipeline_lib.steps.refine import run
from pipeline_lib.steps.refine.images import read_frames
from pipeline_lib.steps.refine.label_errors import LABEL_ERROR_COLUMNS, list_label_errors
from tests.models.synthetic import write_tiny_model
from tests.steps.refine.test_refine import BODYPARTS, Cohort, jump_at, video, walk  # noqa: F401
from tests.video_corpus import read_number


class Encoded(NamedTuple):
    embedding: np.ndarray
    surplus: np.ndarray


class Viewer:
    """A network that hesitates in given frames, and to which some look alike."""

    bodyparts = BODYPARTS

    def __init__(self, hesitates=(), looks=None):
        self.hesitates, self.looks = hesitates, looks or {}
        self.seen = []

    def encode(self, frames):
        found = []
        for frame in frames:
            number = read_number(frame)
            self.seen.append(number)
            surplus = np.zeros(len(BODYPARTS), np.float32)
            surplus[2] = 0.9 if number in self.hesitates else 0.0
            look = np.float32([self.looks.get(number, 0), number % 3])
            found.append(Encoded(look, surplus))
        return found


@pytest.fixture
def cohort(tmp_path, video):  # noqa: F811
    return Cohort(tmp_path, video)


def test_frames_in_which_the_network_hesitates_are_outliers(cohort, monkeypatch):
    for name in "abc":
        cohort.add(name)
    monkeypatch.setattr(run, "load_viewer", lambda _: Viewer(hesitates=(30,)))
    rows = cohort.refine(frames=180, min_gap=0)
    found = [row for row in rows if row["criterion"] == "peaks"]
    assert sorted((row["video"], row["frame"]) for row in found) == [
        ("a", "30"),
        ("b", "30"),
        ("c", "30"),
    ]
    assert found[0]["reason"].startswith("spine has a surplus peak ")
    assert {row["score"] for row in found} == {f"{np.log10(180 / 3):.3f}"}
    # It is one of the criteria, and can be left out.
    rows = cohort.refine(frames=3, min_gap=0, criteria=["jump", "uncertain"])
    assert {row["criterion"] for row in rows} <= {"jump", "uncertain"}


def test_where_the_network_always_hesitates_that_is_no_reason(cohort, monkeypatch):
    cohort.add("a", jump_at(20))
    monkeypatch.setattr(run, "load_viewer", lambda _: Viewer(hesitates=range(60)))
    rows = cohort.refine(frames=1)
    assert rows[0]["frame"] in ("20", "21")
    assert rows[0]["criterion"] != "peaks"


def test_peaks_alone_judge_a_sample(cohort, monkeypatch):
    cohort.add("a")
    monkeypatch.setattr(run, "load_viewer", lambda _: Viewer(hesitates=(12,)))
    rows = cohort.refine(frames=60, criteria=["peaks"], min_gap=0)
    assert [(row["frame"], row["criterion"]) for row in rows] == [("12", "peaks")]


def test_frames_that_look_like_labelled_ones_are_chosen_later(cohort, monkeypatch, tmp_path):
    def spoil(position, confidence, frame_status):
        del position, frame_status
        confidence[[10, 40]] = [[[0.42] * 4], [[0.44] * 4]]

    cohort.add("a", spoil)
    looks = {10: 50.0, 40: -50.0}
    monkeypatch.setattr(run, "load_viewer", lambda _: Viewer(looks=looks))
    assert cohort.refine(frames=1, criteria=["uncertain"])[0]["frame"] == "10"
    image = tmp_path / "labelled.png"
    ((_, _, picture),) = read_frames(cohort.video, [10], 60.0)
    write_png(image, picture)
    write = write_labels

    def write_with_image(path, labels):
        write(path, type(labels)(labels.table.assign(image=str(image)), *_rest(labels)))

    monkeypatch.setattr("tests.steps.refine.test_refine.write_labels", write_with_image)
    assert cohort.refine(frames=1, criteria=["uncertain"])[0]["frame"] == "40"


def _rest(labels):
    return labels.bodyparts, labels.individuals, labels.skeleton


def test_without_weights_thumbnails_are_compared_and_the_log_says_so(cohort, caplog):
    cohort.add("a", jump_at(20))
    assert cohort.refine(frames=1)[0]["frame"] in ("20", "21")
    assert "frames are compared by grey thumbnails" in caplog.text


def test_a_network_is_used_and_the_choice_is_repeatable(cohort, caplog):
    write_tiny_model(cohort.results.model("pose"))
    for name in "ab":
        cohort.add(name, jump_at(20))
    first = cohort.refine(frames=4)
    assert "thumbnails" not in caplog.text
    assert len(first) == 4
    assert cohort.refine(frames=4) == first


class Labelled:
    """Sixty labelled frames, and what networks predict of them."""

    def __init__(self, cohort, tmp_path):
        self.cohort, self.results = cohort, cohort.results
        cohort.labels = [("m", frame) for frame in range(60)]
        cohort.add("a")
        cohort.write()
        self.position = walk(60, seed=8)[0][:, 0]
        self.images = [tmp_path / f"{frame}.png" for frame in range(60)]
        self.wrong = self.position.copy()
        labels = read_labels(self.results.labels)
        self.rows = labels.table.assign(
            image=np.repeat([str(path) for path in self.images], 4), split="train"
        )
        self.labels = labels

    def read(self):
        """Return labels with errors."""
        table = self.rows.assign(x=self.wrong[..., 0].ravel(), y=self.wrong[..., 1].ravel())
        return type(self.labels)(table, *_rest(self.labels))

    def predict(self, name, splits, noise=0.5):
        """Write what a network predicts."""
        random = np.random.default_rng(len(name))
        position = self.position + random.normal(0, noise, self.position.shape)
        table = self.rows.assign(
            x=position[..., 0].ravel(),
            y=position[..., 1].ravel(),
            confidence=0.9,
            label_x=0.0,
            label_y=0.0,
            split=np.repeat(splits, 4),
        )[list(PREDICTION_COLUMNS)]
        path = self.results.predictions(name)
        path.parent.mkdir(parents=True)
        table.to_parquet(path, index=False)

    def list(self):
        config = parse_config({"cohort": "cohort.tsv"})
        return list_label_errors(config, self.results, self.read())


@pytest.fixture
def labelled(cohort, tmp_path):
    return Labelled(cohort, tmp_path)


def test_labels_that_are_far_from_predictions_are_listed_with_what_the_network_saw(labelled):
    labelled.wrong[7, 3] += 25
    labelled.wrong[33, 0] += 60
    splits = ["test" if frame < 20 else "train" for frame in range(60)]
    labelled.predict("pose", splits)
    rows = labelled.list()
    found = {(int(row["frame"]), row["bodypart"]): row for row in rows}
    assert set(list(found)[:2]) == {(33, "nose"), (7, "tail")}
    assert found[7, "tail"]["seen"] == "no"
    assert found[33, "nose"]["seen"] == "yes"
    assert {row["network"] for row in rows} == {"pose"}
    one = found[7, "tail"]
    assert one["what"] == "far from prediction"
    assert float(one["amount"]) == pytest.approx(25 * 2**0.5, abs=3)
    assert (float(one["x"]), float(one["y"])) == pytest.approx(
        tuple(labelled.position[7, 3]), abs=3
    )
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    severity = [float(row["severity"]) for row in rows]
    assert severity == sorted(severity, reverse=True)


def test_another_fold_of_a_cross_validation_judges_what_it_did_not_see(labelled):
    labelled.wrong[33, 0] += 60
    labelled.predict("pose", ["test" if frame < 20 else "train" for frame in range(60)])
    labelled.predict("fold-2", ["train" if frame < 20 else "test" for frame in range(60)])
    (row,) = [row for row in labelled.list() if row["bodypart"] == "nose"]
    assert (row["frame"], row["network"], row["seen"]) == (33, "fold-2", "no")


def test_without_an_evaluation_labels_are_compared_with_each_other(labelled, caplog):
    caplog.set_level(logging.INFO)
    labelled.wrong[33, 0] += 60
    rows = labelled.list()
    assert [(row["frame"], row["bodypart"], row["what"]) for row in rows] == [
        (33, "nose", "implausible geometry")
    ]
    assert (rows[0]["seen"], rows[0]["network"], rows[0]["x"]) == ("", "", "")
    assert "no network was evaluated" in caplog.text


def test_damaged_predictions_are_left_out(labelled, caplog):
    path = labelled.results.predictions("pose")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no table")
    assert labelled.list() == []
    assert "labels are not compared with predictions of pose" in caplog.text
    pd.DataFrame({"x": [1.0]}).to_parquet(path)
    assert labelled.list() == []
    assert "lacks the columns image" in caplog.text


def test_the_table_is_part_of_the_stage(cohort):
    cohort.add("a", jump_at(20))
    cohort.refine(frames=1)
    table = cohort.results.label_errors("pose")
    assert read_table(table, LABEL_ERROR_COLUMNS) == []
    # It does not keep the stage from running again.
    cohort.refine(frames=2)


def test_the_list_of_frames_is_an_input_of_the_run(tmp_path):
    (tmp_path / "cohort.tsv").write_text("video\tpath\n")
    named = tmp_path / "named.tsv"
    named.write_text("video\tframe\n")
    values = {"cohort": str(tmp_path / "cohort.tsv")}
    assert hash_inputs(parse_config(values))["refinement"] == {}
    refinement = {"enabled": True, "frame_list": str(named)}
    first = hash_inputs(parse_config(values | {"refinement": refinement}))["refinement"]
    assert set(first) == {str(named)}
    named.write_text("video\tframe\na\t1\n")
    second = hash_inputs(parse_config(values | {"refinement": refinement}))["refinement"]
    assert first[str(named)] != second[str(named)]
