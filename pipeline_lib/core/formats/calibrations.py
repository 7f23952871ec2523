"""Register the formats of calibrations: one record for each, by its name on the command line.

A new format is a line here and a module with three functions, those of
`pipeline_lib.io.calibrations.files.CalibrationIO`. Modules are named, not imported. The first
format that knows a file is taken; one that is a special case of another stands before it.
"""

from dataclasses import dataclass

AUTO = "auto"


@dataclass(frozen=True)
class CalibrationFormat:
    """Describe a format in which tools store calibrations.

    Attributes
    ----------
    about
        For documentation and messages.
    suffix
        Of a file that we write.
    module
        Full name of the module that finds, reads and writes it.
    """

    about: str
    suffix: str
    module: str


_MODULES = "pipeline_lib.io.calibrations.formats"

FORMATS: dict[str, CalibrationFormat] = {
    "caliscope": CalibrationFormat(
        "caliscope's camera_array.toml, in metres", ".toml", f"{_MODULES}.caliscope"
    ),
    "pose2sim": CalibrationFormat(
        "Pose2Sim's Calib.toml, in metres", ".toml", f"{_MODULES}.pose2sim"
    ),
    "aniposelib": CalibrationFormat(
        "calibration.toml of aniposelib, Anipose and SLEAP", ".toml", f"{_MODULES}.aniposelib"
    ),
    "qualisys": CalibrationFormat(
        "a calibration of Qualisys Track Manager (.qca.txt, XML), in mm",
        ".qca.txt",
        f"{_MODULES}.qualisys",
    ),
    "opencv": CalibrationFormat(
        "YAML of OpenCV's FileStorage, also of its stereo sample, and ROS' camera_info",
        ".yml",
        f"{_MODULES}.opencv",
    ),
    "deeplabcut-3d": CalibrationFormat(
        "stereo_params.pickle of a DeepLabCut 3D project (two cameras)",
        ".pickle",
        f"{_MODULES}.deeplabcut_3d",
    ),
    "bouguet": CalibrationFormat(
        "Calib_Results.mat of Bouguet's toolbox: one camera, or a stereo pair",
        ".mat",
        f"{_MODULES}.bouguet",
    ),
}


def find_format(name: str) -> CalibrationFormat:
    """Return a format by its name.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if name not in FORMATS:
        raise ValueError(f"{name!r} is no format of calibrations; there are {', '.join(FORMATS)}")
    return FORMATS[name]
