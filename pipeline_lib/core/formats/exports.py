"""Register the export formats: one record for each, by its name in the config.

To add a format, write a module with its writer and add its record here. Settings, results folder
and export step follow.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ExportFormat:
    """Describe a format in which poses are written for other tools.

    Attributes
    ----------
    suffix
        End of the file's name, after the video and a dot.
    about
        Sentence for the documentation of the settings.
    writer
        Function that publishes the file, as ``module:function``; it takes the path and an
        `pipeline_lib.io.exports.source.ExportSource`. A name, because writers load slowly and
        this package imports none of them.
    linked
        Whether the files name the video and draw the edges of the skeleton, neither of which the
        poses contain.
    described
        Whether the files describe session and subject as the cohort sheet does.
    """

    suffix: str
    about: str
    writer: str
    linked: bool = False
    described: bool = False


_WRITERS = "pipeline_lib.io.exports"

FORMATS: dict[str, ExportFormat] = {
    "h5": ExportFormat(
        "h5", "DeepLabCut's table in HDF5", f"{_WRITERS}.deeplabcut:write_deeplabcut"
    ),
    "csv": ExportFormat(
        "csv", "DeepLabCut's table as text", f"{_WRITERS}.deeplabcut:write_deeplabcut"
    ),
    "slp": ExportFormat(
        "slp",
        "SLEAP project of predictions",
        f"{_WRITERS}.sleap:write_sleap_predictions",
        linked=True,
    ),
    "analysis": ExportFormat(
        "analysis.h5",
        "SLEAP analysis file (`VIDEO.analysis.h5`)",
        f"{_WRITERS}.sleap_analysis:write_sleap_analysis",
        linked=True,
    ),
    "nwb": ExportFormat(
        "nwb",
        "Neurodata Without Borders with ndx-pose",
        f"{_WRITERS}.nwb:write_nwb",
        linked=True,
        described=True,
    ),
    "coco": ExportFormat(
        "coco.json",
        "COCO keypoints (`VIDEO.coco.json`)",
        f"{_WRITERS}.coco:write_coco",
        linked=True,
    ),
    "simba": ExportFormat(
        "simba.csv",
        "SimBA's table of `input_csv` (`VIDEO.simba.csv`)",
        f"{_WRITERS}.behaviour_table:write_simba",
    ),
    "bsoid": ExportFormat(
        "bsoid.csv",
        "DeepLabCut's table without an empty cell, for B-SOiD (`VIDEO.bsoid.csv`)",
        f"{_WRITERS}.behaviour_table:write_bsoid",
    ),
    "motion-bids": ExportFormat(
        "bids",
        "data set of Motion-BIDS (folder `VIDEO.bids`; experimental)",
        f"{_WRITERS}.motion_bids:write_motion_bids",
        linked=True,
        described=True,
    ),
}


def find_format(name: str) -> ExportFormat:
    """Return the record of a format.

    Raises
    ------
    ValueError
        If no format has this name.
    """
    if name not in FORMATS:
        raise ValueError(f"{name!r} is no format of exports; there are {', '.join(FORMATS)}")
    return FORMATS[name]
