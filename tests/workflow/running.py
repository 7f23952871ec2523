"""Run Snakemake on a tiny cohort as a user does, and read its output."""

import atexit
import csv
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from pipeline_lib.core.formats.dictionary import find_table
from pipeline_lib.core.layout import Results
from tests.forks import Forks

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = "project"

# Which shard a job is for stands some lines below its rule.
_JOB = re.compile(r"^(?:local)?rule (?P<rule>\w+):\n(?P<facts>(?:    .*\n)*)", flags=re.MULTILINE)
_SHARD = re.compile(r"^    wildcards: shard=(\d+)$", flags=re.MULTILINE)
# Targets without a command.
_NO_WORK = {"everything", "all", "record_keys"}


@dataclass(frozen=True)
class Ended:
    """Hold the exit status and the output of a call of Snakemake."""

    code: int
    output: str

    @property
    def jobs(self) -> set[str]:
        """Return the jobs that ran, or would run in a dry run: `train`, `infer 00001`."""
        found = set()
        for job in _JOB.finditer(self.output):
            shard = _SHARD.search(job["facts"])
            found.add(f"{job['rule']} {shard[1]}" if shard else job["rule"])
        return found - _NO_WORK


class Run:
    """Manage a working directory with a config, a sheet and labels.

    Attributes
    ----------
    first
        How its first start ended.
    """

    first: Ended

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = Results(folder / "results")

    def copy(self, folder: Path) -> "Run":
        """Return a run that stands where this one stands; times of change are copied, too."""
        shutil.copytree(self.folder, folder)
        return Run(folder)

    def snakemake(self, *arguments: str, cwd: Path = REPOSITORY) -> Ended:
        """Call Snakemake and wait; from elsewhere than the repository the Snakefile is named."""
        command, environment = self._command(*arguments, cwd=cwd), _environment()
        forks = _keep_forks()
        if forks.serves(environment):
            with tempfile.NamedTemporaryFile("r") as said:
                code = forks.run(command, cwd, Path(said.name))
                return Ended(code, said.read())
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Ended(done.returncode, done.stdout)

    def watch(self, command: list[str], act: Callable[[], object], cwd: Path = REPOSITORY) -> Ended:
        """Run a command and do something now and then until it has ended."""
        said = self.folder / "watched.log"
        with said.open("w") as log:
            process = subprocess.Popen(
                [str(Path(sys.executable).parent / command[0]), *command[1:]],
                cwd=cwd,
                env=_environment(),
                stdout=log,
                stderr=log,
            )
            try:
                while process.poll() is None:
                    act()
                    time.sleep(0.05)
            finally:
                process.kill()
                process.wait()
        return Ended(process.returncode, said.read_text())

    def kill_when(self, condition: Callable[[], bool], cwd: Path = REPOSITORY) -> None:
        """Start Snakemake; once the condition holds, kill it and all that it started."""
        said = self.folder / "killed.log"
        with said.open("w") as log:
            process = subprocess.Popen(
                self._command(cwd=cwd),
                cwd=cwd,
                env=_environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            while not condition():
                try:
                    process.wait(0.02)
                except subprocess.TimeoutExpired:
                    continue
                raise AssertionError(f"ended before it could be killed:\n{said.read_text()}")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        # The kernel takes its time with processes that wait for the disk.
        limit = time.monotonic() + 60
        while left := list(_processes_of_session(process.pid)):
            assert time.monotonic() < limit, f"processes {left} outlive their group"
            time.sleep(0.05)

    def edit_config(self, **sections: Any) -> None:
        """Change keys of sections of the config, or whole values."""
        path = self.folder / "config.yaml"
        values = yaml.safe_load(path.read_text())
        for name, content in sections.items():
            if isinstance(content, dict):
                values[name] = {**values.get(name, {}), **content}
            else:
                values[name] = content
        path.write_text(yaml.safe_dump(values))

    def read_sheet(self) -> list[dict[str, str]]:
        """Return the rows of the sheet."""
        return read_tsv(self.folder / "cohort.tsv")

    def write_sheet(self, rows: Iterable[dict[str, str]]) -> None:
        """Write the sheet; a row may lack columns."""
        rows = list(rows)
        with (self.folder / "cohort.tsv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
            writer.writeheader()
            writer.writerows(rows)

    def read_ledger(self) -> dict[str, dict[str, str]]:
        """Return the ledger by video."""
        return {row["video"]: row for row in read_tsv(self.results.ledger)}

    def _command(self, *arguments: str, cwd: Path) -> list[str]:
        command = [str(Path(sys.executable).parent / "snakemake"), "--cores", "2"]
        command += ["--directory", str(self.folder)]
        if "--configfile" not in arguments:
            command += ["--configfile", str(self.folder / "config.yaml")]
        if cwd != REPOSITORY:
            command += ["--snakefile", str(REPOSITORY / "Snakefile")]
        # Before the options that take any number of values.
        return [command[0], *arguments, *command[1:]]


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def identify(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return inode and modification time of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


@functools.cache
def _keep_forks() -> Forks:
    forks = Forks(_environment())
    atexit.register(forks.close)
    return forks


def _environment() -> dict[str, str]:
    # The same arithmetic in every run.
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _processes_of_session(session: int) -> Iterable[int]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(state[3]) == session and state[0] != "Z":
            yield int(process.name)


def list_undescribed(results: Results) -> list[str]:
    """Return the tables and columns of a results folder that the data dictionary lacks.

    Left out are internal files, whose names begin with a dot, what Snakemake writes, formats of
    other tools, and kinematics, which has a dictionary of its own.
    """
    missing = []
    for path in sorted(results.root.rglob("*")):
        name = path.relative_to(results.root)
        if path.suffix not in (".tsv", ".csv", ".parquet") or any(
            part.startswith(".") for part in name.parts
        ):
            continue
        if name.parts[0] in ("benchmarks", "exports", "logs") or (
            name.parts[0] == "kinematics" and path.suffix == ".parquet"
        ):
            continue
        table = find_table(name.as_posix())
        if table is None:
            missing.append(name.as_posix())
            continue
        if path.suffix == ".parquet":
            columns = pq.read_schema(path).names
        else:
            with path.open(encoding="utf-8", newline="") as file:
                columns = next(csv.reader(file, delimiter="\t"))
        missing += [f"{name}: {one}" for one in columns if not table.knows(one)]
        missing += [f"{name}: no {one}" for one in table.names if one not in columns]
    return missing
