"""Test the report of several animals on tracks made by hand."""

import json
import math

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import (
    METRIC_COLUMNS,
    PREDICTION_COLUMNS,
    PROBE_COLUMNS,
    FrameStatus,
    TrackStatus,
)
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.kernels.summaries.tracks import Flag
from pipeline_lib.steps.report.charts import colour_individuals
from pipeline_lib.steps.report.lanes import draw_blocks, draw_counts, draw_lanes, draw_steps
from pipeline_lib.steps.report.page import write_report
from pipeline_lib.steps.report.summaries import (
    TrackFigures,
    VideoSummary,
    find_poses,
    read_path_summary,
    summarise_videos,
)
from pipeline_lib.steps.report.tracks import describe_animals, rank_tracks
from tests.steps.report.report_pages import (
    browse,
    make_cohort,
    needs_browser,
    read_page,
    section_ids,
)

PARTS = ("snout", "tailbase")
ANIMALS = ("mouse1", "mouse2")
F, G, U, A = TrackStatus.FOLLOWED, TrackStatus.GAP, TrackStatus.UNCERTAIN, TrackStatus.ABSENT


@pytest.fixture
def config():
    return parse_config({"cohort": "cohort.tsv", "individuals": {"max": 2}})


def write_tracks(results, video, status, key="key", undecodable=(), **attributes):
    """Write tracks of two animals, 100 px apart, that walk 1 px a frame along x."""
    status = np.array(status, np.uint8)
    frames, individuals = status.shape
    position = np.zeros((frames, individuals, len(PARTS), 2), np.float32)
    position[..., 0] = np.arange(frames, dtype=np.float32)[:, None, None]
    position[..., 1] = 100.0 * np.arange(individuals)[:, None]
    lost = np.isin(status, (G, A))
    position[np.broadcast_to(lost[..., None, None], position.shape)] = np.nan
    confidence = np.where(np.isfinite(position[..., 0]), 0.9, 0.0).astype(np.float32)
    names = (*ANIMALS, "single")[:individuals]
    frame_status = np.full(frames, FrameStatus.DECODED, np.uint8)
    for frame in undecodable:
        position[frame], confidence[frame] = np.nan, np.nan
        frame_status[frame] = FrameStatus.UNDECODABLE
    poses = Poses(
        position=position,
        confidence=confidence,
        frame_status=frame_status,
        time=np.arange(frames) / 10.0,
        bodyparts=PARTS,
        individuals=names,
        attributes={"key": key, **attributes},
        track_status=status,
    )
    write_poses(results.tracked("pose", video), poses)


def make_rows(*videos):
    return [{"video": video, "width": 320, "height": 240, "fps": 10.0} for video in videos]


def summarise(results, *videos):
    return summarise_videos(results, "pose", make_rows(*videos), 0.6, several=True)


SWAPPED = [[F, F], [U, U], [U, F], [F, G], [F, F]]


def test_tracks_are_summed_up_in_four_figures(tmp_path):
    results = Results(tmp_path)
    write_tracks(results, "v", SWAPPED)
    summary = summarise(results, "v")["v"]
    assert summary.tracks == TrackFigures(animals=2, followed=0.4, swaps=1, gaps=1)
    # The second animal is not there in one of five frames, and is not missed by its bodyparts.
    assert summary.detection == {"snout": 1.0, "tailbase": 1.0}
    # The same from the cache.
    assert summarise(results, "v")["v"] == summary


def test_unique_bodyparts_are_no_animal(tmp_path):
    results = Results(tmp_path)
    write_tracks(results, "v", [[F, F, A], [F, F, A]])
    assert summarise(results, "v")["v"].tracks == TrackFigures(2, 1.0, 0, 0)


def test_a_video_without_an_animal_has_no_share(tmp_path):
    results = Results(tmp_path)
    write_tracks(results, "v", [[A, A]] * 3)
    tracks = summarise(results, "v")["v"].tracks
    assert (tracks.animals, tracks.swaps, tracks.gaps) == (0, 0, 0)
    assert math.isnan(tracks.followed)


