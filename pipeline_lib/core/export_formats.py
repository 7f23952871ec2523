"""Formats of exports: their names in the config, and what the rest of the package asks of them.

The writer of each is in `pipeline_lib.io.exports.registry`. A new format is a line here, a line
there, and a module that writes it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ExportFormat:
    """A format in which poses are written for other tools.

    Attributes
    ----------
    suffix
        End of the file's name, after the video and a dot.
    about
        For the settings' documentation.
    linked
        Whether its files name the video and draw the edges of the skeleton; poses do not.
    described
        Whether its files describe session and subject as the cohort sheet does.
    """

    suffix: str
    about: str
    linked: bool = False
    described: bool = False


FORMATS: dict[str, ExportFormat] = {
    "h5": ExportFormat("h5", "DeepLabCut's table in HDF5"),
    "csv": ExportFormat("csv", "DeepLabCut's table as text"),
    "slp": ExportFormat("slp", "SLEAP project of predictions", linked=True),
    "analysis": ExportFormat(
        "analysis.h5", "SLEAP analysis file (`VIDEO.analysis.h5`)", linked=True
    ),
    "nwb": ExportFormat(
        "nwb", "Neurodata Without Borders with ndx-pose", linked=True, described=True
    ),
}


def find_format(name: str) -> ExportFormat:
    """Return a format by its name.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if name not in FORMATS:
        raise ValueError(f"{name!r} is no format of exports; there are {', '.join(FORMATS)}")
    return FORMATS[name]
