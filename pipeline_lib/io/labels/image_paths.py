"""Store paths of labelled images relative, so that a copied or moved project has its own.

A table holds a path, and where it starts (column `BASE_COLUMN`):

- ``.``, the results folder: images that were written there;
- another relative path, from the results folder to the working directory of the run that wrote
  the table (``..`` as a rule): images in the project, or named relative to it in the config;
- `WORKING_DIRECTORY`, that of whoever reads: the same, where results lie outside of the project;
- nothing: images elsewhere, by their absolute path.
"""

import os
from pathlib import Path

import pandas as pd

BASE_COLUMN = "image_base"
WORKING_DIRECTORY = "<working directory>"
_IMAGE = "image"
_RESULTS = "."


def shorten_images(table: pd.DataFrame, results: Path) -> pd.DataFrame:
    """Return a table whose column ``image`` is as it is stored.

    Parameters
    ----------
    table
        With absolute paths in ``image``.
    results
        The results folder that the table is written to.

    Returns
    -------
    DataFrame
        With relative paths where images lie in the results or in the project (the working
        directory), and the column `BASE_COLUMN`.
    """
    known = {path: shorten_path(path, results) for path in table[_IMAGE].unique()}
    return table.assign(
        **{
            _IMAGE: [known[path][1] for path in table[_IMAGE]],
            BASE_COLUMN: [known[path][0] for path in table[_IMAGE]],
        }
    )


def resolve_images(table: pd.DataFrame, results: Path) -> pd.DataFrame:
    """Return a stored table with absolute paths in ``image``, without `BASE_COLUMN`.

    Parameters
    ----------
    table
        As `shorten_images` gives it.
    results
        The results folder that the table was read from, wherever it is now.
    """
    pairs = list(zip(table[BASE_COLUMN], table[_IMAGE], strict=True))
    known = {pair: _resolve_path(*pair, results) for pair in dict.fromkeys(pairs)}
    return table.assign(**{_IMAGE: [known[pair] for pair in pairs]}).drop(columns=BASE_COLUMN)


def shorten_path(path: str, results: Path) -> tuple[str, str]:
    """Return where a path starts, as `BASE_COLUMN` has it, and its rest as it is stored."""
    results, project = results.absolute(), Path.cwd()
    inside = _relative_to(Path(path), results)
    if inside is not None:
        return _RESULTS, inside
    inside = _relative_to(Path(path), project)
    if inside is None:
        return "", path
    below = _relative_to(results, project)
    if below is None:
        return WORKING_DIRECTORY, inside
    # Not by way of either's own name, which a copy does not have.
    return "/".join([".."] * len(Path(below).parts)), inside


def name_in_project(path: Path) -> str:
    """Return the name that corrections have for an image: its path, as seen from the project.

    The project is the working directory. Images elsewhere have their absolute path.
    """
    return _relative_to(path.absolute(), Path.cwd()) or str(path.absolute())


def _relative_to(path: Path, folder: Path) -> str | None:
    """Return a path as seen from a folder; None where it does not begin with it."""
    # The folder itself may be named through a link; links below it are part of the path.
    for base in (folder, Path(os.path.realpath(folder))):
        if path.is_relative_to(base) and path != base:
            return path.relative_to(base).as_posix()
    real = Path(os.path.realpath(path.parent)) / path.name
    base = Path(os.path.realpath(folder))
    return real.relative_to(base).as_posix() if real.is_relative_to(base) else None


def _resolve_path(base: str, path: str, results: Path) -> str:
    if not base:
        return path
    if base == WORKING_DIRECTORY:
        return str(Path.cwd() / path)
    # Not through a link that the results folder may be: `..` leads to where it was put.
    return str(Path(os.path.normpath(results.absolute() / base)) / path)
