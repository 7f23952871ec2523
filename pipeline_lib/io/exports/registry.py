"""Export the poses of one video in any registered format."""

from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

from pipeline_lib.core.formats.exports import find_format
from pipeline_lib.io.exports.source import ExportSource

Writer = Callable[[Path, ExportSource], None]


def load_writer(name: str) -> Writer:
    """Import the function that writes a format.

    Raises
    ------
    ValueError
        If no format has this name.
    """
    writer: Writer = resolve_name(find_format(name).writer)
    return writer


def write_export(name: str, path: Path, source: ExportSource) -> None:
    """Publish the poses of one video in a format.

    Parameters
    ----------
    name
        Format, as in `exports.formats`.
    path
        File to write; it ends in the suffix of the format.
    source
        Poses of the video and the metadata that other tools need.

    Raises
    ------
    ValueError
        If no format has this name.
    StoreError
        If the poses are missing or damaged, or the format cannot hold them.
    """
    load_writer(name)(path, source)
