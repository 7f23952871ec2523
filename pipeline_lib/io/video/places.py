"""Give the frames of a video their indices, and leave room for those that it lacks."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.io.video.gaps import Steps, find_breaks, judge_steps
from pipeline_lib.io.video.packets import NO_PTS, Packets

# AVI counts the frames of a video, those included that its recorder dropped.
_COUNTING_CONTAINER = "avi"
_LEAST_MISSING = 1000
_NEVER = 2**31 - 1
# The order of the pictures and their times must agree so well to tell of missing ones.
_AGREEMENT = 0.95
_LEAST_PAIRS = 6
_SAME_RATE = 0.01
_TOLERANCE = 0.1
_ROUNDING = 1.5


class Places(NamedTuple):
    """Hold the index of each frame that is there, and what is known of those that are not.

    Attributes
    ----------
    frame
        Shape (frames there,): index of each frame, in order of display.
    breaks
        Positions of the first packets that may refer to missing ones.
    unsure
        Positions of packets whose place, and that of the frames near them, is a guess.
    lost
        Number of frames missing before a packet, where packets are counted.
    """

    frame: NDArray[np.int64]
    breaks: NDArray[np.int64]
    unsure: NDArray[np.int64]
    lost: Mapping[int, int] = MappingProxyType({})


def choose_times(packets: Packets, pts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what tells when the frames of a video are shown.

    AVI counts frames in the order of decoding and stores no time. Of H.264 that is shown in this
    order FFmpeg still makes timestamps that are the count of the *next* packet, so that the frame
    before a gap would come after it: the count itself is taken.

    Parameters
    ----------
    packets
        Of the video.
    pts
        Shape (packets,): its timestamps, as FFmpeg tells them.

    Returns
    -------
    Array of shape (packets,): counts, or the timestamps as they are.
    """
    counts = np.frombuffer(packets.dts, np.int64)
    if packets.container != _COUNTING_CONTAINER or packets.reorders or (counts == NO_PTS).any():
        return pts
    in_order = bool((np.diff(pts) > 0).all() and (np.diff(counts) > 0).all())
    return counts if in_order else pts


def judge_packets(
    packets: Packets, order: NDArray[np.int32], pts: NDArray[np.int64] | None
) -> Steps | None:
    """Judge the steps between frames.

    Where timestamps alone show no regular gap, the order counts of H.264 pictures say how many are
    missing in each step.

    Parameters
    ----------
    packets
        Of the video.
    order
        Shape (frames there,): position of each frame's packet, in order of display.
    pts
        Shape (frames there,): ascending timestamps; None if the container has none.

    Returns
    -------
    Steps, or None if there are no steps or no timestamps.
    """
    if pts is None or len(pts) < 2 or pts[0] == pts[-1]:
        return None
    stated = [1 / (rate * packets.time_base) for rate in packets.stated if rate > 0]
    counted = packets.container == _COUNTING_CONTAINER
    steps = judge_steps(pts, counted=counted, stated=tuple(stated))
    if steps.constant and steps.missing.any():
        return steps
    if steps.constant and not steps.variable and not len(_list_jumps(packets)):
        stated = [one for one in stated if one < (1 - _TOLERANCE) * steps.period]
        if not stated:
            return steps
    return _count_by_pictures(packets, order, pts) or steps


def _count_by_pictures(
    packets: Packets, order: NDArray[np.int32], pts: NDArray[np.int64]
) -> Steps | None:
    """Count missing frames by the order counts of H.264; None if they tell of none.

    Taken only where order counts and times agree on the length of one frame. Where no two frames
    follow each other, that length is known from the headers, or the numbers of references must
    jump: then pictures are lost for sure.
    """
    numbers = packets.numbers
    counts = numbers.count_orders() if numbers is not None else None
    if numbers is None or counts is None:
        return None
    steps, passed = np.diff(pts), np.diff(counts[order])
    within = np.diff(numbers.groups[order]) == 0
    if np.count_nonzero(within) < _LEAST_PAIRS or (passed[within] <= 0).any():
        return None
    # A frame has two counts, since it has two fields; some encoders give it one.
    frames = passed / (1 if (passed[within] % 2).any() else 2)
    period = float(np.median(steps[within] / frames[within]))
    tolerance = max(_ROUNDING, _TOLERANCE * period)
    agrees = np.abs(steps - frames * period) <= tolerance
    if period <= 0 or np.mean(agrees[within]) < _AGREEMENT:
        return None
    sure = bool((frames[within] == 1).any()) or _is_stated(packets, period)
    if not sure and not len(_list_jumps(packets)):
        return None
    periods = np.maximum(np.rint(steps / period), 1).astype(np.int64)
    fits = np.abs(steps - periods * period) <= tolerance
    missing = np.where(fits, periods - 1, 0)
    if not missing.any():
        return None
    return Steps(
        period=period,
        constant=True,
        variable=not fits.all(),
        missing=missing,
        doubtful=False,
        lengths=steps,
    )


def _is_stated(packets: Packets, period: float) -> bool:
    seconds = period * packets.time_base
    return any(abs(rate * seconds - 1) <= _SAME_RATE for rate in packets.stated)


def _list_jumps(packets: Packets) -> NDArray[np.int64]:
    jumps = packets.numbers.list_jumps() if packets.numbers is not None else None
    return np.empty(0, np.int64) if jumps is None else jumps


