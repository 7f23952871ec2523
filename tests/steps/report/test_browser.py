"""Open the report from its file in a real browser, as a person does by mouse and keyboard."""

import json
import shutil
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import (
    HISTORY_COLUMNS,
    METRIC_COLUMNS,
    PREDICTION_COLUMNS,
    PROBE_COLUMNS,
    QUALITY_COLUMNS,
    TrackStatus,
)
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.io.video.encode import encode_frames
from pipeline_lib.steps.report import page as report_page
from pipeline_lib.steps.report.details import store
from pipeline_lib.steps.report.details.pictures import draw_frames
from pipeline_lib.steps.report.page import write_report
from pipeline_lib.steps.report.summaries import VideoSummary
from tests.steps.report.details.test_measure import write
from tests.steps.report.report_pages import CHROMIUM, EVIL

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

F, U, G = TrackStatus.FOLLOWED, TrackStatus.UNCERTAIN, TrackStatus.GAP
VIDEOS = 90
SHEET = ("video", "path", "group", "note")
QUOTED = "Mäuse \"'=1+1"


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def open_page(chromium, path, scheme="light", **options):
    """Open a page; the block fails if the browser had anything to complain of."""
    options = {"viewport": {"width": 1280, "height": 800}, **options}
    page = chromium.new_context(color_scheme=scheme, **options).new_page()
    page.set_default_timeout(30_000)
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text))
    page.on("request", lambda one: one.url.startswith("http") and complaints.append(one.url))
    page.goto(path.as_uri())
    yield page
    assert page.evaluate("window.broken") is None
    page.context.close()
    assert complaints == []


def write_cohort(folder, videos, *, several=False):
    """Write a cohort: groups of which one has a single video, and notes of strangers."""
    names = [f"v{number:04d}" for number in range(videos)]
    rows = [
        {
            "video": name,
            "path": f"{name}.mp4",
            "group": "alone" if not number else ("control", "treated")[number % 2],
            "note": (EVIL, "=1+1", QUOTED)[number] if number < 3 else "",
        }
        for number, name in enumerate(names)
    ]
    write_table(folder / "cohort.tsv", SHEET, rows)
    results = Results(folder / "results")
    plan = [
        {"video": name, "shard": f"{number // 64:05d}", "state": "planned"}
        for number, name in enumerate(names)
    ]
    write_table(results.plan, ("video", "shard", "state"), plan)
    for shard in sorted({row["shard"] for row in plan}):
        facts = {"frames": 40, "fps": 10.0, "width": 64, "height": 48, "status": "done"}
        here = [{"video": row["video"], **facts} for row in plan if row["shard"] == shard]
        write_table(results.shard(shard).probe, PROBE_COLUMNS, here)
    config = parse_config(
        {
            "cohort": str(folder / "cohort.tsv"),
            "results": str(results.root),
            "skeleton": {"bodyparts": ["nose"]},
            "individuals": {"max": 2 if several else 1},
        }
    )
    return config, results


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Write the report of a cohort of which some videos have poses, and a network's page."""
    folder = tmp_path_factory.mktemp("report")
    config, results = write_cohort(folder, VIDEOS)
    for number in range(6):
        confidence = np.full(40, 0.9 - 0.1 * number)
        confidence[20] = 0.05
        write(results.poses("pose", f"v{number:04d}"), confidence)
    write(results.poses("pose", "v0070"), np.full(40, 0.3))
    images = [(number * 9000, np.full((48, 64, 3), 90, np.uint8)) for number in range(40)]
    encode_frames(folder / "v0000.mp4", images, 20, 10)
    clip = results.worst_seconds("pose", "v0000")
    clip.parent.mkdir(parents=True)
    shutil.copy(folder / "v0000.mp4", clip)
    finding = {"check": "blur", "value": "3", "limit": "5", "seconds": "1.0-2.5", "remedy": "drop"}
    quality = [
        {"video": "v0000", "decision": "fail", "decided_by": "rules", "reason": EVIL, **finding},
        {"video": "v0001", "decision": "warn", "decided_by": "rules", "reason": "dim", **finding},
        {"video": "v0002", "decision": "pass", "decided_by": "rules"},
    ]
    write_table(results.quality, QUALITY_COLUMNS, quality)
    write_evaluation(results)
    return write_report(config, results)


