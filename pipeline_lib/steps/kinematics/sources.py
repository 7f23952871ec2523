"""Find what the kinematics of a shard's videos depend on, and compute the keys of their tables."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline_lib.core import versions
from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.formats.kinematics import (
    Column,
    Subjects,
    TableName,
    list_columns,
    list_tables,
)
from pipeline_lib.core.layout import Results
from pipeline_lib.core.regions import Region
from pipeline_lib.core.settings.outputs.kinematics import KinematicsSettings
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import PROBE_COLUMNS
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.kinematics.regions import choose_regions, gather_regions


@dataclass(frozen=True)
class VideoFacts:
    """Hold what the tables of a video depend on besides its poses and the settings.

    Attributes
    ----------
    video
        Its name.
    width, height
        Of its frames in px; 0 if unknown.
    scale
        Millimetres per pixel; None if none is needed.
    regions
        Its regions by name, in the unit of the settings.
    cells
        Cells of the cohort sheet by column.
    """

    video: str
    width: int
    height: int
    scale: float | None
    regions: dict[str, Region]
    cells: dict[str, str]


class KinematicsSources:
    """Describe the videos of a shard for their kinematics.

    Parameters
    ----------
    config, results, shard
        The run.
    """

    def __init__(self, config: Config, results: Results, shard: str) -> None:
        self._config, self._files = config, results.shard(shard)
        self.settings: KinematicsSettings = config.kinematics

    @cached_property
    def subjects(self) -> Subjects:
        """Return the bodyparts, pairs, angles and regions that have columns.

        Raises
        ------
        ConfigError
            If a region is none.
        """
        names = (one.name for one in self._regions)
        return self.settings.list_subjects(names, several=self._config.individuals.max > 1)

    @cached_property
    def tables(self) -> dict[TableName, tuple[Column, ...]]:
        """Return the columns of each table that is written."""
        return {
            name: list_columns(name, self.subjects, self.settings.unit, self._joined)
            for name in list_tables(self.subjects)
        }

    def make_key(self, video: str, pose_key: str) -> str:
        """Return the key of the tables of a video: the hash of all that they depend on.

        Raises
        ------
        CohortposeError
            As `describe`.
        """
        facts = self.describe(video)
        return hash_settings(
            pose_key,
            self.settings.result_settings(),
            versions.KINEMATICS,
            {"several": self._config.individuals.max > 1},
            {"regions": list(self.subjects["regions"])},
            {
                name: [ring.tolist() for ring in region.rings]
                for name, region in facts.regions.items()
            },
            {"size": [facts.width, facts.height], "scale": facts.scale},
            facts.cells,
        )

    def describe(self, video: str) -> VideoFacts:
        """Return what the tables of a video depend on.

        Raises
        ------
        CohortposeError
            If the video is not in the sheet or has no scale that is needed, a region is none, or
            the table of the probe is missing.
        """
        row, probed = self._sheet.get(video), self._probed.get(video)
        if row is None:
            raise StoreError(
                f"video {video} is no longer in the sheet {self._config.cohort}: run Snakemake"
            )
        if probed is None:
            raise StoreError(f"{self._files.probe}: no row of video {video}; run again")
        own = {"session": row.session, "camera": row.camera, **row.metadata}
        return VideoFacts(
            video,
            int(probed["width"] or 0),
            int(probed["height"] or 0),
            find_scale(self.settings, row) if self.settings.needs_scale else None,
            choose_regions(self._regions, video, row.camera),
            {name: own.get(name, "") for name in self._joined},
        )

    @cached_property
    def _regions(self) -> tuple[Region, ...]:
        return gather_regions(self.settings)

    @cached_property
    def _joined(self) -> tuple[str, ...]:
        """Return the columns of the sheet that the tables have."""
        rows = self._sheet.values()
        known = [name for name in ("session", "camera") if any(getattr(row, name) for row in rows)]
        first = next(iter(rows), None)
        return (*known, *(first.metadata if first else ()))

    @cached_property
    def _sheet(self) -> dict[str, Video]:
        return {row.video: row for row in read_cohort(Path(self._config.cohort))}

    @cached_property
    def _probed(self) -> dict[str, dict[str, str]]:
        return {row["video"]: row for row in read_table(self._files.probe, PROBE_COLUMNS)}


def find_scale(settings: KinematicsSettings, row: Video) -> float:
    """Return the millimetres per pixel of a video: its own, its camera's, or that of all.

    Raises
    ------
    StoreError
        If it has none, or its cell is no positive number.
    """
    column = settings.mm_per_px_column
    cell = row.metadata.get(column, "").strip() if column else ""
    if cell:
        try:
            scale = float(cell)
        except ValueError:
            scale = math.nan
        if not (math.isfinite(scale) and scale > 0):
            raise StoreError(
                f"column {column} of the sheet has {cell!r}, expected millimetres per pixel: a "
                "positive number with a decimal point"
            )
        return scale
    if row.camera in settings.mm_per_px_of_camera:
        return settings.mm_per_px_of_camera[row.camera]
    if settings.mm_per_px is not None:
        return settings.mm_per_px
    where = f"its cell of column {column} is empty, " if column else ""
    raise StoreError(
        f"has no scale: {where}its camera {row.camera!r} is not in "
        "`kinematics.mm_per_px_of_camera`, and `kinematics.mm_per_px` is not set"
    )
