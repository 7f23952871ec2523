"""Drive the page in a real browser, as a person does by keyboard and mouse."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.io.corrections.labels import (
    BodypartChange,
    read_label_corrections,
    settle_corrections,
    write_bodypart_change,
)
from pipeline_lib.io.labels.table import label_arrays, read_labels
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.import_labels.run import run_import_labels
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.train import run_train
from tests.io.poses.pose_examples import make_poses
from tests.label.serving import BODYPARTS, film, serve, write_project
from tests.models.synthetic import TINY_BACKBONE

pytest.importorskip("nicegui")
playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
EVIL = '<img src=x onerror="window.broken=1">'
REFINED = ("rank", "video", "frame", "reason")


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def open_page(chromium, served) -> Iterator:
    """Open the page; the block fails if the browser had anything to complain of."""
    page = chromium.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(30_000)
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    page.goto(served.address)
    page.wait_for_function("document.querySelector('.cp-host img')?.naturalWidth > 0")
    assert "token" not in page.url
    yield page
    page.context.close()
    assert not complaints, "; ".join(complaints)


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def wait_saved(page):
    page.wait_for_function(
        "document.querySelector('.cp-saving').textContent.startsWith('Saved')"
        " && !document.querySelector('.cp-saving.open')"
    )


def wait_frame(page, frame):
    """Wait until a frame is named and its image is shown."""
    page.wait_for_function(
        f"document.querySelector('.cp-where').textContent.endsWith('frame {frame}')"
        " && document.querySelector('[data-bodypart]')"
    )


def wait_states(page, *states):
    """Wait until the bodyparts have these states, in their order."""
    page.wait_for_function(
        "(states) => JSON.stringify([...document.querySelectorAll('[data-state]')]"
        ".map((row) => row.dataset.state)) === JSON.stringify(states)",
        arg=list(states),
    )


def locate(page, x, y):
    """Return where a position of the frame is on the screen."""
    return page.evaluate(
        """([x, y]) => {
            const box = document.querySelector('.cp-host img').getBoundingClientRect();
            const image = document.querySelector('.cp-host img');
            const zoom = box.width / image.naturalWidth;
            return [box.left + (x + 0.5) * zoom, box.top + (y + 0.5) * zoom];
        }""",
        [x, y],
    )


def click(page, x, y, **options):
    page.mouse.click(*locate(page, x, y), **options)


def read_saved(folder):
    """Return the correction that counts, by video and frame."""
    chosen, _ = settle_corrections(read_label_corrections(folder / "corrections"))
    return {(key.video, key.frame): one for key, one in chosen.items()}


def read_points(folder, video, frame):
    """Return [x, y], rounded to px, and visibility by bodypart."""
    return {
        point.bodypart: (
            None if np.isnan(point.x) else (round(point.x), round(point.y)),
            str(point.visibility),
        )
        for point in read_saved(folder)[video, frame].keypoints
    }


def test_damage_of_another_author_is_named_and_exchanged_names_are_followed(chromium, tmp_path):
    videos = {"m1": film(tmp_path / "m1.mp4")}
    folder = write_project(tmp_path / "project", videos, [("m1", 0)])
    trouble = "document.querySelector('.cp-notice.trouble')"
    with serve(folder) as served, open_page(chromium, served) as page:
        click(page, 10, 40)
        wait_saved(page)
        table = folder / "corrections" / "labels" / "Bob" / "m1.tsv"
        table.parent.mkdir()
        table.write_text("no table\n")
        page.wait_for_function(f"{trouble}?.textContent.includes('Bob/m1.tsv')")
        table.unlink()
        page.wait_for_function(f"!{trouble}")
        for minute, (former, name) in enumerate((("nose", "t"), ("tail", "nose"), ("t", "tail"))):
            time = datetime.now(UTC) + timedelta(seconds=minute)
            change = BodypartChange("rename", name, former, "Bob", time)
            write_bodypart_change(folder / "corrections", change)
        # Before or after the page has the new names: this is the left ear.
        click(page, 20, 50)
        page.wait_for_function(
            "document.querySelector('[data-bodypart]').dataset.bodypart === 'tail'"
        )
        wait_states(page, "visible", "visible", "open", "open")
        wait_saved(page)
    assert read_points(folder, "m1", 0) == {
        "tail": ((10, 40), "visible"),
        "left_ear": ((20, 50), "visible"),
    }


def test_a_project_is_labelled_from_nothing_and_trained(chromium, tmp_path, monkeypatch):
    videos = {name: film(tmp_path / f"{name}.mp4") for name in ("m1", "m2")}
    frames = [("m1", 0), ("m1", 4), ("m1", 8), ("m2", 2), ("m2", 6)]
    folder = write_project(
        tmp_path / "project",
        videos,
        frames,
        training={"epochs": 1, "batch_size": 2, "weights": "none", "backbone": TINY_BACKBONE},
        targets={"scale": 0.5},
    )
    with serve(folder) as served, open_page(chromium, served) as page:
        label_by_mouse(page, folder)
        label_by_keys(page, folder)
        label_by_number(page, folder)
    saved = read_saved(folder)
    assert set(saved) == {*frames, ("m2", 11)}
    assert {one.author for one in saved.values()} == {"Ann"}
    assert read_points(folder, "m2", 11) == read_points(folder, "m2", 2)
    monkeypatch.chdir(folder)
    train_on_corrections(folder)


def label_by_mouse(page, folder):
    """Place points one after the other, the last one hidden, and drag the first."""
    for x, y in ((10, 40), (20, 50), (20, 60)):
        click(page, x, y)
    page.keyboard.down("Shift")
    click(page, 39, 69)
    page.keyboard.up("Shift")
    wait_states(page, "visible", "visible", "visible", "hidden")
    page.mouse.move(*locate(page, 10, 40))
    page.mouse.down()
    page.mouse.move(*locate(page, 12, 42), steps=4)
    page.mouse.up()
    wait_saved(page)
    assert read_points(folder, "m1", 0) == {
        "nose": ((12, 42), "visible"),
        "left_ear": ((20, 50), "visible"),
        "right_ear": ((20, 60), "visible"),
        "tail": ((39, 69), "hidden"),
    }


def label_by_keys(page, folder):
    """Label three frames; keys come faster than frames do."""
    press(page, "n", "c", "Tab", "Shift+ArrowRight", *["ArrowRight"] * 6, "Enter")
    wait_frame(page, 8)
    wait_saved(page)
    copied = read_points(folder, "m1", 4)
    assert copied["nose"] == ((12, 42), "visible")
    assert copied["left_ear"] == ((36, 50), "visible")
    # The cross starts in the middle of what is seen.
    press(page, " ", "h", "Tab", "x")
    wait_states(page, "visible", "hidden", "open", "absent")
    wait_saved(page)
    third = read_points(folder, "m1", 8)
    assert (third["left_ear"][1], third["tail"]) == ("hidden", (None, "absent"))
    assert "right_ear" not in third
    press(page, *["Control+z"] * 3)
    wait_states(page, *["open"] * 4)
    press(page, "Control+Shift+z")
    wait_states(page, "visible", "open", "open", "open")
    wait_saved(page)
    assert read_points(folder, "m1", 8)["nose"] == ((80, 60), "visible")
    # Left and right are exchanged.
    keys = (" ", "Shift+ArrowUp", " ", "Shift+ArrowLeft", " ", "Shift+ArrowDown", " ")
    press(page, "n", *keys)
    wait_frame(page, 2)
    wait_states(page, *["visible"] * 4)
    wait_saved(page)
    before = read_points(folder, "m2", 2)
    press(page, "Shift+s", "n")
    wait_frame(page, 6)
    wait_saved(page)
    after = read_points(folder, "m2", 2)
    assert (after["left_ear"], after["right_ear"]) == (before["right_ear"], before["left_ear"])
    assert before["left_ear"] != before["right_ear"]


def label_by_number(page, folder):
    """Say that a frame shows no animal, and add one by its number."""
    press(page, "e", "g")
    page.fill("input[inputmode=numeric]", "11")
    press(page, "Enter")
    wait_frame(page, 11)
    press(page, "c")
    wait_states(page, *["visible"] * 4)
    wait_saved(page)
    assert read_saved(folder)["m2", 6].keypoints == ()


def train_on_corrections(folder):
    config, results = read_config(folder / "config.yaml"), Results(folder / "results")
    run_import_labels(config, results)
    labels = read_labels(results.labels)
    images, positions = label_arrays(labels)
    assert labels.bodyparts == BODYPARTS
    first = images.index[(images["video"] == "m1") & (images["frame"] == 0)]
    expected = [[12, 42], [20, 50], [20, 60], [39, 69]]
    np.testing.assert_allclose(positions[first[0], 0], expected, atol=0.5)
    run_make_targets(config, results)
    run_train(config, results)
    assert results.model(config.training.name).network.is_file()


def test_two_authors_label_at_once(chromium, tmp_path):
    folder = write_project(
        tmp_path / "project", {"m1": film(tmp_path / "m1.mp4")}, [("m1", 0), ("m1", 4)]
    )
    with (
        serve(folder, "Ann") as hers,
        serve(folder, "Bob <b>") as his,
        open_page(chromium, hers) as ann,
        open_page(chromium, his) as bob,
    ):
        # Bob looks at a frame that Ann labels: he is told, and sees her points.
        click(ann, 10, 40)
        wait_saved(ann)
        wait_states(bob, "visible", "open", "open", "open")
        assert bob.text_content(".cp-notice").startswith("Ann corrected this frame at ")
        # Both change a frame before they hear of each other.
        press(ann, "n")
        press(bob, "n")
        wait_frame(ann, 4)
        wait_frame(bob, 4)
        held = []
        bob.route("**/api/frames/1", lambda route: held.append(route))  # noqa: PLW0108 - no method
        with bob.expect_request("**/api/frames/1"):
            click(bob, 50, 40)
        wait_states(bob, "visible", "open", "open", "open")
        click(ann, 30, 40)
        wait_saved(ann)
        held[0].continue_()
        bob.unroute("**/api/frames/1")
        bob.wait_for_function("document.querySelector('.cp-notice')?.textContent.includes('while')")
        assert read_points(folder, "m1", 4)["nose"] == ((50, 40), "visible")
        assert len(read_label_corrections(folder / "corrections")) == 3
        # Ann sees that Bob's is newer, and takes hers back; his stays in his own file.
        ann.wait_for_function(
            "document.querySelector('.cp-notice')?.textContent.includes('Bob <b>')"
        )
        ann.get_by_role("button", name="Use", exact=True).click()
        ann.wait_for_function(
            "document.querySelector('.cp-origin').textContent.startsWith('by Ann')"
        )
        wait_saved(ann)
        assert read_points(folder, "m1", 4)["nose"] == ((30, 40), "visible")
        assert read_saved(folder)["m1", 4].author == "Ann"
        authors = {one.author for one in read_label_corrections(folder / "corrections")}
        assert authors == {"Ann", "Bob <b>"}
        # A bodypart that Ann renames has its new name on Bob's page, too.
        press(ann, "Shift+b")
        ann.select_option(".cp-dialog select", "tail")
        ann.fill(".cp-dialog input", EVIL)
        press(ann, "Enter")
        for page in (ann, bob):
            page.wait_for_selector(f"[data-bodypart='{EVIL}']")
            assert page.evaluate("window.broken") is None


def test_a_thousand_frames_and_large_ones(chromium, tmp_path):
    small = film(tmp_path / "small.mp4", frames=1000, width=64, height=48)
    large = film(tmp_path / "large.mp4", frames=2, width=3840, height=2160)
    folder = write_project(tmp_path / "project", {"small": small, "large": large})
    rows = [
        {"rank": rank, "video": "small", "frame": rank, "reason": f"{EVIL} {rank}"}
        for rank in range(1000)
    ]
    table = Results(folder / "results").refined_table("pose")
    write_table(table, REFINED, [*rows, {"video": "large", "frame": 1, "reason": "large"}])
    with serve(folder) as served, open_page(chromium, served) as page:
        # Reasons are shown as text.
        assert page.text_content(".cp-reason") == f"{EVIL} 0"
        assert page.evaluate("window.broken") is None
        assert page.text_content(".cp-filter button") == "All 1001"
        # Far fewer rows than frames are in the page, wherever the list stands.
        press(page, *["PageDown"] * 40)
        wait_frame(page, 40)
        assert page.locator(".cp-item").count() < 150
        assert page.locator(".cp-item.on").inner_text().startswith("small")
        press(page, "/")
        page.fill("input[type=search]", "large")
        press(page, "Enter")
        wait_frame(page, 1)
        page.wait_for_function("document.querySelector('.cp-host img').naturalWidth === 3840")
        # The wheel zooms about the mouse; at 60 px a pixel, a click hits a fraction of it.
        x, y = locate(page, 3000, 1500)
        page.mouse.move(x, y)
        for _ in range(30):
            page.mouse.wheel(0, -400)
        page.wait_for_function("document.querySelector('.cp-zoom').textContent === '6000 %'")
        x, y = 600, 400
        left, top = locate(page, 0, 0)
        page.mouse.click(x, y)
        wait_saved(page)
        nose = read_saved(folder)["large", 1].keypoints[0]
        np.testing.assert_allclose(nose[2:4], [(x - left) / 60, (y - top) / 60], atol=0.03)
        assert abs(nose.x - 3000) < 20


def write_tracks(folder, video, frames, confidence):
    """Write tracks of two animals whose keypoints lie 20 px apart, 60 px between animals."""
    results = Results(folder / "results")
    position = np.zeros((frames, 2, len(BODYPARTS), 2), np.float32)
    position[..., 0] = 20 + 20 * np.arange(len(BODYPARTS))
    position[..., 1] = np.array([30, 90])[:, None]
    poses = replace(
        make_poses(frames, BODYPARTS, ("ann", "bob")),
        position=position,
        confidence=np.broadcast_to(np.float32(confidence), position.shape[:3]),
        track_status=np.ones((frames, 2), np.uint8),
    )
    path = results.tracked("pose", video)
    path.parent.mkdir(parents=True)
    write_poses(path, poses)


def test_predicted_animals_are_corrected(chromium, tmp_path):
    names = {"max": 3, "names": ["ann", "bob", "cy"]}
    folder = write_project(
        tmp_path / "project", {"m1": film(tmp_path / "m1.mp4")}, [("m1", 5)], individuals=names
    )
    # The tails are unsure.
    write_tracks(folder, "m1", 20, [[0.9, 0.9, 0.9, 0.2]] * 2)

    def read(frame=5):
        return {
            (point.individual, point.bodypart): (point.x, point.y)
            for point in read_saved(folder)["m1", frame].keypoints
            if point.visibility == "visible"
        }

    with serve(folder) as served, open_page(chromium, served) as page:
        wait_states(page, "visible", "visible", "visible", "suggested")
        assert not (folder / "corrections").exists()
        press(page, "s")
        wait_saved(page)
        assert read()["ann", "nose"] == (20, 90)
        assert read()["bob", "nose"] == (20, 30)
        assert not {("ann", "tail"), ("bob", "tail")} & set(read())
        # Bob's tail is accepted, his nose removed; a third animal gets one point.
        press(page, "2", "q", "Shift+Tab")
        wait_states(page, *["visible"] * 4)
        page.click("[data-bodypart=nose]")
        press(page, "x", "a")
        wait_states(page, *["open"] * 4)
        click(page, 140, 60)
        wait_saved(page)
        assert read()["bob", "tail"] == (80, 30)
        assert ("bob", "nose") not in read()
        assert [name for name in read() if name[0] == "cy"] == [("cy", "nose")]
        # There is no fourth; Ann is removed.
        press(page, "a")
        assert "3 animals at most" in page.text_content(".cp-message")
        press(page, "1", "Shift+x", "n")
        wait_saved(page)
        assert {name for name, _ in read()} == {"bob", "cy"}
        # All is undone, step by step: the frame is as if nobody had touched it.
        press(page, *["Control+z"] * 8)
        page.wait_for_function(
            "document.querySelector('.cp-origin').textContent.startsWith('prediction')"
        )
        wait_saved(page)
        assert read_saved(folder) == {}
        # A neighbour is looked at, where nothing can be changed, and taken into the list.
        press(page, ".", ".", "x")
        page.wait_for_selector(".cp-look")
        assert page.text_content(".cp-look").startswith("frame 7 (+2)")
        assert "Esc returns" in page.text_content(".cp-message")
        press(page, "m")
        wait_frame(page, 7)
        press(page, "Enter")
        wait_saved(page)
        assert set(read_saved(folder)) == {("m1", 7)}
        assert read(7)["ann", "nose"] == (20, 30)
