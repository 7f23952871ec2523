"""Measure the time from a video's arrival in an incoming folder to its row in the report.

A small rendered cohort is run first. Then `cohortpose watch` stays on the folder of incoming
videos, and one more video is copied there slowly, as a camera or a server does. Printed are the
seconds from the end of the copy: `settle` and half a round are waited for on purpose.
"""

import argparse
import csv
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

from pipeline_lib.demo.write import DemoSettings, write_demo

# The smallest network there is: what it computes is not what is measured.
SETTINGS = {
    "targets": {"stride": 8},
    "training": {
        "backbone": "mobilenetv3_small_050",
        "weights": "none",
        "head_channels": 8,
        "epochs": 2,
        "batch_size": 4,
    },
    "report": {"sample_frames": 2},
}
CHECKOUT = Path(__file__).parents[2]
PIECES = 20


def prepare(folder: Path, videos: int, frames: int) -> Path:
    """Write a cohort with all but one video in its sheet; return that one."""
    write_demo(folder, DemoSettings(videos=videos + 1, frames=frames, labelled_frames=12))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | SETTINGS))
    sheet = folder / "cohort.tsv"
    with sheet.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    # The last row is a damaged file.
    kept, late = rows[:videos], rows[videos]
    with sheet.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
    return folder / late["path"]


def start(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    """Start a module of this Python in the folder; its output goes to a log there."""
    with (folder / "benchmark.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )


def copy_slowly(source: Path, target: Path, seconds: float) -> None:
    """Copy a file in pieces."""
    data = source.read_bytes()
    size = -(-len(data) // PIECES)
    with target.open("wb", buffering=0) as file:
        for begin in range(0, len(data), size):
            file.write(data[begin : begin + size])
            time.sleep(seconds / PIECES)


def wait_for(text: str, path: Path, begin: float, limit: float) -> float:
    """Return the seconds since `begin` at which a file first holds a text."""
    while time.monotonic() - begin < limit:
        if path.is_file() and text in path.read_text(encoding="utf-8", errors="replace"):
            return time.monotonic() - begin
        time.sleep(0.1)
    raise SystemExit(f"{path}: no {text!r} after {limit:g} s; see benchmark.log")


def main() -> None:
    """Print the seconds to the row of the sheet and to that of the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/arrival"))
    parser.add_argument("--videos", type=int, default=4, help="in the sheet before")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--every", type=float, default=2.0)
    parser.add_argument("--settle", type=float, default=5.0)
    parser.add_argument("--copy", type=float, default=8.0, help="seconds that the copy takes")
    parser.add_argument("--limit", type=float, default=900.0)
    given = parser.parse_args()
    folder = given.folder.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    late = prepare(folder, given.videos, given.frames)
    first = ("snakemake", "--cores", "all", "--configfile", "config.yaml")
    snakefile = str(CHECKOUT / "Snakefile")
    began = time.monotonic()
    if start(folder, *first, "--snakefile", snakefile).wait():
        raise SystemExit(f"the first run failed; see {folder}/benchmark.log")
    print(f"first run of {given.videos} videos: {time.monotonic() - began:.1f} s")
    incoming = folder / "incoming"
    incoming.mkdir()
    options = ("--every", str(given.every), "--settle", str(given.settle))
    command = ("watch", "incoming", "--config", "config.yaml", "--pattern", "{animal}.mp4")
    watch = start(folder, "pipeline_lib.start", *command, *options)
    try:
        target = incoming / f"late{late.suffix}"
        copy_slowly(late, target, given.copy)
        begin = time.monotonic()
        if "incoming" in (folder / "cohort.tsv").read_text():
            raise SystemExit("the video was taken while it was being copied")
        in_sheet = wait_for("incoming/late", folder / "cohort.tsv", begin, given.limit)
        results = folder / "results"
        in_report = wait_for('"late"', results / "report" / "index.html", begin, given.limit)
        wait_for("late", results / ".watch" / "arrivals.tsv", begin, given.limit)
    finally:
        watch.terminate()
        watch.wait()
    print(f"copied in {given.copy:g} s; a look every {given.every:g} s, settle {given.settle:g} s")
    print(f"copy ended -> row of the sheet    {in_sheet:6.1f} s")
    print(f"copy ended -> row of the report   {in_report:6.1f} s")
    print(f"of which the workflow took        {in_report - in_sheet:6.1f} s")


if __name__ == "__main__":
    main()
