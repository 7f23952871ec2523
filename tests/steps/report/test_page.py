import json
import math
import re
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.core.errors import SheetError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.outputs.costs import CostSettings
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import (
    HISTORY_COLUMNS,
    METRIC_COLUMNS,
    PREDICTION_COLUMNS,
    PROBE_COLUMNS,
    STAGE_COLUMNS,
)
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.report import summaries as report_summaries
from pipeline_lib.steps.report import videos as report_videos
from pipeline_lib.steps.report.page import embed_json, flatten_record, write_report
from pipeline_lib.steps.report.timings import InferenceTimings
from tests.steps.report.report_pages import (
    EVIL,
    Page,
    browse,
    drive,
    make_cohort,
    needs_browser,
    read_page,
    section_ids,
)

PARTS = ("snout", "tailbase")
NAN = math.nan


def make_poses(results, video, confidence, undecodable=0, key="key"):
    """Return four frames; the snout has the given confidence, the tail base is never found."""
    frames = 4
    values = np.full((frames, 1, 2), 0.1, dtype=np.float32)
    values[..., 0] = confidence
    status = np.zeros(frames, dtype=np.uint8)
    status[:undecodable] = 1
    values[:undecodable] = NAN
    position = np.arange(frames * 4, dtype=np.float32).reshape(frames, 1, 2, 2)
    position[:undecodable] = NAN
    time = np.arange(frames) / 10.0
    poses = Poses(position, values, status, time, PARTS, ("animal",), {"key": key})
    write_poses(results.poses("pose", video), poses)


@pytest.fixture
def run(tmp_path):
    """Write three videos (one of them not a video) and an evaluated model."""
    config, results = make_cohort(
        tmp_path,
        ["good", "weak", "broken"],
        skeleton={"bodyparts": PARTS, "edges": [PARTS]},
        report={"title": f"Cohort {EVIL}", "sample_frames": 3},
    )
    names = ["good", "weak", "broken"]
    plan = [{"video": video, "shard": "s0", "state": "planned"} for video in names]
    write_table(results.plan, ("video", "shard", "state"), plan)
    shard = results.shard("s0")
    facts = {"status": "done", "frames": 4, "fps": 10.0, "width": 64, "height": 48}
    probe = [{"video": video, "seconds": 1.0, **facts} for video in names[:2]]
    probe.append({"video": "broken", "status": "quarantined", "reason": f"no stream {EVIL}"})
    write_table(shard.probe, PROBE_COLUMNS, probe)
    done = [{"video": video, "status": "done", "seconds": 2.0, "key": video} for video in names[:2]]
    for path in (shard.infer("pose"), shard.filter("pose"), shard.export("pose")):
        write_table(path, STAGE_COLUMNS, done)
    make_poses(results, "good", 0.9)
    make_poses(results, "weak", 0.2, undecodable=1)
    make_evaluation(tmp_path, results)
    return config, results


def make_evaluation(folder, results):
    rows = []
    for index, split in enumerate(["train", "test", "test"]):
        image = folder / f"img{index}.png"
        cv2.imwrite(str(image), np.full((240, 320, 3), 90, dtype=np.uint8))
        for part, x in zip(PARTS, (100.0, 200.0), strict=True):
            # The distances are 0, 5 and 10 px.
            point = {"x": x + 3.0 * index, "y": 120.0 + 4.0 * index, "confidence": 0.9}
            place = {"image": str(image), "video": "m", "frame": index, "split": split}
            label = {"individual": "animal", "bodypart": part, "label_x": x, "label_y": 120.0}
            rows.append({**place, **point, **label})
    path = results.predictions("pose")
    path.parent.mkdir(parents=True)
    pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS)).to_parquet(path)
    metrics = {"mean_error": 7.5, "rmse": 7.906, "median_error": 7.25, "pck@5": 0.5}
    table = [
        {"bodypart": part, "split": split, "metric": name + suffix, "value": value}
        for part in ("all", *PARTS)
        for split in ("train", "test")
        for suffix in ("", " (pcutoff)")
        for name, value in metrics.items()
    ]
    write_table(results.metrics("pose"), METRIC_COLUMNS, table)
    history = [
        {"epoch": epoch, "step": epoch, "metric": name, "value": value / epoch}
        for epoch in (1, 2, 3)
        for name, value in (("train_loss", 0.01), ("validation_loss", 0.02))
    ]
    write_table(results.model("pose").history, HISTORY_COLUMNS, history)
    skeleton = {"bodyparts": PARTS, "edges": [PARTS]}
    card = {"backbone": "some_net", "stride": 8, "skeleton": skeleton, "training": {"epochs": 3}}
    results.model("pose").card.write_text(json.dumps(card), encoding="utf-8")
    results.provenance.write_text(json.dumps({"versions": {"torch": "9.9"}}), encoding="utf-8")


