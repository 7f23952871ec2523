"""Run a verb of the command line: set up its log, load settings, record jobs, report errors."""

import logging
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline_lib.cli_output import EscapingFormatter, echo, echo_text, open_console
from pipeline_lib.core.errors import CohortposeError, StoreError, describe_error
from pipeline_lib.core.process import limit_cores
from pipeline_lib.core.untrusted.unseen import escape_logs

if TYPE_CHECKING:
    from pipeline_lib.core.layout import Results
    from pipeline_lib.core.settings.run import Config
    from pipeline_lib.io.run_lock import RunLock


def log_for_people(*, verbose: bool) -> None:
    """Log to stderr, with times unless it is a terminal; log other packages only if verbose."""
    escape_logs()
    interactive = sys.stderr.isatty()
    handler: logging.Handler = _open_terminal() if interactive else logging.StreamHandler()
    form = "%(message)s" if interactive else "%(asctime)s %(levelname)s %(message)s"
    handler.setFormatter(EscapingFormatter(form))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("pipeline_lib").setLevel(logging.DEBUG if verbose else logging.INFO)
    if not verbose:
        # Lightning, Dask and zarr log for developers, at levels that they set on import.
        handler.addFilter(_is_for_people)
        warnings.simplefilter("ignore")


def keep_directory(directory: Path) -> None:
    """Make `--directory` absolute in this process's command line.

    For each further device, Lightning starts the same command line again, inside the folder.
    """
    for place, argument in enumerate(sys.argv):
        if argument in ("-d", "--directory"):
            sys.argv[place + 1] = str(directory.resolve())
            return
        if argument.startswith(("-d", "--directory=")):
            sys.argv[place] = f"--directory={directory.resolve()}"
            return


def spell_command(config: Path, directory: Path, verb: str) -> str:
    """Return the command line of a verb with its options, as a shell takes it.

    Parameters
    ----------
    config
        The config, as it was given.
    directory
        The value of `--directory`, as it was given; ``.`` where it was not.
    verb
        The verb and its own options.
    """
    place = [] if directory == Path() else ["--directory", str(directory)]
    return f"{shlex.join(['cohortpose', *place])} {verb} {shlex.join(['--config', str(config)])}"


def _open_terminal() -> logging.Handler:
    # Imported for terminals only: it would take a fifth of the time of a job without work.
    from rich.logging import RichHandler

    return RichHandler(console=open_console(err=True), show_path=False)


def _is_for_people(record: logging.LogRecord) -> bool:
    return record.name.startswith("pipeline_lib") or record.levelno >= logging.WARNING


def load(path: Path, folder: Path = Path()) -> "tuple[Config, Results]":
    """Read a config; its results folder is relative to `folder`."""
    from pipeline_lib.core.layout import Results
    from pipeline_lib.core.settings.reading import read_config

    if path.parent.name == Results(Path()).settings.name and not path.exists():
        raise StoreError(
            f"{path}: the run has not written its settings; a workflow that uses this one as a "
            "module calls `cohortpose.onstart()` in its own `onstart` (docs/how-to/run/module.md)"
        )
    config = read_config(path)
    return config, Results(folder / config.results)


def run(path: Path, step: Callable[..., object], *, planned: bool = False) -> None:
    """Run a step on the whole cohort; record that it ran, and the checksums of what it made.

    Parameters
    ----------
    path
        The config.
    step
        Function of settings and results.
    planned
        Whether the step reads the plan; by hand, the cohort is planned first.
    """
    from pipeline_lib.core.process import is_first_rank
    from pipeline_lib.core.stages import STAGES
    from pipeline_lib.steps.provenance.jobs import record_job
    from pipeline_lib.steps.provenance.outputs import record_outputs
    from pipeline_lib.steps.runs.stage_keys import require_same_labels

    with report_errors():
        config, results = load(path)
        stage = _name_stage(step)
        # The jobs of a run find the key files that it has written.
        claimed = "" if path.parent == results.settings else stage
        with _claim(config, results, claimed) as lock:
            if planned and claimed:
                _plan(config, results, lock)
            with record_job(config, results, _name_verb(step), None):
                step(config, results)
            if stage in STAGES and is_first_rank():
                require_same_labels(config, results, stage)
                record_outputs(config, results, stage)


