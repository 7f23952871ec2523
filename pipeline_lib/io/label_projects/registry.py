"""Write a labelling project in any registered format."""

import importlib
import shutil
from pathlib import Path
from typing import Protocol, cast

from pipeline_lib.core.formats.label_projects import find_format
from pipeline_lib.io.label_projects.manifest import MANIFEST, describe_project, write_manifest
from pipeline_lib.io.label_projects.project import LabelProject, ProjectFrame
from pipeline_lib.io.publish import publish_folder


class ProjectWriter(Protocol):
    """Define the interface of the modules in `core.formats.label_projects.FORMATS`."""

    def name_image(self, frame: ProjectFrame) -> str:
        """Return where the image of a frame lies in the project: a relative path."""
        ...

    def write(self, folder: Path, target: Path, project: LabelProject) -> None:
        """Write everything but the images into a folder that has them.

        Parameters
        ----------
        folder
            The unfinished folder, to write to.
        target
            Its path once it is finished, for formats that contain it.
        project
            What to write.
        """
        ...


def load_writer(name: str) -> ProjectWriter:
    """Return the writer of a format.

    Raises
    ------
    ValueError
        If there is no format of this name.
    """
    return cast("ProjectWriter", importlib.import_module(find_format(name).module))


def write_label_project(name: str, folder: Path, project: LabelProject) -> None:
    """Publish a labelling project, whole or not at all.

    Parameters
    ----------
    name
        Format, as in `pipeline_lib.core.formats.label_projects.FORMATS`.
    folder
        The project's folder, which must not exist: somebody's corrections may be in it.
    project
        What to write. The image of every frame is copied.

    Raises
    ------
    ValueError
        If no format has this name.
    FileExistsError
        If the folder exists.
    """
    writer = load_writer(name)
    if folder.exists():
        raise FileExistsError(str(folder))
    target = folder.absolute()
    with publish_folder(target) as part:
        for frame in project.frames:
            image = part / writer.name_image(frame)
            image.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(frame.file, image)
        writer.write(part, target, project)
        manifest = describe_project(name, project, writer.name_image)
        write_manifest(part / MANIFEST, manifest)
