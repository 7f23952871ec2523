"""Register the formats of labelling projects: one record for each, by the name that people type.

To add a format, write a module with the function ``write`` of
`pipeline_lib.io.label_projects.registry.ProjectWriter`, and add its record here. What comes back is
read by the format of `pipeline_lib.core.formats.labels` that has the same name.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ProjectFormat:
    """Describe a format in which frames are handed over to another labelling tool.

    Attributes
    ----------
    about
        What is written, for the documentation and the command line.
    module
        Full name of the module that writes it. A name, because this package imports none.
    labels
        File or folder of the project that `merge-labels` reads.
    holds_hidden
        Whether a keypoint can be labelled as hidden: of a known position, but out of sight.
    holds_empty
        Whether a frame that somebody labelled as one without an animal differs from one that
        nobody has labelled.
    holds_predictions
        Whether predictions differ from labels.
    """

    about: str
    module: str
    labels: str
    holds_hidden: bool = False
    holds_empty: bool = False
    holds_predictions: bool = False


_WRITERS = "pipeline_lib.io.label_projects"

FORMATS: dict[str, ProjectFormat] = {
    "deeplabcut": ProjectFormat(
        "a DeepLabCut project, which napari-deeplabcut opens",
        f"{_WRITERS}.deeplabcut",
        labels=".",
        holds_predictions=True,
    ),
    "sleap": ProjectFormat(
        "a SLEAP file (project.pkg.slp, or project.slp beside the videos)",
        f"{_WRITERS}.sleap",
        labels="project.pkg.slp",
        holds_empty=True,
        holds_predictions=True,
    ),
    "coco": ProjectFormat(
        "COCO keypoints with images, in CVAT's layout",
        f"{_WRITERS}.coco",
        labels="annotations/person_keypoints_default.json",
        holds_hidden=True,
    ),
    "label-studio": ProjectFormat(
        "tasks and a labelling interface of Label Studio",
        f"{_WRITERS}.label_studio",
        labels="tasks.json",
        holds_hidden=True,
        holds_empty=True,
        holds_predictions=True,
    ),
}


def find_format(name: str) -> ProjectFormat:
    """Return the record of a format.

    Raises
    ------
    ValueError
        If no format has this name.
    """
    if name not in FORMATS:
        raise ValueError(f"{name!r} is no format of projects; there are {', '.join(FORMATS)}")
    return FORMATS[name]
