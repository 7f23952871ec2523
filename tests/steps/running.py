"""Run `cohortpose` on a tiny cohort as a job does, and kill it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from pipeline_lib.core.layout import Results
from pipeline_lib.core.tables import PLAN_COLUMNS
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.infer.run import INFER_COLUMNS

COMMAND = str(Path(sys.executable).parent / "cohortpose")
# The same arithmetic in every run.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
INFERENCE = {"runtime": "onnx", "threads_per_worker": 1, "workers": 2, "segment_frames": 2}

Facts = tuple[int, int]

# In the command line of the process that Python forks others of, and so in theirs.
FORKED = "multiprocessing.forkserver"


class Cohort:
    """Manage a folder with a config, a sheet and a trained model; videos may lie anywhere.

    Parameters
    ----------
    folder
        Which is made.
    model
        Files of the model, to be copied.
    videos
        Path by name of video.
    """

    def __init__(self, folder: Path, model: Any, videos: dict[str, Path], **inference: Any) -> None:
        self.folder = folder
        self.results = Results(folder / "results")
        folder.mkdir()
        config = {"cohort": "cohort.tsv", "inference": INFERENCE | inference}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        self.write_sheet(videos)
        shutil.copytree(model.folder, self.results.model("pose").folder)

    def write_sheet(self, videos: dict[str, Path]) -> None:
        """List videos."""
        rows = [f"{video}\t{path}\n" for video, path in videos.items()]
        (self.folder / "cohort.tsv").write_text("video\tpath\n" + "".join(rows))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a verb in a session of its own."""
        return subprocess.Popen(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # A shell that starts the tests in the background has them ignore it.
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 - it calls nothing that takes locks
        )

    def run(self, verb: str, *arguments: str, code: int = 0) -> str:
        """Run a verb to its end; return what it said."""
        process = self.start(verb, "--config", "config.yaml", *arguments)
        said, _ = process.communicate()
        assert process.returncode == code, said
        return said

    def start_infer(self, shard: str = "00001") -> subprocess.Popen[str]:
        """Start the inference of a shard, as Snakemake does."""
        return self.start("infer", "--config", "config.yaml", "--shard", shard)

    @property
    def poses(self) -> Path:
        """Return the folder of pose files."""
        return self.results.poses("pose", "v").parent

    def read_rows(self) -> dict[str, dict[str, str]]:
        """Return how inference ended, by video, over all shards."""
        shards = dict.fromkeys(row["shard"] for row in read_table(self.results.plan, PLAN_COLUMNS))
        tables = [self.results.shard(shard).infer("pose") for shard in shards]
        rows = [
            row for table in tables if table.exists() for row in read_table(table, INFER_COLUMNS)
        ]
        return {row["video"]: row for row in rows}

    def read_poses(self) -> dict[str, bytes]:
        """Return every file of every pose file, by its path."""
        return {
            str(file.relative_to(self.poses)): file.read_bytes()
            for folder in self.poses.glob("[!.]*.zarr")
            for file in folder.rglob("*")
            if file.is_file()
        }

    def identify_poses(self) -> dict[Path, Facts]:
        """Return what changes when a pose file is written again, by pose file."""
        return _identify_each(self.poses.glob("[!.]*.zarr"), "zarr.json")

    def identify_segments(self) -> dict[Path, Facts]:
        """Return what changes when a segment is written again, by segment."""
        return _identify_each((self.poses / ".segments").glob("*/[0-9]*-*.npz"))

    def list_leftovers(self) -> list[Path]:
        """Return what is only there while somebody works."""
        hidden = [path for path in self.results.root.rglob(".*") if path.name != ".lock"]
        return [path for path in hidden if path.name.startswith((".part", ".old", ".segments"))]


def identify(path: Path) -> Facts:
    """Return inode and modification time of a file."""
    facts = path.stat()
    return facts.st_ino, facts.st_mtime_ns


def _identify_each(paths: Iterator[Path], part: str = "") -> dict[Path, Facts]:
    """Identify files, or one in each folder; files that vanish meanwhile are left out."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                found[path] = identify(path / part)
    return found


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> bool:
    """Wait until a condition holds; return whether it did while the process ran."""
    limit = time.monotonic() + 120
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < limit, "nothing happens"
        # Looking at every moment would keep a core from the process.
        time.sleep(0.004)
    return process.poll() is None


def find_session(session: int) -> Iterator[tuple[int, str]]:
    """Yield the living processes of a session: number and command line."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state = (process / "stat").read_text().rpartition(")")[2].split()
            command = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if int(state[3]) == session and state[0] != "Z":
            yield int(process.name), command


def find_workers(session: int) -> list[int]:
    """Return the Dask workers of a session: the children of the process that they are forked of."""
    return sorted(number for number, _ in find_session(session) if is_forked(number))


def is_forked(process: int) -> bool:
    """Return whether a process is a local Dask worker, and not the process it is forked of."""
    return all(FORKED in _read_command(one) for one in (process, _find_parent(process)))


def _find_parent(process: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _read_command(process: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    return ""


def wait_for_end(session: int, seconds: float = 60) -> None:
    """See that the processes of a session end by themselves."""
    limit = time.monotonic() + seconds
    while left := list(find_session(session)):
        assert time.monotonic() < limit, f"{left} outlive their run"
        time.sleep(0.02)


def kill_all(process: subprocess.Popen[str]) -> None:
    """Kill a process and its workers in one go."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for_end(process.pid)