def place_frames(
    packets: Packets,
    order: NDArray[np.int32],
    keyframes: NDArray[np.int32],
    steps: Steps | None,
) -> Places:
    """Give every frame that is there its index, leaving room for those that are not."""
    none = np.empty(0, np.int64)
    frame = np.arange(len(order))
    if steps is None:
        if packets.container == _COUNTING_CONTAINER and packets.reorders:
            return _place_counted(packets, order, keyframes)
        if packets.guesses.missing:
            return _place_between_times(packets, order, keyframes)
        return Places(frame, none, none)
    if steps.missing.sum() > most_missing(len(order)):
        return Places(frame, none, none)
    guessed = _list_guesses(packets)
    if not steps.missing.any():
        return Places(frame, np.append(_find_untimed_jumps(packets), guessed + 1), guessed)
    frame[1:] += np.cumsum(steps.missing)
    breaks = find_breaks(order, frame, keyframes, reorders=packets.reorders)
    if packets.numbers is not None:
        breaks = _confirm_breaks(packets, breaks, steps.missing[steps.missing > 0], keyframes)
    # Wherever among these packets the missing one was, those after it may refer to it.
    return Places(frame, np.append(breaks, guessed + 1), guessed)


def _list_guesses(packets: Packets) -> NDArray[np.int64]:
    """List the positions of packets whose time is a guess."""
    intervals = packets.guesses.intervals
    return np.concatenate([np.empty(0, np.int64), *(np.arange(*one) for one in intervals)])


def most_missing(frames: int) -> int:
    """Return how many frames may be missing: timestamps that say more are damaged."""
    return max(_LEAST_MISSING, frames)


def _find_untimed_jumps(packets: Packets) -> NDArray[np.int64]:
    """Find packets of H.264 before which a picture is missing, though no time shows it."""
    jumps = packets.numbers.find_jumps() if packets.numbers is not None else None
    return np.empty(0, np.int64) if jumps is None else jumps


def _confirm_breaks(
    packets: Packets,
    breaks: NDArray[np.int64],
    missing: NDArray[np.int64],
    keyframes: NDArray[np.int32],
) -> NDArray[np.int64]:
    """Keep, of H.264, the breaks at which a picture is missing that others refer to.

    A recorder that drops a frame encodes the next one without it: the numbers of the pictures
    go on. They would do so too where as many pictures are lost as it takes to begin anew.
    """
    jumps = packets.numbers.list_jumps() if packets.numbers is not None else None
    if jumps is None or packets.numbers is None:
        return breaks
    again = min(int(np.diff(keyframes).min(initial=_NEVER)), packets.numbers.numbers_in_use)
    return np.concatenate([breaks[missing >= again], jumps])


def _place_counted(
    packets: Packets, order: NDArray[np.int32], keyframes: NDArray[np.int32]
) -> Places:
    """Place the frames of an AVI that are shown in another order than they are counted in.

    A missing one belongs to the group of pictures in which it is counted; its place in there
    is unknown, and with it that of the others.
    """
    lost = np.diff(np.frombuffer(packets.dts, np.int64)) - 1
    lost = np.where(lost > 0, lost, 0)
    positions = np.flatnonzero(lost) + 1
    if lost.sum() > most_missing(len(order)):
        positions = positions[:0]
    known = {position: int(lost[position - 1]) for position in positions.tolist()}
    unsure = positions - 1
    if len(positions):
        # After the last one nothing is counted: more may be lost among the last pictures.
        unsure = np.append(unsure, len(order) - 1)
    return Places(_leave_room(known, order, keyframes), positions, unsure, known)


def _place_between_times(
    packets: Packets, order: NDArray[np.int32], keyframes: NDArray[np.int32]
) -> Places:
    """Place frames of which only some state a time, and which are decoded in another order.

    What is missing between two stated times may be missing anywhere between them.
    """
    missing, guessed = dict(packets.guesses.missing), _list_guesses(packets)
    if sum(missing.values()) > most_missing(len(order)):
        return Places(np.arange(len(order)), np.empty(0, np.int64), np.empty(0, np.int64))
    starts = {first: stop for first, stop in packets.guesses.intervals if stop in missing}
    groups, known = set((keyframes + 1).tolist()), {}
    for first, stop in starts.items():
        # Each group among them may be the one that lacks all of them.
        for position in range(first + 1, stop + 1):
            begins = position in (first + 1, stop) or position in groups
            known[position] = missing[stop] if begins else 0
    frame = _leave_room(missing, order, keyframes)
    return Places(frame, guessed + 1, guessed, known)


def _leave_room(
    missing: Mapping[int, int], order: NDArray[np.int32], keyframes: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Return the index of each frame, given how many frames are missing before which packets."""
    shown = np.zeros(max(int(order.max()), *missing, 0) + 1, np.int64)
    shown[order] = np.arange(len(order))
    extra = np.zeros(len(order) + 1, np.int64)
    for position, number in missing.items():
        # All that is lost before a keyframe is shown before what comes from it on.
        at = shown[position:].min() if position in keyframes else shown[position - 1] + 1
        extra[at] += number
    return np.arange(len(order)) + np.cumsum(extra)[: len(order)]
