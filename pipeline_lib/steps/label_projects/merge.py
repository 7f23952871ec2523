"""Run the verb `merge-labels`: merge labels corrected in another tool into the corrections.

Each returned frame becomes a `pipeline_lib.io.corrections.labels.FrameCorrection` with the author
and time of the file. The frame thus keeps its video, the newest correction counts whatever tool it
was made in, and no image has to be copied.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.formats.label_projects import FORMATS as PROJECT_FORMATS
from pipeline_lib.core.formats.labels import AUTO, find_format
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL, UNIQUE_INDIVIDUAL
from pipeline_lib.io.corrections.labels import (
    CorrectedKeypoint,
    FrameCorrection,
    FrameKey,
    Visibility,
    read_label_corrections,
    settle_corrections,
    write_frame_corrections,
)
from pipeline_lib.io.label_projects.manifest import (
    MANIFEST,
    Manifest,
    RecordedFrame,
    read_manifest,
)
from pipeline_lib.io.labels.detect import detect_format
from pipeline_lib.io.labels.points import is_outside
from pipeline_lib.io.labels.returned import ReturnedFile, ReturnedFrame, read_returned
from pipeline_lib.steps.import_labels.correction_inputs import choose_iteration
from pipeline_lib.steps.label_projects.cohort import Cohort, Point
from pipeline_lib.steps.label_projects.frame_finder import (
    FrameFinder,
    GoneError,
    UnknownFrameError,
    find_mixed_videos,
)

# Smaller differences, in px, come from rounding in files: CVAT keeps two decimals.
_TOLERANCE = 0.011
_MOST_SHOWN = 3
# By format, the file that a project folder holds beside its record. Other formats read the folder.
_FILES = {"sleap": "*.slp", "label-studio": "*.json"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MergeOptions:
    """Hold the options of a merge.

    Attributes
    ----------
    format
        As in `pipeline_lib.core.formats.labels.FORMATS`, or ``auto``.
    project
        Folder of the project that the file was made from; None: the file is in it.
    author
        Who corrected; empty: as the file says, else the scorer of the project, else the format.
    time
        When; None: as the file says, else when it was saved.
    iteration
        Labelling iteration; None: the next one, once the network is trained.
    predicted
        Whether to take predictions that nobody corrected, if the format distinguishes them from
        labels.
    untouched
        Whether to take frames that are equal to their predictions, if it does not.
    """

    format: str = AUTO
    project: Path | None = None
    author: str = ""
    time: datetime | None = None
    iteration: int | None = None
    predicted: bool = False
    untouched: bool = False


@dataclass
class MergeSummary:
    """Count the frames of a file by outcome.

    Attributes
    ----------
    corrected
        Frames that were written.
    unchanged
        Frames that are equal to the labels of the project.
    kept
        Frames that are equal to what was handed over, while the project has other labels by now;
        these labels stay.
    untouched
        Frames that are equal to their predictions.
    empty
        Frames without a keypoint, in a format that cannot say whether this is intended.
    older
        Frames that the same author has corrected at a later time.
    gone
        Reasons, one line for each frame that was left out because its video or image is gone.
    """

    corrected: int = 0
    unchanged: int = 0
    kept: int = 0
    untouched: int = 0
    empty: int = 0
    older: int = 0
    gone: tuple[str, ...] = ()


def run_merge_labels(
    config: Config, results: Results, path: Path, options: MergeOptions
) -> MergeSummary:
    """Merge the labels of a file into the corrections of the project.

    A frame that was changed in the file replaces the prediction or label that it was made from, and
    any label of the frame in the project. The record of the project holds the frames as they were
    handed over: a frame that is still equal to its record changes nothing, even if the project has
    other labels by now. Bodyparts that the file lacks keep their labels. What the format cannot
    hold is restored: animals get their names by position, and hidden keypoints stay hidden. Frames
    that the file lacks stay as they are.

    Parameters
    ----------
    config
        The run; ``corrections.path`` receives the corrections.
    results
        Has plan, labels and chosen frames.
    path
        File or project of another tool.
    options
        How to merge.

    Raises
    ------
    LabelError
        With everything that cannot be mapped; then nothing is written.
    """
    if options.format != AUTO:
        find_format(options.format)
    path = _find_file(path)
    kind = detect_format(path) if options.format == AUTO else options.format
    folder, manifest = _find_manifest(path, options.project)
    file = read_returned(path, kind, options.project, predicted=options.predicted)
    merger = _Merger(Cohort(config, results), manifest, options, kind)
    corrections = merger.merge(file, FrameFinder(merger.cohort, manifest, folder), path)
    write_frame_corrections(Path(config.corrections.path), corrections)
    _tell(path, merger.summary)
    if manifest is None and merger.replaced:
        _log.warning(
            "%d corrected frames have other labels in the project, and no %s says what the file "
            "was made from: `--project` names the folder that `cohortpose write-label-project` "
            "wrote",
            *(merger.replaced, MANIFEST),
        )
    return merger.summary


def _find_file(path: Path) -> Path:
    """Return the file to read: in a project folder of SLEAP or Label Studio, its only file.

    Raises
    ------
    LabelError
        If a folder holds several, or none.
    """
    manifest = read_manifest(path / MANIFEST) if path.is_dir() else None
    pattern = _FILES.get(manifest.format) if manifest is not None else None
    if pattern is None:
        return path
    files = sorted(file for file in path.glob(pattern) if file.name != MANIFEST)
    if len(files) == 1:
        return files[0]
    names = ", ".join(file.name for file in files[:_MOST_SHOWN]) or "none"
    problem = f"expected one file {pattern} in this folder, found {names}: give the corrected file"
    raise LabelError(str(path), [problem])


def _find_manifest(path: Path, project: Path | None) -> tuple[Path, Manifest | None]:
    """Return the folder of the labelling project, and its record if there is one."""
    if project is not None:
        manifest = read_manifest(project / MANIFEST)
        if manifest is None:
            problem = f"has no {MANIFEST}: expected a folder of `cohortpose write-label-project`"
            raise LabelError(str(project), [problem])
        return project, manifest
    absolute = path.absolute()
    # A table of DeepLabCut lies two folders below its project.
    for folder in (absolute, *absolute.parents[:3]):
        manifest = read_manifest(folder / MANIFEST) if folder.is_dir() else None
        if manifest is not None:
            return folder, manifest
    return absolute.parent, None


class _Merger:
    """Turn the frames of a file into corrections, and collect what is wrong."""

    def __init__(
        self, cohort: Cohort, manifest: Manifest | None, options: MergeOptions, kind: str
    ) -> None:
        self.cohort = cohort
        self.summary = MergeSummary()
        self._options, self._kind, self._manifest = options, kind, manifest
        holds = PROJECT_FORMATS.get(kind)
        self._holds_hidden = holds is not None and holds.holds_hidden
        self._holds_empty = holds is not None and holds.holds_empty
        self._holds_predictions = holds is not None and holds.holds_predictions
        given = read_label_corrections(Path(cohort.config.corrections.path))
        self.replaced = 0  # frames that have a label, of those that are corrected
        self._own = {(one.author, one.key): one for one in given}
        self._current = {cohort.find_frame(one.key): one.points for one in cohort.labelled}
        self._known = {key: [points] for key, points in self._current.items()}
        for one in given:
            self._known.setdefault(cohort.find_frame(one.key), []).append(_list_points(one))
        for key, one in settle_corrections(given)[0].items():
            self._current[cohort.find_frame(key)] = _list_points(one)

    def merge(self, file: ReturnedFile, finder: FrameFinder, path: Path) -> list[FrameCorrection]:
        """Return the corrections to write.

        Raises
        ------
        LabelError
            With everything that cannot be mapped.
        """
        problems, gone = list(self._check_bodyparts(file)), []
        found: list[tuple[ReturnedFrame, FrameKey, RecordedFrame | None]] = []
        for frame in file.frames:
            try:
                found.append((frame, *finder.find(frame)))
            except UnknownFrameError as error:
                problems.append(f"{frame.shown}: {error}")
            except GoneError as error:
                gone.append(f"{frame.shown}: {error}")
        names: dict[FrameKey, list[str]] = {}
        for frame, key, _ in found:
            names.setdefault(self.cohort.find_frame(key), []).append(frame.shown)
        problems += [
            f"{' and '.join(shown[:_MOST_SHOWN])} are one frame: keep the labels of one"
            for shown in names.values()
            if len(shown) > 1
        ]
        problems += find_mixed_videos(
            (key.video, frame.recorded) for frame, key, _ in found if frame.frame >= 0
        )
        problems += self._list_other_pictures(found)
        corrections = []
        covered = self._list_covered(file)
        for frame, key, record in found if not problems else ():
            try:
                correction = self._correct(frame, key, record, covered)
            except LabelError as error:
                problems += [f"{frame.shown}: {problem}" for problem in error.problems]
                continue
            if correction is not None:
                corrections.append(correction)
        if problems:
            raise LabelError(str(path), problems)
        self.summary.gone = tuple(gone)
        self.summary.corrected = len(corrections)
        return corrections

    def _list_other_pictures(
        self, found: Sequence[tuple[ReturnedFrame, FrameKey, RecordedFrame | None]]
    ) -> Iterator[str]:
        for frame, key, _ in found:
            if reason := self._find_other_picture(frame, key):
                yield (
                    f"{frame.shown}: is no frame {key.frame} of video {key.video} "
                    f"({self.cohort.videos[key.video].path}): {reason}; keep the labels of the "
                    "videos of this project"
                )

    def _find_other_picture(self, frame: ReturnedFrame, key: FrameKey) -> str:
        """Explain why the labelled picture is not the frame of the cohort's video with this number.

        Empty if it is, or if neither the image nor the recorded video can be read on this machine.
        """
        if key.image or key.video not in self.cohort.videos:
            return ""
        comparer = self.cohort.comparer
        if frame.image is not None:
            return comparer.find_difference(str(frame.image), key.video, key.frame)
        recorded = frame.recorded
        if frame.frame < 0 or "\0" in recorded or not os.path.isfile(recorded):  # noqa: PTH113
            return ""
        return comparer.find_other_video(Path(recorded), key.video, key.frame)

    def _check_bodyparts(self, file: ReturnedFile) -> Iterator[str]:
        known = self.cohort.skeleton.bodyparts
        labelled = {point.bodypart for frame in file.frames for point in frame.points}
        for name in file.bodyparts:
            if name in labelled and name not in known:
                yield (
                    f"bodypart {name!r} is labelled, but the project has {', '.join(known)}: "
                    "rename it, or add it to the project first"
                )

    def _list_covered(self, file: ReturnedFile) -> frozenset[str]:
        """Return the bodyparts that could be labelled in the file."""
        # Label Studio's files do not list the bodyparts that could be labelled; the record does.
        given = self._manifest.bodyparts if self._manifest and self._kind == "label-studio" else []
        return frozenset([*file.bodyparts, *given])

    def _correct(
        self,
        frame: ReturnedFrame,
        key: FrameKey,
        record: RecordedFrame | None,
        covered: frozenset[str],
    ) -> FrameCorrection | None:
        """Return the correction of a frame; None where there is none to write."""
        cohort_key = self.cohort.find_frame(key)
        current = self._current.get(cohort_key)
        before = current if record is None else _list_handed_over(record)
        self._check_inside(frame, key)
        named = _restore(self._name(frame, before or current or ()), before or ())
        points = self._complete(named, current or (), covered)
        outcome = self._judge(named, points, record, cohort_key, covered)
        if outcome:
            setattr(self.summary, outcome, getattr(self.summary, outcome) + 1)
            return None
        correction = self._date(frame, key, points)
        if correction is not None and current is not None:
            self.replaced += 1
        return correction

    def _judge(
        self,
        named: Sequence[Point],
        points: Sequence[Point],
        record: RecordedFrame | None,
        cohort_key: FrameKey,
        covered: frozenset[str],
    ) -> str:
        """Return the outcome of a frame that is not written, a name of the summary; else ""."""
        current = self._current.get(cohort_key)
        # Without a record, the file may have been made from any label that the frame ever had.
        former = self._known.get(cohort_key, []) if record is None else [_list_handed_over(record)]
        if current is not None and _are_equal(points, current):
            return "unchanged"
        same = any(self._says_same(named, one, covered) for one in former)
        if not named and not self._holds_empty:
            return "kept" if same and current else "empty"
        if not same:
            return ""
        predicted = record is not None and record.predicted is not None
        if current is None:
            taken = self._holds_predictions or self._options.untouched
            return "" if taken else "untouched"
        # An untouched frame undoes nothing that others have labelled since. Accepting a prediction
        # is a decision, in formats that tell which frames somebody labelled.
        accepted = predicted and self._holds_empty and not self._options.predicted
        return "" if accepted else "kept"

    def _says_same(
        self, named: Sequence[Point], former: Sequence[Point], covered: frozenset[str]
    ) -> bool:
        """Tell whether a frame has its former labels, as far as its format can hold them."""
        former = [point for point in former if point[1] in covered]
        if not self._holds_hidden:
            named, former = ([(*one[:4], False) for one in some] for some in (named, former))
        return _are_equal(named, former)

    def _date(
        self, frame: ReturnedFrame, key: FrameKey, points: Sequence[Point]
    ) -> FrameCorrection | None:
        options = self._options
        scorer = self._manifest.scorer if self._manifest else self._kind
        iteration = options.iteration
        if iteration is None:
            iteration = choose_iteration(self.cohort.config, self.cohort.results)
        correction = FrameCorrection(
            *key,
            author=options.author or frame.author or scorer,
            # A time in the future would win over all later corrections.
            time=options.time or min(frame.time, datetime.now(UTC)),
            iteration=iteration,
            keypoints=tuple(
                CorrectedKeypoint(
                    individual, name, x, y, Visibility.HIDDEN if hidden else Visibility.VISIBLE
                )
                for individual, name, x, y, hidden in points
            ),
        )
        earlier = self._own.get((correction.author, key))
        if earlier is not None and earlier.time >= correction.time:
            self.summary.older += 1
            return None
        return correction

    def _check_inside(self, frame: ReturnedFrame, key: FrameKey) -> None:
        """Refuse positions outside of a video's frames; those on images were checked."""
        if frame.image is not None:
            return
        video = self.cohort.videos.get(key.video)
        size = (video.width, video.height) if video and not key.image else frame.size
        if not size or not all(size):
            return
        if frame.size is not None and frame.size != size:
            shown = " x ".join(map(str, frame.size))
            problem = f"its video has {shown} px, that of the cohort {size[0]} x {size[1]} px"
            raise LabelError(frame.shown, [f"{problem}: it is another video, or was scaled"])
        problems = [
            f"{point.individual} {point.bodypart}: x {point.x:g}, y {point.y:g} is outside its "
            f"frame of {size[0]} x {size[1]} px"
            for point in frame.points
            if is_outside(np.array([point.x, point.y]), size)
        ]
        if problems:
            raise LabelError(frame.shown, problems)

    def _name(self, frame: ReturnedFrame, reference: Sequence[Point]) -> list[Point]:
        """Return the points with the names of the project.

        Names of the project are kept. Each other animal gets the name of an animal of the
        reference, such that the sum of distances is least, or else the next free name.
        """
        unique = self.cohort.skeleton.unique_bodyparts
        names = self.cohort.individuals
        groups: dict[str, dict[str, Point]] = {}
        named = {}
        for point in frame.points:
            own = UNIQUE_INDIVIDUAL if point.bodypart in unique else point.individual
            named[own] = point.named
            found = (own, point.bodypart, point.x, point.y, point.hidden)
            if point.bodypart in groups.setdefault(own, {}):
                raise LabelError(frame.shown, [f"{own} {point.bodypart}: labelled twice"])
            groups[own][point.bodypart] = found
        animals = {name: group for name, group in groups.items() if name != UNIQUE_INDIVIDUAL}
        if len(animals) > len(names):
            problem = f"{len(animals)} animals are labelled, but `individuals.max` is {len(names)}"
            raise LabelError(frame.shown, [problem])
        chosen = {name: name for name in animals if name in names and named[name]}
        if names == (SINGLE_INDIVIDUAL,):
            chosen = dict.fromkeys(animals, SINGLE_INDIVIDUAL)
        others = [name for name in animals if name not in chosen]
        taken = set(chosen.values())
        chosen |= _match(
            [animals[name] for name in others],
            others,
            [name for name in names if name not in taken],
            reference,
        )
        chosen[UNIQUE_INDIVIDUAL] = UNIQUE_INDIVIDUAL
        return [
            (chosen[own], *point[1:]) for own, group in groups.items() for point in group.values()
        ]

    def _complete(
        self, points: Sequence[Point], current: Sequence[Point], covered: frozenset[str]
    ) -> tuple[Point, ...]:
        """Add what the file cannot hold: bodyparts that it lacks, and hidden keypoints."""
        hidden = {point[:2]: point[4] for point in current}
        if not self._holds_hidden:
            points = [(*point[:4], hidden.get(point[:2], False)) for point in points]
        kept = [point for point in current if point[1] not in covered]
        names = [*self.cohort.individuals, UNIQUE_INDIVIDUAL]
        bodyparts = self.cohort.skeleton.bodyparts
        order = {name: number for number, name in enumerate(bodyparts)}
        known = [point for point in [*points, *kept] if point[1] in order]
        return tuple(sorted(known, key=lambda one: (names.index(one[0]), order[one[1]])))


