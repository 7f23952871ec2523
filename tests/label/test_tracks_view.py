"""Proofread the tracks of a demo in a real browser, and apply what was decided."""

import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.io.corrections.tracks import (
    read_track_decisions,
    write_track_decision,
)
from pipeline_lib.io.poses.read import read_poses
from tests.label.proofread_project import SHARD, write_exchanged
from tests.label.serving import COMMAND, serve

pytest.importorskip("nicegui")
playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

FIRST, SECOND, FRAMES = 15, 32, 48


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Write a video in which two pairs of animals are exchanged, and one without a mistake."""
    folder = tmp_path_factory.mktemp("proofread") / "demo"
    exchanges = {"mouse-01": [(FIRST, 0, 1), (SECOND, 1, 2)]}
    truths = write_exchanged(folder, exchanges, frames=FRAMES)
    return folder, truths["mouse-01"]


@contextmanager
def open_tracks(folder):
    """Serve a project and open the view of tracks; the browser has nothing to complain of."""
    with serve(folder) as served, playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.set_default_timeout(30_000)
        complaints = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(served.address)
        page.get_by_role("tab", name="Tracks").click()
        page.wait_for_selector(".cp-host img[src]")
        yield page
        browser.close()
        assert not complaints, "; ".join(complaints)


def wait_count(page, number, decisions=None):
    """Wait until so many places are in doubt and decided, and what is shown can be decided."""
    page.wait_for_function(
        f"document.querySelector('.cp-count')?.textContent === '{number} in doubt'"
        " && !document.querySelector('.cp-stage[aria-busy=true]')"
    )
    if decisions is not None:
        page.wait_for_function(
            f"document.querySelectorAll('[data-decision]').length === {decisions}"
        )


def list_decisions(folder):
    decisions = read_track_decisions(folder / "corrections")
    return [(str(one.what), one.first_frame, one.last_frame, one.author) for one in decisions]


def correct(folder):
    command = [COMMAND, "--directory", str(folder), "correct", "--config", "config.yaml"]
    done = subprocess.run([*command, "--shard", SHARD], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def undo_and_redo(page, folder):
    page.keyboard.press("u")
    wait_count(page, 2)
    assert list_decisions(folder) == []
    page.keyboard.press("Shift+U")
    wait_count(page, 1)
    wait_message(page, "Redone: swap")
    assert [one[:3] for one in list_decisions(folder)] == [("swap", FIRST, None)]
    page.keyboard.press("Shift+U")
    wait_message(page, "nothing to redo")


def look_everywhere(page):
    # The doubts of all videos are one list.
    page.keyboard.press("w")
    page.wait_for_selector(f"[data-place='mouse-01 {SECOND}'].on")
    assert page.locator("[data-place]").count() == 1
    page.keyboard.press("w")
    wait_count(page, 1)


def test_swaps_are_mended_by_one_key_each(demo):
    folder, truth = demo
    results = Results(folder / "results")
    with open_tracks(folder) as page:
        wait_count(page, 2)
        # The clip plays by itself, and shows frames around the doubt.
        page.wait_for_function("document.querySelector('.cp-look').textContent.includes('here is')")
        places = page.locator("[data-doubt]")
        frames = {places.nth(number).get_attribute("data-doubt") for number in range(2)}
        assert frames == {str(FIRST), str(SECOND)}
        page.keyboard.press("s")
        wait_count(page, 1)
        undo_and_redo(page, folder)
        look_everywhere(page)

        # Others mend the same meanwhile: the page decides nothing about tracks it has not shown.
        page.evaluate("for (let id = 1; id < 9999; id++) clearInterval(id)")
        (mended,) = read_track_decisions(folder / "corrections")
        write_track_decision(folder / "corrections", replace(mended, author="Ben"))
        page.keyboard.press("s")
        wait_message(page, "have changed")
        wait_count(page, 1)
        assert len(list_decisions(folder)) == 2
        page.keyboard.press("s")
        wait_count(page, 0)
        wait_message(page, "Nothing is in doubt any more")
        expected = [
            ("swap", FIRST, None, "Ann"),
            ("swap", SECOND, None, "Ann"),
            ("swap", FIRST, None, "Ben"),
        ]
        assert list_decisions(folder) == expected

        # A wrong decision between two frames, by the mark, and its undoing.
        for key in (*["Shift+ArrowLeft"] * 2, "m", *["ArrowRight"] * 3, "b"):
            page.keyboard.press(key)
        wait_count(page, 0, decisions=4)
        here = list_decisions(folder)
        made = next(one for one in here if one not in expected)
        assert (made[0], made[2] - made[1]) == ("swap", 3)
        page.keyboard.press("u")
        wait_count(page, 0, decisions=3)
        assert list_decisions(folder) == expected
        # The next video has nothing to decide.
        page.keyboard.press("v")
        page.wait_for_selector(".cp-video.on[data-video=mouse-02]")
        wait_count(page, 0)
    correct(folder)
    corrected = read_poses(results.corrected("pose", "mouse-01"))
    order = [corrected.individuals.index(f"mouse{number}") for number in (1, 2, 3)]
    np.testing.assert_array_equal(corrected.position[:, order], truth)
    assert not results.corrected("pose", "mouse-02").exists()


def wait_message(page, text):
    page.wait_for_function(
        "(text) => [...document.querySelectorAll('.cp-message')]"
        ".some((one) => one.textContent.includes(text))",
        arg=text,
    )
