"""Writers of exports by the names of their formats."""

from collections.abc import Callable
from pathlib import Path

from pipeline_lib.core.export_formats import find_format
from pipeline_lib.io.exports.deeplabcut import write_deeplabcut_predictions
from pipeline_lib.io.exports.nwb import write_nwb
from pipeline_lib.io.exports.sleap import write_sleap_predictions
from pipeline_lib.io.exports.sleap_analysis import write_sleap_analysis
from pipeline_lib.io.exports.source import ExportSource

Writer = Callable[[Path, ExportSource], None]


def _write_deeplabcut(path: Path, source: ExportSource) -> None:
    unique = source.skeleton.unique_bodyparts
    write_deeplabcut_predictions(path, source.read_blocks(), source.scorer, unique)


# As many as `pipeline_lib.core.export_formats.FORMATS`; a test holds them to each other.
WRITERS: dict[str, Writer] = {
    "h5": _write_deeplabcut,
    "csv": _write_deeplabcut,
    "slp": write_sleap_predictions,
    "analysis": write_sleap_analysis,
    "nwb": write_nwb,
}


def write_export(name: str, path: Path, source: ExportSource) -> None:
    """Publish the poses of one video in a format.

    Parameters
    ----------
    name
        A format of `exports.formats`.
    path
        The file; it ends in the suffix of the format.
    source
        Poses of the video and what other tools ask for besides.

    Raises
    ------
    ValueError
        If there is no format of this name.
    StoreError
        If the poses are missing or damaged, or the format cannot hold them.
    """
    find_format(name)
    WRITERS[name](path, source)