def test_no_animal_found_is_not_no_frame_decoded(tmp_path, config):
    results = Results(tmp_path)
    write_tracks(results, "empty", [[A, A]] * 3)
    write_tracks(results, "broken", [[A, A]] * 3, undecodable=range(3))
    write_tracks(results, "short", np.zeros((0, 2)))
    found = summarise(results, "empty", "broken", "short")
    assert {video: one.absence for video, one in found.items()} == {
        "empty": "no animal found",
        "broken": "no frame decoded",
        "short": "no frame",
    }
    # That no animal was seen is known where frames could be decoded only.
    assert {video: one.tracks.animals for video, one in found.items()} == {
        "empty": 0,
        "broken": None,
        "short": None,
    }
    cards = describe_animals(config, results, make_rows("empty", "broken"), found)["cards"]
    empty, broken = sorted(cards, key=lambda card: card.video != "empty")
    assert [lane.shares["absent"] for lane in empty.lanes] == [1.0, 1.0]
    assert [lane.shares["absent"] for lane in broken.lanes] == [0.0, 0.0]
    assert [lane.shares["undecodable"] for lane in broken.lanes] == [1.0, 1.0]
    assert [lane.undecodable for lane in broken.lanes] == ["M0 1H1V0H0z"] * 2
    assert [lane.undecodable for lane in empty.lanes] == ["", ""]
    # No animal in three frames, and nothing known of three.
    assert (empty.line, broken.line) == ("M0 1H1", "")


def test_a_gap_of_frames_that_could_not_be_decoded_is_not_one_to_look_at(tmp_path, config):
    results = Results(tmp_path)
    status = [[F, F], [G, F], [G, G], [F, G], [F, F]]
    write_tracks(results, "v", status, undecodable=[2])
    write_tracks(results, "lost", [[F, F], [G, G], [F, F]], undecodable=[1])
    found = summarise(results, "v", "lost")
    # Each is not found in a frame that could be decoded, too.
    assert (found["v"].tracks.gaps, found["lost"].tracks.gaps) == (2, 0)
    animals = describe_animals(config, results, make_rows("v", "lost"), found)
    assert animals["undecodable"]
    (lost,) = [card for card in animals["cards"] if card.video == "lost"]
    assert lost.flags == []
    # Frames 0 and 2 of three are followed by both; of frame 1 nothing is known.
    assert lost.line == "M0 0H0.33333M0.66667 0H1"
    assert {lane.undecodable for lane in lost.lanes} == {"M0.33333 1H0.66667V0H0.33333z"}
    assert {lane.gap for lane in lost.lanes} == {""}


def test_unique_bodyparts_are_those_of_the_whole_video(tmp_path, monkeypatch):
    """Check that a corner hidden in the first frames is no bodypart of the animals."""
    results = Results(tmp_path)
    write_tracks(results, "v", [[F, F, A], [F, F, A], [F, F, F], [F, F, F]])
    path = results.tracked("pose", "v")
    poses = read_poses(path)
    poses.position[:, :2, 1], poses.confidence[:, :2, 1] = np.nan, 0
    poses.position[:, 2, 0], poses.confidence[:, 2, 0] = np.nan, 0
    write_poses(path, poses)
    whole = read_path_summary(path, 0.6, 10)
    # The corner (`tailbase`) is seen in two of four frames.
    assert whole["detection"].tolist() == [1.0, 0.5]
    assert whole["poses"].tolist() == [8, 4]
    for frames in (1, 2, 3):
        monkeypatch.setattr("pipeline_lib.steps.report.summaries._BLOCK_FRAMES", frames)
        blocks = read_path_summary(path, 0.6, 10)
        assert blocks["detection"].tolist() == [1.0, 0.5]
        assert blocks["poses"].tolist() == [8, 4]


