"""Locate the poses of a shard's videos for export, and compute the keys of exported files."""

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline_lib.core import versions
from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.errors import SheetError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import PROBE_COLUMNS
from pipeline_lib.io.exports.session import Session, hash_sessions, read_session
from pipeline_lib.io.exports.source import ExportSource, name_video, spell_path
from pipeline_lib.io.poses.read import require_pose_key
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.models.card import read_card
from pipeline_lib.steps.filter import locate_unfiltered

_log = logging.getLogger(__name__)


class ExportSources:
    """Find the poses to export of a shard's videos, as `exports.source` chooses them.

    Parameters
    ----------
    config
        Settings of the run.
    results
        The results folder.
    shard
        Name of the shard.

    Attributes
    ----------
    problems
        Videos by problem: facts that the sheet lacks, or cells that cannot be parsed, of the
        videos described so far.
    """

    def __init__(self, config: Config, results: Results, shard: str) -> None:
        self._config, self._results = config, results
        self._model, self._files = config.training.name, results.shard(shard)
        self._several = config.individuals.max > 1
        self._linked, self._described = config.exports.linked, config.exports.described
        self.problems: dict[str, list[str]] = {}

    @property
    def stage_table(self) -> Path:
        """Return the table of the previous stage, with the outcome of each video."""
        if self._config.exports.source == "filtered":
            return self._files.filter(self._model)
        return self._files.correct(self._model) if self._several else self._files.infer(self._model)

    def locate(self, video: str) -> Path:
        """Return the pose file of a video."""
        if self._config.exports.source == "filtered":
            return self._results.filtered(self._model, video)
        return locate_unfiltered(self._config, self._results, video)

    def make_key(self, video: str, pose_key: str) -> str:
        """Return the key of the exported files: the hash of all that they depend on.

        Parameters
        ----------
        video
            Name of the video.
        pose_key
            Key of its poses.

        Raises
        ------
        CohortposeError
            If the probe table of the shard or the model card is missing or damaged.
        """
        settings = self._config.exports
        if not self._linked:
            return hash_settings(pose_key, settings, versions.EXPORT)
        skeleton = self._skeleton.model_dump(mode="json", include={"edges", "symmetries"})
        facts = {name: str(value) for name, value in self._describe(video).items()}
        row = self._sheet.get(video) if self._described else None
        session = hash_sessions([row] if row else [])
        return hash_settings(pose_key, settings, versions.EXPORT, skeleton, facts, session)

    def describe(self, video: str) -> ExportSource:
        """Return the poses of a video and the metadata that other tools need.

        Raises
        ------
        CohortposeError
            If the poses, the probe table of the shard or the model card are missing or damaged.
        """
        poses = self.locate(video)
        session = Session()
        if self._described:
            session, problems = self._read_session(video)
            for problem in problems:
                self.problems.setdefault(problem, []).append(video)
        needed = self._linked or self._several
        return ExportSource(
            poses=poses,
            scorer=self._config.exports.scorer,
            skeleton=self._skeleton if needed else Skeleton(),
            key=self.make_key(video, require_pose_key(poses)),
            session=session,
            **(self._describe(video) if self._linked else {}),
        )

    def _describe(self, video: str) -> dict[str, Any]:
        """Return the name of a video in exported files, and the size of its frames in px."""
        if video not in self._probed:
            raise StoreError(
                f"{self._files.probe}: no row of video {video}; run the workflow again"
            )
        row = self._probed[video]
        # Of poses without a video the name stands for it.
        named = row["video"] if row["path"] == row.get("poses") else row["path"]
        path, folder = Path(named), self._results.exported(self._model, video, "h5").parent
        return {
            "video": spell_path(
                path if self._config.exports.absolute_paths else name_video(path, folder)
            ),
            "width": int(row["width"] or 0),
            "height": int(row["height"] or 0),
        }

    def _read_session(self, video: str) -> tuple[Session, list[str]]:
        """Return session and subject of a video from the sheet, and the problems found."""
        row = self._sheet.get(video)
        if row is None:
            return Session(), [f"not in the sheet {self._config.cohort}: no session or subject"]
        return read_session(row.metadata, row.session)

    @cached_property
    def _sheet(self) -> dict[str, Video]:
        """Return the rows of the sheet; none if it disappeared after the run was planned."""
        try:
            return {row.video: row for row in read_cohort(Path(self._config.cohort))}
        except SheetError as error:
            _log.warning("NWB files are written without session and subject: %s", error)
            return {}

    @cached_property
    def _probed(self) -> dict[str, dict[str, str]]:
        return {row["video"]: row for row in read_table(self._files.probe, PROBE_COLUMNS)}

    @cached_property
    def _skeleton(self) -> Skeleton:
        """Return the network's skeleton, with edges and symmetries of the config if it has any."""
        own, card = self._config.skeleton, self._results.model(self._model).card
        if not card.exists():
            return own
        trained = read_card(card).skeleton
        drawn = {"edges": own.edges, "symmetries": own.symmetries}
        return trained.model_copy(update={name: pairs for name, pairs in drawn.items() if pairs})
