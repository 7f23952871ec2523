"""Join labels, corrections and predictions of a frame, and save corrections."""

import hashlib
import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_lib.core.errors import CohortposeError, LabelError, StoreError
from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL
from pipeline_lib.io.corrections.files import format_time
from pipeline_lib.io.corrections.labels import (
    BodypartChange,
    CorrectedKeypoint,
    FrameCorrection,
    FrameKey,
    Visibility,
    apply_renames,
    list_label_tables,
    read_bodypart_changes,
    read_label_corrections,
    remove_frame_correction,
    settle_corrections,
    write_bodypart_change,
    write_frame_correction,
)
from pipeline_lib.io.image_header import read_header
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.label.frame_list import LabelImages, ListedFrame, list_frames
from pipeline_lib.label.project import Project
from pipeline_lib.steps.import_labels.corrected_images import FOLDER
from pipeline_lib.steps.import_labels.same_frame import FrameComparer

if TYPE_CHECKING:
    from pipeline_lib.io.labels.table import Labels

_TICK = timedelta(milliseconds=1)
Stamp = tuple[tuple[Path, tuple[int, int, int]], ...]
# Individual, bodypart, x, y, visibility; predictions have their confidence instead of it.
Point = tuple[str, str, float | None, float | None, str | float]


@dataclass(frozen=True)
class Version:
    """Identify a correction by author and time; both are empty if there is none."""

    author: str = ""
    time: str = ""


class OldNamesError(LabelError):
    """Report that keypoints have names of bodyparts that cannot be told from the present ones."""