def test_tracks_of_one_animal_are_not_read(tmp_path):
    results = Results(tmp_path)
    write_tracks(results, "v", SWAPPED)
    assert find_poses(results, "pose", "v", several=True) == results.tracked("pose", "v")
    assert find_poses(results, "pose", "v", several=False) == results.poses("pose", "v")
    # Those that are not there yet are not shown; the poses of the inference are.
    assert find_poses(results, "pose", "w", several=True) == results.poses("pose", "w")


def test_tracks_of_blocks_are_those_of_the_video(tmp_path, monkeypatch):
    results = Results(tmp_path)
    write_tracks(results, "v", SWAPPED)
    monkeypatch.setattr("pipeline_lib.steps.report.summaries._BLOCK_FRAMES", 2)
    whole = read_path_summary(results.tracked("pose", "v"), 0.6, 10)
    np.testing.assert_array_equal(whole["track_status"], SWAPPED)


def test_the_cohort_counts_frames_and_lists_who_was_exchanged(tmp_path, config):
    results = Results(tmp_path)
    write_tracks(results, "bad", SWAPPED)
    write_tracks(results, "good", [[F, F]] * 15)
    animals = describe_animals(
        config, results, make_rows("bad", "good"), summarise(results, "bad", "good")
    )
    # 2 of 5 and 15 of 15 frames.
    assert animals["followed"] == pytest.approx(17 / 20)
    assert (animals["videos"], animals["swaps"], animals["gaps"]) == (2, 1, 1)
    assert animals["swapped"] == ["bad"]
    assert (animals["crowded"], animals["surplus"]) == ([], 0)
    bad, good = animals["cards"]
    assert (bad.video, good.video) == ("bad", "good")
    assert [(flag.kind, flag.first, flag.last, flag.animals) for flag in bad.flags] == [
        ("swap", 1, 2, ["mouse1", "mouse2"]),
        ("gap", 3, 3, ["mouse2"]),
    ]
    assert bad.flags[1].seconds == pytest.approx(0.3)
    assert good.flags == []


def test_videos_with_most_animals_to_spare_come_first(tmp_path, config):
    results = Results(tmp_path)
    write_tracks(results, "few", [[F, F]] * 3, most_animals=3, surplus_frames=1)
    write_tracks(results, "none", [[F, F]] * 3, most_animals=2, surplus_frames=0)
    write_tracks(results, "many", [[F, F]] * 3, most_animals=5, surplus_frames=2)
    videos = ("few", "none", "many")
    summaries = summarise(results, *videos)
    assert summaries["many"].tracks == TrackFigures(2, 1.0, 0, 0, most=5, surplus=2)
    animals = describe_animals(config, results, make_rows(*videos), summaries)
    assert animals["crowded"] == ["many", "few"]
    assert (animals["surplus"], animals["most"], animals["kept"]) == (3, 5, 2)


def test_the_longest_flags_are_listed_and_the_others_counted(tmp_path, config):
    results = Results(tmp_path)
    # Gaps of 1, 2 ... 10 frames, of which the eight longest are listed.
    status = [[F, F]]
    for length in range(1, 11):
        status += [[G, F]] * length + [[F, F]]
    write_tracks(results, "v", status)
    (card,) = describe_animals(config, results, make_rows("v"), summarise(results, "v"))["cards"]
    assert [flag.last - flag.first + 1 for flag in card.flags] == list(range(3, 11))
    assert card.left_out == 2


def test_a_cohort_without_tracks_has_no_animals(tmp_path, config):
    summaries = {"v": VideoSummary(3, 0, {"snout": 1.0}, {"snout": 1.0})}
    assert describe_animals(config, Results(tmp_path), make_rows("v"), summaries) is None


