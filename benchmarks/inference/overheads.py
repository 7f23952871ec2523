"""Measure the overheads of inference: memory, many short videos, a restart."""

import math
import statistics

from benchmarks.inference.figures import LITE, TINY, Bench, Figure, Row
from benchmarks.inference.timed_runs import Run, prepare_run
from benchmarks.inference.videos import copy_video, remux_video, write_small_video
from pipeline_lib.core.errors import CohortposeError

SMALL_SIZE = (64, 64)

MEMORY_COLUMNS = ("video", "network", "width", "height", "frames", "worker_megabytes")
MANY_COLUMNS = ("cohort", "width", "height", "videos", "frames", "seconds")


def measure_memory(bench: Bench) -> list[Figure]:
    """Measure a worker's peak memory for a short and a long video, and for frames of real size.

    The short and the long video use a very light network, so that growth with the video is visible.
    """
    given, folder = bench.given, bench.folder / "memory"
    videos = {name: folder / "videos" / f"{name}.mp4" for name in ("short", "long", "whole")}
    networks = {"short": TINY, "long": TINY, "whole": LITE}
    write_small_video(bench.source, videos["short"], given.short, SMALL_SIZE)
    remux_video(videos["short"], videos["long"], "long", times=math.ceil(given.long / given.short))
    remux_video(bench.source, videos["whole"], "whole", frames=given.whole)
    runs = {
        name: prepare_run(
            folder / name, [path], bench.network(networks[name]), settings=given.settings
        )
        for name, path in videos.items()
    }
    peaks = dict.fromkeys(runs, 0)
    for number in range(given.rounds):
        for name, run in runs.items():
            print(f"memory, {name} video: round {number + 1} of {given.rounds}")
            peaks[name] = max(peaks[name], run.infer_watched())
    rows = [describe_memory(name, run, networks[name], peaks[name]) for name, run in runs.items()]
    bench.report("memory", MEMORY_COLUMNS, rows)
    frames = f"{runs['long'].count_frames()} frames to {runs['short'].count_frames()}"
    growth = peaks["long"] / peaks["short"]
    return [
        Figure(f"memory of a worker, {frames}", growth, 1.1, at_most=True),
        Figure("memory of a worker with lite0 (GB)", peaks["whole"] / 1e9, 2.0, at_most=True),
    ]


def describe_memory(name: str, run: Run, network: str, peak: int) -> Row:
    """Return the row of a cohort of one video; `peak` in bytes."""
    (row,) = run.read_outcomes("probe")
    return {
        "video": name,
        "network": network,
        "width": row["width"],
        "height": row["height"],
        "frames": row["frames"],
        "worker_megabytes": peak / 1e6,
    }


def measure_many(bench: Bench) -> list[Figure]:
    """Compare many short videos with one long video of the same pixels; measure a restart."""
    given, folder = bench.given, bench.folder / "many"
    short, long = folder / "videos" / "short.mp4", folder / "videos" / "long.mp4"
    write_small_video(bench.source, short, given.short, tuple(given.size))
    remux_video(short, long, title="long", times=given.many)
    copies = copy_video(short, folder / "videos" / "copies", given.many)
    network = bench.network(LITE)
    runs = {
        name: prepare_run(folder / name, paths, network, settings=given.settings)
        for name, paths in (("one", [long]), ("many", copies))
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(given.rounds):
        for name, run in runs.items():
            print(f"{name} of {given.many}: round {number + 1} of {given.rounds}")
            seconds[name].append(run.infer())
    ratio = statistics.median(
        many / one for one, many in zip(seconds["one"], seconds["many"], strict=True)
    )
    restart, changed = restart_run(runs["many"])
    size = dict(zip(("width", "height"), given.size, strict=True))
    rows: list[Row] = [
        {"cohort": name, **size, "videos": len(run.read_outcomes("probe"))}
        | {"frames": run.count_frames(), "seconds": statistics.median(seconds[name])}
        for name, run in runs.items()
    ]
    rows.append({**rows[-1], "cohort": "many, again", "seconds": restart})
    bench.report("many", MANY_COLUMNS, rows)
    videos = f"{given.many} videos"
    return [
        Figure(f"{videos} to one of as many frames, seconds", ratio, 1.3, at_most=True),
        Figure(f"{videos}, restart after the end (s)", restart, 10.0, at_most=True),
        Figure(f"{videos}, files written again by the restart", changed, 0, at_most=True),
    ]


def restart_run(run: Run) -> tuple[float, int]:
    """Infer a finished cohort again, without its tables.

    Returns
    -------
    seconds
        Duration of the second run.
    changed
        Pose files that were rewritten, removed or added.
    """
    before = run.identify_poses()
    if not before:
        raise CohortposeError(f"{run.folder}: there are no poses to be found again")
    run.forget_outcomes()
    seconds = run.infer_again()
    after = run.identify_poses()
    return seconds, len(set(before.items()) ^ set(after.items()))