def write_evaluation(results):
    rows = [
        {"image": f"img{number}.png", "video": "m", "frame": number, "split": split,
         "individual": "animal", "bodypart": "nose", "label_x": 100.0, "label_y": 100.0,
         "x": 100.0 + number, "y": 100.0, "confidence": 0.9}
        for number, split in enumerate(["test", "test", "train", "test"])
    ]  # fmt: skip
    path = results.predictions("pose")
    path.parent.mkdir(parents=True)
    pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS)).to_parquet(path)
    table = [
        {"bodypart": part, "split": split, "metric": "mean_error", "value": 2.0}
        for part in ("all", "nose")
        for split in ("test", "train")
    ]
    write_table(results.metrics("pose"), METRIC_COLUMNS, table)
    history = [
        {"epoch": epoch, "step": epoch, "metric": name, "value": 1 / epoch}
        for epoch in (1, 2)
        for name in ("train_loss", "test_loss", "test_error", "train_error")
    ]
    write_table(results.model("pose").history, HISTORY_COLUMNS, history)
    card = {"backbone": f"net {EVIL}", "training": {"epochs": 2}}
    results.model("pose").card.write_text(json.dumps(card), encoding="utf-8")


def list_rows(page):
    """Return the names of the videos whose rows are in the document, in their order."""
    return page.locator("#videos tbody th").all_inner_texts()


def find_violations(page):
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found]


def test_sort_filter_open_and_back(chromium, report):
    with open_page(chromium, report) as page:
        assert list_rows(page)[:2] == ["v0000", "v0001"]
        page.click("text=Detected >> nth=0")
        # Without poses there is no rate: last, however the table is sorted. At most 39 of 40
        # frames are found, at a cutoff of 0.6; in four of the videos, none.
        assert list_rows(page)[:4] == ["v0004", "v0005", "v0070", "v0000"]
        page.click("#videos thead button:has-text('Quality')")
        assert list_rows(page)[:3] == ["v0000", "v0001", "v0002"]
        page.select_option("select[aria-label='Filter by group']", label="treated")
        assert page.inner_text("#shown") == "45 of 90 videos"
        assert set(list_rows(page)) <= {f"v{number:04d}" for number in range(1, VIDEOS, 2)}
        page.fill("#search", "blur")
        assert list_rows(page) == ["v0001"]
        page.click("#videos tbody th a")
        page.wait_for_selector("#video .course")
        assert page.inner_text("#video h2") == "v0001"
        assert not page.is_visible("#overview")
        assert page.title() == "v0001 – cohortpose report"  # noqa: RUF001
        assert "1.0-2.5" in page.inner_text(".findings")
        # The animal walks 2 px a frame, 10 frames a second.
        assert "Mean 20 px/s" in page.inner_text("#video")
        page.go_back()
        # The table is as it was left.
        assert list_rows(page) == ["v0001"]
        assert page.evaluate("document.activeElement.textContent") == "v0001"


def test_keys_move_through_the_table_and_open_a_video(chromium, report):
    with open_page(chromium, report) as page:
        page.focus("#videos tbody th a")
        for _ in range(70):
            page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.textContent") == "v0070"
        assert page.evaluate(
            "(({top, bottom}, box) => top >= box.top && bottom <= box.bottom)"
            "(document.activeElement.getBoundingClientRect(), rows.getBoundingClientRect())"
        )
        row = page.locator("tr[data-position='70']")
        assert row.get_attribute("aria-rowindex") == "72"
        assert page.get_attribute("#videos", "aria-rowcount") == "91"
        page.keyboard.press("Enter")
        page.wait_for_selector("#video .course")
        assert page.evaluate("document.activeElement.textContent") == "v0070"
        page.keyboard.press("Tab")
        page.click("text=Previous")
        page.wait_for_selector("#video >> text=waiting for")
        page.click("text=All videos")
        page.keyboard.press("End")
        assert page.evaluate("document.activeElement.textContent") == "v0089"


def test_texts_of_strangers_remain_texts(chromium, report):
    with open_page(chromium, report) as page:
        page.goto(f"{report.as_uri()}#video=v0000")
        page.wait_for_selector("#video .worst-frames image")
        assert page.inner_text(".facts").count(EVIL) == 1
        assert EVIL in page.inner_text(".findings")
        # A video whose name does not exist, and an address that is none, show the cohort.
        for address in ("#video=%3Cscript%3E", "#video=%E0%A4%A", "#video=toString"):
            page.goto(report.as_uri() + address)
            assert page.is_visible("#overview")
        with page.expect_download() as saved:
            page.click("#save")
        lines = saved.value.path().read_text(encoding="utf-8").splitlines()
        assert "\t'=1+1\t" in lines[2]
        assert f"\t{QUOTED}\t" in lines[3]