class Annotations:
    """Hold the frames of a project with their labels, corrections and predictions.

    What stands on the disk counts: it is read again when a file has changed. All methods may be
    called from several threads.

    Parameters
    ----------
    project
        The run.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        # One at a time reads and writes the tables; what is known of frames can be read meanwhile.
        self._disk = threading.RLock()
        self._lock = threading.RLock()
        self._labels: Labels | None = project.read_labels()
        self._images = LabelImages(
            self._labels, project.results.label_images / FOLDER, FrameComparer(project.videos)
        )
        # Rows of the labels by image.
        self._rows = self._labels.table.groupby("image").indices if self._labels else {}
        self._stamp: Stamp | None = None
        self._chosen: dict[FrameKey, FrameCorrection] = {}
        self._others: dict[FrameKey, list[FrameCorrection]] = {}
        self.changes: tuple[BodypartChange, ...] = ()
        # With the bodyparts that were added and renamed.
        self.skeleton = project.name_skeleton(self._labels, ())
        self.problem = ""
        self.frames: list[ListedFrame] = []
        # Places of frames whose correction changed, in order of time: each page reads what is new.
        self.log: list[int] = []
        self._places: dict[FrameKey, int] = {}
        self._read()
        self.frames, self.problems = list_frames(project, self._images, self._chosen)
        self._places = {frame.key: place for place, frame in enumerate(self.frames)}

    @property
    def individuals(self) -> tuple[str, ...]:
        """Return the names of animals, including those of corrections."""
        named = self.project.name_individuals(self._labels)
        found = (point.individual for one in self._chosen.values() for point in one.keypoints)
        return tuple(dict.fromkeys(name for name in (*named, *found) if name != UNIQUE_INDIVIDUAL))

    def refresh(self) -> None:
        """Read corrections again if their files have changed, and log what is new."""
        with self._disk:
            before = self._chosen
            if not self._read():
                return
            keys = before.keys() | self._chosen.keys()
            changed = (
                key for key in keys if _version(before.get(key)) != _version(self._chosen.get(key))
            )
            with self._lock:
                self.log += sorted(map(self._place, changed))

    def _read(self) -> bool:
        """Read corrections if their files have changed; return whether they have."""
        folder = self.project.corrections
        try:
            stamp = _stamp_tables(folder)
            if stamp == self._stamp:
                # What was damaged meanwhile is as it was, or gone again.
                self.problem = ""
                return False
            changes, corrections = read_bodypart_changes(folder), read_label_corrections(folder)
            self.skeleton = self.project.name_skeleton(self._labels, changes)
        except LabelError as error:
            # Somebody may be editing the table by hand: keep what was read before.
            self.problem = str(error)
            return False
        chosen, replaced = settle_corrections(corrections, self._find_key)
        others: dict[FrameKey, list[FrameCorrection]] = {}
        for _, other in replaced:
            others.setdefault(self._find_key(other), []).append(other)
        with self._lock:
            self.problem, self._stamp, self.changes = "", stamp, changes
            self._chosen = {self._find_key(one): one for one in chosen.values()}
            self._others = others
        return True

    def _find_key(self, one: FrameCorrection) -> FrameKey:
        return self._images.find(one.key)

    def add(self, video: str, frame: int) -> int:
        """Add a frame of a video to the list, and return its place.

        Raises
        ------
        StoreError
            If there is no such video or frame.
        """
        if video not in self.project.videos:
            raise StoreError(f"the cohort has no video {video!r}")
        frames = self.project.frames.measure(video)[0]
        if not 0 <= frame < frames:
            raise StoreError(f"{video} has the frames 0 to {frames - 1}, no frame {frame}")
        with self._lock:
            key = self._images.find(FrameKey(video, frame, ""))
            return self._place(key, "chosen by hand")

    def _place(self, key: FrameKey, why: str = "corrected") -> int:
        """Return the place of a frame in the list, to which it is added."""
        if key not in self._places:
            path = self._images.paths.get(key)
            self._places[key] = len(self.frames)
            self.frames.append(ListedFrame(key, path, ((why, ""),)))
        return self._places[key]

    def version(self, place: int) -> Version:
        """Return which correction of a frame counts now."""
        return _version(self._chosen.get(self.frames[place].key))

    def describe(self, place: int) -> dict[str, Any]:
        """Return a frame of the list as the page shows it."""
        with self._lock:
            frame, version = self.frames[place], self.version(place)
            correction = self._chosen.get(frame.key)
            return {
                "id": place,
                "video": frame.key.video,
                "frame": frame.key.frame,
                "image": frame.key.image,
                "reasons": [list(reason) for reason in frame.reasons],
                "author": version.author,
                "time": version.time,
                "empty": correction is not None and not correction.keypoints,
            }

    def read(self, place: int) -> dict[str, Any]:
        """Return the keypoints of a frame: its correction, else its label, else predictions.

        Returns
        -------
        dict
            ``origin`` (``correction``, ``label``, ``prediction`` or ``none``), ``author`` and
            ``time`` of the correction, ``keypoints``: individual, bodypart, x, y and visibility,
            or confidence for a prediction; ``others``: author and time of the corrections that
            newer ones replace; ``names``: version of the names of bodyparts.
        """
        with self._lock:
            key = self.frames[place].key
            correction, changes = self._chosen.get(key), self.changes
        version = _version(correction)
        others = [
            {"author": one.author, "time": one.time}
            for one in map(_version, self._list_others(key))
        ]
        found: dict[str, Any] = {
            "author": version.author,
            "time": version.time,
            "others": others,
            "names": _name_version(changes),
        }
        if correction is not None:
            return found | {
                "origin": "correction",
                "keypoints": _list_correction(correction, changes),
            }
        if key.image:
            keypoints = self._list_label(key, changes)
            return found | {"origin": "label", "keypoints": keypoints}
        keypoints, problem = self._list_predictions(key, changes)
        origin = "prediction" if keypoints else "none"
        return found | {"origin": origin, "keypoints": keypoints, "problem": problem}

    def read_others(self, place: int) -> list[dict[str, Any]]:
        """Return the corrections of a frame that newer ones replace: author, time, keypoints."""
        return [
            {
                "author": one.author,
                "time": format_time(one.time),
                "keypoints": _list_correction(one, self.changes),
            }
            for one in self._list_others(self.frames[place].key)
        ]

    def _list_others(self, key: FrameKey) -> list[FrameCorrection]:
        with self._lock:
            return list(self._others.get(key, ()))

    def _list_label(self, key: FrameKey, changes: Sequence[BodypartChange]) -> list[Point]:
        path = self.frames[self._places[key]].path
        rows = self._rows.get(str(path))
        if self._labels is None or rows is None:
            return []
        table = self._labels.table.iloc[rows]
        names = ("individual", "bodypart", "x", "y", "visibility")
        columns = (table[name].tolist() for name in names)
        points: list[Point] = []
        for individual, bodypart, x, y, said in zip(*columns, strict=True):
            name = apply_renames(bodypart, changes, None)
            if not math.isnan(x) and not math.isnan(y):
                points.append((individual, name, x, y, said or str(Visibility.VISIBLE)))
            elif said == Visibility.ABSENT:
                points.append((individual, name, None, None, said))
        return points

    def _list_predictions(
        self, key: FrameKey, changes: Sequence[BodypartChange]
    ) -> tuple[list[Point], str]:
        path = locate_predictions(self.project, key.video)
        if path is None:
            return [], ""
        try:
            poses = read_poses(path, key.frame, key.frame + 1)
        except CohortposeError as error:
            return [], str(error)
        points: list[Point] = []
        for slot, individual in enumerate(poses.individuals):
            for number, bodypart in enumerate(poses.bodyparts):
                # Axes in memory: time, individual, keypoint, space.
                x, y = (float(value) for value in poses.position[0, slot, number])
                if math.isfinite(x) and math.isfinite(y):
                    confidence = float(poses.confidence[0, slot, number])
                    name = apply_renames(bodypart, changes, None)
                    points.append((individual, name, x, y, confidence))
        return points, ""

    @property
    def names_version(self) -> str:
        """Return the version of the bodyparts' names; it changes with every change of them."""
        return _name_version(self.changes)

    def save(
        self, place: int, keypoints: Iterable[Point], base: Version, names: str | None = None
    ) -> dict[str, Any]:
        """Save the author's correction of a frame, whole.

        Parameters
        ----------
        place
            Of the frame in the list.
        keypoints
            Individual, bodypart, x, y and visibility of each keypoint.
        base
            The correction that the author saw.
        names
            `names_version` of the bodyparts' names that the keypoints have; those of an earlier
            version are translated. None: the present one.

        Returns
        -------
        dict
            ``author`` and ``time`` as stored; ``replaced``: author and time of a correction that
            somebody else made meanwhile, which this one replaces because it is newer; else None.

        Raises
        ------
        LabelError
            If the correction cannot be stored, names what the project has not, or places a point
            outside of the frame or image.
        OldNamesError
            If nobody can tell what bodyparts its names mean now.
        """
        with self._disk:
            self.refresh()
            key = self.frames[place].key
            there = self._chosen.get(key)
            keypoints = self._translate(keypoints, names)
            # The newest counts, also if the clock of another author's computer is ahead; and names
            # are those after all changes.
            before = [one.time for one in self.changes[-1:]]
            before += [] if there is None else [there.time]
            time = max([datetime.now(UTC), *(earlier + _TICK for earlier in before)])
            project = self.project
            correction = FrameCorrection(
                *key, project.author, time, project.iteration, self._check(key, keypoints)
            )
            path = write_frame_correction(project.corrections, correction)
            self._note(path, key, correction)
            missed = there is not None and _version(there) != base
            replaced = _version(there) if missed else None
            return {
                "author": project.author,
                "time": format_time(time),
                "replaced": replaced and {"author": replaced.author, "time": replaced.time},
            }

    def withdraw(self, place: int) -> dict[str, Any]:
        """Withdraw the author's correction of a frame, and return the frame as `read` does."""
        with self._disk:
            self.refresh()
            key, project = self.frames[place].key, self.project
            there = [*filter(None, [self._chosen.get(key)]), *self._others.get(key, ())]
            # It may stand there by another name of the same frame, too.
            for one in there:
                if one.author == project.author:
                    remove_frame_correction(project.corrections, one.author, one.key)
            self.refresh()
        return self.read(place)

    def _translate(self, keypoints: Iterable[Point], names: str | None) -> list[Point]:
        """Return keypoints with the present names of their bodyparts."""
        given = list(keypoints)
        if names is None or names == self.names_version:
            return given
        known = {_name_version(self.changes[:n]): n for n in range(len(self.changes))}
        if names not in known:
            raise OldNamesError(
                "bodyparts",
                ["their names have changed since the page was loaded: load the page anew"],
            )
        # Names may have been exchanged: only what happened since then counts.
        later = self.changes[known[names] :]
        return [(point[0], apply_renames(point[1], later, None), *point[2:]) for point in given]

    def _check(self, key: FrameKey, keypoints: Iterable[Point]) -> tuple[CorrectedKeypoint, ...]:
        """Return keypoints as they are stored."""
        checked, known, problems = [], set(self.skeleton.bodyparts), []
        width, height = self._measure(key)
        for individual, bodypart, x, y, visibility in keypoints:
            if bodypart not in known:
                problems.append(f"{bodypart!r} is no bodypart of the project: load the page anew")
            if any(
                value is not None and not -0.5 <= value <= most - 0.5
                for value, most in ((x, width), (y, height))
            ):
                problems.append(
                    f"{individual} {bodypart}: ({x}, {y}) is outside of its "
                    f"{'image' if key.image else 'frame'} of {width} x {height} px"
                )
            seen = Visibility(str(visibility))
            checked.append(
                CorrectedKeypoint(individual, bodypart, _to_number(x), _to_number(y), seen)
            )
        if problems:
            raise LabelError(key.image or f"{key.video}, frame {key.frame}", problems)
        return tuple(checked)

    def _measure(self, key: FrameKey) -> tuple[int, int]:
        """Return the upright width and height of a frame or label image, px."""
        path = self._images.paths.get(key)
        if path is not None:
            return read_header(path).upright
        _, width, height = self.project.frames.measure(key.video)
        return width, height

    def _note(self, path: Path, key: FrameKey, own: FrameCorrection | None) -> None:
        """Take over the correction just written; read all tables again only if others wrote."""
        before = dict(self._stamp) if self._stamp is not None else {}
        after = _stamp_tables(self.project.corrections)
        if {**dict(after), path: None} != {**before, path: None}:
            self.refresh()
            if not self.problem:
                return
        with self._lock:
            there = [*filter(None, [self._chosen.get(key)]), *self._others.get(key, ())]
            kept = [one for one in there if one.author != self.project.author]
            chosen, replaced = settle_corrections([*kept, *filter(None, [own])], self._find_key)
            # A new dictionary: other threads may be reading the present one.
            rest = {known: one for known, one in self._chosen.items() if known != key}
            best = next(iter(chosen.values()), None)
            self._chosen = rest if best is None else rest | {key: best}
            self._others[key] = [other for _, other in replaced]
            if not self.problem:
                self._stamp = after
            self.log.append(self._place(key))

    def change_bodypart(self, what: str, bodypart: str, former: str) -> None:
        """Add or rename a bodypart for the whole project.

        Raises
        ------
        LabelError
            If the name cannot be used, is taken, or the one to rename is unknown.
        """
        with self._disk:
            self.refresh()
            names = self.skeleton.bodyparts
            problem = None
            if bodypart in names:
                problem = f"there is a bodypart {bodypart!r} already"
            elif what == "rename" and former not in names:
                problem = f"there is no bodypart {former!r}"
            if problem:
                raise LabelError("bodyparts", [problem])
            # After all that was said before, whatever clock it was said by.
            before = [one.time for one in self.changes]
            before += [one.time for one in self._chosen.values()]
            time = max([datetime.now(UTC), *(earlier + _TICK for earlier in before)])
            change = BodypartChange(what, bodypart, former, self.project.author, time)
            write_bodypart_change(self.project.corrections, change)
            self.refresh()


