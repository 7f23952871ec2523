"""Run Snakemake in forks of a process that has imported it.

Most of the time of a run in which little is to be done is the import of Snakemake and of what the
Snakefile needs. A run in a fork differs from one on the command line in nothing else. Tests of how
Snakemake is started, and those that kill it, start it themselves.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

_MODULES = (
    "snakemake.cli",
    "snakemake.workflow",
    "pipeline_lib.steps.import_labels.correction_inputs",
    "pipeline_lib.steps.runs.preflight",
    "pipeline_lib.steps.runs.srun_launcher",
    "pipeline_lib.steps.runs.start_run",
)
# Variables that change from test to test, and that no run reads.
_OF_TESTS = {"PYTEST_CURRENT_TEST"}


class Forks:
    """Keep the process that is forked; it ends with this one.

    Parameters
    ----------
    environment
        Its environment; runs with another one are none of its forks.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = _shorten(environment)
        self._server = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def serves(self, environment: dict[str, str]) -> bool:
        """Tell whether a run with an environment can be a fork."""
        return _shorten(environment) == self._environment and self._server.poll() is None

    def run(self, command: list[str], cwd: Path, output: Path) -> int:
        """Run a command line of Snakemake to its end; write what it says to a file."""
        asked = {"command": command, "cwd": str(cwd), "output": str(output)}
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._server.communicate()


def _shorten(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in _OF_TESTS}


def _serve() -> dict[str, str | list[str]]:
    """Fork once for each line of the input; return in the forks alone, what they are asked."""
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            return json.loads(line)
        _, status = os.waitpid(process, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    sys.exit()


def _become(asked) -> None:
    """Turn a fork into a process as the shell would have started it."""
    os.chdir(asked["cwd"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    sys.argv = asked["command"]
    sys.path.insert(0, str(Path(sys.argv[0]).parent))


if __name__ == "__main__":
    for name in _MODULES:
        importlib.import_module(name)
    with contextlib.suppress(BrokenPipeError):
        _become(_serve())
    from snakemake.cli import main

    sys.exit(main())
