"""Read the timings of inference for the report, per video and for the cohort."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.core.layout import Results
from pipeline_lib.core.tables import STAGE_COLUMNS
from pipeline_lib.steps.runs.ledger import LedgerRow
from pipeline_lib.steps.runs.plan import read_plan
from pipeline_lib.steps.runs.shard_tables import read_shard_table

_FIGURES = ("seconds", "frames", "decode_share", "network_share", "wait_share")


@dataclass(frozen=True)
class InferenceTimings:
    """Hold the timings of the frames of one video or of several, in seconds of one worker.

    Attributes
    ----------
    videos, frames
        Number of videos and of frames analysed in this time.
    seconds
        Time from begin to end, summed over the workers.
    decode, network, wait
        Shares of the seconds, 0..1, in which frames were decoded, the network ran, and it
        waited for frames. Frames are decoded beside the network: decoding overlaps the others,
        the network's share and the wait together are at most one.
    """

    videos: int
    frames: int
    seconds: float
    decode: float
    network: float
    wait: float

    @property
    def frames_per_second(self) -> float:
        """Frames that a worker analyses in a second."""
        return self.frames / self.seconds


def read_timings(results: Results, model: str) -> dict[str, InferenceTimings]:
    """Read the timings of inference by video.

    Videos without timings are left out: those that failed, and those whose result existed before
    or was copied from a video of the same bytes.

    Raises
    ------
    StoreError
        If the plan or a table of the inference lacks a column.
    """
    shards = read_plan(results).shard_of if results.plan.exists() else {}
    known = {}
    for shard in dict.fromkeys(shards.values()):
        for row in _read_shard(results.shard(shard).infer(model)):
            timings = _parse_timings(row)
            if timings is not None and shards.get(row["video"]) == shard:
                known[row["video"]] = timings
    return known


def sum_timings(timings: Iterable[InferenceTimings]) -> InferenceTimings | None:
    """Return the sum of timings, shares weighted by time; None if there are none."""
    listed = list(timings)
    seconds = sum(one.seconds for one in listed)
    if not seconds:
        return None
    return InferenceTimings(
        videos=sum(one.videos for one in listed),
        frames=sum(one.frames for one in listed),
        seconds=seconds,
        decode=sum(one.decode * one.seconds for one in listed) / seconds,
        network=sum(one.network * one.seconds for one in listed) / seconds,
        wait=sum(one.wait * one.seconds for one in listed) / seconds,
    )


def find_copies(
    rows: Sequence[LedgerRow], timings: Mapping[str, InferenceTimings]
) -> dict[str, str]:
    """Return the video that each copied result was computed for.

    Results of one key come from the same bytes and were computed once: for the video that has
    timings, otherwise presumably for the first one of the sheet.
    """
    groups: dict[str, list[str]] = {}
    for row in rows:
        if row["key"]:
            groups.setdefault(row["key"], []).append(row["video"])
    copies: dict[str, str] = {}
    for videos in groups.values():
        origin = next((video for video in videos if video in timings), videos[0])
        copies |= {video: origin for video in videos if video != origin and video not in timings}
    return copies


def format_duration(seconds: float) -> str:
    """Return a duration as the page's table writes it: 4.2 s, 1:05 min, 2:00:09 h."""
    if seconds < 60:
        return f"{seconds:.{1 if seconds < 10 else 0}f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} h" if hours else f"{minutes}:{rest:02d} min"


def _read_shard(path: Path) -> list[dict[str, str]]:
    return read_shard_table(path, STAGE_COLUMNS) or []


def _parse_timings(row: Mapping[str, str]) -> InferenceTimings | None:
    # A table of an earlier version lacks these columns.
    cells = [row.get(name) or "" for name in _FIGURES]
    if not all(cells):
        return None
    seconds, frames, decode, network, wait = map(float, cells)
    return InferenceTimings(1, int(frames), seconds, decode, network, wait) if seconds > 0 else None