def run_shards(path: Path, shard: str | None, verb: str) -> None:
    """Run a step on one shard, or plan the cohort and run it on all."""
    from pipeline_lib.steps.provenance.jobs import record_job
    from pipeline_lib.steps.provenance.outputs import record_tables
    from pipeline_lib.steps.runs.stage_cache import store_outcome

    with report_errors():
        step = _import_step(verb)
        config, results = load(path)
        with _claim(config, results, "" if path.parent == results.settings else verb) as lock:
            shards = (shard,) if shard is not None else _plan(config, results, lock)
            for planned in shards:
                with record_job(config, results, verb, planned):
                    step(config, results, planned)
                stages = ("probe", "infer") if verb == "retry-failed" else (verb,)
                record_tables(config, results, stages, planned)
                store_outcome(verb, path, config, results, planned)


def run_part(
    path: Path, shard: str, verb: str, step: "Callable[[Config, Results, str], bool]"
) -> None:
    """Do for one shard, ahead of time, a part of what a verb does for the whole cohort.

    Parameters
    ----------
    path
        The config.
    shard
        Name of the shard.
    verb
        The verb, which the record of jobs names.
    step
        Function of settings, results and shard; it tells whether there was something to do.
    """
    from pipeline_lib.steps.provenance.jobs import record_job

    with report_errors():
        config, results = load(path)
        with _claim(config, results, ""), record_job(config, results, verb, shard) as job:
            job.idle = not step(config, results, shard)


def keep_cores(cores: int | None) -> None:
    """Limit this process to N cores; None for all cores."""
    if cores is not None:
        limit_cores(cores)


def _import_step(verb: str) -> Callable[..., object]:
    """Return the function of a verb that works on shards."""
    from pipeline_lib.core.stages import STAGES

    again = "infer.run:retry_failed"
    module, _, name = (again if verb == "retry-failed" else STAGES[verb].step).partition(":")
    step: Callable[..., object] = getattr(import_module(f"pipeline_lib.steps.{module}"), name)
    return step


@contextmanager
def _claim(config: "Config", results: "Results", stage: str) -> "Iterator[RunLock]":
    """Keep runs with other settings out while a verb runs; record the keys of its stage."""
    from pipeline_lib.core.process import is_first_rank
    from pipeline_lib.core.settings.reading import hash_settings
    from pipeline_lib.core.stages import STAGES
    from pipeline_lib.io.run_lock import RunLock, explain_write_error
    from pipeline_lib.steps.runs.stage_keys import claim_stage

    lock = RunLock(results, hash_settings(config))
    try:
        if stage in STAGES and is_first_rank():
            try:
                claim_stage(config, results, stage)
            except OSError as error:
                raise StoreError(explain_write_error(results, error)) from None
        yield lock
    finally:
        lock.release()


def _plan(config: "Config", results: "Results", lock: "RunLock") -> tuple[str, ...]:
    from pipeline_lib.steps.runs.start_run import write_plan

    return write_plan(config, results, lock).shards


def _name_stage(step: Callable[..., object]) -> str:
    """Return the stage of a step: its verb, with `members` or `locator` for such networks."""
    options = getattr(step, "keywords", {})
    verb = _name_verb(step)
    if verb == "train":
        from pipeline_lib.core.stages import name_training

        return name_training(**options)
    return verb + ("-locator" if options.get("locator") else "")


def _name_verb(step: Callable[..., object]) -> str:
    """Return the verb of a step's function, such as `run_make_targets`."""
    name: str = getattr(step, "func", step).__name__
    return name.removeprefix("run_").removeprefix("write_").replace("_", "-")


@contextmanager
def report_errors() -> Iterator[None]:
    """Turn our own errors into a message and exit status; others keep their traceback."""
    try:
        yield
    except CohortposeError as error:
        echo_text(f"error: {describe_error(error)}", fg="red", err=True)
        raise typer.Exit(error.exit_status) from None
    except OSError as error:
        # Errors of a file only; other system errors keep their traceback.
        if error.filename is None or error.strerror is None:
            raise
        path = Path(os.fsdecode(error.filename)).absolute()
        message = f"error: {path}: {error.strerror}; make it accessible and run again"
        echo(message, fg="red", err=True)
        raise typer.Exit(1) from None
    except UnicodeEncodeError as error:
        # Half a character, which is how Python holds bytes of a file name that are no text.
        shown = error.object[max(0, error.start - 100) : error.end + 100]
        message = f"error: {shown!a}: is not UTF-8 text: rename the file or folder with this name"
        echo(message, fg="red", err=True)
        raise typer.Exit(1) from None
