"""Read a COCO keypoints file (JSON): categories, images and animals. No image is opened.

The format: https://cocodataset.org/#format-data. What is read of it: of ``images`` ``id``,
``file_name``, ``width`` and ``height``; of ``categories`` ``id``, ``name``, ``keypoints`` and
``skeleton``; of ``annotations`` ``id``, ``image_id``, ``category_id``, ``iscrowd``,
``keypoints`` and, of ``attributes``, ``individual``.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL
from pipeline_lib.core.untrusted.names import find_text_problem
from pipeline_lib.io.foreign.json_files import read_json, show_text

# Added to the file's coordinates so that pixel centres are at integers, px. Labelling tools place
# points on a canvas on which an image of width W covers 0 .. W, so that the centre of the top-left
# pixel is (0.5, 0.5): CVAT's canvas is an SVG in image coordinates, which its exporter Datumaro
# writes unchanged. COCO's own boxes and masks are "measured from the top left image corner"
# (https://cocodataset.org/#format-data). The format does not say it of keypoints, and the integer
# keypoints of the COCO images count as pixel indices to Detectron2, whose
# detectron2/data/datasets/coco.py adds 0.5 to them: those are read 0.5 px too far to the top left.
PIXEL_OFFSET = -0.5

_MOST_PROBLEMS = 1000
_MOST_NAMED = 6  # in a message
_LISTS = ("images", "annotations", "categories")
_NOT_LABELLED, _HIDDEN, _VISIBLE = 0, 1, 2

Id = int | str

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CocoImage:
    """One entry of ``images``: its name as it stands there, and width and height in px or None."""

    name: str
    size: tuple[int, int] | None


@dataclass(frozen=True)
class CocoAnimal:
    """One annotation with keypoints.

    Attributes
    ----------
    image
        Position of its image in `CocoFile.images`.
    position
        Shape (bodypart, 2), float64, x and y in px, pixel centres at integers; bodyparts of
        `CocoFile.skeleton`. NaN: not labelled.
    hidden
        Shape (bodypart,), bool. True: labelled, but out of sight (visibility 1).
    name
        Name of the individual (``attributes.individual``);
        `pipeline_lib.core.tables.UNIQUE_INDIVIDUAL` for annotations of the category of this name;
        empty where there is none.
    """

    image: int
    position: NDArray[np.float64]
    hidden: NDArray[np.bool_]
    name: str = ""


@dataclass(frozen=True)
class CocoFile:
    """Hold the content of a COCO keypoints file.

    Attributes
    ----------
    path
        The file.
    skeleton
        Keypoints and edges of the categories that its annotations are of; those of the category
        ``single`` are unique bodyparts, which come last.
    images
        In the file's order, labelled or not.
    animals
        In the file's order; crowds and annotations without a labelled keypoint are left out.
    """

    path: Path
    skeleton: Skeleton
    images: tuple[CocoImage, ...]
    animals: tuple[CocoAnimal, ...]


@dataclass(frozen=True)
class _Category:
    name: str
    keypoints: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Labelled:
    """Hold an annotation: category, image, x, y and visibility of each keypoint, and name."""

    category: Id
    image: int
    keypoints: NDArray[np.float64]
    name: str


@dataclass
class _Annotations:
    """Sort annotations: animals that are labelled, what is left out, what is wrong.

    Attributes
    ----------
    images
        Position of each image in the file, by its id.
    categories
        By their ids.
    animals
        Those with a labelled keypoint.
    crowds, without
        Numbers of annotations that are left out: crowds, and those without a labelled keypoint.
    unknown
        Annotations by their category, where that is none of the file's.
    """

    images: Mapping[Id, int]
    categories: Mapping[Id, _Category]
    animals: list[_Labelled] = field(default_factory=list)
    crowds: int = 0
    without: int = 0
    unknown: dict[Id, list[str]] = field(default_factory=dict)

    def read(self, values: Sequence[Any]) -> Iterator[str]:
        """Sort annotations; yield what is wrong with them."""
        seen: set[Id] = set()
        for number, value in enumerate(values):
            own = _read_id(value, "id")
            who = f"annotation {show_text(own)}"
            if own is None:
                who = f"entry {number} of `annotations`"
            elif own in seen:
                yield f"{who} stands twice"
                continue
            else:
                seen.add(own)
            yield from (f"{who}{problem}" for problem in self._add(who, value))

    def _add(self, who: str, value: Any) -> Iterator[str]:  # noqa: ANN401
        image, key = _read_id(value, "image_id"), _read_id(value, "category_id")
        if not isinstance(value, dict):
            yield " is no object"
        elif image is None or image not in self.images:
            shown = show_text(value.get("image_id", "none"))
            yield f": its image {shown} is not among `images`"
        elif (crowd := value.get("iscrowd")) not in (None, 0, 1):
            yield f": `iscrowd` is {show_text(crowd)}, expected 0 or 1"
        elif key is None or key not in self.categories:
            unknown = show_text(value.get("category_id", "none")) if key is None else key
            self.unknown.setdefault(unknown, []).append(who)
        elif crowd:
            self.crowds += 1
        elif value.get("keypoints") in (None, []):
            self.without += 1
        else:
            yield from self._add_animal(image, key, value)

    def _add_animal(self, image: Id, key: Id, value: Mapping[str, Any]) -> Iterator[str]:
        category = self.categories[key]
        keypoints, problems = _read_keypoints(value["keypoints"], category)
        name, problem = _read_name(value, category)
        if problems or problem:
            yield from problems + ([problem] if problem else [])
        elif np.isnan(keypoints).all():
            self.without += 1
        else:
            self.animals.append(_Labelled(key, self.images[image], keypoints, name))


def open_coco_file(path: Path) -> CocoFile:
    """Read a COCO keypoints file.

    Parameters
    ----------
    path
        The JSON file.

    Raises
    ------
    LabelError
        If it is missing, larger than 256 MiB, not JSON, nested too deeply or has other entries
        than COCO's; if an id stands twice, an annotation is of an unknown image or category or
        its keypoints are not x, y and visibility (0, 1, 2) of each; if the annotated categories,
        but for ``single``, do not have the same keypoints; if nothing is labelled.
    """
    values = _read_object(path)
    categories, problems = _read_categories(values["categories"])
    images, found = _read_images(values["images"])
    problems += found
    places = {key: number for number, key in enumerate(images)}
    annotations = _Annotations(places, categories)
    problems += islice(annotations.read(values["annotations"]), _MOST_PROBLEMS)
    problems += _describe_unknown(annotations.unknown, categories)
    annotated = {animal.category for animal in annotations.animals}
    used = {key: one for key, one in categories.items() if key in annotated}
    problems += _check_keypoints(list(used.values()))
    if not annotations.animals and not problems:
        problems.append("no annotation has a labelled keypoint (visibility 1 or 2)")
    if problems:
        raise LabelError(str(path), problems)
    _log_left_out(path, annotations)
    skeleton = _join_skeletons(path, list(used.values()))
    return CocoFile(
        path=path,
        skeleton=skeleton,
        images=tuple(images.values()),
        animals=tuple(
            _order_keypoints(animal, used[animal.category], skeleton)
            for animal in annotations.animals
        ),
    )


def _read_object(path: Path) -> dict[str, list[Any]]:
    values = read_json(path)
    if isinstance(values, list):
        problem = (
            "holds a list, as files of results do, expected an object with `images`, "
            "`annotations` and `categories`"
        )
        raise LabelError(str(path), [problem])
    if not isinstance(values, dict):
        values = {}
    problems = [
        f"no list `{name}`: is it a file of COCO keypoints?"
        for name in _LISTS
        if not isinstance(values.get(name), list)
    ]
    if problems:
        raise LabelError(str(path), problems)
    return values


def _read_categories(values: Sequence[Any]) -> tuple[dict[Id, _Category], list[str]]:
    categories: dict[Id, _Category] = {}
    problems = []
    for number, value in enumerate(islice(values, _MOST_PROBLEMS)):
        key = _read_id(value, "id")
        if key is None:
            problems.append(f"entry {number} of `categories` has no `id`")
        elif key in categories:
            problems.append(f"category {show_text(key)} stands twice")
        else:
            name = show_text(value.get("name") or key)
            names = value.get("keypoints") or []
            problems += _check_names(name, names)
            if _are_texts(names):
                edges = _read_edges(name, names, value.get("skeleton"))
                categories[key] = _Category(name, tuple(names), edges)
            else:
                categories[key] = _Category(name, (), ())
    return categories, problems


def _check_names(category: str, names: Any) -> Iterator[str]:  # noqa: ANN401
    if not _are_texts(names):
        yield f"category {category}: `keypoints` is no list of names"
        return
    for name in dict.fromkeys(names):
        if problem := find_text_problem(name):
            yield f"category {category}: keypoint {show_text(repr(name))}: its name {problem}"
        elif names.count(name) > 1:
            yield f"category {category}: keypoint {show_text(name)} stands twice"


def _are_texts(names: Any) -> bool:  # noqa: ANN401
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _read_edges(category: str, names: Sequence[str], pairs: Any) -> tuple[tuple[str, str], ...]:  # noqa: ANN401
    """Return the edges; none, with a warning, where one of them names no keypoint.

    COCO counts keypoints from 1. Edges that count from 0 would join others.
    """
    edges: list[tuple[str, str]] = []
    for pair in pairs if isinstance(pairs, list) else []:
        valid = isinstance(pair, list) and len(pair) == 2
        ends = [_read_number(end) for end in pair] if valid else []
        if not ends or not all(end in range(1, len(names) + 1) for end in ends):
            _log.warning(
                "category %s: `skeleton` has %s, expected pairs of 1 to %d: no edge of it is taken",
                category,
                show_text(pair),
                len(names),
            )
            return ()
        first, second = (names[int(end or 0) - 1] for end in ends)
        if first != second:
            edges.append((first, second))
    return tuple(edges)


def _read_images(values: Sequence[Any]) -> tuple[dict[Id, CocoImage], list[str]]:
    images: dict[Id, CocoImage] = {}
    problems = []
    for number, value in enumerate(values):
        key = _read_id(value, "id")
        name = value.get("file_name") if isinstance(value, dict) else None
        if key is None or not isinstance(name, str) or not name.strip():
            problems.append(f"entry {number} of `images` has no `id` or no `file_name`")
        elif key in images:
            problems.append(f"image {show_text(key)} stands twice")
        else:
            width, height = (_read_number(value.get(side)) for side in ("width", "height"))
            images[key] = CocoImage(name, (width, height) if width and height else None)
        if len(problems) >= _MOST_PROBLEMS:
            break
    return images, problems


def _order_keypoints(animal: _Labelled, category: _Category, skeleton: Skeleton) -> CocoAnimal:
    """Return an animal with the bodyparts of the file; those of other categories are absent."""
    keypoints = np.full((len(skeleton.bodyparts), 3), np.nan)
    keypoints[[skeleton.bodyparts.index(name) for name in category.keypoints]] = animal.keypoints
    return CocoAnimal(
        image=animal.image,
        position=keypoints[:, :2] + PIXEL_OFFSET,
        hidden=keypoints[:, 2] == _HIDDEN,
        name=animal.name,
    )


def _read_name(value: Mapping[str, Any], category: _Category) -> tuple[str, str]:
    """Return the name of an annotation's individual, empty if it has none, and what is wrong."""
    if category.name == UNIQUE_INDIVIDUAL:
        return UNIQUE_INDIVIDUAL, ""
    attributes = value.get("attributes")
    name = attributes.get("individual") if isinstance(attributes, dict) else None
    if name in (None, ""):
        return "", ""
    problem = find_text_problem(name) if isinstance(name, str) else "is no text"
    if problem:
        return "", f": the name of its individual, {show_text(repr(name))}, {problem}"
    # It would be taken for the unique bodyparts.
    return (name if name != UNIQUE_INDIVIDUAL else ""), ""


