"""Time runs of `cohortpose infer` from the start of the process to its end."""

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import psutil
import yaml

from benchmarks.inference.networks import MODEL, place_model
from pipeline_lib.core.errors import CohortposeError, StoreError
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.tables import PROBE_COLUMNS, STAGE_COLUMNS, VideoStatus
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.stage_tables import read_table

_SECONDS_BETWEEN_LOOKS = 0.05
_BYTES_PER_KIBIBYTE = 1024
# Parts of the command lines of the processes that Dask starts workers in. With forks the process
# that is forked is among them, and smaller than they.
_WORKERS = ("spawn_main", "multiprocessing.forkserver")

Settings = Mapping[str, object]


@dataclass(frozen=True)
class Run:
    """Run the inference of a probed cohort with a network, any number of times.

    Attributes
    ----------
    folder
        Folder of the config.
    settings
        Settings of ``inference``.
    """

    folder: Path
    settings: Settings = field(default_factory=dict)

    @property
    def results(self) -> Results:
        """Return the results folder."""
        return Results(self.folder / "results")

    def count_frames(self) -> int:
        """Return the number of frames of the cohort that the probe counted."""
        return sum(int(row["frames"]) for row in self.read_outcomes("probe"))

    def infer(self, **settings: object) -> float:
        """Infer the cohort from scratch and return the seconds that the command took.

        Parameters
        ----------
        **settings
            Settings that override those of the run.

        Raises
        ------
        CohortposeError
            If the command fails or leaves a video out.
        """
        self.forget()
        return self.infer_again(**settings)

    def infer_again(self, **settings: object) -> float:
        """Infer only missing poses; otherwise like `infer`."""
        write_config(self.folder, {**self.settings, **settings})
        begin = time.perf_counter()
        with (self.folder / "infer.log").open("wb") as log:
            process = self._start(log)
            process.wait()
        seconds = time.perf_counter() - begin
        self._check(process)
        return seconds

    def infer_watched(self, **settings: object) -> int:
        """Infer the cohort from scratch and return the peak memory of its largest worker.

        Returns
        -------
        int
            Peak of the resident set in bytes, from the operating system.

        Raises
        ------
        CohortposeError
            If the command fails or leaves a video out, or if no worker was seen.
        """
        self.forget()
        write_config(self.folder, {**self.settings, **settings})
        peaks: dict[int, int] = {}
        with (self.folder / "infer.log").open("wb") as log:
            process = self._start(log)
            while process.poll() is None:
                peaks |= read_peaks(process.pid)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        self._check(process)
        if not peaks:
            raise CohortposeError(f"{self.folder}: infer started no worker process to be watched")
        return max(peaks.values())

    def forget(self) -> None:
        """Remove the results of inference; keep the probe and the network."""
        shutil.rmtree(self.results.poses(MODEL, "any").parent, ignore_errors=True)
        self.forget_outcomes()

    def forget_outcomes(self) -> None:
        """Remove the tables of outcomes, not the poses."""
        for manifest in self.results.shards.glob("*/manifest.tsv"):
            self.results.shard(manifest.parent.name).infer(MODEL).unlink(missing_ok=True)

    def identify_poses(self) -> dict[str, tuple[int, int]]:
        """Return the inode and the modification time (ns) of each file of each pose file."""
        folder = self.results.poses(MODEL, "any").parent
        states = {
            str(path.relative_to(folder)): path.stat()
            for path in folder.glob("*.zarr/**/*")
            if path.is_file()
        }
        return {name: (state.st_ino, state.st_mtime_ns) for name, state in states.items()}

    def read_outcomes(self, stage: Literal["probe", "infer"]) -> list[dict[str, str]]:
        """Return the outcome of each video in a stage."""
        rows = []
        for manifest in sorted(self.results.shards.glob("*/manifest.tsv")):
            shard = self.results.shard(manifest.parent.name)
            if stage == "probe":
                rows += read_table(shard.probe, PROBE_COLUMNS)
            else:
                rows += read_table(shard.infer(MODEL), STAGE_COLUMNS)
        return rows

    def _start(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command("infer"), cwd=self.folder, stdout=log, stderr=subprocess.STDOUT
        )

    def _check(self, process: subprocess.Popen[bytes]) -> None:
        """Check that the command succeeded for every video."""
        if process.returncode:
            log = (self.folder / "infer.log").read_text(encoding="utf-8", errors="replace")
            raise CohortposeError(
                f"{self.folder}: infer ended with status {process.returncode}\n{log[-2000:]}"
            )
        rows = self.read_outcomes("infer")
        bad = [row for row in rows if row["status"] != VideoStatus.DONE]
        if bad:
            first = bad[0]
            raise CohortposeError(
                f"{self.folder}: {len(bad)} of {len(rows)} videos are not done, "
                f"{first['video']} first: {first['reason']}"
            )
        if len(rows) != len(self.read_outcomes("probe")):
            raise StoreError(f"{self.folder}: infer has told of {len(rows)} videos, probe of more")