# ---- the page as written


def test_every_section_is_there_when_its_input_is(run):
    page = read_page(*run)
    assert section_ids(page) == [
        "attention", "cohort", "accuracy", "frames", "maps", "confidence", "trajectories",
        "training", "record",
    ]  # fmt: skip
    tiles = {tile["text"].split("\n")[0] for tile in page.all("div", class_="tile")}
    assert any("Mean test error7.5px" in tile for tile in tiles)
    assert any("PCK 5 px50%" in tile for tile in tiles)
    assert any("Frames analysed8" in tile for tile in tiles)
    assert any("Undecodable1" in tile for tile in tiles)
    # Snout and tail base are found in 100 % and 0 % of "good", in none of "weak": 50 % and 0 %.
    assert any("Detection rate25%" in tile for tile in tiles)


def test_the_methods_say_what_was_trained_and_measured(run):
    (methods,) = read_page(*run).all("blockquote")
    assert "some_net backbone, output stride 8, 3 epochs" in methods["text"]
    assert "Labelled frames: 2 test, 1 train." in methods["text"]
    assert (
        "mean Euclidean error was 7.5 px and the root mean square error 7.91 px" in methods["text"]
    )
    assert "2 videos were analysed" in methods["text"]


def test_a_cohort_without_anything_else_is_a_page(tmp_path):
    config, results = make_cohort(tmp_path, ["a", "b"])
    page = read_page(config, results)
    assert section_ids(page) == ["cohort", "record"]
    data = json.loads(page.all("script", type="application/json")[0]["text"])
    assert [row[0] for row in data["rows"]] == ["a", "b"]


def test_a_missing_sheet_is_an_error(tmp_path):
    config = parse_config({"cohort": str(tmp_path / "none.tsv")})
    with pytest.raises(SheetError, match="no such file"):
        write_report(config, Results(tmp_path / "results"))


def test_the_page_is_the_same_for_the_same_inputs(run):
    first = write_report(*run).read_bytes()
    run[1].report.unlink()
    assert write_report(*run).read_bytes() == first


def test_the_page_loads_nothing(run):
    page = read_page(*run)
    references = [
        element[name]
        for element in page.elements
        for name in ("src", "href", "xlink:href", "srcset", "action")
        if element.get(name)
    ]
    assert references
    assert all(
        re.match(r"#|data:image/jpeg|data/network-|\.\./", reference) for reference in references
    )
    assert not re.search(r"@import|url\(", page.all("style")[0]["text"])


def test_user_text_never_becomes_markup(run):
    text = write_report(*run).read_text(encoding="utf-8")
    assert EVIL not in text
    page = Page(text)
    assert len(page.all("script")) == 2
    assert page.all("h1")[0]["text"] == f"Cohort {EVIL}"
    data = json.loads(page.all("script", type="application/json")[0]["text"])
    assert EVIL in data["rows"][0]


def test_samples_are_the_worst_of_the_test_split_then_the_others(run):
    page = read_page(*run)
    titles = [
        element["text"].split()[0] + " " + element["text"].split()[2]
        for element in page.all("div", class_="sample-title")
    ]
    assert titles == ["10.00 test", "5.00 test", "0.00 train"]
    assert len(page.all("span", class_="badge worst")) == 1
    # Two bodyparts per frame are joined by the skeleton's one edge.
    assert len(page.all("line", class_="edge")) == 3


def test_an_unreadable_image_leaves_the_points(run, tmp_path):
    (tmp_path / "img2.png").write_bytes(b"not an image")
    page = read_page(*run)
    assert len(page.all("image")) == 2
    assert len(page.all("rect", class_="no-image")) == 1
    assert len(page.all("line", class_="edge")) == 3