def _restore(points: Sequence[Point], before: Sequence[Point]) -> list[Point]:
    """Return the points, with their exact former positions where nobody moved them."""
    known = {point[:2]: point[2:4] for point in before}
    return [
        (*point[:2], *known[point[:2]], point[4])
        if point[:2] in known and _are_near(point[2:4], known[point[:2]])
        else point
        for point in points
    ]


def _are_near(first: Sequence[float], second: Sequence[float]) -> bool:
    return all(abs(a - b) <= _TOLERANCE for a, b in zip(first, second, strict=True))


def _match(
    animals: Sequence[Mapping[str, Point]],
    keys: Sequence[str],
    free: Sequence[str],
    reference: Sequence[Point],
) -> dict[str, str]:
    """Return a free name for each animal, such that the sum of distances to the reference is least.

    Parameters
    ----------
    animals
        Points of each animal by bodypart.
    keys
        What each is called in the result.
    free
        Names that can be given, at least as many as animals.
    reference
        Points of named animals.
    """
    if not animals:
        return {}
    known = {(individual, bodypart): (x, y) for individual, bodypart, x, y, _ in reference}
    far = 1e9  # no keypoint in common: any animal that has one comes first
    costs = np.full((len(animals), len(free)), far)
    for row, animal in enumerate(animals):
        for column, name in enumerate(free):
            pairs = [
                (point[2:4], known[name, bodypart])
                for bodypart, point in animal.items()
                if (name, bodypart) in known
            ]
            if pairs:
                costs[row, column] = float(np.mean([np.hypot(*np.subtract(*two)) for two in pairs]))
            else:
                costs[row, column] += column
    rows, columns = linear_sum_assignment(costs)
    return {keys[row]: free[column] for row, column in zip(rows, columns, strict=True)}


