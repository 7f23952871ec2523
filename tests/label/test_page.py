"""Drive the page in a real browser, as a person does by keyboard and mouse."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import read_config
from pipeline_lib.io.corrections.labels import read_label_corrections, settle_corrections
from pipeline_lib.io.labels.table import label_arrays, read_labels
from pipeline_lib.steps.import_labels.run import run_import_labels
from pipeline_lib.steps.make_targets.run import run_make_targets
from pipeline_lib.steps.train import run_train
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
    page.set_default_timeout(15_000)
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
    wait_states(page, "visible", "hidden", "absent", "absent")
    press(page, "Control+z", "Control+z")
    wait_states(page, *["absent"] * 4)
    press(page, "Control+Shift+z")
    wait_states(page, "visible", "absent", "absent", "absent")
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