def test_chosen_settings_are_listed_with_their_reasons(run):
    path = run[1].model("pose").card
    assert "chosen from the labels" not in write_report(*run).read_text(encoding="utf-8")
    chosen = {"training.crop": {"value": None, "reason": f"small {EVIL}"}, "damaged": 3}
    card = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**card, "chosen": chosen}), encoding="utf-8")
    text = write_report(*run).read_text(encoding="utf-8")
    assert "Settings chosen from the labels" in text
    (row,) = re.findall(r"<tr><th scope=.row.>training.crop</th><td>null</td><td>(.*?)</td>", text)
    assert row.startswith("small ")
    assert EVIL not in text
    path.write_text(json.dumps({**card, "chosen": "all"}), encoding="utf-8")
    assert "chosen from the labels" not in write_report(*run).read_text(encoding="utf-8")


def test_damaged_inputs_are_said_and_cost_only_themselves(run):
    config, results = run
    write_table(results.metrics("pose"), ("bodypart",), [{"bodypart": "all"}])
    results.model("pose").card.write_text("{", encoding="utf-8")
    page = read_page(config, results)
    (attention,) = page.all("ul", class_="panel attention")
    assert "metrics.tsv cannot be read" in attention["text"]
    assert "model.json cannot be read" in attention["text"]
    assert "frames" in section_ids(page)


def test_a_damaged_pose_file_costs_only_its_own_figures(run):
    config, results = run
    shutil.rmtree(results.poses("pose", "good") / "position")
    page = read_page(config, results)
    data = json.loads(page.all("script", type="application/json")[0]["text"])
    at = [column["label"] for column in data["columns"]].index("Detected")
    assert [row[at] for row in data["rows"]] == [None, 0.0, None]


def test_poses_are_read_again_only_when_their_key_changes(run, monkeypatch):
    config, results = run
    write_report(config, results)
    read = []
    original = report_summaries.read_path_summary

    def count(path, pcutoff, points):
        read.append(path.stem)
        return original(path, pcutoff, points)

    monkeypatch.setattr(report_summaries, "read_path_summary", count)
    write_report(config, results)
    assert read == []
    make_poses(results, "weak", 0.8, key="other")
    write_report(config, results)
    assert read == ["weak"]
    stricter = config.model_copy(
        update={"evaluation": config.evaluation.model_copy(update={"pcutoff": 0.95})}
    )
    write_report(stricter, results)
    assert read == ["weak", "good", "weak"]


def test_summaries_of_blocks_are_those_of_the_video(run, monkeypatch):
    _, results = run
    whole = report_summaries.read_path_summary(results.poses("pose", "weak"), 0.1, 10)
    monkeypatch.setattr(report_summaries, "_BLOCK_FRAMES", 2)
    blocks = report_summaries.read_path_summary(results.poses("pose", "weak"), 0.1, 10)
    assert whole["frames"] == blocks["frames"] == 4
    np.testing.assert_allclose(blocks["confidence"], [0.2, 0.1], rtol=1e-6)
    np.testing.assert_allclose(blocks["confidence"], whole["confidence"], rtol=1e-6)
    np.testing.assert_array_equal(blocks["path"], whole["path"])


@pytest.mark.parametrize("tracks", [None, report_summaries.TrackFigures(3, 0.987654, 123, 456)])
def test_ten_thousand_videos_stay_below_six_megabytes(tracks):
    parts = [f"bodypart{index}" for index in range(20)]
    values = dict.fromkeys(parts, 0.987)
    summary = report_summaries.VideoSummary(123456, 12, values, values, tracks)
    row = {
        "video": "session-2025-06-01-mouse-000", "status": "done", "stage": "export",
        "reason": "", "frames": 123456, "undecodable": 12, "surplus_frames": None, "fps": 29.97,
        "width": 1920, "height": 1080, "seconds": 1234.5, "key": "0123456789abcdef",
        "group": "control", "dose": "10 mg/kg",
    }  # fmt: skip
    timings = {row["video"]: InferenceTimings(1, 123456, 6789.0, 0.31, 0.92, 0.05)}
    table = report_videos.tabulate_videos([row] * 10_000, {row["video"]: summary}, parts, timings)
    assert len(table["rows"]) == 10_000
    assert len(embed_json(table)) < 5_000_000


def time_inference(results, **rows):
    """Rewrite the outcomes of inference, with timings."""
    path = results.shard("s0").infer("pose")
    figures = ("frames", "decode_share", "network_share", "wait_share")
    table = [{"video": video, "status": "done", **row} for video, row in rows.items()]
    write_table(path, (*STAGE_COLUMNS, *figures), table)


def took(key, frames, seconds, shares):
    names = ("decode_share", "network_share", "wait_share")
    shares = dict(zip(names, shares, strict=True))
    return {"key": key, "frames": frames, "seconds": seconds, **shares}


