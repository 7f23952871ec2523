"""Survey the doubts of all videos while the page is open, so that the worst of all come first."""

import logging
import threading
from typing import Any

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.label.project import Project
from pipeline_lib.steps.correct.cohort_doubts import CohortDoubt, name_doubts, rank_doubts
from pipeline_lib.steps.correct.proofreading import Proofreader, ProofreadState, make_doubt_rules

# Largest number of doubts that the page is told of.
_MOST_SHOWN = 1000
_log = logging.getLogger(__name__)


class Survey:
    """Collect the doubts of all videos in a thread of its own.

    A video is looked at again when its tracks or decisions have changed. All methods may be called
    from several threads.

    Parameters
    ----------
    project
        The run.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._lock = threading.Lock()
        self._found: dict[str, tuple[str, list[CohortDoubt]]] = {}  # version and doubts
        self._thread: threading.Thread | None = None

    def take(self, video: str, state: ProofreadState) -> None:
        """Note the doubts of a video that somebody has just read."""
        doubts = name_doubts(video, state)
        with self._lock:
            self._found[video] = (state.version, doubts)

    def read(self) -> tuple[list[CohortDoubt], dict[str, int]]:
        """Return the worst doubts found so far, and how many videos were looked at.

        Videos that have changed are looked at meanwhile: ask again while ``running`` is 1.
        """
        tracked = set(self._list_tracked())
        with self._lock:
            running = self._thread is not None and self._thread.is_alive()
            if not running:
                self._thread = threading.Thread(target=self._look, daemon=True)
                self._thread.start()
            known = {video: found for video, found in self._found.items() if video in tracked}
        doubts = rank_doubts([one for _, found in known.values() for one in found])
        state = {
            "tracked": len(tracked),
            "checked": len(known),
            "running": int(running),
            "total": len(doubts),
        }
        return doubts[:_MOST_SHOWN], state

    def _list_tracked(self) -> list[str]:
        name = self._project.config.training.name
        tracked = self._project.results.tracked
        return [video for video in self._project.videos if tracked(name, video).exists()]

    def _look(self) -> None:
        for video in self._list_tracked():
            try:
                self._look_at(video)
            except CohortposeError as error:
                _log.warning("%s: its doubts are not listed: %s", video, error)
                with self._lock:
                    self._found[video] = ("", [])

    def _look_at(self, video: str) -> None:
        project = self._project
        config = project.config
        reader = Proofreader(
            project.corrections,
            video,
            project.results.tracked(config.training.name, video),
            project.author,
            make_doubt_rules(config.corrections, config.tracking),
        )
        with self._lock:
            known = self._found.get(video, ("", []))[0]
        if reader.name_version() == known:
            return
        state = reader.read()
        # Somebody may have decided meanwhile: what was read then is newer.
        if reader.name_version() == state.version:
            self.take(video, state)


def describe_cohort_doubt(one: CohortDoubt) -> dict[str, Any]:
    """Return a doubt as the page shows it in the list of all videos."""
    return {
        "video": one.video,
        "frame": one.doubt.frame,
        "probability": round(one.doubt.probability, 3),
        "why": " and ".join(one.individuals),
    }
