"""Find the results folder that a user means."""

from os import PathLike
from pathlib import Path

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results


def find_results(path: str | PathLike[str]) -> Results:
    """Return the results folder at a path.

    Raises
    ------
    StoreError
        If it is no folder, or is the folder of a run that holds its results; the error names
        them.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise StoreError(f"{folder}: no such folder; expected the results folder of a run")
    if not _has_run(folder):
        inside = sorted(entry for entry in folder.iterdir() if _has_run(entry))
        if inside:
            raise StoreError(
                f"{folder}: not a results folder; give {' or '.join(map(str, inside))}"
            )
    return Results(folder)


def _has_run(folder: Path) -> bool:
    return Results(folder).config.is_file()
