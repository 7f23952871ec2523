"""Cut videos into segments: ranges of frames that are processed one by one."""

import itertools
import math
from collections.abc import Iterable

Range = tuple[int, int]  # first frame, one past the last


def find_gaps(frames: int, finished: Iterable[Range]) -> list[Range]:
    """Return what is missing of a video, in order.

    Parameters
    ----------
    frames
        Frames of the video.
    finished
        Ranges that are done, in any order; they may overlap, as after a rerun that cut the video
        in other places.
    """
    gaps, done = [], 0
    for start, stop in sorted(finished):
        if start > done:
            gaps.append((done, min(start, frames)))
        done = max(done, stop)
        if done >= frames:
            return gaps
    return [*gaps, (done, frames)]


def cut_segments(gaps: Iterable[Range], longest: int) -> list[Range]:
    """Cut ranges into the fewest segments of at most `longest` frames, about equally long."""
    segments: list[Range] = []
    for start, stop in gaps:
        parts = math.ceil((stop - start) / longest)
        bounds = [start + (stop - start) * part // parts for part in range(parts + 1)]
        segments += itertools.pairwise(bounds)
    return segments


def count_segments(lengths: Iterable[int], longest: int, *, whole: bool = False) -> int:
    """Return into how many segments videos may be cut: more workers would be idle.

    Parameters
    ----------
    lengths
        Frames of each video.
    longest
        Most frames in a segment.
    whole
        Count segments of that length only, since a worker takes long to start.
    """
    each = longest if whole else min(longest, _FEWEST)
    return sum(max(1, frames // each, -(-frames // longest)) for frames in lengths)


def choose_segment_length(frames: int, workers: int, longest: int, shortest: int) -> int:
    """Return the length at which the last segments of a run keep no worker waiting for long.

    Parameters
    ----------
    frames
        All frames to work on.
    workers
        Segments worked on at a time.
    longest, shortest
        Bounds; the shortest gives way to the longest, and to a length at which no worker is left
        without a segment.
    """
    even = math.ceil(frames / (_SEGMENTS_PER_WORKER * workers))
    share = max(_FEWEST, math.ceil(frames / workers))
    return min(longest, max(min(shortest, share), even))


# A worker that ends first idles for half a segment on average: 1/16 of its time at most.
_SEGMENTS_PER_WORKER = 8
# To start a worker and to begin a segment costs as much as some frames of a light network.
_FEWEST = 32