def _list_points(correction: FrameCorrection) -> tuple[Point, ...]:
    return tuple(
        (one.individual, one.bodypart, one.x, one.y, one.visibility == Visibility.HIDDEN)
        for one in correction.keypoints
        if one.visibility != Visibility.ABSENT
    )


def _list_handed_over(record: RecordedFrame) -> tuple[Point, ...]:
    """Return the labels that a frame was handed over with, or its prediction."""
    animals = record.predicted if record.labelled is None else record.labelled
    return tuple(
        (animal.individual, bodypart, x, y, bodypart in animal.hidden)
        for animal in animals or ()
        for bodypart, (x, y) in animal.points.items()
    )


def _are_equal(first: Sequence[Point], second: Sequence[Point]) -> bool:
    """Tell whether two annotations of a frame are equal."""
    a, b = ({point[:2]: point[2:] for point in points} for points in (first, second))
    return a.keys() == b.keys() and all(
        _are_near(a[key][:2], b[key][:2]) and a[key][2] == b[key][2] for key in a
    )


def _tell(path: Path, summary: MergeSummary) -> None:
    _log.info("%s: %d frames corrected, %d as before", path, summary.corrected, summary.unchanged)
    if summary.kept:
        _log.info(
            "%d frames are as they were handed over, but have been labelled or corrected since: "
            "these labels stay",
            summary.kept,
        )
    if summary.untouched:
        _log.info(
            "%d frames are as they were predicted and are not taken; `--untouched` takes them",
            summary.untouched,
        )
    if summary.empty:
        _log.info(
            "%d frames have no keypoint, which this format does not tell from frames that nobody "
            "labelled: they stay as they are",
            summary.empty,
        )
    if summary.older:
        _log.warning(
            "%d frames are left as they are: their author has corrected them since; `--time` "
            "gives the file a later time",
            summary.older,
        )
    for problem in summary.gone[:_MOST_SHOWN]:
        _log.warning("left out: %s", problem)
    if len(summary.gone) > _MOST_SHOWN:
        _log.warning("left out: %d more frames", len(summary.gone) - _MOST_SHOWN)
