"""Export the poses of one session in any registered format."""

from pathlib import Path
from pkgutil import resolve_name
from typing import Protocol

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.formats.session_exports import find_format
from pipeline_lib.io.exports.sessions.source import SessionSource


class Writer(Protocol):
    """Publish the poses of one session in one format, read block by block.

    The function of a format says how the format differs.

    Parameters
    ----------
    path
        File to write.
    source
        Poses of the session and the metadata that other tools need. If the format is registered
        as `metric`, their calibration has a unit.

    Raises
    ------
    StoreError
        If the poses are missing or damaged, the format cannot hold them, or a package that it
        needs is not installed.
    """

    def __call__(self, path: Path, source: SessionSource, /) -> None:
        """Publish the file."""


def write_session_export(name: str, path: Path, source: SessionSource) -> None:
    """Publish the poses of one session in a format.

    Parameters
    ----------
    name
        Format, a key of `pipeline_lib.core.formats.session_exports.FORMATS`.
    path
        File to write; it ends in the suffix of the format.
    source
        Poses of the session and the metadata that other tools need.

    Raises
    ------
    ValueError
        If no format has this name.
    StoreError
        If the poses are missing or damaged, or the format cannot hold them: it wants a unit that
        the calibration does not tell, or has no room for so many moments, points or such names.
    """
    check_unit(name, source.head.unit, str(source.poses))
    writer: Writer = resolve_name(find_format(name).writer)
    writer(path, source)


def check_unit(name: str, unit: str | None, where: str) -> None:
    """Refuse a format that has a unit of its own where that of the lengths is unknown.

    Parameters
    ----------
    name
        Format.
    unit
        Of the calibration; None: unknown.
    where
        File of the poses or of the calibration, for messages.

    Raises
    ------
    StoreError
        That says what to do.
    """
    if find_format(name).metric and unit is None:
        raise StoreError(
            f"{where}: the format `{name}` has a unit of lengths, and the calibration does "
            "not tell its own: write it with its unit (`cohortpose calibrate --check FILE --unit "
            "mm --output NEW.toml`), triangulate with that file, or choose another format"
        )
