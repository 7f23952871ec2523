"""Measure the report of a large cohort: writing, size, time until it is usable, 50 videos more.

    python benchmarks/results/report.py [--videos 3000] [--more 50] [--frames 1800] [--keep FOLDER]

Poses are random walks of eight bodyparts with gaps. Every row of the sheet names a video of its
own: links to one recording, so that the pictures of worst frames are decoded as in a real run. With
a Chromium on this machine, the time is measured from the call of a page, opened from its file,
until its table is drawn and was sorted.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline_lib.core.layout import Results
from pipeline_lib.core.poses import Poses
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import PROBE_COLUMNS, STAGE_COLUMNS
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.io.video.encode import encode_frames
from pipeline_lib.steps.report import page
from pipeline_lib.steps.report.details import store

BODYPARTS = tuple(f"bodypart{number}" for number in range(8))
WIDTH, HEIGHT, FPS = 640, 480, 30
SHARD_VIDEOS = 64


def make_poses(frames: int, seed: int) -> Poses:
    """Return a random walk; 2 % of the points are missing, and confidence drifts."""
    rng = np.random.default_rng(seed)
    shape = (frames, 1, len(BODYPARTS))
    centre = np.cumsum(rng.normal(size=(frames, 1, 1, 2)), axis=0) % (HEIGHT - 80) + 40
    position = (centre + rng.normal(scale=12, size=(*shape, 2))).astype(np.float32)
    drift = np.cumsum(rng.normal(scale=0.01, size=frames))[:, None, None]
    confidence = np.clip(0.85 + drift + rng.normal(scale=0.08, size=shape), 0, 1)
    position[rng.random(shape) < 0.02] = np.nan
    confidence[np.isnan(position).any(axis=-1)] = np.nan
    return Poses(
        position,
        confidence.astype(np.float32),
        np.zeros(frames, np.uint8),
        np.arange(frames) / FPS,
        BODYPARTS,
        ("animal",),
        {"key": f"key-{seed}"},
    )


def write_video(path: Path, frames: int) -> None:
    """Write a video of blotches and noise that move slowly: hard to compress, as real ones are."""
    rng = np.random.default_rng(0)
    blotches = rng.integers(30, 220, (HEIGHT // 12, WIDTH // 12, 3), dtype=np.uint8)
    ground = cv2.resize(blotches, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    ground = cv2.add(ground, rng.integers(0, 24, ground.shape, dtype=np.uint8))
    images = (
        (number * 512, np.roll(ground, number, axis=1)) for number in range(min(frames, 10**6))
    )
    encode_frames(path, images, 30, FPS)


def add_videos(folder: Path, first: int, stop: int, frames: int) -> None:
    """Write poses and tables of videos, and the sheet of all up to the last."""
    results = Results(folder / "results")
    names = [f"mouse-{number:04d}" for number in range(stop)]
    groups = ("control", "treated", "sham")
    lines = "".join(
        f"{name}\tvideos/{name}.mp4\t{groups[number % 3]}\t{number % 40}\n"
        for number, name in enumerate(names)
    )
    sheet = f"video\tpath\tgroup\tanimal\n{lines}"
    (folder / "cohort.tsv").write_text(sheet, encoding="utf-8")
    (folder / "videos").mkdir(exist_ok=True)
    for number in range(first, stop):
        write_poses(results.poses("pose", names[number]), make_poses(frames, number))
        link = folder / "videos" / f"{names[number]}.mp4"
        link.unlink(missing_ok=True)
        link.symlink_to(folder / "video.mp4")
    plan = []
    for start in range(0, stop, SHARD_VIDEOS):
        files, here = results.shard(f"{start:05d}"), names[start : start + SHARD_VIDEOS]
        plan += [{"video": name, "shard": f"{start:05d}", "state": "planned"} for name in here]
        facts = {"frames": frames, "fps": FPS, "width": WIDTH, "height": HEIGHT}
        rows = [{"video": name, "status": "done", "key": name, "seconds": 3.0} for name in here]
        write_table(files.probe, PROBE_COLUMNS, [{**row, **facts} for row in rows])
        for path in (files.infer("pose"), files.filter("pose"), files.export("pose")):
            write_table(path, STAGE_COLUMNS, rows)
    write_table(results.plan, ("video", "shard", "state"), plan)


def write(config: Config, results: Results) -> tuple[float, int]:
    """Write the report; return the seconds, and how many pose files were read."""
    read = 0
    before = store.measure_all

    def count(tasks: Sequence[store.Task]) -> object:
        nonlocal read
        read += len(tasks)
        return before(tasks)

    store.measure_all = count  # type: ignore[assignment]
    began = time.perf_counter()
    page.write_report(config, results)
    seconds = time.perf_counter() - began
    store.measure_all = before
    return seconds, read


def open_page(path: Path) -> float | None:
    """Return the seconds until the table is there and was sorted; None without a browser."""
    program = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None
    )
    if program is None:
        return None
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1280, "height": 900})
        began = time.perf_counter()
        shown.goto(path.as_uri(), wait_until="domcontentloaded")
        shown.click("#videos thead button >> nth=0")
        shown.wait_for_selector("#videos th[aria-sort=ascending]")
        seconds = time.perf_counter() - began
        browser.close()
    return seconds


def measure_folder(folder: Path) -> float:
    """Return the size of the files in a folder in MB."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / 1e6


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=3000)
    parser.add_argument("--more", type=int, default=50)
    parser.add_argument("--frames", type=int, default=1800)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    results = Results(folder / "results")
    if not (folder / "video.mp4").exists():
        write_video(folder / "video.mp4", options.frames)
        add_videos(folder, 0, options.videos, options.frames)
    config = parse_config({"cohort": str(folder / "cohort.tsv"), "results": str(results.root)})
    for about in ("first", "again"):
        seconds, read = write(config, results)
        print(f"{about}: {seconds:.1f} s, {read} pose files read")
    print(f"size of the folder: {measure_folder(results.report.parent):.1f} MB")
    print(f"index.html: {results.report.stat().st_size / 1e6:.2f} MB")
    usable = open_page(results.report)
    print("usable: no browser" if usable is None else f"usable: {usable:.2f} s")
    add_videos(folder, options.videos, options.videos + options.more, options.frames)
    seconds, read = write(config, results)
    print(f"+{options.more}: {seconds:.1f} s, {read} pose files read")
    if not options.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