def test_half_of_the_cards_are_of_the_worst_videos(tmp_path, config):
    results = Results(tmp_path)
    names = [f"v{index:02d}" for index in range(10)]
    for index, name in enumerate(names):
        bad = [[U, U], [F, F]] * index
        write_tracks(results, name, [*bad, *[[F, F]] * (40 - len(bad))])
    cards = describe_animals(config, results, make_rows(*names), summarise(results, *names))[
        "cards"
    ]
    assert [card.video for card in cards][:4] == ["v09", "v08", "v07", "v06"]
    assert len(cards) == 8


def test_videos_with_swaps_come_before_those_with_gaps():
    tracks = {
        "fine": TrackFigures(2, 1.0, 0, 0),
        "gaps": TrackFigures(2, 0.5, 0, 9),
        "nobody": TrackFigures(0, math.nan, 0, 0),
        "swaps": TrackFigures(2, 0.9, 2, 0),
    }
    assert rank_tracks(tracks) == ["swaps", "nobody", "gaps", "fine"]


def test_blocks_of_equal_height_are_one():
    low, high = np.array([0.0, 0.0, 0.5, 0.5]), np.array([1.0, 1.0, 0.75, 0.5])
    assert draw_blocks(low, high) == "M0 1H0.5V0H0z" + "M0.5 0.5H0.75V0.25H0.5z"
    assert draw_blocks(np.zeros(0), np.zeros(0)) == ""


def test_a_stepped_line_keeps_its_heights():
    assert draw_steps(np.array([0.0, 0.0, 1.0, 0.5])) == "M0 1H0.5V0H0.75V0.5H1"


def test_a_single_uncertain_frame_of_a_long_video_is_seen():
    status = np.full((30_000, 1), F, np.uint8)
    status[150] = U
    (lane,) = draw_lanes(["a"], status, np.zeros((3, 1, 2), np.float32))
    # The second of 300 stretches is followed up to 0.8 of the height and uncertain above.
    assert lane.uncertain == "M0.0033333 0.2H0.0066667V0H0.0033333z"
    assert lane.followed.count("z") == 3
    assert lane.gap == ""
    assert lane.shares["followed"] == pytest.approx(29_999 / 30_000)


def test_a_trajectory_bridges_short_gaps_only():
    way = np.zeros((20, 1, 2), np.float32)
    way[:, 0, 0] = np.arange(20)
    way[2:8] = np.nan
    way[9:16] = np.nan
    (lane,) = draw_lanes(["a"], np.full((20, 1), F, np.uint8), way)
    assert lane.trajectory == "M0 0L1 0L8 0M16 0L17 0L18 0L19 0"
    assert lane.start == (0.0, 0.0)


def test_animals_over_time_fill_the_box_when_all_are_there():
    band, line = draw_counts(np.array([[F, F], [F, A]], np.uint8))
    assert line == "M0 0H0.5V0.5H1"
    assert band == ""


def test_the_page_stays_small_however_long_the_videos():
    rng = np.random.default_rng(0)
    status = rng.integers(0, 4, (200_000, 3)).astype(np.uint8)
    way = rng.uniform(0, 2000, (400, 3, 2)).astype(np.float32)
    lanes = draw_lanes(["a", "b", "c"], status, way)
    paths = (lane.followed + lane.uncertain + lane.gap + lane.trajectory for lane in lanes)
    assert sum(map(len, paths)) < 120_000


def test_animals_have_colours_of_their_own():
    names = [f"animal{index}" for index in range(20)]
    assert len(set(colour_individuals(names).values())) == 20
    assert colour_individuals(names[:2]) == {"animal0": "#d55e00", "animal1": "#0072b2"}


def test_flags_know_how_long_they_last():
    assert Flag(TrackStatus.GAP, 3, 7, (0,)).frames == 5


# ---- the page


