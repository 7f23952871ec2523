"""Record the frames of a labelling project, so that its corrections can be assigned to them.

Other people may have edited the record: everything that is read is checked.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.untrusted.regular_files import require_regular_file
from pipeline_lib.io.label_projects.project import Animal, LabelProject, ProjectFrame, list_present

MANIFEST = "cohortpose.json"
_VERSION = 2
_MOST_BYTES = 256 * 2**20
_MOST_FRAMES = 1_000_000
_DIGITS = 4  # of predicted positions in px; labels are recorded exactly

Text = Annotated[str, Field(max_length=4096)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RecordedAnimal(_Record):
    """Hold one individual as it was handed over.

    Attributes
    ----------
    individual
        Its name.
    points
        Position of each bodypart it has, in px.
    hidden
        Those of them that were labelled as hidden.
    """

    individual: Text
    points: dict[Text, tuple[Finite, Finite]]
    hidden: list[Text] = []


class RecordedFrame(_Record):
    """Hold one frame as it was handed over.

    Attributes
    ----------
    file
        Path of its image in the project; unique.
    video, frame, image
        Where corrections of it go.
    recording
        Path of its video as the project has it; empty where it names none.
    predicted
        The individuals that were predicted; None where the frame was labelled.
    labelled
        The individuals that were labelled; None where the frame was not.
    """

    file: Text
    video: Text
    frame: Annotated[int, Field(ge=-1, lt=2**53)]
    image: Text
    recording: Text = ""
    predicted: list[RecordedAnimal] | None = None
    labelled: list[RecordedAnimal] | None = None


class Manifest(_Record):
    """Hold all frames of a project, and the bodyparts that can be labelled in it."""

    version: int
    format: Text
    scorer: Text
    bodyparts: list[Text]
    frames: Annotated[list[RecordedFrame], Field(max_length=_MOST_FRAMES)]


def describe_project(
    name: str, project: LabelProject, name_image: Callable[[ProjectFrame], str]
) -> Manifest:
    """Return the record of a project in a format."""
    return Manifest(
        version=_VERSION,
        format=name,
        scorer=project.scorer,
        bodyparts=list(project.skeleton.bodyparts),
        frames=[
            RecordedFrame(
                file=name_image(frame),
                video=frame.video,
                frame=frame.frame,
                image=frame.image,
                recording="" if frame.recording is None else frame.recording.name,
                predicted=None
                if frame.labels is not None
                else _describe(frame.predictions, project, _DIGITS),
                labelled=None if frame.labels is None else _describe(frame.labels, project),
            )
            for frame in project.frames
        ],
    )


def _describe(
    animals: Iterable[Animal], project: LabelProject, digits: int | None = None
) -> list[RecordedAnimal]:
    names = project.skeleton.bodyparts
    found = []
    for animal in list_present(animals):
        present = np.flatnonzero(animal.present).tolist()
        position = animal.position if digits is None else animal.position.round(digits)
        points = {names[k]: (float(position[k, 0]), float(position[k, 1])) for k in present}
        hidden = [names[k] for k in present if animal.hidden[k]]
        found.append(RecordedAnimal(individual=animal.name, points=points, hidden=hidden))
    return found


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the record; the folder is published as a whole."""
    text = json.dumps(manifest.model_dump(), ensure_ascii=False, separators=(",", ":"))
    path.write_text(f"{text}\n", encoding="utf-8")


def read_manifest(path: Path) -> Manifest | None:
    """Read the record of a project.

    Returns
    -------
    Manifest or None
        None if there is no file.

    Raises
    ------
    LabelError
        If it cannot be read or does not have the form that `write_manifest` gives it.
    """
    try:
        require_regular_file(path)
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LabelError(str(path), [f"cannot be read: {error.strerror or error}"]) from None
    if len(data) > _MOST_BYTES:
        raise LabelError(str(path), [f"is larger than {_MOST_BYTES // 2**20} MiB"])
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors()
        ]
        raise LabelError(str(path), problems) from None
    except RecursionError:
        raise LabelError(str(path), ["is nested too deeply: it is not read"]) from None
    problems = _list_problems(manifest)
    if problems:
        raise LabelError(str(path), problems)
    return manifest


def _is_inside(file: str) -> bool:
    path = PurePosixPath(file)
    return file.isprintable() and not path.is_absolute() and ".." not in path.parts


def _list_problems(manifest: Manifest) -> list[str]:
    if manifest.version != _VERSION:
        return [f"is of version {manifest.version}, expected {_VERSION}: write the project again"]
    files: set[str] = set()
    keys: set[tuple[str, int, str]] = set()
    problems = []
    for frame in manifest.frames:
        if not _is_inside(frame.file):
            problems.append(f"file {frame.file[:80]!r}: expected a path in the project")
        key = (frame.video, frame.frame, frame.image)
        if frame.file in files or key in keys:
            problems.append(f"frame {frame.frame} of {frame.video} ({frame.file}) stands twice")
        if (frame.predicted is None) == (frame.labelled is None):
            problems.append(
                f"frame {frame.frame} of {frame.video} ({frame.file}): expected either `predicted` "
                "or `labelled`"
            )
        files.add(frame.file)
        keys.add(key)
    return problems
