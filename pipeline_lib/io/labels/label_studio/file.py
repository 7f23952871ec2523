"""Read a file of Label Studio's tasks (JSON): keypoints of every annotation. No image is opened.

The format: https://labelstud.io/guide/export and https://labelstud.io/guide/task_format. What is
read of a task: ``data``, ``id`` and ``annotations`` (once ``completions``); of an annotation
``result``, ``was_cancelled``, ``completed_by``, ``updated_at`` and ``created_at``; of results
``keypointlabels`` (and the text of their ``meta``), the names of ``rectanglelabels``, ``relation``
and the choice ``hidden``.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeGuard

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.untrusted.names import find_text_problem
from pipeline_lib.io.foreign.json_files import read_json, show_text

# Added to the file's coordinates so that pixel centres are at integers, px: Label Studio counts
# in percent from the corner of the image.
PIXEL_OFFSET = -0.5

_HIDDEN = "hidden"
_MOST_PROBLEMS = 1000
_MOST_SIDE = 1_000_000  # of an image, px
# What is more than this beyond the image is no slip of the hand.
_MOST_PERCENT = 1000.0
_IMAGE_KEYS = ("image", "img", "url")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudioPoint:
    """Hold a keypoint; x and y are in px with pixel centres at integers."""

    bodypart: str
    x: float
    y: float
    hidden: bool


@dataclass(frozen=True)
class StudioAnimal:
    """Hold the keypoints of an individual; its name is empty where it has none."""

    name: str
    points: tuple[StudioPoint, ...]


@dataclass(frozen=True)
class StudioAnnotation:
    """Hold what one person says of one image.

    Attributes
    ----------
    image
        As the task names it: a path or an address.
    size
        Width and height in px that the annotation is of; None where it has no region.
    animals
        Empty where there is none.
    author
        Address or number of who annotated; empty where it is unknown.
    time
        When it was changed last; None where it is unknown.
    """

    image: str
    size: tuple[int, int] | None
    animals: tuple[StudioAnimal, ...]
    author: str
    time: datetime | None


@dataclass(frozen=True)
class StudioFile:
    """Hold the content of a file.

    Attributes
    ----------
    path
        The file.
    bodyparts
        Names of all keypoints, in order of first appearance.
    annotations
        Of every task that somebody annotated, in the file's order; those of one task follow each
        other.
    tasks
        Images of all tasks, annotated or not.
    """

    path: Path
    bodyparts: tuple[str, ...]
    annotations: tuple[StudioAnnotation, ...]
    tasks: tuple[str, ...]


def open_studio_file(path: Path) -> StudioFile:
    """Read a file that Label Studio exported as "JSON".

    Annotations that were skipped (``was_cancelled``) are left out; so are, with a log entry,
    results of other kinds than keypoints. Predictions are not labels.

    Raises
    ------
    LabelError
        If it is not such a file; with every result that cannot be mapped: a rotated image,
        percentages that are not finite or far from the image, an unknown name, a bodypart twice.
    """
    tasks = read_json(path)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        problem = "expected Label Studio's list of tasks: export it there as JSON"
        raise LabelError(str(path), [problem])
    if tasks and not any("data" in task for task in tasks):
        problem = (
            "has no task with `data`: export it from Label Studio as JSON, not as JSON-MIN, which "
            "does not say which keypoints belong together"
        )
        raise LabelError(str(path), [problem])
    ignored: Counter[str] = Counter()
    annotations: list[StudioAnnotation] = []
    problems: list[str] = []
    images = []
    for number, task in enumerate(tasks):
        shown = f"task {show_text(task.get('id', number))}"
        try:
            image = _find_image(task)
            images.append(image)
            annotations += _read_task(task, image, ignored)
        except _TaskError as error:
            problems += [f"{shown}: {problem}" for problem in error.problems]
        if len(problems) >= _MOST_PROBLEMS:
            break
    if problems:
        raise LabelError(str(path), problems)
    for kind, count in ignored.items():
        _log.warning("%s: %d results of type %s are left out", show_text(path), count, kind)
    names = (
        point.bodypart for one in annotations for animal in one.animals for point in animal.points
    )
    return StudioFile(path, tuple(dict.fromkeys(names)), tuple(annotations), tuple(images))


class _TaskError(Exception):
    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__()
        self.problems = problems


def _find_image(task: Mapping[str, Any]) -> str:
    data = task.get("data")
    texts = {
        key: value
        for key, value in (data.items() if isinstance(data, dict) else ())
        if isinstance(value, str)
    }
    for key in _IMAGE_KEYS:
        if key in texts:
            return texts[key]
    raise _TaskError([f"its `data` has no `image`, but {show_text(', '.join(texts) or 'nothing')}"])


def _read_task(
    task: Mapping[str, Any], image: str, ignored: Counter[str]
) -> Iterator[StudioAnnotation]:
    annotations = task.get("annotations", task.get("completions", []))
    if not isinstance(annotations, list):
        raise _TaskError(["its `annotations` are no list"])
    for annotation in annotations:
        if not isinstance(annotation, dict):
            raise _TaskError(["an annotation is no object"])
        if annotation.get("was_cancelled"):
            continue
        results = annotation.get("result")
        if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
            raise _TaskError(["the `result` of an annotation is no list of objects"])
        animals, size = _Results(results, ignored).read()
        time = _read_time(annotation.get("updated_at") or annotation.get("created_at"))
        yield StudioAnnotation(image, size, animals, _read_author(annotation), time)


def _read_author(annotation: Mapping[str, Any]) -> str:
    author = annotation.get("completed_by")
    if isinstance(author, dict):
        author = author.get("email") or author.get("id")
    return str(author) if isinstance(author, str | int) and not isinstance(author, bool) else ""


def _read_time(text: Any) -> datetime | None:  # noqa: ANN401
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


class _Results:
    """Sort the results of one annotation into animals.

    Keypoints belong together if they are related to one rectangle, lie in it by ``parentID``, are
    related to each other, or have the same text in their ``meta``, which is then the animal's name;
    those that belong to nothing are one animal.
    """

    def __init__(self, results: Sequence[Mapping[str, Any]], ignored: Counter[str]) -> None:
        self._results, self._ignored = results, ignored
        self._points: dict[str, StudioPoint] = {}
        self._names: dict[str, str] = {}
        self._noted: dict[str, str] = {}
        self._hidden: set[str] = set()
        self._owner: dict[str, str] = {}
        self._sizes: set[tuple[int, int]] = set()
        self._problems: list[str] = []

    def read(self) -> tuple[tuple[StudioAnimal, ...], tuple[int, int] | None]:
        """Return the animals, and the size of the image that they are on."""
        self._hidden = {
            str(one.get("id"))
            for one in self._results
            if one.get("type") == "choices" and _HIDDEN in _list_texts(one, "choices")
        }
        for number, one in enumerate(self._results):
            kind = one.get("type")
            if kind == "keypointlabels":
                self._add_point(number, one)
            elif kind == "rectanglelabels":
                self._add_rectangle(one)
            elif kind not in ("relation", "choices"):
                self._ignored[show_text(kind)] += 1
        if len(self._sizes) > 1:
            self._problems.append("its results are of images of different sizes")
        self._join()
        self._names |= self._noted
        animals = list(self._list_animals())
        if self._problems:
            raise _TaskError(list(islice(self._problems, _MOST_PROBLEMS)))
        return tuple(animals), next(iter(self._sizes), None)

    def _add_point(self, number: int, one: Mapping[str, Any]) -> None:
        names = _list_texts(one, "keypointlabels")
        shown = show_text(names[0]) if names else f"result {number}"
        key = str(one.get("id", f"result {number}"))
        if len(names) != 1:
            self._problems.append(f"{shown}: expected one label, found {len(names)}")
        elif problem := find_text_problem(names[0]) or _find_region_problem(one):
            self._problems.append(f"{shown}: {problem}")
        elif key in self._points:
            self._problems.append(f"{shown}: result {show_text(key)} stands twice")
        else:
            size = int(one["original_width"]), int(one["original_height"])
            self._sizes.add(size)
            self._owner[key] = str(one.get("parentID") or "") or self._find_meta(one)
            x, y = (one["value"][axis] * side / 100 for axis, side in zip("xy", size, strict=True))
            self._points[key] = StudioPoint(
                names[0], x + PIXEL_OFFSET, y + PIXEL_OFFSET, key in self._hidden
            )

    def _find_meta(self, one: Mapping[str, Any]) -> str:
        """Return the owner that a note on a keypoint names; empty where there is none."""
        meta = one.get("meta")
        texts = meta.get("text") if isinstance(meta, dict) else None
        name = texts[0] if isinstance(texts, list) and len(texts) == 1 else texts
        if not isinstance(name, str) or not name.strip():
            return ""
        if problem := find_text_problem(name):
            self._problems.append(f"individual {show_text(repr(name))}: its name {problem}")
        self._noted[f"note {name}"] = name
        return f"note {name}"

    def _add_rectangle(self, one: Mapping[str, Any]) -> None:
        names = _list_texts(one, "rectanglelabels")
        if problem := find_text_problem(names[0]) if names else None:
            self._problems.append(f"individual {show_text(repr(names[0]))}: its name {problem}")
        self._names[str(one.get("id"))] = names[0] if names else ""

    def _join(self) -> None:
        """Give related keypoints one owner: the rectangle, or the first keypoint of them."""
        links: dict[str, set[str]] = {}
        for one in self._results:
            if one.get("type") == "relation":
                first, second = str(one.get("from_id")), str(one.get("to_id"))
                links.setdefault(first, set()).add(second)
                links.setdefault(second, set()).add(first)
        seen: set[str] = set()
        for start in [*self._names, *self._points]:
            group, waiting = [], [start] if start not in seen else []
            while waiting:
                key = waiting.pop()
                if key in seen:
                    continue
                seen.add(key)
                group.append(key)
                waiting += sorted(links.get(key, ()))
            rectangles = [key for key in group if key in self._names]
            if len(rectangles) > 1:
                shown = " and ".join(show_text(self._names[key] or key) for key in rectangles[:3])
                self._problems.append(f"{shown}: keypoints are related to several individuals")
            points = [key for key in group if key in self._points]
            owner = rectangles[0] if rectangles else start
            if rectangles or len(points) > 1:
                self._owner |= dict.fromkeys(points, owner)

    def _list_animals(self) -> Iterator[StudioAnimal]:
        groups: dict[str, list[StudioPoint]] = {}
        for key, point in self._points.items():
            groups.setdefault(self._owner[key], []).append(point)
        named = Counter(self._names[owner] for owner in groups if self._names.get(owner))
        self._problems += [
            f"{show_text(name)}: {count} individuals of this name, expected one"
            for name, count in named.items()
            if count > 1
        ]
        for owner, points in groups.items():
            name = self._names.get(owner, "")
            for bodypart, count in Counter(point.bodypart for point in points).items():
                if count > 1:
                    who = f"{name} {bodypart}".strip()
                    self._problems.append(
                        f"{show_text(who)}: {count} keypoints, expected one; give each animal a "
                        "rectangle, and relate its keypoints to it"
                    )
            yield StudioAnimal(name, tuple(points))


def _list_texts(result: Mapping[str, Any], key: str) -> list[str]:
    value = result.get("value")
    texts = value.get(key) if isinstance(value, dict) else None
    return [text for text in texts if isinstance(text, str)] if isinstance(texts, list) else []


def _find_region_problem(one: Mapping[str, Any]) -> str:
    """Explain why a keypoint has no position in px; empty if it has."""
    for key in ("original_width", "original_height"):
        side = one.get(key)
        if not _is_number(side) or not 1 <= side <= _MOST_SIDE or side != int(side):
            return f"`{key}` is {show_text(side)}, expected the width and height of the image in px"
    rotation = one.get("image_rotation") or 0
    if not _is_number(rotation) or rotation % 360:
        return (
            f"the image was rotated by {show_text(rotation)} degrees in Label Studio: rotate it "
            "back, since positions count from the corner of the upright image"
        )
    value = one["value"]
    for axis in ("x", "y"):
        found = value.get(axis)
        if not _is_number(found) or abs(found) > _MOST_PERCENT:
            return f"{axis} is {show_text(found)}, expected percent of the image"
    return ""


def _is_number(value: Any) -> TypeGuard[float]:  # noqa: ANN401
    # NaN and infinity compare false.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
