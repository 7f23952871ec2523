"""Targets beside predictions: what the pictures show, their size, and why there are none."""

import base64
import json

import cv2
import numpy as np
import pandas as pd
import pytest
from zarr import consolidate_metadata

from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import HISTORY_COLUMNS, PREDICTION_COLUMNS
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.io.targets.score_maps import PredictedMaps, write_score_maps
from pipeline_lib.io.targets.store import (
    SampleRecord,
    TargetBlock,
    TargetLayout,
    TargetStore,
    create_targets,
    write_block,
)
from pipeline_lib.steps.report.score_maps import read_scores
from tests.steps.report.report_pages import (
    EVIL,
    browse,
    make_cohort,
    needs_browser,
    read_page,
    section_ids,
)

PARTS = ("snout", "tailbase")
STRIDE = 8


def write_targets(results, *, side=256, window=None, count=1):
    """Write a store of gray frames with the snout at cell (20, 10), the tail base nowhere."""
    cells = side // STRIDE
    layout = TargetLayout(
        side, side, cells, cells, STRIDE, 1.0, 7.0, Skeleton(bodyparts=PARTS), 1, 8, window=window
    )
    name = f"{EVIL.replace('/', '')}.png"
    records = [SampleRecord(f"labelled/{name}", "test", side, side) for _ in range(count)]
    keypoint = np.full((count, 1, 2, 2), np.nan, np.float32)
    keypoint[:, 0, 0] = (10 * STRIDE + 3.5, 20 * STRIDE + 3.5)
    score = np.zeros((count, 2, cells, cells), np.float16)
    score[:, 0, 20, 10] = 1.0
    group = create_targets(results.targets, layout, records, "targets' key")
    noise = np.random.default_rng(0).integers(0, 255, (count, side, side, 3), dtype=np.uint8)
    block = TargetBlock(
        image=noise if count > 1 else np.full_like(noise, 100),
        keypoint=keypoint,
        score_map=score,
        location_refinement=np.zeros((count, 2, 2, cells, cells), np.float16),
        refinement_mask=np.zeros((count, 2, cells, cells), bool),
    )
    write_block(group, 0, block)
    consolidate_metadata(group.store)


def write_prediction(results, *, side=256, count=1, key="targets' key", row=24, column=14):
    cells = side // STRIDE
    score = np.zeros((count, 2, cells, cells), np.float32)
    score[:, 0, row, column] = 0.8
    score[:, 0, 20, 10] = 0.2
    path = results.score_maps("pose")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_score_maps(path, PredictedMaps(key, np.arange(count), np.full(count, 45.25), score))


@pytest.fixture
def run(tmp_path):
    return make_cohort(tmp_path, ["a"])


def decode(url):
    data = base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int)


def find_colour(picture):
    """Return where a picture is coloured, as shares of its width and height: the mean place."""
    spread = picture.max(axis=2) - picture.min(axis=2)
    rows, columns = np.nonzero(spread > 60)
    assert len(rows)
    return columns.mean() / picture.shape[1], rows.mean() / picture.shape[0]


def test_targets_and_predictions_are_where_they_belong(run):
    """Both in one region of the frame: 32 px right and below are the difference of two cells."""
    config, results = run
    write_targets(results)
    write_prediction(results)
    page = read_page(config, results)
    assert section_ids(page) == ["cohort", "maps", "record"]
    target, predicted = page.all("img")
    assert target["alt"].startswith("Target score maps of test frame")
    assert "mean error 45.3 px" in predicted["alt"] or "mean error 45.2 px" in predicted["alt"]
    pictures = [decode(one["src"]) for one in (target, predicted)]
    assert pictures[0].shape == pictures[1].shape
    assert pictures[0].shape[1::-1] == (int(target["width"]), int(target["height"]))
    (x, y), (other_x, other_y) = map(find_colour, pictures)
    # The region is at least 120 px high, in the proportions 4 to 3.
    assert (other_x - x) * 160 == pytest.approx(32, abs=4)
    assert (other_y - y) * 120 == pytest.approx(32, abs=4)
    # The snout's colour is red: blue, green and red as OpenCV has them.
    row, column = int(y * pictures[0].shape[0]), int(x * pictures[0].shape[1])
    blue, green, red = pictures[0][row, column]
    assert red > 200
    assert max(blue, green) < 150
    (errors,) = page.all("ul", class_="errors")
    assert errors["text"].split() == ["snout", "0.20"]


def test_the_middle_of_a_window_is_shown(run):
    """128 px of 256: cells (4, 4) to (12, 12) of 16 and more; the snout is at (4, -6) then."""
    config, results = run
    write_targets(results, window=128)
    store = TargetStore(results.targets)
    assert store.read_seen("image", 0).shape == (128, 128, 3)
    assert store.read_seen("score_map", 0).shape == (2, 16, 16)
    assert store.read_seen("keypoint", 0)[0, 0].tolist() == [83.5 - 64, 163.5 - 64]
    assert store.read_seen("score_map", 0)[0, 12, 2] == 1.0
    assert np.isnan(store.read_seen("keypoint", 0)[0, 1]).all()
    write_prediction_of_window(results)
    assert len(read_page(config, results).all("img")) == 2