def write_evaluation(results, folder):
    """Write predictions for one image of two animals, the second not found, and metrics."""
    image = folder / "image.png"
    cv2.imwrite(str(image), np.full((240, 320, 3), 90, dtype=np.uint8))
    rows = []
    for place, animal in enumerate(ANIMALS):
        for part, x in zip(PARTS, (100.0, 200.0), strict=True):
            found = {"x": x + 3, "y": 124.0, "confidence": 0.9} if place == 0 else {}
            label = {"label_x": x, "label_y": 120.0 + 50 * place, "bodypart": part}
            place_of = {"image": str(image), "video": "bad", "frame": 0, "split": "test"}
            rows.append({**place_of, "individual": animal, **label, **found})
    path = results.predictions("pose")
    path.parent.mkdir(parents=True)
    pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS)).to_parquet(path)
    metrics = [("all", "oks_map", 0.9), ("all", "oks_mar", 0.95), ("all", "mean_error", 5.0)]
    metrics += [("all", "individuals_missed", 1.0), ("all", "individuals_false", 0.0)]
    table = [
        {"bodypart": part, "split": "test", "metric": metric, "value": value}
        for part, metric, value in [*metrics, ("snout", "mean_error", 5.0)]
    ]
    write_table(results.metrics("pose"), METRIC_COLUMNS, table)


@pytest.fixture
def run(tmp_path):
    config, results = make_cohort(
        tmp_path,
        ["good", "bad"],
        individuals={"max": 2},
        skeleton={"bodyparts": PARTS, "edges": [PARTS]},
    )
    plan = [{"video": video, "shard": "s0", "state": "planned"} for video in ("good", "bad")]
    write_table(results.plan, ("video", "shard", "state"), plan)
    facts = {"status": "done", "frames": 5, "fps": 10.0, "width": 320, "height": 240}
    probe = [{"video": video, "seconds": 1.0, **facts} for video in ("good", "bad")]
    write_table(results.shard("s0").probe, PROBE_COLUMNS, probe)
    write_tracks(results, "bad", SWAPPED)
    write_tracks(results, "good", [[F, F]] * 5)
    write_evaluation(results, tmp_path)
    return config, results


def test_videos_with_more_animals_than_are_kept_are_worth_a_look(run):
    config, results = run
    write_tracks(results, "good", [[F, F]] * 5, "other", most_animals=4, surplus_frames=3)
    page = read_page(config, results)
    (attention,) = page.all("ul", class_="panel attention")
    text = " ".join(attention["text"].split())
    assert "1 video with more animals than individuals.max (2): up to 4 at a time" in text
    assert "good (3 frames)" in text
    cards = page.all("article", class_="panel animals")
    first, second = (" ".join(card["text"].split()) for card in cards)
    assert "up to 4 animals: more than are tracked in 3 frames" in second
    assert "more than are tracked" not in first


def test_the_page_has_animals_in_place_of_trajectories(run):
    page = read_page(*run)
    assert section_ids(page) == [
        "attention", "cohort", "accuracy", "frames", "maps", "confidence", "animals", "record",
    ]  # fmt: skip
    tiles = [" ".join(tile["text"].split()) for tile in page.all("div", class_="tile")]
    assert any(tile.startswith("OKS mAP0.9") for tile in tiles)
    # 2 of 5 and 5 of 5 frames.
    assert any(tile.startswith("All followed70%") for tile in tiles)
    assert any(tile.startswith("Possible swaps1in 1 of 2 videos") for tile in tiles)
    first, second = page.all("article", class_="panel animals")
    text = " ".join(first["text"].split())
    assert text.startswith("bad 2 animals · all followed in 40.0 % of 5 frames")
    assert "swap? frames 1 to 2 0.1 s mouse1, mouse2" in text
    assert "gap frame 3 0.3 s mouse2" in text
    assert "Nothing to check" in second["text"]
    (attention,) = page.all("ul", class_="panel attention")
    assert "1 video in which animals may have been exchanged" in attention["text"]