def _read_keypoints(values: Any, category: _Category) -> tuple[NDArray[np.float64], list[str]]:  # noqa: ANN401
    """Return x, y and visibility of each keypoint, NaN if not labelled, and what is wrong."""
    count = len(category.keypoints)
    position = np.full((count, 3), np.nan)
    if not isinstance(values, list) or len(values) != 3 * count:
        numbers = len(values) if isinstance(values, list) else "no"
        problem = (
            f": {numbers} numbers in `keypoints`, expected {3 * count}: x, y and visibility of "
            f"each keypoint of category {category.name}"
        )
        return position, [problem]
    problems = []
    for number, name in enumerate(category.keypoints):
        x, y, visibility = values[3 * number : 3 * number + 3]
        if wrong := _find_point_problem(x, y, visibility):
            problems.append(f", {show_text(name)}: {wrong}")
        elif visibility != _NOT_LABELLED:
            position[number] = x, y, visibility
    return position, problems


def _find_point_problem(x: Any, y: Any, visibility: Any) -> str | None:  # noqa: ANN401
    known = isinstance(visibility, int | float) and not isinstance(visibility, bool)
    if not known or visibility not in (_NOT_LABELLED, _HIDDEN, _VISIBLE):
        return f"visibility {show_text(visibility)}, expected 0, 1 or 2"
    # Where nothing is labelled, tools write 0, null or NaN.
    if visibility == _NOT_LABELLED and not isinstance(x, str | list | dict):
        return None
    if not (_is_finite(x) and _is_finite(y)):
        return f"x {show_text(x)}, y {show_text(y)}, expected finite numbers"
    return None


