"""Register the formats of poses that other tools found: one record for each, by its name.

A new format is a line here and a module with two functions, those of
`pipeline_lib.io.foreign_poses.files.PoseReader`. Modules are named, not imported. The first format
that knows a file is taken.
"""

from dataclasses import dataclass

AUTO = "auto"


@dataclass(frozen=True)
class PoseFormat:
    """Describe a format in which tools store the poses of one video.

    Attributes
    ----------
    about
        For documentation and messages.
    module
        Full name of the module that finds and reads it.
    """

    about: str
    module: str


_MODULES = "pipeline_lib.io.foreign_poses"

FORMATS: dict[str, PoseFormat] = {
    "cohortpose": PoseFormat("our own pose file (.zarr, .zarr.zip)", f"{_MODULES}.own"),
    "sleap": PoseFormat("SLEAP predictions (.slp)", f"{_MODULES}.sleap"),
    "sleap-analysis": PoseFormat("a SLEAP analysis file (.h5)", f"{_MODULES}.sleap_analysis"),
    "deeplabcut": PoseFormat(
        "a DeepLabCut table of predictions (.h5, .csv), of one or several animals",
        f"{_MODULES}.deeplabcut",
    ),
    "openpose": PoseFormat("a folder of OpenPose JSON, one file per frame", f"{_MODULES}.openpose"),
}


def find_format(name: str) -> PoseFormat:
    """Return a format by its name.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if name not in FORMATS:
        raise ValueError(f"{name!r} is no format of poses; there are {', '.join(FORMATS)}")
    return FORMATS[name]
