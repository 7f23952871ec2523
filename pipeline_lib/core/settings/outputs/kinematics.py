"""Settings of kinematics: what is measured of poses, and in which unit."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline_lib.core.formats.kinematics import TABLES, Subjects, list_columns
from pipeline_lib.core.settings.base import (
    FINITE,
    Flag,
    Name,
    NotNegativeFloat,
    PathText,
    PositiveFloat,
    PositiveInt,
    Settings,
)

_Number = Annotated[float, FINITE]


class RegionSettings(Settings):
    """Describe a region of interest: a polygon; the key holds a list of them."""

    name: Name = Field(description="Name of the region in the tables.")
    polygon: tuple[tuple[_Number, _Number], ...] = Field(
        description="Corners `[x, y]` in `regions_unit`, three or more."
    )
    video: str | None = Field(None, description="The only video with this region; null: all.")
    camera: str | None = Field(None, description="The only camera with this region; null: all.")


class KinematicsSettings(Settings):
    """Measure speeds, angles, distances and visits of regions, as tables for the whole cohort."""

    enabled: Flag = Field(default=False, description="Write the tables in each run.")
    unit: Literal["px", "mm"] = Field("px", description="Unit of lengths in the tables.")
    mm_per_px: PositiveFloat | None = Field(
        None, description="Millimetres per pixel of every video without a scale of its own."
    )
    mm_per_px_column: str | None = Field(
        None, description="Column of the cohort sheet with the millimetres per pixel of each video."
    )
    mm_per_px_of_camera: dict[str, PositiveFloat] = Field(
        {}, description="Millimetres per pixel by the sheet's column `camera`."
    )
    smoothing: Literal["savitzky-golay", "none"] = Field(
        "savitzky-golay",
        description="Smoothing of positions before anything is measured: `savitzky-golay` (local "
        "polynomials, whose derivatives are the speeds) or `none` (central "
        "differences).",
    )
    window: PositiveFloat = Field(
        0.2,
        description="Smoothing window in seconds, rounded up to an odd number of frames; at least "
        "`order` + 1.",
    )
    order: Annotated[PositiveInt, Field(ge=2, le=5)] = Field(
        2, description="Degree of the local polynomials."
    )
    centre: tuple[str, ...] = Field(
        (),
        description="Bodyparts whose mean is the position of an individual; empty: all. A few "
        "bodyparts that are always found give the best speeds.",
    )
    heading: tuple[str, str] | None = Field(
        None, description="Two bodyparts, from back to front, such as `[tail_base, nose]`."
    )
    speeds: tuple[str, ...] = Field((), description="Bodyparts whose own speed is measured.")
    distances: tuple[tuple[str, str], ...] = Field(
        (), description="Pairs of bodyparts of one individual."
    )
    angles: dict[Name, tuple[str, str, str]] = Field(
        {}, description="Joint angles by name: three bodyparts, the joint in the middle."
    )
    pairs: Flag = Field(
        default=False,
        description="Write distances between all pairs of individuals, frame by frame.",
    )
    between: tuple[tuple[str, str], ...] = Field(
        (),
        description="Pairs of one individual's and another individual's bodypart, such as `[nose, "
        "tail_base]`, whose distance is measured; needs `pairs`.",
    )
    regions: tuple[RegionSettings, ...] = Field(
        (),
        description="Regions of interest: `name`, `polygon` (corners `[x, y]`), and optionally "
        "`video` or `camera`, if it is one of these alone.",
    )
    regions_file: PathText | None = Field(
        None, description="File with further regions: GeoJSON, or JSON with polygons by name."
    )
    regions_unit: Literal["px", "mm"] = Field("px", description="Unit of the polygons.")
    regions_point: str | None = Field(
        None,
        description="Bodypart whose position decides whether an individual is in a region; null: "
        "the centre.",
    )
    min_visit: NotNegativeFloat = Field(
        0.2,
        description="Shortest stay in seconds, in or outside a region, that counts for entries.",
    )
    still_speed: PositiveFloat | None = Field(
        None, description="Speed below which an individual is still, in `unit`/s; null: no bouts."
    )
    still_seconds: NotNegativeFloat = Field(
        1.0, description="Shortest bout of stillness in seconds."
    )
    bin_seconds: PositiveFloat | None = Field(
        None, description="Duration of the bins of the summary; null: one for the whole video."
    )

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for name in (*self.distances, *self.between, *((self.heading,) if self.heading else ())):
            if name in (*self.distances, self.heading) and name[0] == name[1]:
                raise ValueError(
                    f"a distance or heading needs two bodyparts, found {name[0]} twice"
                )
        for name, three in self.angles.items():
            if len(set(three)) < len(three):
                raise ValueError(f"angle {name} needs three bodyparts, found {', '.join(three)}")
        for field in ("centre", "speeds", "distances", "between"):
            values = getattr(self, field)
            twice = next((name for name in values if values.count(name) > 1), None)
            if twice is not None:
                shown = twice if isinstance(twice, str) else f"[{', '.join(twice)}]"
                raise ValueError(f"`{field}` names {shown} twice: leave one out")
        if self.between and not self.pairs:
            raise ValueError("`between` needs `pairs: true`, whose table it adds columns to")
        names = [(one.name, one.video, one.camera) for one in self.regions]
        same = next((one for one in names if names.count(one) > 1), None)
        if same is not None:
            raise ValueError(
                f"two regions of the same videos are named {same[0]!r}: rename one of them"
            )
        # Raises where two columns would have one name.
        for table in TABLES:
            subjects = self.list_subjects((one.name for one in self.regions), several=True)
            list_columns(table, subjects, "px")
        return self

    @property
    def bodyparts(self) -> tuple[str, ...]:
        """Return every bodypart that is named, each once, in order."""
        pairs = (*self.distances, *self.between, *((self.heading,) if self.heading else ()))
        named = [*self.centre, *self.speeds, *(name for pair in pairs for name in pair)]
        named += [name for three in self.angles.values() for name in three]
        return tuple(dict.fromkeys([*named, *filter(None, [self.regions_point])]))

    @property
    def needs_scale(self) -> bool:
        """Tell whether each video needs a scale."""
        regions = bool(self.regions or self.regions_file)
        return self.unit == "mm" or (self.regions_unit == "mm" and regions)

    @property
    def has_scale(self) -> bool:
        """Tell whether any scale is named."""
        named = (self.mm_per_px, self.mm_per_px_column, self.mm_per_px_of_camera or None)
        return any(one is not None for one in named)

    def list_subjects(self, regions: Iterable[str], *, several: bool) -> Subjects:
        """Return the bodyparts, pairs, angles and regions that have columns.

        Parameters
        ----------
        regions
            Names of the regions.
        several
            Whether there are several individuals.
        """
        one: tuple[tuple[str, ...], ...] = ((),)
        return {
            "heading": one if self.heading else (),
            "speeds": [(name,) for name in self.speeds],
            "distances": self.distances,
            "angles": [(name,) for name in self.angles],
            "several": one if several else (),
            "pairs": one if self.pairs and several else (),
            "between": self.between,
            "regions": [(name,) for name in dict.fromkeys(regions)],
            "still": one if self.still_speed is not None else (),
        }

    def result_settings(self) -> dict[str, Any]:
        """Return the settings that the tables depend on."""
        return self.model_dump(mode="json", exclude={"enabled"})