def locate_predictions(project: Project, video: str) -> Path | None:
    """Return the pose file to start from: corrected, tracked, or as the network gave it.

    Poses of the network that this one starts from are better than none.
    """
    results = project.results
    candidates = (
        path
        for model in project.list_networks()
        for path in (
            results.corrected(model, video),
            results.tracked(model, video),
            results.poses(model, video),
        )
    )
    return next((path for path in candidates if path.exists()), None)


def _name_version(changes: Sequence[BodypartChange]) -> str:
    """Return a short text that changes with every change of the names."""
    said = [(one.what, one.bodypart, one.former, format_time(one.time)) for one in changes]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def _list_correction(one: FrameCorrection, changes: Sequence[BodypartChange]) -> list[Point]:
    return [
        (
            point.individual,
            apply_renames(point.bodypart, changes, one.time),
            None if math.isnan(point.x) else point.x,
            None if math.isnan(point.y) else point.y,
            str(point.visibility),
        )
        for point in one.keypoints
    ]


def _version(one: FrameCorrection | None) -> Version:
    return Version() if one is None else Version(one.author, format_time(one.time))


def _to_number(value: float | None) -> float:
    return math.nan if value is None else value


def _stamp_tables(folder: Path) -> Stamp:
    """Return what changes when a table of corrections does, by table."""
    stamps = []
    for path in list_label_tables(folder):
        try:
            facts = path.stat()
        except OSError:
            continue
        stamps.append((path, (facts.st_ino, facts.st_size, facts.st_mtime_ns)))
    return tuple(stamps)
