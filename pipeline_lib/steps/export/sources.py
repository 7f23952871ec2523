"""What is exported of the videos of a shard, and what the exported files depend on."""

from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline_lib.core import versions
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import PROBE_COLUMNS
from pipeline_lib.io.exports.source import ExportSource
from pipeline_lib.io.poses.read import require_pose_key
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.models.card import read_card
from pipeline_lib.steps.filter import locate_unfiltered


class ExportSources:
    """Poses to export of a shard's videos, as `exports.source` has it.

    Parameters
    ----------
    config
        Settings of the run.
    results
        The results folder.
    shard
        Name of the shard.
    """

    def __init__(self, config: Config, results: Results, shard: str) -> None:
        self._config, self._results = config, results
        self._model, self._files = config.training.name, results.shard(shard)
        self._several = config.individuals.max > 1
        self._linked = config.exports.linked

    @property
    def stage_table(self) -> Path:
        """How the stage before ended for each video."""
        if self._config.exports.source == "filtered":
            return self._files.filter(self._model)
        return self._files.track(self._model) if self._several else self._files.infer(self._model)

    def locate(self, video: str) -> Path:
        """Return the pose file of a video."""
        if self._config.exports.source == "filtered":
            return self._results.filtered(self._model, video)
        return locate_unfiltered(self._config, self._results, video)

    def make_key(self, video: str, pose_key: str) -> str:
        """Return the hash of what the exported files of poses with a key depend on.

        Raises
        ------
        CohortposeError
            If the shard's table of probing or the model's card is missing or damaged.
        """
        settings = self._config.exports
        if not self._linked:
            return hash_settings(pose_key, settings, versions.EXPORT)
        skeleton = self._skeleton.model_dump(mode="json", include={"edges", "symmetries"})
        facts = {name: str(value) for name, value in self._describe(video).items()}
        return hash_settings(pose_key, settings, versions.EXPORT, skeleton, facts)

    def describe(self, video: str) -> ExportSource:
        """Return the poses of a video and what other tools ask for besides.

        Raises
        ------
        CohortposeError
            If the poses, the shard's table of probing or the model's card are missing or damaged.
        """
        poses = self.locate(video)
        needed = self._linked or self._several
        return ExportSource(
            poses=poses,
            scorer=self._config.exports.scorer,
            skeleton=self._skeleton if needed else Skeleton(),
            key=self.make_key(video, require_pose_key(poses)),
            **(self._describe(video) if self._linked else {}),
        )

    def _describe(self, video: str) -> dict[str, Any]:
        """Return where a video is, and the size of its frames."""
        if video not in self._probed:
            raise StoreError(
                f"{self._files.probe}: no row of video {video}; run the workflow again"
            )
        row = self._probed[video]
        return {
            "video": Path(row["path"]),
            "width": int(row["width"] or 0),
            "height": int(row["height"] or 0),
        }

    @cached_property
    def _probed(self) -> dict[str, dict[str, str]]:
        return {row["video"]: row for row in read_table(self._files.probe, PROBE_COLUMNS)}

    @cached_property
    def _skeleton(self) -> Skeleton:
        """What the network was trained on; edges and symmetries are the config's if it has any."""
        own, card = self._config.skeleton, self._results.model(self._model).card
        if not card.exists():
            return own
        trained = read_card(card).skeleton
        drawn = {"edges": own.edges, "symmetries": own.symmetries}
        return trained.model_copy(update={name: pairs for name, pairs in drawn.items() if pairs})
