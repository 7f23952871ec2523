"""What the inference of each video took, remembered when its table is written again.

Pose files cannot hold it: those of two runs are the same to the byte. Snakemake deletes the
table before it runs the job again, which then finds the poses there.
"""

from contextlib import suppress
from dataclasses import astuple, replace
from pathlib import Path

from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.io.poses.segments import Work
from pipeline_lib.steps.infer.tasks import Outcome


class WorkRecord:
    """One line per video that was inferred, appended as it ends.

    Parameters
    ----------
    path
        The file, made with the first line. Without it, or with a line that a kill cut short,
        what some videos took is unknown: no result depends on it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._works: dict[tuple[str, str], Work] = {}
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        for line in text.splitlines():
            # Of a line cut short, and of what came behind it.
            with suppress(ValueError):
                video, key, seconds, decode, network, wait = line.split("\t")
                work = Work(float(seconds), float(decode), float(network), float(wait))
                self._works[video, key] = work

    def complete(self, outcome: Outcome) -> Outcome:
        """Remember what a video took, or tell what it took when it was inferred."""
        if outcome.status != VideoStatus.DONE:
            return outcome
        name = outcome.video, outcome.key
        if outcome.work is None:
            return replace(outcome, work=self._works.get(name))
        self._works[name] = outcome.work
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\t".join([*name, *map(repr, astuple(outcome.work))]) + "\n")
        return outcome