def test_the_page_tells_no_animal_from_no_frame(run):
    config, results = run
    write_tracks(results, "bad", [[A, A]] * 5, key="broken", undecodable=range(5))
    write_tracks(results, "good", [[A, A]] * 5, key="empty")
    page = read_page(config, results)
    (attention,) = page.all("ul", class_="panel attention")
    assert "bad (no frame decoded), good (no animal found)" in " ".join(attention["text"].split())
    texts = [" ".join(one["text"].split()) for one in page.all("article", class_="panel animals")]
    assert sorted(text[: text.index(" snout")] for text in texts) == [
        "bad no frame decoded in 5 frames",
        "good 0 animals · no animal found in 5 frames",
    ]
    assert not any("Nothing to check" in text for text in texts)
    data = json.loads(page.all("script", type="application/json")[0]["text"])
    labels = [column["label"] for column in data["columns"]]
    at = [labels.index(name) for name in ("Detected", "Animals", "All followed", "Undecodable")]
    assert {row[0]: [row[index] for index in at] for row in data["rows"]} == {
        "good": ["no animal found", 0, None, 0],
        "bad": ["no frame decoded", None, None, 5],
    }
    rows = [" ".join(cell["text"].split()) for cell in page.all("td", class_="number")]
    assert "no animal found" in rows
    assert "no frame decoded" in rows


def test_the_table_has_columns_of_the_tracks(run):
    data = json.loads(read_page(*run).all("script", type="application/json")[0]["text"])
    labels = [column["label"] for column in data["columns"]]
    at = labels.index("Animals")
    assert labels[at : at + 4] == ["Animals", "All followed", "Possible swaps", "Gaps"]
    assert [row[at : at + 4] for row in data["rows"]] == [[2, 1.0, 0, 0], [2, 0.4, 1, 1]]
    assert {len(row) for row in data["rows"]} == {len(labels)}


def test_whole_animals_are_apart_from_bodyparts(run):
    page = read_page(*run)
    (panel,) = page.all("div", class_="panel work-total similarity")
    assert " ".join(panel["text"].split()) == (
        "test 0.900OKS mAP0.950OKS mAR1labelled animals not found"
        "0animals found where none is labelled"
    )
    heads = [head["text"] for head in page.all("th", class_="number")]
    assert heads == ["Mean error px"]


def test_every_animal_of_a_sample_has_its_colour(run):
    page = read_page(*run)
    (sample,) = page.all("figure", class_="panel sample")
    text = " ".join(sample["text"].split())
    # Distances of 3 and 4 px at right angles.
    assert text.startswith("5.00 px test")
    assert text.endswith("mouse1 5.0 mouse2 not found")
    colours = colour_individuals(ANIMALS)
    (edge,) = page.all("line", class_="edge")
    assert edge["style"] == f"stroke:{colours['mouse1']}"
    # A ring around each label.
    rings = [ring["stroke"] for ring in page.all("circle", fill="transparent")]
    assert rings.count(colours["mouse1"]) == rings.count(colours["mouse2"]) == 2


def test_a_cohort_without_a_single_animal_is_a_page(run):
    config, results = run
    for video in ("good", "bad"):
        write_tracks(results, video, [[A, A]] * 5, key="other")
    page = read_page(config, results)
    first, _ = page.all("article", class_="panel animals")
    assert "0 animals" in " ".join(first["text"].split())
    data = json.loads(page.all("script", type="application/json")[0]["text"])
    at = [column["label"] for column in data["columns"]].index("All followed")
    assert [row[at] for row in data["rows"]] == [None, None]
    tiles = [" ".join(tile["text"].split()) for tile in page.all("div", class_="tile")]
    assert not any(tile.startswith("All followed") for tile in tiles)


@needs_browser
def test_a_browser_shows_the_animals_without_complaint(run, tmp_path):
    page, complaints = browse(write_report(*run), tmp_path)
    assert complaints == []
    assert [cell["text"] for cell in page.all("span", class_="flagged")] == ["1", "1"]
    (weak,) = page.all("span", class_="meter weak")
    assert weak["text"] == "40.0\u202f%"
