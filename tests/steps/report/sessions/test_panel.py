import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.demo.video import write_video
from pipeline_lib.kernels.geometry.projection import project
from pipeline_lib.steps.report import page as report_page
from pipeline_lib.steps.report.sessions import data as session_data
from pipeline_lib.steps.report.sessions.data import SessionSource, gather_session
from pipeline_lib.steps.runs.plan import read_plan
from pipeline_lib.steps.runs.stage_keys import claim_stage
from pipeline_lib.steps.triangulate.corrected_views import run_correct_views
from tests.steps.report.report_pages import CHROMIUM, Page
from tests.steps.triangulate.scenes import BODYPARTS, EDGES
from tests.steps.triangulate.session_cohort import MODEL, SessionCohort

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Triangulate two sessions; a third has two cameras with identical parameters."""
    made = SessionCohort(tmp_path_factory.mktemp("cohort"))
    made.settings |= {
        "skeleton": {"bodyparts": list(BODYPARTS), "edges": [list(edge) for edge in EDGES]},
        "report": {"title": "Rig"},
    }
    cameras = list(made.rig.cameras)
    cameras[1] = cameras[0].rename(cameras[1].name)
    made.write_calibration("copied", type(made.rig)(tuple(cameras), "mm"))
    made.add("walk", moments=30)
    made.add("run", moments=30)
    made.add("bad", moments=30, calibration="calibrations/copied.toml")
    # One video can be shown, its camera's name in the picture's brightness.
    width, height = (side // 2 * 2 for side in made.rig.cameras[0].size)
    frames = [np.full((height, width, 3), 40 + 5 * n, np.uint8) for n in range(30)]
    write_video(made.folder / f"walk-{made.names[0]}.mp4", frames, 50)
    made.run()
    return made


def report(cohort):
    """Write the page as of a run whose videos are all done; their files are not there."""
    with pytest.MonkeyPatch.context() as patch:
        ledger = list(cohort.read_ledger().values())
        patch.setattr(report_page, "derive_session_ledger", lambda *_: ledger)
        return report_page.write_report(cohort.config, cohort.results)


@pytest.fixture(scope="module")
def page(cohort):
    return report(cohort)


def read_data(page):
    """Return the record of each session on the page by its name, with its points."""
    found = {}
    for script in Page(page.read_text(encoding="utf-8")).all("script"):
        if script.get("id", "").startswith("session-"):
            data = json.loads(script["text"])
            whole = np.frombuffer(base64.b64decode(data["points"]), "<u2").astype(float)
            whole[whole == 65535] = np.nan
            shape = (len(data["times"]), len(data["individuals"]), len(data["bodyparts"]), 3)
            data["points"] = whole.reshape(shape) * data["step"] + data["low"]
            found[data["name"]] = data
    return found


def test_the_page_tells_what_became_of_each_session_and_calibration(cohort, page):
    elements = Page(page.read_text(encoding="utf-8"))
    (section,) = elements.all("section", id="sessions")
    assert "2 of 3 sessions triangulated" in section["text"]
    # To check, in the table of sessions, and with the calibration.
    text = page.read_text(encoding="utf-8")
    assert text.count("identical parameters: one was copied from the other") == 3
    (attention,) = elements.all("section", id="attention")
    assert "1 session" in attention["text"]
    assert "bad" in attention["text"]
    rows = [row["text"] for row in elements.all("tr")]
    (bad,) = (row for row in rows if row.startswith("bad"))
    assert bad.startswith("badno calibration")
    (walk,) = (row for row in rows if row.startswith("walkdone"))
    assert "100.0 %" in walk
    # No path of this machine.
    assert str(cohort.folder) not in text


def test_corrected_views_are_counted_beside_where_they_are(cohort, page):
    assert "corrected by each other" not in page.read_text(encoding="utf-8")
    settings = cohort.settings["triangulation"]
    try:
        cohort.settings["triangulation"] = settings | {"corrected_views": {"enabled": True}}
        claim_stage(cohort.config, cohort.results, "correct-views")
        for shard in read_plan(cohort.results).shards:
            run_correct_views(cohort.config, cohort.results, shard)
        elements = Page(report(cohort).read_text(encoding="utf-8"))
    finally:
        cohort.settings["triangulation"] = settings
    (table,) = elements.all("div", **{"aria-label": "Corrected views"})
    # Four views of 30 frames and six keypoints, all of which agree; no view of the bad one.
    for session in ("walk", "run"):
        assert f"{session}720000corrected_views/{MODEL}/{session}" in table["text"]
    assert "bad" not in table["text"]


def test_points_views_and_errors_of_a_session_are_those_of_its_pose_file(cohort, page):
    data = read_data(page)
    assert sorted(data) == ["run", "walk"]
    walk, poses = data["walk"], cohort.read_poses("walk")
    step = np.ptp(poses.position.reshape(-1, 3), axis=0).max() / 65_000
    np.testing.assert_allclose(walk["points"], poses.position, atol=step)
    np.testing.assert_allclose(walk["points"], cohort.truth["walk"], atol=0.05)
    assert walk["edges"] == [[BODYPARTS.index(one) for one in edge] for edge in EDGES]
    assert walk["found"] == [6] * 30
    # The animals walk over a level ground below the cameras.
    np.testing.assert_allclose(np.abs(walk["turn"][2]), [0, 0, 1], atol=0.2)
    assert walk["turn"][2][2] * cohort.rig.cameras[0].centre[2] > 0
    picture = walk["pictures"][0]
    for camera, view in zip(cohort.rig.cameras, picture["views"], strict=True):
        assert view["camera"] == camera.name
        assert view["frame"] == picture["moment"]
        truth = project(camera, cohort.truth["walk"][picture["moment"], 0])
        drawn = {point[1]: point for point in view["points"]}
        assert len(drawn) == 6
        for keypoint, (x, y) in enumerate(truth):
            np.testing.assert_allclose(drawn[keypoint][2:6], [x, y, x, y], atol=0.11)
            assert drawn[keypoint][6] < 0.05
    images = [bool(view["image"]) for view in picture["views"]]
    assert images == [True, False, False, False]
    assert {view["note"] for view in picture["views"]} == {"", "the video cannot be read"}


def test_a_long_session_is_cut_to_an_excerpt(cohort, monkeypatch):
    monkeypatch.setattr(session_data, "MOMENTS", 10)
    monkeypatch.setattr(session_data, "MEASURED", 20)
    monkeypatch.setattr(session_data, "_WINDOWS", 4)
    source = SessionSource(cohort.results.triangulated(MODEL, "walk"), {}, {})
    view = gather_session("walk", source, EDGES)
    assert view.last - view.first == 9
    assert (view.moments, view.measured) == (30, 20)
    poses = cohort.read_poses("walk")
    assert view.data["times"] == [
        round(float(t), 4) for t in poses.time[view.first : view.last + 1]
    ]
    assert {one["note"] for one in view.data["pictures"][0]["views"]} == {
        "the sheet has no video of this camera"
    }
    errors = poses.camera_error.astype(float)
    windows = [slice(start, start + 5) for start in (0, 8, 16, 25)]
    expected = np.median(np.concatenate([errors[one, 2, :, 3] for one in windows]))
    assert view.errors[2, 3] == pytest.approx(expected)


def test_a_damaged_pose_file_costs_its_view_only(cohort, tmp_path, monkeypatch):
    ledger, copy = cohort.read_ledger(), Results(tmp_path / "results")
    shutil.copytree(cohort.results.root, copy.root)
    copy.triangulated(MODEL, "run").write_bytes(b"no zip")
    monkeypatch.setattr(report_page, "derive_session_ledger", lambda *_: list(ledger.values()))
    page = report_page.write_report(cohort.config, copy)
    assert list(read_data(page)) == ["walk"]
    (attention,) = Page(page.read_text(encoding="utf-8")).all("section", id="attention")
    assert "session run cannot be shown" in attention["text"]


@needs_chromium
def test_the_skeleton_turns_and_plays_by_mouse_and_keyboard(cohort, page):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        complaints = []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(Path(page).as_uri())
        try:
            drive_player(tab, cohort, playwright.expect)
        finally:
            browser.close()
    assert complaints == []


def drive_player(tab, cohort, expect):
    canvas, state = tab.locator("#skeleton"), tab.locator("#player-state")
    look = lambda: tab.evaluate("document.getElementById('skeleton').toDataURL()")  # noqa: E731
    canvas.scroll_into_view_if_needed()
    assert tab.locator("#session-choice option").all_text_contents() == ["walk", "run"]
    tab.locator("#moment").fill("0")
    first = look()
    assert state.text_content().startswith("Moment 0 of 30, 0.00 s; 6 of 6 points; median error")
    # The mouse turns it, and so do the arrows.
    box = canvas.bounding_box()
    tab.mouse.move(box["x"] + 100, box["y"] + 100)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 180, box["y"] + 120)
    tab.mouse.up()
    turned = look()
    assert turned != first
    canvas.focus()
    canvas.press("ArrowLeft")
    assert look() != turned
    canvas.press("Home")
    assert look() == first
    canvas.press(".")
    assert state.text_content().startswith("Moment 1 of 30, 0.02 s")
    canvas.press("c")
    assert tab.locator("#show-cameras").get_attribute("aria-pressed") == "true"
    # Space plays to the end, and stops there.
    tab.locator("#speed").select_option("2")
    canvas.press(" ")
    expect(tab.locator("#moment")).to_have_value("29", timeout=30_000)
    assert tab.locator("#play").text_content() == "Play"
    # The text alternative has the positions of the moment.
    tab.locator("#positions summary").click()
    cells = tab.locator("#positions tbody tr").first.locator("th, td").all_text_contents()
    told = [float(cell.split()[0]) for cell in cells[2:]]
    np.testing.assert_allclose(told, cohort.truth["walk"][29, 0, 0], atol=0.1)
    assert cells[2].endswith(" mm")
    # Views: one per camera; choosing a picture seeks its moment.
    tab.locator("#pictures button").last.click()
    assert tab.locator("#views svg").count() == 4
    assert tab.locator("#views image").count() == 1
    tab.locator("#session-choice").select_option("1")
    assert "Skeleton of run" in canvas.get_attribute("aria-label")
    assert tab.locator(".session-errors:visible caption").text_content().startswith("run:")
