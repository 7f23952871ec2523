"""Measure a demo in three dimensions against its truth: calibrations, points, individuals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import SessionStatus, TrackStatus
from pipeline_lib.demo.render.animal import BODYPARTS
from pipeline_lib.demo.truth import TRUTH, VideoTruth, list_sessions, read_truth, read_truth_3d
from pipeline_lib.io.calibrations.files import read_calibration
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.poses.session import read_session_poses
from pipeline_lib.io.stage_tables import read_table

Floats = NDArray[np.float64]

_MIDLINE = ("snout", "neck", "back", "tail_base")
# A predicted animal is a true one if its points are closer than this share of a body length.
_NEAR = 0.4
# Share of the points that the axes are fitted to: wrong ones do not turn the others.
_FITTED, _FITS = 0.8, 4
_UNKNOWN, _MIXED = -1, -2
# A slot is made of several animals if this share of its points, and two or half of them, are
# clearly another animal's: near it, and at most this share of the distance from the next one.
_OTHERS, _CLEAR = 1 / 3, 0.5
# Distance in mm of an individual that is not there.
_FAR = 1e6


class TooFewPointsError(StoreError):
    """Tell that too few points of a session were found to compare them with the truth."""


@dataclass(frozen=True)
class CalibrationError:
    """Hold the largest errors of the cameras of a calibration, as shares.

    Attributes
    ----------
    focal
        Of the true focal length.
    centre
        Distance of the principal points, of the width of the image.
    position
        Distance of the cameras, of the size of the scene, after both sets of cameras were moved
        onto each other: the axes of the world are no part of a calibration.
    """

    focal: float
    centre: float
    position: float


@dataclass(frozen=True)
class SpaceError:
    """Sum up the errors of sessions.

    Attributes
    ----------
    distances
        Distance in mm of each point that was found and two cameras or more could see.
    missed
        Number of such points that were not found.
    exchanged, unmarked, assigned
        Number of animals in views that were assigned to another individual of the session, of
        those that are not marked as uncertain, and of all whose true animal is known.
    mixed
        Number of further animals in views whose points, in the view or in space, are those of
        several animals.
    switches
        Number of times that an individual of a session became another animal.
    misplaced, placed
        Number of frames at a wrong moment, and of all.
    """

    distances: Floats = field(default_factory=lambda: np.empty(0))
    missed: int = 0
    exchanged: int = 0
    unmarked: int = 0
    assigned: int = 0
    mixed: int = 0
    switches: int = 0
    misplaced: int = 0
    placed: int = 0

    def __add__(self, other: "SpaceError") -> "SpaceError":
        return SpaceError(
            np.concatenate([self.distances, other.distances]),
            self.missed + other.missed,
            self.exchanged + other.exchanged,
            self.unmarked + other.unmarked,
            self.assigned + other.assigned,
            self.mixed + other.mixed,
            self.switches + other.switches,
            self.misplaced + other.misplaced,
            self.placed + other.placed,
        )


def measure_calibration(found: Calibration, truth: Calibration, size: float) -> CalibrationError:
    """Compare a calibration with the truth.

    Parameters
    ----------
    found, truth
        Of the same cameras, in any order.
    size
        Of the scene, in mm.
    """
    truth = truth.choose(found.names)
    matrices, true = (np.array([camera.matrix for camera in one.cameras]) for one in (found, truth))
    widths = np.array([camera.size[0] for camera in truth.cameras])
    focal = np.abs(matrices[:, [0, 1], [0, 1]] / true[:, [0, 1], [0, 1]] - 1)
    centre = np.linalg.norm(matrices[:, :2, 2] - true[:, :2, 2], axis=1) / widths
    places, wanted = (np.array([camera.centre for camera in one.cameras]) for one in (found, truth))
    turn, shift = fit_rigid(places, wanted)
    position = np.linalg.norm(places @ turn.T + shift - wanted, axis=1) / size
    return CalibrationError(float(focal.max()), float(centre.max()), float(position.max()))


def fit_rigid(points: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    """Return the rotation (3, 3) and shift (3,) that move points onto others, shapes (point, 3)."""
    middle, other = points.mean(axis=0), wanted.mean(axis=0)
    turn: Floats = Rotation.align_vectors(wanted - other, points - middle)[0].as_matrix()
    return turn, other - turn @ middle


def fit_most(points: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    """Return the rigid motion onto others that fits most points; see `fit_rigid`."""
    turn, shift = fit_rigid(points, wanted)
    for _ in range(_FITS):
        off = np.linalg.norm(points @ turn.T + shift - wanted, axis=1)
        kept = off <= np.quantile(off, _FITTED)
        turn, shift = fit_rigid(points[kept], wanted[kept])
    return turn, shift


def measure_session(
    poses: SessionPoses, points: Floats, views: Mapping[str, tuple[VideoTruth, Floats]]
) -> SpaceError:
    """Compare the poses of a session with the truth.

    Parameters
    ----------
    poses
        Of the session.
    points
        Shape (moment, animal, bodypart, 3), mm, true points.
    views
        By camera: the truth of its video, and what was found in it, shape (frame, slot, bodypart,
        2), px, with the bodyparts of the truth.

    Raises
    ------
    StoreError
        If a bodypart is missing, or nothing was found.
    """
    moments = np.rint(poses.time * _read_rate(poses)).astype(int)
    order = _order_bodyparts(poses.bodyparts)
    found = poses.position.astype(np.float64)[:, :, order]
    truth = points[np.clip(moments, 0, len(points) - 1)]
    truth[moments >= len(points)] = np.nan
    near = _NEAR * _measure_length(points)
    aligned = _align(found, truth)
    animals = _name_slots(aligned, truth, near)
    counts = _count_views(views, moments, truth.shape[:3])
    distances, missed = _measure_points(aligned, truth, counts >= 2)
    counted = _count_exchanged(poses, animals, views)
    frames = poses.camera_frame
    return SpaceError(
        distances,
        missed,
        *counted,
        _count_switches(animals),
        int(((frames >= 0) & (frames != moments[:, None])).sum()),
        int((frames >= 0).sum()),
    )


def measure_demo_space(
    folder: Path, results: Results, config: Config
) -> dict[str, SpaceError | None]:
    """Measure every session of a demo that was triangulated; the results by its name.

    A session with too few points to compare has None.

    Raises
    ------
    StoreError
        If truth or poses are missing or damaged.
    """
    rows = {
        row["session"]: row for row in read_table(results.session_ledger, ("session", "status"))
    }
    measured: dict[str, SpaceError | None] = {}
    for session in list_sessions(folder):
        if session in rows and rows[session]["status"] == SessionStatus.DONE:
            try:
                measured[session] = _measure(folder, results, config, session)
            except TooFewPointsError:
                measured[session] = None
    return measured


def describe_demo_space(
    folder: Path, results: Results, config: Config, size: float
) -> Iterator[str]:
    """Yield lines of text: calibrations, error in space, exchanged animals, what was refused.

    Parameters
    ----------
    folder
        The demo's folder.
    results
        Results folder of a run on it.
    config
        Settings of the run.
    size
        Of the scene, in mm.
    """
    truth = read_calibration(folder / TRUTH / "calibration.toml")
    for row in read_table(results.calibrations, ("calibration", "status", "reason")):
        path = results.calibration(row["calibration"])
        if not path.is_file():
            yield f"Calibration {row['calibration']}: {row['status']}: {row['reason']}"
            continue
        error = measure_calibration(read_calibration(path), truth, size)
        yield (
            f"Calibration {row['calibration']} against the truth, largest error of a camera: focal "
            f"length {error.focal:.2%}, principal point {error.centre:.2%} of the image's width, "
            f"position {error.position:.3%} of the scene's size ({size:.0f} mm)"
        )
    compared = measure_demo_space(folder, results, config)
    measured = {name: error for name, error in compared.items() if error is not None}
    for name in sorted(compared.keys() - measured.keys()):
        yield f"{name}: too few points were found to compare them with the truth"
    if measured:
        yield from _describe_error(measured, size)
    elif not compared:
        yield "Three dimensions: no session was triangulated"


def _describe_error(measured: Mapping[str, SpaceError], size: float) -> Iterator[str]:
    total = sum(measured.values(), SpaceError())
    found = total.distances
    median, mean = (float(np.median(found)), float(found.mean())) if found.size else (np.nan,) * 2
    yield (
        f"Error in three dimensions: median {median:.2f} mm ({median / size:.2%} of the scene's "
        f"size), mean {mean:.2f} mm ({mean / size:.2%}) over {found.size} points of "
        f"{len(measured)} sessions; {total.missed} that two cameras or more could see were not "
        "found"
    )
    yield (
        f"Individuals across views: {total.exchanged} of {total.assigned} animals in views were "
        f"exchanged, {total.unmarked} of these without a mark; {total.mixed} more are made of "
        f"several animals; over time: {total.switches} switches"
    )
    yield f"Frames at a wrong moment: {total.misplaced} of {total.placed}"


def _measure(folder: Path, results: Results, config: Config, session: str) -> SpaceError:
    model = config.training.name
    poses = read_session_poses(results.triangulated(model, session))
    triangulated = STAGES["triangulate"].sessions
    if triangulated is None:
        raise AssertionError("the stage has sessions")
    stage = STAGES[triangulated.source(config)]
    views = {}
    for camera, video in _read_videos(poses).items():
        truth = read_truth(folder / TRUTH / f"{video}.parquet")
        seen = read_poses(stage.find_poses(config, results, video))
        order = _order_bodyparts(seen.bodyparts)
        views[camera] = (truth, seen.position.astype(np.float64)[:, :, order])
    return measure_session(poses, read_truth_3d(folder, session), views)


def _read_videos(poses: SessionPoses) -> dict[str, str]:
    told: Any = poses.attributes.get("videos")
    if not isinstance(told, dict):
        raise StoreError("the poses of a session do not name its videos: triangulate again")
    return {str(camera): str(video) for camera, video in told.items()}


def _read_rate(poses: SessionPoses) -> float:
    return float(poses.attributes["fps"])


def _order_bodyparts(names: Sequence[str]) -> list[int]:
    missing = [name for name in BODYPARTS if name not in names]
    if missing:
        raise StoreError(f"the poses lack the bodyparts {', '.join(missing)}")
    return [list(names).index(name) for name in BODYPARTS]


def _measure_length(points: Floats) -> float:
    line = points[:, :, [BODYPARTS.index(name) for name in _MIDLINE]]
    return float(np.median(np.linalg.norm(np.diff(line, axis=2), axis=-1).sum(axis=2)))


def _align(found: Floats, truth: Floats) -> Floats:
    """Return points moved onto the truth; each individual is first taken for the nearest animal.

    The axes of the calibration are unknown, so each assignment of individuals to animals over the
    whole session is tried through single individuals; the one with the smallest error is taken.
    """
    best, least = found, np.inf
    for individual in range(found.shape[1]):
        for animal in range(truth.shape[1]):
            first, second = found[:, individual], truth[:, animal]
            known = np.isfinite(first).all(axis=-1) & np.isfinite(second).all(axis=-1)
            if known.sum() < len(BODYPARTS):
                continue
            turn, shift = fit_most(first[known], second[known])
            moved = found @ turn.T + shift
            # All individuals, each to the nearest animal, tell the axes best.
            points, wanted = _pair(moved, truth)
            turn, shift = fit_most(points, wanted)
            moved = moved @ turn.T + shift
            points, wanted = _pair(moved, truth)
            off = float(np.median(np.linalg.norm(points - wanted, axis=1)))
            if off < least:
                best, least = moved, off
    if not np.isfinite(least):
        raise TooFewPointsError("too few points were found to compare them with the truth")
    return best


def _pair(found: Floats, truth: Floats) -> tuple[Floats, Floats]:
    """Return found points and the true ones of the nearest animal, shapes (point, 3)."""
    gaps = np.linalg.norm(found[:, :, None] - truth[:, None], axis=-1)
    gaps = np.where(np.isfinite(gaps), gaps, np.nan)
    known = np.asarray(np.isfinite(gaps).any(axis=-1))
    near = np.nanmean(np.where(known[..., None], gaps, _FAR), axis=-1)
    animal = near.argmin(axis=2)
    wanted = np.take_along_axis(truth, animal[..., None, None], axis=1)
    both = np.isfinite(found).all(axis=-1) & np.isfinite(wanted).all(axis=-1)
    return found[both], wanted[both]


def _name_slots(found: Floats, truth: Floats, near: float) -> NDArray[np.intp]:
    """Return the true animal of each slot, shape (frame, slot).

    `_UNKNOWN`: none is near; `_MIXED`: its points are those of several animals.

    Parameters
    ----------
    found
        Shape (frame, slot, bodypart, axis).
    truth
        Shape (frame, animal, bodypart, axis).
    near
        Largest median distance over the bodyparts.
    """
    gaps = np.linalg.norm(found[:, :, None] - truth[:, None], axis=-1)
    middle = np.full(gaps.shape[:3], np.inf)
    known = np.asarray(np.isfinite(gaps).any(axis=-1))
    middle[known] = np.nanmedian(np.where(np.isfinite(gaps[known]), gaps[known], np.nan), axis=-1)
    animal: NDArray[np.intp] = middle.argmin(axis=2)
    votes = _count_points(gaps, near)
    own = np.take_along_axis(votes, animal[..., None], axis=2)[..., 0]
    others = votes.sum(axis=2) - own
    # Of two points, one each: they favour neither animal.
    animal[(others > 0) & (others >= np.minimum(2, own)) & (others >= _OTHERS * (own + others))] = (
        _MIXED
    )
    animal[middle.min(axis=2) > near] = _UNKNOWN
    return animal


def _count_points(gaps: Floats, near: float) -> NDArray[np.intp]:
    """Return how many points of each slot are clearly each animal's, shape (frame, slot, animal).

    Parameters
    ----------
    gaps
        Shape (frame, slot, animal, bodypart): distances.
    near
        Largest distance.
    """
    known = np.where(np.isfinite(gaps), gaps, np.inf)
    least = known.min(axis=2, keepdims=True)
    # Of one animal there is no other.
    next_best = np.partition(known, 1, axis=2)[:, :, 1:2] if known.shape[2] > 1 else np.inf
    clear = (known == least) & (least <= near) & (least <= _CLEAR * next_best)
    return np.asarray(clear.sum(axis=3))


def _count_views(
    views: Mapping[str, tuple[VideoTruth, Floats]],
    moments: NDArray[np.intp],
    shape: tuple[int, ...],
) -> NDArray[np.intp]:
    """Return the number of cameras that see each true point."""
    counts = np.zeros(shape, np.intp)
    for truth, _ in views.values():
        inside = moments < len(truth.visible)
        counts[inside] += truth.visible[moments[inside]]
    return counts


def _measure_points(found: Floats, truth: Floats, wanted: NDArray[np.bool_]) -> tuple[Floats, int]:
    """Return distances of true points that are wanted, and how many of them were not found.

    Individuals of a moment are matched to animals at any distance, with the smallest sum.
    """
    matched = np.full(truth.shape, np.nan)
    for moment, (slots, animals) in enumerate(zip(found, truth, strict=True)):
        gaps = np.linalg.norm(slots[:, None] - animals, axis=-1)
        known = np.isfinite(gaps).any(axis=-1)
        cost = np.full(known.shape, _FAR)
        cost[known] = np.nanmean(gaps[known], axis=-1)
        rows, columns = linear_sum_assignment(cost)
        matched[moment, columns] = slots[rows]
    distances = np.linalg.norm(matched - truth, axis=-1)[wanted]
    known = np.isfinite(distances)
    return distances[known], int((~known).sum())


def _count_exchanged(
    poses: SessionPoses,
    animals: NDArray[np.intp],
    views: Mapping[str, tuple[VideoTruth, Floats]],
) -> tuple[int, int, int, int]:
    """Return the number of animals in views with another one's individual, unmarked, and of all.

    The last number is that of animals in views that are made of several.
    """
    exchanged = unmarked = assigned = mixed = 0
    status = poses.track_status
    marked = np.zeros(animals.shape, bool) if status is None else status == TrackStatus.UNCERTAIN
    for number, camera in enumerate(poses.cameras):
        if camera not in views:
            continue
        truth, seen = views[camera]
        rows = min(len(truth.position), len(seen))
        near = _NEAR * _measure_length(truth.position)
        # Hidden bodyparts, too: of an animal that is mostly hidden, those that are visible are
        # those of the other one.
        own = _name_slots(seen[:rows], truth.position[:rows], near)
        frame, slot = poses.camera_frame[:, number], poses.camera_individual[:, number]
        known = (frame >= 0) & (frame < rows)
        chosen = own[np.clip(frame, 0, rows - 1)]
        named = np.where(
            (slot >= 0) & known[:, None],
            np.take_along_axis(chosen, np.clip(slot, 0, chosen.shape[1] - 1), axis=1),
            _UNKNOWN,
        )
        there = (named != _UNKNOWN) & (animals != _UNKNOWN)
        both = (named >= 0) & (animals >= 0)
        mixed += int((there & ~both).sum())
        assigned += int(both.sum())
        wrong = both & (named != animals)
        exchanged += int(wrong.sum())
        unmarked += int((wrong & ~marked).sum())
    return exchanged, unmarked, assigned, mixed


def _count_switches(animals: NDArray[np.intp]) -> int:
    """Return how often a slot goes from one known animal to another."""
    switches = 0
    for slot in animals.T:
        known = slot[slot >= 0]
        switches += int((np.diff(known) != 0).sum())
    return switches
