"""Start the command; a job whose stage is a cache hit ends before the package is loaded."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline_lib.core.environment import prepare_process
from pipeline_lib.io.stage_cache import restore_outcome

# The options that rules of the workflow use; the command line handles all others.
_OPTIONS = {"--config", "--shard", "--cores"}


def main() -> None:
    """Run the command line, unless its verb is a cache hit."""
    prepare_process()
    if answer_at_once(sys.argv[1:]):
        return
    # This loads Typer, the settings and the rest of the package.
    from pipeline_lib.cli import main as run  # noqa: PLC0415

    run()


def answer_at_once(arguments: Sequence[str]) -> bool:
    """Answer a rule's command line from the cache of finished stages; return whether it could."""
    verb, *rest = arguments or ("",)
    given = dict(zip(rest[::2], rest[1::2], strict=False))
    if len(rest) != 2 * len(given) or not {"--config", "--shard"} <= given.keys() <= _OPTIONS:
        return False
    if not restore_outcome(Path(given["--config"]), verb, given["--shard"]):
        return False
    sys.stderr.write(f"{verb} {given['--shard']}: as it was, nothing has changed\n")
    return True


if __name__ == "__main__":
    main()