def read_work_cells(page):
    data = json.loads(page.all("script", type="application/json")[0]["text"])
    at = [column["label"] for column in data["columns"]].index("Inference")
    return [row[at] for row in data["rows"]]


def test_timings_of_inference_are_listed_and_summed(run):
    time_inference(
        run[1],
        good=took("k1", 600, 20.0, (0.25, 0.9, 0.08)),
        weak=took("k2", 3000, 60.0, (0.45, 0.5, 0.48)),
    )
    page = read_page(*run)
    assert read_work_cells(page) == [[30.0, 25, 90, 8], [50.0, 45, 50, 48], None]
    (panel,) = page.all("div", class_="panel work-total")
    text = " ".join(panel["text"].split())
    assert "3 600frames of 2 of 3 videos" in text
    assert "1:20 minof worker time" in text
    assert "45frames/s of a worker" in text
    # A quarter of the time was that of "good".
    assert "network 60 %" in text
    assert "waiting for frames 38 %" in text
    assert "decoding in parallel 40 %" in text
    (lanes,) = page.all("span", class_="lanes")
    assert lanes["style"] == "--n:60.0%;--w:38.0%;--d:40.0%"


def test_unknown_timings_are_not_shown(run):
    time_inference(run[1], good={"key": "a"}, weak={"key": "b"})
    page = read_page(*run)
    assert read_work_cells(page) == [None, None, None]
    assert page.all("div", class_="panel work-total") == []
    assert "same file" not in page.all("ul", class_="panel attention")[0]["text"]


def test_a_copied_result_says_whose_it_is(run):
    time_inference(run[1], good={"key": "k"}, weak=took("k", 600, 20.0, (0.25, 0.9, 0.08)))
    page = read_page(*run)
    assert read_work_cells(page) == ["weak", [30.0, 25, 90, 8], None]
    (attention,) = page.all("ul", class_="panel attention")
    text = " ".join(attention["text"].split())
    assert "1 video of the sheet is byte for byte identical to another video" in text
    assert "good = weak" in text


def test_what_videos_cost_is_in_their_rows(run):
    config, results = run
    priced = config.model_copy(update={"costs": CostSettings(currency="EUR", cpu_hour=2)})
    job = {
        "verb": "infer", "shard": "s0", "model": "pose", "started": "2026-01-01T00:00:00+00:00",
        "seconds": 7200, "cpu_seconds": 7200, "gpus": 0, "energy": {"joules": None},
        "machine": {"host": "h", "devices": []},
    }  # fmt: skip
    results.shard("s0").jobs.write_text(json.dumps(job) + "\n", encoding="utf-8")
    data = json.loads(read_page(priced, results).all("script", type="application/json")[0]["text"])
    labels = [column["label"] for column in data["columns"]]
    at = labels.index("Cost (EUR)")
    assert labels[at - 2 : at] == ["CPU hours", "GPU hours"]
    # Two videos took as long as each other, the third was not inferred.
    assert [row[at - 2 : at + 1] for row in data["rows"]] == [[1, 0, 2], [1, 0, 2], [0, 0, 0]]
    assert {len(row) for row in data["rows"]} == {len(labels)}


# ---- pieces


@given(st.recursive(st.text() | st.integers() | st.none(), st.lists))
def test_embedded_data_cannot_end_its_element_and_comes_back(value):
    text = embed_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_records_are_flattened_to_dotted_keys():
    record = {"a": 1, "b": {"c": "x", "d": {"e": [1, 2]}}, "f": None}
    assert flatten_record(record) == [
        ("a", "1"),
        ("b.c", "x"),
        ("b.d.e", "[1, 2]"),
        ("f", "null"),
    ]


def bad_row(video, reason, status="failed"):
    return {"video": video, "status": status, "stage": "infer", "reason": reason}


def test_reasons_that_differ_in_names_and_numbers_are_one_group():
    rows = [
        bad_row("a", "no such file"),
        bad_row("m1", "m1.mp4: 12 of 40 frames"),
        bad_row("m2", "m2.mp4: 9 of 88 frames"),
        bad_row("m3", "m3.mp4: 9 of 88 frames", status="quarantined"),
        {**bad_row("fine", ""), "status": "done"},
    ]
    groups = report_videos.group_reasons(rows)
    assert [(group["reason"], group["videos"]) for group in groups] == [
        ("m1.mp4: 12 of 40 frames", ["m1", "m2"]),
        ("no such file", ["a"]),
        ("m3.mp4: 9 of 88 frames", ["m3"]),
    ]


