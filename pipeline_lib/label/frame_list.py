"""List the frames that are worth labelling: chosen, suspected of label errors, or labelled."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.io.corrections.labels import FrameKey
from pipeline_lib.io.labels.image_paths import name_in_project
from pipeline_lib.io.labels.table import Labels
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.label.project import Project
from pipeline_lib.steps.import_labels.same_frame import FrameComparer

_REFINED = ("video", "frame", "reason")
_SELECTED = ("frame",)
_ERRORS = ("image", "video", "frame", "bodypart", "what")
_MOST_DIGITS = 12


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


class LabelImages:
    """Map the images of label sources to the keys that corrections use.

    A frame of a video and an image of a label source may be the same frame; its key is then that of
    the image. They are two if their pictures differ, or the import has found that they do.

    Parameters
    ----------
    labels
        The labels that were imported; None: there are none.
    written
        Folder of the frames that the import has written for corrections; they are frames of
        videos.
    comparer
        Compares images with frames of the cohort's videos.

    Attributes
    ----------
    paths
        Paths of the images by key.
    """

    def __init__(self, labels: Labels | None, written: Path, comparer: FrameComparer) -> None:
        self._comparer = comparer
        self.paths: dict[FrameKey, Path] = {}
        self._by_name: dict[str, FrameKey] = {}
        self._by_frame: dict[tuple[str, int], FrameKey] = {}
        if labels is None:
            return
        images = labels.table[["video", "frame", "image"]].drop_duplicates("image")
        apart: set[tuple[str, int]] = set()
        for video, number, image in images.itertuples(index=False):
            path = Path(image)
            if path.is_relative_to(written.absolute()):
                # The import writes these only where no image of a source is the same frame.
                apart.add((str(video), int(number)))
                continue
            key = FrameKey(str(video), int(number), name_in_project(path))
            self.paths[key] = path
            self._by_name[key.image] = key
            if key.frame >= 0:
                self._by_frame.setdefault((key.video, key.frame), key)
        for frame in apart:
            self._by_frame.pop(frame, None)

    def find(self, key: FrameKey, *, by_size: bool = False) -> FrameKey:
        """Return the key that all names of a frame share.

        Parameters
        ----------
        key
            A frame.
        by_size
            Compare only the sizes of image and video, which is enough where nothing but the place
            in the list depends on it: a list of thousands must not wait for as many pictures.
        """
        if not key.image:
            named = self._by_frame.get((key.video, key.frame))
            if named is None:
                return key
            path, compare = str(self.paths[named]), self._comparer
            if (
                compare.differ_in_size(path, key.video)
                if by_size
                else compare.find_difference(path, key.video, key.frame)
            ):
                del self._by_frame[key.video, key.frame]
                return key
            return named
        return self._by_name.get(name_in_project(Path(key.image)), key)


def list_frames(
    project: Project, images: LabelImages, corrected: Iterable[FrameKey]
) -> tuple[list[ListedFrame], list[str]]:
    """List each frame once: probable label errors and frames to refine first, worst first.

    Returns
    -------
    frames
        In the order in which they are worth a look.
    problems
        Tables that could not be read, one line each; the others are listed all the same.
    """
    reasons: dict[FrameKey, list[tuple[str, str]]] = {}
    problems: list[str] = []
    models, results = project.list_networks(), project.results
    sources = (
        *(_list_errors(results.label_errors(model)) for model in models),
        *(_list_refined(results.refined_table(model)) for model in models),
        _list_selected(project),
        ((key, ("label", "")) for key in images.paths),
        ((key, ("corrected", "")) for key in corrected),
    )
    for source in sources:
        try:
            for key, reason in source:
                found = images.find(key, by_size=reason[0] == "selected")
                there = reasons.setdefault(found, [])
                if reason not in there:
                    there.append(reason)
        except CohortposeError as error:
            problems.append(str(error))
    listed = []
    for key, why in reasons.items():
        path = images.paths.get(key)
        # Frames of videos that are gone, and images that are no labels any more, are left out.
        if path is not None or (not key.image and key.video in project.videos):
            listed.append(ListedFrame(key, path, tuple(why)))
    return listed, problems


Listed = Iterator[tuple[FrameKey, tuple[str, str]]]


def _is_frame(text: str) -> bool:
    # Python makes no number of thousands of digits.
    return text.isdecimal() and len(text) <= _MOST_DIGITS


def _list_refined(path: Path) -> Listed:
    if not path.is_file():
        return
    for row in read_table(path, _REFINED):
        if _is_frame(row["frame"]):
            yield FrameKey(row["video"], int(row["frame"]), ""), ("refine", row["reason"])


def _list_selected(project: Project) -> Listed:
    for video in project.videos:
        path = project.results.frames(video) / "frames.tsv"
        if not path.is_file():
            continue
        for row in read_table(path, _SELECTED):
            if _is_frame(row["frame"]):
                yield FrameKey(video, int(row["frame"]), ""), ("selected", "")


def _list_errors(path: Path) -> Listed:
    if not path.is_file():
        return
    for row in read_table(path, _ERRORS):
        if row["image"] or _is_frame(row["frame"]):
            frame = int(row["frame"]) if _is_frame(row["frame"]) else -1
            names = " ".join(filter(None, (row.get("individual", ""), row["bodypart"])))
            what = f"{names}: {row['what']}".removeprefix(": ")
            yield FrameKey(row["video"], frame, row["image"]), ("label error", what)
