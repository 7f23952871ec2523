"""Time the answers of `cohortpose --help` and `cohortpose status`."""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

LIMIT = 1.0  # s


def write_cohort(folder: Path, videos: int) -> None:
    """Write a config and a sheet of videos without results."""
    rows = [f"mouse-{number}\tvideos/mouse-{number}.mp4" for number in range(videos)]
    (folder / "cohort.tsv").write_text("\n".join(["video\tpath", *rows]) + "\n", encoding="utf-8")
    (folder / "config.yaml").write_text("cohort: cohort.tsv\n", encoding="utf-8")


def time_command(command: Sequence[str], folder: Path, repeats: int) -> float:
    """Return the median seconds of a command from start to end, after a warm-up run.

    Raises
    ------
    CalledProcessError
        If the command fails.
    """
    seconds = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def main() -> None:
    """Print both times; fail if one is not under a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--videos", type=int, default=1000, help="rows of the cohort sheet")
    given = parser.parse_args()
    program = shutil.which("cohortpose", path=str(Path(sys.executable).parent))
    if program is None:
        raise SystemExit(f"error: no `cohortpose` beside {sys.executable}; run `make install`")
    slow = []
    with tempfile.TemporaryDirectory() as name:
        write_cohort(Path(name), given.videos)
        for arguments in (["--help"], ["status", "--config", "config.yaml"]):
            seconds = time_command([program, *arguments], Path(name), given.repeats)
            print(f"cohortpose {arguments[0]:8}{seconds:6.2f} s (median of {given.repeats})")
            if seconds >= LIMIT:
                slow.append(arguments[0])
    if slow:
        raise SystemExit(f"not under {LIMIT:g} s: {', '.join(slow)}")


if __name__ == "__main__":
    main()