def test_the_clip_of_the_worst_seconds_is_played(chromium, report):
    with open_page(chromium, report) as page:
        page.goto(f"{report.as_uri()}#video=v0000")
        page.wait_for_selector(".clip video")
        page.evaluate(
            """new Promise((done) => {
              const video = document.querySelector(".clip video");
              video.addEventListener("loadedmetadata", done);
              video.preload = "metadata";
            })"""
        )
        assert page.evaluate("document.querySelector('.clip video').videoWidth") == 64


def test_paper_has_all_rows_and_is_light(chromium, report):
    with open_page(chromium, report, "dark") as page:
        assert len(list_rows(page)) < 60
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert len(list_rows(page)) == VIDEOS
        assert page.get_attribute("html", "data-scheme") == "light"
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert len(list_rows(page)) < 60
        assert page.get_attribute("html", "data-scheme") is None


def test_a_page_without_its_folder_says_so(chromium, report, tmp_path):
    alone = shutil.copy(report, tmp_path / "index.html")
    page = chromium.new_page()
    page.goto(f"{alone.as_uri()}#video=v0001")
    page.wait_for_selector("text=pass on the whole folder")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(chromium, report, scheme):
    with open_page(chromium, report, scheme, reduced_motion="reduce") as page:
        assert find_violations(page) == []
        page.goto(f"{report.as_uri()}#video=v0000")
        page.wait_for_selector("#video .course")
        assert find_violations(page) == []
        page.goto((report.parent / "data" / "network-pose.html").as_uri())
        assert page.locator("#pck figure").count() == 1
        assert page.locator("#worst figure").count() == 3
        assert find_violations(page) == []


def test_identities_of_several_animals(chromium, tmp_path):
    config, results = write_cohort(tmp_path, 3, several=True)
    status = [[F, F]] * 40
    status[10], status[20] = [U, U], [G, F]
    for name in ("v0000", "v0001"):
        write(results.tracked("pose", name), np.full(40, 0.9), animals=("Ä", EVIL), status=status)
    path = write_report(config, results)
    with open_page(chromium, path, viewport={"width": 390, "height": 800}) as page:
        page.goto(f"{path.as_uri()}#video=v0000")
        page.wait_for_selector("#video .course")
        assert page.locator("#video .lane-uncertain").count() == 2
        assert page.locator("#video .lane-gap").count() == 1
        flags = page.locator("#video .flags li").all_inner_texts()
        assert flags == [
            f"swap? frame 10, at 1.0 s: Ä, {EVIL}",
            "gap frame 20, at 2.0 s: Ä",
        ]
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert find_violations(page) == []


def test_three_thousand_videos(chromium, tmp_path, monkeypatch):
    config, results = write_cohort(tmp_path, 3000)
    rng = np.random.default_rng(0)
    images = [(n * 9000, rng.integers(0, 255, (480, 640, 3), np.uint8)) for n in range(3)]
    encode_frames(tmp_path / "v.mp4", images, 20, 10)
    # One video is measured, and stands for all: eight bodyparts, one picture of noise.
    write(results.poses("pose", "v0000"), rng.random(3000), parts=8)
    task = store.Task(
        "v0000", "k", results.poses("pose", "v0000"), tmp_path / "v.mp4", (640, 480), 0.6,
        store.choose_pictures(config, 3000),
    )  # fmt: skip
    entry = store.measure_video(task)[1]
    picture = draw_frames(task.file, [1], task.pictures.width, task.pictures.most_bytes)[0][1]
    entry["worst"] = [entry["worst"][0] | {"picture": picture}]
    monkeypatch.setattr(store, "read_pose_key", lambda _: "k")
    monkeypatch.setattr(store, "measure_all", lambda tasks: [(one.video, entry) for one in tasks])
    rates = dict.fromkeys([f"part{n}" for n in range(8)], 0.9)
    summaries = {f"v{n:04d}": VideoSummary(1, 0, rates, rates) for n in range(3000)}
    monkeypatch.setattr(report_page, "summarise_videos", lambda *_, **__: summaries)
    path = write_report(config, results)
    files = [file for file in path.parent.rglob("*") if file.is_file()]
    assert len(files) == 1 + 47
    assert sum(file.stat().st_size for file in files) <= 30e6
    with open_page(chromium, path) as page:
        assert len(list_rows(page)) < 60
        page.evaluate("rows.scrollTop = rows.scrollHeight")
        page.wait_for_selector("text=v2999")
        assert len(list_rows(page)) < 60
        page.click("#videos tbody a:has-text('v2999')")
        page.wait_for_selector("#video .course")
        # Only the file of its shard was loaded.
        assert page.locator("head script[src]").count() == 1