def summarise(**rates):
    return {
        video: report_summaries.VideoSummary(10, 0, {"snout": rate}, {"snout": rate})
        for video, rate in rates.items()
    }


def test_doubtful_videos_are_those_below_half_or_unknown():
    doubtful = report_videos.find_doubtful(summarise(a=0.9, b=0.5, c=0.49, d=0.1, e=NAN))
    assert [video for video, _ in doubtful] == ["e", "d", "c"]


def test_detection_rates_are_counted_in_twentieths():
    counts = report_videos.histogram_detection(summarise(a=0.0, b=0.04, c=1.0, d=NAN), ["snout"])
    assert counts["snout"].tolist() == [2, *[0] * 18, 1]


# ---- the page in a browser


def table_rows(page):
    cells = [element for element in page.elements if element["tag"] in {"th", "td", "tr"}]
    return [cell["text"] for cell in cells if cell.get("scope") == "row" and "title" in cell]


@needs_browser
def test_a_browser_shows_the_cohort_without_complaint(run, tmp_path):
    page, complaints = browse(write_report(*run), tmp_path)
    assert complaints == []
    assert table_rows(page) == ["good", "weak", "broken"]
    (why,) = page.all("td", class_="why")
    assert why["text"] == f"probe: no stream {EVIL}"
    assert page.all("title")[0]["text"] == f"Cohort {EVIL}"
    assert page.all("span", id="shown")[0]["text"] == "3 videos"
    meters = [meter["text"] for meter in page.all("span", class_="meter")]
    assert "50.0\u202f%" in meters


@needs_browser
def test_a_browser_shows_what_inference_took(run, tmp_path):
    time_inference(run[1], good={"key": "k"}, weak=took("k", 600, 20.0, (0.25, 0.9, 0.08)))
    page, complaints = browse(write_report(*run), tmp_path)
    assert complaints == []
    said = (
        "30.0 frames/s of a worker: network 90 %, waiting for frames 8 %; decoding in parallel 25 %"
    )
    (pace,) = page.all("span", class_="pace")
    assert pace["data-tip"] == said
    assert pace["text"] == f"30.0/s{said}"
    _, small = page.all("span", class_="lanes")
    assert re.sub(r"\s", "", small["style"]) == "--n:90%;--w:8%;--d:25%;"
    (copy,) = page.all("span", class_="copy")
    assert copy["text"] == "= weak"
    assert copy["data-tip"] == "The same file as weak: analysed once"


@needs_browser
def test_a_wide_table_scrolls_by_itself_and_does_not_widen_the_page(run, tmp_path):
    time_inference(run[1], good={"key": "k"}, weak=took("k", 600, 20.0, (0.25, 0.9, 0.08)))
    measure = """
      const table = document.querySelector("#videos").parentElement;
      const wide = (one) => one.scrollWidth > one.clientWidth;
      document.title = [wide(document.documentElement), wide(table)].join();
    """
    page, _ = drive(write_report(*run), tmp_path, measure)
    assert page.all("title")[0]["text"] == "false,true"


@needs_browser
@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("sort('Detected')", ["weak", "good", "broken"]),
        ("sort('Detected'); sort('Detected')", ["good", "weak", "broken"]),
        ("sort('Inference')", ["weak", "good", "broken"]),
        ("sort('Inference'); sort('Inference')", ["good", "weak", "broken"]),
        ("sort('dose'); sort('dose')", ["broken", "weak", "good"]),
        ("search('no stream')", ["broken"]),
        ("document.querySelector('[data-status=quarantined]').click()", ["broken"]),
        ("document.querySelector('[data-status=failed]').click()", []),
    ],
)
def test_the_table_sorts_and_filters(run, tmp_path, action, expected):
    time_inference(
        run[1],
        good=took("k1", 1000, 2.0, (0.2, 0.9, 0.0)),
        weak=took("k2", 90, 1.0, (0.2, 0.9, 0.0)),
    )
    steps = """
      const heads = [...document.querySelectorAll("#videos thead button")];
      const sort = (label) => heads.find((head) => head.textContent === label).click();
      const search = (words) => {
        const field = document.getElementById("search");
        field.value = words;
        field.dispatchEvent(new Event("input"));
      };
    """
    page, complaints = drive(write_report(*run), tmp_path, steps + action)
    assert complaints == []
    assert table_rows(page) == expected
