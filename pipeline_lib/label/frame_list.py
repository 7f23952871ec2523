"""List the frames that are worth a look: chosen, doubted or labelled."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.io.corrections.labels import FrameCorrection, FrameKey
from pipeline_lib.io.labels.table import Labels
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.label.project import Project

_REFINED = ("video", "frame", "reason")
_SELECTED = ("frame",)
_ERRORS = ("image", "video", "frame", "bodypart", "what")
LABEL_ERRORS = "label_errors.tsv"


@dataclass(frozen=True)
class ListedFrame:
    """Describe a frame of the list.

    Attributes
    ----------
    key
        The frame as corrections name it.
    path
        The label image; None for a frame of a video.
    reasons
        Why it is listed: pairs of kind (``refine``, ``label error``, ``selected``, ``label``,
        ``corrected``, ``chosen by hand``) and explanation.
    """

    key: FrameKey
    path: Path | None
    reasons: tuple[tuple[str, str], ...]


def list_frames(
    project: Project, labels: Labels | None, corrections: Iterable[FrameCorrection]
) -> tuple[list[ListedFrame], list[str]]:
    """List each frame once: doubted labels and frames to refine first, worst first.

    Returns
    -------
    frames
        In the order in which they are worth a look.
    problems
        Tables that could not be read, one line each; the others are listed all the same.
    """
    images = _list_images(labels)
    by_image = {str(path): key for key, path in images.items()}
    reasons: dict[FrameKey, list[tuple[str, str]]] = {}
    problems: list[str] = []
    model = project.config.training.name
    sources = (
        _list_errors(project.results.refined(model) / LABEL_ERRORS, by_image),
        _list_refined(project.results.refined_table(model)),
        _list_selected(project),
        ((key, ("label", "")) for key in images),
        ((one.key, ("corrected", "")) for one in corrections),
    )
    for source in sources:
        try:
            for key, reason in source:
                there = reasons.setdefault(key, [])
                if reason not in there:
                    there.append(reason)
        except CohortposeError as error:
            problems.append(str(error))
    listed = []
    for key, why in reasons.items():
        path = images.get(key) or (Path(key.image).absolute() if key.image else None)
        if path is not None or key.video in project.videos:
            listed.append(ListedFrame(key, path, tuple(why)))
    return listed, problems


def name_image(path: Path) -> str:
    """Return the path of a label image as corrections name it: relative to the project."""
    project = Path.cwd()
    for base in (project, Path(os.path.realpath(project))):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return str(path)


def _list_images(labels: Labels | None) -> Mapping[FrameKey, Path]:
    if labels is None:
        return {}
    images = labels.table[["video", "frame", "image"]].drop_duplicates("image")
    return {
        FrameKey(str(video), int(frame), name_image(Path(image))): Path(image)
        for video, frame, image in images.itertuples(index=False)
    }


Listed = Iterator[tuple[FrameKey, tuple[str, str]]]


def _list_refined(path: Path) -> Listed:
    if not path.is_file():
        return
    for row in read_table(path, _REFINED):
        if row["frame"].isdecimal():
            yield FrameKey(row["video"], int(row["frame"]), ""), ("refine", row["reason"])


def _list_selected(project: Project) -> Listed:
    for video in project.videos:
        path = project.results.frames(video) / "frames.tsv"
        if not path.is_file():
            continue
        for row in read_table(path, _SELECTED):
            if row["frame"].isdecimal():
                yield FrameKey(video, int(row["frame"]), ""), ("selected", "")


def _list_errors(path: Path, by_image: Mapping[str, FrameKey]) -> Listed:
    if not path.is_file():
        return
    for row in read_table(path, _ERRORS):
        known = by_image.get(str(Path(row["image"]).absolute())) if row["image"] else None
        if known is None and row["frame"].isdecimal():
            known = FrameKey(row["video"], int(row["frame"]), "")
        if known is not None:
            names = " ".join(filter(None, (row.get("individual", ""), row["bodypart"])))
            yield known, ("label error", f"{names}: {row['what']}".removeprefix(": "))
