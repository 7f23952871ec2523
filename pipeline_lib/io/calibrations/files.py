"""Read and write calibrations in any format of the registry.

Calibrations come from strangers: files are bounded in size, nothing of them is executed, and what
is wrong is one error that names file and camera.
"""

import importlib
from pathlib import Path
from typing import Protocol, cast

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.errors import CalibrationError
from pipeline_lib.core.formats.calibrations import AUTO, FORMATS, find_format
from pipeline_lib.io.calibrations.building import check_file
from pipeline_lib.io.publish import publish_file


class CalibrationIO(Protocol):
    """Define the interface of the modules in `pipeline_lib.core.formats.calibrations.FORMATS`."""

    def is_format(self, path: Path) -> bool:
        """Tell whether a file is of this format; a damaged one may be of none."""
        ...

    def read(self, path: Path) -> Calibration:
        """Read a calibration; raises `CalibrationError` with all problems."""
        ...

    def write(self, path: Path, calibration: Calibration) -> None:
        """Write a calibration; raises `CalibrationError` if the format cannot hold it."""
        ...


def load_format(name: str) -> CalibrationIO:
    """Return the module of a format.

    Raises
    ------
    ValueError
        If there is no format of this name.
    """
    return cast("CalibrationIO", importlib.import_module(find_format(name).module))


def detect_format(path: Path) -> str:
    """Return the name of the first format that knows a file.

    Raises
    ------
    CalibrationError
        If it cannot be read, or none does.
    """
    check_file(path)
    for name in FORMATS:
        if load_format(name).is_format(path):
            return name
    known = "; ".join(f"{name}: {one.about}" for name, one in FORMATS.items())
    raise CalibrationError(
        str(path), [f"is no calibration in a known format, or a damaged one ({known})"]
    )


def read_calibration(path: Path, name: str = AUTO) -> Calibration:
    """Read a calibration.

    Parameters
    ----------
    path
        A file in a format of the registry.
    name
        Of its format; ``auto``: the first that knows it.

    Raises
    ------
    CalibrationError
        With everything that is wrong, one line each.
    """
    check_file(path)
    return load_format(detect_format(path) if name == AUTO else name).read(path)


def write_calibration(path: Path, calibration: Calibration, name: str) -> None:
    """Write a calibration, whole or not at all.

    Parameters
    ----------
    path
        File to write; one that exists is replaced.
    calibration
        Every format keeps lenses and places; names, unit and errors are kept where it has them.
    name
        Of the format.

    Raises
    ------
    CalibrationError
        If the format cannot hold this calibration, or the file cannot be written.
    """
    try:
        with publish_file(path) as part:
            load_format(name).write(part, calibration)
    except CalibrationError as error:
        raise CalibrationError(str(path), error.problems) from None
    except OSError as error:
        raise CalibrationError(str(path), [f"cannot be written: {error.strerror}"]) from None
