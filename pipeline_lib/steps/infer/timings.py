"""Keep the timings of each video's inference for when its table is written again.

Pose files cannot contain timings, since two runs must give the same bytes. Snakemake deletes the
table before it runs a job again, which then finds the poses finished.
"""

from contextlib import suppress
from dataclasses import astuple, replace
from pathlib import Path

from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.io.poses.segments import Timings
from pipeline_lib.steps.infer.tasks import Outcome


class TimingRecord:
    """Record the timings of inferred videos in a file, one line per video.

    Parameters
    ----------
    path
        The file; the first line creates it. Timings in a missing file or in a truncated line are
        unknown, and no result depends on them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._timings: dict[tuple[str, str], Timings] = {}
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        for line in text.splitlines():
            # Skip a truncated line and the one appended to it.
            with suppress(ValueError):
                video, key, seconds, decode, network, wait = line.split("\t")
                timings = Timings(float(seconds), float(decode), float(network), float(wait))
                self._timings[video, key] = timings

    def complete(self, outcome: Outcome) -> Outcome:
        """Record the timings of an outcome, or add recorded ones to an outcome without."""
        if outcome.status != VideoStatus.DONE:
            return outcome
        name = outcome.video, outcome.key
        if outcome.timings is None:
            return replace(outcome, timings=self._timings.get(name))
        self._timings[name] = outcome.timings
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\t".join([*name, *map(repr, astuple(outcome.timings))]) + "\n")
        return outcome
