"""Simulate the schedule of a cohort on 1 to 64 GPUs: duration and idle time.

Two arrangements are compared. In `jobs`, each shard is a job with its own GPU, as Snakemake submits
them to a cluster. In `pool`, jobs follow each other, each with Dask workers on all GPUs. Segments
are cut by the engine's kernel, and the longest videos come first.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.kernels.segments import choose_segment_length, cut_segments

SIMULATION_COLUMNS = (
    "arrangement",
    "gpus",
    "hours",
    "speed_up",
    "overhead_share",
    "idle_share",
    "failed_shards",
)
_SHORTEST_SEGMENT = 200
_SECONDS_PER_HOUR = 3600.0

Row = dict[str, object]
Rng = np.random.Generator


@dataclass(frozen=True)
class Workload:
    """Describe a cohort and the cost of processing it.

    Attributes
    ----------
    videos
        Number of videos.
    median_frames, spread
        Median of the lognormal lengths, and standard deviation of their logarithm.
    frames_per_second
        Rate of one GPU, with decoding and post-processing in parallel.
    start_seconds
        Time from the start of a job to its first frame: scheduler, Snakemake, Python, workers,
        network.
    straggling
        Standard deviation of the logarithm of a job's slowdown on a slow machine.
    losses_per_hour
        Rate at which a GPU is lost with its segment, per hour of work.
    retries
        Number of retries of a job.
    """

    videos: int = 10_000
    median_frames: int = 18_000
    spread: float = 0.5
    frames_per_second: float = 500.0
    start_seconds: float = 30.0
    straggling: float = 0.2
    losses_per_hour: float = 0.01
    retries: int = 2


@dataclass
class Tally:
    """Sum up the jobs of a run, in seconds of one GPU.

    Attributes
    ----------
    makespan
        Time from the start of the first job to the end of the last one.
    work
        Time spent on frames that were kept.
    overhead
        Time of starts and of lost work.
    failed
        Number of failed shards.
    """

    makespan: float = 0.0
    work: float = 0.0
    overhead: float = 0.0
    failed: int = 0


def tabulate_simulation(load: Workload, gpus: Sequence[int], seed: int = 0) -> list[Row]:
    """Return one row per arrangement and number of GPUs.

    ``overhead_share`` is a share of the time that jobs held GPUs; ``idle_share`` is a share of the
    makespan of all GPUs, and includes the tails of jobs.
    """
    settings = InferenceSettings()
    shards = draw_shards(load, settings.shard_videos, seed)
    simulations = {"jobs": simulate_jobs, "pool": simulate_pool}
    rows: list[Row] = []
    for name, simulate in simulations.items():
        alone = 0.0
        for count in gpus:
            # The same lengths and random numbers for all.
            tally = simulate(shards, load, count, settings, np.random.default_rng(seed))
            alone = alone or tally.makespan * count
            held = tally.work + tally.overhead
            rows.append(
                {
                    "arrangement": name,
                    "gpus": count,
                    "hours": tally.makespan / _SECONDS_PER_HOUR,
                    "speed_up": alone / tally.makespan,
                    "overhead_share": tally.overhead / held,
                    "idle_share": 1 - held / (count * tally.makespan),
                    "failed_shards": tally.failed,
                }
            )
    return rows


def draw_shards(load: Workload, shard_videos: int, seed: int) -> list[NDArray[np.int64]]:
    """Return the frames of the videos of each shard, in the order of the sheet."""
    rng = np.random.default_rng(seed)
    frames = rng.lognormal(np.log(load.median_frames), load.spread, load.videos)
    frames = np.maximum(1, np.rint(frames)).astype(np.int64)
    return [frames[start : start + shard_videos] for start in range(0, len(frames), shard_videos)]


def simulate_jobs(
    shards: Sequence[NDArray[np.int64]],
    load: Workload,
    gpus: int,
    settings: InferenceSettings,
    rng: Rng,
) -> Tally:
    """Simulate each shard as a job on the first free GPU; a lost job resumes on another GPU.

    Finished segments are kept, so that a lost GPU costs a start and one segment.
    """
    tally = Tally()
    free = [0.0] * gpus
    waiting = deque((cut_shard(shard, 1, settings), load.retries) for shard in shards)
    while waiting:
        segments, retries = waiting.popleft()
        begin = heapq.heappop(free)
        # All segments of a job share the slowdown of its machine.
        rate = load.frames_per_second / rng.lognormal(0.0, load.straggling)
        lost = _draw_loss(load, rng)
        ends = np.cumsum(np.asarray(segments) / rate)
        done = int(np.searchsorted(ends, lost, side="right"))
        kept = float(ends[done - 1]) if done else 0.0
        took = kept if done == len(segments) else lost
        end = begin + load.start_seconds + took
        heapq.heappush(free, end)
        tally.work += kept
        tally.overhead += load.start_seconds + took - kept
        tally.makespan = max(tally.makespan, end)
        if done < len(segments) and retries:
            waiting.appendleft((segments[done:], retries - 1))
        elif done < len(segments):
            tally.failed += 1
    return tally


def simulate_pool(
    shards: Sequence[NDArray[np.int64]],
    load: Workload,
    gpus: int,
    settings: InferenceSettings,
    rng: Rng,
) -> Tally:
    """Simulate all GPUs on one shard at a time; a lost GPU returns after a start.

    A lost segment is tried again any number of times: `load.retries` applies to jobs.
    """
    tally = Tally()
    for shard in shards:
        begin = tally.makespan
        tally.overhead += load.start_seconds * gpus
        slowness = rng.lognormal(0.0, load.straggling, gpus)
        # When each worker is free, and which one it is: workers differ.
        workers = [(begin + load.start_seconds, worker) for worker in range(gpus)]
        left = deque(cut_shard(shard, gpus, settings))
        end = begin
        while left:
            time, worker = heapq.heappop(workers)
            frames = left.popleft()
            seconds = frames * slowness[worker] / load.frames_per_second
            lost = _draw_loss(load, rng)
            if lost < seconds:
                left.appendleft(frames)
                tally.overhead += lost + load.start_seconds
                time += lost + load.start_seconds
            else:
                tally.work += seconds
                time += seconds
                end = max(end, time)
            heapq.heappush(workers, (time, worker))
        tally.makespan = end
    return tally


def cut_shard(frames: NDArray[np.int64], workers: int, settings: InferenceSettings) -> list[int]:
    """Return the frames of each segment of a shard, in the order in which the engine starts them.

    The longest video comes first, and the segments of a video follow each other.
    """
    shortest = min(_SHORTEST_SEGMENT, settings.segment_frames)
    length = choose_segment_length(int(frames.sum()), workers, settings.segment_frames, shortest)
    cut = (cut_segments([(0, int(video))], length) for video in sorted(frames, reverse=True))
    return [stop - start for start, stop in itertools.chain.from_iterable(cut)]


def _draw_loss(load: Workload, rng: Rng) -> float:
    """Return the seconds of work after which a GPU is lost; infinity for never."""
    if not load.losses_per_hour:
        return float("inf")
    return float(rng.exponential(_SECONDS_PER_HOUR / load.losses_per_hour))
