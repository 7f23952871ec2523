"""Find the tables of decisions about the tracks of each video.

Imports are light, for `status`.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.settings.run import Config
from pipeline_lib.io.corrections.tracks import hash_tables, index_decision_tables

# Column of the table of the stage `correct`: hash of the tables of decisions that were read.
DECISIONS_HASH = "decisions_hash"


class DecisionTables:
    """Find the tables of decisions of each video; the folder is listed once.

    Parameters
    ----------
    config
        Names the folder of corrections.
    """

    def __init__(self, config: Config) -> None:
        self._folder = Path(config.corrections.path)

    def list_tables(self, video: str) -> tuple[Path, ...]:
        """Return the tables of decisions about a video.

        Raises
        ------
        LabelError
            If links or other files stand among the tables.
        """
        return self._tables.get(video, ())

    def hash(self, video: str) -> str:
        """Return the hash of the tables of a video; empty if there is none."""
        return hash_tables(self.list_tables(video))

    def is_current(self, video: str, row: Mapping[str, str]) -> bool:
        """Tell whether a row of the stage `correct` was made from the present tables."""
        try:
            return self.hash(video) == row.get(DECISIONS_HASH, "")
        except LabelError:
            # The next run says so; nothing is known until then.
            return False

    def list_videos(self) -> tuple[str, ...]:
        """Return the videos that have decisions, sorted."""
        return tuple(sorted(self._tables))

    @cached_property
    def _tables(self) -> Mapping[str, tuple[Path, ...]]:
        return index_decision_tables(self._folder)
