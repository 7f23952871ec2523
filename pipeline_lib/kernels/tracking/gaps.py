"""Fill the gaps of tracks with tracklets that are too short to be a track on their own."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.tracking.identities import Slots
from pipeline_lib.kernels.tracking.pairing import measure_ambiguity, pair_frames
from pipeline_lib.kernels.tracking.stitching import JoinRules, compare_tracklets
from pipeline_lib.kernels.tracking.tracklet_ends import Tracklets


def fill_gaps(
    slots: Slots,
    tracklets: Tracklets,
    fragments: NDArray[np.int64],
    rules: JoinRules,
    max_ambiguity: float,
) -> None:
    """Assign fragments to animals that are missing in the frames of the fragment.

    Fragments are tracklets too short to be a track on their own: false detections, or an animal
    between two losses. A fragment is assigned to the most similar animal that is not found in the
    same frames and is found near enough in time.

    Parameters
    ----------
    slots
        Slots of the other tracklets; fragments are added in place.
    tracklets
        All tracklets of a video.
    fragments
        Shape (fragment,), int64, numbers of the fragments, ascending.
    rules
        Rules by which tracklets are joined.
    max_ambiguity
        See `pipeline_lib.kernels.tracking.identities.DoubtRules`.
    """
    begins, ends = tracklets.head.frame, tracklets.tail.frame
    for group in _group_open(slots, tracklets, fragments):
        similarity = np.stack(
            [_fit_slots(slots, tracklets, number, rules) for number in group], axis=0
        )[None]
        partner = pair_frames(similarity, rules.min_similarity)
        ambiguities = measure_ambiguity(similarity, partner)[0]
        for number, slot, ambiguity in zip(
            group, partner[0].tolist(), ambiguities.tolist(), strict=True
        ):
            if slot < 0:
                continue
            members = slots.tracklets[slot]
            members.insert(_find_index(slots, begins, slot, number), number)
            slots.of_tracklet[number] = slot
            if ambiguity > max_ambiguity:
                slots.doubts.append((number, int(begins[number]), int(ends[number])))


def _group_open(
    slots: Slots, tracklets: Tracklets, fragments: NDArray[np.int64]
) -> Iterator[list[int]]:
    """Yield fragments in whose frames a slot is free, grouped by their first frame."""
    begins, ends = tracklets.head.frame, tracklets.tail.frame
    if not len(fragments):
        return
    taken = np.zeros(int(ends.max()) + 2, np.int64)
    assigned = np.flatnonzero(slots.of_tracklet >= 0)
    np.add.at(taken, begins[assigned], 1)
    np.add.at(taken, ends[assigned] + 1, -1)
    taken = np.cumsum(taken)
    free = (taken[begins[fragments]] < len(slots.tracklets)) & (
        taken[ends[fragments]] < len(slots.tracklets)
    )
    group: list[int] = []
    for number in fragments[free].tolist():
        if group and begins[group[0]] != begins[number]:
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def _find_index(slots: Slots, begins: NDArray[np.int64], slot: int, number: int) -> int:
    """Return the index at which a tracklet is inserted among those of a slot."""
    members, frame = slots.tracklets[slot], int(begins[number])
    low, high = 0, len(members)
    while low < high:
        middle = (low + high) // 2
        if begins[members[middle]] <= frame:
            low = middle + 1
        else:
            high = middle
    return low


def _fit_slots(
    slots: Slots, tracklets: Tracklets, number: int, rules: JoinRules
) -> NDArray[np.float64]:
    """Return the similarity of a fragment to the animal of each slot; 0 if found meanwhile."""
    begins, ends = tracklets.head.frame, tracklets.tail.frame
    total, sides = np.zeros(len(slots.tracklets)), np.zeros(len(slots.tracklets))
    pairs: list[tuple[int, int, int]] = []
    for slot, members in enumerate(slots.tracklets):
        index = _find_index(slots, begins, slot, number)
        before, after = members[index - 1 : index], members[index : index + 1]
        if (before and ends[before[0]] >= begins[number]) or (
            after and begins[after[0]] <= ends[number]
        ):
            continue
        # Before an animal appears and after it is lost, only near fragments qualify.
        limit = rules.max_gap if before and after else rules.persistence + 1
        if before and begins[number] - ends[before[0]] <= limit:
            pairs.append((slot, before[0], number))
        if after and begins[after[0]] - ends[number] <= limit:
            pairs.append((slot, number, after[0]))
    if pairs:
        slot_of, first, second = np.array(pairs).T
        np.add.at(total, slot_of, compare_tracklets(tracklets, first, second, rules))
        np.add.at(sides, slot_of, 1.0)
    return total / np.maximum(sides, 1.0)
