"""Register the export formats of sessions, in three dimensions: one record for each, by its name.

To add a format, write a module with its writer and add its record here. Settings, results folder,
command line and export step follow.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class SessionExportFormat:
    """Describe a format in which the poses of sessions are written for other tools.

    Attributes
    ----------
    suffix
        End of the file's name, after the session and a dot. No export of a video ends so: a video
        may have the name of a session.
    about
        Sentence for the documentation of the settings.
    writer
        Function that publishes the file, as ``module:function``; it takes the path and a
        `pipeline_lib.io.exports.sessions.source.SessionSource`. A name, because writers load
        slowly and this package imports none of them.
    linked
        Whether the files draw the edges of the skeleton, which the poses do not contain.
    described
        Whether the files describe session and subject as the cohort sheet does.
    metric
        Whether the format wants a unit of its own, so that the calibration must tell its unit.
    """

    suffix: str
    about: str
    writer: str
    linked: bool = False
    described: bool = False
    metric: bool = False


_WRITERS = "pipeline_lib.io.exports.sessions"

FORMATS: dict[str, SessionExportFormat] = {
    "csv": SessionExportFormat(
        "3d.csv", "tidy table, one row per point (`SESSION.3d.csv`)", f"{_WRITERS}.tidy:write_tidy"
    ),
    "trc": SessionExportFormat(
        "trc",
        "markers of Pose2Sim and OpenSim, in m, Y up",
        f"{_WRITERS}.trc:write_trc",
        metric=True,
    ),
    "c3d": SessionExportFormat(
        "c3d",
        "markers of biomechanics, in mm (needs `pip install cohortpose[c3d]`)",
        f"{_WRITERS}.c3d:write_c3d",
        metric=True,
    ),
    "nwb": SessionExportFormat(
        "3d.nwb",
        "Neurodata Without Borders with ndx-pose (`SESSION.3d.nwb`)",
        f"{_WRITERS}.nwb:write_session_nwb",
        linked=True,
        described=True,
    ),
    "deeplabcut-3d": SessionExportFormat(
        "DLC_3D.h5",
        "DeepLabCut's table of triangulated poses (`SESSION.DLC_3D.h5`)",
        f"{_WRITERS}.deeplabcut:write_deeplabcut_3d",
    ),
    "sleap-points3d": SessionExportFormat(
        "points3d.h5",
        "points of sleap-anipose (`SESSION.points3d.h5`)",
        f"{_WRITERS}.sleap:write_points3d",
    ),
    "rerun": SessionExportFormat(
        "rrd",
        "recording for the Rerun viewer: cameras, projected points, skeletons (needs `pip install "
        "cohortpose[rerun]`)",
        f"{_WRITERS}.rerun:write_rerun",
        linked=True,
    ),
}


def find_format(name: str) -> SessionExportFormat:
    """Return the record of a format.

    Raises
    ------
    ValueError
        If no format has this name.
    """
    if name not in FORMATS:
        raise ValueError(
            f"{name!r} is no format of session exports; there are {', '.join(FORMATS)}"
        )
    return FORMATS[name]
