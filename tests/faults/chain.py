"""Run a tiny cohort verb by verb, as any user and in any environment."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline_lib.core.layout import Results
from pipeline_lib.demo.write import DemoSettings, write_demo

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = str(Path(sys.executable).parent / "cohortpose")
DEMO = DemoSettings(videos=1, frames=24, width=96, height=96, labelled_frames=8)
SETTINGS: dict[str, Any] = {
    "targets": {"stride": 8},
    "training": {
        "backbone": "mobilenetv3_small_050",
        "weights": "none",
        "head_channels": 8,
        "epochs": 2,
        "validate_every": 1,
        "batch_size": 4,
    },
    "inference": {"runtime": "onnx", "segment_frames": 8},
    "report": {"sample_frames": 1},
}
VERBS = (
    "probe",
    "select-frames",
    "import-labels",
    "make-targets",
    "train",
    "evaluate",
    "infer",
    "track",
    "filter",
    "quality",
    "judge",
    "export",
    "report",
)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Yield a folder that other users may enter; pytest's are closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="cohortpose-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_cohort(folder: Path, **sections: Any) -> Results:
    """Write videos, labels, sheet and config of a good and a damaged video."""
    write_demo(folder, DEMO)
    config = folder / "config.yaml"
    values = yaml.safe_load(config.read_text()) | SETTINGS | sections
    config.write_text(yaml.safe_dump(values))
    return Results(folder / values["results"])


# How root runs something as another user. The user may read everything, as if Python and the
# package were installed for all; what it may write is decided as for any user.
can_be_others = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can be other users"
)


def act_as(user: int, group: int | None = None) -> list[str]:
    """Return what goes before a command to run it as a user, in one more group."""
    groups = [f"--groups={group}"] if group is not None else ["--clear-groups"]
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return ["setpriv", f"--reuid={user}", f"--regid={user}", *groups, *reading]


def run_verb(
    folder: Path,
    *arguments: str,
    environment: Mapping[str, str | None] | None = None,
    code: int = 0,
    prefix: Sequence[str] = (),
    **options: Any,
) -> bytes:
    """Run a verb on a cohort; return what it said.

    Parameters
    ----------
    folder
        The cohort, in which it works.
    arguments
        Of `cohortpose`.
    environment
        Changes of the environment; None: the variable is not set.
    code
        Exit status that is right.
    prefix
        What goes before the command; see `act_as`.
    options
        Of `subprocess.run`: umask …
    """
    changed = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    done = subprocess.run(
        [*prefix, COMMAND, *arguments, "--config", "config.yaml"],
        cwd=folder,
        env={name: value for name, value in changed.items() if value is not None},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        **options,
    )
    assert done.returncode == code, done.stdout.decode(errors="replace")
    return done.stdout
