"""Hold what the page needs of a run: its videos, names, labels and the author."""

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL
from pipeline_lib.core.untrusted.bundle_address import names_bundle
from pipeline_lib.core.untrusted.names import find_text_problem
from pipeline_lib.io.corrections.labels import BodypartChange
from pipeline_lib.io.labels.table import Labels, read_labels
from pipeline_lib.label.frames import FrameReader
from pipeline_lib.steps.import_labels.correction_inputs import (
    CorrectedLabels,
    choose_iteration,
    rename_skeleton,
)


@dataclass(frozen=True)
class Project:
    """Hold a run as the page needs it.

    Attributes
    ----------
    config
        Its settings.
    results
        Its results, which the page reads and never changes.
    author
        Name under which corrections are stored.
    """

    config: Config
    results: Results
    author: str

    def __post_init__(self) -> None:
        problem = find_text_problem(self.author)
        if problem or self.author != self.author.strip():
            raise ConfigError(
                "--author", [f"{self.author!r} {problem or 'begins or ends with a blank'}"]
            )

    @property
    def corrections(self) -> Path:
        """Return the folder of the corrections."""
        return Path(self.config.corrections.path)

    @cached_property
    def videos(self) -> dict[str, Path]:
        """Return the path of each video of the cohort by its name, in the order of the sheet."""
        return {video.video: video.path for video in read_cohort(Path(self.config.cohort))}

    @cached_property
    def frames(self) -> FrameReader:
        """Return the reader of the frames of all videos."""
        return FrameReader(self.videos, self.config.reading.seconds_per_frame)

    @property
    def iteration(self) -> int:
        """Return the iteration of new labels."""
        return choose_iteration(self.config, self.results)

    def list_networks(self) -> tuple[str, ...]:
        """Return the networks whose results are worth a look: this one, and the one before it.

        That is the one named by ``training.start_from``, or, while neither has chosen frames, the
        one that `refine` has last chosen frames of.
        """
        training = self.config.training
        start = training.start_from
        names = [training.name, *([start] if start and not names_bundle(start) else [])]
        if not any(self.results.refined_table(name).is_file() for name in names):
            tables = self.results.refined_table("*")
            found = self.results.root.glob(str(tables.relative_to(self.results.root)))
            newest = max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
            names += [newest.parent.name] if newest is not None else []
        return tuple(dict.fromkeys(names))

    def read_labels(self) -> Labels | None:
        """Return the labels that were imported; None where there are none.

        Raises
        ------
        StoreError
            If they are damaged.
        """
        if not self.results.labels.is_file():
            return None
        return read_labels(self.results.labels)

    def name_skeleton(self, labels: Labels | None, changes: Sequence[BodypartChange]) -> Skeleton:
        """Return the skeleton of the config, or that of the labels, with the present names.

        Parameters
        ----------
        labels
            Those that were imported.
        changes
            Bodyparts added and renamed for the whole project, oldest first.

        Raises
        ------
        LabelError
            If what results is no skeleton.
        """
        skeleton = self.config.skeleton
        if not skeleton.bodyparts and labels is not None:
            skeleton = labels.skeleton
        corrected = CorrectedLabels(changes=tuple(changes))
        renamed = rename_skeleton(skeleton, corrected, corrected.added)
        return renamed if renamed.bodyparts else renamed.with_bodyparts(corrected.added)

    def name_individuals(self, labels: Labels | None) -> tuple[str, ...]:
        """Return the names that animals have."""
        individuals = self.config.individuals
        if individuals.max == 1:
            return (SINGLE_INDIVIDUAL,)
        known = individuals.names or (labels.individuals if labels else ())
        more = (f"individual{number}" for number in range(1, individuals.max + 1))
        return tuple(dict.fromkeys((*known, *more)))[: max(individuals.max, len(known))]


def choose_author(given: str | None) -> str:
    """Return the name that was given, or that of the user's account.

    Raises
    ------
    ConfigError
        If the account has no name.
    """
    found = find_account() if given is None else given
    if found is None:
        raise ConfigError("--author", ["this account has no name: say who labels"])
    return found


def find_account() -> str | None:
    """Return the name of the user's account; None where it has none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
