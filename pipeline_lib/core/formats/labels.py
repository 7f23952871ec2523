"""Register the formats of labels: one record for each, by its name in the config.

A new format is a record here and a module with three functions, those of
`pipeline_lib.io.labels.detect.LabelReader`; a fourth, named by `LabelFormat.describe`, tells `init`
more than the folder of the videos. Modules are named, not imported: the settings know the
names alone, and a reader is loaded when it is used. The first format that knows a path is taken; a
format in CSV or HDF5 stands before DeepLabCut's, which takes every table.
"""

from dataclasses import dataclass

AUTO = "auto"


@dataclass(frozen=True)
class LabelFormat:
    """Describe a format in which other tools write labels.

    Attributes
    ----------
    about
        For the settings' documentation and for messages.
    module
        Full name of the module that finds and reads it.
    tables
        Whether the labels lie in DeepLabCut's tables, which are checked before any work. Other
        formats are checked by ``import-labels`` alone.
    describe
        Function by which ``init`` takes skeleton, individuals and videos from the labels, as
        ``module:function``; it takes the path and returns a
        `pipeline_lib.steps.init.projects.Described`. Empty: the videos are in the folder of the
        labels, and nothing more is known.
    """

    about: str
    module: str
    tables: bool = False
    describe: str = ""


_INIT = "pipeline_lib.steps.init.projects"

FORMATS: dict[str, LabelFormat] = {
    "deeplabcut": LabelFormat(
        "a DeepLabCut project (labeled-data/VIDEO/CollectedData_SCORER.csv or .h5)",
        "pipeline_lib.io.labels.formats.deeplabcut",
        tables=True,
        describe=f"{_INIT}:describe_deeplabcut",
    ),
    "lightning-pose": LabelFormat(
        "a Lightning Pose data folder (CollectedData.csv beside labeled-data)",
        "pipeline_lib.io.labels.formats.lightning_pose",
        tables=True,
        describe=f"{_INIT}:describe_lightning_pose",
    ),
    "sleap": LabelFormat(
        "a SLEAP file (.slp)",
        "pipeline_lib.io.labels.formats.sleap",
        describe=f"{_INIT}:describe_sleap",
    ),
    "coco": LabelFormat(
        "a file of COCO keypoints (.json)",
        "pipeline_lib.io.labels.formats.coco",
        describe=f"{_INIT}:describe_coco",
    ),
    "label-studio": LabelFormat(
        "an export of Label Studio (.json)",
        "pipeline_lib.io.labels.formats.label_studio",
        describe=f"{_INIT}:describe_label_studio",
    ),
    "leap": LabelFormat(
        "a file of LEAP (.mat)",
        "pipeline_lib.io.labels.formats.leap",
        describe=f"{_INIT}:describe_leap",
    ),
}


def find_format(name: str) -> LabelFormat:
    """Return a format by its name.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if name not in FORMATS:
        known = ", ".join(FORMATS)
        raise ValueError(f"{name!r} is no format of labels; there are {known} (and {AUTO})")
    return FORMATS[name]