def write_prediction_of_window(results):
    score = np.zeros((1, 2, 16, 16), np.float32)
    score[0, 0, 12, 2] = 0.9
    path = results.score_maps("pose")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_score_maps(path, PredictedMaps("targets' key", np.arange(1), np.ones(1), score))


def test_the_panel_is_bounded(run):
    """Frames of noise and of many pixels, and more of them than are shown."""
    config, results = run
    write_targets(results, side=2048, count=6)
    write_prediction(results, side=2048, count=6, row=250, column=250)
    page = read_page(config, results)
    images = page.all("img")
    assert len(images) == 2 * 4
    assert max(int(one["width"]) for one in images) <= 420
    assert sum(len(one["src"]) for one in images) < 1_500_000


def test_user_text_stays_text(run):
    config, results = run
    write_targets(results)
    write_prediction(results)
    page = read_page(config, results)
    assert len(page.all("script")) == 2
    assert EVIL.replace("/", "") in page.all("img")[0]["alt"]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("old", "run `cohortpose evaluate` and then `cohortpose report`"),
        ("none", "No labelled frame is held out"),
        ("other key", "made again after this evaluation"),
        ("other size", "made again after this evaluation"),
        ("no store", "cannot be read"),
        ("damaged", "cannot be read"),
        ("no sample", "made again after this evaluation"),
    ],
)
def test_without_maps_the_panel_says_why(case, reason, run):
    config, results = run
    write_targets(results)
    write_prediction(results)
    path = results.score_maps("pose")
    match case:
        case "old":
            path.unlink()
            row = ("i.png", "v", 0, "test", "animal", "snout", 1.0, 1.0, 0.9, 1.0, 2.0)
            table = pd.DataFrame([row], columns=list(PREDICTION_COLUMNS))
            table.to_parquet(results.predictions("pose"))
        case "none":
            write_score_maps(path, PredictedMaps.empty("No labelled frame is held out."))
        case "other key":
            write_prediction(results, key="another")
        case "other size":
            write_prediction(results, side=512)
        case "no store":
            (results.targets / "zarr.json").unlink()
        case "damaged":
            path.write_bytes(path.read_bytes()[:100])
        case "no sample":
            write_prediction(results, count=2)
    page = read_page(config, results)
    assert page.all("img") == []
    assert reason in page.all("section", id="maps")[0]["text"]


def test_scores_at_the_labels_by_hand():
    """Two animals: the smaller one counts; a label outside of the map is at its border."""
    keypoint = np.full((2, 2, 2), np.nan)
    keypoint[0, 0], keypoint[1, 0] = (3.5, 11.5), (19.5, 3.5)
    score = np.zeros((2, 3, 4))
    score[0, 1, 0], score[0, 0, 2] = 0.75, 0.5
    assert read_scores(keypoint, score, PARTS, 8) == {"snout": 0.5}
    keypoint[0, 1] = (-50.0, 500.0)
    score[1, 2, 0] = 0.25
    assert read_scores(keypoint, score, PARTS, 8) == {"snout": 0.5, "tailbase": 0.25}


# ---- learning curves


def write_history(results, **metrics):
    rows = [
        {"epoch": epoch, "step": epoch, "metric": name, "value": value / (epoch + 1)}
        for epoch in range(3)
        for name, value in metrics.items()
    ]
    write_table(results.model("pose").history, HISTORY_COLUMNS, rows)


def training_text(run, card=None, **metrics):
    config, results = run
    write_history(results, **metrics)
    if card is not None:
        results.model("pose").card.write_text(json.dumps({"training": card}))
    (section,) = read_page(config, results).all("section", id="training")
    return " ".join(section["text"].split())


def test_training_against_test_is_charted(run):
    text = training_text(
        run, train_loss=1.0, train_error=4.0, test_loss=2.0, test_error=9.0, test_median_error=7.0
    )
    assert "Loss: training against test" in text
    assert "Error: training against test" in text
    assert "The test curves influence no choice in training" in text
    assert "test, median" in text


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (None, "trained before test frames were measured"),
        ({"frames": {"train": 3, "test": 2}, "settings": {}}, "trained before test frames"),
        ({"frames": {"train": 3, "test": 0}}, "No labelled frame is held out for testing"),
        ({"frames": {"test": 2}, "settings": {"measure_every": 0}}, "measure_every is 0"),
        ({"frames": [], "settings": "x"}, "trained before test frames were measured"),
    ],
)
def test_curves_without_test_frames_say_why(card, reason, run):
    text = training_text(run, card, train_loss=1.0, learning_rate=0.1)
    assert reason in text
    assert "against test" not in text


@needs_browser
def test_a_browser_shows_the_maps_without_complaint(run, tmp_path):
    config, results = run
    write_targets(results)
    write_prediction(results)
    write_history(results, train_loss=1.0, test_loss=2.0, test_error=9.0)
    read_page(config, results)
    page, complaints = browse(results.report, tmp_path)
    assert complaints == []
    assert len(page.all("img")) == 2