def _is_finite(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _read_id(value: Any, name: str) -> Id | None:  # noqa: ANN401
    """Return an id; None where an entry has none that can be one."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else _read_number(found)


def _read_number(value: Any) -> int | None:  # noqa: ANN401
    """Return a whole number, also one that tables made a float of; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if _is_finite(value) and value == int(value) else None


def _describe_unknown(
    unknown: Mapping[Id, Sequence[str]], categories: Mapping[Id, _Category]
) -> Iterator[str]:
    known = _join([f"{show_text(key)} ({one.name})" for key, one in categories.items()])
    for key, who in unknown.items():
        yield (
            f"category {show_text(key)} of {_join(who)} is not among `categories`, which has "
            f"{known or 'none'}"
        )


def _check_keypoints(used: Sequence[_Category]) -> list[str]:
    unique = [one for one in used if one.name == UNIQUE_INDIVIDUAL]
    used = [one for one in used if one.name != UNIQUE_INDIVIDUAL]
    names = [name for one in used[:1] for name in one.keypoints]
    names += [name for one in unique[:1] for name in one.keypoints]
    if len(unique) > 1:
        return [f"several categories are called {UNIQUE_INDIVIDUAL}: keep one"]
    if len(set(names)) < len(names):
        shared = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        return [f"{_join(shared)}: keypoints of the animals and of category {UNIQUE_INDIVIDUAL}"]
    if len({frozenset(one.keypoints) for one in used}) < 2:
        return []
    shown = "; ".join(f"{one.name}: {_join(one.keypoints)}" for one in used[:_MOST_NAMED])
    problem = (
        f"annotations are of categories with different keypoints ({shown}): give all of them the "
        "same keypoints, or write the annotations of one category to a file of their own"
    )
    return [problem]


def _join_skeletons(path: Path, used: Sequence[_Category]) -> Skeleton:
    edges: dict[frozenset[str], tuple[str, str]] = {}
    animals = [one for one in used if one.name != UNIQUE_INDIVIDUAL]
    unique = [name for one in used if one.name == UNIQUE_INDIVIDUAL for name in one.keypoints]
    for pair in (pair for one in animals for pair in one.edges):
        edges.setdefault(frozenset(pair), pair)
    names = [name for one in animals[:1] for name in one.keypoints]
    try:
        return Skeleton(
            bodyparts=(*names, *unique),
            edges=tuple(edges.values()),
            unique_bodyparts=tuple(unique),
        )
    except ValidationError as error:
        problems = [one["msg"].removeprefix("Value error, ") for one in error.errors()]
        raise LabelError(str(path), [f"skeleton: {problem}" for problem in problems]) from None


def _log_left_out(path: Path, found: _Annotations) -> None:
    if found.crowds:
        shown = show_text(path)
        _log.warning("%s: %d crowds (`iscrowd: 1`) are left out", shown, found.crowds)
    if found.without:
        message = "%s: %d annotations without a labelled keypoint are left out"
        _log.info(message, show_text(path), found.without)


def _join(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(show_text(name) for name in names[:_MOST_NAMED]) + more
