"""Where the command starts: a job that has nothing to do ends before anything is loaded."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline_lib.core.environment import prepare_process
from pipeline_lib.io.stage_cache import recall_end

# What the rules of the workflow say, and no more: anything else is for the command line to judge.
_OPTIONS = {"--config", "--shard", "--cores"}


def main() -> None:
    """Run the command line, unless its only verb has ended before and nothing has changed since."""
    prepare_process()
    if answer_at_once(sys.argv[1:]):
        return
    # Typer, the settings and all the rest.
    from pipeline_lib.cli import main as run  # noqa: PLC0415

    run()


def answer_at_once(arguments: Sequence[str]) -> bool:
    """Do what a rule's command line asks for from what is remembered; tell whether it is done."""
    verb, *rest = arguments or ("",)
    given = dict(zip(rest[::2], rest[1::2], strict=False))
    if len(rest) != 2 * len(given) or not {"--config", "--shard"} <= given.keys() <= _OPTIONS:
        return False
    if not recall_end(Path(given["--config"]), verb, given["--shard"]):
        return False
    sys.stderr.write(f"{verb} {given['--shard']}: as it was, nothing has changed\n")
    return True


if __name__ == "__main__":
    main()