def prepare_run(
    folder: Path,
    videos: Sequence[Path],
    network: ModelFiles,
    *,
    scale: float = 1.0,
    settings: Settings | None = None,
) -> Run:
    """Write the sheet and the config of a cohort, add its network, and probe it.

    Parameters
    ----------
    folder
        Folder of the run; results of an earlier run are removed.
    videos
        The cohort; all in one shard unless the settings say otherwise.
    network
        Network written by `inference_networks.write_model`.
    scale
        Factor by which frames are shrunk for the network.
    settings
        Settings of ``inference``.

    Raises
    ------
    CohortposeError
        If the probe fails or refuses a video.
    """
    run = Run(folder, {"shard_videos": len(videos), **(settings or {})})
    shutil.rmtree(run.results.root, ignore_errors=True)
    lines = [f"{path.stem}\t{path.absolute()}\n" for path in videos]
    publish_text(folder / "cohort.tsv", "video\tpath\n" + "".join(lines))
    write_config(folder, run.settings)
    place_model(network, run.results.model(MODEL), scale)
    done = subprocess.run(command("probe"), cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        raise CohortposeError(f"{folder}: probe failed\n{done.stderr[-2000:]}")
    bad = [row for row in run.read_outcomes("probe") if row["status"] != VideoStatus.DONE]
    if bad:
        raise CohortposeError(f"{folder}: {bad[0]['video']} is refused: {bad[0]['reason']}")
    return run


def write_config(folder: Path, settings: Settings) -> None:
    """Write the config of a run with these settings of inference."""
    config = {
        "cohort": "cohort.tsv",
        "results": "results",
        "training": {"name": MODEL},
        "inference": dict(settings),
    }
    publish_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))


def command(verb: str) -> list[str]:
    """Return the command line of a verb on the config of the working folder."""
    return [sys.executable, "-m", "pipeline_lib.cli", verb, "--config", "config.yaml"]


def read_peaks(parent: int) -> dict[int, int]:
    """Return the peak memory of the worker processes below a process, so far.

    Parameters
    ----------
    parent
        Process number.

    Returns
    -------
    dict
        Peak of the resident set in bytes, by process number; those that ended are left out.
    """
    peaks = {}
    try:
        children = psutil.Process(parent).children(recursive=True)
    except psutil.NoSuchProcess:
        return {}
    for child in children:
        try:
            if not any(name in part for part in child.cmdline() for name in _WORKERS):
                continue
            status = Path(f"/proc/{child.pid}/status").read_text(encoding="utf-8")
        except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError, ProcessLookupError):
            continue
        peak = parse_peak(status)
        if peak is not None:
            peaks[child.pid] = peak
    return peaks


def parse_peak(status: str) -> int | None:
    """Return the peak of the resident set in bytes from the text of ``/proc/PID/status``.

    A process that has ended and was not collected has no memory: None.
    """
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * _BYTES_PER_KIBIBYTE
    return None
