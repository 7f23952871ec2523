"""Find the slot that each individual has in each view, at each moment."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.tables import UNIQUE_INDIVIDUAL, TrackStatus
from pipeline_lib.kernels.geometry.sessions.matching import NO_SLOT, Sighting, match_animals
from pipeline_lib.kernels.geometry.sessions.moments import NO_FRAME, Moments
from pipeline_lib.kernels.geometry.sessions.tracklets import TrackletRules
from pipeline_lib.steps.triangulate.views import Rig, View

Slots = NDArray[np.int16]
Flags = NDArray[np.bool_]

# Name of an animal that each view has alone, under another name.
_ONLY = "animal"


class Matched(NamedTuple):
    """Hold the slot of each individual in each view.

    Attributes
    ----------
    names
        Of the individuals.
    slots
        Shape (moment, camera, individual), int16: slot in the camera's poses; -1: none.
    doubtful
        Shape (moment, individual): it may have been exchanged for another one near here.
    report
        JSON-like record.
    """

    names: tuple[str, ...]
    slots: Slots
    doubtful: Flags
    report: dict[str, Any]


def match_individuals(rig: Rig, moments: Moments, *, by_name: bool, cut: float) -> Matched:
    """Match the individuals of all views.

    Parameters
    ----------
    rig, moments
        The session.
    by_name
        Match slots of the same name; otherwise, slots whose positions in space agree. The unique
        individual, and the only animal of every view, need no match.
    cut
        Confidence below which a keypoint counts as not seen.
    """
    several = max(len(_list_animals(view)) for view in rig.views) > 1
    if by_name or not several:
        return _match_by_name(rig, moments)
    return _match_by_views(rig, moments, cut)


def _list_animals(view: View) -> list[int]:
    names = view.poses.individuals
    if len(names) == 1:
        return [0]
    return [slot for slot, name in enumerate(names) if name != UNIQUE_INDIVIDUAL]


def _match_by_name(rig: Rig, moments: Moments) -> Matched:
    own = [view.poses.individuals for view in rig.views]
    if all(len(names) == 1 for names in own):
        names = own[0] if len(set(own)) == 1 else (_ONLY,)
        own = [names] * len(own)
    names = tuple(dict.fromkeys(name for view in own for name in view))
    slots = np.full((*moments.frames.shape, len(names)), NO_SLOT, np.int16)
    doubtful = np.zeros((len(moments.frames), len(names)), dtype=bool)
    for camera, known in enumerate(own):
        frames = moments.frames[:, camera]
        has = frames != NO_FRAME
        for slot, name in enumerate(known):
            slots[has, camera, names.index(name)] = slot
            doubts = _find_tracker_doubts(rig.views[camera], frames)
            if doubts is not None:
                doubtful[:, names.index(name)] |= doubts[:, slot]
    return Matched(names, slots, doubtful, {"method": "names"})


def _match_by_views(rig: Rig, moments: Moments, cut: float) -> Matched:
    animals = [_list_animals(view) for view in rig.views]
    names = _choose_names(rig, animals)
    sightings = [
        _look(rig, camera, moments.frames[:, camera], names, cut)
        for camera in range(len(rig.views))
    ]
    found = match_animals(rig.calibration.cameras, sightings, len(names), rules=TrackletRules())
    slots = np.full(found.slots.shape, NO_SLOT, np.int16)
    for camera, own in enumerate(animals):
        place = found.slots[:, camera]
        slots[:, camera] = np.where(
            place == NO_SLOT, NO_SLOT, np.array(own, np.int16)[np.maximum(place, 0)]
        )
    used = _find_used(slots, tracked=all(one.tracked for one in sightings))
    report = {
        "method": "views",
        "tracklets": found.tracklets,
        "exchanged_tracklets": found.exchanged,
        "detections_left_over": found.left_over,
        "doubtful_share": float(np.round(found.doubtful[:, used].mean(), 6)) if used else 0.0,
        "tolerance_px": float(np.round(found.tolerance, 3)),
    }
    kept = tuple(names[place] for place in used)
    matched = Matched(kept, slots[:, :, used], found.doubtful[:, used], report)
    return _add_unique(matched, rig, moments)


def _choose_names(rig: Rig, animals: list[list[int]]) -> tuple[str, ...]:
    """Return the names of all views if equal, else those of the view with the most names."""
    names = [
        tuple(view.poses.individuals[slot] for slot in slots)
        for view, slots in zip(rig.views, animals, strict=True)
    ]
    return max(names, key=len)


def _look(
    rig: Rig, camera: int, frames: NDArray[np.int32], names: tuple[str, ...], cut: float
) -> Sighting:
    poses, parts = rig.views[camera].poses, rig.keypoints[camera]
    animals = _list_animals(rig.views[camera])
    has, there = np.flatnonzero(frames != NO_FRAME), np.flatnonzero(parts >= 0)
    shape = (len(frames), len(animals), len(parts))
    position = np.full((*shape, 2), np.nan, np.float32)
    where = np.ix_(frames[has], np.array(animals), parts[there])
    found, sure = poses.position[where], poses.confidence[where]
    position[np.ix_(has, np.arange(len(animals)), there)] = np.where(
        (sure < cut)[..., None], np.nan, found
    )
    doubts = _find_tracker_doubts(rig.views[camera], frames)
    numbers = [
        names.index(poses.individuals[slot]) if poses.individuals[slot] in names else -1
        for slot in animals
    ]
    return Sighting(
        position,
        poses.track_status is not None,
        None if doubts is None else doubts[:, animals],
        np.array(numbers, np.int64),
    )


def _find_tracker_doubts(view: View, frames: NDArray[np.int32]) -> Flags | None:
    """Return where the tracker of a view was in doubt, by moments; None without tracks."""
    status = view.poses.track_status
    if status is None:
        return None
    doubts: Flags = (status[np.maximum(frames, 0)] == TrackStatus.UNCERTAIN) & (frames != NO_FRAME)[
        :, None
    ]
    return doubts


def _find_used(slots: Slots, *, tracked: bool) -> list[int]:
    """Return the individuals to keep: all if they were tracked, else those seen by two views."""
    if tracked:
        return list(range(slots.shape[2]))
    seen = ((slots != NO_SLOT).sum(axis=1) > 1).any(axis=0)
    return np.flatnonzero(seen).tolist() if seen.any() else [0]


def _add_unique(matched: Matched, rig: Rig, moments: Moments) -> Matched:
    """Add the individual with the unique bodyparts, which has the same name in all views."""
    own = [view.poses.individuals for view in rig.views]
    if not any(UNIQUE_INDIVIDUAL in names and len(names) > 1 for names in own):
        return matched
    slots = np.full((*moments.frames.shape, 1), NO_SLOT, np.int16)
    for camera, names in enumerate(own):
        if UNIQUE_INDIVIDUAL in names and len(names) > 1:
            has = moments.frames[:, camera] != NO_FRAME
            slots[has, camera, 0] = names.index(UNIQUE_INDIVIDUAL)
    return Matched(
        (*matched.names, UNIQUE_INDIVIDUAL),
        np.concatenate([matched.slots, slots], axis=2),
        np.pad(matched.doubtful, ((0, 0), (0, 1))),
        matched.report,
    )


def find_track_status(found: Flags, doubtful: Flags) -> NDArray[np.uint8] | None:
    """Return the status of each individual at each moment; None for one animal.

    Parameters
    ----------
    found
        Shape (moment, individual): whether it has a point.
    doubtful
        See `Matched`.
    """
    if found.shape[1] < 2:
        return None
    status = np.full(found.shape, TrackStatus.ABSENT, np.uint8)
    before = np.maximum.accumulate(found, axis=0)
    after = np.maximum.accumulate(found[::-1], axis=0)[::-1]
    status[before & after] = TrackStatus.GAP
    status[found] = TrackStatus.FOLLOWED
    status[found & doubtful] = TrackStatus.UNCERTAIN
    return status
