"""Make a cohort to report on, and read its page with a parser or a browser."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.report.page import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
EVIL = "<script>document.title='broken'</script>"

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def make_cohort(folder, videos, **settings):
    sheet = folder / "cohort.tsv"
    rows = [
        {"video": video, "path": f"{video}.mp4", "dose": str(index), "note": EVIL}
        for index, video in enumerate(videos)
    ]
    write_table(sheet, ("video", "path", "dose", "note"), rows)
    results = Results(folder / "results")
    config = parse_config({"cohort": str(sheet), "results": str(results.root), **settings})
    return config, results


class Page(HTMLParser):
    """Collect elements of a page by tag, with their attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.open = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", **dict(attrs)}
        self.elements.append(element)
        if tag not in {"meta", "input", "br", "image", "line", "circle", "path", "rect", "option"}:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})

    def handle_endtag(self, tag):
        while self.open and self.open[-1]["tag"] != tag:
            self.open.pop()
        if self.open:
            self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, **attributes):
        return [
            element
            for element in self.elements
            if element["tag"] == tag
            and all(element.get(key.strip("_")) == value for key, value in attributes.items())
        ]


def read_page(config, results):
    return Page(write_report(config, results).read_text(encoding="utf-8"))


def section_ids(page):
    return [section["id"] for section in page.all("section") if "id" in section]


def drive(page, folder, script):
    """Return what `browse` returns of a copy of the page that runs a script at its end."""
    text = page.read_text(encoding="utf-8")
    # The page's policy lets no other script run: the copy that is driven has none.
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    copy = folder / "driven.html"
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    return browse(copy, folder)


def browse(page, folder):
    """Return the document after its script ran, and what the browser complained of."""
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--enable-logging=stderr", f"--user-data-dir={folder / 'browser'}",
    ]  # fmt: skip
    done = subprocess.run(
        [CHROMIUM, *options, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Page(done.stdout), complaints
